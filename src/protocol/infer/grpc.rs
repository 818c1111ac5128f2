//! Inference over gRPC with raw tensor contents. The message is framed once and handed to h2 as it is, since a
//! codec's buffer would copy it for every request. It goes out together with its headers, so that a small request is
//! one packet. Must not know how requests are timed or counted.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::HeaderMap;
use prost::Message;
use tokio::sync::Mutex;

use crate::proto::infer_parameter::ParameterChoice;
use crate::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::proto::{InferParameter, ModelInferRequest};
use crate::protocol::headers::Destination;
use crate::protocol::infer::grpc_head::{SERVICE, end_outcome, head_outcome, request_head};
use crate::protocol::message::{self, Announced, FRAME_PREFIX, Pattern};
use crate::protocol::stream::IoObserver;
use crate::protocol::tls::{Spoken, Stream};
use crate::protocol::{ANSWER_BYTES_MAX, Answer, Fault, FaultKind, InferClient, Reply, Request, too_long};
use crate::tensor::Parameter;

/// How often a request that the server did not process is repeated.
const SENT_AGAIN_MAX: u32 = 3;

/// Answers up to this size arrive without a pause for flow control; requests depend on the server's window.
const ANSWER_WINDOW: u32 = 16 * 1024 * 1024;

/// Sends one request at a time, each in its own stream of a connection.
pub struct Grpc {
    connection: Rc<Connection>,
    head: http::Request<()>,
    framed: Bytes,
    observer: Rc<dyn IoObserver>,
    pattern: Option<Rc<Pattern>>,
    /// The number of the connection of the last request.
    used: u64,
}

/// A connection to one address, with one stream per request in flight.
pub struct Connection {
    to: Destination,
    observer: Rc<dyn IoObserver>,
    /// The open connection, if any. Locked while connecting, so that everyone who shares it waits.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Number of connections made.
    made: Cell<u64>,
    /// The number of a connection on which a request timed out. It may be dead, so the next request opens another;
    /// requests pending on it continue.
    retired: Cell<u64>,
    /// Why the last connection broke: if h2 notices it while writing, it reports only a broken pipe to its streams.
    broken: Rc<RefCell<Option<Fault>>>,
}

impl InferClient for Grpc {
    type Encoded = Bytes;
    type Connection = Rc<Connection>;
    type Unread = Vec<Bytes>;
    type Pattern = Pattern;

    fn encode(_to: &Destination, request: &Request) -> Result<Bytes, Fault> {
        let message = ModelInferRequest {
            id: request.id.clone().unwrap_or_default(),
            model_name: request.model.clone(),
            model_version: request.version.clone().unwrap_or_default(),
            inputs: request
                .inputs
                .iter()
                .map(|input| InferInputTensor {
                    name: input.name.clone(),
                    datatype: input.datatype.name().to_owned(),
                    shape: input.shape.iter().map(|dimension| *dimension as i64).collect(),
                    ..Default::default()
                })
                .collect(),
            outputs: request
                .outputs
                .iter()
                .map(|name| InferRequestedOutputTensor { name: name.clone(), ..Default::default() })
                .collect(),
            parameters: request
                .parameters
                .iter()
                .map(|(name, value)| (name.clone(), parameter(value)))
                .collect(),
            raw_input_contents: request.inputs.iter().map(|input| input.bytes.clone()).collect(),
        };
        let length = message.encoded_len();
        let framed_length =
            u32::try_from(length).ok().filter(|length| *length <= i32::MAX as u32).ok_or_else(|| {
                Fault::new(
                    FaultKind::Server,
                    format!("the request holds {length} bytes, more than a protobuf message may"),
                )
            })?;
        let mut framed = BytesMut::with_capacity(FRAME_PREFIX + length);
        framed.put_u8(0);
        framed.put_u32(framed_length);
        message
            .encode(&mut framed)
            .map_err(|error| Fault::new(FaultKind::Server, error.to_string()))?;
        Ok(framed.freeze())
    }

    fn encoded_bytes(encoded: &Bytes) -> u64 {
        encoded.len() as u64
    }

    fn connection(to: &Destination, observer: Rc<dyn IoObserver>) -> Rc<Connection> {
        Rc::new(Connection {
            to: to.clone(),
            observer,
            sender: Mutex::default(),
            made: Cell::new(0),
            retired: Cell::new(0),
            broken: Rc::default(),
        })
    }

