//! The message of a large gRPC request, read into memory that is used again. tonic would read it into fresh memory; so it
//! is given an empty message, and the real one beside it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tonic::body::Body;
use tower_service::Service;

use super::REQUEST_BYTES_MAX;
use super::buffers::Buffer;

const PATH: &str = "/inference.GRPCInferenceService/ModelInfer";
/// What is before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// The message of a request, as an extension of it.
#[derive(Clone, Debug)]
pub struct Message(pub Bytes);

/// A gRPC service whose requests to infer come with a [`Message`].
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
            let request =
                if request.uri().path() == PATH { with_message(request).await } else { request.map(Body::new) };
            service.call(request).await
        })
    }
}

async fn with_message(request: Request<Incoming>) -> Request<Body> {
    let (mut head, mut body) = request.into_parts();
    let mut prefix = Vec::with_capacity(PREFIX);
    let mut message: Option<(Buffer, usize)> = None;
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(mut data) = frame.into_data() else { continue };
        let missing = data.len().min(PREFIX - prefix.len());
        prefix.extend_from_slice(&data[..missing]);
        data.advance(missing);
        if message.is_none()
            && let [compressed, a, b, c, d] = prefix[..]
        {
            let length = u32::from_be_bytes([a, b, c, d]) as usize;
            if compressed != 0 || length > REQUEST_BYTES_MAX {
                break;
            }
            message = Some((Buffer::for_bytes(length), length));
        }
        if let Some((buffer, length)) = &mut message {
            buffer.extend(&data[..data.len().min(*length - buffer.len())]);
        }
    }
    // what is wrong with a request tonic finds in its prefix, or in that less follows than it says
    match message {
        Some((buffer, length)) if buffer.len() == length => {
            prefix = vec![0; PREFIX];
            head.extensions.insert(Message(buffer.freeze()));
        }
        Some((buffer, _)) => prefix.extend(buffer.as_ref().first()),
        None => {}
    }
    Request::from_parts(head, Body::new(Full::new(Bytes::from(prefix))))
}
