//! Rules for elementwise operators, and operators along one axis.

use crate::embedded::execute::onnx::elements::Element;
use crate::embedded::execute::onnx::graph::Node;
use crate::embedded::execute::onnx::types;
use crate::embedded::execute::onnx::write::{Writer, int, ints, node as written, with};

/// Computes eight-bit integers in 32 bits: the engine supports only the latter.
pub fn widen(node: Node, writer: &mut Writer) -> Option<()> {
    let byte = |input| node.element(input).is_some_and(Element::is_byte);
    if !(0..node.proto.input.len()).any(byte) {
        return None;
    }
    let mut wide = node.proto.clone();
    for (index, input) in wide.input.iter_mut().enumerate() {
        if byte(index) {
            *input = writer.cast(input, Element::INT32);
        }
    }
    let mut narrow = Vec::new();
    for (index, output) in wide.output.iter_mut().enumerate() {
        if let Some(element) = types::output(node, index).element.filter(|element| element.is_byte())
            && !output.is_empty()
        {
            let own = std::mem::replace(output, writer.name());
            narrow.push(written("Cast", &[output], &[&own], vec![int("to", element.0.into())]));
        }
    }
    writer.put(wide);
    narrow.into_iter().for_each(|cast| writer.put(cast));
    Some(())
}

/// A quotient exact to the last bit: the engine multiplies by the reciprocal of a single divisor.
pub fn exact_division(node: Node, writer: &mut Writer) -> Option<()> {
    let several = node.shape(1).is_some_and(|shape| shape.iter().any(|side| *side > 1));
    if several || node.element(0).is_none_or(|element| !element.is_float()) {
        return None;
    }
    let (left, right) = (node.input(0)?, node.input(1)?);
    let shape = writer.op("Shape", &[left], vec![]);
    let right = writer.op("Expand", &[right, &shape], vec![]);
    writer.put_last(written("Div", &[left, &right], &[node.output(0)?], vec![]));
    Some(())
}

/// Divides a scalar by a scalar.
pub fn single_division(node: Node, writer: &mut Writer) -> Option<()> {
    if node.rank(0) != Some(0) || node.rank(1) != Some(0) || !node.element(0)?.is_float() {
        return None;
    }
    let quotient = quotient(node.input(0)?, node.input(1)?, writer);
    writer.put(written("Identity", &[&quotient], &[node.output(0)?], vec![]));
    Some(())
}

/// Divides a scalar by a scalar: expands both to two elements, so that the engine divides, and takes one result.
pub fn quotient(left: &str, right: &str, writer: &mut Writer) -> String {
    let two = writer.integers(&[2]);
    let left = writer.op("Expand", &[left, &two], vec![]);
    let right = writer.op("Expand", &[right, &two], vec![]);
    let both = writer.name();
    writer.put_last(written("Div", &[&left, &right], &[&both], vec![]));
    let first = writer.integer(0, Element::INT64);
    writer.op("Gather", &[&both, &first], vec![int("axis", 0)])
}

/// Booleans are zero or one; the engine's are integers, and it converts to them as to integers.
pub fn cast_to_bool(node: Node, writer: &mut Writer) -> Option<()> {
    let to = Element::of(node.int("to", 0) as i32);
    let from = node.element(0)?;
    if to != Element::BOOL || from == Element::BOOL || from.held().is_none() {
        return None;
    }
    let zero = writer.zero(if from.is_byte() { from } else { from.engine() });
    let equal = writer.op("Equal", &[node.input(0)?, &zero], vec![]);
    writer.put(written("Not", &[&equal], &[node.output(0)?], vec![]));
    Some(())
}

/// The engine's sign of 0.0 is 1.
pub fn sign(node: Node, writer: &mut Writer) -> Option<()> {
    if !node.element(0)?.is_float() {
        return None;
    }
    let input = node.input(0)?;
    let sign = writer.again(node, &[input]);
    let zero = writer.number(0.0);
    let equal = writer.op("Equal", &[input, &zero], vec![]);
    let other = writer.op("Not", &[&equal], vec![]);
    let other = writer.cast(&other, Element::FLOAT);
    writer.put(written("Mul", &[&sign, &other], &[node.output(0)?], vec![]));
    Some(())
}

/// The engine's overflows to infinity at 89: ln(1 + e^x) = max(x, 0) + ln(1 + e^-|x|).
pub fn softplus(node: Node, writer: &mut Writer) -> Option<()> {
    let input = node.input(0)?;
    let size = writer.op("Abs", &[input], vec![]);
    let negative = writer.op("Neg", &[&size], vec![]);
    let rest = writer.again(node, &[&negative]);
    let positive = writer.op("Relu", &[input], vec![]);
    writer.put(written("Add", &[&positive, &rest], &[node.output(0)?], vec![]));
    Some(())
}

