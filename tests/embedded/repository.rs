//! Loading and unloading models, their versions and configurations, and an ONNX model from file to answer.

use std::fs;
use std::thread;

use runner::proto::{ModelConfigRequest, ModelConfigResponse};
use serde_json::{Value, json};

use crate::server::{Models, Server, echo, parameter};

fn load(server: &Server, model: &str, body: &Value) -> (u16, Value) {
    server.post(&format!("/v2/repository/models/{model}/load"), body)
}

fn words(answer: &Value) -> &str {
    answer["error"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn unloading_refuses_those_that_wait() {
    // the batch never fills, so that the requests wait until the model is unloaded
    let rest = "dynamic_batching { max_queue_delay_microseconds: 600000000 }";
    let models = Models::of_echo(rest);
    let server = models.serve_all();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..5).map(|_| scope.spawn(|| server.infer("m", &[1, 1], &[0.0]))).collect();
        // whether they have come already or find the model gone, they are refused
        assert_eq!(server.post("/v2/repository/models/m/unload", &json!({})).0, 200);
        for request in waiting {
            let (status, answer) = request.join().unwrap();
            assert!(matches!(status, 404 | 503), "{answer}");
        }
    });
    assert_eq!(server.request("GET", "/v2/models/m/ready", "", b"").status, 400);
    let (_, index) = server.post("/v2/repository/index", &json!({}));
    assert_eq!(index, json!([{"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"}]));
    assert_eq!(server.get("/v2")["version"], env!("CARGO_PKG_VERSION"));
    server.end_well();
}

#[test]
fn requests_that_are_executed_outlive_their_model() {
    let models = Models::of_echo(&parameter("service_time", "constant 50ms"));
    let server = models.serve_all();
    thread::scope(|scope| {
        let requests: Vec<_> = (0..6).map(|_| scope.spawn(|| server.infer("m", &[1, 1], &[0.0]))).collect();
        let first = scope.spawn(|| server.infer("m", &[1, 1], &[0.0]).0);
        let _ = first.join().unwrap();
        assert_eq!(server.post("/v2/repository/models/m/unload", &json!({})).0, 200);
        let statuses: Vec<u16> = requests.into_iter().map(|request| request.join().unwrap().0).collect();
        assert!(statuses.iter().all(|status| matches!(status, 200 | 404 | 503)), "{statuses:?}");
    });
    assert_eq!(load(&server, "m", &json!({})).0, 200);
    assert_eq!(server.infer("m", &[1, 1], &[4.0]).1["outputs"][0]["data"], json!([4.0]));
    server.end_well();
}

#[test]
fn a_configuration_may_come_with_the_load() {
    let models = Models::of_echo("");
    let server = models.serve_all();
    assert_eq!(server.infer("m", &[3, 1], &[0.0; 3]).0, 200);
    let mut config = server.get("/v2/models/m/config");
    config["max_batch_size"] = json!(2);
    let (status, answer) = load(&server, "m", &json!({"parameters": {"config": config.to_string()}}));
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = server.infer("m", &[3, 1], &[0.0; 3]);
    assert_eq!(status, 400);
    assert!(words(&answer).contains("batch-size must be <= 2"), "{answer}");
    // anew, its statistics begin anew
    assert_eq!(server.infer("m", &[2, 1], &[0.0; 2]).0, 200);
    assert_eq!(server.statistics("m")["inference_count"], 2);
    let answer: ModelConfigResponse = server
        .grpc()
        .call("ModelConfig", &ModelConfigRequest { name: "m".to_owned(), version: String::new() })
        .unwrap();
    assert_eq!(answer.config.unwrap().max_batch_size, 2);
    // without one, the file's holds again
    assert_eq!(load(&server, "m", &json!({})).0, 200);
    assert_eq!(server.get("/v2/models/m/config")["max_batch_size"], 8);
    server.end_well();
}

