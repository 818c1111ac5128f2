//! The type of each output of an operator.

use super::elements::Element;
use super::graph::{Facts, Node};

/// Operators whose outputs are sizes, positions and counts: no data, however large, takes them beyond 32 bits.
const SIZES: [&str; 7] = ["ArgMax", "ArgMin", "NonMaxSuppression", "NonZero", "SequenceLength", "Shape", "Size"];
const TRUTHS: [&str; 11] =
    ["And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor"];
/// Operators that pass on the elements of their first input.
pub const HANDED_ON: [&str; 11] = [
    "Cast",
    "Concat",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "Reshape",
    "Slice",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// The facts about an output.
pub fn output(node: Node, index: usize) -> Facts {
    let element = element(node, index);
    let inputs = 0..node.proto.input.len();
    let small = SIZES.contains(&node.proto.op_type())
        || (node.proto.op_type() == "TopK" && index == 1)
        || element == Some(Element::BOOL)
        || element.is_some_and(Element::is_byte);
    let grows = !small && inputs.clone().any(|input| node.facts(input).is_some_and(|facts| facts.grows));
    let wide = HANDED_ON.contains(&node.proto.op_type())
        && inputs
            .take(if node.proto.op_type() == "Concat" { usize::MAX } else { 1 })
            .any(|input| node.facts(input).is_some_and(|f| f.wide));
    Facts { element, grows, wide, shape: shape(node, index), constant: None }
}

/// The shape, if it is simple to derive.
fn shape(node: Node, index: usize) -> Option<Vec<i64>> {
    const UNCHANGED: [&str; 34] = [
        "Abs",
        "Acos",
        "Asin",
        "Atan",
        "BatchNormalization",
        "Cast",
        "Ceil",
        "Clip",
        "Cos",
        "DequantizeLinear",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "InstanceNormalization",
        "LayerNormalization",
        "LeakyRelu",
        "Log",
        "LogSoftmax",
        "Neg",
        "Not",
        "QuantizeLinear",
        "Reciprocal",
        "Relu",
        "Round",
        "Sigmoid",
        "Sin",
        "Softmax",
        "Sqrt",
        "Tanh",
    ];
    const TOGETHER: [&str; 7] = ["Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"];
    match node.proto.op_type() {
        op if index == 0 && UNCHANGED.contains(&op) => node.shape(0).map(<[i64]>::to_vec),
        op if TOGETHER.contains(&op) && node.proto.input.len() == 2 => broadcast(node.shape(0)?, node.shape(1)?),
        "Shape" => Some(vec![node.rank(0).map_or(-1, |rank| rank as i64)]),
        "Gather" if node.rank(1) == Some(0) && node.rank(0) == Some(1) => Some(vec![]),
        op if op.starts_with("Reduce")
            && node.int("keepdims", 1) == 0
            && node.input(1).is_none()
            && node.ints("axes").is_none() =>
        {
            Some(vec![])
        }
        _ => None,
    }
}

/// The shape that two shapes broadcast to.
fn broadcast(left: &[i64], right: &[i64]) -> Option<Vec<i64>> {
    let rank = left.len().max(right.len());
    let at = |shape: &[i64], index: usize| (index + shape.len()).checked_sub(rank).map_or(1, |at| shape[at]);
    let sides = (0..rank).map(|index| match (at(left, index), at(right, index)) {
        (1, side) | (side, 1) => side,
        (left, right) if left == right => left,
        (-1, side) | (side, -1) => side,
        _ => -1,
    });
    Some(sides.collect())
}

fn element(node: Node, index: usize) -> Option<Element> {
    let of = |name: &str| {
        node.attribute(name)
            .map(|attribute| Element::of(attribute.i() as i32))
            .filter(|e| e.0 != 0)
    };
    let tensor = || {
        node.attribute("value")
            .and_then(|value| value.t.as_ref())
            .map(|t| Element::of(t.data_type()))
    };
    match (node.proto.op_type(), index) {
        (op, _) if SIZES.contains(&op) => Some(Element::INT64),
        (op, _) if TRUTHS.contains(&op) => Some(Element::BOOL),
        ("Cast" | "BitCast", _) => of("to"),
        ("CastLike", _) => node.element(1),
        ("ConstantOfShape", _) => tensor().or(Some(Element::FLOAT)),
        ("Constant", _) => tensor().or_else(|| {
            let ints = node.attribute("value_int").or(node.attribute("value_ints"));
            Some(if ints.is_some() { Element::INT64 } else { Element::FLOAT })
        }),
        ("EyeLike", _) => of("dtype").or(node.element(0)),
        ("SequenceEmpty", _) => of("dtype").or(Some(Element::FLOAT)),
        ("RandomNormal" | "RandomUniform", _) => of("dtype").or(Some(Element::FLOAT)),
        ("RandomNormalLike" | "RandomUniformLike", _) => of("dtype").or(node.element(0)),
        ("Multinomial", _) => of("dtype").or(Some(Element::INT32)),
        ("QuantizeLinear", _) => of("output_dtype").or(node.element(2)).or(Some(Element::UINT8)),
        ("DequantizeLinear", _) => of("output_dtype").or(node.element(1)),
        ("DynamicQuantizeLinear", 1) => Some(Element::FLOAT),
        ("DynamicQuantizeLinear", _) => Some(Element::UINT8),
        ("MatMulInteger" | "ConvInteger", _) => Some(Element::INT32),
        ("TopK" | "MaxPool", 1) => Some(Element::INT64),
        ("Dropout", 1) => Some(Element::BOOL),
        ("OneHot", _) => node.element(2),
        ("Where" | "SequenceInsert", _) => node.element(1),
        // the subgraph determines it
        ("If" | "Loop" | "Scan", _) => None,
        _ => node.element(0),
    }
}
