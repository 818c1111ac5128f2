//! Connections: accepting them, the limits of each, and sending answers as a loopback model asks: slowly, in part or
//! not at all.

use std::convert::Infallible;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;
use tower_service::Service;

use crate::embedded::execute::infer::Delivery;
use crate::embedded::lock;
use crate::embedded::observe::request_log::{PendingEntries, RequestTrace};

/// A client that does not finish its headers in this time is disconnected.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(30);
/// Time until the next try when no connection can be accepted.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// Bytes that a client may send ahead on one HTTP/2 connection, and in one frame. Large, so that a large request does
/// not wait for window updates; every request is read at once anyway.
const WINDOW: u32 = 64 << 20;
const FRAME: u32 = 1 << 20;
/// Concurrent requests on one HTTP/2 connection.
const STREAMS: u32 = 4096;
/// Pieces of a slow answer.
const PIECES: usize = 10;

/// The HTTP version of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge, as gRPC uses it.
    Http2,
}

/// Serves a port until the future is dropped; the owner of `connections` ends those that remain.
pub async fn serve<S, B>(listener: TcpListener, version: HttpVersion, service: S, connections: &mut JoinSet<()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // most likely too many are open: wait until some end
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let service = service.clone();
        connections.spawn(async move {
            // an error ends only its connection
            let _ = connection(stream, version, service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connection<S, B>(stream: TcpStream, version: HttpVersion, service: S) -> Result<(), hyper::Error>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let _ = stream.set_nodelay(true);
    let reset = Arc::new(AtomicBool::new(false));
    let (read, pending) = (Arc::new(Mutex::new(Instant::now())), Arc::new(PendingEntries::default()));
    let io = TokioIo::new(Socket { stream, reset: reset.clone(), read: read.clone(), pending: pending.clone() });
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let (arrived, pending) = (*lock(&read), pending.clone());
        request.extensions_mut().insert(RequestTrace { arrived, pending });
        let (mut service, reset) = (service.clone(), reset.clone());
        async move {
            let Ok(response) = service.call(request).await;
            Ok::<_, Infallible>(deliver(response, &reset).await)
        }
    });
    match version {
        HttpVersion::Http1 => {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADERS_TIMEOUT);
            http.serve_connection(io, answer).await
        }
        HttpVersion::Http2 => {
            let mut http = http2::Builder::new(TokioExecutor::new());
            http.timer(TokioTimer::new())
                .initial_connection_window_size(WINDOW)
                .initial_stream_window_size(WINDOW)
                .max_frame_size(FRAME)
                .max_concurrent_streams(STREAMS);
            http.serve_connection(io, answer).await
        }
    }
}

/// Sends an answer as its model asks; only a loopback model's is changed.
async fn deliver<B>(response: Response<B>, reset: &AtomicBool) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let delivery = response.extensions().get::<Delivery>().copied().unwrap_or(Delivery::Whole);
    let (head, body) = response.into_parts();
    let body = match delivery {
        Delivery::Whole => Body::new(body),
        Delivery::Slow(time) => {
            let (data, trailers) = collected(body).await;
            Body::new(StreamBody::new(slowly(data, trailers, time)))
        }
        Delivery::Truncated => {
            let (data, _) = collected(body).await;
            let half = data.slice(..data.len() / 2);
            let end = async {
                // lets hyper send the data first: when it sees the end, it drops unsent data
                yield_now().await;
                Err(io::Error::new(ErrorKind::ConnectionAborted, "the model was asked to break off"))
            };
            Body::new(StreamBody::new(stream::once(async { Ok(Frame::data(half)) }).chain(stream::once(end))))
        }
        Delivery::Reset => {
            reset.store(true, Ordering::Release);
            Body::empty()
        }
    };
    Response::from_parts(head, body)
}

/// Collects a whole answer.
async fn collected(body: impl http_body::Body<Data = Bytes>) -> (Bytes, Option<HeaderMap>) {
    match body.collect().await {
        Ok(whole) => {
            let trailers = whole.trailers().cloned();
            (whole.to_bytes(), trailers)
        }
        Err(_) => (Bytes::new(), None),
    }
}

fn slowly(
    data: Bytes,
    trailers: Option<HeaderMap>,
    time: Duration,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    let size = data.len().div_ceil(PIECES).max(1);
    let pieces = data.len().div_ceil(size);
    let pieces: Vec<_> = (0..pieces)
        .map(|piece| data.slice(piece * size..data.len().min((piece + 1) * size)))
        .collect();
    let pause = time / PIECES as u32;
    let pieces = stream::iter(pieces).then(move |piece| async move {
        sleep(pause).await;
        Ok(Frame::data(piece))
    });
    pieces.chain(stream::iter(trailers.map(|trailers| Ok(Frame::trailers(trailers)))))
}

/// A stream that can be made to end in a reset, and that records when requests arrive and answers leave.
struct Socket {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
    /// When bytes were read last.
    read: Arc<Mutex<Instant>>,
    pending: Arc<PendingEntries>,
}

impl Socket {
    fn alive(&self) -> io::Result<()> {
        if self.reset.load(Ordering::Acquire) {
            // closed without lingering, it ends with RST instead of FIN
            let _ = self.stream.set_zero_linger();
            return Err(ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.alive()?;
        let socket = self.get_mut();
        ready!(Pin::new(&mut socket.stream).poll_read(context, buffer))?;
        *lock(&socket.read) = Instant::now();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.alive()?;
        let socket = self.get_mut();
        let written = ready!(Pin::new(&mut socket.stream).poll_write(context, bytes))?;
        socket.pending.sent();
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.alive()?;
        let socket = self.get_mut();
        let written = ready!(Pin::new(&mut socket.stream).poll_write_vectored(context, slices))?;
        socket.pending.sent();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
