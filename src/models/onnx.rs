//! A small writer of graphs in the messages of ONNX files.
//! Knows operators and tensors; knows no particular model, no file and no network.

use super::weights::Weights;

pub use crate::proto::onnx::*;

use tensor_shape_proto::{Dimension, dimension};

/// The format's element types that are used here.
pub enum DataType {
    /// 32-bit floating point.
    Float = 1,
    /// 64-bit signed integer.
    Int64 = 7,
}

/// The format's attribute kinds that are used here.
enum AttributeType {
    Float = 1,
    Int = 2,
    String = 3,
    Tensor = 4,
    Ints = 7,
}

/// Key of the `metadata_props` entry that names the source of a model's weights.
pub const WEIGHTS_KEY: &str = "weights";
/// Symbolic name of dimension 0 of inputs and outputs.
pub const BATCH: &str = "batch";
/// The opset of det_10g.onnx. Both Triton's ONNX Runtime and rten read it.
const OPSET: i64 = 11;
/// The file version that belongs to the opset (ONNX 1.6).
const IR_VERSION: i64 = 6;
/// Spread of biases and other small values. Not zero: an image of zeros must not give constant answers.
const SMALL: f64 = 0.1;

/// A convolution with square kernel, padding `kernel / 2` and a bias.
#[derive(Clone, Copy)]
pub struct Conv {
    /// Input channels.
    pub from: usize,
    /// Output channels.
    pub to: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step in both directions.
    pub stride: usize,
    /// Weights have the deviation `gain / sqrt(fan in)`: sqrt(2) keeps the magnitude through a ReLU, 1 without one.
    pub gain: f64,
}

/// A graph under construction. Every operator takes the name of its output, which names the node too, and returns it.
pub struct Graph {
    graph: GraphProto,
    weights: Weights,
}

impl Graph {
    /// An empty graph whose weights come from `seed`.
    pub fn new(name: &str, seed: u64) -> Self {
        Graph {
            graph: GraphProto { name: Some(name.to_owned()), ..Default::default() },
            weights: Weights::new(seed),
        }
    }

    /// Declares an FP32 input of shape [batch, `shape`...].
    pub fn input(&mut self, name: &str, shape: &[i64]) -> String {
        self.graph.input.push(batched(name, shape));
        name.to_owned()
    }

    /// Declares the value `name` as an FP32 output of shape [batch, `shape`...].
    pub fn output(&mut self, name: &str, shape: &[i64]) {
        self.graph.output.push(batched(name, shape));
    }

    /// [n, from, h, w] -> [n, to, h / stride, w / stride]
    pub fn conv(&mut self, name: &str, input: &str, conv: Conv) -> String {
        let Conv { from, to, kernel, stride, gain } = conv;
        let deviation = gain / ((from * kernel * kernel) as f64).sqrt();
        let weight = self.parameter(&format!("{name}.weight"), &[to, from, kernel, kernel], 0.0, deviation);
        let bias = self.parameter(&format!("{name}.bias"), &[to], 0.0, SMALL);
        let attributes = vec![
            ints("dilations", &[1, 1]),
            int("group", 1),
            ints("kernel_shape", &[kernel as i64; 2]),
            ints("pads", &[(kernel / 2) as i64; 4]),
            ints("strides", &[stride as i64; 2]),
        ];
        self.node("Conv", name, &[input, &weight, &bias], attributes)
    }

    /// Elementwise, shape unchanged.
    pub fn relu(&mut self, name: &str, input: &str) -> String {
        self.node("Relu", name, &[input], vec![])
    }

    /// Elementwise, shape unchanged.
    pub fn sigmoid(&mut self, name: &str, input: &str) -> String {
        self.node("Sigmoid", name, &[input], vec![])
    }

    /// [n, channels, h, w], one slope per channel, around 0.25.
    pub fn prelu(&mut self, name: &str, input: &str, channels: usize) -> String {
        let slope = self.parameter(&format!("{name}.slope"), &[channels, 1, 1], 0.25, SMALL / 2.0);
        self.node("PRelu", name, &[input, &slope], vec![])
    }

    /// Elementwise sum of two values of one shape.
    pub fn add(&mut self, name: &str, left: &str, right: &str) -> String {
        self.node("Add", name, &[left, right], vec![])
    }

    /// The value times one learned scalar near 1.
    pub fn scale(&mut self, name: &str, input: &str) -> String {
        let scalar = self.parameter(&format!("{name}.scale"), &[], 1.0, SMALL);
        self.node("Mul", name, &[input, &scalar], vec![])
    }

    /// [n, channels, ...], four learned values per channel; close to the identity.
    pub fn batch_norm(&mut self, name: &str, input: &str, channels: usize) -> String {
        let shape = [channels];
        let scale = self.parameter(&format!("{name}.weight"), &shape, 1.0, SMALL);
        let bias = self.parameter(&format!("{name}.bias"), &shape, 0.0, SMALL);
        let mean = self.parameter(&format!("{name}.mean"), &shape, 0.0, SMALL);
        // bell() is bounded to 3.47 deviations, so a variance stays positive.
        let variance = self.parameter(&format!("{name}.variance"), &shape, 1.0, SMALL);
        let attributes = vec![float("epsilon", 1e-5)];
        self.node("BatchNormalization", name, &[input, &scale, &bias, &mean, &variance], attributes)
    }

