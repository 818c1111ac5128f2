//! One gRPC call at a time over a connection, for the control plane: bounded in time and size. The connection is made
//! by the same code as the timed path's, and only polled during a call. Must not know which calls exist.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use prost::Message;
use tokio::time::timeout;

use crate::address::Address;
use crate::protocol::control::bounded::{TOLD_BYTES_MAX, too_large, too_late};
use crate::protocol::headers::Destination;
use crate::protocol::infer::grpc_head::{SERVICE, end_outcome, head_outcome, request_head};
use crate::protocol::message::{FRAME_PREFIX, unframed};
use crate::protocol::stream::NullObserver;
use crate::protocol::tls::{Spoken, Stream};
use crate::protocol::{Fault, FaultKind, words};

/// How long to wait for a broken connection to report the cause.
const CAUSE_TIMEOUT: Duration = Duration::from_millis(100);
/// Largest fields of an answer's head or trailers.
const FIELDS_BYTES_MAX: u32 = 64 * 1024;

/// Calls to one address, over a connection that is made when needed and again after every error.
pub(in crate::protocol) struct Unary {
    address: Address,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Bytes>,
    /// Drives the connection; ends with it.
    connection: Pin<Box<dyn Future<Output = Result<(), h2::Error>>>>,
}

impl Open {
    /// Why the connection broke: if h2 notices it while writing, it reports only a broken pipe to its streams.
    async fn cause(self) -> Option<Fault> {
        let ended = timeout(CAUSE_TIMEOUT, self.connection).await.ok()?;
        ended.err().map(|error| Fault::of_transport(&error))
    }
}

impl Unary {
    /// For `host:port`; connects later.
    pub(in crate::protocol) fn new(address: &Address) -> Self {
        Unary { address: address.clone(), open: None }
    }

    /// Makes a call of the service.
    ///
    /// # Errors
    /// No good answer within the limit; the next call then makes a new connection.
    pub(in crate::protocol) async fn call<A: Message + Default>(
        &mut self,
        method: &str,
        question: &impl Message,
        limit: Duration,
    ) -> Result<A, Fault> {
        let mut framed = BytesMut::with_capacity(FRAME_PREFIX + question.encoded_len());
        framed.put_u8(0);
        framed.put_u32(question.encoded_len() as u32);
        question
            .encode(&mut framed)
            .map_err(|error| Fault::new(FaultKind::Server, error.to_string()))?;
        let framed = framed.freeze();
        let exchange = async {
            // an idle connection may be closed by now, which is no error of the server
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

    /// The server's message or refusal, over a connection that is kept if all is well; `Err` if the connection broke.
    async fn over(&mut self, mut open: Open, method: &str, framed: Bytes) -> Result<Result<Bytes, Fault>, Fault> {
        let exchange = exchange(open.sender.clone(), &self.address, method, framed);
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
            Err(fault) if fault.kind == FaultKind::Transport => Err(open.cause().await.unwrap_or(fault)),
            Err(fault) => Ok(Err(fault)),
        }
    }
}

async fn connect(address: &Address) -> Result<Open, Fault> {
    let stream = Stream::connect(address, Spoken::Http2, Rc::new(NullObserver)).await?;
    let handshake = h2::client::Builder::new()
        .enable_push(false)
        .max_header_list_size(FIELDS_BYTES_MAX)
        .handshake(stream);
    let (sender, connection) = handshake.await.map_err(|error| Fault::of_transport(&error))?;
    Ok(Open { sender, connection: Box::pin(connection) })
}

/// Sends a framed message and waits for the whole answer.
async fn exchange(
    mut sender: SendRequest<Bytes>,
    address: &Address,
    method: &str,
    framed: Bytes,
) -> Result<Bytes, Fault> {
    let broken = |error: h2::Error| Fault::of_transport(&error);
    let head = request_head(&Destination::new(address)?, &format!("{SERVICE}{method}"))?;
    poll_fn(|context| sender.poll_ready(context)).await.map_err(broken)?;
    let (response, mut stream) = sender.send_request(head, false).map_err(broken)?;
    stream.send_data(framed, true).map_err(broken)?;
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if let Err(fault) = head_outcome(head.status, &head.headers) {
        // the page of a proxy says more than its status; one that does not come is none
        let page = body.data().await.and_then(Result::ok).unwrap_or_default();
        let words = words::of_tls_page(head.status, &page);
        return Err(words.map_or(fault, |words| Fault::new(FaultKind::Connect, words)));
    }
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await.transpose().map_err(broken)? {
        if received.len() + data.len() > FRAME_PREFIX + TOLD_BYTES_MAX {
            return Err(too_large(method, TOLD_BYTES_MAX));
        }
        body.flow_control().release_capacity(data.len()).map_err(broken)?;
        received.extend_from_slice(&data);
    }
    end_outcome(&body.trailers().await.map_err(broken)?.unwrap_or(head.headers))?;
    unframed(received.freeze())
}

fn bad(message: String) -> Fault {
    Fault::new(FaultKind::Answer, message)
}