    fn new(connection: Rc<Connection>, framed: Bytes, observer: Rc<dyn IoObserver>) -> Self {
        // reading the scenario already rejected addresses that cannot be part of a URI
        let head = request_head(&connection.to, &format!("{SERVICE}ModelInfer")).unwrap_or_default();
        Grpc { connection, head, framed, observer, pattern: None, used: 0 }
    }

    fn replace(&mut self, framed: Bytes) {
        self.framed = framed;
    }

    fn body_bytes(&self) -> u64 {
        self.framed.len() as u64
    }

    async fn connect(&mut self) -> Result<(), Fault> {
        self.connection.sender().await.map(drop)
    }

    async fn infer(&mut self) -> Result<Reply<Vec<Bytes>>, Fault> {
        let pattern = self.pattern.clone();
        let mut comparison = pattern.as_ref().map(|pattern| pattern.compare());
        let (mut chunks, mut kept, mut announced) = (Vec::new(), 0, Announced::default());
        let exchanged = self.exchange(|data| {
            // a length beyond the limit is not waited for
            if announced.feed(&data) > ANSWER_BYTES_MAX {
                return Err(too_long());
            }
            if let Some(comparison) = &mut comparison {
                comparison.feed(&data);
                if comparison.described_alike() {
                    chunks.clear();
                    return Ok(());
                }
            }
            kept += data.len();
            chunks.push(data);
            if kept > ANSWER_BYTES_MAX { Err(too_long()) } else { Ok(()) }
        });
        exchanged.await?;
        match comparison {
            Some(comparison) if comparison.is_same() => Ok(Reply::Same),
            // the start of the contents was not kept
            Some(comparison) if comparison.sizes_differ() => Err(message::other_sizes()),
            _ => Ok(Reply::Unread(chunks)),
        }
    }

    fn follow(&mut self, pattern: Option<Rc<Pattern>>) {
        self.pattern = pattern;
    }

    fn timed_out(&mut self) {
        let retired = &self.connection.retired;
        retired.set(retired.get().max(self.used));
    }

    fn pattern(unread: &Vec<Bytes>) -> Option<Pattern> {
        Pattern::of(&message::joined(unread.clone()))
    }

    fn read(unread: Vec<Bytes>) -> Result<Answer, Fault> {
        message::read(message::joined(unread))
    }
}

impl Grpc {
    /// Sends the request and passes on the answer's data, piece by piece. Repeats a request that the server reports
    /// as not processed: on a connection that is about to close, that is only a matter of timing.
    async fn exchange(&mut self, mut sink: impl FnMut(Bytes) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut sent_again = 0;
        let mut body = loop {
            match self.send().await {
                Err(SendError::NotProcessed(_)) if sent_again < SENT_AGAIN_MAX => sent_again += 1,
                Err(SendError::NotProcessed(fault) | SendError::Fault(fault)) => return Err(self.with_cause(fault)),
                Ok(body) => break body,
            }
        };
        let answered = async {
            while let Some(data) = body.data().await? {
                self.observer.read_of_body(data.len());
                sink(data)?;
            }
            body.finish().await
        };
        let outcome: Result<(), Fault> = answered.await;
        outcome.map_err(|fault| self.with_cause(fault))
    }

    fn with_cause(&self, fault: Fault) -> Fault {
        match fault.kind {
            FaultKind::Transport => self.connection.broken.borrow().clone().unwrap_or(fault),
            _ => fault,
        }
    }

    async fn send(&mut self) -> Result<AnswerBody, SendError> {
        let mut sender = self.connection.sender().await?;
        self.used = self.connection.made.get();
        let sent = sender.send_request(self.head.clone(), false).and_then(|(response, mut stream)| {
            // before the connection is polled, so that headers and data leave together
            stream.send_data(self.framed.clone(), true).map(|()| response)
        });
        let response = match sent {
            Ok(response) => response.await,
            Err(error) => Err(error),
        };
        let response = response.map_err(|error| SendError::of(&error))?;
        self.observer.answered();
        let (head, body) = response.into_parts();
        head_outcome(head.status, &head.headers)?;
        Ok(AnswerBody { body, headers: head.headers })
    }
}

/// The reason why a request got no answer head.
enum SendError {
    /// The server did not process it.
    NotProcessed(Fault),
    Fault(Fault),
}

impl From<Fault> for SendError {
    fn from(fault: Fault) -> Self {
        SendError::Fault(fault)
    }
}

