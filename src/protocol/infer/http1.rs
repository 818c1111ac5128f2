//! HTTP/1.1 as far as the timed path needs it: sends a prepared request and reads its answer, on a connection that is
//! kept. A client library was not used: the hand-overs within one cost more than all the rest of a small request.
//! Must not know tensors, nor how requests are timed or counted.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::Address;
use crate::protocol::infer::http1_answer::{BUFFER_BYTES, BodyError, Cut, Encoding, Framing, Head, Reader};
use crate::protocol::stream::IoObserver;
use crate::protocol::tls::{Spoken, Stream};
use crate::protocol::{ANSWER_BYTES_MAX, Fault, too_long};

/// An error's text is truncated to this length: a proxy may answer with a page.
pub(in crate::protocol) const ERROR_BYTES_MAX: usize = 64 * 1024;

/// A connection to `host:port`, made on first use and again after it broke.
pub struct Connection {
    address: Address,
    observer: Rc<dyn IoObserver>,
    /// The open connection, if any, while no request is pending.
    idle: RefCell<Option<Stream>>,
}

/// Buffers reused from one answer to the next.
#[derive(Default)]
pub struct Memory {
    /// The buffer that answers are read into.
    buffer: Vec<u8>,
    /// The last answer's head, raw and parsed: to the same request, a server mostly answers with the same first
    /// bytes, and comparing them costs a fraction of parsing.
    known: Option<(Vec<u8>, Head)>,
    /// The kept part of the last answer's body: all of it or its start.
    pub(in crate::protocol) kept: Vec<u8>,
}

/// How much of a good answer's body is kept. Of an error's body, it is always the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Keep {
    /// The JSON in front of binary tensors; without these, the answer is all JSON and kept whole.
    Json,
    /// All of it.
    Whole,
}

/// An answer, as far as it was kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::protocol) struct Response {
    pub status: u16,
    /// The field `Inference-Header-Content-Length`.
    pub json_length: Option<u64>,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// The body's compression, which was not requested.
    pub compressed: Option<Encoding>,
}

impl Connection {
    /// A connection that is not made yet.
    pub(in crate::protocol) fn new(address: &Address, observer: Rc<dyn IoObserver>) -> Self {
        Connection { address: address.clone(), observer, idle: RefCell::default() }
    }

    /// Makes the connection, if it does not exist.
    pub(in crate::protocol) async fn connect(&self) -> Result<(), Fault> {
        let stream = self.open().await?;
        self.idle.replace(Some(stream));
        Ok(())
    }

    /// Sends a request and reads its answer, keeping a part in `memory`; notifies `answered` of the answer's head.
    pub(in crate::protocol) async fn exchange(
        &self,
        head: &[u8],
        body: &[u8],
        memory: &mut Memory,
        answered: &dyn IoObserver,
        keep: Keep,
    ) -> Result<Response, Fault> {
        let mut stream = self.open().await?;
        let (mut reader, kept) = memory.reader();
        let sent = send(&mut stream, head, body, &mut reader).await;
        // a server that closes during sending may have given the reason
        let head = match (reader.head(&mut stream).await, &sent) {
            (Ok(head), _) => head,
            (Err(_), Err(cause)) => return Err(Fault::of_transport(cause)),
            (Err(fault), Ok(_)) => return Err(fault),
        };
        answered.answered();
        let (response, ended) = body_of(head, &mut reader, &mut stream, kept, keep).await?;
        // bytes left in the buffer are unsolicited
        if ended && head.stays && matches!(sent, Ok(true)) && reader.start == reader.end {
            self.idle.replace(Some(stream));
        }
        Ok(response)
    }

    /// The idle connection, if it is quiet, or a new one.
    async fn open(&self) -> Result<Stream, Fault> {
        let idle = self.idle.take();
        if let Some(stream) = idle.filter(Stream::is_quiet) {
            return Ok(stream);
        }
        Stream::connect(&self.address, Spoken::Http1, self.observer.clone()).await
    }
}

impl Memory {
    /// A reader of the next answer, and the place for what is kept of it.
    fn reader(&mut self) -> (Reader<'_>, &mut Vec<u8>) {
        let Memory { buffer, known, kept } = self;
        kept.clear();
        buffer.resize(buffer.len().max(BUFFER_BYTES), 0);
        (Reader { buffer, known, start: 0, end: 0 }, kept)
    }
}

/// Reads an answer from anything that gives bytes, keeping a part in `memory`.
pub(in crate::protocol) async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    memory: &mut Memory,
    keep: Keep,
) -> Result<Response, Fault> {
    let (mut reader, kept) = memory.reader();
    let head = reader.head(stream).await?;
    Ok(body_of(head, &mut reader, stream, kept, keep).await?.0)
}

/// Reads an answer's body, keeping a part of it; also returns whether it was read to its end.
async fn body_of(
    head: Head,
    reader: &mut Reader<'_>,
    stream: &mut (impl AsyncRead + Unpin),
    kept: &mut Vec<u8>,
    keep: Keep,
) -> Result<(Response, bool), Fault> {
    let Head { status, json_length, compressed, framing, .. } = head;
    let mut response = Response { status, json_length, body_bytes: 0, compressed };
    let failed = !(200..300).contains(&status);
    let room = match (keep, json_length) {
        _ if failed => ERROR_BYTES_MAX,
        (Keep::Json, Some(length)) => usize::try_from(length).unwrap_or(usize::MAX).min(ANSWER_BYTES_MAX),
        _ => ANSWER_BYTES_MAX,
    };
    // a length beyond the limit is not waited for
    if let (Framing::Length(length), false) = (framing, failed)
        && length > ANSWER_BYTES_MAX as u64
    {
        return Err(too_long());
    }
    // if everything is kept, reading stops at the limit
    let whole = failed || keep == Keep::Whole || json_length.is_none();
    let mut sink = |data: &[u8]| {
        response.body_bytes += data.len() as u64;
        let part = data.len().min(room - kept.len());
        kept.extend_from_slice(&data[..part]);
        if whole && part < data.len() { Err(Cut) } else { Ok(()) }
    };
    match reader.body(stream, framing, &mut sink).await {
        Ok(()) => Ok((response, true)),
        Err(BodyError::Fault(fault)) => Err(fault),
        Err(BodyError::Cut) if failed => Ok((response, false)),
        Err(BodyError::Cut) => Err(too_long()),
    }
}

