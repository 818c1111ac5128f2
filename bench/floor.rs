//! The floor below any client's latency and CPU time: one prepared request after the other, on one connection.
//!
//! HTTP uses blocking calls on a socket, gRPC the bare HTTP/2 library on a single-threaded event loop. `http-events`
//! uses the socket on that event loop, which a client with several requests in flight needs. `https` and `grpcs` put
//! the bare TLS library between the event loop's socket and the rest; who is trusted is in the file that the environment
//! variable FLOOR_CA names. The session is agreed on before anything is timed. The program shares no code with the
//! runner, checks only that an answer is a good one, and does nothing else. `bench/peers` and `bench/tls` run it:
//!
//!     floor PROTOCOL HOST:PORT BODY_FILE JSON_HEADER_LENGTH PATH COUNT [WARMUP]
//!
//! PROTOCOL is http, http-events, https, grpc or grpcs, BODY_FILE the body (for gRPC with the five bytes that frame a
//! message), and JSON_HEADER_LENGTH the part of an HTTP body that is JSON (0 for gRPC). Prints the median and the 99th
//! percentile of the latencies of COUNT requests after WARMUP (0), in milliseconds, as JSON. Exit code 1: something went
//! wrong.

use std::error::Error;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Answers up to this size come without a pause for flow control.
const WINDOW: u32 = 16 * 1024 * 1024;

/// Most bytes that wait in the system to be sent: over the loopback a longer queue is slower.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES: u32 = 64 * 1024;

/// Longest answer over HTTP.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("floor: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (order, warmup) = match arguments.len() {
        6 => (&arguments[..], 0),
        7 => (&arguments[..6], arguments[6].parse()?),
        _ => return Err("PROTOCOL HOST:PORT BODY_FILE JSON_HEADER_LENGTH PATH COUNT [WARMUP]".into()),
    };
    let [protocol, host, file, json_length, path, count] = order else {
        unreachable!("there are six")
    };
    let body = Bytes::from(std::fs::read(file).map_err(|error| format!("{file}: {error}"))?);
    let total = warmup + count.parse::<usize>()?;
    let events = || tokio::runtime::Builder::new_current_thread().enable_io().build();
    let head = head(host, path, json_length, &body);
    let url = |scheme| format!("{scheme}://{host}{path}");
    let latencies = match protocol.as_str() {
        "http" => over_http(host, &head, &body, total)?,
        "http-events" => {
            events()?.block_on(async { over_http_events(connect(host).await?, &head, &body, total).await })?
        }
        "https" => {
            let stream = connect_tls(host, "http/1.1");
            events()?.block_on(async { over_http_events(stream.await?, &head, &body, total).await })?
        }
        "grpc" => events()?.block_on(async { over_grpc(connect(host).await?, &url("http"), body, total).await })?,
        "grpcs" => {
            let stream = connect_tls(host, "h2");
            events()?.block_on(async { over_grpc(stream.await?, &url("https"), body, total).await })?
        }
        _ => return Err(format!("{protocol} is neither http, http-events, https, grpc nor grpcs").into()),
    };
    let mut latencies = latencies[warmup..].to_vec();
    if latencies.is_empty() {
        return Err("no requests".into());
    }
    latencies.sort_unstable();
    let percentile = |share: f64| {
        let rank = (share * latencies.len() as f64).ceil() as usize;
        latencies[rank.saturating_sub(1)].as_secs_f64() * 1000.0
    };
    println!(
        r#"{{"requests": {}, "p50_ms": {:.6}, "p99_ms": {:.6}}}"#,
        latencies.len(),
        percentile(0.5),
        percentile(0.99)
    );
    Ok(())
}

fn set_options(socket: SockRef<'_>) -> Result<()> {
    socket.set_tcp_nodelay(true)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    Ok(())
}

async fn connect(host: &str) -> Result<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(host).await.map_err(|error| format!("{host}: {error}"))?;
    set_options(SockRef::from(&stream))?;
    Ok(stream)
}

