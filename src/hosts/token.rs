//! The secret that a leader and its hosts share, and how both prove that they know it without sending it. Must not know what
//! follows.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::files::hex;

/// A token that is given has at least so many characters.
const LEAST: usize = 16;
/// Longest file of one.
const FILE_MAX: u64 = 4096;
/// How long the other side may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest line while nobody is known.
const LINE_MAX: u64 = 256;
/// What a leader says first.
const GREETING: &str = "runner-leader";

/// A secret. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(..)")
    }
}

impl Token {
    /// A new one, from the system's randomness.
    ///
    /// # Errors
    /// The system has none.
    pub fn new() -> Result<Self> {
        Ok(Token(random()?))
    }

    /// A token as it was given; `place` names where.
    ///
    /// # Errors
    /// It is too short to be a secret.
    pub fn given(text: &str, place: &str) -> Result<Self> {
        let text = text.trim();
        ensure!(
            text.chars().count() >= LEAST,
            "{place}: a token of fewer than {LEAST} characters is no secret: make one with `openssl rand -hex 32`"
        );
        Ok(Token(text.to_owned()))
    }

    /// The token of a file.
    ///
    /// # Errors
    /// It cannot be read, or holds none.
    pub fn of_file(path: &Path) -> Result<Self> {
        use std::io::Read;
        let place = path.display().to_string();
        let mut text = String::new();
        let file = std::fs::File::open(path).with_context(|| format!("{place} cannot be read"))?;
        file.take(FILE_MAX)
            .read_to_string(&mut text)
            .with_context(|| format!("{place} cannot be read"))?;
        Token::given(&text, &place)
    }

    /// The token as it is kept for the tasks of the same user.
    pub fn text(&self) -> &str {
        &self.0
    }

    fn proof(&self, who: &str, nonces: &str) -> Result<Hmac<Sha256>> {
        let mut proof = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).context("no key")?;
        proof.update(format!("{who} {nonces}").as_bytes());
        Ok(proof)
    }
}

/// 256 random bits, in hexadecimal.
fn random() -> Result<String> {
    let mut bytes = [0; 32];
    let provider = rustls::crypto::ring::default_provider();
    provider.secure_random.fill(&mut bytes).ok().context("the system has no randomness")?;
    Ok(hex(&bytes))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

/// The leader's side: makes sure that the other knows the token, and proves that it is known here.
///
/// # Errors
/// The other side does not know it, or says something else.
pub async fn lead<S: AsyncBufRead + AsyncWrite + Unpin>(stream: &mut S, token: &Token) -> Result<()> {
    let handshake = async {
        let mine = random()?;
        stream.write_all(format!("{GREETING} {mine}\n").as_bytes()).await?;
        stream.flush().await?;
        let line = short_line(stream).await?;
        let Some((theirs, proof)) = line.split_once(' ') else {
            bail!("it is no host of a run")
        };
        let nonces = format!("{mine} {theirs}");
        let proof = unhex(proof).context("it is no host of a run")?;
        token
            .proof("host", &nonces)?
            .verify_slice(&proof)
            .ok()
            .context("its token is another one")?;
        let proof = hex(&token.proof("leader", &nonces)?.finalize().into_bytes());
        stream.write_all(format!("{proof}\n").as_bytes()).await?;
        stream.flush().await?;
        Ok(())
    };
    timeout(PATIENCE, handshake)
        .await
        .context("it does not prove that it knows the token")?
}

/// A host's side of the same.
///
/// # Errors
/// The other side does not know the token, or is no leader.
pub async fn follow<S: AsyncBufRead + AsyncWrite + Unpin>(stream: &mut S, token: &Token) -> Result<()> {
    let handshake = async {
        let line = short_line(stream).await?;
        let theirs = line
            .strip_prefix(GREETING)
            .map(str::trim)
            .context("it is no leader of a run")?
            .to_owned();
        let mine = random()?;
        let nonces = format!("{theirs} {mine}");
        let proof = hex(&token.proof("host", &nonces)?.finalize().into_bytes());
        stream.write_all(format!("{mine} {proof}\n").as_bytes()).await?;
        stream.flush().await?;
        let answer = short_line(stream).await.context("the leader does not accept the token")?;
        let proof = unhex(&answer).context("it is no leader of a run")?;
        token
            .proof("leader", &nonces)?
            .verify_slice(&proof)
            .ok()
            .context("the leader's token is another one")
    };
    timeout(PATIENCE, handshake)
        .await
        .context("the leader does not prove that it knows the token")?
}

async fn short_line<S: AsyncBufRead + Unpin>(stream: &mut S) -> Result<String> {
    let mut line = String::new();
    stream.take(LINE_MAX).read_line(&mut line).await?;
    ensure!(line.ends_with('\n'), "the connection ended");
    Ok(line.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use tokio::io::{BufStream, duplex};

    use super::*;

    async fn meet(leader: &str, host: &str) -> (Result<()>, Result<()>) {
        let (one, other) = duplex(4096);
        let (leader, host) = (Token(leader.to_owned()), Token(host.to_owned()));
        let lead = async {
            let mut stream = BufStream::new(one);
            lead(&mut stream, &leader).await
        };
        let follow = async {
            let mut stream = BufStream::new(other);
            follow(&mut stream, &host).await
        };
        tokio::join!(lead, follow)
    }

    #[tokio::test]
    async fn only_those_with_the_same_token_meet() {
        let (lead, follow) = meet("a secret of many letters", "a secret of many letters").await;
        assert!(lead.is_ok() && follow.is_ok(), "{lead:?} {follow:?}");
        let (lead, follow) = meet("a secret of many letters", "another secret").await;
        assert_eq!(lead.unwrap_err().to_string(), "its token is another one");
        assert!(follow.unwrap_err().to_string().contains("does not accept the token"));
    }

    #[tokio::test]
    async fn neither_side_takes_a_stranger_s_word() {
        // a leader that sends the host's proof back, and one that says anything
        for answer in ["00", "nothing", ""] {
            let (one, other) = duplex(4096);
            let stranger = async {
                let mut stream = BufStream::new(one);
                stream.write_all(b"runner-leader abc\n").await.unwrap();
                stream.flush().await.unwrap();
                let theirs = short_line(&mut stream).await.unwrap();
                let echo = theirs.split(' ').nth(1).unwrap().to_owned();
                let answer = if answer.is_empty() { &echo } else { answer };
                stream.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            };
            let host = async {
                let mut stream = BufStream::new(other);
                follow(&mut stream, &Token("a secret of many letters".to_owned())).await
            };
            let ((), followed) = tokio::join!(stranger, host);
            assert!(followed.is_err(), "{answer}");
        }
        let mut http = BufStream::new(tokio_test_stream(b"GET / HTTP/1.1\r\n\r\n"));
        assert!(lead(&mut http, &Token("a secret of many letters".to_owned())).await.is_err());
    }

    /// A stream that says something and takes whatever is said.
    fn tokio_test_stream(says: &'static [u8]) -> impl tokio::io::AsyncRead + AsyncWrite + Unpin {
        tokio::io::join(says, tokio::io::sink())
    }

    #[test]
    fn a_token_is_a_secret_and_is_never_shown() {
        assert!(
            Token::given("short", "RUNNER_TOKEN")
                .unwrap_err()
                .to_string()
                .starts_with("RUNNER_TOKEN: ")
        );
        let token = Token::new().unwrap();
        assert_eq!((token.text().len(), format!("{token:?}").as_str()), (64, "Token(..)"));
        assert_ne!(token, Token::new().unwrap());
    }
}
