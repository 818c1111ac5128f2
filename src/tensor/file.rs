//! Reads a tensor's items from a file: a `.npy` array, raw data, or JSON as perf_analyzer reads it. Files that are most
//! likely none of these are refused: their bytes would be taken for numbers.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::entries::{self, List};
use super::item::Item;
use super::npy::{self, LENGTHS};
use super::{Datatype, element_count};

/// Largest file: a request holds no more.
const FILE_BYTES_MAX: u64 = i32::MAX as u64;

/// Kinds of files recognized by magic bytes: offset, bytes, kind and remedy.
const KINDS: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", PICTURE),
    (6, b"JFIF\0", "a JPEG picture", PICTURE),
    (6, b"Exif\0", "a JPEG picture", PICTURE),
    (0, b"GIF87a", "a GIF picture", PICTURE),
    (0, b"GIF89a", "a GIF picture", PICTURE),
    (8, b"WEBPVP8", "a WebP picture", PICTURE),
    (4, b"ftypavif", "an AVIF picture", PICTURE),
    (4, b"ftypheic", "a HEIC picture", PICTURE),
    (0, b"PK\x03\x04", "a zip archive", "unpack it"),
    (0, b"\x1f\x8b\x08", "a gzip archive", "unpack it"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file", ARRAY),
    (0, b"%PDF-", "a PDF document", ARRAY),
];
/// The same by file extension, for kinds whose content may be anything.
const NAMES: &[(&[&str], &str, &str)] = &[
    (&["npz"], "an .npz archive", "save one array with numpy.save"),
    (&["jpg", "jpeg", "bmp", "tif", "tiff"], "a picture", PICTURE),
    (&["csv", "tsv", "yaml", "yml", "xml"], "text", TEXT),
    (&["pt", "pth", "pkl", "pickle", "onnx", "safetensors", "mat"], "no raw data", ARRAY),
];
const PICTURE: &str = "decode it, and save its pixels with numpy.save";
const ARRAY: &str = "save one array with numpy.save";
const TEXT: &str = "read it with NumPy, and save the array with numpy.save";

/// Reads the items of the tensor `name`, of `item_shape` each; at least one. Of JSON those of a list.
///
/// # Errors
/// The file cannot be read, or its kind, type, shape or size is not the tensor's.
pub fn read(name: &str, datatype: Datatype, item_shape: &[usize], path: &Path, list: List) -> Result<Vec<Item>> {
    items_of(name, datatype, item_shape, &extension(path), content(path)?, list)
}

fn content(path: &Path) -> Result<Bytes> {
    let mut content = Vec::new();
    let file = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content));
    file.context("cannot be read")?;
    ensure!(content.len() as u64 <= FILE_BYTES_MAX, "has more than the {FILE_BYTES_MAX} bytes of a request");
    Ok(content.into())
}

