//! What a server holds for its clients, and what it reveals of itself to them.

use std::fs;

use bytes::{BufMut, BytesMut};
use http::HeaderMap;
use serde_json::json;
use tonic::Code;

use crate::client::{Connection, Ended, frame};
use crate::repository::{bytes, number};
use crate::server::{Models, Server, echo};

const MIB: usize = 1 << 20;
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// A connection whose request is announced and only begun.
fn announced(server: &Server, length: usize) -> Connection {
    let mut connection = Connection::open(&server.http);
    let head = format!("POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    connection.send(&[head.as_bytes(), &[b' '; 1000]].concat()).unwrap();
    connection
}

#[test]
fn announced_bodies_take_no_memory_and_those_that_come_have_a_bound() {
    let models = Models::of_echo("");
    let mut server = models.serve(&["--request-memory", "64"]);
    let waiting: Vec<_> = (0..254).map(|_| announced(&server, 1 << 30)).collect();
    assert_eq!(server.infer("m", &[1, 1], &[7.0]).0, 200);

    // bodies that come are refused beyond the bound, by its name, and their connection goes on
    let mut connection = Connection::open(&server.http);
    let answer = connection.request("POST", "/v2/models/m/infer", "", &vec![b' '; 65 * MIB]).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("may have 67108864 bytes (--request-memory)"), "{}", answer.text());
    assert_eq!(connection.request("GET", "/v2", "", b"").unwrap().status, 200);

    // the same over gRPC, in a request and in a stream
    for method in [INFER, STREAM] {
        let mut announced = BytesMut::new();
        announced.put_u8(0);
        announced.put_u32(1 << 30);
        announced.put_slice(&[0; 1000]);
        let (_, ended) = server.grpc().send(method, &HeaderMap::new(), announced.freeze());
        assert!(!matches!(ended, Ended::Status(Code::Ok, _)), "{method}: {ended:?}");
        let (_, ended) = server.grpc().send(method, &HeaderMap::new(), frame(&vec![0; 65 * MIB]));
        let Ended::Status(Code::Unavailable, words) = ended else {
            panic!("{method}: {ended:?}")
        };
        assert!(words.contains("67108864") && words.contains("--request-memory"), "{words}");
    }

    // what was held is free again
    drop(waiting);
    let row = json!({"inputs": [{"name": "value", "datatype": "FP32", "shape": [1, 12 << 20], "parameters": {"binary_data_size": 48 * MIB}}]});
    let row = row.to_string();
    let headers = format!("Inference-Header-Content-Length: {}\r\n", row.len());
    let body = [row.as_bytes(), &vec![0; 48 * MIB]].concat();
    let settled = (0..100).any(|_| {
        // the server learns of closed connections by and by
        std::thread::sleep(std::time::Duration::from_millis(20));
        server.request("POST", "/v2/models/m/infer", &headers, &body).status == 200
    });
    assert!(settled, "{}", server.request("POST", "/v2/models/m/infer", &headers, &body).text());
    assert!(server.lives());
    assert!(server.peak_memory() < 600 << 20, "{}", server.peak_memory());
    server.end_well();
}

#[test]
fn json_counts_with_what_is_read_from_it() {
    let models = Models::of_echo("");
    let server = models.serve(&["--request-memory", "64"]);
    // two bytes of JSON become a value of many
    let body = format!("{{\"inputs\":[{}1]}}", "1,".repeat(MIB));
    let answer = server.request("POST", "/v2/models/m/infer", "", body.as_bytes());
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("--request-memory"), "{}", answer.text());
    server.end_well();
}

