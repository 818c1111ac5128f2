//! Limits of single operators of the engine that the table cannot express in a word.

use super::elements::Element;
use super::graph::Node;
use super::types;

/// A Dropout node that the rules left as it is would drop something.
pub fn learns(_: Node) -> Result<(), String> {
    Err("training_mode is true, or not known, and what would be dropped is random".to_owned())
}

fn held(element: Element, what: &str) -> Result<(), String> {
    match element.held() {
        Some(_) => Ok(()),
        None => Err(format!("{what} is {element}, a type that the engine does not have")),
    }
}

pub fn cast(node: Node) -> Result<(), String> {
    held(Element::of(node.int("to", 0) as i32), "to")
}

pub fn cast_like(node: Node) -> Result<(), String> {
    match (node.element(0), node.element(1)) {
        (Some(from), Some(Element::BOOL)) if from != Element::BOOL => {
            Err("the engine converts to BOOL as to integers".to_owned())
        }
        _ => Ok(()),
    }
}

pub fn same_width(node: Node) -> Result<(), String> {
    let width = |element: Element| element.datatype().and_then(|datatype| datatype.size());
    match node.element(0) {
        Some(from) if from.engine() == from && width(from) == width(Element::of(node.int("to", 0) as i32)) => Ok(()),
        _ => Err("the engine has it between FLOAT and INT32, and between INT8 and UINT8, alone".to_owned()),
    }
}

pub fn to_float(node: Node) -> Result<(), String> {
    let to = types::output(node, 0).element;
    let input = node.element(0);
    let zero = node.element(2);
    match (input, zero) {
        _ if !to.is_none_or(Element::is_float) => Err("its output is not FLOAT".to_owned()),
        (Some(input), Some(zero)) if input != zero => Err(format!("its zero point is {zero}, and its input {input}")),
        (Some(Element::INT64), _) => Err("input 0 is INT64, for which the engine does not have it".to_owned()),
        _ => Ok(()),
    }
}

pub fn to_float_or_none(node: Node) -> Result<(), String> {
    match types::output(node, 0).element {
        Some(element) if !element.is_float() => Err(format!("dtype is {element}, and the engine has FLOAT alone")),
        _ => Ok(()),
    }
}

pub fn to_byte(node: Node) -> Result<(), String> {
    match types::output(node, 0).element {
        Some(element) if element.is_byte() => Ok(()),
        Some(element) => Err(format!("its output is {element}, and the engine has INT8 and UINT8 alone")),
        None => Ok(()),
    }
}

/// One or two spatial dimensions, with everything given.
pub fn window(node: Node) -> Result<(), String> {
    let Some(kernel) = node.ints("kernel_shape") else {
        return Err("kernel_shape is not given, and the shape of the weights is not known".to_owned());
    };
    if kernel.len() > 2 {
        return Err(format!("kernel_shape has {} dimensions, and the engine has one or two", kernel.len()));
    }
    let auto_pad = node.text("auto_pad", "NOTSET");
    if !["NOTSET", "VALID", "SAME_UPPER"].contains(&auto_pad) {
        return Err(format!("auto_pad is \"{auto_pad}\", which the engine computes as SAME_UPPER"));
    }
    let pooling = node.proto.op_type().ends_with("Pool");
    if pooling
        && node
            .ints("dilations")
            .is_some_and(|dilations| dilations.iter().any(|dilation| *dilation != 1))
    {
        return Err("dilations are given, which the engine does not have".to_owned());
    }
    if node.ints("pads").is_some_and(|pads| pads.iter().any(|pad| *pad < 0)) {
        return Err("pads are negative, which the engine does not have".to_owned());
    }
    Ok(())
}

pub fn convolution_of_integers(node: Node) -> Result<(), String> {
    let padded = node.ints("pads").is_some_and(|pads| pads.iter().any(|pad| *pad != 0))
        || node.text("auto_pad", "") == "SAME_UPPER";
    match node.shape(1).and_then(|shape| shape.first()) {
        _ if !padded => Ok(()),
        Some(1) => Ok(()),
        _ => Err("pads are given, which the engine gets wrong with several output channels".to_owned()),
    }
}

/// The standard does not define other remainders of floating-point numbers yet.
pub fn remainder(node: Node) -> Result<(), String> {
    match node.element(0) {
        Some(element) if element.is_float() && node.int("fmod", 0) == 0 => {
            Err(format!("fmod is 0, and the engine has 1 alone for {element}"))
        }
        _ => Ok(()),
    }
}

pub fn whole_mask(node: Node) -> Result<(), String> {
    if node.input(6).is_some() && node.input(3).is_some() {
        return Err("attn_mask and nonpad_kv_seqlen are given, which the engine does not have together".to_owned());
    }
    Ok(())
}

pub fn four_sides(node: Node) -> Result<(), String> {
    match node.rank(0) {
        Some(rank) if rank > 4 => Err(format!("its input has {rank} dimensions, and the engine has up to 4")),
        _ => Ok(()),
    }
}

pub fn recurrent(node: Node) -> Result<(), String> {
    if node.input(4).is_some() {
        return Err("sequence_lens are given, which the engine does not use".to_owned());
    }
    if node.int("layout", 0) != 0 {
        return Err("layout is 1, and the engine has 0 alone".to_owned());
    }
    if node.float("clip", 0.0) != 0.0 || node.attribute("clip").is_some() {
        return Err("clip is given, which the engine does not have".to_owned());
    }
    if node.attribute("hidden_size").is_none() {
        return Err("hidden_size is not given".to_owned());
    }
    Ok(())
}

pub fn gru(node: Node) -> Result<(), String> {
    match node.int("linear_before_reset", 0) {
        0 => Err("linear_before_reset is 0, and the engine has 1 alone".to_owned()),
        _ => Ok(()),
    }
}

/// The engine counts from the end differently than the standard.
pub fn from_the_start(node: Node) -> Result<(), String> {
    match (node.input(2), node.constant_integers(2)) {
        (None, _) => Ok(()),
        (Some(_), Some(places)) if places.iter().all(|place| *place >= 0) => Ok(()),
        _ => Err(
            "its position is not known to count from the start, and the engine is one off where it counts from the end"
                .to_owned(),
        ),
    }
}

pub fn fourth_output_alone(node: Node) -> Result<(), String> {
    match (1..3).find(|index| node.output(*index).is_some()) {
        Some(index) => Err(format!("output {index} is used, which the engine does not have")),
        None => Ok(()),
    }
}
