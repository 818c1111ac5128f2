//! A TCP connection whose traffic an observer sees, so that both protocols are timestamped and counted at the same
//! place: where bytes are handed to the system and where they come back. Never reads the clock itself.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::address::Address;
use crate::protocol::{CONNECT_TIMEOUT, Fault, FaultKind};

/// Between the attempts to reach a name's addresses (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);

/// The amount that leaves at once over the loopback: one segment.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES: u32 = 64 * 1024;

/// Observes the bytes of one connection, and of the answer to a request.
pub trait IoObserver {
    /// A connection was made.
    fn connected(&self);
    /// `bytes` bytes were handed to the system.
    fn wrote(&self, bytes: usize);
    /// `bytes` bytes came from the system.
    fn read(&self, bytes: usize);
    /// The head of an answer arrived.
    fn answered(&self);
    /// `bytes` bytes of an answer's body arrived, where its connection may be shared.
    fn read_of_body(&self, _bytes: usize) {}
}

/// Ignores everything, for traffic that is not timed.
pub struct NullObserver;

impl IoObserver for NullObserver {
    fn connected(&self) {}
    fn wrote(&self, _: usize) {}
    fn read(&self, _: usize) {}
    fn answered(&self) {}
}

/// A connection whose bytes are observed.
pub(in crate::protocol) struct MeteredStream {
    stream: TcpStream,
    observer: Rc<dyn IoObserver>,
}

impl MeteredStream {
    /// Connects without Nagle's delay and, on this machine, without a long queue.
    pub(in crate::protocol) async fn connect(
        to: &Address,
        observer: Rc<dyn IoObserver>,
    ) -> Result<MeteredStream, Fault> {
        let address = &to.authority;
        let connecting = async {
            match to.peer {
                Some(peer) => TcpStream::connect(peer).await,
                None => TcpStream::connect(address).await,
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        let failed = |cause: &str| Fault::new(FaultKind::Connect, format!("no connection to {address}: {cause}"));
        let stream = match connected {
            Ok(connected) => connected.map_err(|error| failed(&error.to_string()))?,
            Err(_) => return Err(failed(&format!("not made within {} s", CONNECT_TIMEOUT.as_secs()))),
        };
        stream.set_nodelay(true).map_err(|error| failed(&error.to_string()))?;
        keep_queue_short(&stream);
        observer.connected();
        Ok(MeteredStream { stream, observer })
    }

    /// Whether the connection is open with no unsolicited bytes.
    pub(in crate::protocol) fn is_quiet(&self) -> bool {
        self.stream
            .try_read(&mut [0])
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// The first of a name's addresses to accept a connection, each with a head start on the next: the control plane and
/// the timed path must reach the same one. `None` if the name has at most one address, or none answers.
pub async fn answering(authority: &str) -> Option<SocketAddr> {
    let addresses: Vec<SocketAddr> = timeout(CONNECT_TIMEOUT, lookup_host(authority)).await.ok()?.ok()?.collect();
    if addresses.len() < 2 { None } else { first_to_answer(addresses).await }
}

async fn first_to_answer(addresses: Vec<SocketAddr>) -> Option<SocketAddr> {
    let mut attempts: FuturesUnordered<_> = (0..)
        .zip(addresses)
        .map(async |(place, address)| {
            sleep(HEAD_START * place).await;
            TcpStream::connect(address).await.ok().map(|_| address)
        })
        .collect();
    timeout(CONNECT_TIMEOUT, async {
        while let Some(found) = attempts.next().await {
            if found.is_some() {
                return found;
            }
        }
        None
    })
    .await
    .ok()?
}

/// Limits the unsent queue to [`UNSENT_BYTES`] on the loopback: bytes that wait longer leave the processor's caches
/// before the server copies them, and the two contend for them. On a network, the system's default stays, so that a
/// fast one never waits for this process to wake up.
#[cfg(any(target_os = "android", target_os = "linux"))]
fn keep_queue_short(stream: &TcpStream) {
    if stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback()) {
        // a system without this limit keeps its own
        let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES);
    }
}

/// Other systems have no such option.
#[cfg(not(any(target_os = "android", target_os = "linux")))]
fn keep_queue_short(_: &TcpStream) {}

impl AsyncRead for MeteredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.observer.read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MeteredStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.observer.wrote(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.observer.wrote(written);
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn an_address_that_nobody_listens_on_is_passed_over() {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async {
                let (one, other) =
                    (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
                let (dead, alive) = (one.local_addr().unwrap(), other.local_addr().unwrap());
                drop(one);
                assert_eq!(first_to_answer(vec![dead, alive]).await, Some(alive));
                assert_eq!(first_to_answer(vec![alive, dead]).await, Some(alive));
                assert_eq!(first_to_answer(vec![dead, dead]).await, None);
                // a name with one address needs no choice
                assert_eq!(answering(&alive.to_string()).await, None);
            });
    }
}
