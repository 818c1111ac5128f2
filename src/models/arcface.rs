//! The structure of ArcFace's iResNet50 (w600k_r50.onnx).
//! Knows operators only; the parent module chooses a stand-in's name and folder.
//! Source: deepinsight/insightface, recognition/arcface_torch/backbones/iresnet.py.

use super::onnx::{Conv, Graph, ModelProto};

/// Side of the square input image, pixels.
const SIDE: i64 = 112;
/// Length of the answer.
const EMBEDDING: usize = 512;
/// Blocks and channels of the four layers; the first block of each has stride 2.
const LAYERS: [(usize, usize); 4] = [(3, 64), (4, 128), (14, 256), (3, 512)];

/// Gain that keeps the magnitude through a convolution and a PReLU of slope 0.25: sqrt(2 / (1 + 0.25^2)).
const PRELU_GAIN: f64 = 1.372;
/// Gain of a block's second convolution: at gain 1, a sum over 24 blocks would double the variance 24 times.
const BRANCH_GAIN: f64 = 0.3;

/// Input `input.1` [batch, 3, 112, 112], output `683` [batch, 512], both FP32.
pub fn model(seed: u64, label: &str) -> ModelProto {
    let mut graph = Graph::new("arcface_iresnet50", seed);
    let image = graph.input("input.1", &[3, SIDE, SIDE]);
    let mut channels = LAYERS[0].1;
    let stem = Conv { from: 3, to: channels, kernel: 3, stride: 1, gain: PRELU_GAIN };
    let value = graph.conv("stem.conv", &image, stem);
    let mut value = graph.prelu("stem.prelu", &value, channels);
    for (layer, (blocks, planes)) in LAYERS.into_iter().enumerate() {
        for block in 0..blocks {
            value = residual_block(
                &mut graph,
                &format!("layer{}.{block}", layer + 1),
                &value,
                (channels, planes, block == 0),
            );
            channels = planes;
        }
    }
    let side = SIDE as usize >> LAYERS.len();
    let value = graph.batch_norm("bn2", &value, channels);
    let value = graph.flatten("flatten", &value);
    let value = graph.linear("fc", &value, channels * side * side, EMBEDDING);
    let output = graph.batch_norm("683", &value, EMBEDDING);
    graph.output(&output, &[EMBEDDING as i64]);
    graph.into_model(label)
}

/// `shape` is channels in, channels out, and whether the block halves the sides and so needs a shortcut convolution.
fn residual_block(graph: &mut Graph, name: &str, input: &str, shape: (usize, usize, bool)) -> String {
    let (from, to, first) = shape;
    let stride = if first { 2 } else { 1 };
    let branch = graph.batch_norm(&format!("{name}.bn1"), input, from);
    let conv1 = Conv { from, to, kernel: 3, stride: 1, gain: PRELU_GAIN };
    let branch = graph.conv(&format!("{name}.conv1"), &branch, conv1);
    let branch = graph.prelu(&format!("{name}.prelu"), &branch, to);
    let conv2 = Conv { from: to, to, kernel: 3, stride, gain: BRANCH_GAIN };
    let branch = graph.conv(&format!("{name}.conv2"), &branch, conv2);
    let shortcut = if first {
        let conv = Conv { from, to, kernel: 1, stride, gain: 1.0 };
        graph.conv(&format!("{name}.shortcut"), input, conv)
    } else {
        input.to_owned()
    };
    graph.add(&format!("{name}.add"), &branch, &shortcut)
}

#[cfg(test)]
mod tests {
    use super::super::onnx::parameters_bytes;
    use super::*;

    #[test]
    fn has_the_parameters_of_the_published_file() {
        assert_eq!(parameters_bytes(&model(0, "test")), 174_363_904);
    }
}
