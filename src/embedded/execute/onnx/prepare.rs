//! Walks a model: rewrites its nodes, and refuses those that the engine is not known to compute correctly.

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};

use super::elements::Element;
use super::graph::{Facts, Node, Scope, of_tensor};
use super::guard::{self, Found};
use super::write::{Writer, Written};
use super::{rewrite, table, types};
use crate::proto::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto, type_proto,
};

/// Most rules applied in a row to one node's replacements.
const REWRITES_MAX: usize = 16;

/// Rewrites a model so that the engine computes it correctly.
///
/// # Errors
/// It holds something that the engine does not have; the message names the operator, its node and its operator set.
pub fn prepare(model: &mut ModelProto) -> Result<Found> {
    ensure!(model.functions.is_empty(), "it defines its own functions, which the engine does not have");
    let mut found = Found::default();
    let opsets = model.opset_import.clone();
    let graph = model.graph.get_or_insert_default();
    ensure!(graph.sparse_initializer.is_empty(), "it has sparse weights, which the engine does not have");
    walk(graph, None, &opsets, &mut found)?;
    graph.output.extend(
        found
            .guards
            .iter()
            .map(|name| ValueInfoProto { name: Some(name.clone()), ..Default::default() }),
    );
    if model.ir_version.is_none() {
        // the engine recognizes the file by its first bytes
        model.ir_version = Some(8);
    }
    Ok(found)
}

/// The version of a domain's operator set.
fn version(opsets: &[OperatorSetIdProto], domain: &str) -> i64 {
    let plain = |domain: &str| if domain == "ai.onnx" { String::new() } else { domain.to_owned() };
    let own = opsets.iter().find(|entry| plain(entry.domain()) == plain(domain));
    own.map_or(1, OperatorSetIdProto::version)
}

/// Walks one graph; returns the facts about its outputs.
fn walk(
    graph: &mut GraphProto,
    around: Option<&Scope>,
    opsets: &[OperatorSetIdProto],
    found: &mut Found,
) -> Result<Vec<Facts>> {
    for tensor in &graph.initializer {
        representable(tensor).with_context(|| format!("the weights \"{}\"", tensor.name()))?;
    }
    let mut scope = Scope::of(graph, around);
    let mut taken = HashSet::new();
    taken.extend(graph.output.iter().map(|output| output.name().to_owned()));
    takes(graph, &mut taken);
    // the engine would trust the file's intermediate shapes, which ONNX Runtime does not
    graph.value_info.clear();
    for output in &mut graph.output {
        if let Some(type_proto::Value::TensorType(tensor)) = output.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        {
            tensor.shape = None;
        }
    }
    let rounded = rounded(graph);
    let nodes = std::mem::take(&mut graph.node);
    for (index, mut node) in nodes.into_iter().enumerate() {
        rewrite::tidy(&mut node, |output| taken.contains(output));
        let (opset, title) = (version(opsets, node.domain()), title(&node, version(opsets, node.domain())));
        let operator = Node { proto: &node, scope: &scope, opset }.operator();
        let mut branches = Vec::new();
        for attribute in &mut node.attribute {
            if let Some(tensor) = &attribute.t {
                representable(tensor).with_context(|| title.clone())?;
            }
            if let Some(inner) = &mut attribute.g {
                branches.push(walk(inner, Some(&scope), opsets, found).with_context(|| format!("inside {title}"))?);
            }
        }
        // its replacement gives the same outputs
        learn(&mut scope, &node, opset, &branches);
        let exact = node.output.first().is_some_and(|output| rounded.contains(output));
        let mut work = vec![(Written { node, last: false }, 0)];
        while let Some((written, depth)) = work.pop() {
            ensure!(depth < REWRITES_MAX, "{title}: the rules for it do not come to an end");
            let view = Node { proto: &written.node, scope: &scope, opset };
            let mut writer = Writer::new(&mut found.names);
            if !written.last && rewrite::rewrite(view, &mut writer, exact && depth == 0).is_some() {
                work.extend(writer.finish().into_iter().rev().map(|written| (written, depth + 1)));
                continue;
            }
            if let Err(words) = table::check(view) {
                let same = operator == view.operator();
                let through = if same { String::new() } else { format!(", through {}", view.operator()) };
                bail!("{title}{through}: {words}");
            }
            if around.is_none() {
                graph.node.extend(guard::guards(view, found));
            }
            let mut finished = written.node;
            learn(&mut scope, &finished, opset, &branches);
            finished.name = Some(format!("{} {index}", finished.op_type()));
            graph.node.push(finished);
        }
    }
    Ok(graph
        .output
        .iter()
        .map(|output| scope.get(output.name()).cloned().unwrap_or_default())
        .collect())
}

