//! Reads an HTTP/1.1 answer from anything that gives bytes: its head, where its body ends, and the body piece by piece.
//! Must not know connections or requests, nor which parts of an answer are kept.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::protocol::{Fault, FaultKind, words};

/// Buffer for an answer's head, and for reading small answers.
pub(in crate::protocol) const BUFFER_BYTES: usize = 4 * 1024;
/// Buffer for reading large answers.
pub(in crate::protocol) const BUFFER_BYTES_LARGE: usize = 64 * 1024;
/// A longer head is an error.
pub(in crate::protocol) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Maximum number of header fields in an answer.
pub(in crate::protocol) const FIELDS_MAX: usize = 64;

/// A content coding that an answer may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Encoding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
    Other,
}

/// Where an answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Framing {
    Length(u64),
    Chunked,
    /// At the end of the connection.
    Close,
}

/// The relevant content of an answer's head.
#[derive(Clone, Copy)]
pub(in crate::protocol) struct Head {
    pub(in crate::protocol) status: u16,
    pub(in crate::protocol) json_length: Option<u64>,
    pub(in crate::protocol) compressed: Option<Encoding>,
    pub(in crate::protocol) framing: Framing,
    /// Whether the connection stays open.
    pub(in crate::protocol) stays: bool,
}

/// Takes an answer's body, piece by piece, until it has enough.
pub(in crate::protocol) trait Sink: FnMut(&[u8]) -> Result<(), Cut> {}

impl<F: FnMut(&[u8]) -> Result<(), Cut>> Sink for F {}

/// The body is longer than the part to keep.
pub(in crate::protocol) struct Cut;

/// The reason why a body was not read to its end.
pub(in crate::protocol) enum BodyError {
    Cut,
    Fault(Fault),
}

impl From<Cut> for BodyError {
    fn from(_: Cut) -> Self {
        BodyError::Cut
    }
}

impl From<Fault> for BodyError {
    fn from(fault: Fault) -> Self {
        BodyError::Fault(fault)
    }
}

/// The bytes of an answer that are read, but not used yet: `buffer[start..end]`.
pub(in crate::protocol) struct Reader<'a> {
    pub(in crate::protocol) buffer: &'a mut Vec<u8>,
    pub(in crate::protocol) known: &'a mut Option<(Vec<u8>, Head)>,
    pub(in crate::protocol) start: usize,
    pub(in crate::protocol) end: usize,
}