/// Before opset 13 everything from the axis on is one row.
pub fn softmax_of_old(node: Node, writer: &mut Writer) -> Option<()> {
    if node.opset >= 13 || node.int("axis", 1) == -1 {
        return None;
    }
    let axis = node.int("axis", 1);
    let last = node.rank(0).is_some_and(|rank| axis == rank as i64 - 1);
    if last {
        writer.put(with(node.proto, int("axis", -1)));
        return Some(());
    }
    let shape = writer.op("Shape", &[node.input(0)?], vec![]);
    let rows = writer.op("Flatten", &[node.input(0)?], vec![int("axis", axis)]);
    let mut softmax = with(node.proto, int("axis", -1));
    let computed = writer.name();
    softmax.input = vec![rows];
    softmax.output = vec![computed.clone()];
    writer.put(softmax);
    writer.put(written("Reshape", &[&computed, &shape], &[node.output(0)?], vec![]));
    Some(())
}

/// A vector times a tensor of rank 3 or more: the engine keeps the dimension that it adds to the vector.
pub fn matrix_by_vector(node: Node, writer: &mut Writer) -> Option<()> {
    let (left, right) = (node.rank(0)?, node.rank(1)?);
    let lent = match (left, right) {
        (3.., 1) => 1,
        (1, 3..) => 0,
        _ => return None,
    };
    let at = writer.integers(&[lent]);
    let mut matrices = node.proto.clone();
    matrices.input[lent as usize] = writer.op("Unsqueeze", &[node.input(lent as usize)?, &at], vec![]);
    let product = writer.name();
    matrices.output = vec![product.clone()];
    writer.put_last(matrices);
    let back = writer.integers(&[lent - 2]);
    writer.put(written("Squeeze", &[&product, &back], &[node.output(0)?], vec![]));
    Some(())
}

/// Whether any boolean is true, also for none: the engine's least integer is not zero.
pub fn any(node: Node, writer: &mut Writer) -> Option<()> {
    if node.element(0)? != Element::BOOL {
        return None;
    }
    let mut largest = node.proto.clone();
    let name = writer.name();
    largest.output = vec![name.clone()];
    writer.put_last(largest);
    let zero = writer.integer(0, Element::INT32);
    let name = writer.cast(&name, Element::INT32);
    writer.put(written("Greater", &[&name, &zero], &[node.output(0)?], vec![]));
    Some(())
}

/// One slope per channel, as before opset 7, and integer slopes.
pub fn prelu(node: Node, writer: &mut Writer) -> Option<()> {
    let (input, mut slope) = (node.input(0)?, node.input(1)?.to_owned());
    let element = node.element(0)?;
    let channels = node.opset < 7 && node.rank(1) == Some(1) && node.shape(1) != Some(&[1]);
    if channels && node.rank(0)? > 2 {
        let axes = writer.integers(&(1..node.rank(0)? as i64 - 1).collect::<Vec<_>>());
        slope = writer.op("Unsqueeze", &[&slope, &axes], vec![]);
        writer.put(written("PRelu", &[input, &slope], &[node.output(0)?], vec![]));
        return Some(());
    }
    if element.is_float() {
        return None;
    }
    let zero = writer.zero(element.engine());
    let negative = writer.op("Less", &[input, &zero], vec![]);
    let scaled = writer.op("Mul", &[input, &slope], vec![]);
    writer.put(written("Where", &[&negative, &scaled, input], &[node.output(0)?], vec![]));
    Some(())
}

/// Detects only one of the two infinities.
pub fn is_inf(node: Node, writer: &mut Writer) -> Option<()> {
    let (up, down) = (node.int("detect_positive", 1) != 0, node.int("detect_negative", 1) != 0);
    if up && down {
        return None;
    }
    let input = node.input(0)?;
    let both = writer.op("IsInf", &[input], vec![]);
    let zero = writer.number(0.0);
    let wanted = match (up, down) {
        (true, _) => writer.op("Greater", &[input, &zero], vec![]),
        (_, true) => writer.op("Less", &[input, &zero], vec![]),
        _ => {
            let infinite = writer.op("IsInf", &[input], vec![]);
            writer.op("Not", &[&infinite], vec![])
        }
    };
    writer.put(written("And", &[&both, &wanted], &[node.output(0)?], vec![]));
    Some(())
}

/// The engine lacks integer exponents of floating-point numbers.
pub fn pow(node: Node, writer: &mut Writer) -> Option<()> {
    if !node.element(0)?.is_float() || node.element(1)?.is_float() {
        return None;
    }
    let exponent = writer.cast(node.input(1)?, Element::FLOAT);
    writer.put(written("Pow", &[node.input(0)?, &exponent], &[node.output(0)?], vec![]));
    Some(())
}

/// Indices and depth may be of any type; the engine takes integers.
pub fn one_hot(node: Node, writer: &mut Writer) -> Option<()> {
    let other = |index| node.element(index).is_some_and(|element| element.is_float() || element.is_byte());
    if !other(0) && !other(1) {
        return None;
    }
    let mut new = node.proto.clone();
    for index in 0..2 {
        if other(index) {
            new.input[index] = writer.cast(node.input(index)?, Element::INT64);
        }
    }
    writer.put(new);
    Some(())
}