/// A node's description for messages.
fn title(node: &NodeProto, opset: i64) -> String {
    let scope = Scope::default();
    let operator = Node { proto: node, scope: &scope, opset }.operator();
    match node.name() {
        "" => format!("operator {operator} (opset {opset})"),
        name => format!("operator {operator} (opset {opset}, node \"{name}\")"),
    }
}

/// Records the facts about a node's outputs.
fn learn(scope: &mut Scope, node: &NodeProto, opset: i64, branches: &[Vec<Facts>]) {
    let constant = constant(node);
    for (index, output) in node.output.iter().enumerate().filter(|(_, output)| !output.is_empty()) {
        let facts = match (node.op_type(), &constant) {
            ("Constant", Some(tensor)) => of_tensor(tensor),
            // a loop body's first output is whether to continue
            ("If", _) => inner(index, branches),
            ("Loop", _) => inner(index + 1, branches),
            _ => types::output(Node { proto: node, scope, opset }, index),
        };
        scope.learn(output, facts);
    }
}

/// A subgraph's facts about one of the node's outputs.
fn inner(index: usize, branches: &[Vec<Facts>]) -> Facts {
    let element = branches.iter().find_map(|outputs| outputs.get(index)?.element);
    Facts { element, grows: true, ..Default::default() }
}

/// The tensor of a Constant node.
fn constant(node: &NodeProto) -> Option<TensorProto> {
    let attribute = node.attribute.first()?;
    let int64 = |dims: Vec<i64>, int64_data: Vec<i64>| {
        Some(TensorProto { dims, int64_data, data_type: Some(Element::INT64.0), ..Default::default() })
    };
    match attribute.name() {
        "value" => attribute.t.clone(),
        "value_int" => int64(vec![], vec![attribute.i()]),
        "value_ints" => int64(vec![attribute.ints.len() as i64], attribute.ints.clone()),
        _ => None,
    }
}

/// Collects the names that are used, in subgraphs too.
fn takes(graph: &GraphProto, taken: &mut HashSet<String>) {
    for node in &graph.node {
        taken.extend(node.input.iter().cloned());
        for inner in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            taken.extend(inner.output.iter().map(|output| output.name().to_owned()));
            takes(inner, taken);
        }
    }
}

/// The values that are rounded to integers, or compared for equality.
fn rounded(graph: &GraphProto) -> HashSet<String> {
    let whole = |node: &&NodeProto| match node.op_type() {
        "Floor" | "Ceil" | "Round" | "Mod" | "Equal" => true,
        "Cast" => {
            let to = node
                .attribute
                .iter()
                .find(|attribute| attribute.name() == "to")
                .map_or(0, |to| to.i() as i32);
            !Element::of(to).is_float()
        }
        _ => false,
    };
    graph.node.iter().filter(whole).flat_map(|node| node.input.iter().cloned()).collect()
}

/// Checks that the engine can hold the numbers.
fn representable(tensor: &TensorProto) -> Result<()> {
    let element = Element::of(tensor.data_type());
    ensure!(element.held().is_some(), "its type is {element}, which the engine does not have");
    if element == Element::DOUBLE {
        let wide = |value: f64| value.is_finite() && !(value as f32).is_finite();
        let raw = tensor.raw_data().as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes));
        let beyond = tensor.double_data.iter().copied().chain(raw).find(|value| wide(*value));
        if let Some(value) = beyond {
            bail!("it has {value:e}, beyond the engine's single precision");
        }
    }
    Ok(())
}
