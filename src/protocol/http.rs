//! Inference over HTTP/1.1 with the binary tensor extension: a JSON header and the raw tensors in one body.
//! Must not know how requests are timed or counted.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::StatusCode;
use reqwest::{Client, Response, Url};
use serde::Deserialize;
use serde_json::json;

use super::http1::{self, Connection, ERROR_BYTES_MAX, Memory};
use super::wire::Probe;
use super::{Answer, Driver, Fault, FaultKind, OutputTensor, Payload, Reply, Request};

/// A client that keeps one HTTP/1.1 connection, follows no proxy and asks for no compression.
pub(super) fn client(connect_timeout: Duration) -> Result<Client, Fault> {
    Client::builder()
        .tls_backend_preconfigured(no_tls()?)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tcp_nodelay(true)
        .pool_max_idle_per_host(1)
        .pool_idle_timeout(None)
        .connect_timeout(connect_timeout)
        .build()
        .map_err(|error| Fault::of_transport(&error))
}

/// A TLS set-up that trusts nobody: the client would otherwise read the system's certificates for every connection,
/// and this protocol is spoken in the clear.
fn no_tls() -> Result<rustls::ClientConfig, Fault> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Fault::of_transport(&error))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// `http://ADDRESS/v2/SEGMENT/..`, each segment escaped: names from outside stay one segment.
pub(super) fn url(address: &str, segments: &[&str]) -> Result<Url, Fault> {
    let bad = |cause: &dyn std::fmt::Display| {
        Fault::new(FaultKind::Connect, format!("the HTTP address \"{address}\" is not host:port: {cause}"))
    };
    let mut url = Url::parse(&format!("http://{address}/v2")).map_err(|cause| bad(&cause))?;
    url.path_segments_mut().map_err(|()| bad(&"it cannot hold a path"))?.extend(segments);
    Ok(url)
}

/// One request in flight after the other, over a connection that no other shares.
pub struct Http {
    connection: Rc<Connection>,
    head: Bytes,
    body: Bytes,
    probe: Rc<dyn Probe>,
    memory: Memory,
}

/// A request ready to be sent.
#[derive(Clone)]
pub struct Encoded {
    url: Url,
    header_length: usize,
    body: Bytes,
}

impl Driver for Http {
    type Encoded = Encoded;
    type Connection = Rc<Connection>;

    fn encode(address: &str, request: &Request) -> Result<Encoded, Fault> {
        let mut segments = vec!["models", request.model.as_str()];
        if let Some(version) = &request.version {
            segments.extend(["versions", version.as_str()]);
        }
        segments.push("infer");
        let header = json_header(request);
        let tensors: usize = request.inputs.iter().map(|input| input.bytes.len()).sum();
        let mut body = BytesMut::with_capacity(header.len() + tensors);
        body.put_slice(&header);
        for input in &request.inputs {
            body.put_slice(&input.bytes);
        }
        Ok(Encoded { url: url(address, &segments)?, header_length: header.len(), body: body.freeze() })
    }

    fn connection(address: &str, probe: Rc<dyn Probe>) -> Rc<Connection> {
        Rc::new(Connection::new(address, probe))
    }

    fn new(connection: Rc<Connection>, encoded: Encoded, probe: Rc<dyn Probe>) -> Self {
        let head = encoded.head(&connection.address);
        Http { connection, head, body: encoded.body, probe, memory: Memory::default() }
    }

    fn replace(&mut self, encoded: Encoded) {
        self.head = encoded.head(&self.connection.address);
        self.body = encoded.body;
    }

    fn body_bytes(&self) -> u64 {
        self.body.len() as u64
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        self.connection.connect().await
    }

    async fn infer(&mut self) -> Result<Reply, Fault> {
        let response = self.send(false).await?;
        Ok(Reply { bytes: response.body_bytes.saturating_sub(response.json_length.unwrap_or(0)) })
    }

    async fn infer_whole(&mut self) -> Result<Answer, Fault> {
        let response = self.send(true).await?;
        decode(&Bytes::from(response.body), response.json_length)
    }
}

impl Encoded {
    /// Everything before the body; what `Url` accepts as a path and the scenario as an address is one line.
    fn head(&self, address: &str) -> Bytes {
        let path = self.url.path();
        let (json_length, length) = (self.header_length, self.body.len());
        Bytes::from(format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/octet-stream\r\n\
             Inference-Header-Content-Length: {json_length}\r\nContent-Length: {length}\r\n\r\n"
        ))
    }
}

impl Http {
    async fn send(&mut self, keep: bool) -> Result<http1::Response, Fault> {
        let Http { connection, head, body, probe, memory } = self;
        let response = connection.exchange(head, body, memory, &**probe, keep).await?;
        match StatusCode::from_u16(response.status) {
            Ok(status) if status.is_success() => Ok(response),
            Ok(status) => Err(refusal(status, &response.body)),
            Err(_) => Err(Fault::new(FaultKind::Transport, format!("the answer's status is {}", response.status))),
        }
    }
}

fn json_header(request: &Request) -> Vec<u8> {
    let inputs: Vec<_> = request
        .inputs
        .iter()
        .map(|input| {
            json!({"name": input.name, "shape": input.shape, "datatype": input.datatype.name(),
                   "parameters": {"binary_data_size": input.bytes.len()}})
        })
        .collect();
    let outputs: Vec<_> =
        request.outputs.iter().map(|name| json!({"name": name, "parameters": {"binary_data": true}})).collect();
    json!({"inputs": inputs, "outputs": outputs}).to_string().into_bytes()
}