/// Hands the request to the system; returns `false` if an answer came before all of it was sent.
async fn send(stream: &mut Stream, head: &[u8], body: &[u8], reader: &mut Reader<'_>) -> io::Result<bool> {
    let mut parts = [IoSlice::new(head), IoSlice::new(body)];
    let mut unsent = &mut parts[..];
    poll_fn(|context| {
        while !unsent.is_empty() {
            match Pin::new(&mut *stream).poll_write_vectored(context, unsent)? {
                Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => IoSlice::advance_slices(&mut unsent, written),
                // a server that refuses may answer at once, and stop reading
                Poll::Pending => return reader.poll_fill(stream, context).map(|filled| filled.map(|_| false)),
            }
        }
        // what TLS encrypted may still wait in its buffers
        match Pin::new(&mut *stream).poll_flush(context)? {
            Poll::Ready(()) => Poll::Ready(Ok(true)),
            Poll::Pending => reader.poll_fill(stream, context).map(|filled| filled.map(|_| false)),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::protocol::FaultKind;
    use crate::protocol::stream::NullObserver;

    /// The outcome of two requests to a server that reads `reads` bytes of each and answers with these, in pieces of
    /// the given size, on as many connections as are made; with the kept bytes of each.
    fn answers(
        pieces: usize,
        reads: usize,
        body: usize,
        texts: [&'static str; 2],
    ) -> Vec<Result<(Response, Vec<u8>), Fault>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = async {
                let mut texts = texts.into_iter().peekable();
                while texts.peek().is_some() {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    while let Some(text) = texts.peek() {
                        let mut request = vec![0; reads];
                        if stream.read_exact(&mut request).await.is_err() {
                            break;
                        }
                        for piece in text.as_bytes().chunks(pieces) {
                            stream.write_all(piece).await.unwrap();
                            tokio::task::yield_now().await;
                        }
                        if texts.next().is_some_and(|text| !text.contains("200 OK") || text.contains("close")) {
                            break;
                        }
                    }
                }
            };
            let client = async {
                let connection = Connection::new(&Address::parse(&address).unwrap(), Rc::new(NullObserver));
                let (body, mut memory) = (vec![0; body], Memory::default());
                let mut found = Vec::new();
                for _ in 0..2 {
                    let answer = connection.exchange(b"POST", &body, &mut memory, &NullObserver, Keep::Whole).await;
                    found.push(answer.map(|answer| (answer, memory.kept.clone())));
                }
                found
            };
            let (found, ()) = tokio::join!(client, server);
            found
        })
    }

    fn bodies(pieces: usize, texts: [&'static str; 2]) -> Vec<String> {
        let text = |answer: Result<(Response, Vec<u8>), Fault>| String::from_utf8(answer.unwrap().1).unwrap();
        answers(pieces, 4 + 10, 10, texts).into_iter().map(text).collect()
    }

    const FIVE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nInference-Header-Content-Length: 3\r\n\r\nhello";
    const CHUNKS: &str =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nhell\r\n1\r\no\r\n0\r\nA: b\r\n\r\n";
    const CLOSE: &str = "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello";
    const AFTER_ANNOUNCEMENT: &str =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

    #[test]
    fn answers_are_read_however_they_are_framed_and_cut() {
        for pieces in [1, 3, 7, 1000] {
            for first in [FIVE, CHUNKS, CLOSE, AFTER_ANNOUNCEMENT] {
                for second in [FIVE, CHUNKS] {
                    assert_eq!(bodies(pieces, [first, second]), ["hello", "hello"], "{pieces} {first} {second}");
                }
            }
        }
        let first = answers(1000, 14, 10, [FIVE, FIVE]).remove(0).unwrap().0;
        assert_eq!((first.status, first.json_length, first.body_bytes), (200, Some(3), 5));
    }

    #[test]
    fn a_refusal_before_the_request_s_end_is_read_and_the_connection_given_up() {
        const REFUSAL: &str = "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nno";
        let found = answers(1000, 100, 64 << 20, [REFUSAL, REFUSAL]);
        for answer in found {
            // a system may discard sent data with a connection that it resets
            match answer {
                Ok((answer, kept)) => assert_eq!((answer.status, &kept[..]), (400, &b"no"[..])),
                Err(fault) => assert_eq!(fault.kind, FaultKind::Transport, "{fault}"),
            }
        }
    }

    #[test]
    fn what_is_no_answer_is_said() {
        for (text, words) in [
            ("nonsense\r\n\r\n", "is not HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Length: five\r\nConnection: close\r\n\r\n", "Content-Length is no number"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nhello", "before the answer's end"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nx\r\n",
                "chunks cannot be read",
            ),
            ("HTTP/1.1 200 OK\r\nConnection: close\r\n", "before the answer's end"),
        ] {
            let fault = answers(1000, 14, 10, [text, text]).remove(0).unwrap_err();
            assert!(fault.kind == FaultKind::Transport && fault.message.contains(words), "{text}: {fault}");
        }
    }
}
