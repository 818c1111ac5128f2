//! The same over gRPC: a server whose answers a test chooses, call by call.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use prost::Message;
use runner::proto;
use runner::record::{RECORDS, Record, read};
use tokio::net::{TcpListener, TcpStream};

use super::server::Run;

/// A server's answer to a call.
pub enum Says {
    Message(Vec<u8>),
    /// Answers with a gRPC status.
    Status(&'static str),
    /// A proxy's page.
    Page,
    /// Nothing.
    Silence,
    /// Nothing, to this call and whatever follows on its connection.
    Stuck,
}

fn message(message: &impl Message) -> Option<Says> {
    Some(Says::Message(message.encode_to_vec()))
}

/// A good server's answer.
fn usual(method: &str) -> Option<Says> {
    let tensor = |name: &str| proto::model_metadata_response::TensorMetadata {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![-1, 4],
    };
    match method {
        "ServerReady" => message(&proto::ServerReadyResponse { ready: true }),
        "ModelReady" => message(&proto::ModelReadyResponse { ready: true }),
        "ServerMetadata" => message(&proto::ServerMetadataResponse { name: "fake".to_owned(), ..Default::default() }),
        "ModelMetadata" => message(&proto::ModelMetadataResponse {
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            ..Default::default()
        }),
        "ModelInfer" => message(&proto::ModelInferResponse {
            outputs: vec![proto::model_infer_response::InferOutputTensor {
                name: "y".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![2, 4],
                ..Default::default()
            }],
            raw_output_contents: vec![Bytes::from_static(&[0; 32])],
            ..Default::default()
        }),
        _ => None,
    }
}

type Does = dyn Fn(&str) -> Option<Says> + Send + Sync;

/// Answers as `does` says, else as a good server. Ends with the test's process.
pub struct Server {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(does: impl Fn(&str) -> Option<Says> + Send + Sync + 'static) -> Server {
        let (does, asked) = (Arc::<Does>::from(Box::new(does) as Box<Does>), Arc::<Mutex<Vec<String>>>::default());
        let (sender, address) = std::sync::mpsc::channel();
        let heard = asked.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap().to_string()).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(connection(stream, does.clone(), heard.clone()));
                }
            });
        });
        Server { address: address.recv().unwrap(), asked }
    }

    fn count(&self, method: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == method).count()
    }

    pub fn run(&self, options: &[&str]) -> Run {
        Run::new(&self.address, "", &[&["--protocols", "grpc", "--grpc", &self.address][..], options].concat())
    }
}

async fn connection(stream: TcpStream, does: Arc<Does>, asked: Arc<Mutex<Vec<String>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let says = does(&method).or_else(|| usual(&method)).unwrap_or(Says::Status("12"));
        asked.lock().unwrap().push(method);
        if matches!(says, Says::Stuck) {
            std::future::pending::<()>().await;
        }
        tokio::spawn(answer(says, request.into_body(), respond));
    }
}

/// Takes the whole request, then answers; ignores a peer that is gone.
async fn answer(says: Says, mut body: h2::RecvStream, mut respond: h2::server::SendResponse<Bytes>) -> Option<()> {
    while let Some(Ok(data)) = body.data().await {
        body.flow_control().release_capacity(data.len()).ok()?;
    }
    let head = |kind: &str| Response::builder().header("content-type", kind);
    match says {
        Says::Message(message) => {
            let mut stream = respond.send_response(head("application/grpc").body(()).unwrap(), false).ok()?;
            let framed = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
            stream.send_data(framed.into(), false).ok()?;
            let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
            stream.send_trailers(status).ok()
        }
        Says::Status(code) => {
            let head = head("application/grpc").header("grpc-status", code).header("grpc-message", "said%20so");
            respond.send_response(head.body(()).unwrap(), true).ok().map(drop)
        }
        Says::Page => {
            let mut stream = respond.send_response(head("text/html").status(502).body(()).unwrap(), false).ok()?;
            stream
                .send_data(Bytes::from_static(b"<html><h1>502 Bad Gateway</h1></html>"), true)
                .ok()
        }
        Says::Silence | Says::Stuck => {
            std::future::pending::<()>().await;
            None
        }
    }
}

