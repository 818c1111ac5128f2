//! A server of the protocol whose control plane is honest and whose infer answers follow a script, over HTTP and gRPC.

use std::future::pending;
use std::io::Write;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::Reason;
use http::{HeaderMap, HeaderValue, Response};
use prost::Message;
use runner::proto::model_infer_response::InferOutputTensor;
use runner::proto::model_metadata_response::TensorMetadata;
use runner::proto::{
    InferTensorContents, ModelInferResponse, ModelMetadataResponse, ModelReadyResponse, ServerMetadataResponse,
    ServerReadyResponse,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, spawn};
use tokio::time::sleep;

/// What the server does with one infer request; the script chooses it by the request's number, from 0.
#[derive(Clone, Debug)]
// each of the tests that share this server needs some of it
#[allow(dead_code)]
pub enum Act {
    /// An answer.
    Answer(Answer),
    /// These bytes as an answer; over HTTP the connection ends with them.
    Bytes(Vec<u8>),
    /// The connection never answers again.
    Mute,
    /// The connection is reset.
    Reset,
    /// The connection ends after a good answer that says so: `Connection: close`, or GOAWAY over gRPC.
    Last,
    /// The connection ends without an answer; over gRPC it says why (GOAWAY).
    End,
    /// The request alone is given up: RST_STREAM over gRPC; HTTP/1.1 has nothing like it and resets the connection.
    GiveUp,
    /// Bytes on the connection that are no answer, below what frames answers; then it ends.
    Noise(Vec<u8>),
    /// Half of a good answer; the server says no more, and leaves the connection open.
    Stall,
    /// Half of a good answer, then the connection ends.
    Half,
    /// Half of a good answer, then the server closes its direction of the connection, but not the other.
    HalfClose,
    /// A good answer, byte by byte, with this pause between them.
    Drip(Duration),
    /// An error: an HTTP status or the number of a gRPC status, and words; over HTTP in a body of this type.
    Refuse(u16, u16, String),
    /// A page of a proxy, with this HTTP status, over both protocols.
    Page(u16),
    /// The head of an answer that announces more bytes than the program keeps.
    Huge,
    /// All connections end and nobody listens for this long; the request has no answer.
    Restart(Duration),
}

/// One output, as the model describes it unless it is changed.
#[derive(Clone, Debug)]
pub struct Answer {
    pub name: &'static str,
    pub datatype: &'static str,
    pub shape: Vec<i64>,
    pub raw: Vec<u8>,
    pub version: &'static str,
    /// In JSON over HTTP, in typed contents over gRPC.
    pub typed: Option<Vec<f32>>,
    /// The answer claims to be compressed.
    pub compressed: bool,
    /// Bytes that are not a description, as long as the right ones.
    pub garbage: bool,
}

/// A good answer to a batch of one.
pub fn good() -> Answer {
    Answer {
        name: "y",
        datatype: "FP32",
        shape: vec![1, 3],
        raw: vec![0; 12],
        version: "1",
        typed: None,
        compressed: false,
        garbage: false,
    }
}

pub type Script = Arc<dyn Fn(u64) -> Act + Send + Sync>;

/// Listens until it is dropped.
pub struct Server {
    pub http: String,
    pub grpc: String,
    _runtime: Runtime,
}

/// State shared by both protocols.
#[derive(Clone)]
struct Shared {
    script: Script,
    /// The path that it is behind: requests without it get no answer.
    behind: &'static str,
    count: Arc<AtomicU64>,
    extensions: Vec<String>,
    /// The output's shape in the metadata.
    shape: Vec<i64>,
    /// For how long the server is to be away.
    away: UnboundedSender<Duration>,
}

impl Shared {
    fn next(&self) -> Act {
        (self.script)(self.count.fetch_add(1, Ordering::Relaxed))
    }
}

impl Server {
    /// `shape` describes the output; `binary` is whether the server announces binary tensors over HTTP.
    pub fn start(shape: &[i64], binary: bool, script: impl Fn(u64) -> Act + Send + Sync + 'static) -> Server {
        Self::start_behind("", shape, binary, script)
    }