#[test]
fn a_broken_configuration_keeps_the_model_that_was_ready() {
    let models = Models::of_echo("");
    let server = models.serve_all();
    models.write("m", &echo("m", "max_bach_size: 3"));
    let (status, answer) = load(&server, "m", &json!({}));
    assert_eq!(status, 400, "{answer}");
    assert!(words(&answer).contains("max_bach_size") && words(&answer).contains("m/config.pbtxt"), "{answer}");
    let config = json!({"backend": "loopback", "max_batch_size": -1}).to_string();
    let (status, answer) = load(&server, "m", &json!({"parameters": {"config": config}}));
    assert_eq!(status, 400);
    assert!(words(&answer).contains("max_batch_size"), "{answer}");
    assert_eq!(server.infer("m", &[1, 1], &[7.0]).1["outputs"][0]["data"], json!([7.0]));
    server.end_well();
}

#[test]
fn what_cannot_be_served_is_told_by_name() {
    let models = Models::new();
    let wrong = [
        ("a", echo("a", "max_bach_size: 3"), "max_bach_size"),
        ("b", echo("b", "").replace("loopback", "python"), "backend \"python\" is not one of this server's"),
        ("c", echo("d", ""), "name is \"d\", but the model's folder is \"c\""),
        ("d", echo("d", "sequence_batching { }"), "sequence_batching"),
        ("e", echo("e", "").replace("loopback", "onnxruntime"), "at least one version"),
        ("f", echo("f", "dynamic_batching { preferred_batch_size: [ 9 ] }"), "preferred_batch_size 9"),
        ("g", echo("g", "version_policy { specific { versions: [ 7 ] } }"), "at least one version"),
    ];
    for (name, config, _) in &wrong {
        models.write(name, config);
    }
    models.write("right", &echo("right", ""));
    let server = models.serve(&[]);
    assert_eq!(server.unavailable.len(), wrong.len(), "{:?}", server.unavailable);
    for ((name, _, expected), words) in wrong.iter().zip(&server.unavailable) {
        assert!(words.contains(&format!("'{name}'")) && words.contains(expected), "{words}");
    }
    // the one that is right is there beside them
    assert_eq!(server.infer("right", &[1, 1], &[0.0]).0, 200);
    server.end_well();
}

#[test]
fn versions_are_served_as_their_policy_says() {
    let models = Models::new();
    for (name, policy) in [
        ("latest", ""),
        ("two", "version_policy { latest { num_versions: 2 } }"),
        ("all", "version_policy { all { } }"),
        ("specific", "version_policy { specific { versions: [ 1, 10 ] } }"),
    ] {
        models.write(name, &echo(name, policy));
        for folder in ["1", "2", "10", "0", "x3", "04"] {
            fs::create_dir(models.path().join(name).join(folder)).unwrap();
        }
    }
    let server = models.serve_all();
    for (name, versions, newest) in [
        ("latest", json!(["10"]), "10"),
        ("two", json!(["2", "10"]), "10"),
        ("all", json!(["1", "2", "10"]), "10"),
        ("specific", json!(["1", "10"]), "10"),
    ] {
        assert_eq!(server.get(&format!("/v2/models/{name}"))["versions"], versions);
        assert_eq!(server.infer(name, &[1, 1], &[0.0]).1["model_version"], newest);
        for version in ["1", "2", "10", "3"] {
            let served = versions.as_array().unwrap().contains(&json!(version));
            let (status, answer) = server.infer(&format!("{name}/versions/{version}"), &[1, 1], &[0.0]);
            assert_eq!(status, if served { 200 } else { 404 }, "{name} {version}: {answer}");
        }
        let rows = server.get(&format!("/v2/models/{name}/stats"));
        assert_eq!(rows["model_stats"].as_array().unwrap().len(), versions.as_array().unwrap().len());
    }
    server.end_well();
}

