//! INT64 in the engine's 32 bits: computations on data are repeated in floating point, and the engine's number is an
//! answer only if the floating-point one stays within 32 bits.

use super::elements::Element;
use super::graph::Node;
use super::write::{Writer, int};
use crate::proto::onnx::NodeProto;

/// Operators that make integers grow.
const GROWING: [&str; 12] = [
    "Abs",
    "Add",
    "CumSum",
    "Mul",
    "Neg",
    "Pow",
    "ReduceL1",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Sub",
    "Sum",
];
/// The largest number that a guard accepts: below 2^31 by more than rounding may add.
pub const LIMIT: f32 = 2_147_480_000.0;

/// The guards and names collected while preparing a model.
#[derive(Default)]
pub struct Found {
    /// Names of scalars that must stay within 32 bits while the model runs.
    pub guards: Vec<String>,
    /// Number of names made.
    pub names: usize,
}

/// The nodes that guard a node's result.
pub fn guards(node: Node, found: &mut Found) -> Vec<NodeProto> {
    let op = node.proto.op_type();
    let grows = |index| node.facts(index).is_some_and(|facts| facts.grows);
    let data = (0..node.proto.input.len()).any(grows);
    let cast = op == "Cast"
        && Element::of(node.int("to", 0) as i32) == Element::INT64
        && node.element(0).is_some_and(Element::is_float);
    let arithmetic = GROWING.contains(&op) && node.element(0) == Some(Element::INT64);
    if !data || !(cast || arithmetic) {
        return Vec::new();
    }
    let mut writer = Writer::new(&mut found.names);
    let input = |index: usize| node.input(index).unwrap_or_default();
    let value = if cast {
        input(0).to_owned()
    } else {
        let lists = op.starts_with("Reduce") || op == "CumSum";
        let mut inputs = Vec::new();
        for index in 0..node.proto.input.len() {
            inputs.push(if lists && index > 0 {
                input(index).to_owned()
            } else {
                writer.cast(input(index), Element::FLOAT)
            });
        }
        writer.again(node, &inputs.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let size = writer.op("Abs", &[&value], vec![]);
    let largest = writer.op("ReduceMax", &[&size], vec![int("keepdims", 0)]);
    let nodes = writer.finish().into_iter().map(|written| written.node).collect();
    found.guards.push(largest);
    nodes
}
