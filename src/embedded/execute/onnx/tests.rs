//! Small models: refusals with their messages, and completions. `tests/onnx_standard.py` checks the numbers.

use std::fs;
use std::path::Path;

use prost::Message;

use super::write::{float, int, ints, node, text};
use super::{Element, complete, load};
use crate::proto::model_config::SchedulingChoice;
use crate::proto::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto::Dimension, tensor_shape_proto::dimension,
    type_proto,
};
use crate::proto::{DataType, ModelConfig};

fn value(name: &str, element: Element, sides: &[i64]) -> ValueInfoProto {
    let side = |side: &i64| {
        let value = (*side >= 0).then_some(dimension::Value::DimValue(*side));
        Dimension { value, ..Default::default() }
    };
    let shape = TensorShapeProto { dim: sides.iter().map(side).collect() };
    let tensor = type_proto::Tensor { elem_type: Some(element.0), shape: Some(shape) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..Default::default() }
}

fn model(opset: i64, graph: GraphProto) -> ModelProto {
    let version = OperatorSetIdProto { domain: None, version: Some(opset) };
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![version],
        graph: Some(graph),
        ..Default::default()
    }
}

/// One operator from `x` to `y`, both FLOAT with four dimensions.
fn one(op: &str, attributes: Vec<AttributeProto>) -> GraphProto {
    let sides = &[1, 1, 4, 4];
    GraphProto {
        node: vec![node(op, &["x"], &["y"], attributes)],
        input: vec![value("x", Element::FLOAT, sides)],
        output: vec![value("y", Element::FLOAT, &[-1, -1, -1, -1])],
        ..Default::default()
    }
}

fn loaded(folder: &Path, model: &ModelProto) -> Result<super::Loaded, String> {
    let path = folder.join("model.onnx");
    fs::write(&path, model.encode_to_vec()).unwrap();
    load(&path).map_err(|error| format!("{error:#}"))
}

#[test]
fn what_the_engine_gets_wrong_is_refused_by_operator_attribute_and_opset() {
    let folder = tempfile::tempdir().unwrap();
    let kernel = || ints("kernel_shape", &[2, 2]);
    let cases: Vec<(i64, GraphProto, &str)> = vec![
        (13, one("Resize", vec![text("mode", "cubic")]), "operator Resize (opset 13): mode is \"cubic\""),
        (13, one("NonMaxSuppression", vec![]), "operator NonMaxSuppression (opset 13): the engine does not have it"),
        (
            17,
            one("MaxPool", vec![kernel(), ints("dilations", &[2, 2])]),
            "operator MaxPool (opset 17): dilations are given",
        ),
        (17, one("MaxPool", vec![kernel(), text("auto_pad", "SAME_LOWER")]), "auto_pad is \"SAME_LOWER\""),
        (17, one("MaxPool", vec![ints("kernel_shape", &[2, 2, 2])]), "kernel_shape has 3 dimensions"),
        (17, one("AveragePool", vec![kernel(), int("new", 1)]), "does not have the attribute new"),
        (17, one("GRU", vec![int("hidden_size", 1)]), "operator GRU (opset 17): linear_before_reset is 0"),
        (17, one("Gelu", vec![]), "operator Gelu (opset 17): the engine has it as it is since opset 20"),
        (5, one("Cast", vec![int("to", 1)]), "operator Cast (opset 5)"),
        (13, one("Cast", vec![int("to", 8)]), "to is STRING, a type that the engine does not have"),
        (12, one("Dropout", vec![int("is_test", 1)]), ""),
        (11, one("Softmax", vec![int("axis", 1)]), ""),
        (13, one("LeakyRelu", vec![float("alpha", 0.5)]), ""),
    ];
    for (opset, graph, expected) in cases {
        let op = graph.node[0].op_type().to_owned();
        match loaded(folder.path(), &model(opset, graph)) {
            Ok(_) => assert!(expected.is_empty(), "{op} is loaded, expected {expected:?}"),
            Err(words) => assert!(!expected.is_empty() && words.contains(expected), "{op}: {words}"),
        }
    }
    let mut named = one("Resize", vec![text("mode", "cubic")]);
    named.node[0].name = Some("up".to_owned());
    let words = loaded(folder.path(), &model(13, named)).err().unwrap();
    assert!(words.contains("operator Resize (opset 13, node \"up\")"), "{words}");
}

#[test]
fn numbers_beyond_the_engines_are_refused_unless_they_only_bound() {
    let folder = tempfile::tempdir().unwrap();
    let far = |name: &str| TensorProto {
        name: Some(name.to_owned()),
        dims: vec![1],
        data_type: Some(Element::INT64.0),
        int64_data: vec![i64::MAX],
        ..Default::default()
    };
    let zero = |name: &str| TensorProto { int64_data: vec![0], ..far(name) };
    let graph = |nodes: Vec<NodeProto>, weights: Vec<TensorProto>| GraphProto {
        node: nodes,
        input: vec![value("x", Element::INT64, &[3])],
        output: vec![value("y", Element::INT64, &[-1])],
        initializer: weights,
        ..Default::default()
    };
    let slice = graph(vec![node("Slice", &["x", "a", "b"], &["y"], vec![])], vec![zero("a"), far("b")]);
    let slice = loaded(folder.path(), &model(13, slice)).unwrap();
    assert!(slice.guards.is_empty());
    let product = graph(vec![node("Mul", &["x", "b"], &["y"], vec![])], vec![far("b")]);
    let words = loaded(folder.path(), &model(13, product)).err().unwrap();
    assert!(words.contains("operator Mul (opset 13)") && words.contains("beyond the engine's 32 bits"), "{words}");
    // data times data is guarded, values from sizes are not
    let square = graph(vec![node("Mul", &["x", "x"], &["y"], vec![])], vec![]);
    assert_eq!(loaded(folder.path(), &model(13, square)).unwrap().guards.len(), 1);
    let sizes = graph(vec![node("Shape", &["x"], &["s"], vec![]), node("Mul", &["s", "s"], &["y"], vec![])], vec![]);
    assert!(loaded(folder.path(), &model(13, sizes)).unwrap().guards.is_empty());
}

