//! Malformed gRPC messages, frames and connections: each ends in a gRPC status or its connection is closed, and the
//! server lives on.

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use prost::Message;
use rand::{RngExt, SeedableRng};
use runner::proto::infer_parameter::ParameterChoice;
use runner::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use runner::proto::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use serde_json::json;
use tonic::Code;

use crate::client::{Connection, Ended, Grpc, ended, frame};
use crate::mutate::{self, Drawn, one};
use crate::server::Server;

const SEED: u64 = 20_250_602;
/// Percentage of cases that give the port something other than gRPC.
const RAW: u32 = 10;

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..Default::default()
    }
}

fn mixed() -> ModelInferRequest {
    ModelInferRequest {
        model_name: "mixed".to_owned(),
        model_version: "1".to_owned(),
        id: "7".to_owned(),
        inputs: vec![
            input("counts", "INT64", &[1, 3]),
            input("halves", "FP16", &[1, 2, 2]),
            input("words", "BYTES", &[1, 2]),
            input("flags", "BOOL", &[1, 4]),
            input("pixels", "UINT8", &[1, 5]),
        ],
        raw_input_contents: [&[0; 24][..], &[0; 8], b"\x01\0\0\0a\0\0\0\0", &[1; 4], &[9; 5]]
            .map(Bytes::copy_from_slice)
            .to_vec(),
        ..Default::default()
    }
}

fn valid(drawn: &mut Drawn) -> ModelInferRequest {
    let null = ModelInferRequest {
        model_name: "null".to_owned(),
        inputs: vec![input("input.1", "FP32", &[1, 3, 1, 2])],
        raw_input_contents: vec![Bytes::from_static(&[1; 24])],
        outputs: vec![InferRequestedOutputTensor { name: "nothing".to_owned(), ..Default::default() }],
        ..Default::default()
    };
    match drawn.random_range(0..3) {
        0 => null,
        1 => mixed(),
        _ => {
            let contents = InferTensorContents { int_contents: vec![1, 2, 3, 4, 5, 6], ..Default::default() };
            let matrix = InferInputTensor { contents: Some(contents), ..input("matrix", "INT32", &[2, 3]) };
            ModelInferRequest { model_name: "unbatched".to_owned(), inputs: vec![matrix], ..Default::default() }
        }
    }
}

/// A valid message that is not a fitting request.
fn retyped(drawn: &mut Drawn) -> ModelInferRequest {
    let mut message = valid(drawn);
    let at = drawn.random_range(0..message.inputs.len());
    let wrong = [0, -1, i64::MAX, i64::MIN, 1 << 62, 1 << 32, 9, 3];
    let names = ["", "nothing", "\u{0}", "..", "../null", "null", "x\ny", "\u{1f600}"];
    let long = "x".repeat(drawn.random_range(1..200_000));
    match drawn.random_range(0..12) {
        0 => message.inputs[at].shape = (0..drawn.random_range(0..9)).map(|_| *one(drawn, &wrong)).collect(),
        1 => message.inputs[at].shape = vec![1; 100_000],
        2 => message.inputs[at].datatype = one(drawn, &["", "FP33", "fp32", "BYTES", "BF16", "\u{0}"]).to_string(),
        3 => message.inputs[at].name = one(drawn, &names).to_string(),
        4 => message.inputs = vec![message.inputs[at].clone(); drawn.random_range(0..2000)],
        5 => message.raw_input_contents.push(Bytes::from(long)),
        6 => drop(message.raw_input_contents.pop()),
        7 => {
            message.inputs[at].contents =
                Some(InferTensorContents { fp32_contents: vec![0.5; 7], ..Default::default() })
        }
        8 => message.model_name = one(drawn, &names).to_string(),
        9 => message.model_name = long,
        10 => {
            message.model_version =
                one(drawn, &["0", "-1", "-2", "1.0", "99999999999999999999", "x", "\u{0}"]).to_string()
        }
        _ => {
            let value = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(i64::MIN)) };
            let keys = ["sequence_id", "shared_memory_region", "classification", "priority", "timeout", ""];
            let key = (*one(drawn, &keys)).to_owned();
            message.parameters.insert(key.clone(), value.clone());
            message.inputs[at].parameters.insert(key, value);
            message
                .outputs
                .push(InferRequestedOutputTensor { name: "nothing".to_owned(), ..Default::default() });
        }
    }
    message
}

/// A body of frames, most of them malformed.
fn frames(drawn: &mut Drawn, headers: &mut HeaderMap) -> Bytes {
    let mut message = valid(drawn).encode_to_vec();
    let mut bytes = BytesMut::new();
    match drawn.random_range(0..16) {
        0..5 => mutate::bytes(drawn, &mut message),
        5..8 => message = retyped(drawn).encode_to_vec(),
        8 | 9 => {
            let length = message.len() as u32;
            let lengths = [0, 1, length - 1, length + 1, 1 << 20, i32::MAX as u32, 1 << 31, u32::MAX];
            bytes.put_u8(0);
            bytes.put_u32(*one(drawn, &lengths));
            bytes.put_slice(&message);
            return bytes.freeze();
        }
        10 => {
            if drawn.random() {
                let encodings = ["gzip", "deflate", "zstd", "identity", "nonsense"];
                headers.insert("grpc-encoding", one(drawn, &encodings).parse().unwrap());
            }
            bytes.put_u8(*one(drawn, &[1, 2, 255]));
            bytes.put_u32(message.len() as u32);
            bytes.put_slice(&message);
            return bytes.freeze();
        }
        11 => {
            let whole = frame(&message);
            return whole.slice(..drawn.random_range(0..whole.len()));
        }
        12 => return [frame(&message), frame(&message), frame(b"")].concat().into(),
        13 => return mutate::garbage(drawn, 2000).into(),
        14 => {
            // groups in groups, and fields that nobody knows
            message.extend(vec![*one(drawn, &[0x7b, 0x0b, 0x2a, 0xff]); drawn.random_range(1..100_000)]);
        }
        _ => {
            // none that the client itself keeps
            let timeouts = ["99999999H", "999999999999S", "x", "-1S", ""];
            headers.insert("grpc-timeout", one(drawn, &timeouts).parse().unwrap());
        }
    }
    frame(&message)
}

