//! Rules for quantized operators.

use super::arithmetic::quotient;
use crate::embedded::execute::onnx::elements::Element;
use crate::embedded::execute::onnx::graph::Node;
use crate::embedded::execute::onnx::write::{Writer, int, ints, node as written, with};

/// Quantizes by division, like the standard: the engine multiplies by the reciprocal, and is off by one if the
/// product falls on the other side of a half. Its default axis differs, too.
pub fn quantize(node: Node, writer: &mut Writer) -> Option<()> {
    let element = match node.int("output_dtype", 0) {
        0 => node.element(2).unwrap_or(Element::UINT8),
        number => Element::of(number as i32),
    };
    let (input, scale) = (node.input(0)?, node.input(1)?);
    if !element.is_byte() || node.int("block_size", 0) != 0 {
        return None;
    }
    let input = if node.element(0)?.is_float() {
        input.to_owned()
    } else {
        writer.cast(input, Element::FLOAT)
    };
    let Some(rank) = node.rank(1) else { return said(node, element, writer) };
    let (scale, zero) = match rank {
        0 => (whole(&input, scale, writer), node.input(2).map(str::to_owned)),
        1 if node.shape(1) == Some(&[1]) => {
            let zero = node.input(2).map(|zero| number(zero, writer));
            let scale = number(scale, writer);
            (whole(&input, &scale, writer), zero)
        }
        1 => {
            let axes = rest_of_axis(node)?;
            let scale = aligned(scale, &axes, writer);
            (scale, node.input(2).map(|zero| aligned(zero, &axes, writer)))
        }
        _ => return None,
    };
    chain(&input, &scale, zero.as_deref(), (element, node.output(0)?), writer);
    Some(())
}

/// Divides, rounds, shifts and clips.
fn chain(input: &str, scale: &str, zero: Option<&str>, (element, output): (Element, &str), writer: &mut Writer) {
    let quotient = writer.name();
    writer.put_last(written("Div", &[input, scale], &[&quotient], vec![]));
    let rounded = writer.op("Round", &[&quotient], vec![]);
    let moved = match zero {
        None => rounded,
        Some(zero) => {
            let zero = writer.cast(zero, Element::FLOAT);
            writer.op("Add", &[&rounded, &zero], vec![])
        }
    };
    let (low, high) = if element == Element::UINT8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    let (low, high) = (writer.number(low), writer.number(high));
    let clipped = writer.op("Clip", &[&moved, &low, &high], vec![]);
    writer.put(written("Cast", &[&clipped], &[output], vec![int("to", element.0.into())]));
}

/// If the node cannot be rewritten, at least states the type and the axis.
fn said(node: Node, element: Element, writer: &mut Writer) -> Option<()> {
    let typed = with(node.proto, int("output_dtype", element.0.into()));
    writer.put_last(with(&typed, int("axis", node.int("axis", 1))));
    Some(())
}

/// A divisor for each element: the engine would take the reciprocal of a single one.
fn whole(input: &str, scale: &str, writer: &mut Writer) -> String {
    let shape = writer.op("Shape", &[input], vec![]);
    writer.op("Expand", &[scale, &shape], vec![])
}

fn number(list: &str, writer: &mut Writer) -> String {
    let axes = writer.integers(&[0]);
    writer.op("Squeeze", &[list, &axes], vec![])
}

/// The number of dimensions after the axis.
fn rest_of_axis(node: Node) -> Option<Vec<i64>> {
    let rank = node.rank(0)? as i64;
    let axis = node.int("axis", 1);
    let axis = if axis < 0 { axis + rank } else { axis };
    Some((1..rank - axis).collect())
}

fn aligned(list: &str, axes: &[i64], writer: &mut Writer) -> String {
    if axes.is_empty() {
        return list.to_owned();
    }
    let axes = writer.integers(axes);
    writer.op("Unsqueeze", &[list, &axes], vec![])
}

/// The standard's own definition, by division.
pub fn dynamic_quantize(node: Node, writer: &mut Writer) -> Option<()> {
    let input = node.input(0)?;
    let (zero, steps) = (writer.number(0.0), writer.number(255.0));
    let least = writer.op("ReduceMin", &[input], vec![int("keepdims", 0)]);
    let least = writer.op("Min", &[&least, &zero], vec![]);
    let most = writer.op("ReduceMax", &[input], vec![int("keepdims", 0)]);
    let most = writer.op("Max", &[&most, &zero], vec![]);
    let range = writer.op("Sub", &[&most, &least], vec![]);
    let scale = node.output(1).map_or_else(|| writer.name(), str::to_owned);
    let step = quotient(&range, &steps, writer);
    writer.put(written("Identity", &[&step], &[&scale], vec![]));
    let moved = quotient(&least, &scale, writer);
    let moved = writer.op("Neg", &[&moved], vec![]);
    let moved = writer.op("Clip", &[&moved, &zero, &steps], vec![]);
    let moved = writer.op("Round", &[&moved], vec![]);
    let point = node.output(2).map_or_else(|| writer.name(), str::to_owned);
    writer.put(written("Cast", &[&moved], &[&point], vec![int("to", Element::UINT8.0.into())]));
    let each = whole(input, &scale, writer);
    chain(input, &each, Some(&point), (Element::UINT8, node.output(0)?), writer);
    Some(())
}

/// A zero point of one element applies to all.
pub fn zero_points(node: Node, writer: &mut Writer) -> Option<()> {
    let lists: Vec<usize> = [2, 3].into_iter().filter(|index| node.shape(*index) == Some(&[1])).collect();
    if lists.is_empty() {
        return None;
    }
    let mut new = node.proto.clone();
    for index in lists {
        let shape = writer.integers(&[]);
        new.input[index] = writer.op("Reshape", &[node.input(index)?, &shape], vec![]);
    }
    writer.put(new);
    Some(())
}

/// Pads before the convolution, whose own padding is wrong with several output channels.
pub fn padded(node: Node, writer: &mut Writer) -> Option<()> {
    let pads = node.ints("pads")?;
    if pads.iter().all(|pad| *pad == 0) || node.text("auto_pad", "NOTSET") != "NOTSET" {
        return None;
    }
    let sides = pads.len() / 2;
    let whole: Vec<i64> = [&[0, 0], &pads[..sides], &[0, 0], &pads[sides..]].concat();
    let whole = writer.integers(&whole);
    let inputs = [Some(node.input(0)?), Some(&whole[..]), node.input(2)];
    let inputs: Vec<&str> = inputs.into_iter().flatten().collect();
    let input = writer.op("Pad", &inputs, vec![]);
    let mut new = with(node.proto, ints("pads", &vec![0; pads.len()]));
    new.input[0] = input;
    writer.put(new);
    Some(())
}