fn extension(path: &Path) -> String {
    path.extension()
        .map(|extension| extension.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

/// The items of a tensor from a file's content, by its name's extension in lower case.
///
/// # Errors
/// The content's kind, type, shape or size is not the tensor's.
pub fn items_of(
    name: &str,
    datatype: Datatype,
    item_shape: &[usize],
    extension: &str,
    content: Bytes,
    list: List,
) -> Result<Vec<Item>> {
    if extension == "json" && !is_one_row_of_bytes(datatype, item_shape, &content) {
        return entries::read(&content, list, name, datatype, item_shape);
    }
    let data = if extension == "npy" || content.starts_with(npy::MAGIC) {
        content.slice_ref(npy::data(datatype, item_shape, &content)?)
    } else {
        refuse_other_kinds(datatype, item_shape, extension, &content)?;
        content
    };
    let cuts = item_boundaries(datatype, element_count(item_shape).unwrap_or(0), &data)?;
    Ok(cuts.into_iter().map(|cut| Item { bytes: data.slice(cut), shape: None }).collect())
}

/// Whether the input takes a whole encoded file as one row of bytes.
fn is_one_row_of_bytes(datatype: Datatype, item_shape: &[usize], content: &[u8]) -> bool {
    matches!(datatype, Datatype::Uint8 | Datatype::Int8) && item_shape == [content.len()]
}

fn refuse_other_kinds(datatype: Datatype, item_shape: &[usize], extension: &str, content: &[u8]) -> Result<()> {
    if is_one_row_of_bytes(datatype, item_shape, content) {
        return Ok(());
    }
    let begins = |at: usize, magic: &[u8]| content.get(at..).is_some_and(|rest| rest.starts_with(magic));
    let by_name = NAMES
        .iter()
        .find(|(extensions, ..)| extensions.contains(&extension))
        .map(|(_, what, remedy)| (*what, *remedy));
    let by_content = KINDS
        .iter()
        .find(|(at, magic, ..)| begins(*at, magic))
        .map(|(_, _, what, remedy)| (*what, *remedy));
    // the extension npz says more than the content, which is any zip archive
    let npz = by_name.filter(|_| extension == "npz");
    let text = (datatype.size().is_some_and(|size| size > 1) && is_text(content)).then_some(("text", TEXT));
    let Some((what, remedy)) = npz.or(by_content).or(by_name).or(text) else {
        return Ok(());
    };
    match datatype {
        Datatype::Bytes => bail!("is {what}, and not elements of BYTES: {LENGTHS}"),
        _ => bail!("is {what}, whose bytes are no {datatype} elements: {remedy}"),
    }
}

/// Whether the content is numbers as text: no other content has only such bytes.
fn is_text(content: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    content.len() >= 4 && content.iter().any(u8::is_ascii_digit) && content.iter().all(plain)
}

/// Where each item of raw data begins and ends.
fn item_boundaries(datatype: Datatype, elements: usize, data: &[u8]) -> Result<Vec<Range<usize>>> {
    let mut cuts = Vec::new();
    if let Some(size) = datatype.size() {
        let item = elements.saturating_mul(size);
        ensure!(
            item > 0 && !data.is_empty() && data.len().is_multiple_of(item),
            "holds {} bytes, expected a multiple of {item} ({elements} {datatype} elements an item)",
            data.len(),
        );
        cuts.extend((0..data.len() / item).map(|index| index * item..(index + 1) * item));
        return Ok(cuts);
    }
    let mut at = 0;
    while at < data.len() {
        let start = at;
        for element in 0..elements {
            let (length, left) = match data.get(at..).and_then(|rest| rest.split_first_chunk()) {
                Some((length, rest)) => (u32::from_le_bytes(*length) as usize, rest.len()),
                None => bail!("ends after {element} of an item's {elements} BYTES elements: {LENGTHS}"),
            };
            ensure!(
                length <= left,
                "says at byte {at} that an element has {length} bytes, but only {left} are left: {LENGTHS}"
            );
            at += 4 + length;
        }
        ensure!(at > start, "holds bytes, but an item has no elements");
        cuts.push(start..at);
    }
    ensure!(!cuts.is_empty(), "is empty");
    Ok(cuts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, content: &[u8], datatype: Datatype, shape: &[usize]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read("x", datatype, shape, &path, List::Data)
            .map_or_else(|error| format!("{error:#}"), |items| format!("{} bytes", items[0].bytes.len()))
    }

    #[test]
    fn files_of_other_kinds_are_told_by_name() {
        use Datatype::{Bytes, Fp32, Uint8};
        let png = [&b"\x89PNG\r\n\x1a\n"[..], &[7; 200]].concat();
        let jpeg = [&b"\xff\xd8\xff\xe0\x00\x10JFIF\0"[..], &[7; 200]].concat();
        for (name, content, datatype, shape, words) in [
            ("face.png", &png[..], Uint8, &[4][..], "is a PNG picture, whose bytes are no UINT8 elements: decode it"),
            ("face", &jpeg, Fp32, &[1], "is a JPEG picture"),
            (
                "face.jpg",
                &jpeg,
                Bytes,
                &[1],
                "is a JPEG picture, and not elements of BYTES: each element needs its length",
            ),
            (
                "a.npz",
                b"PK\x03\x04 1234567890123456",
                Fp32,
                &[5],
                "is an .npz archive, whose bytes are no FP32 elements: save one",
            ),
            ("model.bin", b"PK\x03\x04 1234567890123456", Fp32, &[5], "is a zip archive"),
            (
                "data.csv",
                b"0.1,0.2,0.3,0.4\n",
                Fp32,
                &[4],
                "is text, whose bytes are no FP32 elements: read it with NumPy",
            ),
            ("data.raw", b"0.1,0.2,0.3,0.4\n", Fp32, &[4], "is text"),
            ("data.json", b"[1,2,3]\n", Uint8, &[4], "is no JSON object"),
            (
                "words.txt",
                b"hello there\n",
                Bytes,
                &[1],
                "says at byte 0 that an element has 1819043176 bytes, but only 8 are left",
            ),
            // an encoded file as bytes is intended
            ("face.png", &png, Uint8, &[208], "208 bytes"),
            ("token.raw", b"1234", Uint8, &[4], "4 bytes"),
            ("words.raw", b"\x05\0\0\0hello", Bytes, &[1], "9 bytes"),
            ("X.NPY", b"0123456789abcdef", Fp32, &[4], "is not a .npy file"),
        ] {
            let found = refusal(name, content, datatype, shape);
            assert!(found.starts_with(words), "{name}: {found}");
        }
    }

    #[test]
    fn an_array_is_one_under_any_name() {
        let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\n";
        let content = [npy::MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header, &[1, 2, 3, 4]].concat();
        for name in ["X.NPY", "x.raw", "x"] {
            assert_eq!(refusal(name, &content, Datatype::Uint8, &[4]), "4 bytes");
        }
    }
}
