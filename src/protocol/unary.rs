//! One gRPC call after the other over a connection, for the control plane: bounded in time and size. The connection is
//! made where the timed path makes its own, and only driven while a call is under way. Must not know which calls there are.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use prost::Message;
use tokio::time::timeout;
use tonic::{Code, Status};

use super::control::{TOLD_BYTES_MAX, too_large, too_late};
use super::wire::{Probe, Wire};
use super::{Address, Fault, FaultKind, words};

const SERVICE: &str = "/inference.GRPCInferenceService/";

/// Compression flag and length in front of a message.
const FRAME_PREFIX: usize = 5;

/// Largest fields of an answer's head or trailers.
const FIELDS_BYTES_MAX: u32 = 64 * 1024;

/// Calls to one address, over a connection that is made when it is needed and again after every fault.
pub(super) struct Unary {
    address: Address,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Bytes>,
    /// Drives what goes over it; ends with it.
    connection: Pin<Box<dyn Future<Output = Result<(), h2::Error>>>>,
}

/// Nobody times the control plane.
struct Unheard;

impl Probe for Unheard {
    fn connected(&self) {}
    fn wrote(&self, _: usize) {}
    fn read(&self, _: usize) {}
    fn answered(&self) {}
}

impl Unary {
    /// To `host:port`; nothing is connected yet.
    pub(super) fn new(address: &Address) -> Self {
        Unary { address: address.clone(), open: None }
    }

    /// The answer to a call of the service.
    ///
    /// # Errors
    /// No answer within the limit, or not a good one; the next call then makes a connection again.
    pub(super) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        question: &impl Message,
        limit: Duration,
    ) -> Result<A, Fault> {
        let mut framed = BytesMut::with_capacity(FRAME_PREFIX + question.encoded_len());
        framed.put_u8(0);
        framed.put_u32(question.encoded_len() as u32);
        question.encode(&mut framed).map_err(|error| Fault::new(FaultKind::Server, error.to_string()))?;
        let framed = framed.freeze();
        let exchange = async {
            // a connection that lay still may be closed by now, which is no fault of the server
            if let Some(open) = self.open.take()
                && let Ok(answer) = self.over(open, method, framed.clone()).await
            {
                return answer;
            }
            let open = connect(&self.address).await?;
            self.over(open, method, framed).await.unwrap_or_else(Err)
        };
        let message = timeout(limit, exchange).await.map_err(|_| too_late(limit))??;
        A::decode(message).map_err(|error| bad(format!("the server's answer cannot be read: {error}")))
    }

    /// The server's message or refusal, over a connection that is kept if all is well; `Err` where the connection broke.
    async fn over(&mut self, mut open: Open, method: &str, framed: Bytes) -> Result<Result<Bytes, Fault>, Fault> {
        let exchange = exchange(open.sender.clone(), &self.address.authority, method, framed);
        let answer = {
            tokio::pin!(exchange);
            tokio::select! {
                biased;
                answer = &mut exchange => answer,
                ended = &mut open.connection => match ended {
                    Ok(()) => exchange.await,
                    Err(error) => Err(Fault::of_transport(&error)),
                },
            }
        };
        match answer {
            Ok(message) => {
                self.open = Some(open);
                Ok(Ok(message))
            }
            Err(fault) if fault.kind == FaultKind::Transport => Err(fault),
            Err(fault) => Ok(Err(fault)),
        }
    }
}

async fn connect(address: &Address) -> Result<Open, Fault> {
    let wire = Wire::connect(address, Rc::new(Unheard)).await?;
    let handshake =
        h2::client::Builder::new().enable_push(false).max_header_list_size(FIELDS_BYTES_MAX).handshake(wire);
    let (sender, connection) = handshake.await.map_err(|error| Fault::of_transport(&error))?;
    Ok(Open { sender, connection: Box::pin(connection) })
}

