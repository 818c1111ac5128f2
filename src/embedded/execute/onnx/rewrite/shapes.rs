//! Rules for operators that move or select elements.

use crate::embedded::execute::onnx::elements::Element;
use crate::embedded::execute::onnx::graph::Node;
use crate::embedded::execute::onnx::write::{Writer, int, ints, node as written, tensor, without};
use crate::proto::onnx::TensorProto;

/// Outside training nothing is dropped: the output is the input, and the mask is true.
pub fn dropout(node: Node, writer: &mut Writer) -> Option<()> {
    let (input, output) = (node.input(0)?, node.output(0)?);
    let learns = match node.input(2) {
        Some(_) => node.constant(2).is_none_or(is_true),
        None => false,
    };
    if learns {
        return None;
    }
    writer.put(written("Identity", &[input], &[output], vec![]));
    if let Some(mask) = node.output(1) {
        let one = TensorProto {
            dims: vec![1],
            data_type: Some(Element::BOOL.0),
            int32_data: vec![1],
            ..Default::default()
        };
        let shape = writer.op("Shape", &[input], vec![]);
        writer.put(written("ConstantOfShape", &[&shape], &[mask], vec![tensor("value", one)]));
    }
    Some(())
}

fn is_true(flag: &TensorProto) -> bool {
    flag.int32_data.iter().any(|value| *value != 0) || flag.raw_data().iter().any(|byte| *byte != 0)
}

/// List inputs that are given as a scalar.
pub fn list_inputs(node: Node, writer: &mut Writer) -> Option<()> {
    let last = if node.proto.op_type() == "Slice" { 4 } else { 1 };
    let numbers: Vec<usize> = (1..=last)
        .filter(|index| node.input(*index).is_some() && node.rank(*index) == Some(0))
        .collect();
    if numbers.is_empty() {
        return None;
    }
    let mut new = node.proto.clone();
    for index in numbers {
        let axes = writer.integers(&[0]);
        new.input[index] = writer.op("Unsqueeze", &[node.input(index)?, &axes], vec![]);
    }
    writer.put(new);
    Some(())
}

/// Rewrites pads of some axes as pads of all: the engine knows only these.
pub fn pad_axes(node: Node, writer: &mut Writer) -> Option<()> {
    let axes = node.input(3)?;
    let rank = node.rank(0)? as i64;
    let sides = writer.integer(rank, Element::INT64);
    let places = writer.cast(axes, Element::INT64);
    // the floored remainder: -1 becomes the last axis
    let starts = writer.op("Mod", &[&places, &sides], vec![]);
    let ends = writer.op("Add", &[&starts, &sides], vec![]);
    let places = writer.op("Concat", &[&starts, &ends], vec![int("axis", 0)]);
    let none = writer.integers(&vec![0; 2 * rank as usize]);
    let pads = writer.op("ScatterElements", &[&none, &places, node.input(1)?], vec![int("axis", 0)]);
    let mut new = node.proto.clone();
    new.input[1] = pads;
    new.input.truncate(3);
    if node.input(2).is_none() {
        new.input.truncate(2);
    }
    writer.put(new);
    Some(())
}

/// The first of equal elements counts; the engine takes the last.
pub fn first_of_equals(node: Node, writer: &mut Writer) -> Option<()> {
    if node.int("select_last_index", 0) != 0 {
        writer.put_last(without(node.proto, "select_last_index"));
        return Some(());
    }
    let (axis, output) = (node.int("axis", 0), node.output(0)?);
    let largest = i64::from(node.proto.op_type() == "ArgMax");
    let one = writer.integers(&[1]);
    let (values, places) = (writer.name(), writer.name());
    let attributes = vec![int("axis", axis), int("largest", largest), int("sorted", 1)];
    let keeps = node.int("keepdims", 1) != 0;
    let to = if keeps { output } else { &places };
    writer.put(written("TopK", &[node.input(0)?, &one], &[&values, to], attributes));
    if !keeps {
        let axes = writer.integers(&[axis]);
        writer.put(written("Squeeze", &[&places, &axes], &[output], vec![]));
    }
    Some(())
}

/// Rewrites sizes of some axes as sizes of all.
pub fn resize_axes(node: Node, writer: &mut Writer) -> Option<()> {
    let axes = node.ints("axes")?;
    let rank = node.rank(0)? as i64;
    if !["", "stretch"].contains(&node.text("keep_aspect_ratio_policy", "")) {
        return None;
    }
    let axes: Vec<i64> = axes.iter().map(|axis| axis.rem_euclid(rank)).collect();
    let places = writer.integers(&axes);
    let mut new = without(node.proto, "axes");
    new.input.resize(4, String::new());
    new.input[1].clear();
    if let Some(scales) = node.input(2) {
        let one = TensorProto {
            dims: vec![1],
            data_type: Some(Element::FLOAT.0),
            float_data: vec![1.0],
            ..Default::default()
        };
        let count = writer.integers(&[rank]);
        let ones = writer.op("ConstantOfShape", &[&count], vec![tensor("value", one)]);
        new.input[2] = writer.op("ScatterElements", &[&ones, &places, scales], vec![int("axis", 0)]);
    }
    if let Some(sizes) = node.input(3) {
        let own = writer.op("Shape", &[node.input(0)?], vec![]);
        new.input[3] = writer.op("ScatterElements", &[&own, &places, sizes], vec![int("axis", 0)]);
    }
    writer.put(new);
    Some(())
}

/// Resize of opset 10 is Upsample under a new name.
pub fn resize_of_opset_10(node: Node, writer: &mut Writer) -> Option<()> {
    if node.opset != 10 {
        return None;
    }
    writer.put(written(
        "Upsample",
        &[node.input(0)?, node.input(1)?],
        &[node.output(0)?],
        node.proto.attribute.clone(),
    ));
    Some(())
}

/// In b x b blocks: [n, c, h / b, b, w / b, b] -> [n, b, b, c, h / b, w / b] -> [n, b b c, h / b, w / b].
pub fn space_to_depth(node: Node, writer: &mut Writer) -> Option<()> {
    let &[n, c, h, w] = node.shape(0)? else { return None };
    let b = node.int("blocksize", 0);
    if b < 1 || h < 1 || w < 1 || c < 1 || h % b != 0 || w % b != 0 {
        return None;
    }
    let n = n.max(-1);
    let blocks = writer.integers(&[n, c, h / b, b, w / b, b]);
    let blocks = writer.op("Reshape", &[node.input(0)?, &blocks], vec![]);
    let moved = writer.op("Transpose", &[&blocks], vec![ints("perm", &[0, 3, 5, 1, 2, 4])]);
    let shape = writer.integers(&[n, b * b * c, h / b, w / b]);
    writer.put(written("Reshape", &[&moved, &shape], &[node.output(0)?], vec![]));
    Some(())
}
