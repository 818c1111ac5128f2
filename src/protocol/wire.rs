//! A TCP connection that tells a probe what goes over it, so that both protocols are stamped and counted at the same
//! place: where bytes are handed to the system and where they come back. Never reads the clock itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{CONNECT_TIMEOUT, Fault, FaultKind};

/// As much as leaves at once over the loopback: one segment.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES: u32 = 64 * 1024;

/// Hears of bytes on one connection, and of the answer to a request.
pub trait Probe {
    /// A connection was made.
    fn connected(&self);
    /// So many bytes were handed to the system.
    fn wrote(&self, bytes: usize);
    /// So many bytes came from the system.
    fn read(&self, bytes: usize);
    /// The head of an answer is there.
    fn answered(&self);
}

/// A connection under a probe.
pub(super) struct Wire {
    stream: TcpStream,
    probe: Rc<dyn Probe>,
}

impl Wire {
    /// Connects to `host:port`, without Nagle's delay and, on this machine, without a long queue.
    pub(super) async fn connect(address: &str, probe: Rc<dyn Probe>) -> Result<Wire, Fault> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let failed = |cause: &str| Fault::new(FaultKind::Connect, format!("no connection to {address}: {cause}"));
        let stream = match connected {
            Ok(connected) => connected.map_err(|error| failed(&error.to_string()))?,
            Err(_) => return Err(failed(&format!("not made within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        stream.set_nodelay(true).map_err(|error| failed(&error.to_string()))?;
        keep_queue_short(&stream);
        probe.connected();
        Ok(Wire { stream, probe })
    }

    /// Whether it is open and nothing came over it that nobody waits for.
    pub(super) fn is_quiet(&self) -> bool {
        self.stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// On this machine's own addresses no more than [`UNSENT_BYTES`] wait to be sent: what waits longer leaves the processor's
/// caches before the server copies it, and the two contend for it. On a network the system's own choice stays, so that a
/// fast one never waits for this process to wake up.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn keep_queue_short(stream: &TcpStream) {
    if stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback()) {
        // a system that knows no such limit keeps its own
        let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
    }
}

/// Other systems have no such choice.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn keep_queue_short(_: &TcpStream) {}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.probe.read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.probe.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.probe.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