#[test]
fn weights_lie_in_folders_beside_the_model_and_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("weights")).unwrap();
    fs::write(folder.path().join("weights/w.bin"), 2_f32.to_le_bytes()).unwrap();
    let entry =
        |key: &str, text: &str| StringStringEntryProto { key: Some(key.to_owned()), value: Some(text.to_owned()) };
    let with = |location: &str, length: Option<&str>| {
        let mut graph = one("Mul", vec![]);
        graph.node[0].input.push("w".to_owned());
        graph.initializer.push(TensorProto {
            name: Some("w".to_owned()),
            dims: vec![1],
            data_type: Some(Element::FLOAT.0),
            data_location: Some(1),
            external_data: [entry("location", location)]
                .into_iter()
                .chain(length.map(|l| entry("length", l)))
                .collect(),
            ..Default::default()
        });
        loaded(folder.path(), &model(13, graph)).map(|_| ())
    };
    assert_eq!(with("weights/w.bin", None), Ok(()));
    assert_eq!(with("weights/w.bin", Some("4")), Ok(()));
    for (location, length, expected) in [
        ("../w.bin", None, "outside of the model's folder"),
        ("/etc/passwd", None, "outside of the model's folder"),
        ("none.bin", None, "cannot be read"),
        ("weights/w.bin", Some("5"), "5 bytes from 0 are wanted"),
        ("weights/w.bin", Some("-1"), "length is \"-1\""),
    ] {
        let words = with(location, length).unwrap_err();
        assert!(words.contains(expected) && words.contains("\"w\""), "{words}");
    }
}

#[test]
fn a_configuration_is_completed_as_triton_completes_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1")).unwrap();
    let completed = |input: &[i64], output: &[i64], given: ModelConfig| {
        let graph = GraphProto {
            node: vec![node("Identity", &["x"], &["y"], vec![])],
            input: vec![value("x", Element::FLOAT16, input)],
            output: vec![value("y", Element::FLOAT16, output)],
            ..Default::default()
        };
        fs::write(folder.path().join("1/model.onnx"), model(13, graph).encode_to_vec()).unwrap();
        let mut message = given;
        complete(&mut message, folder.path())
            .map(|()| message)
            .map_err(|error| format!("{error:#}"))
    };
    let batched = completed(&[-1, 3], &[-1, -1], ModelConfig::default()).unwrap();
    assert_eq!(
        (batched.max_batch_size, &batched.input[0].dims[..], &batched.output[0].dims[..]),
        (4, &[3][..], &[-1][..])
    );
    assert_eq!(batched.input[0].data_type(), DataType::TypeFp16);
    assert!(matches!(batched.scheduling_choice, Some(SchedulingChoice::DynamicBatching(_))));
    // one number per item
    let numbers = completed(&[-1], &[-1], ModelConfig::default()).unwrap();
    assert_eq!((&numbers.input[0].dims[..], numbers.input[0].reshape.clone()), (&[1][..], Some(Default::default())));
    // a configured batch size is kept
    let eight = completed(&[-1, 3], &[-1, 3], ModelConfig { max_batch_size: 8, ..Default::default() }).unwrap();
    assert_eq!(eight.max_batch_size, 8);
    let fixed = completed(&[2, 3], &[2, 3], ModelConfig::default()).unwrap();
    assert_eq!((fixed.max_batch_size, &fixed.input[0].dims[..], fixed.scheduling_choice), (0, &[2, 3][..], None));
    let number = completed(&[], &[], ModelConfig::default()).unwrap();
    assert_eq!((&number.input[0].dims[..], &number.input[0].reshape), (&[1][..], &None));
    let words = completed(&[2, 3], &[2, 3], ModelConfig { max_batch_size: 8, ..Default::default() }).unwrap_err();
    assert!(words.contains("max_batch_size is 8"), "{words}");
    // a model of another backend is left alone
    let other = ModelConfig { backend: "loopback".to_owned(), ..Default::default() };
    assert_eq!(completed(&[2], &[2], other.clone()).unwrap(), other);
}

#[test]
fn what_is_no_model_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    for bytes in [&b""[..], b"\x08", &[0xff; 64], b"not a model"] {
        fs::write(&path, bytes).unwrap();
        let words = format!("{:#}", load(&path).err().unwrap());
        assert!(words.contains("it is not an ONNX file"), "{bytes:?}: {words}");
    }
}
