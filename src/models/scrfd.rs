//! The structure of SCRFD-10G (det_10g.onnx): basic-block backbone, two-way feature pyramid, one head per stride.
//! Knows operators only; the parent module chooses a stand-in's name and folder.
//! Source: deepinsight/insightface, detection/scrfd (configs/scrfd/scrfd_10g_bnkps.py).

use super::onnx::{Conv, Graph, ModelProto};

/// Side of the square input image, pixels.
const SIDE: i64 = 640;
/// Input pixels per cell of the three feature maps.
const STRIDES: [i64; 3] = [8, 16, 32];
/// Anchors per cell.
const ANCHORS: usize = 2;
/// Channels of the feature pyramid.
const NECK: usize = 56;
/// Channels of the heads.
const HEAD: usize = 80;
/// Blocks, output channels and stride of the four stages.
const STAGES: [(usize, usize, usize); 4] = [(3, 56, 1), (4, 88, 2), (2, 88, 2), (3, 224, 2)];
/// The outputs of a head: name, channels per anchor, and the gain that keeps a sigmoid out of saturation.
const ANSWERS: [(&str, usize, f64); 3] = [("score", 1, 0.5), ("bbox", 4, 1.0), ("kps", 10, 1.0)];

/// Gain that keeps the magnitude of activations through a convolution followed by a ReLU.
const RELU_GAIN: f64 = std::f64::consts::SQRT_2;
/// Gain of a block's second convolution: at gain 1, a sum over 12 blocks would double the variance 12 times.
const BRANCH_GAIN: f64 = 0.5;

/// Input `input.1` [batch, 3, 640, 640]; outputs score_8, score_16, score_32, bbox_8.., kps_8..:
/// [batch, 12800 | 3200 | 800, 1 | 4 | 10], all FP32.
pub fn model(seed: u64, label: &str) -> ModelProto {
    let mut graph = Graph::new("scrfd_10g", seed);
    let image = graph.input("input.1", &[3, SIDE, SIDE]);
    let features = backbone(&mut graph, &image);
    let pyramid = neck(&mut graph, features);
    for (stride, feature) in STRIDES.iter().zip(&pyramid) {
        head(&mut graph, *stride, feature);
    }
    for (answer, width, _) in ANSWERS {
        for stride in STRIDES {
            let cells = (SIDE / stride).pow(2);
            graph.output(&format!("{answer}_{stride}"), &[cells * ANCHORS as i64, width as i64]);
        }
    }
    graph.into_model(label)
}

fn conv(from: usize, to: usize, kernel: usize, stride: usize, gain: f64) -> Conv {
    Conv { from, to, kernel, stride, gain }
}

/// The outputs of the last three stages: 88, 88 and 224 channels at strides 8, 16 and 32.
fn backbone(graph: &mut Graph, image: &str) -> [(String, usize); 3] {
    let mut value = image.to_owned();
    for (index, (from, to, stride)) in [(3, 28, 2), (28, 28, 1), (28, 56, 1)].into_iter().enumerate() {
        let name = format!("stem.{index}");
        value = graph.conv(&format!("{name}.conv"), &value, conv(from, to, 3, stride, RELU_GAIN));
        value = graph.relu(&format!("{name}.relu"), &value);
    }
    value = graph.pool("MaxPool", "stem.pool", &value);
    let mut channels = 56;
    let mut features = Vec::new();
    for (stage, (blocks, planes, stride)) in STAGES.into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            value = basic_block(graph, &format!("layer{}.{block}", stage + 1), &value, (channels, planes, stride));
            channels = planes;
        }
        features.push((value.clone(), channels));
    }
    let [_, second, third, fourth] = features.try_into().expect("four stages");
    [second, third, fourth]
}