/// The server's own words of an answer that is not a success, over reqwest.
pub(super) async fn error_of(mut response: Response) -> Fault {
    let status = response.status();
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ERROR_BYTES_MAX {
            break;
        }
    }
    refusal(status, &body)
}

/// The server's own words in the body of an answer that is not a success.
fn refusal(status: StatusCode, body: &[u8]) -> Fault {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: String,
    }
    let words = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => body.error,
        Err(_) => String::from_utf8_lossy(body).chars().take(200).collect(),
    };
    let kind = match status.as_u16() {
        404 | 405 | 501 => FaultKind::Unsupported,
        _ => FaultKind::Server,
    };
    Fault::new(kind, format!("HTTP {}: {words}", status.as_u16()))
}

#[derive(Deserialize)]
struct JsonAnswer {
    outputs: Vec<JsonOutput>,
}

#[derive(Deserialize)]
struct JsonOutput {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: JsonParameters,
    data: Option<serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct JsonParameters {
    binary_data_size: Option<usize>,
}

/// Takes an answer apart: the JSON header, then each binary output in turn.
fn decode(body: &Bytes, header_length: Option<u64>) -> Result<Answer, Fault> {
    let bad = |message: String| Fault::new(FaultKind::Answer, message);
    let header_length = header_length.map_or(body.len(), |length| usize::try_from(length).unwrap_or(usize::MAX));
    let header = body.get(..header_length).ok_or_else(|| {
        bad(format!("the answer's JSON should hold {header_length} bytes, the answer holds {}", body.len()))
    })?;
    let header: JsonAnswer =
        serde_json::from_slice(header).map_err(|error| bad(format!("the answer's JSON cannot be read: {error}")))?;
    let mut at = header_length;
    let mut outputs = Vec::new();
    for output in header.outputs {
        let payload = match output.parameters.binary_data_size {
            Some(size) => {
                let end = at.checked_add(size).filter(|end| *end <= body.len());
                let end = end.ok_or_else(|| bad(format!("the output \"{}\" is cut short", output.name)))?;
                let raw = body.slice(at..end);
                at = end;
                Payload::Raw(raw)
            }
            None => Payload::Elements(output.data.as_ref().map_or(0, leaves)),
        };
        outputs.push(OutputTensor { name: output.name, datatype: output.datatype, shape: output.shape, payload });
    }
    if at != body.len() {
        return Err(bad(format!("{} bytes follow the last output", body.len() - at)));
    }
    Ok(Answer { bytes: (body.len() - header_length) as u64, outputs })
}

/// JSON tensors may be flat or nested.
fn leaves(value: &serde_json::Value) -> usize {
    value.as_array().map_or(1, |items| items.iter().map(leaves).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::InputTensor;
    use crate::tensor::Datatype;

    fn request() -> Request {
        Request {
            model: "a/../b c".to_owned(),
            version: Some("3".to_owned()),
            inputs: vec![InputTensor {
                name: "x".to_owned(),
                datatype: Datatype::Uint8,
                shape: vec![1, 2],
                bytes: Bytes::from_static(&[7, 9]),
            }],
            outputs: vec!["y".to_owned()],
        }
    }

    #[test]
    fn a_request_is_json_then_tensors_and_names_cannot_leave_their_segment() {
        let encoded = Http::encode("localhost:8000", &request()).unwrap();
        assert_eq!(encoded.url.as_str(), "http://localhost:8000/v2/models/a%2F..%2Fb%20c/versions/3/infer");
        let (header, tensors) = encoded.body.split_at(encoded.header_length);
        let header: serde_json::Value = serde_json::from_slice(header).unwrap();
        assert_eq!(header["inputs"][0]["parameters"]["binary_data_size"], 2);
        assert_eq!(header["outputs"][0]["parameters"]["binary_data"], true);
        assert_eq!(tensors, [7, 9]);
    }

    #[test]
    fn an_answer_is_taken_apart_and_damage_is_said() {
        let header = r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[1,1],"parameters":{"binary_data_size":4}},
            {"name":"z","datatype":"INT64","shape":[2,2],"data":[[1,2],[3,4]]}]}"#;
        let mut body = header.as_bytes().to_vec();
        body.extend([0; 4]);
        let answer = decode(&Bytes::from(body.clone()), Some(header.len() as u64)).unwrap();
        assert_eq!(answer.bytes, 4);
        assert!(matches!(&answer.outputs[0].payload, Payload::Raw(raw) if raw.len() == 4));
        assert!(matches!(answer.outputs[1].payload, Payload::Elements(4)));
        for (body, length, words) in [
            (&body[..body.len() - 1], header.len(), "cut short"),
            (&body[..], header.len() + 9, "should hold"),
            (&[&body[..], &[1]].concat()[..], header.len(), "follow the last output"),
            (&b"{}"[..], 2, "cannot be read"),
        ] {
            let fault = decode(&Bytes::copy_from_slice(body), Some(length as u64)).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Answer);
            assert!(fault.message.contains(words), "{}", fault.message);
        }
    }
}