impl Reader<'_> {
    /// Reads more behind the unused bytes; 0 bytes mean the end of the connection.
    pub(in crate::protocol) fn poll_fill(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        let mut free = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(Pin::new(stream).poll_read(context, &mut free))?;
        let filled = free.filled().len();
        self.end += filled;
        Poll::Ready(Ok(filled))
    }

    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Fault> {
        match poll_fn(|context| self.poll_fill(stream, context)).await {
            Ok(0) => Err(Fault::new(FaultKind::Transport, words::CLOSED)),
            Ok(_) => Ok(()),
            Err(error) => Err(Fault::of_transport(&error)),
        }
    }

    /// Returns the answer's head; skips informational ones before it.
    pub(in crate::protocol) async fn head(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<Head, Fault> {
        loop {
            let there = &self.buffer[self.start..self.end];
            if let Some((bytes, head)) = self.known
                && there.starts_with(bytes)
            {
                self.start += bytes.len();
                return Ok(*head);
            }
            if !there.is_empty()
                && let Some((length, head)) = parse(there)?
            {
                self.start += length;
                if head.status >= 200 {
                    *self.known = Some((there[..length].to_vec(), head));
                    return Ok(head);
                }
                continue;
            }
            self.room(HEAD_BYTES_MAX)?;
            self.fill(stream).await?;
        }
    }

    /// Makes room behind the unused bytes.
    fn room(&mut self, most: usize) -> Result<(), Fault> {
        if self.end < self.buffer.len() {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.buffer.len() {
            if self.end >= most {
                return Err(bad("the answer's head does not end"));
            }
            self.buffer.resize(self.end * 2, 0);
        }
        Ok(())
    }

    pub(in crate::protocol) async fn body(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        framing: Framing,
        sink: &mut impl Sink,
    ) -> Result<(), BodyError> {
        match framing {
            Framing::Length(length) => self.exactly(stream, length, sink).await,
            Framing::Chunked => self.chunks(stream, sink).await,
            Framing::Close => {
                sink(&self.buffer[self.start..self.end])?;
                (self.start, self.end) = (0, 0);
                loop {
                    match stream.read(self.buffer).await {
                        Ok(0) => return Ok(()),
                        Ok(read) => sink(&self.buffer[..read])?,
                        Err(error) => return Err(Fault::of_transport(&error).into()),
                    }
                }
            }
        }
    }

    async fn exactly(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        mut length: u64,
        sink: &mut impl Sink,
    ) -> Result<(), BodyError> {
        if length > self.buffer.len() as u64 {
            self.buffer.resize(BUFFER_BYTES_LARGE.max(self.buffer.len()), 0);
        }
        loop {
            let part = length.min((self.end - self.start) as u64) as usize;
            sink(&self.buffer[self.start..self.start + part])?;
            self.start += part;
            length -= part as u64;
            if length == 0 {
                return Ok(());
            }
            self.fill(stream).await?;
        }
    }

    async fn chunks(&mut self, stream: &mut (impl AsyncRead + Unpin), sink: &mut impl Sink) -> Result<(), BodyError> {
        loop {
            let parsed = httparse::parse_chunk_size(&self.buffer[self.start..self.end]);
            match parsed.map_err(|_| bad("the answer's chunks cannot be read"))? {
                httparse::Status::Partial => {
                    self.room(HEAD_BYTES_MAX)?;
                    self.fill(stream).await?;
                }
                httparse::Status::Complete((used, 0)) => {
                    self.start += used;
                    return Ok(self.trailers(stream).await?);
                }
                httparse::Status::Complete((used, length)) => {
                    self.start += used;
                    self.exactly(stream, length, sink).await?;
                    self.exactly(stream, "\r\n".len() as u64, &mut |_: &[u8]| Ok(())).await?;
                }
            }
        }
    }

    /// Skips the fields after the last chunk, up to the empty line.
    async fn trailers(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Fault> {
        loop {
            let rest = &self.buffer[self.start..self.end];
            let line = rest.windows(2).position(|pair| pair == b"\r\n");
            match line {
                Some(length) => {
                    self.start += length + 2;
                    if length == 0 {
                        return Ok(());
                    }
                }
                None => {
                    self.room(HEAD_BYTES_MAX)?;
                    self.fill(stream).await?;
                }
            }
        }
    }
}

/// Parses the head at the start of `bytes`; returns it with its length, or `None` if it is incomplete.
pub(in crate::protocol) fn parse(bytes: &[u8]) -> Result<Option<(usize, Head)>, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let length = match parsed
        .parse(bytes)
        .map_err(|cause| bad(&words::of_no_http(bytes, &cause.to_string())))?
    {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let field = |name: &str| {
        let found = parsed.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok().map(str::trim)
    };
    let has = |name: &str, word: &str| {
        field(name).is_some_and(|list| list.split(',').any(|item| item.trim().eq_ignore_ascii_case(word)))
    };
    let status = parsed.code.unwrap_or(0);
    let framing = match field("content-length") {
        _ if has("transfer-encoding", "chunked") => Framing::Chunked,
        _ if matches!(status, 204 | 304) => Framing::Length(0),
        Some(text) => Framing::Length(text.parse().map_err(|_| bad("the answer's Content-Length is no number"))?),
        None => Framing::Close,
    };
    let persists = parsed.version == Some(1) && !has("connection", "close") || has("connection", "keep-alive");
    let json_length = field("inference-header-content-length").and_then(|text| text.parse().ok());
    let compressed = field("content-encoding").and_then(|name| match name.to_ascii_lowercase().as_str() {
        "" | "identity" => None,
        "gzip" | "x-gzip" => Some(Encoding::Gzip),
        "deflate" => Some(Encoding::Deflate),
        "br" => Some(Encoding::Brotli),
        "zstd" => Some(Encoding::Zstd),
        _ => Some(Encoding::Other),
    });
    let stays = persists && framing != Framing::Close;
    Ok(Some((length, Head { status, json_length, compressed, framing, stays })))
}

impl Encoding {
    /// The field's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::Brotli => "br",
            Encoding::Zstd => "zstd",
            Encoding::Other => "of an unknown kind",
        }
    }
}

pub(in crate::protocol) fn bad(words: &str) -> Fault {
    Fault::new(FaultKind::Transport, words)
}
