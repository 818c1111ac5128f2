//! Makes a published model serve batches, with only the changes that insightface's graphs need.
//! Knows the two published graphs; nothing of files or downloads.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail, ensure};
use tensor_shape_proto::dimension::Value;

use super::onnx::*;
use crate::scenario::{Artifact, Structure};

/// Key of the `metadata_props` entry that lists the changes to a published file.
const CHANGES_KEY: &str = "weights_changes";
const CHANGES: &str = "made batchable and outputs renamed by runner; weights unchanged";
/// [n, c, h, w] -> [h, w, n, c]: how det_10g moves channels last, which mixes up images when n > 1.
const UNBATCHED: [i64; 4] = [2, 3, 0, 1];
/// [n, c, h, w] -> [n, h, w, c]: the same for n = 1, and right for any n.
const BATCHED: [i64; 4] = [0, 2, 3, 1];

/// The label of published weights: "<member> sha256 <hex> from <url>".
pub fn label(artifact: &Artifact) -> String {
    format!("{} sha256 {} from {}", artifact.member, artifact.member_sha256.to_lowercase(), artifact.url)
}

/// Edits `model`: dimension 0 of its input and outputs becomes the batch, and its outputs get the names of
/// `artifact.outputs`. Adds the label.
///
/// # Errors
/// The graph is not the published one that this edit is for; the message gives what it found and expected.
pub fn make_batchable(model: &mut ModelProto, artifact: &Artifact) -> Result<()> {
    let graph = model.graph.as_mut().context("the model has no graph")?;
    let input = the_input(graph)?;
    set_batch(&mut graph.input[input], "input")?;
    match artifact.stand_in {
        Structure::Scrfd => batch_heads(graph)?,
        Structure::ArcFace => {
            refuse_fixed_batch(graph)?;
            graph.output.iter_mut().try_for_each(|output| set_batch(output, "output"))?;
        }
    }
    rename_outputs(graph, &artifact.outputs)?;
    // Shapes inferred for batch 1. A server infers them again.
    graph.value_info.clear();
    set_metadata(model, WEIGHTS_KEY, &label(artifact));
    set_metadata(model, CHANGES_KEY, CHANGES);
    Ok(())
}

/// Index of the only input that is not an initialiser (old files list those too).
fn the_input(graph: &GraphProto) -> Result<usize> {
    let initialisers: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let inputs: Vec<usize> = (0..graph.input.len())
        .filter(|&index| !initialisers.contains(graph.input[index].name()))
        .collect();
    match inputs[..] {
        [input] => Ok(input),
        _ => bail!("the model has {} inputs, expected the image alone; check [artifact] member", inputs.len()),
    }
}

fn set_batch(value: &mut ValueInfoProto, role: &str) -> Result<()> {
    let name = value.name().to_owned();
    let first = dimensions(value).and_then(|dimensions| dimensions.first_mut());
    let first = first.with_context(|| format!("{role} `{name}` has no shape, so no batch dimension can be set"))?;
    first.value = symbolic(BATCH).value;
    Ok(())
}

fn dimensions(value: &mut ValueInfoProto) -> Option<&mut Vec<tensor_shape_proto::Dimension>> {
    match value.r#type.as_mut()?.value.as_mut()? {
        type_proto::Value::TensorType(tensor) => Some(&mut tensor.shape.as_mut()?.dim),
        _ => None,
    }
}

/// The nodes that lead to one output of det_10g: ... -> Transpose -> Reshape (-> Sigmoid) -> output.
struct Head {
    transpose: usize,
    reshape: usize,
    /// Values per anchor: the K of the reshape to [-1, K].
    width: i64,
}

/// Turns the nine [anchors, K] outputs into [batch, anchors, K].
fn batch_heads(graph: &mut GraphProto) -> Result<()> {
    let heads: Vec<Head> = graph
        .output
        .iter()
        .map(|output| find_head(graph, output.name()))
        .collect::<Result<_>>()?;
    let mut widths = HashSet::new();
    let mut replaced = HashSet::new();
    for head in &heads {
        let perm = graph.node[head.transpose]
            .attribute
            .iter_mut()
            .find(|attribute| attribute.name() == "perm");
        perm.expect("find_head checked it").ints = BATCHED.to_vec();
        // Not edited in place: exporters share one constant among nodes, and not only among these.
        widths.insert(head.width);
        replaced.insert(std::mem::replace(&mut graph.node[head.reshape].input[1], shape_name(head.width)));
    }
    for (output, head) in graph.output.iter_mut().zip(&heads) {
        set_head_shape(output, head.width)?;
    }
    remove_unused(graph, &replaced);
    let mut widths: Vec<i64> = widths.into_iter().collect();
    widths.sort_unstable();
    // At the front, as nodes must come after what they use.
    let constants = widths.iter().map(|&width| constant(&shape_name(width), integers(&[0, -1, width])));
    graph.node.splice(0..0, constants);
    Ok(())
}

fn shape_name(width: i64) -> String {
    format!("runner.batched_rows_of_{width}")
}