#[test]
fn no_answer_tells_where_the_server_keeps_its_files() {
    let models = Models::new();
    models.write("text", "nmae: \"text\"");
    models.write("variant", &echo("other", ""));
    let tensors = "input [ { name: \"value\" data_type: TYPE_FP32 dims: [ 4 ] } ]\n\
                   output [ { name: \"product\" data_type: TYPE_FP32 dims: [ 3 ] } ]";
    let location = [bytes(1, b"location"), bytes(2, b"missing.bin")].concat();
    let weights =
        [number(1, 4), number(1, 3), number(2, 1), bytes(8, b"weights"), bytes(13, &location), number(14, 1)].concat();
    let graph = [bytes(2, b"graph"), bytes(5, &weights)].concat();
    let external = [number(1, 6), bytes(7, &graph), bytes(8, &number(2, 11))].concat();
    for (name, file) in [("missing", None), ("noise", Some(vec![0xff; 100])), ("external", Some(external))] {
        models.write(name, &format!("name: \"{name}\" backend: \"onnxruntime\" max_batch_size: 8 {tensors}"));
        fs::create_dir(models.path().join(name).join("1")).unwrap();
        if let Some(file) = file {
            fs::write(models.path().join(name).join("1/model.onnx"), file).unwrap();
        }
    }
    let server = models.serve(&[]);
    assert_eq!(server.unavailable.len(), 5, "{:?}", server.unavailable);
    let (_, index) = server.post("/v2/repository/index", &json!({}));
    let mut answers = vec![index.to_string(), server.unavailable.join("\n")];
    for name in ["text", "variant", "missing", "noise", "external", "nothing"] {
        let (status, answer) = server.post(&format!("/v2/repository/models/{name}/load"), &json!({}));
        assert!(status >= 400, "{answer}");
        answers.push(answer.to_string());
    }
    let folder = models.path();
    for answer in answers {
        let parent = folder.parent().unwrap().display().to_string();
        assert!(!answer.contains(&parent) && !answer.contains(env!("CARGO_MANIFEST_DIR")), "{answer}");
    }
    assert!(
        server
            .unavailable
            .iter()
            .any(|words| words.contains("text/config.pbtxt: line 1, column 1: unknown field nmae")),
        "{:?}",
        server.unavailable
    );
    server.end_well();
}

#[test]
fn a_reshaped_tensor_is_one_thing_to_clients_and_another_to_the_model() {
    let models = Models::new();
    let tensor =
        |name: &str| format!("{{ name: \"{name}\" data_type: TYPE_FP32 dims: [ 1 ] reshape: {{ shape: [ ] }} }}");
    let copy = crate::server::parameter("copy.echo", "value");
    let config = format!(
        "backend: \"loopback\" max_batch_size: 8 input [ {} ] output [ {} ] {copy}",
        tensor("value"),
        tensor("echo")
    );
    models.write("m", &config);
    let server = models.serve_all();
    assert_eq!(server.get("/v2/models/m")["inputs"][0]["shape"], json!([-1, 1]));
    let (status, answer) = server.infer("m", &[3, 1], &[1.0, 2.0, 3.0]);
    assert_eq!((status, &answer["outputs"][0]["shape"]), (200, &json!([3, 1])), "{answer}");
    assert_eq!(answer["outputs"][0]["data"], json!([1.0, 2.0, 3.0]));
    let (status, answer) = server.infer("m", &[3], &[1.0, 2.0, 3.0]);
    assert_eq!(status, 400, "{answer}");
    server.end_well();
}

#[test]
fn floats_that_are_no_numbers_come_back_in_json_too() {
    let models = Models::of_echo("");
    let server = models.serve_all();
    let floats: Vec<u8> = [f32::NAN, f32::NEG_INFINITY].iter().flat_map(|float| float.to_le_bytes()).collect();
    let head = json!({"inputs": [{"name": "value", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": 8}}]});
    let head = head.to_string();
    let headers = format!("Inference-Header-Content-Length: {}\r\n", head.len());
    let answer = server.request("POST", "/v2/models/m/infer", &headers, &[head.as_bytes(), &floats].concat());
    assert!(answer.text().ends_with("\"data\":[NaN,-Infinity]}]}"), "{}", answer.text());
    server.end_well();
}
