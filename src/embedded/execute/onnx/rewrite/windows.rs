//! Rules for operators that move a window over their input: the standard's defaults, which the engine lacks.

use crate::embedded::execute::onnx::graph::Node;
use crate::embedded::execute::onnx::write::{Writer, ints, with, without};

/// The kernel's sides come from the weights if they are not given, and all other defaults from their number.
pub fn convolution(node: Node, writer: &mut Writer) -> Option<()> {
    let mut new = node.proto.clone();
    if node.ints("kernel_shape").is_none() {
        let sides = node.shape(1)?.get(2..)?;
        if sides.is_empty() || sides.iter().any(|side| *side < 1) {
            return None;
        }
        new = with(&new, ints("kernel_shape", sides));
    }
    finish(node, new, writer)
}

pub fn pooling(node: Node, writer: &mut Writer) -> Option<()> {
    let sides = node.ints("kernel_shape")?.len();
    let mut new = node.proto.clone();
    if node.ints("strides").is_none() {
        new = with(&new, ints("strides", &vec![1; sides]));
    }
    finish(node, new, writer)
}

/// States the padding in the engine's terms. Writes the node if it changed.
fn finish(node: Node, mut new: crate::proto::onnx::NodeProto, writer: &mut Writer) -> Option<()> {
    match node.text("auto_pad", "NOTSET") {
        // no padding, whatever the other attributes say
        "VALID" => new = without(&without(&new, "auto_pad"), "pads"),
        // the odd element would go to the other end; without one, both modes are the same
        "SAME_LOWER" if pads_evenly(node, &new) => {
            new = with(&new, crate::embedded::execute::onnx::write::text("auto_pad", "SAME_UPPER"));
        }
        _ => {}
    }
    for name in ["strides", "dilations", "pads"] {
        // an empty list counts as not given
        if new
            .attribute
            .iter()
            .any(|attribute| attribute.name() == name && attribute.ints.is_empty())
        {
            new = without(&new, name);
        }
    }
    if new == *node.proto {
        return None;
    }
    writer.put(new);
    Some(())
}

/// Whether the padding is even on every side: with strides of one it is the kernel's size less one.
fn pads_evenly(node: Node, new: &crate::proto::onnx::NodeProto) -> bool {
    let list = |name: &str| {
        new.attribute
            .iter()
            .find(|attribute| attribute.name() == name)
            .map(|found| &found.ints[..])
    };
    let kernel = list("kernel_shape").unwrap_or_default();
    let even = kernel.iter().enumerate().all(|(index, side)| {
        let dilation = list("dilations").and_then(|list| list.get(index)).copied().unwrap_or(1);
        (side - 1) * dilation % 2 == 0
    });
    let steps = list("strides").unwrap_or_default().iter().all(|step| *step == 1);
    even && steps && node.proto.op_type() != "ConvTranspose"
}

/// The padding that gives a transposed convolution the requested shape.
pub fn output_shape(node: Node, writer: &mut Writer) -> Option<()> {
    let wanted = node.ints("output_shape")?;
    let kernel = node.ints("kernel_shape")?;
    let input = node.shape(0)?.get(2..)?;
    let sides = kernel.len();
    // some files include the batch and the channels
    let wanted = wanted.get(wanted.len().checked_sub(sides)?..)?;
    let at = |name: &str, index: usize, default| {
        node.ints(name).and_then(|list| list.get(index)).copied().unwrap_or(default)
    };
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for index in 0..sides {
        let (side, kernel, wanted) = (*input.get(index)?, kernel[index], wanted[index]);
        let reach = (kernel - 1) * at("dilations", index, 1) + 1;
        let total = at("strides", index, 1) * (side - 1) + at("output_padding", index, 0) + reach - wanted;
        if side < 1 || total < 0 {
            return None;
        }
        // the standard's formulas for SAME_UPPER and for everything else
        let half = total / 2;
        let (start, end) = if node.text("auto_pad", "NOTSET") == "SAME_UPPER" {
            (half, total - half)
        } else {
            (total - half, half)
        };
        starts.push(start);
        ends.push(end);
    }
    starts.extend(ends);
    let new = without(&without(node.proto, "output_shape"), "auto_pad");
    writer.put(with(&new, ints("pads", &starts)));
    Some(())
}
