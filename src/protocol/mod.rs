//! One inference request over a protocol: the seam between the timed loop and HTTP or gRPC. Knows tensors and
//! protobuf messages; must not know recorders, records, reports or workers, and never reads the clock.

pub mod control;
mod elements;
pub mod headers;
pub mod infer;
mod json;
mod message;
pub mod stream;
mod tls;
pub mod verify;
mod web;
mod words;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::spelling::spelled;
use crate::tensor::{Datatype, Parameters, Tensors};
use crate::text;
pub use elements::Elements;
use headers::Destination;
use stream::IoObserver;

/// Timeout for making a connection; the same for both protocols.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is kept for reading, in bytes.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Sends one request at a time over a connection.
pub trait InferClient: Sized {
    /// The encoded request; cloning clones handles, not bytes.
    type Encoded: Clone;
    /// A handle to a connection, which is made on first use and again after it broke.
    type Connection: Clone;
    /// An unread answer, kept for checking after the clock is stopped.
    type Unread;
    /// The bytes of the verified answer that every good answer of the same size and shapes shares.
    type Pattern;

    /// Encodes a request.
    ///
    /// # Errors
    /// The request cannot be expressed in the protocol.
    fn encode(to: &Destination, request: &Request) -> Result<Self::Encoded, Fault>;

    /// Bytes of an encoded request.
    fn encoded_bytes(encoded: &Self::Encoded) -> u64;

    /// A new connection; `observer` is notified of its traffic.
    fn connection(to: &Destination, observer: Rc<dyn IoObserver>) -> Self::Connection;

    /// A client over a connection, shared if the protocol has streams; `observer` is notified of its answers.
    fn new(connection: Self::Connection, encoded: Self::Encoded, observer: Rc<dyn IoObserver>) -> Self;

    /// Replaces the request.
    fn replace(&mut self, encoded: Self::Encoded);

    /// Bytes of the request's body.
    fn body_bytes(&self) -> u64;

    /// Makes the connection, if it does not exist.
    fn connect(&mut self) -> impl Future<Output = Result<(), Fault>>;

    /// Sends the request and waits for the whole answer. The timed path: an answer that follows the pattern is dropped.
    fn infer(&mut self) -> impl Future<Output = Result<Reply<Self::Unread>, Fault>>;

    /// From now on compares answers with the verified one; without a pattern, keeps them whole.
    fn follow(&mut self, pattern: Option<Rc<Self::Pattern>>);

    /// The pending request timed out and was dropped; the next one must not wait for the same connection.
    fn timed_out(&mut self);

    /// The pattern of an answer.
    fn pattern(unread: &Self::Unread) -> Option<Self::Pattern>;

    /// Decodes an unread answer. Not for the timed path.
    ///
    /// # Errors
    /// It is not an answer of the protocol: kind `Answer`.
    fn read(unread: Self::Unread) -> Result<Answer, Fault>;
}

/// An answer to a timed request.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<U> {
    /// Names, types, shapes and sizes equal those of the verified answer, byte for byte.
    Same,
    /// Something differs: the answer has to be read after the clock is stopped.
    Unread(U),
}

/// An inference request in the protocol's terms.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the model.
    pub model: String,
    /// Version of the model; `None` leaves the choice to the server.
    pub version: Option<String>,
    /// The request's id, which its answer repeats.
    pub id: Option<String>,
    /// Input tensors.
    pub inputs: Vec<InputTensor>,
    /// Names of the requested outputs.
    pub outputs: Vec<String>,
    /// How tensors travel over HTTP.
    pub tensors: Tensors,
    /// Parameters of the whole request.
    pub parameters: Parameters,
}

/// An input tensor with its bytes: little-endian, row-major, BYTES elements with length prefixes.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct InputTensor {
    pub name: String,
    pub datatype: Datatype,
    /// With the batch dimension.
    pub shape: Vec<u64>,
    pub bytes: Bytes,
}

/// A decoded answer.
#[derive(Debug)]
pub struct Answer {
    /// The id of the request that it answers; empty if it tells none.
    pub id: String,
    /// Output tensors in the server's order.
    pub outputs: Vec<OutputTensor>,
}

/// An output tensor of an answer.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct OutputTensor {
    pub name: String,
    /// In the server's spelling.
    pub datatype: String,
    pub shape: Vec<i64>,
    pub payload: Payload,
}

/// The elements of an output tensor.
#[derive(Debug)]
pub enum Payload {
    /// Raw bytes, as asked for.
    Raw(Bytes),
    /// The number of raw bytes, if they were not kept.
    Size(usize),
    /// Elements that the server answered in JSON or typed contents.
    Elements(Elements),
}

/// The reason why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The kind of error.
    pub kind: FaultKind,
    /// The cause: one line, bounded, safe to display.
    pub message: String,
}

spelled! {
    /// The kinds of errors that are counted separately.
    pub enum FaultKind {
        /// No connection could be made.
        Connect = "connect",
        /// No answer in time.
        Timeout = "timeout",
        /// The connection broke.
        Transport = "transport",
        /// The server answered with an error.
        Server = "server",
        /// The server, or a proxy in front of it, cannot answer now.
        Unavailable = "unavailable",
        /// The server does not offer this call.
        Unsupported = "unsupported",
        /// The answer does not match the request.
        Answer = "answer",
        /// The answer's content is not the expected one.
        Value = "value",
    }
}

impl FaultKind {
    /// The kind of an HTTP status that is not a success.
    fn of_status(status: u16) -> Self {
        match status {
            404 | 405 | 501 => FaultKind::Unsupported,
            429 | 502..=504 => FaultKind::Unavailable,
            _ => FaultKind::Server,
        }
    }

    /// Whether it may pass without intervention: a restart, a lost connection, an overload.
    pub fn may_pass(self) -> bool {
        match self {
            FaultKind::Connect
            | FaultKind::Timeout
            | FaultKind::Transport
            | FaultKind::Server
            | FaultKind::Unavailable => true,
            FaultKind::Unsupported | FaultKind::Answer | FaultKind::Value => false,
        }
    }
}

impl Fault {
    /// An error with its cause, which may be text from a server.
    pub fn new(kind: FaultKind, message: impl AsRef<str>) -> Self {
        Fault { kind, message: text::message(message.as_ref()) }
    }

    /// An error below the protocol, classified by its causes.
    pub fn of_transport(error: &(dyn Error + 'static)) -> Self {
        let mut messages: Vec<String> = Vec::new();
        let mut kind = FaultKind::Transport;
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(message) = words::of(error) {
                return Fault::new(kind, message);
            }
            if let Some(io) = error.downcast_ref::<io::Error>()
                && matches!(io.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable)
            {
                kind = FaultKind::Connect;
            }
            let message = error.to_string();
            if !messages.iter().any(|earlier| earlier.contains(&message)) {
                messages.push(message);
            }
            cause = error.source();
        }
        Fault::new(kind, messages.join(": "))
    }
}

/// The error for an answer that is too long to keep.
fn too_long() -> Fault {
    let most = ANSWER_BYTES_MAX / 1024 / 1024;
    Fault::new(FaultKind::Answer, format!("the answer is longer than {most} MiB, the most that is kept to be checked"))
}

impl Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}