    /// [n, c, h, w] -> [n, c, h / 2, w / 2]; `op` is MaxPool or AveragePool.
    pub fn pool(&mut self, op: &str, name: &str, input: &str) -> String {
        self.node(op, name, &[input], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
    }

    /// [n, c, h, w] -> [n, c, 2 h, 2 w], nearest neighbour.
    pub fn upsample(&mut self, name: &str, input: &str) -> String {
        // Opset 11 requires a region of interest; this mode ignores it.
        let roi = self.constant(&format!("{name}.roi"), floats(&[0], &[]));
        let scales = self.constant(&format!("{name}.scales"), floats(&[4], &[1.0, 1.0, 2.0, 2.0]));
        let attributes = vec![
            string("coordinate_transformation_mode", "asymmetric"),
            string("mode", "nearest"),
            string("nearest_mode", "floor"),
        ];
        self.node("Resize", name, &[input, &roi, &scales], attributes)
    }

    /// Reorders the dimensions.
    pub fn transpose(&mut self, name: &str, input: &str, order: &[i64]) -> String {
        self.node("Transpose", name, &[input], vec![ints("perm", order)])
    }

    /// Reshapes to `shape`, where 0 keeps a dimension and -1 takes the rest.
    pub fn reshape(&mut self, name: &str, input: &str, shape: &[i64]) -> String {
        let shape = self.constant(&format!("{name}.shape"), integers(shape));
        self.node("Reshape", name, &[input, &shape], vec![])
    }

    /// [n, ...] -> [n, product of the rest]
    pub fn flatten(&mut self, name: &str, input: &str) -> String {
        self.node("Flatten", name, &[input], vec![int("axis", 1)])
    }

    /// [n, from] -> [n, to], weights [to, from] and a bias.
    pub fn linear(&mut self, name: &str, input: &str, from: usize, to: usize) -> String {
        let weight = self.parameter(&format!("{name}.weight"), &[to, from], 0.0, 1.0 / (from as f64).sqrt());
        let bias = self.parameter(&format!("{name}.bias"), &[to], 0.0, SMALL);
        let attributes = vec![float("alpha", 1.0), float("beta", 1.0), int("transB", 1)];
        self.node("Gemm", name, &[input, &weight, &bias], attributes)
    }

    /// The finished model, carrying `label` in its documentation and under [`WEIGHTS_KEY`].
    pub fn into_model(self, label: &str) -> ModelProto {
        let mut model = ModelProto {
            ir_version: Some(IR_VERSION),
            opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
            producer_name: Some("runner".to_owned()),
            doc_string: Some(label.to_owned()),
            graph: Some(self.graph),
            ..Default::default()
        };
        set_metadata(&mut model, WEIGHTS_KEY, label);
        model
    }

    fn parameter(&mut self, name: &str, shape: &[usize], mean: f32, deviation: f64) -> String {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: Some(DataType::Float as i32),
            name: Some(name.to_owned()),
            raw_data: Some(self.weights.bell(shape.iter().product(), mean, deviation).into()),
            ..Default::default()
        });
        name.to_owned()
    }

    /// A node, not an initialiser: the initialisers of a stand-in are its parameters and nothing else.
    fn constant(&mut self, name: &str, value: TensorProto) -> String {
        self.graph.node.push(constant(name, value));
        name.to_owned()
    }

    fn node(&mut self, op: &str, name: &str, inputs: &[&str], attribute: Vec<AttributeProto>) -> String {
        self.graph.node.push(NodeProto {
            op_type: Some(op.to_owned()),
            name: Some(name.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.to_owned()],
            attribute,
            ..Default::default()
        });
        name.to_owned()
    }
}

/// A `Constant` node whose output is `name`.
pub fn constant(name: &str, value: TensorProto) -> NodeProto {
    NodeProto {
        op_type: Some("Constant".to_owned()),
        name: Some(name.to_owned()),
        output: vec![name.to_owned()],
        attribute: vec![AttributeProto { t: Some(value), ..attribute("value", AttributeType::Tensor) }],
        ..Default::default()
    }
}

/// A one-dimensional INT64 tensor.
pub fn integers(values: &[i64]) -> TensorProto {
    TensorProto {
        dims: vec![values.len() as i64],
        data_type: Some(DataType::Int64 as i32),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        ..Default::default()
    }
}

/// A named dimension of unknown size.
pub fn symbolic(name: &str) -> Dimension {
    Dimension { value: Some(dimension::Value::DimParam(name.to_owned())), ..Default::default() }
}

/// A dimension of known size.
pub fn fixed(size: i64) -> Dimension {
    Dimension { value: Some(dimension::Value::DimValue(size)), ..Default::default() }
}

/// Sets one entry of `metadata_props`, replacing any with the same key.
pub fn set_metadata(model: &mut ModelProto, key: &str, value: &str) {
    model.metadata_props.retain(|entry| entry.key() != key);
    model
        .metadata_props
        .push(StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) });
}

/// Bytes of all FP32 initialisers, from their shapes.
pub fn parameters_bytes(model: &ModelProto) -> u64 {
    let tensors = model.graph.iter().flat_map(|graph| &graph.initializer);
    tensors
        .filter(|tensor| tensor.data_type() == DataType::Float as i32)
        .map(|tensor| 4 * tensor.dims.iter().map(|&size| size.max(0) as u64).product::<u64>())
        .sum()
}

/// FP32 [batch, `shape`...].
fn batched(name: &str, shape: &[i64]) -> ValueInfoProto {
    let dim = std::iter::once(symbolic(BATCH)).chain(shape.iter().map(|&size| fixed(size))).collect();
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() }),
        ..Default::default()
    }
}

fn floats(shape: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        dims: shape.to_vec(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        ..Default::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..Default::default() }
}

fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}
