//! The edit of published models, on miniatures with the same quirks.

use super::super::miniature::{OUTPUTS, artifact, det, recognition};
use super::*;

/// Dimensions as text: numbers, and names of symbolic ones.
fn shape(value: &ValueInfoProto) -> String {
    let mut value = value.clone();
    let shape = dimensions(&mut value).unwrap().iter().map(|dimension| match &dimension.value {
        Some(Value::DimValue(size)) => size.to_string(),
        Some(Value::DimParam(name)) => name.clone(),
        None => "?".to_owned(),
    });
    shape.collect::<Vec<_>>().join(" ")
}

fn edit_error(mut model: ModelProto, change: impl FnOnce(&mut GraphProto, &mut Artifact)) -> String {
    let mut artifact = artifact(Structure::Scrfd);
    change(model.graph.as_mut().unwrap(), &mut artifact);
    format!("{:#}", make_batchable(&mut model, &artifact).unwrap_err())
}

fn node<'a>(graph: &'a mut GraphProto, name: &str) -> &'a mut NodeProto {
    graph.node.iter_mut().find(|node| node.name() == name).unwrap()
}

#[test]
fn heads_become_batched() {
    let published = det();
    let mut model = published.clone();
    make_batchable(&mut model, &artifact(Structure::Scrfd)).unwrap();
    let graph = model.graph.as_ref().unwrap();
    assert_eq!(shape(&graph.input[0]), "batch 3 16 16");
    let outputs: Vec<_> = graph
        .output
        .iter()
        .map(|output| format!("{} {}", output.name(), shape(output)))
        .collect();
    assert_eq!(
        outputs[..4],
        ["score_8 batch 512 1", "score_16 batch 128 1", "score_32 batch 32 1", "bbox_8 batch 512 4"]
    );
    assert_eq!(outputs[8], "kps_32 batch 32 10");
    for transpose in graph.node.iter().filter(|node| node.op_type() == "Transpose") {
        assert_eq!(transpose.attribute[0].ints, [0, 2, 3, 1]);
    }
    for reshape in graph.node.iter().filter(|node| node.op_type() == "Reshape") {
        let shape = constant_integers(graph, &reshape.input[1]).unwrap();
        assert!(matches!(shape[..], [0, -1, 1 | 4 | 10]), "{shape:?}");
    }
    assert!(graph.value_info.is_empty());
    // Every name is produced before it is used.
    let mut known: HashSet<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    known.insert("input.1");
    for node in &graph.node {
        assert!(node.input.iter().all(|name| known.contains(name.as_str())), "{node:?}");
        known.extend(node.output.iter().map(String::as_str));
    }
    assert!(OUTPUTS.iter().all(|(_, served)| known.contains(served)));
}

#[test]
fn only_what_has_to_change_changes() {
    let published = det();
    let mut model = published.clone();
    make_batchable(&mut model, &artifact(Structure::Scrfd)).unwrap();
    let (before, after) = (published.graph.as_ref().unwrap(), model.graph.as_ref().unwrap());
    let shapes = ["scores", "boxes"];
    let weights: Vec<_> = before
        .initializer
        .iter()
        .filter(|tensor| !shapes.contains(&tensor.name()))
        .cloned()
        .collect();
    assert_eq!(after.initializer, weights);
    // Three Constant nodes of the key points were removed, three shared constants added.
    assert_eq!(after.node.len(), before.node.len());
    assert_eq!(model.producer_name(), "pytorch");
    let metadata: Vec<_> = model.metadata_props.iter().map(|entry| (entry.key(), entry.value())).collect();
    let label = format!("miniature.onnx sha256 {} from http://example.invalid/models.zip", "ab".repeat(32));
    assert_eq!(metadata, [("keep", "me"), (WEIGHTS_KEY, label.as_str()), (CHANGES_KEY, CHANGES)]);
}

#[test]
fn a_shape_that_something_else_uses_stays() {
    let mut model = det();
    let graph = model.graph.as_mut().unwrap();
    let other = NodeProto {
        op_type: Some("Shape".into()),
        input: vec!["scores".into()],
        output: vec!["x".into()],
        ..Default::default()
    };
    graph.node.push(other);
    make_batchable(&mut model, &artifact(Structure::Scrfd)).unwrap();
    assert_eq!(constant_integers(model.graph.as_ref().unwrap(), "scores"), Some(vec![-1, 1]));
}

#[test]
fn consumers_of_an_output_are_renamed_with_it() {
    let mut model = det();
    let graph = model.graph.as_mut().unwrap();
    let other = NodeProto {
        op_type: Some("Relu".into()),
        input: vec!["448".into()],
        output: vec!["x".into()],
        ..Default::default()
    };
    graph.node.push(other);
    make_batchable(&mut model, &artifact(Structure::Scrfd)).unwrap();
    assert_eq!(model.graph.unwrap().node.last().unwrap().input, ["score_8"]);
}

#[test]
fn unknown_numbers_of_anchors_get_a_name() {
    let mut model = det();
    let graph = model.graph.as_mut().unwrap();
    dimensions(&mut graph.output[0]).unwrap()[0].value = None;
    make_batchable(&mut model, &artifact(Structure::Scrfd)).unwrap();
    assert_eq!(shape(&model.graph.unwrap().output[0]), "batch anchors_448 1");
}