async fn connect_tls(host: &str, spoken: &str) -> Result<TlsStream<tokio::net::TcpStream>> {
    let ca = std::env::var("FLOOR_CA").map_err(|_| "FLOOR_CA names no file with the authority's certificate")?;
    let mut trusted = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&ca).map_err(|error| format!("{ca}: {error}"))? {
        trusted.add(certificate?)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(trusted)
        .with_no_client_auth();
    config.alpn_protocols = vec![spoken.as_bytes().to_vec()];
    let name = host.rsplit_once(':').ok_or("the address has no port")?.0;
    let name = ServerName::try_from(name.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, connect(host).await?).await?;
    if stream.get_ref().1.alpn_protocol() != Some(spoken.as_bytes()) {
        return Err(format!("{host} does not speak {spoken}").into());
    }
    Ok(stream)
}

fn head(host: &str, path: &str, json_length: &str, body: &[u8]) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n\
         Inference-Header-Content-Length: {json_length}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
}

fn over_http(host: &str, head: &str, body: &[u8], total: usize) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(host).map_err(|error| format!("{host}: {error}"))?;
    set_options(SockRef::from(&stream))?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut latencies = Vec::with_capacity(total);
    for _ in 0..total {
        let began = Instant::now();
        let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(body)];
        let mut unsent = &mut parts[..];
        while !unsent.is_empty() {
            match stream.write_vectored(unsent) {
                Ok(written) => IoSlice::advance_slices(&mut unsent, written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut filled = 0;
        while !is_whole(&answer[..filled])? {
            filled += some(stream.read(&mut answer[filled..])?)?;
        }
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

async fn over_http_events(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    body: &[u8],
    total: usize,
) -> Result<Vec<Duration>> {
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let mut latencies = Vec::with_capacity(total);
    for _ in 0..total {
        let began = Instant::now();
        let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(body)];
        let mut unsent = &mut parts[..];
        while !unsent.is_empty() {
            let written = stream.write_vectored(unsent).await?;
            IoSlice::advance_slices(&mut unsent, written);
        }
        stream.flush().await?; // what is encrypted may not have left yet
        let mut filled = 0;
        while !is_whole(&answer[..filled])? {
            filled += some(stream.read(&mut answer[filled..]).await?)?;
        }
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// The number of bytes read, if the connection is still open.
fn some(read: usize) -> Result<usize> {
    if read == 0 {
        Err("the connection ended, or its room did, before an answer's end".into())
    } else {
        Ok(read)
    }
}

/// Whether an answer is complete: its head, then as many bytes as its Content-Length.
fn is_whole(answer: &[u8]) -> Result<bool> {
    let Some(head_length) = answer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
        return Ok(false);
    };
    let head = std::str::from_utf8(&answer[..head_length])?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("answered {status}: {}", String::from_utf8_lossy(&answer[head_length..])).into());
    }
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.ok_or("an answer without Content-Length")?.1.trim().parse()?;
    Ok(answer.len() >= head_length + length)
}

async fn over_grpc(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    url: &str,
    message: Bytes,
    total: usize,
) -> Result<Vec<Duration>> {
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream)
        .await?;
    tokio::spawn(connection); // if it breaks, the request that waits for it says so
    let request = Request::post(url)
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())?;
    let mut latencies = Vec::with_capacity(total);
    for _ in 0..total {
        let began = Instant::now();
        sender = sender.ready().await?;
        let (response, mut stream) = sender.send_request(request.clone(), false)?;
        stream.send_data(message.clone(), true)?;
        let (head, mut body) = response.await?.into_parts();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data?.len())?;
        }
        let trailers = body.trailers().await?;
        check_status(trailers.as_ref().unwrap_or(&head.headers))?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// The status of a call is in its trailers, or in its headers if it has nothing else.
fn check_status(fields: &HeaderMap) -> Result<()> {
    let text = |name| fields.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match text("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        Some(status) => Err(format!("gRPC status {status}: {}", text("grpc-message").unwrap_or_default()).into()),
        None => Err("an answer without a gRPC status".into()),
    }
}
