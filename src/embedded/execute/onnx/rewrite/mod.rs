//! Rewrites nodes that the engine computes wrongly, or refuses, as ones that it computes correctly. Each rule is
//! exact: the replacement gives the standard's numbers. A rule that has nothing to fix returns `None`.

mod arithmetic;
mod quantized;
mod shapes;
mod windows;

use super::graph::Node;
use super::table;
use super::write::Writer;
use crate::proto::onnx::NodeProto;

/// Writes a node's replacement; `None` if the node needs none.
type Rule = fn(Node, &mut Writer) -> Option<()>;

/// The rules, in the order in which they are tried.
const RULES: &[(&[&str], Rule)] = &[
    (&["Dropout"], shapes::dropout),
    (&["Reduce"], shapes::list_inputs),
    (&["Unsqueeze", "Squeeze", "Reshape", "Expand", "Slice", "Split", "Tile", "Pad"], shapes::list_inputs),
    (&["Pad"], shapes::pad_axes),
    (&["ArgMax", "ArgMin"], shapes::first_of_equals),
    (&["Resize"], shapes::resize_of_opset_10),
    (&["Resize"], shapes::resize_axes),
    (&["SpaceToDepth"], shapes::space_to_depth),
    (&["Conv", "ConvInteger", "ConvTranspose"], windows::convolution),
    (&["ConvTranspose"], windows::output_shape),
    (&["AveragePool", "MaxPool"], windows::pooling),
    (&["Div"], arithmetic::single_division),
    (&["Cast"], arithmetic::cast_to_bool),
    (&["Sign"], arithmetic::sign),
    (&["Softplus"], arithmetic::softplus),
    (&["Softmax", "LogSoftmax"], arithmetic::softmax_of_old),
    (&["MatMul"], arithmetic::matrix_by_vector),
    (&["ReduceMax"], arithmetic::any),
    (&["PRelu"], arithmetic::prelu),
    (&["IsInf"], arithmetic::is_inf),
    (&["Pow"], arithmetic::pow),
    (&["OneHot"], arithmetic::one_hot),
    (&["Relu"], arithmetic::integer_relu),
    (&["Selu", "Celu", "ThresholdedRelu", "Shrink", "Mish", "Hardmax"], arithmetic::activations),
    (&["LayerNormalization"], arithmetic::layer_normalization),
    (&["QuantizeLinear"], quantized::quantize),
    (&["DynamicQuantizeLinear"], quantized::dynamic_quantize),
    (&["MatMulInteger", "ConvInteger"], quantized::zero_points),
    (&["ConvInteger"], quantized::padded),
];

/// Writes a node's replacement; `None` if it needs none. `divided_then_rounded` means that a quotient is rounded to
/// an integer, so that its last bit counts.
pub fn rewrite(node: Node, writer: &mut Writer, divided_then_rounded: bool) -> Option<()> {
    if !matches!(node.proto.domain(), "" | "ai.onnx") {
        return None;
    }
    // the effect of an attribute that the rules do not know is unknown
    if table::find(node).is_none_or(|row| row.unknown(node).is_some()) {
        return None;
    }
    let op = node.proto.op_type();
    if divided_then_rounded && op == "Div" && arithmetic::exact_division(node, writer).is_some() {
        return Some(());
    }
    // the engine has only some of the operators for eight-bit integers
    if table::find(node).is_some_and(|row| row.widens()) && arithmetic::widen(node, writer).is_some() {
        return Some(());
    }
    let mut rules = RULES
        .iter()
        .filter(|(ops, _)| ops.contains(&op) || (ops == &["Reduce"] && op.starts_with("Reduce")));
    rules.find_map(|(_, rule)| rule(node, writer))
}

/// Removes unused outputs, and attributes that only state the default, from a node before any rule sees it.
pub fn tidy(node: &mut NodeProto, taken: impl Fn(&str) -> bool) {
    for output in node.output.iter_mut().skip(1) {
        if !taken(output) {
            output.clear();
        }
    }
    while node.output.len() > 1 && node.output.last().is_some_and(String::is_empty) {
        node.output.pop();
    }
    while node.input.last().is_some_and(String::is_empty) {
        node.input.pop();
    }
    // kernel hints of early files, and settings that are only for training
    let said = |name: &str| node.attribute.iter().any(|attribute| attribute.name() == name && attribute.i() != 0);
    let old: &[&str] = match node.op_type() {
        "BatchNormalization" if said("is_test") => &["consumed_inputs", "is_test"],
        // the third input is broadcast in any case
        "Gemm" => &["broadcast"],
        // leaving it out is never less accurate: with it the engine rounds what it multiplies to eight bits
        "MatMulNBits" => &["accuracy_level"],
        _ => &["consumed_inputs"],
    };
    node.attribute.retain(|attribute| !old.contains(&attribute.name()));
}
