//! The inputs and outputs that an ONNX file declares, and whether a configuration matches them.

use anyhow::{Context, Result, bail, ensure};

use super::elements::Element;
use crate::embedded::execute::infer::bracketed;
use crate::embedded::model::config::Description;
use crate::proto::onnx::{GraphProto, ValueInfoProto, tensor_shape_proto::dimension, type_proto};

/// An input or output tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub element: Element,
    /// Its shape, with -1 for a free side; `None` if the file does not give the number of dimensions.
    pub shape: Option<Vec<i64>>,
}

/// The inputs and outputs of a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The inputs that a request gives, without initialisers.
    pub inputs: Vec<Port>,
    /// All outputs.
    pub outputs: Vec<Port>,
}

impl Signature {
    /// The signature of a file's outermost graph.
    ///
    /// # Errors
    /// An input or output is not a tensor, or has a type that the protocol does not have.
    pub fn of(graph: &GraphProto) -> Result<Self> {
        let given = graph
            .input
            .iter()
            .filter(|input| !graph.initializer.iter().any(|w| w.name() == input.name()));
        let inputs = given.map(|value| port(value).with_context(|| format!("input \"{}\"", value.name())));
        let outputs = graph.output.iter();
        let outputs = outputs.map(|value| port(value).with_context(|| format!("output \"{}\"", value.name())));
        Ok(Signature { inputs: inputs.collect::<Result<_>>()?, outputs: outputs.collect::<Result<_>>()? })
    }
}

fn port(value: &ValueInfoProto) -> Result<Port> {
    use type_proto::Value;
    let tensor = match value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(Value::TensorType(tensor)) => tensor,
        Some(Value::SequenceType(_)) => bail!("it is a sequence, which the protocol cannot express"),
        Some(Value::OptionalType(_)) => bail!("it is an optional value, which the protocol cannot express"),
        Some(_) => bail!("it is no tensor, and the protocol has nothing else"),
        None => bail!("the file does not say its type"),
    };
    let element = Element::of(tensor.elem_type());
    ensure!(element.datatype().is_some(), "its type is {element}, which the protocol does not have");
    let shape = tensor
        .shape
        .as_ref()
        .map(|shape| shape.dim.iter().map(|side| side_of(side.value.as_ref())).collect());
    Ok(Port { name: value.name().to_owned(), element, shape })
}

/// Zero counts as free: no configuration can state it, and the engine finds out.
fn side_of(side: Option<&dimension::Value>) -> i64 {
    match side {
        Some(dimension::Value::DimValue(size)) if *size > 0 => *size,
        _ => -1,
    }
}

impl Port {
    /// Whether the file's tensor is a scalar, which clients see with the shape `[1]`, as in Triton.
    pub fn is_number(&self, described: &Description, batched: bool) -> bool {
        !batched && self.shape.as_ref().is_some_and(Vec::is_empty) && described.model_dims() == [1]
    }

    /// Checks that the tensor matches the configuration.
    ///
    /// # Errors
    /// It does not; the message names what to correct.
    pub fn agrees(&self, described: &Description, batched: bool) -> Result<()> {
        let Some(own) = self.element.datatype() else { bail!("its type is {}", self.element) };
        ensure!(
            own == described.datatype,
            "the configuration says {}, but the model has {own}: correct data_type",
            described.datatype
        );
        let Some(shape) = &self.shape else { return Ok(()) };
        if self.is_number(described, batched) {
            return Ok(());
        }
        let expected = described.model_shape(batched);
        let fits = shape.len() == expected.len()
            && shape.iter().zip(&expected).all(|(found, expected)| *found < 0 || found == expected);
        ensure!(
            fits,
            "the configuration says {}{}, but the model has {}: correct dims or max_batch_size",
            bracketed(&expected),
            if batched { ", batch dimension included" } else { "" },
            bracketed(shape)
        );
        Ok(())
    }
}
