//! Clients that send what no library would: HTTP/1.1 byte by byte, gRPC with any bytes as its frames.

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use prost::Message;
use serde_json::Value;
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

/// A server that has not answered by then hangs. Generous: nothing is measured here.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An HTTP/1.1 connection.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Connection {
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Connection { stream, received: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Signals that nothing more comes.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a request and reads its answer; `headers` end in line ends.
    pub fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n");
        self.send(&[head.as_bytes(), body].concat())?;
        self.answer(method == "HEAD")
    }

    /// The next answer; [`ErrorKind::UnexpectedEof`] if the connection is closed instead.
    pub fn answer(&mut self, without_body: bool) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, head.clone()))?;
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        if without_body || matches!(status, 100..200 | 204 | 304) {
            return Ok(answer);
        }
        assert_eq!(answer.header("transfer-encoding"), None, "the server names the length of its answers");
        let length = answer.header("content-length").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
        while self.received.len() < length {
            self.more()?;
        }
        answer.body = self.received.drain(..length).collect();
        Ok(answer)
    }

    /// Reads until the connection ends.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.more() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.received));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let mut bytes = [0; 1 << 16];
        match self.stream.read(&mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            count => {
                self.received.extend_from_slice(&bytes[..count]);
                Ok(())
            }
        }
    }
}

/// Whether an error is the end of a connection, and not a timeout.
pub fn ended(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof)
}

/// A gRPC connection.
pub struct Grpc {
    runtime: tokio::runtime::Runtime,
    channel: Channel,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With a gRPC status.
    Status(Code, String),
    /// Without: the stream or the connection broke.
    Broken(String),
}

impl Grpc {
    pub fn new(address: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = runtime.block_on(async { endpoint.tcp_nodelay(true).connect_lazy() });
        Grpc { runtime, channel }
    }

    /// Sends any bytes to a method, with more headers; the answer's bytes and how the call ended.
    pub fn send(&mut self, method: &str, headers: &HeaderMap, bytes: Bytes) -> (Bytes, Ended) {
        let channel = &mut self.channel;
        let call = async {
            let mut request = http::Request::new(Body::new(Full::new(bytes)));
            *request.method_mut() = http::Method::POST;
            *request.uri_mut() = method.parse().unwrap();
            for (name, value) in [("te", "trailers"), ("content-type", "application/grpc")] {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            request.headers_mut().extend(headers.clone());
            let broken = |error: &dyn std::fmt::Debug| (Bytes::new(), Ended::Broken(format!("{error:?}")));
            if let Err(error) = poll_fn(|context| channel.poll_ready(context)).await {
                return broken(&error);
            }
            let response = match channel.call(request).await {
                Ok(response) => response,
                Err(error) => return broken(&error),
            };
            let (head, body) = response.into_parts();
            let body = match body.collect().await {
                Ok(body) => body,
                Err(error) => return broken(&error),
            };
            let ended = body.trailers().and_then(status).or_else(|| status(&head.headers));
            let none = || Ended::Broken(format!("no status: {head:?}"));
            (body.to_bytes(), ended.unwrap_or_else(none))
        };
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, call).await });
        ended.expect("an answer in time")
    }

    /// Calls a method.
    pub fn call<Q: Message, A: Message + Default>(&mut self, method: &str, request: &Q) -> Result<A, Ended> {
        let path = format!("/inference.GRPCInferenceService/{method}");
        match self.send(&path, &HeaderMap::new(), frame(&request.encode_to_vec())) {
            (bytes, Ended::Status(Code::Ok, _)) => Ok(A::decode(&bytes[5..]).unwrap()),
            (_, ended) => Err(ended),
        }
    }
}

fn status(headers: &HeaderMap) -> Option<Ended> {
    let code = headers.get("grpc-status")?.to_str().ok()?.parse::<i32>().ok()?;
    let message = headers.get("grpc-message").and_then(|value| value.to_str().ok()).unwrap_or_default();
    Some(Ended::Status(Code::from_i32(code), message.to_owned()))
}

/// A message with its flag and length.
pub fn frame(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(message.len() as u32);
    bytes.put_slice(message);
    bytes.freeze()
}