#[test]
fn an_onnx_model_computes_and_a_batch_is_its_items() {
    let models = Models::new();
    let tensors = "input [ { name: \"value\" data_type: TYPE_FP32 dims: [ 4 ] } ]\n\
                   output [ { name: \"product\" data_type: TYPE_FP32 dims: [ 3 ] } ]";
    let config = |name: &str, rest: &str| {
        format!("name: \"{name}\" backend: \"onnxruntime\" max_batch_size: 8 {tensors} {rest}")
    };
    models.write(
        "m",
        &config("m", "dynamic_batching { preferred_batch_size: [ 2 ] max_queue_delay_microseconds: 600000000 }"),
    );
    models.write("own", &config("own", &parameter("intra_op_thread_count", "1")));
    models.write("wrong", &config("wrong", "").replace("dims: [ 3 ]", "dims: [ 5 ]"));
    models.write("noise", &config("noise", ""));
    let weights: Vec<f32> = (0..12).map(|at| at as f32 / 8.0 - 0.5).collect();
    for (name, bytes) in
        [("m", product(&weights)), ("own", product(&weights)), ("wrong", product(&weights)), ("noise", vec![0xff; 100])]
    {
        fs::create_dir(models.path().join(name).join("1")).unwrap();
        fs::write(models.path().join(name).join("1/model.onnx"), bytes).unwrap();
    }
    let server = models.serve(&[]);
    assert_eq!(server.unavailable.len(), 2, "{:?}", server.unavailable);
    assert!(server.unavailable[0].contains("model.onnx cannot be loaded"), "{:?}", server.unavailable);
    assert!(server.unavailable[1].contains("\"product\""), "{:?}", server.unavailable);

    let expected = |row: &[f32]| -> Vec<f32> {
        (0..3).map(|column| (0..4).map(|at| row[at] * weights[at * 3 + column]).sum()).collect()
    };
    let near = |answer: &Value, rows: &[f32]| {
        let found = answer["outputs"][0]["data"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let expected: Vec<f32> = rows.chunks(4).flat_map(&expected).collect();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found.as_f64().unwrap() - f64::from(expected)).abs() < 1e-4, "{answer}");
        }
    };
    let rows = [1.0, 2.0, 3.0, 4.0, -0.5, 0.25, 8.0, -2.0];
    for model in ["own", "m"] {
        let (status, answer) = server.infer(model, &[2, 4], &rows);
        assert_eq!((status, &answer["outputs"][0]["shape"]), (200, &json!([2, 3])), "{answer}");
        near(&answer, &rows);
    }
    near(&server.infer("own", &[1, 4], &rows[4..]).1, &rows[4..]);
    // two requests in one execution
    thread::scope(|scope| {
        for row in rows.chunks(4) {
            let (server, near) = (&server, &near);
            scope.spawn(move || near(&server.infer("m", &[1, 4], row).1, row));
        }
    });
    let statistics = server.statistics("m");
    assert_eq!((&statistics["inference_count"], &statistics["execution_count"]), (&json!(4), &json!(2)));
    server.end_well();
}

/// An ONNX file: product [batch, 3] = value [batch, 4] x weights [4, 3].
pub fn product(weights: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let tensor = |name: &str, side: u64| {
        let dims = [bytes(1, &bytes(2, b"batch")), bytes(1, &number(1, side))].concat();
        let kind = bytes(1, &[number(1, 1), bytes(2, &dims)].concat());
        [bytes(1, name.as_bytes()), bytes(2, &kind)].concat()
    };
    let node = [bytes(1, b"value"), bytes(1, b"weights"), bytes(2, b"product"), bytes(3, b"node"), bytes(4, b"MatMul")]
        .concat();
    let weights = [number(1, 4), number(1, 3), number(2, 1), bytes(8, b"weights"), bytes(9, &raw)].concat();
    let graph = [
        bytes(1, &node),
        bytes(2, b"graph"),
        bytes(5, &weights),
        bytes(11, &tensor("value", 4)),
        bytes(12, &tensor("product", 3)),
    ];
    [number(1, 6), bytes(7, &graph.concat()), bytes(8, &number(2, 11))].concat()
}

/// A field of protobuf with a number.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field of protobuf with bytes, a text or a message.
pub fn bytes(field: u64, content: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(content.len() as u64), content].concat()
}

fn varint(value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(value, &mut bytes);
    bytes
}
