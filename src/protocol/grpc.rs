//! Inference over gRPC with raw tensor contents. The message is framed once and handed to h2 as it is, not through a codec,
//! whose buffer would copy it for every request, and in one go with its headers, so that a small request is one packet.
//! Must not know how requests are timed or counted.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use prost::Message;
use tokio::sync::Mutex;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::wire::{Probe, Wire};
use super::{Answer, Driver, Fault, FaultKind, OutputTensor, Payload, Reply, Request};
use crate::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use crate::proto::{InferTensorContents, ModelInferRequest, ModelInferResponse};

const INFER_PATH: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Compression flag and length in front of a message.
const FRAME_PREFIX: usize = 5;

/// Answers up to this size come without a pause for flow control; requests depend on the server's window.
const ANSWER_WINDOW: u32 = 16 * 1024 * 1024;

/// A channel of one connection, made when it is first used and again when it broke.
pub(super) fn channel(address: &str, connect_timeout: Duration) -> Result<Channel, Fault> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|cause| {
        Fault::new(FaultKind::Connect, format!("the gRPC address \"{address}\" is not host:port: {cause}"))
    })?;
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(ANSWER_WINDOW)
        .initial_connection_window_size(ANSWER_WINDOW)
        .connect_lazy())
}

/// One request in flight after the other, each a stream of a connection.
pub struct Grpc {
    connection: Rc<Connection>,
    head: http::Request<()>,
    framed: Bytes,
    probe: Rc<dyn Probe>,
}

/// A connection to one address, with as many streams as there are requests in flight.
pub struct Connection {
    address: String,
    probe: Rc<dyn Probe>,
    /// While there is one. Locked while it is made, so that those who share it wait for it.
    sender: Mutex<Option<SendRequest<Bytes>>>,
    /// Why the last one broke: where that is found while writing, h2 tells its streams of a broken pipe only.
    broken: Rc<RefCell<Option<Fault>>>,
}

impl Driver for Grpc {
    type Encoded = Bytes;
    type Connection = Rc<Connection>;