    /// The same, behind a path.
    pub fn start_behind(
        behind: &'static str,
        shape: &[i64],
        binary: bool,
        script: impl Fn(u64) -> Act + Send + Sync + 'static,
    ) -> Server {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let extensions = if binary { vec!["binary_tensor_data".to_owned()] } else { Vec::new() };
        let script: Script = Arc::new(script);
        let shared = || {
            let (away, leaves) = unbounded_channel();
            let (count, shape) = (Arc::default(), shape.to_vec());
            (Shared { script: script.clone(), behind, count, extensions: extensions.clone(), shape, away }, leaves)
        };
        let ((http, http_leaves), (grpc, grpc_leaves)) = (shared(), shared());
        let (http_address, grpc_address) = runtime.block_on(async {
            let listeners =
                (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
            let addresses = (listeners.0.local_addr().unwrap(), listeners.1.local_addr().unwrap());
            spawn(accept(listeners.0, http_leaves, move |stream| serve_http(stream, http.clone())));
            spawn(accept(listeners.1, grpc_leaves, move |stream| serve_grpc(stream, grpc.clone())));
            addresses
        });
        let [http, grpc] = [http_address, grpc_address].map(|address| format!("{address}{behind}"));
        Server { http, grpc, _runtime: runtime }
    }
}

async fn accept<F: Future<Output = Option<()>> + Send + 'static>(
    mut listener: TcpListener,
    mut leaves: UnboundedReceiver<Duration>,
    serve: impl Fn(TcpStream) -> F,
) {
    let address = listener.local_addr().unwrap();
    let mut open = Vec::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                let _ = stream.set_nodelay(true);
                open.push(spawn(serve(stream)).abort_handle());
            }
            Some(away) = leaves.recv() => {
                drop(listener);
                open.drain(..).for_each(|connection: AbortHandle| connection.abort());
                sleep(away).await;
                listener = again(address).await;
            }
        }
    }
}

