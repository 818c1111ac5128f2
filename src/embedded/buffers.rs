//! Memory of large requests, used again by the next ones: the system gives fresh memory page by page, which takes longer
//! than the copying of a large tensor.

use std::sync::{Mutex, MutexGuard};

use super::lock;
use bytes::Bytes;

/// Below this the allocator keeps memory by itself.
const SMALLEST: usize = 128 << 10;
/// Lengths are rounded up to this.
const ROUNDED: usize = 64 << 10;
/// What is reserved at most before any of it came: what a client announces need not come.
const RESERVED_MAX: usize = 64 << 20;
/// What is kept at most, whatever was needed once.
const KEPT_BYTES: usize = 256 << 20;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer that is filled once and read afterwards.
#[derive(Debug, Default)]
pub struct Buffer {
    data: Vec<u8>,
}

impl Buffer {
    /// An empty buffer for so many bytes. It grows where more come.
    pub fn for_bytes(length: usize) -> Self {
        let length = length.min(RESERVED_MAX);
        if length < SMALLEST {
            return Buffer { data: Vec::with_capacity(length) };
        }
        // the same request over HTTP and gRPC, or with another id, is to find the same buffer
        let length = length.checked_next_multiple_of(ROUNDED).unwrap_or(length);
        let mut free = free();
        // one that fits well: a large buffer is not given away for a small request
        let fits = |data: &Vec<u8>| (length..=length.saturating_mul(2)).contains(&data.capacity());
        let best = (0..free.len()).filter(|index| fits(&free[*index])).min_by_key(|index| free[*index].capacity());
        let found = best.map(|index| free.swap_remove(index));
        drop(free);
        Buffer { data: found.unwrap_or_else(|| Vec::with_capacity(length)) }
    }

    /// How much is in it.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Adds to its end.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// What is in it, to be read. When the last reader is done, its memory is free for others.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut data = std::mem::take(&mut self.data);
        if !(SMALLEST..=KEPT_BYTES).contains(&data.capacity()) {
            return;
        }
        data.clear();
        let mut free = free();
        free.push(data);
        // those that wait longest are let go first
        let mut kept: usize = free.iter().map(Vec::capacity).sum();
        let over = free.iter().take_while(|data| {
            let over = kept > KEPT_BYTES;
            kept -= data.capacity();
            over
        });
        let over = over.count();
        let gone: Vec<_> = free.drain(..over).collect();
        drop(free);
        drop(gone);
    }
}

fn free() -> MutexGuard<'static, Vec<Vec<u8>>> {
    lock(&FREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_when_the_last_reader_is_done() {
        let length = SMALLEST + 4321;
        let mut buffer = Buffer::for_bytes(length);
        buffer.extend(&vec![7; length]);
        let address = buffer.as_ref().as_ptr();
        let bytes = buffer.freeze();
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_ne!(Buffer::for_bytes(length).data.as_ptr(), address, "still being read");
        assert_eq!(part[..], [7; 10]);
        drop(part);
        let addresses: Vec<_> = free().iter().map(|data| data.as_ptr()).collect();
        assert!(addresses.contains(&address));
        assert!(free().iter().all(Vec::is_empty));
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        for _ in 0..3 {
            let buffers: Vec<_> = (0..6).map(|_| Buffer::for_bytes(RESERVED_MAX)).collect();
            drop(buffers);
        }
        assert!(free().iter().map(Vec::capacity).sum::<usize>() <= KEPT_BYTES);
        drop(Buffer { data: Vec::with_capacity(KEPT_BYTES + 1) });
        assert!(free().iter().all(|data| data.capacity() <= KEPT_BYTES));
    }
}
