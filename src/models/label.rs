//! The label that names the source of a model file's weights: read from the file, and copied into server
//! configurations so that any server reports it to its clients.
//! Knows the layout of one model's folder; nothing of structures or downloads.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use prost::Message;

use super::onnx::{StringStringEntryProto, WEIGHTS_KEY};
use crate::file;

/// Source and labelled copy, relative to the folder of a model. A server started with `--model-config-name=labelled`
/// (or `cpu-labelled`, `pypi-labelled`) uses the copy, or `config.pbtxt` if there is none.
const CONFIGURATIONS: [(&str, &str); 3] = [
    ("config.pbtxt", "configs/labelled.pbtxt"),
    ("configs/cpu.pbtxt", "configs/cpu-labelled.pbtxt"),
    ("configs/pypi.pbtxt", "configs/pypi-labelled.pbtxt"),
];

/// Field number of `metadata_props` in ModelProto.
const METADATA_FIELD: u64 = 14;
/// Longer than any label; a greater length means that the file is not a model.
const MAX_ENTRY_BYTES: u64 = 1 << 20;

/// Writes the labelled copies of the server configurations in `model_folder`; returns those written.
///
/// A source that does not exist is skipped.
pub fn write(model_folder: &Path, label: &str) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (source, copy) in CONFIGURATIONS {
        let source = model_folder.join(source);
        let mut text = match fs::read(&source) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.with_context(|| format!("cannot read {}", source.display()))?,
        };
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(parameter(label).as_bytes());
        let copy = model_folder.join(copy);
        let folder = copy.parent().expect("a path with a folder");
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        file::replace(&copy, &text)?;
        written.push(copy);
    }
    Ok(written)
}

/// Deletes the labelled copies: while a model is being replaced, no server may report the old one's label.
pub fn remove(model_folder: &Path) -> Result<()> {
    CONFIGURATIONS.iter().try_for_each(|(_, copy)| file::remove(&model_folder.join(copy)))
}

/// Returns the source of the weights in the ONNX file `path`, from its metadata; `None` if it names none.
///
/// Steps over the graph, so a large file costs no more than a small one.
///
/// # Errors
/// The file cannot be read, or is not an ONNX model.
pub fn weights_label(path: &Path) -> Result<Option<String>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let length = file.metadata().with_context(|| format!("cannot read {}", path.display()))?.len();
    find_label(&mut BufReader::new(file), length)
        .with_context(|| format!("{} is not a readable ONNX model; write it again", path.display()))
}

/// Walks the fields of a ModelProto of `length` bytes.
fn find_label(file: &mut (impl Read + Seek), length: u64) -> Result<Option<String>> {
    let mut label = None;
    while file.stream_position()? < length {
        let key = varint(file)?;
        let (field, wire_type) = (key >> 3, key & 7);
        let skip = match wire_type {
            0 => {
                varint(file)?;
                0
            }
            1 => 8,
            2 => varint(file)?,
            5 => 4,
            other => bail!("field {field} has the unknown wire type {other}"),
        };
        let left = length - file.stream_position()?;
        if skip > left {
            bail!("field {field} is {skip} bytes, but the file has only {left} more");
        }
        if field == METADATA_FIELD && wire_type == 2 && skip <= MAX_ENTRY_BYTES {
            let mut bytes = vec![0; skip as usize];
            file.read_exact(&mut bytes)?;
            let entry = StringStringEntryProto::decode(&*bytes)?;
            if entry.key() == WEIGHTS_KEY {
                label = entry.value;
            }
        } else {
            file.seek(SeekFrom::Current(skip as i64))?;
        }
    }
    Ok(label)
}

fn varint(file: &mut impl Read) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a number does not end")
}

/// The label as a model parameter in protobuf text format.
fn parameter(label: &str) -> String {
    format!("parameters {{ key: \"{WEIGHTS_KEY}\" value {{ string_value: \"{}\" }} }}\n", escape(label))
}

/// Escapes the inside of a string literal: non-printable or non-ASCII bytes become `\ooo`, which every parser reads.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => escaped.extend(['\\', byte as char]),
            b' '..=b'~' => escaped.push(byte as char),
            _ => escaped.push_str(&format!("\\{byte:03o}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::onnx::{GraphProto, ModelProto, set_metadata};
    use super::*;

    #[test]
    fn copies_are_the_source_and_the_label() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("configs")).unwrap();
        fs::write(folder.path().join("config.pbtxt"), "name: \"scrfd\"").unwrap();
        fs::write(folder.path().join("configs/pypi.pbtxt"), "backend: \"python\"\n").unwrap();
        let written = write(folder.path(), "a label").unwrap();
        assert_eq!(written.len(), 2);
        let line = "parameters { key: \"weights\" value { string_value: \"a label\" } }\n";
        assert_eq!(fs::read_to_string(&written[0]).unwrap(), format!("name: \"scrfd\"\n{line}"));
        assert_eq!(fs::read_to_string(&written[1]).unwrap(), format!("backend: \"python\"\n{line}"));
        assert_eq!(written[1], folder.path().join("configs/pypi-labelled.pbtxt"));
        remove(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("configs")).unwrap().count(), 1);
    }

    #[test]
    fn missing_sources_are_skipped() {
        let folder = tempfile::tempdir().unwrap();
        assert!(write(folder.path(), "a label").unwrap().is_empty());
        remove(folder.path()).unwrap();
        fs::write(folder.path().join("config.pbtxt"), "").unwrap();
        assert_eq!(write(folder.path(), "a label").unwrap(), [folder.path().join("configs/labelled.pbtxt")]);
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escape("a \"b\" \\ c\n\u{e9}"), "a \\\"b\\\" \\\\ c\\012\\303\\251");
    }

    #[test]
    fn label_is_found_behind_the_graph() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let mut model = ModelProto { ir_version: Some(6), ..Default::default() };
        model.graph = Some(GraphProto { name: Some("x".repeat(100_000)), ..Default::default() });
        fs::write(&path, model.encode_to_vec()).unwrap();
        assert_eq!(weights_label(&path).unwrap(), None);
        set_metadata(&mut model, "other", "thing");
        set_metadata(&mut model, WEIGHTS_KEY, "a label");
        fs::write(&path, model.encode_to_vec()).unwrap();
        assert_eq!(weights_label(&path).unwrap().as_deref(), Some("a label"));
    }

    #[test]
    fn what_is_no_model_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        assert!(format!("{:#}", weights_label(&path).unwrap_err()).contains("m.onnx"));
        for bytes in [&b"<html>not a model</html>"[..], &[0xff; 40], &[0x3a, 0xff, 0xff, 0x03]] {
            fs::write(&path, bytes).unwrap();
            let error = format!("{:#}", weights_label(&path).unwrap_err());
            assert!(error.contains("m.onnx is not a readable ONNX model"), "{error}");
        }
    }
}
