//! The messages of gRPC requests, read into memory that is counted and reused. tonic would read an inference
//! request's message into fresh memory, so it gets an empty one, with the real one beside it.

use std::convert::Infallible;
use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::embedded::REQUEST_BYTES_MAX;
use crate::embedded::front::buffers::Buffer;

const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";
/// Bytes before a message: the compression flag and the length.
const PREFIX: usize = 5;

/// A request's message, as an extension of the request.
#[derive(Clone, Debug)]
pub struct Message(pub Bytes);

/// A gRPC service whose inference requests carry a [`Message`].
#[derive(Clone, Debug)]
pub struct Messages<S>(pub S);

impl<S> Service<Request<Incoming>> for Messages<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let mut service = self.0.clone();
        Box::pin(async move {
            let request = if request.uri().path() == PATH {
                with_message(request).await
            } else {
                request.map(in_pieces)
            };
            service.call(request).await
        })
    }
}

async fn with_message(request: Request<Incoming>) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    let mut messages = Pieces { body, rest: Bytes::new(), ended: false };
    let first = messages.next().await;
    // data after the message is ignored, but read to its end
    while let Some(Ok(_)) = messages.body.frame().await {}
    let body = match first {
        Some(Ok(piece)) if whole(&piece) => {
            head.extensions.insert(Message(piece.slice(PREFIX..)));
            Body::new(Full::new(Bytes::from_static(&[0; PREFIX])))
        }
        // tonic finds the fault in the prefix, or in less data than the prefix says
        Some(Ok(piece)) => Body::new(Full::new(piece.slice(..piece.len().min(PREFIX + 1)))),
        Some(Err(status)) => Body::new(StreamBody::new(stream::once(ready(Err::<Frame<Bytes>, _>(status))))),
        None => Body::empty(),
    };
    Request::from_parts(head, body)
}

/// A body that passes on whole messages: tonic takes memory for one as soon as it is announced.
fn in_pieces(body: Incoming) -> Body {
    let pieces = Pieces { body, rest: Bytes::new(), ended: false };
    let pieces = stream::unfold(pieces, async |mut pieces| {
        let next = pieces.next().await?;
        Some((next.map(Frame::data), pieces))
    });
    Body::new(StreamBody::new(Box::pin(pieces).fuse()))
}

/// Messages with their prefixes, from a body that arrives in arbitrary parts.
struct Pieces {
    body: Incoming,
    /// The part of the next one that has arrived.
    rest: Bytes,
    ended: bool,
}

impl Pieces {
    /// The next message with its prefix. Anything but a message is passed on as received, for tonic to refuse.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        if self.ended {
            return None;
        }
        let mut prefix = Vec::with_capacity(PREFIX);
        while prefix.len() < PREFIX && self.more().await {
            prefix.extend_from_slice(&self.rest.split_to(self.rest.len().min(PREFIX - prefix.len())));
        }
        let length = match prefix[..] {
            [] => return None,
            [0, a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as usize,
            _ => REQUEST_BYTES_MAX + 1,
        };
        if length > REQUEST_BYTES_MAX {
            self.ended = true;
            return Some(Ok(prefix.into()));
        }
        let mut piece = Buffer::for_bytes(PREFIX + length);
        let mut added = piece.extend(&prefix);
        while added.is_ok() && piece.len() < PREFIX + length && self.more().await {
            let missing = PREFIX + length - piece.len();
            added = piece.extend(&self.rest.split_to(self.rest.len().min(missing)));
        }
        self.ended |= added.is_err();
        Some(added.map(|()| piece.freeze()).map_err(Status::from))
    }

    /// Waits for more in `rest`; false at the end of the body.
    async fn more(&mut self) -> bool {
        while self.rest.is_empty() {
            let Some(Ok(frame)) = self.body.frame().await else {
                self.ended = true;
                return false;
            };
            self.rest = frame.into_data().unwrap_or_default();
        }
        true
    }
}

/// Whether a piece is a message as long as its prefix says.
fn whole(piece: &[u8]) -> bool {
    match piece {
        [0, a, b, c, d, message @ ..] => u32::from_be_bytes([*a, *b, *c, *d]) as usize == message.len(),
        _ => false,
    }
}
