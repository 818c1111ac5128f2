//! What the content of an output should be, and how far content that was found is from it.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use anyhow::Result;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use super::Datatype;
use super::item::texts;

/// What the content of an output is compared with, and how closely.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expect {
    /// What is expected.
    pub reference: Reference,
    /// A number may differ by this share of the expected one, ..
    pub rtol: f64,
    /// .. and by this much more.
    pub atol: f64,
}

/// Where the expected content of an output comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// A file with the item of every input item, in the same order.
    File(PathBuf),
    /// The first answer to the same request.
    SameAsFirst,
}

impl Expect {
    /// The file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        match &self.reference {
            Reference::File(path) => Some(path),
            Reference::SameAsFirst => None,
        }
    }

    /// The file, to be named otherwise.
    pub fn file_mut(&mut self) -> Option<&mut PathBuf> {
        match &mut self.reference {
            Reference::File(path) => Some(path),
            Reference::SameAsFirst => None,
        }
    }

    /// Compares content with what is expected; `None` if it is close enough.
    ///
    /// # Errors
    /// Content of another size.
    pub fn compare(&self, datatype: Datatype, found: &[u8], expected: &[u8]) -> Result<Option<Difference>, OtherSize> {
        let other = OtherSize { found: found.len(), expected: expected.len() };
        if datatype != Datatype::Bytes && found.len() != expected.len() {
            return Err(other);
        }
        if found == expected {
            return Ok(None);
        }
        let whole = |found: i128, expected: i128| {
            let off = found.abs_diff(expected) as f64;
            (off > self.atol + self.rtol * (expected as f64).abs()).then_some(off)
        };
        let number = |found: f64, expected: f64| {
            if found == expected || found.is_nan() && expected.is_nan() {
                return None;
            }
            let off = (found - expected).abs();
            // a comparison with what is not a number is false, and must not pass
            let is_close = off <= self.atol + self.rtol * expected.abs() && expected.is_finite();
            (!is_close).then_some(if off.is_nan() { f64::INFINITY } else { off })
        };
        macro_rules! worst {
            ($type:ty, $off:ident) => {
                worst(found.as_chunks().0.iter().zip(expected.as_chunks().0).map(|(found, expected)| {
                    let [found, expected] = [found, expected].map(|bytes| <$type>::from_le_bytes(*bytes));
                    $off(found.into(), expected.into()).map(|off| (off, [found.to_string(), expected.to_string()]))
                }))
            };
        }
        Ok(match datatype {
            Datatype::Bool | Datatype::Uint8 => worst!(u8, whole),
            Datatype::Uint16 => worst!(u16, whole),
            Datatype::Uint32 => worst!(u32, whole),
            Datatype::Uint64 => worst!(u64, whole),
            Datatype::Int8 => worst!(i8, whole),
            Datatype::Int16 => worst!(i16, whole),
            Datatype::Int32 => worst!(i32, whole),
            Datatype::Int64 => worst!(i64, whole),
            Datatype::Fp16 => worst!(f16, number),
            Datatype::Bf16 => worst!(bf16, number),
            Datatype::Fp32 => worst!(f32, number),
            Datatype::Fp64 => worst!(f64, number),
            Datatype::Bytes => {
                let (found, expected) = (texts(found).ok_or(other)?, texts(expected).ok_or(other)?);
                if found.len() != expected.len() {
                    return Err(other);
                }
                let differ = |(found, expected): (&[u8], &[u8])| {
                    let shown =
                        |text| format!("{:?}", String::from_utf8_lossy(text).chars().take(40).collect::<String>());
                    (found != expected).then(|| (1.0, [shown(found), shown(expected)]))
                };
                worst(found.into_iter().zip(expected).map(differ))
            }
        })
    }
}

/// Content of another size than expected, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct OtherSize {
    pub found: usize,
    pub expected: usize,
}

/// The elements that are too far from the expected ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How many.
    pub elements: usize,
    /// Index of the worst, row-major.
    pub worst: usize,
    /// What was found there.
    pub found: String,
    /// What was expected there.
    pub expected: String,
}

