//! Tensor data types, shapes and the bytes of an input, and the parameters beside them. Knows nothing of protocols, scenarios or servers.

mod entries;
mod expect;
mod file;
mod item;
mod items;
mod npy;
mod parameter;

use std::path::PathBuf;

use bytes::{BufMut, BytesMut};
use half::{bf16, f16};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::spelling::spelled;
pub use entries::{List, elements_of_json};
pub use expect::{Difference, Expect, OtherSize, Reference};
pub use file::items_of;
pub use item::{Item, byte_elements};
pub use items::{Items, distinct_batches};
pub use parameter::{Parameter, Parameters};

spelled! {
    /// An element type of the KServe v2 protocol, in the protocol's spelling.
    #[allow(missing_docs)]
    pub enum Datatype {
        Bool = "BOOL",
        Uint8 = "UINT8",
        Uint16 = "UINT16",
        Uint32 = "UINT32",
        Uint64 = "UINT64",
        Int8 = "INT8",
        Int16 = "INT16",
        Int32 = "INT32",
        Int64 = "INT64",
        Fp16 = "FP16",
        Bf16 = "BF16",
        Fp32 = "FP32",
        Fp64 = "FP64",
        Bytes = "BYTES",
    }
}

impl Datatype {
    /// Bytes of one element; `None` for BYTES, whose elements carry their own length.
    pub fn size(self) -> Option<usize> {
        match self {
            Datatype::Bool | Datatype::Uint8 | Datatype::Int8 => Some(1),
            Datatype::Uint16 | Datatype::Int16 | Datatype::Fp16 | Datatype::Bf16 => Some(2),
            Datatype::Uint32 | Datatype::Int32 | Datatype::Fp32 => Some(4),
            Datatype::Uint64 | Datatype::Int64 | Datatype::Fp64 => Some(8),
            Datatype::Bytes => None,
        }
    }

    /// Bytes of one element of generated data: BYTES elements are a four-byte length and at most eight characters.
    pub fn generated_size(self) -> usize {
        self.size().unwrap_or(4 + RANDOM_TEXT_LENGTH)
    }
}

spelled! {
    /// How tensors are sent.
    #[derive(Default)]
    pub enum Tensors {
        /// As raw bytes: the binary tensor extension over HTTP, raw contents over gRPC.
        #[default]
        Binary = "binary",
        /// As numbers in JSON, for servers that take nothing else over HTTP.
        Json = "json",
    }
}

/// Where the bytes of an input come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Every element zero; BYTES elements are empty.
    Zeros,
    /// Seeded random elements in the type's sensible range: see [`Items::take`].
    Random {
        /// The same seed gives the same bytes on every machine.
        seed: u64,
    },
    /// A `.npy` array, or raw little-endian row-major bytes.
    File(PathBuf),
}

impl Source {
    /// The file, to be named otherwise.
    pub fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Source::File(path) => Some(path),
            Source::Zeros | Source::Random { .. } => None,
        }
    }
}

/// Most bytes of distinct requests that a process holds; a single one may be larger.
pub const HELD_BYTES_MAX: u64 = 1 << 30;

/// Length of a random BYTES element, in bytes.
const RANDOM_TEXT_LENGTH: usize = 8;

/// The number of elements of `shape`, or `None` on overflow.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, dimension| count.checked_mul(*dimension))
}

fn put_random(bytes: &mut BytesMut, datatype: Datatype, generator: &mut impl Rng) {
    let integer = |generator: &mut dyn FnMut() -> u32| (generator() >> 25) as u8;
    let mut next = || generator.next_u32();
    match datatype {
        Datatype::Bool => bytes.put_u8(u8::from(next() >> 31 == 1)),
        Datatype::Uint8 | Datatype::Int8 => bytes.put_u8(integer(&mut next)),
        Datatype::Uint16 | Datatype::Int16 => bytes.put_u16_le(integer(&mut next).into()),
        Datatype::Uint32 | Datatype::Int32 => bytes.put_u32_le(integer(&mut next).into()),
        Datatype::Uint64 | Datatype::Int64 => bytes.put_u64_le(integer(&mut next).into()),
        Datatype::Fp16 => bytes.put_u16_le(f16::from_f32(below_one(generator, 11)).to_bits()),
        Datatype::Bf16 => bytes.put_u16_le(bf16::from_f32(below_one(generator, 8)).to_bits()),
        Datatype::Fp32 => bytes.put_f32_le(generator.random::<f32>()),
        Datatype::Fp64 => bytes.put_f64_le(generator.random::<f64>()),
        Datatype::Bytes => {
            bytes.put_u32_le(RANDOM_TEXT_LENGTH as u32);
            for _ in 0..RANDOM_TEXT_LENGTH {
                bytes.put_u8(b'a' + (generator.next_u32() % 26) as u8);
            }
        }
    }
}

