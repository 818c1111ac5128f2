//! Reading an ONNX file, and the files beside it that hold its larger tensors.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use prost::Message;

use crate::proto::onnx::{GraphProto, ModelProto, StringStringEntryProto, TensorProto};

const EXTERNAL: i32 = 1;

/// Reads the file in `path` without copying its weights. Errors do not name the folder, because clients see them.
///
/// # Errors
/// It cannot be read, or is not an ONNX model.
pub fn read(path: &Path) -> Result<ModelProto> {
    let bytes = fs::read(path).map_err(|error| anyhow::anyhow!("it cannot be read: {error}"))?;
    let model = ModelProto::decode(Bytes::from(bytes)).context("it is not an ONNX file, or a damaged one")?;
    ensure!(model.graph.is_some(), "it is not an ONNX file: it holds no graph");
    Ok(model)
}

/// Loads tensors that are stored in files beside the model into it.
///
/// # Errors
/// A file is missing, too short, or outside of the model's folder.
pub fn bring_in(model: &mut ModelProto, folder: &Path) -> Result<()> {
    let mut files = BTreeMap::new();
    let graph = model.graph.get_or_insert_default();
    each_tensor(graph, &mut |tensor| {
        if tensor.data_location() != EXTERNAL {
            return Ok(());
        }
        let data = external(tensor, folder, &mut files).with_context(|| format!("tensor \"{}\"", tensor.name()))?;
        tensor.raw_data = Some(data);
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    })
}

fn external(tensor: &TensorProto, folder: &Path, files: &mut BTreeMap<String, Bytes>) -> Result<Bytes> {
    let entry = |key: &str| {
        tensor
            .external_data
            .iter()
            .find(|entry| entry.key() == key)
            .map(StringStringEntryProto::value)
    };
    let number =
        |key: &str| entry(key).map(|text| text.parse::<usize>().with_context(|| format!("{key} is \"{text}\"")));
    let location = entry("location").context("it is kept in another file, but the model does not say in which")?;
    // its content may end up in answers: only files in the model's own folder are allowed
    let inside = Path::new(location)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(inside && !location.is_empty(), "its data is in \"{location}\", outside of the model's folder");
    if !files.contains_key(location) {
        let bytes = fs::read(folder.join(location));
        let bytes =
            bytes.map_err(|error| anyhow::anyhow!("its data is in \"{location}\", which cannot be read: {error}"))?;
        files.insert(location.to_owned(), Bytes::from(bytes));
    }
    let bytes = &files[location];
    let offset = number("offset").transpose()?.unwrap_or(0);
    let length = match number("length").transpose()? {
        Some(length) => length,
        None => bytes_of(tensor).context("its size cannot be told")?,
    };
    match offset.checked_add(length) {
        Some(end) if end <= bytes.len() => Ok(bytes.slice(offset..end)),
        _ => bail!("{length} bytes from {offset} are wanted of \"{location}\", which has {}", bytes.len()),
    }
}

/// Bytes of a tensor's elements, if their type determines it.
fn bytes_of(tensor: &TensorProto) -> Option<usize> {
    let size = super::elements::Element::of(tensor.data_type()).datatype()?.size()?;
    tensor
        .dims
        .iter()
        .try_fold(size, |bytes, side| bytes.checked_mul(usize::try_from(*side).ok()?))
}

/// Calls `visit` with every tensor of a graph and of its subgraphs.
///
/// # Errors
/// The first error of `visit`.
pub fn each_tensor(graph: &mut GraphProto, visit: &mut impl FnMut(&mut TensorProto) -> Result<()>) -> Result<()> {
    for tensor in &mut graph.initializer {
        visit(tensor)?;
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        if let Some(tensor) = &mut attribute.t {
            visit(tensor)?;
        }
        attribute.tensors.iter_mut().try_for_each(&mut *visit)?;
        if let Some(inner) = &mut attribute.g {
            each_tensor(inner, visit)?;
        }
    }
    Ok(())
}