/// Walks from `output` back to its Transpose.
fn find_head(graph: &GraphProto, output: &str) -> Result<Head> {
    let mut value = output;
    let mut reshape = None;
    loop {
        let node = graph.node.iter().position(|node| node.output.iter().any(|name| name == value));
        let index = node.with_context(|| format!("output `{output}`: nothing produces `{value}`"))?;
        let node = &graph.node[index];
        match node.op_type() {
            "Sigmoid" => {}
            "Reshape" if reshape.is_none() => reshape = Some((index, head_width(graph, node, output)?)),
            "Transpose" => {
                let perm = node.attribute.iter().find(|attribute| attribute.name() == "perm");
                let perm = perm.map_or(&[][..], |perm| &perm.ints);
                ensure!(
                    perm == UNBATCHED,
                    "output `{output}`: its Transpose has perm {perm:?}, expected {UNBATCHED:?} as in the published \
                     file; {}",
                    if perm == BATCHED { "is it batchable already?" } else { "check [artifact] member" }
                );
                let (reshape, width) = reshape
                    .with_context(|| format!("output `{output}`: no Reshape after its Transpose; expected one"))?;
                return Ok(Head { transpose: index, reshape, width });
            }
            other => bail!(
                "output `{output}`: found {other} before it, expected Transpose, Reshape and perhaps Sigmoid as in the \
                 published file; check [artifact] member and stand_in"
            ),
        }
        value = node.input.first().with_context(|| format!("output `{output}`: a node without input"))?;
    }
}

/// The K of a reshape to [-1, K].
fn head_width(graph: &GraphProto, reshape: &NodeProto, output: &str) -> Result<i64> {
    let shape = reshape.input.get(1).and_then(|name| constant_integers(graph, name));
    match shape.as_deref() {
        Some(&[-1, width]) if width > 0 => Ok(width),
        Some(other) => {
            bail!("output `{output}`: its Reshape is to {other:?}, expected [-1, K]; check [artifact] member")
        }
        None => bail!("output `{output}`: the shape of its Reshape is not a constant; expected [-1, K]"),
    }
}

/// [anchors, K] -> [batch, anchors, K], with the file's number of anchors.
fn set_head_shape(output: &mut ValueInfoProto, width: i64) -> Result<()> {
    let name = output.name().to_owned();
    let shape = dimensions(output).with_context(|| format!("output `{name}` has no shape; expected [anchors, K]"))?;
    ensure!(shape.len() == 2, "output `{name}` has {} dimensions, expected 2: [anchors, K]", shape.len());
    let anchors = match &shape[0].value {
        Some(Value::DimValue(anchors)) if *anchors > 0 => fixed(*anchors),
        _ => symbolic(&format!("anchors_{name}")),
    };
    *shape = vec![symbolic(BATCH), anchors, fixed(width)];
    Ok(())
}

/// The values of an INT64 constant: an initialiser, or the output of a Constant node.
fn constant_integers(graph: &GraphProto, name: &str) -> Option<Vec<i64>> {
    if let Some(tensor) = graph.initializer.iter().find(|tensor| tensor.name() == name) {
        return tensor_integers(tensor);
    }
    let node = graph
        .node
        .iter()
        .find(|node| node.op_type() == "Constant" && node.output.iter().any(|o| o == name))?;
    node.attribute.iter().find_map(|attribute| match attribute.name() {
        "value" => tensor_integers(attribute.t.as_ref()?),
        "value_ints" => Some(attribute.ints.clone()),
        _ => None,
    })
}

fn tensor_integers(tensor: &TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type() != DataType::Int64 as i32 {
        return None;
    }
    match &tensor.raw_data {
        Some(raw) => Some(raw.chunks_exact(8).map(|eight| i64::from_le_bytes(eight.try_into().unwrap())).collect()),
        None => Some(tensor.int64_data.clone()),
    }
}

/// Drops those constants of `names` that no node uses any more.
fn remove_unused(graph: &mut GraphProto, names: &HashSet<String>) {
    let used: HashSet<&String> = graph.node.iter().flat_map(|node| &node.input).collect();
    let unused: HashSet<String> = names.iter().filter(|name| !used.contains(name)).cloned().collect();
    graph.initializer.retain(|tensor| !unused.contains(tensor.name()));
    graph.input.retain(|input| !unused.contains(input.name()));
    graph
        .node
        .retain(|node| !(node.op_type() == "Constant" && node.output.iter().all(|name| unused.contains(name))));
}

/// A Reshape to [1, ...] would fold a batch into one image.
fn refuse_fixed_batch(graph: &GraphProto) -> Result<()> {
    for node in graph.node.iter().filter(|node| node.op_type() == "Reshape") {
        let shape = node.input.get(1).and_then(|name| constant_integers(graph, name)).unwrap_or_default();
        ensure!(
            shape.first() != Some(&1),
            "node `{}` reshapes to {shape:?}, which fixes the batch at 1; the published file has no such node: check \
             [artifact] member and stand_in",
            node.name()
        );
    }
    Ok(())
}

/// Renames outputs wherever their names are used.
fn rename_outputs(graph: &mut GraphProto, outputs: &[(String, String)]) -> Result<()> {
    let names: HashMap<&str, &str> = outputs.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect();
    let existing: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
    for (published, _) in outputs {
        ensure!(
            existing.contains(&published.as_str()),
            "the model has no output `{published}`; it has {}: correct [artifact] outputs",
            existing.join(", ")
        );
    }
    let mut taken: HashSet<&str> = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    taken.extend(graph.input.iter().map(|input| input.name()));
    taken.extend(graph.initializer.iter().map(|tensor| tensor.name()));
    taken.retain(|name| !names.contains_key(name));
    for (published, served) in &names {
        ensure!(
            !served.is_empty() && taken.insert(served),
            "output `{published}` cannot be named `{served}`: the name is empty or taken; choose another in [artifact] \
             outputs"
        );
    }
    let rename = |name: &mut String| {
        if let Some(&served) = names.get(name.as_str()) {
            *name = served.to_owned();
        }
    };
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(rename);
    }
    graph.output.iter_mut().filter_map(|output| output.name.as_mut()).for_each(rename);
    graph
        .quantization_annotation
        .iter_mut()
        .filter_map(|note| note.tensor_name.as_mut())
        .for_each(rename);
    Ok(())
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;