    fn encode(_address: &str, request: &Request) -> Result<Bytes, Fault> {
        let message = ModelInferRequest {
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
            raw_input_contents: request.inputs.iter().map(|input| input.bytes.clone()).collect(),
            ..Default::default()
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
        message.encode(&mut framed).map_err(|error| Fault::new(FaultKind::Server, error.to_string()))?;
        Ok(framed.freeze())
    }

    fn connection(address: &str, probe: Rc<dyn Probe>) -> Rc<Connection> {
        Rc::new(Connection { address: address.to_owned(), probe, sender: Mutex::default(), broken: Rc::default() })
    }

    fn new(connection: Rc<Connection>, framed: Bytes, probe: Rc<dyn Probe>) -> Self {
        let mut head = http::Request::new(());
        *head.method_mut() = http::Method::POST;
        *head.version_mut() = http::Version::HTTP_2;
        *head.uri_mut() = format!("http://{}{INFER_PATH}", connection.address).parse().unwrap_or_default();
        head.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Grpc { connection, head, framed, probe }
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

    async fn infer(&mut self) -> Result<Reply, Fault> {
        let mut total = 0;
        self.exchange(|data| total += data.len() as u64).await?;
        let bytes = total.checked_sub(FRAME_PREFIX as u64);
        bytes.map(|bytes| Reply { bytes }).ok_or_else(|| Fault::new(FaultKind::Answer, "the answer holds no message"))
    }

    async fn infer_whole(&mut self) -> Result<Answer, Fault> {
        let mut message = BytesMut::new();
        self.exchange(|data| message.extend_from_slice(&data)).await?;
        decode(message.freeze())
    }
}

impl Grpc {
    /// Sends the request and hands over the answer's data, piece by piece.
    async fn exchange(&mut self, mut sink: impl FnMut(Bytes)) -> Result<(), Fault> {
        let answered = async {
            let mut body = self.send().await?;
            while let Some(data) = body.data().await? {
                sink(data);
            }
            body.finish().await
        };
        let outcome: Result<(), Fault> = answered.await;
        outcome.map_err(|fault| match fault.kind {
            FaultKind::Transport => self.connection.broken.borrow().clone().unwrap_or(fault),
            _ => fault,
        })
    }

    async fn send(&mut self) -> Result<AnswerBody, Fault> {
        let mut sender = self.connection.sender().await?;
        let sent = sender.send_request(self.head.clone(), false).and_then(|(response, mut stream)| {
            // before the connection has its turn, so that headers and data leave together
            stream.send_data(self.framed.clone(), true).map(|()| response)
        });
        let response = match sent {
            Ok(response) => response.await,
            Err(error) => Err(error),
        };
        let response = response.map_err(|error| Fault::of_transport(&error))?;
        self.probe.answered();
        if !response.status().is_success() {
            return Err(Fault::new(FaultKind::Server, format!("HTTP/2 status {}", response.status().as_u16())));
        }
        let (head, body) = response.into_parts();
        // an answer without a body carries its status in the headers
        outcome_of(&head.headers).transpose()?;
        Ok(AnswerBody { body, headers: head.headers })
    }
}

impl Connection {
    /// A handle to what is open, or to a new one, once it may begin a stream.
    async fn sender(&self) -> Result<SendRequest<Bytes>, Fault> {
        let mut place = self.sender.lock().await;
        if let Some(open) = place.as_ref() {
            let mut sender = open.clone();
            if poll_fn(|context| sender.poll_ready(context)).await.is_ok() {
                return Ok(sender);
            }
        }
        *place = None;
        let wire = Wire::connect(&self.address, self.probe.clone()).await?;
        let handshake = h2::client::Builder::new()
            .enable_push(false)
            .initial_window_size(ANSWER_WINDOW)
            .initial_connection_window_size(ANSWER_WINDOW)
            .handshake(wire);
        let (mut sender, connection) = handshake.await.map_err(|error| Fault::of_transport(&error))?;
        self.broken.take();
        let broken = self.broken.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                broken.replace(Some(Fault::of_transport(&error)));
            }
        });
        poll_fn(|context| sender.poll_ready(context)).await.map_err(|error| Fault::of_transport(&error))?;
        *place = Some(sender.clone());
        Ok(sender)
    }
}

/// The data of an answer, then its status.
struct AnswerBody {
    body: RecvStream,
    headers: HeaderMap,
}

impl AnswerBody {
    async fn data(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(data) = self.body.data().await.transpose().map_err(|error| Fault::of_transport(&error))? else {
            return Ok(None);
        };
        // the window is only opened again by what was taken
        let released = self.body.flow_control().release_capacity(data.len());
        released.map_err(|error| Fault::of_transport(&error))?;
        Ok(Some(data))
    }

    async fn finish(mut self) -> Result<(), Fault> {
        let trailers = self.body.trailers().await.map_err(|error| Fault::of_transport(&error))?;
        outcome_of(trailers.as_ref().unwrap_or(&self.headers))
            .unwrap_or_else(|| Err(Fault::new(FaultKind::Transport, "the answer ended without a gRPC status")))
    }
}

/// What the status among some headers or trailers says; `None` if it is not there. That of a good answer is only compared:
/// to read it whole would copy all fields.
fn outcome_of(fields: &HeaderMap) -> Option<Result<(), Fault>> {
    if fields.get("grpc-status")?.as_bytes() == b"0" {
        return Some(Ok(()));
    }
    Status::from_header_map(fields).map(|status| Err(of_status(&status)))
}

/// A gRPC status that is not OK, in the words of the server.
pub(super) fn of_status(status: &Status) -> Fault {
    if let Some(cause) = std::error::Error::source(status) {
        let fault = Fault::of_transport(cause);
        return Fault { message: format!("gRPC {:?}: {}", status.code(), fault.message), ..fault };
    }
    let kind = match status.code() {
        Code::Unimplemented | Code::NotFound => FaultKind::Unsupported,
        Code::DeadlineExceeded => FaultKind::Timeout,
        _ => FaultKind::Server,
    };
    Fault::new(kind, format!("gRPC {:?}: {}", status.code(), status.message()))
}

