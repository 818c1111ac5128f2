//! Loopback models that misbehave as configured, and their errors for parameters that they do not understand.

use std::io::ErrorKind;

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use runner::proto::ModelInferRequest;
use runner::proto::model_infer_request::InferInputTensor;
use serde_json::json;
use tonic::Code;

use crate::client::{Connection, Ended, frame};
use crate::server::{Models, Server, echo, parameter};

const BODY: &[u8] = br#"{"inputs": [{"name": "value", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}"#;

/// A server whose model always has the fault.
fn faulty(share: &str) -> Server {
    Models::of_echo(&parameter(share, "1")).serve_all()
}

fn over_http(server: &Server) -> std::io::Result<crate::client::Answer> {
    Connection::open(&server.http).request("POST", "/v2/models/m/infer", "", BODY)
}

fn over_grpc(server: &Server) -> (Bytes, Ended) {
    let input = InferInputTensor {
        name: "value".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 2],
        ..Default::default()
    };
    let message = ModelInferRequest {
        model_name: "m".to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![Bytes::from_static(&[0; 8])],
        ..Default::default()
    };
    let path = "/inference.GRPCInferenceService/ModelInfer";
    server.grpc().send(path, &HeaderMap::new(), frame(&message.encode_to_vec()))
}

/// Checks that the server itself is well: it answers other requests.
fn well(server: Server) {
    assert_eq!(server.get("/v2/models/m")["name"], "m");
    server.end_well();
}

#[test]
fn an_error_is_answered_as_one() {
    let server = faulty("error_share");
    let answer = over_http(&server).unwrap();
    assert_eq!(answer.status, 500);
    assert!(answer.json()["error"].as_str().unwrap().contains("asked to fail"), "{}", answer.text());
    assert!(matches!(over_grpc(&server).1, Ended::Status(Code::Internal, _)));
    well(server);
}

#[test]
fn a_wrong_shape_has_one_dimension_too_many() {
    let server = faulty("wrong_shape_share");
    assert_eq!(over_http(&server).unwrap().json()["outputs"][0]["shape"], json!([1, 2, 1]));
    well(server);
}

#[test]
fn a_reset_is_seen_as_one() {
    let server = faulty("reset_share");
    assert_eq!(over_http(&server).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(matches!(over_grpc(&server).1, Ended::Broken(_)));
    well(server);
}

#[test]
fn a_truncated_answer_breaks_off() {
    let server = faulty("truncated_share");
    let mut connection = Connection::open(&server.http);
    let head = format!("POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", BODY.len());
    connection.send(&[head.as_bytes(), BODY].concat()).unwrap();
    let received = String::from_utf8(connection.rest().unwrap()).unwrap();
    let (head, body) = received.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{received}");
    let length = head
        .to_ascii_lowercase()
        .split_once("content-length: ")
        .map(|(_, rest)| rest.to_owned())
        .unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    assert_eq!(body.len(), length / 2, "{received}");
    assert!(matches!(over_grpc(&server).1, Ended::Broken(_)));
    well(server);
}

#[test]
fn a_slow_answer_is_whole() {
    let server = faulty("slow_share");
    assert_eq!(over_http(&server).unwrap().json()["outputs"][0]["data"], json!([1.0, 2.0]));
    let (answer, ended) = over_grpc(&server);
    assert!(matches!(ended, Ended::Status(Code::Ok, _)), "{ended:?}");
    assert!(answer.len() > 8);
    well(server);
}

#[test]
fn a_share_of_requests_is_drawn_from_the_seed() {
    let models = Models::new();
    let faults = parameter("error_share", "0.3");
    models.write("m", &echo("m", &faults));
    models.write("same", &echo("same", &faults));
    models.write("other", &echo("other", &(faults + &parameter("seed", "2"))));
    let server = models.serve_all();
    let drawn = |model| (0..200).map(|_| server.infer(model, &[1, 1], &[0.0]).0).collect::<Vec<_>>();
    let (one, same, other) = (drawn("m"), drawn("same"), drawn("other"));
    assert_eq!(one, same);
    assert_ne!(one, other);
    let failed = one.iter().filter(|status| **status == 500).count();
    assert!((40..80).contains(&failed), "{failed} of 200");
    well(server);
}

#[test]
fn outputs_that_repeat_nothing_are_zeros() {
    let models = Models::new();
    models.write("m", &echo("m", "").replace("copy.echo", "weights"));
    let server = models.serve_all();
    let (status, answer) = server.infer("m", &[2, 3], &[1.0; 6]);
    // a side of any size is 1
    assert_eq!((status, &answer["outputs"][0]["shape"]), (200, &json!([2, 1])), "{answer}");
    assert_eq!(answer["outputs"][0]["data"], json!([0.0, 0.0]));
    well(server);
}

#[test]
fn parameters_that_are_wrong_are_named() {
    let wrong = [
        ("service_time", "2ms"),
        ("service_time", "constant 2"),
        ("service_time", "uniform 3ms 1ms"),
        ("seed", "-1"),
        ("stalls", "1s every 1s"),
        ("stalls", "0us every 0us"),
        ("error_share", "1.5"),
        ("reset_share", "NaN"),
        ("slow_answer", "soon"),
        ("sevice_time", "constant 2ms"),
        ("copy.nothing", "value"),
    ];
    let models = Models::new();
    for (index, (key, value)) in wrong.iter().enumerate() {
        let name = format!("m{index:02}");
        models.write(&name, &echo(&name, &parameter(key, value)));
    }
    let name = "n";
    models.write(name, &echo(name, &(parameter("error_share", "0.6") + &parameter("slow_share", "0.6"))));
    let copied = parameter("copy.echo", "vlaue");
    models.write("o", &echo("o", "").replace(&parameter("copy.echo", "value"), &copied));
    models.write("p", &echo("p", "").replace("TYPE_FP32 dims: [ -1 ] } ]\nparam", "TYPE_FP64 dims: [ 2 ] } ]\nparam"));
    models.write("q", &echo("q", "").replace("dims: [ -1 ] } ]\nparam", "dims: [ 1000000, 1000000 ] } ]\nparam"));
    let server = models.serve(&[]);
    assert_eq!(server.unavailable.len(), wrong.len() + 4, "{:?}", server.unavailable);
    for ((key, value), words) in wrong.iter().zip(&server.unavailable) {
        assert!(words.contains(&format!("\"{key}\"")), "{key} {value}: {words}");
    }
    let rest = &server.unavailable[wrong.len()..];
    for (words, expected) in
        rest.iter()
            .zip(["add up to 1.2", "\"vlaue\": no such input", "other dims", "\"echo\": dims"])
    {
        assert!(words.contains(expected), "{words}");
    }
    server.end_well();
}