impl Difference {
    /// The place of the worst element in a tensor of this shape, such as `[0, 17]`.
    pub fn place(&self, shape: &[i64]) -> Vec<usize> {
        let mut rest = self.worst;
        let mut place: Vec<usize> = shape
            .iter()
            .rev()
            .map(|size| {
                let size = usize::try_from(*size).unwrap_or(1).max(1);
                let index = rest % size;
                rest /= size;
                index
            })
            .collect();
        place.reverse();
        place
    }
}

/// The worst of all differences, by how far each is off; the first of several.
fn worst(differences: impl Iterator<Item = Option<(f64, [String; 2])>>) -> Option<Difference> {
    let mut elements = 0;
    let mut worst: Option<(usize, f64, [String; 2])> = None;
    for (index, difference) in differences.enumerate() {
        let Some((off, values)) = difference else { continue };
        elements += 1;
        if worst.as_ref().is_none_or(|(_, known, _)| off.total_cmp(known) == Ordering::Greater) {
            worst = Some((index, off, values));
        }
    }
    worst.map(|(worst, _, [found, expected])| Difference { elements, worst, found, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn within(rtol: f64, atol: f64) -> Expect {
        Expect { reference: Reference::SameAsFirst, rtol, atol }
    }

    #[test]
    fn floats_may_differ_by_both_tolerances_and_the_worst_element_is_named() {
        let expected = floats(&[1.0, 100.0, 0.0, -2.0]);
        let compare = |found: &[f32]| within(1e-2, 1e-3).compare(Datatype::Fp32, &floats(found), &expected).unwrap();
        assert_eq!(compare(&[1.009, 101.0, 0.0009, -2.02]), None);
        let difference = compare(&[1.5, 108.0, 0.0, -2.0]).unwrap();
        assert_eq!((difference.elements, difference.worst), (2, 1));
        assert_eq!((&difference.found[..], &difference.expected[..]), ("108", "100"));
        assert_eq!(difference.place(&[1, 2, 2]), [0, 0, 1]);
        assert_eq!(difference.place(&[4]), [1]);
    }

    #[test]
    fn what_is_not_a_number_equals_only_the_same() {
        let compare = |found: f32, expected: f32| {
            within(1.0, 1e9)
                .compare(Datatype::Fp32, &floats(&[found]), &floats(&[expected]))
                .unwrap()
        };
        assert_eq!(compare(f32::NAN, -f32::NAN), None);
        assert_eq!(compare(f32::INFINITY, f32::INFINITY), None);
        for (found, expected) in
            [(f32::NAN, 1.0), (1.0, f32::NAN), (1.0, f32::INFINITY), (f32::INFINITY, f32::NEG_INFINITY)]
        {
            assert!(compare(found, expected).is_some(), "{found} {expected}");
        }
    }

    #[test]
    fn whole_numbers_and_texts_are_compared_exactly_unless_tolerated() {
        let compare = |expect: &Expect, found: i64, expected: i64| {
            expect.compare(Datatype::Int64, &found.to_le_bytes(), &expected.to_le_bytes()).unwrap()
        };
        assert_eq!(compare(&within(0.0, 0.0), i64::MAX, i64::MAX), None);
        assert!(compare(&within(0.0, 0.0), i64::MAX, i64::MAX - 1).is_some());
        assert_eq!(compare(&within(0.0, 2.0), 5, 7), None);
        let texts = |found: &[u8], expected: &[u8]| within(0.0, 0.0).compare(Datatype::Bytes, found, expected);
        assert_eq!(texts(b"\x01\0\0\0a\0\0\0\0", b"\x01\0\0\0a\0\0\0\0"), Ok(None));
        let difference = texts(b"\0\0\0\0\x02\0\0\0bc", b"\0\0\0\0\x01\0\0\0d").unwrap().unwrap();
        assert_eq!((difference.worst, &difference.found[..], &difference.expected[..]), (1, "\"bc\"", "\"d\""));
        assert!(texts(b"\x01\0\0\0a", b"\x01\0\0\0a\0\0\0\0").is_err());
        assert!(within(0.0, 0.0).compare(Datatype::Fp32, &[0; 4], &[0; 8]).is_err());
    }
}
