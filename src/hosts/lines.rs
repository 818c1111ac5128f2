//! Lines of bounded length over a stream, read so that a wait for one may be given up and taken up again.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::message::LINE_MAX;

/// Reads lines.
pub struct Lines<R> {
    from: R,
    /// What is read of the next line.
    part: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// Of a stream.
    pub fn new(from: R) -> Self {
        Lines { from, part: Vec::new() }
    }

    /// The next line, without its end; `None` once there is no more. What is read of a line stays if this is dropped.
    ///
    /// # Errors
    /// The stream fails, or a line is too long.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let left = LINE_MAX.saturating_sub(self.part.len() as u64);
        (&mut self.from).take(left).read_until(b'\n', &mut self.part).await?;
        match self.part.last() {
            Some(b'\n') => {
                self.part.pop();
                Ok(Some(std::mem::take(&mut self.part)))
            }
            _ if self.part.len() as u64 >= LINE_MAX => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"))
            }
            _ => Ok(None),
        }
    }
}

/// Writes lines as they come until their channel is closed or the stream fails.
pub async fn write_all(mut lines: mpsc::UnboundedReceiver<Vec<u8>>, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        to.write_all(&line).await?;
        if lines.is_empty() {
            to.flush().await?;
        }
    }
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::*;

    #[tokio::test]
    async fn lines_are_whole_and_bounded() {
        let mut lines = Lines::new(&b"one\n\ntwo\ntorn"[..]);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(found, ["one", "", "two"]);
        let endless = tokio::io::repeat(b'x');
        assert!(Lines::new(BufReader::new(endless)).next().await.is_err());
    }
}