/// Listens on the same port as before.
async fn again(address: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

async fn serve_http(stream: TcpStream, shared: Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
        loop {
            line.clear();
            if stream.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let field = line.trim_end().to_ascii_lowercase();
            if path.is_empty() {
                path = line.split(' ').nth(1)?.to_owned();
            } else if let Some(text) = field.strip_prefix("content-length:") {
                length = text.trim().parse().ok()?;
            } else if field.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let answer = match path.strip_prefix(shared.behind)? {
            "/v2" => {
                ok(serde_json::json!({"name": "fake", "version": "1", "extensions": shared.extensions}).to_string())
            }
            "/v2/models/m" => ok(metadata(&shared.shape)),
            path if path.ends_with("/ready") => ok(String::new()),
            // a server without binary tensors takes the whole body for JSON
            path if path.ends_with("/infer")
                && shared.extensions.is_empty()
                && serde_json::from_slice::<serde_json::Value>(&body).is_err() =>
            {
                b"HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}".to_vec()
            }
            path if path.ends_with("/infer") => match shared.next() {
                Act::Answer(answer) => of_http(&answer),
                Act::Last => {
                    let answer = String::from_utf8(of_http(&good())).unwrap();
                    let last = answer.replacen("\r\n", "\r\nConnection: close\r\n", 1);
                    stream.write_all(last.as_bytes()).await.ok()?;
                    return None;
                }
                Act::Bytes(bytes) => {
                    stream.write_all(&bytes).await.ok()?;
                    return None;
                }
                Act::Mute => return pending().await,
                Act::Reset | Act::GiveUp => {
                    reset(stream.get_ref());
                    return None;
                }
                Act::End => return None,
                Act::Noise(bytes) => {
                    stream.write_all(&bytes).await.ok()?;
                    return None;
                }
                act @ (Act::Stall | Act::Half | Act::HalfClose) => {
                    let answer = of_http(&good());
                    stream.write_all(&answer[..answer.len() / 2]).await.ok()?;
                    match act {
                        Act::Half => return None,
                        Act::HalfClose => stream.shutdown().await.ok()?,
                        _ => {}
                    }
                    return pending().await;
                }
                Act::Drip(pause) => {
                    for byte in of_http(&good()) {
                        stream.write_all(&[byte]).await.ok()?;
                        sleep(pause).await;
                    }
                    continue;
                }
                Act::Refuse(status, _, words) => {
                    let body = serde_json::json!({ "error": words }).to_string();
                    format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
                }
                Act::Page(status) => {
                    format!("HTTP/1.1 {status} No\r\nContent-Type: text/html\r\nContent-Length: 8\r\n\r\n<h1>No\r\n")
                        .into_bytes()
                }
                Act::Huge => {
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {HUGE}\r\n\r\n");
                    stream.write_all(head.as_bytes()).await.ok()?;
                    return pending().await;
                }
                Act::Restart(away) => {
                    shared.away.send(away).ok()?;
                    return pending().await;
                }
            },
            _ => b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n{}".to_vec(),
        };
        stream.write_all(&answer).await.ok()?;
    }
}

/// Bytes that an answer announces, more than the program keeps.
const HUGE: u32 = 600 * 1024 * 1024;

fn ok(body: String) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn metadata(shape: &[i64]) -> String {
    let x = serde_json::json!({"name": "x", "datatype": "FP32", "shape": [-1, 3]});
    let y = serde_json::json!({"name": "y", "datatype": "FP32", "shape": shape});
    serde_json::json!({"name": "m", "versions": ["1"], "platform": "p", "inputs": [x], "outputs": [y]}).to_string()
}

pub fn of_http(answer: &Answer) -> Vec<u8> {
    let mut output = serde_json::json!({"name": answer.name, "datatype": answer.datatype, "shape": answer.shape, "parameters": null});
    match &answer.typed {
        Some(values) => output["data"] = serde_json::json!(values),
        None => output["parameters"] = serde_json::json!({"binary_data_size": answer.raw.len()}),
    }
    let json = serde_json::json!({"model_name": "m", "model_version": answer.version, "id": null, "outputs": [output]});
    let mut json = json.to_string().into_bytes();
    if answer.garbage {
        json.fill(0xff);
    }
    let (length, raw) = if answer.typed.is_some() {
        (String::new(), &[][..])
    } else {
        (format!("Inference-Header-Content-Length: {}\r\n", json.len()), &answer.raw[..])
    };
    let compressed = if answer.compressed { "Content-Encoding: gzip\r\n" } else { "" };
    let head = format!("HTTP/1.1 200 OK\r\n{length}{compressed}Content-Length: {}\r\n\r\n", json.len() + raw.len());
    [head.as_bytes(), &json, raw].concat()
}

pub fn of_grpc(answer: &Answer) -> Bytes {
    let contents = |values: &Vec<f32>| InferTensorContents { fp32_contents: values.clone(), ..Default::default() };
    let output = InferOutputTensor {
        name: answer.name.to_owned(),
        datatype: answer.datatype.to_owned(),
        shape: answer.shape.clone(),
        contents: answer.typed.as_ref().map(contents),
        ..Default::default()
    };
    let raw = if answer.typed.is_some() { Vec::new() } else { vec![Bytes::from(answer.raw.clone())] };
    let message = ModelInferResponse {
        model_name: "m".to_owned(),
        model_version: answer.version.to_owned(),
        outputs: vec![output],
        raw_output_contents: raw,
        ..Default::default()
    };
    let mut framed = framed(&message, answer.compressed);
    if answer.garbage {
        framed[5..].fill(0xff);
    }
    framed.freeze()
}

fn framed(message: &impl Message, compressed: bool) -> BytesMut {
    let mut framed = BytesMut::new();
    framed.put_u8(u8::from(compressed));
    framed.put_u32(message.encoded_len() as u32);
    message.encode(&mut framed).unwrap();
    framed
}

async fn serve_grpc(stream: TcpStream, shared: Shared) -> Option<()> {
    let handle = socket2::SockRef::from(&stream).try_clone().ok()?;
    let mut connection = h2::server::handshake(stream).await.ok()?;
    let (mut mute, mut muted) = (false, Vec::new());
    let (end, mut ends) = unbounded_channel();
    loop {
        let request = tokio::select! {
            request = connection.accept() => request?,
            // dropped with all that is unsent
            _ = ends.recv() => return None,
        };
        let (request, mut respond) = request.ok()?;
        let (parts, mut body) = request.into_parts();
        let call = parts
            .uri
            .path()
            .strip_prefix(shared.behind)?
            .strip_prefix("/inference.GRPCInferenceService/")?;
        let call = call.to_owned();
        let (shared, handle, end) = (shared.clone(), handle.try_clone().ok()?, end.clone());
        let act = if call == "ModelInfer" { shared.next() } else { Act::Answer(good()) };
        if matches!(act, Act::Last) {
            connection.graceful_shutdown();
        }
        if matches!(act, Act::End) {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
        mute |= matches!(act, Act::Mute);
        if mute {
            muted.push(respond);
            continue;
        }
        spawn(async move {
            while let Some(Ok(data)) = body.data().await {
                let _ = body.flow_control().release_capacity(data.len());
            }
            let data = match call.as_str() {
                "ServerReady" => framed(&ServerReadyResponse { ready: true }, false).freeze(),
                "ModelReady" => framed(&ModelReadyResponse { ready: true }, false).freeze(),
                "ServerMetadata" => framed(&server_metadata(), false).freeze(),
                "ModelMetadata" => framed(&model_metadata(&shared.shape), false).freeze(),
                "ModelInfer" => match act {
                    Act::Answer(answer) => of_grpc(&answer),
                    Act::Bytes(bytes) => Bytes::from(bytes),
                    Act::Last => of_grpc(&good()),
                    Act::Reset => {
                        let _ = handle.set_linger(Some(Duration::ZERO));
                        drop(handle);
                        end.send(()).ok()?;
                        // without the request's own end, which would go first
                        return pending().await;
                    }
                    act => return misbehave(act, respond, handle, shared).await,
                },
                _ => Bytes::new(),
            };
            let mut head = Response::new(());
            head.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            let mut status = HeaderMap::new();
            status.insert("grpc-status", HeaderValue::from_static(if data.is_empty() { "12" } else { "0" }));
            let mut stream = respond.send_response(head, false).ok()?;
            stream.send_data(data, false).ok()?;
            stream.send_trailers(status).ok()
        });
    }
}

/// What over gRPC is more than an answer or none.
async fn misbehave(
    act: Act,
    mut respond: h2::server::SendResponse<Bytes>,
    handle: socket2::Socket,
    shared: Shared,
) -> Option<()> {
    let answer = of_grpc(&good());
    let half = answer.slice(..answer.len() / 2);
    let status = |status: u16, kind: &'static str| {
        let head = Response::builder().status(status).header("content-type", kind);
        head.body(()).unwrap()
    };
    let begun = || status(200, "application/grpc");
    match act {
        Act::GiveUp => {
            respond.send_reset(Reason::INTERNAL_ERROR);
        }
        Act::Noise(bytes) => {
            (&handle).write_all(&bytes).ok()?;
            let _ = handle.shutdown(Shutdown::Write);
        }
        act @ (Act::Stall | Act::Half | Act::HalfClose) => {
            let mut stream = respond.send_response(begun(), false).ok()?;
            stream.send_data(half, false).ok()?;
            // until it is sent; were it not, the answer would still be cut
            sleep(Duration::from_millis(100)).await;
            let _ = match act {
                Act::Half => handle.shutdown(Shutdown::Both),
                Act::HalfClose => handle.shutdown(Shutdown::Write),
                _ => Ok(()),
            };
            return pending().await;
        }
        Act::Drip(pause) => {
            let mut stream = respond.send_response(begun(), false).ok()?;
            for at in 0..answer.len() {
                stream.send_data(answer.slice(at..=at), false).ok()?;
                sleep(pause).await;
            }
            let status = HeaderMap::from_iter([("grpc-status".parse().ok()?, HeaderValue::from_static("0"))]);
            stream.send_trailers(status).ok()?;
        }
        Act::Refuse(_, code, words) => {
            let mut head = begun();
            head.headers_mut().insert("grpc-status", code.into());
            // percent-encoded, as the protocol has it
            let encoded: String = words.bytes().map(|byte| format!("%{byte:02X}")).collect();
            head.headers_mut().insert("grpc-message", encoded.parse().ok()?);
            respond.send_response(head, true).ok()?;
        }
        Act::Page(code) => {
            let mut stream = respond.send_response(status(code, "text/html"), false).ok()?;
            stream.send_data(Bytes::from_static(b"<h1>No\r\n"), true).ok()?;
        }
        Act::Huge => {
            let mut stream = respond.send_response(begun(), false).ok()?;
            let prefix = [&[0], &HUGE.to_be_bytes()[..]].concat();
            stream.send_data(Bytes::from(prefix), false).ok()?;
            return pending().await;
        }
        Act::Restart(away) => {
            // another handle to the socket would keep it open
            drop(handle);
            shared.away.send(away).ok()?;
            let _pending = respond;
            return pending().await;
        }
        Act::Answer(_) | Act::Bytes(_) | Act::Last | Act::Mute | Act::Reset | Act::End => {}
    }
    Some(())
}

fn server_metadata() -> ServerMetadataResponse {
    ServerMetadataResponse { name: "fake".to_owned(), version: "1".to_owned(), ..Default::default() }
}

fn model_metadata(shape: &[i64]) -> ModelMetadataResponse {
    let tensor = |name: &str, shape: &[i64]| TensorMetadata {
        name: name.to_owned(),
        datatype: "FP32".to_owned(),
        shape: shape.to_vec(),
    };
    ModelMetadataResponse {
        name: "m".to_owned(),
        inputs: vec![tensor("x", &[-1, 3])],
        outputs: vec![tensor("y", shape)],
        ..Default::default()
    }
}
