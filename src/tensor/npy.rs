//! NumPy's `.npy` files: the header, a Python dictionary as text, and whether the data matches it.

use anyhow::{Context, Result, bail, ensure};

use super::{Datatype, element_count};

/// How BYTES are laid out.
pub const LENGTHS: &str = "each element needs its length before it, as 4 little-endian bytes";

/// The first bytes of every `.npy` file.
pub const MAGIC: &[u8] = b"\x93NUMPY";

/// The fields of the header.
#[derive(Debug, PartialEq, Eq)]
struct Header<'a> {
    /// Type of the elements, such as `<f4`.
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<usize>,
}

/// Returns the raw bytes of an array after checking its type, shape and length.
///
/// # Errors
/// Not a `.npy` file, or not an array of the input's type and shape, with or without one more leading dimension.
pub fn data<'a>(datatype: Datatype, item_shape: &[usize], content: &'a [u8]) -> Result<&'a [u8]> {
    let (header, data) = parts(content).context("is not a .npy file: save it with numpy.save")?;
    let header = read(header).context("has a header that is not NumPy's: save it again with numpy.save")?;
    let Header { descr, fortran_order, shape } = header;
    let Some(expected) = type_of(datatype) else {
        let layout = if datatype == Datatype::Bytes {
            LENGTHS
        } else {
            "elements are little-endian and row-major"
        };
        bail!("is a .npy array, which cannot hold {datatype}: give a raw file, where {layout}");
    };
    let found = descr.trim_start_matches(['<', '>', '|', '=']);
    ensure!(
        found == expected,
        "holds elements of type {found}, expected {expected} for {datatype}: convert with numpy's astype"
    );
    ensure!(
        !descr.starts_with('>') || datatype.size() == Some(1),
        "holds big-endian elements ({descr}): save a.astype('<{expected}')"
    );
    ensure!(!fortran_order, "is in Fortran order: save numpy.ascontiguousarray(a)");
    ensure!(
        shape == item_shape || (shape.len() == item_shape.len() + 1 && &shape[1..] == item_shape),
        "has shape {shape:?}, expected {item_shape:?}, or that with a leading batch dimension",
    );
    let bytes = element_count(&shape).and_then(|count| count.checked_mul(datatype.size()?));
    ensure!(
        bytes == Some(data.len()),
        "has shape {shape:?} in its header, {} of {datatype}, but {} bytes of data: save it again with numpy.save",
        bytes.map_or("more bytes than can be addressed".to_owned(), |bytes| format!("{bytes} bytes")),
        data.len()
    );
    Ok(data)
}

/// The header's text and the data behind it.
fn parts(content: &[u8]) -> Option<(&str, &[u8])> {
    let rest = content.strip_prefix(MAGIC)?;
    let ([version, _minor], rest) = rest.split_first_chunk()?;
    let (length, rest) = match version {
        1 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u16::from_le_bytes(*length) as usize, rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return None,
    };
    let (header, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(header).ok()?, data))
}

/// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, as NumPy of Python 2 and 3 write it.
fn read(text: &str) -> Option<Header<'_>> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, behind) = quoted(rest)?;
        let value = behind.trim_start().strip_prefix(':')?.trim_start();
        rest = match key {
            "descr" => {
                let (value, rest) = quoted(value)?;
                descr = Some(value);
                rest
            }
            "fortran_order" => {
                fortran_order = Some(value.starts_with("True"));
                value.strip_prefix("True").or_else(|| value.strip_prefix("False"))?
            }
            "shape" => {
                let (sides, rest) = value.strip_prefix('(')?.split_once(')')?;
                let sides = sides.split(',').map(str::trim).filter(|side| !side.is_empty());
                shape = Some(
                    sides
                        .map(|side| side.trim_end_matches('L').parse().ok())
                        .collect::<Option<Vec<usize>>>()?,
                );
                rest
            }
            _ => return None,
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? })
}

/// A quoted string, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn type_of(datatype: Datatype) -> Option<&'static str> {
    Some(match datatype {
        Datatype::Bool => "b1",
        Datatype::Uint8 => "u1",
        Datatype::Uint16 => "u2",
        Datatype::Uint32 => "u4",
        Datatype::Uint64 => "u8",
        Datatype::Int8 => "i1",
        Datatype::Int16 => "i2",
        Datatype::Int32 => "i4",
        Datatype::Int64 => "i8",
        Datatype::Fp16 => "f2",
        Datatype::Fp32 => "f4",
        Datatype::Fp64 => "f8",
        Datatype::Bf16 | Datatype::Bytes => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
    }

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        for (header, length) in [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", 24),
            ("{'descr': '=f4', 'fortran_order': False, 'shape': (2L, 3L), }\n", 24),
            ("{\"shape\": (5,2,3), \"fortran_order\":False,\"descr\":\"<f4\"}", 120),
        ] {
            assert_eq!(data(Datatype::Fp32, &[2, 3], &file(header, length)).unwrap().len(), length, "{header}");
        }
        assert_eq!(
            data(Datatype::Int8, &[], &file("{'descr': '|i1', 'fortran_order': False, 'shape': ()}", 1)).unwrap(),
            [0]
        );
    }

    #[test]
    fn what_does_not_agree_is_told() {
        let array = |descr: &str, order: &str, shape: &str, length: usize| {
            file(&format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"), length)
        };
        for (content, words) in [
            (
                array("<f4", "False", "(8, 4)", 48),
                "has shape [8, 4] in its header, 128 bytes of FP32, but 48 bytes of data",
            ),
            (
                array("<f4", "False", "(2, 4)", 48),
                "has shape [2, 4] in its header, 32 bytes of FP32, but 48 bytes of data",
            ),
            (array("<f4", "False", "(18446744073709551615, 4)", 16), "more bytes than can be addressed of FP32"),
            (array("<f4", "False", "(18446744073709551616, 4)", 16), "a header that is not NumPy's"),
            (array(">f4", "False", "(4,)", 16), "holds big-endian elements (>f4): save a.astype('<f4')"),
            (array("<f4", "True", "(4,)", 16), "is in Fortran order"),
            (array("<f8", "False", "(4,)", 32), "holds elements of type f8, expected f4"),
            (array("<f4", "False", "(3,)", 12), "has shape [3], expected [4]"),
            (array("<f4", "maybe", "(4,)", 16), "a header that is not NumPy's"),
            (b"\x93NUMPY\x01\0\xff\xff{".to_vec(), "is not a .npy file"),
            (b"\x93NUMPY\x09\0\x01\0{".to_vec(), "is not a .npy file"),
            (b"\x93NUM".to_vec(), "is not a .npy file"),
        ] {
            let error = data(Datatype::Fp32, &[4], &content).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = data(Datatype::Bytes, &[4], &array("<U5", "False", "(4,)", 80)).unwrap_err().to_string();
        assert!(error.contains("cannot hold BYTES"), "{error}");
    }
}
