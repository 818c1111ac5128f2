//! How one inference request travels: the seam between the timed loop and the wire. Knows tensors and protobuf
//! messages; must not know recorders, records, reports or workers, and never reads the clock.

pub mod control;
pub mod infer;
mod json;
mod message;
pub mod stream;
pub mod verify;
mod words;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::spelling::spelled;
use crate::tensor::{Datatype, Tensors};
use crate::text;
use stream::IoObserver;

/// How long a connection may take to be made; the same for both protocols.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answer that is kept to be read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;

/// One request in flight after the other, over a connection.
pub trait InferClient: Sized {
    /// The request as it goes over the wire; cloning clones handles, not bytes.
    type Encoded: Clone;
    /// A handle to a connection, which is made when it is first used and again when it broke.
    type Connection: Clone;
    /// What is kept of an answer until it is read.
    type Unread;
    /// Those bytes of the verified answer that every good answer of the same size and shapes shares.
    type Pattern;

    /// Encodes a request.
    ///
    /// # Errors
    /// The request cannot be expressed in the protocol.
    fn encode(address: &str, request: &Request) -> Result<Self::Encoded, Fault>;

    /// A new connection; `observer` hears what goes over it.
    fn connection(address: &Address, observer: Rc<dyn IoObserver>) -> Self::Connection;

    /// Requests over a connection, which others share where the protocol has streams; `observer` hears of its answers.
    fn new(connection: Self::Connection, encoded: Self::Encoded, observer: Rc<dyn IoObserver>) -> Self;

    /// Takes another request in the place of the present one.
    fn replace(&mut self, encoded: Self::Encoded);

    /// Bytes of the request's body.
    fn body_bytes(&self) -> u64;

    /// Makes the connection, if there is none.
    fn connect(&mut self) -> impl Future<Output = Result<(), Fault>>;

    /// Sends the request and waits for the whole answer. The timed path: an answer that follows the pattern is dropped.
    fn infer(&mut self) -> impl Future<Output = Result<Reply<Self::Unread>, Fault>>;

    /// Compares the answers to come with the verified one instead of keeping them whole.
    fn follow(&mut self, pattern: Rc<Self::Pattern>);

    /// The request under way took too long and was dropped; the next one must not wait for the same connection.
    fn timed_out(&mut self);

    /// The pattern of an answer.
    fn pattern(unread: &Self::Unread) -> Option<Self::Pattern>;

    /// Reads what was kept of an answer. Not for the timed path.
    ///
    /// # Errors
    /// It is no answer of the protocol, of kind `Answer`.
    fn read(unread: Self::Unread) -> Result<Answer, Fault>;
}

/// An answer to a timed request.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply<U> {
    /// Names, types, shapes and sizes are those of the verified answer, byte for byte.
    Same,
    /// Something differs: it has to be read, once the clock is stopped.
    Unread(U),
}

/// An inference request in the protocol's terms.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the model.
    pub model: String,
    /// Version of the model; `None` leaves it to the server.
    pub version: Option<String>,
    /// Input tensors.
    pub inputs: Vec<InputTensor>,
    /// Names of the outputs wanted back.
    pub outputs: Vec<String>,
    /// How tensors travel over HTTP.
    pub tensors: Tensors,
}

/// An input tensor with its bytes: little-endian, row-major, BYTES elements with their lengths.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct InputTensor {
    pub name: String,
    pub datatype: Datatype,
    /// With the batch dimension.
    pub shape: Vec<u64>,
    pub bytes: Bytes,
}

/// An answer that was read.
#[derive(Debug)]
pub struct Answer {
    /// Output tensors in the server's order.
    pub outputs: Vec<OutputTensor>,
}

/// An output tensor of an answer.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct OutputTensor {
    pub name: String,
    /// The server's spelling.
    pub datatype: String,
    pub shape: Vec<i64>,
    pub payload: Payload,
}

/// The elements of an output tensor.
#[derive(Debug)]
pub enum Payload {
    /// Raw bytes, as asked for.
    Raw(Bytes),
    /// The number of raw bytes, which were not kept.
    Size(usize),
    /// The number of elements of a server that answered in JSON or typed contents.
    Elements(usize),
}

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What sort of thing went wrong.
    pub kind: FaultKind,
    /// The cause in words: one line, bounded, fit to be shown.
    pub message: String,
}

spelled! {
    /// The kinds of faults that are counted apart.
    pub enum FaultKind {
        /// No connection could be made.
        Connect = "connect",
        /// No answer in time.
        Timeout = "timeout",
        /// The connection broke.
        Transport = "transport",
        /// The server answered with an error.
        Server = "server",
        /// The server, or a proxy before it, cannot answer now.
        Unavailable = "unavailable",
        /// The server does not offer this call.
        Unsupported = "unsupported",
        /// The answer is not what was asked for.
        Answer = "answer",
    }
}

impl FaultKind {
    /// That of an HTTP status that is not a success.
    fn of_status(status: u16) -> Self {
        match status {
            404 | 405 | 501 => FaultKind::Unsupported,
            429 | 502..=504 => FaultKind::Unavailable,
            _ => FaultKind::Server,
        }
    }

    /// Whether it may be over by itself: a restart, a lost connection, an overload.
    pub fn may_pass(self) -> bool {
        match self {
            FaultKind::Connect
            | FaultKind::Timeout
            | FaultKind::Transport
            | FaultKind::Server
            | FaultKind::Unavailable => true,
            FaultKind::Unsupported | FaultKind::Answer => false,
        }
    }
}

impl Fault {
    /// A fault with its cause in words, which may be a server's.
    pub fn new(kind: FaultKind, message: impl AsRef<str>) -> Self {
        Fault { kind, message: text::message(message.as_ref()) }
    }

    /// A fault below the protocol, told apart by its causes.
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

/// An answer that is not kept.
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
