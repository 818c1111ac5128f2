//! The operators that the engine (rten 0.27) is known to compute correctly, with the types and attributes for which
//! they were checked against the standard. Anything else is refused when a model is loaded.

use super::elements::Element;
use super::graph::Node;
use super::limits::{
    cast, cast_like, convolution_of_integers, four_sides, fourth_output_alone, from_the_start, gru, learns, recurrent,
    remainder, same_width, to_byte, to_float, to_float_or_none, whole_mask, window,
};

/// One operator.
pub struct Row {
    /// Its name, with its domain unless it is the standard's.
    operator: &'static str,
    /// The first operator set whose definition matches the engine's.
    since: i64,
    /// Types of the inputs that hold data: `f` FLOAT, FLOAT16, DOUBLE (computed in single precision), `i` INT32,
    /// INT64 (in 32 bits), `b` BOOL, `8` INT8 and UINT8, `w` the same, through 32 bits, `.` sequences of them.
    types: &'static str,
    /// The inputs that hold data, including all after the last one listed.
    data: &'static [usize],
    /// Attributes that it may have.
    attributes: &'static [&'static str],
    /// Further limits.
    limits: &'static [Limit],
}

/// A limit of an engine's operator.
enum Limit {
    /// The integer attribute must be this, which is also its default.
    Int(&'static str, i64),
    /// The string attribute must be one of these; the first is its default.
    Text(&'static str, &'static [&'static str]),
    /// Inputs from this one on must be left out.
    Inputs(usize),
    /// Outputs from this one on must be left out.
    Outputs(usize),
    /// The rules rewrite a node with this attribute; the engine cannot run one that remains.
    Absent(&'static str),
    /// The rules rewrite the node as others; the engine cannot run one that remains.
    Rewritten,
    /// Any other check; its error is the message.
    Other(fn(Node) -> Result<(), String>),
}

impl Row {
    /// An attribute that is not in the table.
    pub fn unknown<'a>(&self, node: Node<'a>) -> Option<&'a str> {
        let mut names = node.proto.attribute.iter().map(|attribute| attribute.name());
        names.find(|name| !self.attributes.contains(name))
    }

    /// Whether its eight-bit integers are computed in 32 bits.
    pub fn widens(&self) -> bool {
        self.types.contains('w')
    }
}

const FIRST: &[usize] = &[0];
const TWO: &[usize] = &[0, 1];
const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const NO: &[&str] = &[];

const fn row(
    operator: &'static str,
    since: i64,
    types: &'static str,
    data: &'static [usize],
    attributes: &'static [&'static str],
    limits: &'static [Limit],
) -> Row {
    Row { operator, since, types, data, attributes, limits }
}

const REDUCTION: &[&str] = &["axes", "keepdims", "noop_with_empty_axes"];
const WINDOW: &[&str] = &["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"];
const RECURRENT: &[&str] = &[
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
    "layout",
    "linear_before_reset",
];
const CASTS: &[&str] = &["to", "saturate", "round_mode"];

use Limit::{Absent, Inputs, Int, Other, Outputs, Rewritten, Text};

#[rustfmt::skip] // a table, one operator a line
const TABLE: &[Row] = &[
    // element by element
    row("Abs", 1, "fiw", FIRST, NO, &[]),
    row("Acos", 1, "f", FIRST, NO, &[]),
    row("Acosh", 1, "f", FIRST, NO, &[]),
    row("Add", 1, "fiw", TWO, NO, &[]),
    row("And", 1, "b", TWO, NO, &[]),
    row("Asin", 1, "f", FIRST, NO, &[]),
    row("Asinh", 1, "f", FIRST, NO, &[]),
    row("Atan", 1, "f", FIRST, NO, &[]),
    row("Atanh", 1, "f", FIRST, NO, &[]),
    row("BitCast", 1, "fi8", FIRST, &["to"], &[Other(same_width)]),
    row("Cast", 6, "fib8", FIRST, CASTS, &[Other(cast)]),
    row("CastLike", 15, "fib8", TWO, CASTS, &[Other(cast_like)]),
    row("Ceil", 1, "f", FIRST, NO, &[]),
    row("Clip", 1, "fiw", FIRST, &["max", "min"], &[]),
    row("Cos", 1, "f", FIRST, NO, &[]),
    row("Cosh", 1, "f", FIRST, NO, &[]),
    row("Div", 1, "fiw", TWO, NO, &[]),
    row("Elu", 1, "f", FIRST, &["alpha"], &[]),
    row("Equal", 1, "fibw", TWO, NO, &[]),
    row("Erf", 1, "f", FIRST, NO, &[]),
    row("Exp", 1, "f", FIRST, NO, &[]),
    row("Floor", 1, "f", FIRST, NO, &[]),
    row("Gelu", 20, "f", FIRST, &["approximate"], &[]),
    row("Greater", 1, "fiw", TWO, NO, &[]),
    row("GreaterOrEqual", 1, "fiw", TWO, NO, &[]),
    row("HardSigmoid", 1, "f", FIRST, &["alpha", "beta"], &[]),
    row("HardSwish", 14, "f", FIRST, NO, &[]),
    row("Identity", 1, "fib8.", FIRST, NO, &[]),
    row("IsInf", 10, "f", FIRST, &["detect_negative", "detect_positive"], &[Int("detect_negative", 1), Int("detect_positive", 1)]),
    row("IsNaN", 9, "f", FIRST, NO, &[]),
    row("LeakyRelu", 1, "f", FIRST, &["alpha"], &[]),
    row("Less", 1, "fiw", TWO, NO, &[]),
    row("LessOrEqual", 1, "fiw", TWO, NO, &[]),
    row("Log", 1, "f", FIRST, NO, &[]),
    row("Max", 1, "fiw", ALL, NO, &[]),
    row("Mean", 1, "f", ALL, NO, &[]),
    row("Min", 1, "fiw", ALL, NO, &[]),
    row("Mod", 10, "fiw", TWO, &["fmod"], &[Other(remainder)]),
    row("Mul", 1, "fiw", TWO, NO, &[]),
    row("Neg", 1, "fiw", FIRST, NO, &[]),
    row("Not", 1, "b", FIRST, NO, &[]),
    row("Or", 1, "b", TWO, NO, &[]),
    row("PRelu", 1, "f", TWO, NO, &[]),
    row("Pow", 1, "fiw", TWO, NO, &[]),
    row("Reciprocal", 1, "f", FIRST, NO, &[]),
    row("Relu", 1, "f", FIRST, NO, &[]),
    row("Round", 11, "f", FIRST, NO, &[]),
    row("Sigmoid", 1, "f", FIRST, NO, &[]),
    row("Sign", 9, "fiw", FIRST, NO, &[]),
    row("Sin", 1, "f", FIRST, NO, &[]),
    row("Sinh", 1, "f", FIRST, NO, &[]),
    row("Softplus", 1, "f", FIRST, NO, &[]),
    row("Softsign", 1, "f", FIRST, NO, &[]),
    row("Sqrt", 1, "f", FIRST, NO, &[]),
    row("Sub", 1, "fiw", TWO, NO, &[]),
    row("Sum", 1, "fi", ALL, NO, &[]),
    row("Swish", 24, "f", FIRST, &["alpha"], &[]),
    row("Tan", 1, "f", FIRST, NO, &[]),
    row("Tanh", 1, "f", FIRST, NO, &[]),
    row("Where", 9, "fibw", &[1, 2], NO, &[]),
    row("Xor", 1, "b", TWO, NO, &[]),
    // rewritten as others
    row("Celu", 12, "f", FIRST, &["alpha"], &[Rewritten]),
    row("DynamicQuantizeLinear", 11, "f", FIRST, NO, &[Rewritten]),
    row("Hardmax", 13, "f", FIRST, &["axis"], &[Rewritten]),
    row("Mish", 18, "f", FIRST, NO, &[Rewritten]),
    row("Selu", 6, "f", FIRST, &["alpha", "gamma"], &[Rewritten]),
    row("Shrink", 9, "f", FIRST, &["bias", "lambd"], &[Rewritten]),
    row("SpaceToDepth", 1, "f", FIRST, &["blocksize"], &[Rewritten]),
    row("ThresholdedRelu", 10, "f", FIRST, &["alpha"], &[Rewritten]),
    // along axes
    row("ArgMax", 1, "fiw", FIRST, &["axis", "keepdims", "select_last_index"], &[Absent("select_last_index")]),
    row("ArgMin", 1, "fiw", FIRST, &["axis", "keepdims", "select_last_index"], &[Absent("select_last_index")]),
    row("CumSum", 11, "fi", FIRST, &["exclusive", "reverse"], &[]),
    row("Einsum", 12, "f", ALL, &["equation"], &[]),
    row("Gemm", 1, "f", &[0, 1, 2], &["alpha", "beta", "transA", "transB"], &[]),
    row("LogSoftmax", 1, "f", FIRST, &["axis"], &[]),
    row("LpNormalization", 1, "f", FIRST, &["axis", "p"], &[]),
    row("MatMul", 1, "f", TWO, NO, &[]),
    row("ReduceL1", 1, "fi", FIRST, REDUCTION, &[]),
    row("ReduceL2", 1, "f", FIRST, REDUCTION, &[]),
    row("ReduceLogSum", 1, "f", FIRST, REDUCTION, &[]),
    row("ReduceLogSumExp", 1, "f", FIRST, REDUCTION, &[]),
    row("ReduceMax", 1, "fibw", FIRST, REDUCTION, &[]),
    row("ReduceMean", 1, "f", FIRST, REDUCTION, &[]),
    row("ReduceMin", 1, "fibw", FIRST, REDUCTION, &[]),
    row("ReduceProd", 1, "fi", FIRST, REDUCTION, &[]),
    row("ReduceSum", 1, "fi", FIRST, REDUCTION, &[]),
    row("ReduceSumSquare", 1, "fi", FIRST, REDUCTION, &[]),
    row("Softmax", 1, "f", FIRST, &["axis"], &[]),
    row("TopK", 1, "fiw", FIRST, &["axis", "k", "largest", "sorted"], &[]),
    // normalization
    row("BatchNormalization", 1, "f", ALL, &["epsilon", "momentum", "spatial", "training_mode"], &[Int("training_mode", 0), Int("spatial", 1), Outputs(1)]),
    row("InstanceNormalization", 6, "f", ALL, &["epsilon"], &[]),
    row("LayerNormalization", 17, "f", ALL, &["axis", "epsilon", "stash_type"], &[Int("stash_type", 1), Outputs(1)]),
    row("RMSNormalization", 23, "f", ALL, &["axis", "epsilon", "stash_type"], &[Int("stash_type", 1)]),
    // windows
    row("AveragePool", 1, "f", FIRST, &["auto_pad", "ceil_mode", "count_include_pad", "dilations", "kernel_shape", "pads", "strides"], &[Other(window)]),
    row("Conv", 1, "f", ALL, WINDOW, &[Other(window)]),
    row("ConvInteger", 10, "8", ALL, WINDOW, &[Other(window), Other(convolution_of_integers)]),
    row("ConvTranspose", 1, "f", ALL, &["auto_pad", "dilations", "group", "kernel_shape", "output_padding", "output_shape", "pads", "strides"], &[Absent("output_shape"), Other(window)]),
    row("GlobalAveragePool", 1, "f", FIRST, NO, &[]),
    row("GlobalMaxPool", 1, "f", FIRST, NO, &[]),
    row("GridSample", 16, "f", TWO, &["align_corners", "mode", "padding_mode"], &[Text("mode", &["linear", "bilinear"]), Text("padding_mode", &["zeros"]), Other(four_sides)]),
    row("MaxPool", 1, "f", FIRST, &["auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"], &[Int("storage_order", 0), Outputs(1), Other(window)]),
    row(
        "Resize", 10, "f", FIRST,
        &["antialias", "axes", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "extrapolation_value", "keep_aspect_ratio_policy", "mode", "nearest_mode"],
        &[
            Absent("axes"), Int("antialias", 0), Int("exclude_outside", 0), Text("mode", &["nearest", "linear"]), Text("keep_aspect_ratio_policy", &["stretch"]),
            Text("coordinate_transformation_mode", &["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]), Other(four_sides),
        ],
    ),
    row("Upsample", 1, "f", FIRST, &["mode", "scales"], &[Text("mode", &["nearest", "linear", "bilinear"]), Other(four_sides)]),
    // moving elements
    row("Concat", 1, "fibw", ALL, &["axis"], &[]),
    row("Constant", 1, "fib8", NOTHING, &["value", "value_float", "value_floats", "value_int", "value_ints"], &[]),
    row("ConstantOfShape", 9, "i", NOTHING, &["value"], &[]),
    row("DepthToSpace", 1, "f", FIRST, &["blocksize", "mode"], &[]),
    row("Expand", 8, "fib8", FIRST, NO, &[]),
    row("Dropout", 1, "f", FIRST, &["is_test", "ratio", "seed"], &[Other(learns)]),
    row("EyeLike", 9, "fib8", FIRST, &["dtype", "k"], &[]),
    row("Flatten", 1, "fib8", FIRST, &["axis"], &[]),
    row("Gather", 1, "fib8", FIRST, &["axis"], &[]),
    row("GatherElements", 11, "fib8", FIRST, &["axis"], &[]),
    row("GatherND", 11, "fib8", FIRST, &["batch_dims"], &[]),
    row("NonZero", 9, "fibw", FIRST, NO, &[]),
    row("OneHot", 9, "fib", &[2], &["axis"], &[]),
    row("Pad", 2, "fib8", FIRST, &["mode", "pads", "value"], &[Inputs(3)]),
    row("Range", 11, "fi", &[0, 1, 2], &["stash_type"], &[]),
    row("Reshape", 1, "fib8", FIRST, &["allowzero", "shape"], &[]),
    row("ReverseSequence", 10, "fib8", FIRST, &["batch_axis", "time_axis"], &[]),
    row("Scatter", 9, "fib8", FIRST, &["axis"], &[]),
    row("ScatterElements", 11, "fib8", FIRST, &["axis", "reduction"], &[]),
    row("ScatterND", 11, "fib8", FIRST, &["reduction"], &[]),
    row("Shape", 1, "fib8", FIRST, &["end", "start"], &[]),
    row("Size", 1, "fib8", FIRST, NO, &[]),
    row("Slice", 1, "fib8", FIRST, &["axes", "ends", "starts"], &[]),
    row("Split", 1, "fib8", FIRST, &["axis", "num_outputs", "split"], &[]),
    row("Squeeze", 1, "fib8", FIRST, &["axes"], &[]),
    row("Tile", 6, "fib8", FIRST, NO, &[]),
    row("Transpose", 1, "fib8", FIRST, &["perm"], &[]),
    row("Trilu", 14, "fib8", FIRST, &["upper"], &[]),
    row("Unsqueeze", 1, "fib8", FIRST, &["axes"], &[]),
    // quantized
    row("DequantizeLinear", 10, "8i", FIRST, &["axis", "block_size", "output_dtype"], &[Int("block_size", 0), Other(to_float)]),
    row("MatMulInteger", 10, "8", ALL, NO, &[]),
    row("QuantizeLinear", 10, "f", FIRST, &["axis", "block_size", "output_dtype", "precision", "saturate"], &[Int("block_size", 0), Int("precision", 0), Other(to_byte)]),
    // recurrent and attention
    row("Attention", 23, "fib", ALL, &["is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap", "softmax_precision"], &[Outputs(3), Other(whole_mask)]),
    row("GRU", 7, "f", &[0, 1, 2, 3, 5], RECURRENT, &[Other(recurrent), Other(gru)]),
    row("LSTM", 7, "f", &[0, 1, 2, 3, 5, 6], RECURRENT, &[Other(recurrent), Inputs(7), Int("input_forget", 0)]),
    row("RotaryEmbedding", 23, "f", &[0, 1, 2], &["interleaved", "num_heads", "rotary_embedding_dim"], &[]),
    // signals
    row("DFT", 17, "f", FIRST, &["axis", "inverse", "onesided"], &[]),
    row("STFT", 17, "f", FIRST, &["onesided"], &[]),
    // random
    row("Multinomial", 7, "f", FIRST, &["dtype", "sample_size", "seed"], &[]),
    row("RandomNormal", 1, "f", NOTHING, &["dtype", "mean", "scale", "seed", "shape"], &[Other(to_float_or_none)]),
    row("RandomNormalLike", 1, "fib8", FIRST, &["dtype", "mean", "scale", "seed"], &[Other(to_float_or_none)]),
    row("RandomUniform", 1, "f", NOTHING, &["dtype", "high", "low", "seed", "shape"], &[Other(to_float_or_none)]),
    row("RandomUniformLike", 1, "fib8", FIRST, &["dtype", "high", "low", "seed"], &[Other(to_float_or_none)]),
    // control and sequences
    row("If", 1, "b", FIRST, &["else_branch", "then_branch"], &[]),
    row("Loop", 1, "fib8", NOTHING, &["body"], &[]),
    row("ConcatFromSequence", 11, "fib8", FIRST, &["axis", "new_axis"], &[]),
    row("SequenceAt", 11, "fib8", FIRST, NO, &[]),
    row("SequenceConstruct", 11, "fib8", FIRST, NO, &[]),
    row("SequenceEmpty", 11, "fib8", NOTHING, &["dtype"], &[]),
    row("SequenceErase", 11, "fib8", FIRST, NO, &[]),
    row("SequenceInsert", 11, "fib8", FIRST, NO, &[Other(from_the_start)]),
    row("SequenceLength", 11, "fib8", FIRST, NO, &[]),
    row("SplitToSequence", 11, "fib8", FIRST, &["axis", "keepdims"], &[]),
    // other domains
    row("com.microsoft.BiasGelu", 1, "f", TWO, NO, &[]),
    row("com.microsoft.FastGelu", 1, "f", TWO, NO, &[]),
    row("com.microsoft.Gelu", 1, "f", FIRST, NO, &[]),
    row("com.microsoft.QuickGelu", 1, "f", FIRST, &["alpha"], &[]),
    row("com.microsoft.MatMulNBits", 1, "f", FIRST, &["K", "N", "bits", "block_size"], &[Int("bits", 4), Inputs(3)]),
    row("com.microsoft.MultiHeadAttention", 1, "f", ALL, &["mask_filter_value", "num_heads", "scale", "unidirectional"], &[Inputs(3), Outputs(1)]),
    row("com.microsoft.SkipLayerNormalization", 1, "f", ALL, &["epsilon"], &[Other(fourth_output_alone)]),
    row("com.microsoft.SkipSimplifiedLayerNormalization", 1, "f", ALL, &["epsilon"], &[Other(fourth_output_alone)]),
    row("SimplifiedLayerNormalization", 1, "f", ALL, &["axis", "epsilon", "stash_type"], &[Int("stash_type", 1), Outputs(1)]),
];

const NOTHING: &[usize] = &[];

/// The row of a node's operator.
pub fn find(node: Node) -> Option<&'static Row> {
    let operator = node.operator();
    TABLE.iter().find(|row| row.operator == operator)
}

/// Checks that the engine computes the node correctly.
///
/// # Errors
/// It does not; the message does not name the operator.
pub fn check(node: Node) -> Result<(), String> {
    let Some(row) = find(node) else {
        return Err("the engine does not have it".to_owned());
    };
    if node.opset < row.since {
        return Err(format!("the engine has it as it is since opset {}", row.since));
    }
    if let Some(attribute) = row.unknown(node) {
        return Err(format!("the engine does not have the attribute {attribute}"));
    }
    for index in 0..node.proto.input.len() {
        let Some(element) = node.element(index) else { continue };
        let wrong = if row.data.contains(&index) { !row.takes(element) } else { element.held().is_none() };
        if wrong {
            return Err(format!("input {index} is {element}, for which the engine does not have it"));
        }
        if node.facts(index).is_some_and(|facts| facts.wide) && !keeps_wide(node, index) {
            return Err(format!("input {index} has INT64 values beyond the engine's 32 bits"));
        }
    }
    row.limits.iter().try_for_each(|limit| limit.check(node))
}

/// Whether an integer beyond 32 bits may be clipped: as the end of a slice, or as a bound, it means the same.
fn keeps_wide(node: Node, index: usize) -> bool {
    match node.proto.op_type() {
        "Slice" | "Clip" => index > 0,
        op => super::types::HANDED_ON.contains(&op) && node.element(index) == Some(Element::INT64),
    }
}

impl Row {
    fn takes(&self, element: Element) -> bool {
        let letter = match element {
            Element::BOOL => 'b',
            element if element.is_float() => 'f',
            element if element.is_byte() => '8',
            Element::INT32 | Element::INT64 => 'i',
            _ => return false,
        };
        self.types.contains(letter)
    }
}

impl Limit {
    fn check(&self, node: Node) -> Result<(), String> {
        match self {
            Int(name, only) => match node.int(name, *only) {
                found if found == *only => Ok(()),
                found => Err(format!("{name} is {found}, and the engine has {only} alone")),
            },
            Text(name, known) => match node.text(name, known[0]) {
                found if known.contains(&found) => Ok(()),
                found => Err(format!("{name} is \"{found}\", and the engine has {} alone", known.join(", "))),
            },
            Inputs(count) => match (*count..node.proto.input.len()).find(|index| node.input(*index).is_some()) {
                Some(index) => Err(format!("input {index} is given, which the engine does not have")),
                None => Ok(()),
            },
            Outputs(count) => match (*count..node.proto.output.len()).find(|index| node.output(*index).is_some()) {
                Some(index) => Err(format!("output {index} is used, which the engine does not have")),
                None => Ok(()),
            },
            Absent(name) => match node.attribute(name) {
                Some(_) => Err(format!("{name} is given, which the engine does not have in this form")),
                None => Ok(()),
            },
            Rewritten => Err("the engine does not have it in this form".to_owned()),
            Other(check) => check(node),
        }
    }
}
