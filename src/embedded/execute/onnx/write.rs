//! Writes replacement nodes: constants, attributes, unique names.

use super::elements::Element;
use super::graph::Node;
use crate::proto::onnx::{AttributeProto, NodeProto, TensorProto};

/// The format's attribute kinds.
enum Kind {
    Float = 1,
    Int = 2,
    String = 3,
    Tensor = 4,
    Ints = 7,
}

fn attribute(name: &str, kind: Kind) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..Default::default() }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, Kind::Int) }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, Kind::Ints) }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, Kind::Float) }
}

pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, Kind::String) }
}

pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, Kind::Tensor) }
}

/// A node of a standard operator.
pub fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    NodeProto {
        op_type: Some(op.to_owned()),
        input: names(inputs),
        output: names(outputs),
        attribute,
        ..Default::default()
    }
}

/// A copy of a node with an attribute added or replaced.
pub fn with(node: &NodeProto, attribute: AttributeProto) -> NodeProto {
    let mut node = node.clone();
    node.attribute.retain(|known| known.name() != attribute.name());
    node.attribute.push(attribute);
    node
}

/// A copy of a node without an attribute.
pub fn without(node: &NodeProto, name: &str) -> NodeProto {
    let mut node = node.clone();
    node.attribute.retain(|known| known.name() != name);
    node
}

/// The nodes that replace one of the file's.
pub struct Writer<'a> {
    /// Number of names made for the model.
    count: &'a mut usize,
    nodes: Vec<Written>,
}

/// A node that was written.
pub struct Written {
    pub node: NodeProto,
    /// The node is final: no rule may rewrite it.
    pub last: bool,
}

impl<'a> Writer<'a> {
    pub fn new(count: &'a mut usize) -> Self {
        Writer { count, nodes: Vec::new() }
    }

    /// The nodes, in order.
    pub fn finish(self) -> Vec<Written> {
        self.nodes
    }

    /// A new name, which no file has.
    pub fn name(&mut self) -> String {
        *self.count += 1;
        format!("\u{b7}{}", self.count)
    }

    /// Adds a node.
    pub fn put(&mut self, node: NodeProto) {
        self.nodes.push(Written { node, last: false });
    }

    /// Adds a node that no rule may rewrite.
    pub fn put_last(&mut self, node: NodeProto) {
        self.nodes.push(Written { node, last: true });
    }

    /// Adds a node with one output, whose name it returns.
    pub fn op(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = self.name();
        self.put(node(op, inputs, &[&name], attributes));
        name
    }

    /// Adds a node with the operator and attributes of `like` and other inputs; returns the name of its one output.
    pub fn again(&mut self, like: Node, inputs: &[&str]) -> String {
        let name = self.name();
        let mut node = like.proto.clone();
        node.input = inputs.iter().map(|&input| input.to_owned()).collect();
        node.output = vec![name.clone()];
        self.put_last(node);
        name
    }

    /// Adds a conversion.
    pub fn cast(&mut self, input: &str, to: Element) -> String {
        self.op("Cast", &[input], vec![int("to", to.0.into())])
    }

    /// Adds a list of integers.
    pub fn integers(&mut self, values: &[i64]) -> String {
        self.constant(TensorProto {
            dims: vec![values.len() as i64],
            data_type: Some(Element::INT64.0),
            int64_data: values.to_vec(),
            ..Default::default()
        })
    }

    /// Adds a single integer.
    pub fn integer(&mut self, value: i64, element: Element) -> String {
        let mut tensor = TensorProto { data_type: Some(element.0), ..Default::default() };
        match element {
            Element::INT64 => tensor.int64_data.push(value),
            _ => tensor.int32_data.push(value as i32),
        }
        self.constant(tensor)
    }

    /// Adds a single floating-point number.
    pub fn number(&mut self, value: f32) -> String {
        self.constant(TensorProto { data_type: Some(Element::FLOAT.0), float_data: vec![value], ..Default::default() })
    }

    /// Adds a zero of the type.
    pub fn zero(&mut self, element: Element) -> String {
        if element.is_float() { self.number(0.0) } else { self.integer(0, element) }
    }

    fn constant(&mut self, value: TensorProto) -> String {
        self.op("Constant", &[], vec![tensor("value", value)])
    }
}