impl SendError {
    fn of(error: &h2::Error) -> Self {
        let fault = Fault::of_transport(error);
        let graceful = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
        let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if error.is_remote() && (graceful || refused) {
            SendError::NotProcessed(fault)
        } else {
            SendError::Fault(fault)
        }
    }
}

impl Connection {
    /// A handle to the open connection, or to a new one, once it can open a stream.
    async fn sender(&self) -> Result<SendRequest<Bytes>, Fault> {
        let mut place = self.sender.lock().await;
        if self.retired.get() == self.made.get() {
            *place = None;
        }
        if let Some(open) = place.as_ref() {
            let mut sender = open.clone();
            if poll_fn(|context| sender.poll_ready(context)).await.is_ok() {
                return Ok(sender);
            }
        }
        *place = None;
        let stream = Stream::connect(&self.to.address, Spoken::Http2, self.observer.clone()).await?;
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(ANSWER_WINDOW)
            .initial_connection_window_size(ANSWER_WINDOW)
            .handshake(stream);
        let (mut sender, connection) = handshake.await.map_err(|error| Fault::of_transport(&error))?;
        self.broken.take();
        self.made.set(self.made.get() + 1);
        let broken = self.broken.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                broken.replace(Some(Fault::of_transport(&error)));
            }
        });
        poll_fn(|context| sender.poll_ready(context))
            .await
            .map_err(|error| Fault::of_transport(&error))?;
        *place = Some(sender.clone());
        Ok(sender)
    }
}

/// An answer's data, followed by its status.
struct AnswerBody {
    body: RecvStream,
    headers: HeaderMap,
}

impl AnswerBody {
    async fn data(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(data) = self.body.data().await.transpose().map_err(|error| Fault::of_transport(&error))? else {
            return Ok(None);
        };
        // only data that was taken reopens the window
        let released = self.body.flow_control().release_capacity(data.len());
        released.map_err(|error| Fault::of_transport(&error))?;
        Ok(Some(data))
    }

    async fn finish(mut self) -> Result<(), Fault> {
        let trailers = self.body.trailers().await.map_err(|error| Fault::of_transport(&error))?;
        end_outcome(trailers.as_ref().unwrap_or(&self.headers))
    }
}

fn parameter(value: &Parameter) -> InferParameter {
    let choice = match value {
        Parameter::Flag(flag) => ParameterChoice::BoolParam(*flag),
        Parameter::Whole(whole) => ParameterChoice::Int64Param(*whole),
        Parameter::Number(number) => ParameterChoice::DoubleParam(*number),
        Parameter::Text(text) => ParameterChoice::StringParam(text.clone()),
    };
    InferParameter { parameter_choice: Some(choice) }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;
    use crate::address::Address;
    use crate::protocol::InputTensor;
    use crate::tensor::{Datatype, Parameters, Tensors};

    #[test]
    fn a_request_is_one_frame_with_raw_contents() {
        let request = Request {
            model: "m".to_owned(),
            version: None,
            id: Some("7".to_owned()),
            inputs: vec![InputTensor {
                name: "x".to_owned(),
                datatype: Datatype::Int16,
                shape: vec![2],
                bytes: Bytes::from_static(&[1, 0, 2, 0]),
            }],
            outputs: vec!["y".to_owned()],
            tensors: Tensors::Binary,
            parameters: Parameters::from([
                ("flag".to_owned(), Parameter::Flag(true)),
                ("priority".to_owned(), Parameter::Whole(2)),
                ("share".to_owned(), Parameter::Number(0.5)),
                ("user".to_owned(), Parameter::Text("a b".to_owned())),
            ]),
        };
        let to = Destination { address: Address::parse("a:1").unwrap(), headers: http::HeaderMap::new() };
        let mut framed = Grpc::encode(&to, &request).unwrap();
        assert_eq!(framed.get_u8(), 0);
        assert_eq!(framed.get_u32() as usize, framed.len());
        let message = ModelInferRequest::decode(framed).unwrap();
        assert_eq!(message.raw_input_contents, [Bytes::from_static(&[1, 0, 2, 0])]);
        assert_eq!((&message.outputs[0].name[..], &message.id[..]), ("y", "7"));
        let of = |name: &str| message.parameters[name].parameter_choice.clone().unwrap();
        assert_eq!((of("flag"), of("priority")), (ParameterChoice::BoolParam(true), ParameterChoice::Int64Param(2)));
        assert_eq!(of("share"), ParameterChoice::DoubleParam(0.5));
        assert_eq!(of("user"), ParameterChoice::StringParam("a b".to_owned()));
    }
}
