//! Nodes that the engine computes wrongly, or refuses, written as others that it computes rightly. Each rule is exact: what
//! it puts in place of a node gives the standard's numbers. A rule that finds nothing to mend says so with `None`.

mod arithmetic;
mod quantized;
mod shapes;
mod windows;

use super::graph::Node;
use super::table;
use super::write::Writer;
use crate::proto::onnx::NodeProto;

/// Writes what stands for a node; `None` where the node is well as it is.
type Rule = fn(Node, &mut Writer) -> Option<()>;

/// The rules, in the order in which they are asked.
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

/// What stands for a node; `None` where it is well as it is. `divided_then_rounded` says that a quotient is rounded to whole
/// numbers, so that its last bit counts.
pub fn rewrite(node: Node, writer: &mut Writer, divided_then_rounded: bool) -> Option<()> {
    if !matches!(node.proto.domain(), "" | "ai.onnx") {
        return None;
    }
    // what an attribute unknown to the rules would change is not known
    if table::find(node).is_none_or(|row| row.unknown(node).is_some()) {
        return None;
    }
    let op = node.proto.op_type();
    if divided_then_rounded && op == "Div" && arithmetic::exact_division(node, writer).is_some() {
        return Some(());
    }
    // of the eight bits' operators only some are the engine's
    if table::find(node).is_some_and(|row| row.widens()) && arithmetic::widen(node, writer).is_some() {
        return Some(());
    }
    let mut rules =
        RULES.iter().filter(|(ops, _)| ops.contains(&op) || (ops == &["Reduce"] && op.starts_with("Reduce")));
    rules.find_map(|(_, rule)| rule(node, writer))
}

/// What every node is freed of before anything else: outputs that nobody takes, and attributes that only say the default.
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
    // what kernels were told in files of the first years, and what a model that does not learn may leave unsaid
    let said = |name: &str| node.attribute.iter().any(|attribute| attribute.name() == name && attribute.i() != 0);
    let old: &[&str] = match node.op_type() {
        "BatchNormalization" if said("is_test") => &["consumed_inputs", "is_test"],
        // the third value is stretched in any case
        "Gemm" => &["broadcast"],
        // never less accurate than that: by it the engine rounds what it multiplies to eight bits
        "MatMulNBits" => &["accuracy_level"],
        _ => &["consumed_inputs"],
    };
    node.attribute.retain(|attribute| !old.contains(&attribute.name()));
}