/// Bytes for the port that are not gRPC.
fn raw(drawn: &mut Drawn) -> Vec<u8> {
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    match drawn.random_range(0..5) {
        0 => mutate::garbage(drawn, 500),
        1 => b"POST /v2/models/null/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        2 => [PREFACE, &mutate::garbage(drawn, 500)].concat(),
        3 => {
            // frames of any kind with any contents
            let mut bytes = [PREFACE, settings].concat();
            for _ in 0..drawn.random_range(1..20) {
                let content = mutate::garbage(drawn, 100);
                let (kind, flags, stream): (u8, u8, u8) =
                    (drawn.random_range(0..12), drawn.random(), drawn.random_range(0..6));
                bytes.extend([0, 0, content.len() as u8, kind, flags, 0, 0, 0, stream]);
                bytes.extend(content);
            }
            bytes
        }
        _ => {
            let mut bytes = [PREFACE, settings].concat();
            mutate::bytes(drawn, &mut bytes);
            bytes
        }
    }
}

/// A call's path: most often that of an inference.
fn method(drawn: &mut Drawn) -> String {
    let others = [
        "ModelReady",
        "ModelMetadata",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "ServerLive",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "TraceSetting",
        "SystemSharedMemoryRegister",
        "Nothing",
    ];
    match drawn.random_range(0..10) {
        0..7 => INFER.to_owned(),
        7 => STREAM.to_owned(),
        8 => format!("/inference.GRPCInferenceService/{}", one(drawn, &others)),
        _ => (*one(drawn, &["/", "/x", "//", "/inference.Other/ModelInfer", "/inference.GRPCInferenceService/%00"]))
            .to_owned(),
    }
}

#[test]
fn malformed_messages_over_grpc_are_refused_and_the_server_lives_on() {
    let (mut server, cases) = (Server::of_tests(), mutate::cases());
    let mut grpc = server.grpc();
    let (mut answered, mut refused, mut closed) = (0, 0, 0);
    for number in 0..cases {
        let drawn = &mut Drawn::seed_from_u64(SEED + number);
        let failed = |words: String| panic!("seed {SEED}, case {number}: {words}");
        if drawn.random_range(0..100) < RAW {
            let mut connection = Connection::open(&server.grpc);
            let sent = connection.send(&raw(drawn));
            connection.finish();
            // the connection ends, whatever was said before
            if let Err(error) = sent.and_then(|()| connection.rest()).map(drop)
                && !ended(&error)
            {
                failed(error.to_string());
            }
            closed += 1;
        } else {
            let mut headers = HeaderMap::new();
            let (method, bytes) = (method(drawn), frames(drawn, &mut headers));
            let mut outcome = grpc.send(&method, &headers, bytes.clone());
            if matches!(outcome.1, Ended::Broken(_)) {
                // after enough errors HTTP/2 closes a connection, and with it the stream that comes next
                outcome = grpc.send(&method, &headers, bytes.clone());
            }
            let (answer, ended) = outcome;
            let sent = || format!("{method} {headers:?} {:?}", bytes.slice(..bytes.len().min(500)));
            match ended {
                Ended::Status(Code::Ok, _) if method != STREAM && answer.len() < 5 => {
                    failed(format!("no answer: {}", sent()))
                }
                Ended::Status(Code::Ok, _) => answered += 1,
                Ended::Status(Code::Unknown, words) => failed(format!("{words}: {}", sent())),
                Ended::Status(_, words)
                    if words.contains("unexpected%20way") || words.contains("did%20not%20expect") =>
                {
                    failed(format!("a panic: {words}: {}", sent()));
                }
                Ended::Status(..) => refused += 1,
                Ended::Broken(words) => failed(format!("{words}: {}", sent())),
            }
        }
        assert!(server.lives(), "seed {SEED}, case {number} ended the server");
    }
    println!("{answered} answered, {refused} refused, {closed} connections closed");
    assert!(answered > cases / 100 && refused > cases / 2, "{answered} answered, {refused} refused, {closed} closed");
    still_answers(&server);
    server.end_well();
}

/// Checks that a valid request gets the right answer over both protocols.
pub fn still_answers(server: &Server) {
    let words = json!({"name": "words", "datatype": "BYTES", "shape": [1, 2], "data": ["a", "bc"]});
    let (status, refused) = server.post("/v2/models/mixed/infer", &json!({"inputs": [words]}));
    assert_eq!(status, 400, "{refused}");
    let matrix = json!({"name": "matrix", "datatype": "INT32", "shape": [2, 1], "data": [1, 2]});
    let (status, answer) = server.post("/v2/models/unbatched/infer", &json!({"inputs": [matrix]}));
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([0.0, 0.0])), "{answer}");

    let mut grpc: Grpc = server.grpc();
    let message = mixed();
    let answer: ModelInferResponse = grpc.call("ModelInfer", &message).unwrap();
    assert_eq!(answer.id, "7");
    assert_eq!(answer.raw_output_contents[..5], message.raw_input_contents[..]);
}
