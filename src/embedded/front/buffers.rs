//! Memory of large requests, reused by later ones: the system gives fresh memory page by page, which takes longer
//! than copying a large tensor.

use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;

use crate::embedded::error::Error;
use crate::embedded::front::memory::{self, Grant};
use crate::embedded::lock;

/// Below this size the allocator keeps memory itself.
const SMALLEST: usize = 128 << 10;
/// Lengths are rounded up to a multiple of this.
const ROUNDED: usize = 64 << 10;
/// Most memory that is kept, whatever was needed once.
const KEPT_BYTES: usize = 256 << 20;

static FREE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A buffer that is filled once and read afterwards. Its memory counts against the limit on request memory.
#[derive(Debug, Default)]
pub struct Buffer {
    data: Vec<u8>,
    /// Announced bytes; fewer or more may arrive.
    expected: usize,
    grant: Grant,
}

impl Buffer {
    /// An empty buffer for `length` bytes. It takes memory when they arrive.
    pub fn for_bytes(length: usize) -> Self {
        // rounded, so that the same request over HTTP and gRPC, or with another id, finds the same buffer
        let rounded = length.checked_next_multiple_of(ROUNDED).filter(|_| length >= SMALLEST);
        Buffer { data: Vec::new(), expected: rounded.unwrap_or(length), grant: Grant::default() }
    }

    /// Number of bytes in it.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// Requests already hold as much memory as they may.
    pub fn extend(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let length = self.data.len() + bytes.len();
        if self.data.capacity() == 0 {
            self.data = taken(self.expected.max(length)).unwrap_or_default();
            if let Err(error) = self.grant.at_least(self.data.capacity()) {
                // no request holds it
                give_back(std::mem::take(&mut self.data));
                return Err(error);
            }
        }
        if length > self.data.capacity() {
            // twice as much, but no more than announced while that is enough
            let grown = self.data.capacity().saturating_mul(2).max(ROUNDED).min(self.expected).max(length);
            self.grant.at_least(grown)?;
            self.data.reserve_exact(grown - self.data.len());
        }
        self.data.extend_from_slice(bytes);
        Ok(())
    }

    /// The content, for reading. When the last reader is done, its memory is free for others.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

/// A body that arrived in one piece, counted like one in a buffer.
///
/// # Errors
/// Requests already hold as much memory as they may.
pub fn counted(data: Bytes) -> Result<Bytes, Error> {
    struct Counted {
        data: Bytes,
        _grant: Grant,
    }

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.data
        }
    }

    let grant = Grant::of(data.len())?;
    Ok(Bytes::from_owner(Counted { data, _grant: grant }))
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.data));
    }
}

/// Kept memory that fits `length` bytes; never for small lengths.
fn taken(length: usize) -> Option<Vec<u8>> {
    if length < SMALLEST {
        return None;
    }
    let mut free = free();
    // one that fits well: a large buffer is not given away for a small request
    let fits = |data: &Vec<u8>| (length..=length.saturating_mul(2)).contains(&data.capacity());
    let best = (0..free.len())
        .filter(|index| fits(&free[*index]))
        .min_by_key(|index| free[*index].capacity());
    best.map(|index| free.swap_remove(index))
}

/// Keeps memory for others.
fn give_back(mut data: Vec<u8>) {
    let most = KEPT_BYTES.min(memory::limit());
    if !(SMALLEST..=most).contains(&data.capacity()) {
        return;
    }
    data.clear();
    let mut free = free();
    free.push(data);
    // the longest kept are freed first
    let mut kept: usize = free.iter().map(Vec::capacity).sum();
    let over = free.iter().take_while(|data| {
        let over = kept > most;
        kept -= data.capacity();
        over
    });
    let over = over.count();
    let gone: Vec<_> = free.drain(..over).collect();
    drop(free);
    drop(gone);
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
        buffer.extend(&vec![7; length]).unwrap();
        let address = buffer.as_ref().as_ptr();
        let bytes = buffer.freeze();
        let part = bytes.slice(10..20);
        drop(bytes);
        assert!(free().iter().all(|data| data.as_ptr() != address), "still being read");
        assert_eq!(part[..], [7; 10]);
        drop(part);
        let addresses: Vec<_> = free().iter().map(|data| data.as_ptr()).collect();
        assert!(addresses.contains(&address));
        assert!(free().iter().all(Vec::is_empty));
    }

    #[test]
    fn no_more_is_kept_than_was_said() {
        for _ in 0..6 {
            give_back(Vec::with_capacity(64 << 20));
        }
        assert!(free().iter().map(Vec::capacity).sum::<usize>() <= KEPT_BYTES);
        give_back(Vec::with_capacity(KEPT_BYTES + 1));
        assert!(free().iter().all(|data| data.capacity() <= KEPT_BYTES));
    }

    #[test]
    fn what_is_announced_takes_no_memory_and_what_comes_no_more_than_announced() {
        let length = 3 << 20;
        let mut buffer = Buffer::for_bytes(length);
        assert_eq!(buffer.data.capacity(), 0);
        buffer.extend(&[1; 100]).unwrap();
        // a reused one may be larger
        assert!(buffer.data.capacity() <= 2 * length);
        for _ in 0..3 {
            buffer.extend(&[2; 1 << 20]).unwrap();
        }
        assert_eq!(buffer.len(), length + 100);
        let mut huge = Buffer::for_bytes(usize::MAX);
        huge.extend(&[1; 100]).unwrap();
        assert_eq!(huge.data.capacity(), ROUNDED);
    }
}
