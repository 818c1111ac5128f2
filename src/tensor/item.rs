//! One item of a tensor: its bytes, and where BYTES elements end in them.

use bytes::Bytes;

/// An item of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Little-endian and row-major; BYTES elements have their length before them.
    pub bytes: Bytes,
    /// Its shape, if a file gives it one of its own.
    pub shape: Option<Vec<usize>>,
}

/// BYTES elements without their lengths; `None` if they do not fill the data.
pub fn texts(mut raw: &[u8]) -> Option<Vec<&[u8]>> {
    let mut texts = Vec::new();
    while !raw.is_empty() {
        let (length, rest) = raw.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        texts.push(text);
        raw = rest;
    }
    Some(texts)
}

/// The number of BYTES elements, each a little-endian length and that many bytes; `None` if they do not fill the data.
pub fn byte_elements(raw: &[u8]) -> Option<usize> {
    texts(raw).map(|texts| texts.len())
}