fn basic_block(graph: &mut Graph, name: &str, input: &str, shape: (usize, usize, usize)) -> String {
    let (from, to, stride) = shape;
    let branch = graph.conv(&format!("{name}.conv1"), input, conv(from, to, 3, stride, RELU_GAIN));
    let branch = graph.relu(&format!("{name}.relu1"), &branch);
    let branch = graph.conv(&format!("{name}.conv2"), &branch, conv(to, to, 3, 1, BRANCH_GAIN));
    let shortcut = if stride == 1 {
        input.to_owned()
    } else {
        let pooled = graph.pool("AveragePool", &format!("{name}.shortcut.pool"), input);
        graph.conv(&format!("{name}.shortcut.conv"), &pooled, conv(from, to, 1, 1, 1.0))
    };
    let sum = graph.add(&format!("{name}.add"), &branch, &shortcut);
    graph.relu(&format!("{name}.relu2"), &sum)
}

/// Top-down, then bottom-up (PAFPN): three maps of [`NECK`] channels at the strides of the features.
fn neck(graph: &mut Graph, features: [(String, usize); 3]) -> [String; 3] {
    let mut maps: Vec<String> = (0..3)
        .map(|level| {
            let (feature, channels) = &features[level];
            graph.conv(&format!("neck.lateral.{level}"), feature, conv(*channels, NECK, 1, 1, 1.0))
        })
        .collect();
    for level in [1, 0] {
        let coarse = graph.upsample(&format!("neck.top_down.{level}.resize"), &maps[level + 1]);
        maps[level] = graph.add(&format!("neck.top_down.{level}.add"), &maps[level], &coarse);
    }
    let same = conv(NECK, NECK, 3, 1, 1.0);
    for (level, map) in maps.iter_mut().enumerate() {
        *map = graph.conv(&format!("neck.fpn.{level}"), map, same);
    }
    for level in [1, 2] {
        let fine = graph.conv(&format!("neck.bottom_up.{level}.conv"), &maps[level - 1], Conv { stride: 2, ..same });
        maps[level] = graph.add(&format!("neck.bottom_up.{level}.add"), &maps[level], &fine);
    }
    for level in [1, 2] {
        maps[level] = graph.conv(&format!("neck.pafpn.{level}"), &maps[level], same);
    }
    maps.try_into().expect("three levels")
}

fn head(graph: &mut Graph, stride: i64, feature: &str) {
    let name = format!("head.{stride}");
    let mut value = feature.to_owned();
    for layer in 0..3 {
        let from = if layer == 0 { NECK } else { HEAD };
        value = graph.conv(&format!("{name}.{layer}.conv"), &value, conv(from, HEAD, 3, 1, RELU_GAIN));
        value = graph.relu(&format!("{name}.{layer}.relu"), &value);
    }
    for (answer, width, gain) in ANSWERS {
        let output = format!("{answer}_{stride}");
        let mut map = graph.conv(&format!("{name}.{answer}.conv"), &value, conv(HEAD, ANCHORS * width, 3, 1, gain));
        if answer == "bbox" {
            map = graph.scale(&format!("{name}.{answer}.scaled"), &map);
        }
        let map = graph.transpose(&format!("{name}.{answer}.transpose"), &map, &[0, 2, 3, 1]);
        let shape = [0, -1, width as i64];
        if answer == "score" {
            let rows = graph.reshape(&format!("{name}.{answer}.reshape"), &map, &shape);
            graph.sigmoid(&output, &rows);
        } else {
            graph.reshape(&output, &map, &shape);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::onnx::parameters_bytes;
    use super::*;

    #[test]
    fn has_the_parameters_of_the_published_file() {
        let model = model(0, "test");
        let tensors = &model.graph.as_ref().unwrap().initializer;
        let scalars: Vec<_> = tensors.iter().filter(|tensor| tensor.dims.is_empty()).collect();
        assert_eq!(scalars.len(), 3);
        assert_eq!(parameters_bytes(&model) - 4 * scalars.len() as u64, 16_903_736);
        let raw: usize = tensors.iter().map(|tensor| tensor.raw_data().len()).sum();
        assert_eq!(raw as u64, parameters_bytes(&model));
    }
}