/// A multiple of 2^-bits in [0, 1): rounding a finer number to a short mantissa could give 1.
fn below_one(generator: &mut impl Rng, bits: u32) -> f32 {
    (generator.next_u32() >> (32 - bits)) as f32 / (1_u32 << bits) as f32
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use bytes::Bytes;

    use super::*;

    fn bytes_of(datatype: Datatype, shape: &[usize], items: usize, source: &Source) -> Result<Bytes> {
        Ok(Items::open("x", datatype, shape, source)?.take(items)?.0)
    }

    #[test]
    fn every_type_gives_the_bytes_its_shape_asks_for() {
        for (_, datatype) in Datatype::ALL {
            for source in [Source::Zeros, Source::Random { seed: 7 }] {
                let bytes = bytes_of(*datatype, &[3, 5], 2, &source).unwrap();
                let element = match (datatype.size(), &source) {
                    (Some(size), _) => size,
                    (None, Source::Zeros) => 4,
                    (None, _) => 12,
                };
                assert_eq!(bytes.len(), 30 * element, "{datatype} {source:?}");
            }
        }
    }

    #[test]
    fn random_bytes_depend_on_the_seed_alone() {
        let draw = |seed| bytes_of(Datatype::Fp32, &[64], 1, &Source::Random { seed }).unwrap();
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let floats: Vec<f32> = draw(7).chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
        assert!(floats.iter().all(|value| (0.0..1.0).contains(value)));
    }

    #[test]
    fn random_short_floats_stay_below_one() {
        for datatype in [Datatype::Fp16, Datatype::Bf16] {
            let bytes = bytes_of(datatype, &[20_000], 1, &Source::Random { seed: 1 }).unwrap();
            for pair in bytes.chunks(2) {
                let bits = u16::from_le_bytes([pair[0], pair[1]]);
                let value = if datatype == Datatype::Fp16 {
                    f16::from_bits(bits).to_f32()
                } else {
                    bf16::from_bits(bits).to_f32()
                };
                assert!((0.0..1.0).contains(&value), "{datatype} {value}");
            }
        }
    }

    #[test]
    fn a_raw_file_is_repeated_or_taken_in_turn() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.bin");
        std::fs::write(&path, [1, 2, 3, 4]).unwrap();
        let read = |shape: &[usize], items| bytes_of(Datatype::Uint8, shape, items, &Source::File(path.clone()));
        assert_eq!(&read(&[2], 3).unwrap()[..], [1, 2, 3, 4, 1, 2]);
        assert_eq!(&read(&[4], 2).unwrap()[..], [1, 2, 3, 4, 1, 2, 3, 4]);
        assert!(format!("{:#}", read(&[3], 1).unwrap_err()).contains("expected a multiple of 3"));
    }

    #[test]
    fn bytes_items_are_cut_at_their_own_lengths() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.raw");
        std::fs::write(&path, b"\x01\0\0\0a\x02\0\0\0bc").unwrap();
        let read = |items| bytes_of(Datatype::Bytes, &[1], items, &Source::File(path.clone())).unwrap();
        assert_eq!(&read(1)[..], b"\x01\0\0\0a");
        assert_eq!(&read(3)[..], b"\x01\0\0\0a\x02\0\0\0bc\x01\0\0\0a");
        std::fs::write(&path, b"\x09\0\0\0a").unwrap();
        let error = bytes_of(Datatype::Bytes, &[1], 1, &Source::File(path.clone())).unwrap_err();
        assert!(format!("{error:#}").contains("but only 1 are left"));
    }

    #[test]
    fn npy_arrays_are_checked_for_type_and_shape() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.npy");
        let mut header = b"\x93NUMPY\x01\0\x76\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }".to_vec();
        header.resize(127, b' ');
        header.push(b'\n');
        for value in 0..6 {
            header.extend((value as f32).to_le_bytes());
        }
        std::fs::write(&path, &header).unwrap();
        let read = |datatype, shape: &[usize], items| bytes_of(datatype, shape, items, &Source::File(path.clone()));
        assert_eq!(read(Datatype::Fp32, &[2, 3], 1).unwrap().len(), 24);
        assert_eq!(read(Datatype::Fp32, &[3], 3).unwrap().len(), 36);
        assert!(format!("{:#}", read(Datatype::Fp64, &[3], 1).unwrap_err()).contains("f4"));
        assert!(format!("{:#}", read(Datatype::Fp32, &[4], 1).unwrap_err()).contains("[2, 3]"));
    }
}