#[test]
fn initialisers_listed_as_inputs_are_no_inputs() {
    let mut model = det();
    let graph = model.graph.as_mut().unwrap();
    graph.input.push(ValueInfoProto { name: Some("scores".into()), ..Default::default() });
    make_batchable(&mut model, &artifact(Structure::Scrfd)).unwrap();
    assert_eq!(model.graph.unwrap().input.len(), 1);
}

#[test]
fn recognition_becomes_batched() {
    let mut model = recognition();
    make_batchable(&mut model, &artifact(Structure::ArcFace)).unwrap();
    let graph = model.graph.as_ref().unwrap();
    assert_eq!(shape(&graph.input[0]), "batch 3 4 4");
    assert_eq!((graph.output[0].name(), shape(&graph.output[0]).as_str()), ("683", "batch 8"));
}

#[test]
fn no_graph() {
    let error = make_batchable(&mut ModelProto::default(), &artifact(Structure::Scrfd)).unwrap_err();
    assert!(error.to_string().contains("no graph"), "{error:#}");
}

#[test]
fn two_inputs() {
    let error = edit_error(det(), |graph, _| graph.input.push(ValueInfoProto::default()));
    assert!(error.contains("2 inputs, expected the image alone"), "{error}");
}

#[test]
fn input_without_shape() {
    let error = edit_error(det(), |graph, _| graph.input[0].r#type = None);
    assert!(error.contains("input `input.1` has no shape"), "{error}");
}

#[test]
fn no_such_output() {
    let error = edit_error(det(), |_, artifact| artifact.outputs[2].0 = "999".into());
    assert!(error.contains("no output `999`; it has 448, 471, 494, 451"), "{error}");
    assert!(error.contains("correct [artifact] outputs"), "{error}");
}

#[test]
fn new_name_taken() {
    let error = edit_error(det(), |_, artifact| artifact.outputs[0].1 = "c451".into());
    assert!(error.contains("output `448` cannot be named `c451`"), "{error}");
}

#[test]
fn new_name_twice() {
    let error = edit_error(det(), |_, artifact| artifact.outputs[0].1 = "kps_8".into());
    assert!(error.contains("cannot be named `kps_8`"), "{error}");
}

#[test]
fn unexpected_perm() {
    let error = edit_error(det(), |graph, _| node(graph, "t451").attribute[0].ints = vec![0, 1, 2, 3]);
    assert!(error.contains("output `451`: its Transpose has perm [0, 1, 2, 3], expected [2, 3, 0, 1]"), "{error}");
}

#[test]
fn perm_missing() {
    let error = edit_error(det(), |graph, _| node(graph, "t451").attribute.clear());
    assert!(error.contains("perm [], expected [2, 3, 0, 1]"), "{error}");
}

#[test]
fn batchable_already() {
    let mut model = det();
    make_batchable(&mut model, &artifact(Structure::Scrfd)).unwrap();
    let error = edit_error(model, |_, _| ());
    assert!(error.contains("expected [-1, K]"), "{error}");
    let error = edit_error(det(), |graph, _| node(graph, "t448").attribute[0].ints = BATCHED.to_vec());
    assert!(error.contains("is it batchable already?"), "{error}");
}

#[test]
fn reshape_to_something_else() {
    let error =
        edit_error(det(), |graph, _| graph.initializer.last_mut().unwrap().raw_data = integers(&[1, 2]).raw_data);
    assert!(error.contains("output `451`: its Reshape is to [1, 2], expected [-1, K]"), "{error}");
}

#[test]
fn reshape_by_a_computed_shape() {
    let error = edit_error(det(), |graph, _| node(graph, "451").input[1] = "c448".into());
    assert!(error.contains("output `451`: the shape of its Reshape is not a constant"), "{error}");
}

#[test]
fn no_reshape() {
    let error = edit_error(det(), |graph, _| node(graph, "448").input[0] = "t448".into());
    assert!(error.contains("output `448`: no Reshape after its Transpose"), "{error}");
}

#[test]
fn another_operator_before_the_output() {
    let error = edit_error(det(), |graph, _| node(graph, "448").input[0] = "c448".into());
    assert!(error.contains("output `448`: found Conv before it"), "{error}");
}

#[test]
fn nothing_before_the_output() {
    let error = edit_error(det(), |graph, _| node(graph, "448").input[0] = "nowhere".into());
    assert!(error.contains("nothing produces `nowhere`"), "{error}");
}

#[test]
fn output_of_another_rank() {
    let error = edit_error(det(), |graph, _| dimensions(&mut graph.output[0]).unwrap().push(fixed(1)));
    assert!(error.contains("output `448` has 3 dimensions, expected 2"), "{error}");
}

#[test]
fn recognition_with_a_fixed_batch() {
    let mut model = recognition();
    let graph = model.graph.as_mut().unwrap();
    graph.node.insert(0, constant("one", integers(&[1, 48])));
    let reshape = NodeProto {
        op_type: Some("Reshape".into()),
        name: Some("r".into()),
        input: vec!["flat".into(), "one".into()],
        ..Default::default()
    };
    graph.node.push(reshape);
    let error = make_batchable(&mut model, &artifact(Structure::ArcFace)).unwrap_err();
    assert!(error.to_string().contains("node `r` reshapes to [1, 48]"), "{error:#}");
}