fn config(config: proto::ModelConfig) -> Option<Says> {
    message(&proto::ModelConfigResponse { config: Some(config) })
}

fn decoupled() -> Option<Says> {
    let policy = Some(proto::ModelTransactionPolicy { decoupled: true });
    config(proto::ModelConfig { model_transaction_policy: policy, ..Default::default() })
}

#[test]
fn a_server_that_knows_infer_alone_is_measured() {
    let server = Server::start(|method| (method != "ModelInfer").then_some(Says::Status("12")));
    let (code, words) = server.run(&["--verify"]).output();
    assert!(code == Some(0) && words.contains("does not tell: readiness (grpc: gRPC Unimplemented"), "{words}");
    for silent in ["ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata"] {
        let server = Server::start(move |method| (method == silent).then_some(Says::Status("12")));
        let (code, words) = server.run(&["--verify"]).output();
        assert!(code == Some(0) && words.contains("does not tell"), "{silent}: {words}");
    }
    let server = Server::start(|method| match method {
        "ModelMetadata" => message(&proto::ModelMetadataResponse { name: "m".to_owned(), ..Default::default() }),
        _ => None,
    });
    let (code, words) = server.run(&["--verify"]).output();
    assert!(code == Some(0) && words.contains("type and shape of \"x\", \"y\""), "{words}");
}

#[test]
fn an_unknown_model_is_said_in_the_server_s_words() {
    let server = Server::start(|method| method.starts_with("Model").then_some(Says::Status("5")));
    let (code, words) = server.run(&["--verify"]).output();
    assert!(code == Some(1) && words.contains("gRPC NotFound: said so") && !words.contains("its port"), "{words}");
}

#[test]
fn a_proxy_s_page_is_no_answer() {
    let (code, words) = Server::start(|_| Some(Says::Page)).run(&["--verify"]).output();
    assert!(code == Some(1) && words.contains("HTTP 502 with text/html"), "{words}");
    assert!(!words.contains("compression flag"), "{words}");
}

#[test]
fn decoupled_models_are_refused_before_anything_is_sent() {
    let server = Server::start(|method| (method == "ModelConfig").then(decoupled).flatten());
    let (code, words) = server.run(&["--verify"]).output();
    assert!(code == Some(1) && words.contains("decoupled") && server.count("ModelInfer") == 0, "{words}");
}

#[test]
fn a_connection_that_is_stuck_is_replaced() {
    // the configuration is asked for after the server's name, by the same client
    let server = Server::start(|method| match method {
        "ServerMetadata" => Some(Says::Stuck),
        "ModelConfig" => decoupled(),
        _ => None,
    });
    let (code, words) = server.run(&["--verify"]).output();
    assert!(code == Some(1) && words.contains("decoupled"), "{words}");
}

#[test]
fn answers_are_bounded_in_size() {
    let large = || {
        let name = "x".repeat(5 << 20);
        message(&proto::ModelMetadataResponse { name, ..Default::default() })
    };
    let server = Server::start(move |method| (method == "ModelMetadata").then(large).flatten());
    let (code, words) = server.run(&["--verify"]).output();
    assert!(code == Some(0) && words.contains("the answer to ModelMetadata is larger than 4096 KiB"), "{words}");
}

#[test]
fn statistics_that_do_not_come_are_asked_for_once() {
    let server = Server::start(|method| (method == "ModelStatistics").then_some(Says::Silence));
    let mut run = server.run(&[]);
    let (code, words) = run.output();
    assert_eq!((code, server.count("ModelStatistics")), (Some(0), 1), "{words}");
    let records: Vec<Record> = read(&run.newest().join(RECORDS)).unwrap();
    assert!(records.iter().all(|record| record.requests == 10 && record.server_requests.is_none()), "{records:?}");
}