/// Sends a framed message and waits for the whole answer.
async fn exchange(mut sender: SendRequest<Bytes>, address: &str, method: &str, framed: Bytes) -> Result<Bytes, Fault> {
    let broken = |error: h2::Error| Fault::of_transport(&error);
    let mut head = http::Request::new(());
    *head.method_mut() = http::Method::POST;
    *head.version_mut() = http::Version::HTTP_2;
    *head.uri_mut() = format!("http://{address}{SERVICE}{method}").parse().map_err(|cause| {
        Fault::new(FaultKind::Connect, format!("the address \"{address}\" is not host:port: {cause}"))
    })?;
    head.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    poll_fn(|context| sender.poll_ready(context)).await.map_err(broken)?;
    let (response, mut stream) = sender.send_request(head, false).map_err(broken)?;
    stream.send_data(framed, true).map_err(broken)?;
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if let Some(fault) = no_grpc(head.status, &head.headers) {
        return Err(fault);
    }
    // an answer without a body carries its status in the headers
    refused(&head.headers)?;
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await.transpose().map_err(broken)? {
        if received.len() + data.len() > FRAME_PREFIX + TOLD_BYTES_MAX {
            return Err(too_large(method));
        }
        body.flow_control().release_capacity(data.len()).map_err(broken)?;
        received.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.map_err(broken)?.unwrap_or(head.headers);
    refused(&trailers)?;
    if !trailers.contains_key("grpc-status") {
        return Err(Fault::new(FaultKind::Transport, "the answer ended without a gRPC status"));
    }
    message(received.freeze())
}

/// Takes an answer out of its frame.
fn message(mut framed: Bytes) -> Result<Bytes, Fault> {
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
    Ok(framed)
}

/// What a proxy or a web server says that speaks HTTP/2 but no gRPC.
fn no_grpc(status: http::StatusCode, fields: &HeaderMap) -> Option<Fault> {
    let kind = fields.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
    let in_grpc = kind.is_some_and(|kind| kind.starts_with("application/grpc")) || fields.contains_key("grpc-status");
    if status.is_success() && in_grpc {
        return None;
    }
    Some(Fault::new(FaultKind::of_status(status.as_u16()), words::of_page(status, kind)))
}

/// A status that is not OK, in the words of the server.
fn refused(fields: &HeaderMap) -> Result<(), Fault> {
    let Some(status) = Status::from_header_map(fields) else { return Ok(()) };
    let kind = match status.code() {
        Code::Ok => return Ok(()),
        Code::Unimplemented => FaultKind::Unsupported,
        _ => FaultKind::Server,
    };
    Err(Fault::new(kind, format!("gRPC {:?}: {}", status.code(), status.message())))
}

fn bad(message: String) -> Fault {
    Fault::new(FaultKind::Answer, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_taken_apart_and_damage_is_said() {
        assert_eq!(message(Bytes::from_static(b"\0\0\0\0\x02ab")).unwrap(), "ab");
        for (framed, words) in [
            (&b"\0\0"[..], "no message"),
            (b"\x01\0\0\0\x02ab", "compressed"),
            (b"\0\0\0\0\x03ab", "should hold 3 bytes"),
        ] {
            assert!(message(Bytes::from_static(framed)).unwrap_err().message.contains(words), "{words}");
        }
    }

    #[test]
    fn a_page_is_no_answer_in_grpc() {
        let fields = |kind: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let page = no_grpc(http::StatusCode::BAD_GATEWAY, &fields("text/html")).unwrap();
        assert!(page.kind == FaultKind::Unavailable && page.message.starts_with("HTTP 502 with text/html"), "{page}");
        assert_eq!(no_grpc(http::StatusCode::NOT_FOUND, &fields("text/html")).unwrap().kind, FaultKind::Unsupported);
        assert!(no_grpc(http::StatusCode::OK, &fields("text/html")).is_some());
        assert!(no_grpc(http::StatusCode::OK, &fields("application/grpc+proto")).is_none());
    }
}