fn decode(mut framed: Bytes) -> Result<Answer, Fault> {
    let bad = |message: String| Fault::new(FaultKind::Answer, message);
    if framed.len() < FRAME_PREFIX {
        return Err(bad("the answer holds no message".to_owned()));
    }
    if framed.get_u8() != 0 {
        return Err(bad("the answer is compressed, which was not asked for".to_owned()));
    }
    let length = framed.get_u32() as usize;
    if length != framed.len() {
        return Err(bad(format!("the answer should hold {length} bytes, it holds {}", framed.len())));
    }
    let message = ModelInferResponse::decode(framed)
        .map_err(|error| bad(format!("the answer's message cannot be read: {error}")))?;
    let mut raw = message.raw_output_contents.into_iter();
    let mut outputs = Vec::new();
    for output in message.outputs {
        let payload = match (&output.contents, raw.next()) {
            (_, Some(bytes)) => Payload::Raw(bytes),
            (Some(contents), None) => Payload::Elements(element_count(contents)),
            (None, None) => return Err(bad(format!("the output \"{}\" has no contents", output.name))),
        };
        outputs.push(OutputTensor { name: output.name, datatype: output.datatype, shape: output.shape, payload });
    }
    Ok(Answer { bytes: length as u64, outputs })
}

/// Only one of the typed lists is filled.
fn element_count(contents: &InferTensorContents) -> usize {
    [
        contents.bool_contents.len(),
        contents.int_contents.len(),
        contents.int64_contents.len(),
        contents.uint_contents.len(),
        contents.uint64_contents.len(),
        contents.fp32_contents.len(),
        contents.fp64_contents.len(),
        contents.bytes_contents.len(),
    ]
    .into_iter()
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::model_infer_response::InferOutputTensor;
    use crate::protocol::InputTensor;
    use crate::tensor::Datatype;

    #[test]
    fn a_request_is_one_frame_with_raw_contents() {
        let request = Request {
            model: "m".to_owned(),
            version: None,
            inputs: vec![InputTensor {
                name: "x".to_owned(),
                datatype: Datatype::Int16,
                shape: vec![2],
                bytes: Bytes::from_static(&[1, 0, 2, 0]),
            }],
            outputs: vec!["y".to_owned()],
        };
        let mut framed = Grpc::encode("", &request).unwrap();
        assert_eq!(framed.get_u8(), 0);
        assert_eq!(framed.get_u32() as usize, framed.len());
        let message = ModelInferRequest::decode(framed).unwrap();
        assert_eq!(message.raw_input_contents, [Bytes::from_static(&[1, 0, 2, 0])]);
        assert_eq!(message.outputs[0].name, "y");
    }

    fn frame(message: &ModelInferResponse) -> BytesMut {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(message.encoded_len() as u32);
        message.encode(&mut framed).unwrap();
        framed
    }

    #[test]
    fn raw_and_typed_answers_are_read_and_damage_is_said() {
        let output = InferOutputTensor { name: "y".to_owned(), shape: vec![2], ..Default::default() };
        let mut message = ModelInferResponse { outputs: vec![output.clone()], ..Default::default() };
        assert!(decode(frame(&message).freeze()).unwrap_err().message.contains("no contents"));
        message.raw_output_contents = vec![Bytes::from_static(b"1234")];
        assert!(
            matches!(&decode(frame(&message).freeze()).unwrap().outputs[0].payload, Payload::Raw(raw) if raw.len() == 4)
        );
        let contents = InferTensorContents { fp32_contents: vec![1.0, 2.0], ..Default::default() };
        message.raw_output_contents.clear();
        message.outputs = vec![InferOutputTensor { contents: Some(contents), ..output }];
        assert!(matches!(decode(frame(&message).freeze()).unwrap().outputs[0].payload, Payload::Elements(2)));

        let mut short = frame(&message);
        short.truncate(short.len() - 1);
        assert!(decode(short.freeze()).unwrap_err().message.contains("should hold"));
        let mut compressed = frame(&message);
        compressed[0] = 1;
        assert!(decode(compressed.freeze()).unwrap_err().message.contains("compressed"));
    }
}