pub fn integer_relu(node: Node, writer: &mut Writer) -> Option<()> {
    let element = node.element(0)?;
    if element.is_float() {
        return None;
    }
    let zero = writer.zero(element);
    writer.put(written("Max", &[node.input(0)?, &zero], &[node.output(0)?], vec![]));
    Some(())
}

/// Activations that the engine lacks, by their definitions.
pub fn activations(node: Node, writer: &mut Writer) -> Option<()> {
    let (input, output) = (node.input(0)?, node.output(0)?);
    match node.proto.op_type() {
        "Selu" => {
            let (alpha, gamma) = (node.float("alpha", 1.673_263_2), node.float("gamma", 1.050_701));
            let elu = writer.op("Elu", &[input], vec![super::super::write::float("alpha", alpha)]);
            let gamma = writer.number(gamma);
            writer.put(written("Mul", &[&elu, &gamma], &[output], vec![]));
        }
        "Celu" => {
            let alpha = writer.number(node.float("alpha", 1.0));
            let scaled = writer.op("Div", &[input, &alpha], vec![]);
            let elu = writer.op("Elu", &[&scaled], vec![]);
            writer.put(written("Mul", &[&elu, &alpha], &[output], vec![]));
        }
        "ThresholdedRelu" => {
            let (alpha, zero) = (writer.number(node.float("alpha", 1.0)), writer.number(0.0));
            let above = writer.op("Greater", &[input, &alpha], vec![]);
            writer.put(written("Where", &[&above, input, &zero], &[output], vec![]));
        }
        "Shrink" if node.element(0)?.is_float() => {
            let (limit, bias) = (node.float("lambd", 0.5), writer.number(node.float("bias", 0.0)));
            let (high, low, zero) = (writer.number(limit), writer.number(-limit), writer.number(0.0));
            let above = writer.op("Greater", &[input, &high], vec![]);
            let below = writer.op("Less", &[input, &low], vec![]);
            let less = writer.op("Sub", &[input, &bias], vec![]);
            let more = writer.op("Add", &[input, &bias], vec![]);
            let rest = writer.op("Where", &[&below, &more, &zero], vec![]);
            writer.put(written("Where", &[&above, &less, &rest], &[output], vec![]));
        }
        "Mish" => {
            let softplus = writer.op("Softplus", &[input], vec![]);
            let tanh = writer.op("Tanh", &[&softplus], vec![]);
            writer.put(written("Mul", &[input, &tanh], &[output], vec![]));
        }
        "Hardmax" if node.opset >= 13 => {
            let axis = node.int("axis", -1);
            let place = writer.op("ArgMax", &[input], vec![int("axis", axis), int("keepdims", 0)]);
            let shape = writer.op("Shape", &[input], vec![]);
            let (at, first) = (writer.integers(&[axis]), writer.integers(&[0]));
            let depth = writer.op("Gather", &[&shape, &at], vec![int("axis", 0)]);
            let one = writer.number(1.0);
            let zero = writer.number(0.0);
            let (zero, one) =
                (writer.op("Unsqueeze", &[&zero, &first], vec![]), writer.op("Unsqueeze", &[&one, &first], vec![]));
            let values = writer.op("Concat", &[&zero, &one], vec![int("axis", 0)]);
            writer.put(written("OneHot", &[&place, &depth, &values], &[output], vec![int("axis", axis)]));
        }
        _ => return None,
    }
    Some(())
}

/// The mean and the inverse deviation, which the engine does not output.
pub fn layer_normalization(node: Node, writer: &mut Writer) -> Option<()> {
    if node.output(1).is_none() && node.output(2).is_none() {
        return None;
    }
    let (input, axis) = (node.input(0)?, node.int("axis", -1));
    let axes: Vec<i64> = match node.rank(0) {
        Some(rank) if axis >= 0 => (axis..rank as i64).collect(),
        _ if axis < 0 => (axis..0).collect(),
        _ => return None,
    };
    let mut own = node.proto.clone();
    own.output.truncate(1);
    writer.put(own);
    let mean = node.output(1).map_or_else(|| writer.name(), str::to_owned);
    writer.put(written("ReduceMean", &[input], &[&mean], vec![ints("axes", &axes), int("keepdims", 1)]));
    if let Some(inverse) = node.output(2) {
        let apart = writer.op("Sub", &[input, &mean], vec![]);
        let square = writer.op("Mul", &[&apart, &apart], vec![]);
        let variance = writer.op("ReduceMean", &[&square], vec![ints("axes", &axes), int("keepdims", 1)]);
        let epsilon = writer.number(node.float("epsilon", 1e-5));
        let sum = writer.op("Add", &[&variance, &epsilon], vec![]);
        let deviation = writer.op("Sqrt", &[&sum], vec![]);
        writer.put(written("Reciprocal", &[&deviation], &[inverse], vec![]));
    }
    Some(())
}
