//! Small models with the quirks of the published ones, for tests.
//! Knows what insightface's exporter wrote; nothing of how it is edited.

use super::onnx::*;
use crate::scenario::{Artifact, Structure};

/// The published names of det_10g's outputs and the names they are served under.
pub const OUTPUTS: [(&str, &str); 9] = [
    ("448", "score_8"),
    ("471", "score_16"),
    ("494", "score_32"),
    ("451", "bbox_8"),
    ("474", "bbox_16"),
    ("497", "bbox_32"),
    ("454", "kps_8"),
    ("477", "kps_16"),
    ("500", "kps_32"),
];

/// The artifact that a scenario would hold for a miniature.
pub fn artifact(stand_in: Structure) -> Artifact {
    let outputs = match stand_in {
        Structure::Scrfd => OUTPUTS.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect(),
        Structure::ArcFace => vec![("683".to_owned(), "683".to_owned())],
    };
    Artifact {
        url: "http://example.invalid/models.zip".to_owned(),
        sha256: "00".repeat(32),
        member: "miniature.onnx".to_owned(),
        member_sha256: "AB".repeat(32),
        licence: "non-commercial research only".to_owned(),
        stand_in,
        outputs,
    }
}

/// Gives an output a fixed shape, batch dimension included.
fn fix(value: &mut ValueInfoProto, shape: &[i64]) {
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: shape.iter().map(|&size| fixed(size)).collect() }),
    };
    value.r#type = Some(TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() });
}

/// A small det_10g: input [1, 3, 16, 16], strides 1, 2 and 4, one convolution each, outputs [anchors, K]; the shapes
/// of its reshapes are an initialiser shared by the scores (`int64_data`), one for the boxes (`raw_data`), and
/// Constant nodes for the key points.
pub fn det() -> ModelProto {
    let mut graph = Graph::new("torch-jit-export", 3);
    let image = graph.input("input.1", &[3, 16, 16]);
    for (level, outputs) in [["448", "451", "454"], ["471", "474", "477"], ["494", "497", "500"]].iter().enumerate() {
        let stride = 1 << level;
        for (output, width) in outputs.iter().zip([1, 4, 10]) {
            let conv = Conv { from: 3, to: 2 * width, kernel: 3, stride, gain: 1.0 };
            let map = graph.conv(&format!("c{output}"), &image, conv);
            let rows = graph.transpose(&format!("t{output}"), &map, &[2, 3, 0, 1]);
            let last = if width == 1 { format!("r{output}") } else { output.to_string() };
            let value = graph.reshape(&last, &rows, &[-1, width as i64]);
            if width == 1 {
                graph.sigmoid(output, &value);
            }
        }
    }
    for (output, _) in OUTPUTS {
        graph.output(output, &[]);
    }
    let mut model = graph.into_model("");
    model.producer_name = Some("pytorch".to_owned());
    model.metadata_props = vec![StringStringEntryProto { key: Some("keep".to_owned()), value: Some("me".to_owned()) }];
    let graph = model.graph.as_mut().unwrap();
    fix(&mut graph.input[0], &[1, 3, 16, 16]);
    for (index, output) in graph.output.iter_mut().enumerate() {
        let side = 16 >> (index % 3);
        fix(output, &[2 * side * side, [1, 4, 10][index / 3]]);
    }
    share_shapes(graph);
    let mut stale = graph.input[0].clone();
    stale.name = Some("c448".to_owned());
    graph.value_info.push(stale);
    model
}

/// Turns the Constant nodes of the scores and boxes into the initialisers "scores" and "boxes".
fn share_shapes(graph: &mut GraphProto) {
    let mut renamed = Vec::new();
    graph.node.retain(|node| {
        let shape = node.attribute.first().and_then(|value| value.t.as_ref()).map(|t| t.raw_data().to_vec());
        let initialiser = match shape {
            Some(raw) if raw == integers(&[-1, 1]).raw_data() => "scores",
            Some(raw) if raw == integers(&[-1, 4]).raw_data() => "boxes",
            _ => return true,
        };
        renamed.push((node.output[0].clone(), initialiser.to_owned()));
        false
    });
    for input in graph.node.iter_mut().flat_map(|node| &mut node.input) {
        if let Some((_, to)) = renamed.iter().find(|(from, _)| from == input) {
            *input = to.clone();
        }
    }
    let name = |name: &str| Some(name.to_owned());
    let scores = TensorProto { raw_data: None, int64_data: vec![-1, 1], name: name("scores"), ..integers(&[-1, 1]) };
    graph.initializer.push(scores);
    graph.initializer.push(TensorProto { name: name("boxes"), ..integers(&[-1, 4]) });
}

/// A small w600k_r50: input [1, 3, 4, 4], output `683` [1, 8].
pub fn recognition() -> ModelProto {
    let mut graph = Graph::new("torch-jit-export", 4);
    let image = graph.input("input.1", &[3, 4, 4]);
    let flat = graph.flatten("flat", &image);
    let embedding = graph.linear("fc", &flat, 48, 8);
    let output = graph.batch_norm("683", &embedding, 8);
    graph.output(&output, &[8]);
    let mut model = graph.into_model("");
    let graph = model.graph.as_mut().unwrap();
    fix(&mut graph.input[0], &[1, 3, 4, 4]);
    fix(&mut graph.output[0], &[1, 8]);
    model
}
