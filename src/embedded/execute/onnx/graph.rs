//! Nodes of an ONNX graph, and the facts about the values between them.

use std::collections::HashMap;
use std::rc::Rc;

use super::elements::Element;
use crate::proto::onnx::{
    AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto,
};

/// Most elements of a constant whose values the rules read.
const CONSTANT_MAX: i64 = 4096;

/// The facts about a value.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Type of its elements, or of a sequence's items.
    pub element: Option<Element>,
    /// Its shape, -1 for a free side.
    pub shape: Option<Vec<i64>>,
    /// Its tensor, if it is constant.
    pub constant: Option<Rc<TensorProto>>,
    /// Whether its integers come from data rather than from sizes and constants, and so may grow beyond 32 bits.
    pub grows: bool,
    /// Whether it is a constant with integers beyond 32 bits, or made from one.
    pub wide: bool,
}

/// The values that a graph sees: its own, and those of the enclosing graphs.
#[derive(Default)]
pub struct Scope<'a> {
    around: Option<&'a Scope<'a>>,
    own: HashMap<String, Facts>,
}

impl<'a> Scope<'a> {
    /// The scope of a graph inside another, with the facts that the file declares.
    pub fn of(graph: &GraphProto, around: Option<&'a Scope<'a>>) -> Self {
        let mut scope = Scope { around, own: HashMap::new() };
        for value in graph.value_info.iter().chain(&graph.output) {
            let mut facts = declared(value);
            // files may hold sizes of other inputs there, but not other ranks
            facts.shape = facts.shape.map(|shape| vec![-1; shape.len()]);
            scope.own.insert(value.name().to_owned(), facts);
        }
        for value in &graph.input {
            scope.own.insert(value.name().to_owned(), declared(value));
        }
        for value in &graph.input {
            if let Some(facts) = scope.own.get_mut(value.name()) {
                facts.grows = true;
            }
        }
        for tensor in &graph.initializer {
            scope.own.insert(tensor.name().to_owned(), of_tensor(tensor));
        }
        scope
    }

    /// The facts about a value.
    pub fn get(&self, name: &str) -> Option<&Facts> {
        self.own.get(name).or_else(|| self.around?.get(name))
    }

    /// Adds facts about a value; keeps the shape that the file declares.
    pub fn learn(&mut self, name: &str, mut facts: Facts) {
        if let Some(known) = self.own.get(name) {
            facts.element = facts.element.or(known.element);
            facts.shape = facts.shape.or_else(|| known.shape.clone());
        }
        self.own.insert(name.to_owned(), facts);
    }
}

/// The facts that a file declares about a value.
fn declared(value: &ValueInfoProto) -> Facts {
    let Some(type_proto::Value::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Facts::default();
    };
    let shape = tensor.shape.as_ref().map(|shape| {
        let sides = shape.dim.iter().map(|side| match side.value {
            Some(dimension::Value::DimValue(size)) => size,
            _ => -1,
        });
        sides.collect()
    });
    Facts { element: Some(Element::of(tensor.elem_type())), shape, ..Default::default() }
}

/// The facts about a constant.
pub fn of_tensor(tensor: &TensorProto) -> Facts {
    let element = Element::of(tensor.data_type());
    let wide = element == Element::INT64 && integers(tensor).iter().any(|value| i32::try_from(*value).is_err());
    let small = tensor.dims.iter().product::<i64>() <= CONSTANT_MAX;
    let constant = small.then(|| Rc::new(tensor.clone()));
    Facts {
        element: Some(element),
        shape: Some(tensor.dims.clone()),
        constant,
        wide,
        ..Default::default()
    }
}

/// The elements of an INT64 or INT32 tensor; none for other types.
pub fn integers(tensor: &TensorProto) -> Vec<i64> {
    match (Element::of(tensor.data_type()), &tensor.raw_data) {
        (Element::INT64, Some(raw)) => raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        (Element::INT32, Some(raw)) => {
            raw.as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes).into()).collect()
        }
        (Element::INT64, None) => tensor.int64_data.clone(),
        (Element::INT32, None) => tensor.int32_data.iter().map(|value| i64::from(*value)).collect(),
        _ => Vec::new(),
    }
}

/// A node, with the facts about its values.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    pub proto: &'a NodeProto,
    pub scope: &'a Scope<'a>,
    /// The version of its operator set.
    pub opset: i64,
}

impl<'a> Node<'a> {
    /// The operator, with its domain unless it is the standard's.
    pub fn operator(self) -> String {
        match self.proto.domain() {
            "" | "ai.onnx" => self.proto.op_type().to_owned(),
            domain => format!("{domain}.{}", self.proto.op_type()),
        }
    }

    pub fn attribute(self, name: &str) -> Option<&'a AttributeProto> {
        self.proto.attribute.iter().find(|attribute| attribute.name() == name)
    }

    pub fn int(self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, AttributeProto::i)
    }

    pub fn float(self, name: &str, default: f32) -> f32 {
        self.attribute(name).map_or(default, AttributeProto::f)
    }

    /// The integers of a list attribute; `None` if it is not given, or empty.
    pub fn ints(self, name: &str) -> Option<&'a [i64]> {
        self.attribute(name)
            .map(|attribute| &attribute.ints[..])
            .filter(|ints| !ints.is_empty())
    }

    pub fn text<'b>(self, name: &str, default: &'b str) -> &'b str
    where
        'a: 'b,
    {
        self.attribute(name)
            .map_or(default, |attribute| str::from_utf8(attribute.s()).unwrap_or("?"))
    }

    /// The name of an input; `None` if it is left out.
    pub fn input(self, index: usize) -> Option<&'a str> {
        self.proto.input.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// The name of an output; `None` if it is unused.
    pub fn output(self, index: usize) -> Option<&'a str> {
        self.proto.output.get(index).map(String::as_str).filter(|name| !name.is_empty())
    }

    pub fn facts(self, input: usize) -> Option<&'a Facts> {
        self.scope.get(self.input(input)?)
    }

    pub fn element(self, input: usize) -> Option<Element> {
        self.facts(input)?.element
    }

    pub fn shape(self, input: usize) -> Option<&'a [i64]> {
        self.facts(input)?.shape.as_deref()
    }

    pub fn rank(self, input: usize) -> Option<usize> {
        self.shape(input).map(<[i64]>::len)
    }

    pub fn constant(self, input: usize) -> Option<&'a TensorProto> {
        self.facts(input)?.constant.as_deref()
    }

    /// The integers of a constant input.
    pub fn constant_integers(self, input: usize) -> Option<Vec<i64>> {
        self.constant(input).map(integers)
    }
}
