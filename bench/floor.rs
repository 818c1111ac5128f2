//! The floor below any client's latency and CPU time: one prepared request after the other, on one connection.
//!
//! Over HTTP it is blocking calls on a socket, over gRPC the bare HTTP/2 library on one thread. It shares no code with
//! the runner, checks no more of an answer than that it is a good one, and does nothing else. `bench/peers` runs it:
//!
//!     floor PROTOCOL HOST:PORT BODY_FILE JSON_HEADER_LENGTH PATH COUNT [WARMUP]
//!
//! PROTOCOL is http or grpc, BODY_FILE what is posted (for gRPC with the five bytes that frame a message), and
//! JSON_HEADER_LENGTH the part of an HTTP body that is JSON (0 for gRPC). Prints the median and the 99th percentile of
//! the latencies of COUNT requests after WARMUP (0), in milliseconds, as JSON. Exit code 1: something went wrong.

use std::error::Error;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Answers up to this size come without a pause for flow control.
const WINDOW: u32 = 16 * 1024 * 1024;

/// Longest head of an answer over HTTP.
const HEAD_BYTES_MAX: usize = 64 * 1024;

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
    let [protocol, host, file, json_length, path, count] = order else { unreachable!("there are six") };
    let body = Bytes::from(std::fs::read(file).map_err(|error| format!("{file}: {error}"))?);
    let total = warmup + count.parse::<usize>()?;
    let latencies = match protocol.as_str() {
        "http" => over_http(host, path, json_length.parse()?, &body, total)?,
        "grpc" => tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(over_grpc(host, path, body, total))?,
        _ => return Err(format!("{protocol} is neither http nor grpc").into()),
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

fn over_http(host: &str, path: &str, json_length: usize, body: &[u8], total: usize) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(host).map_err(|error| format!("{host}: {error}"))?;
    stream.set_nodelay(true)?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/octet-stream\r\n\
         Inference-Header-Content-Length: {json_length}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = vec![0; HEAD_BYTES_MAX];
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
        read_answer(&mut stream, &mut answer)?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// Reads one answer to its end: the head, then as much as its Content-Length says.
fn read_answer(stream: &mut TcpStream, answer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    let head_length = loop {
        let read = stream.read(&mut answer[filled..])?;
        if read == 0 {
            return Err("the connection ended before the head of an answer did".into());
        }
        filled += read;
        if let Some(at) = answer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(&answer[..head_length])?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("answered {status}: {}", String::from_utf8_lossy(&answer[head_length..filled])).into());
    }
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.ok_or("an answer without Content-Length")?.1.trim().parse()?;
    let mut missing =
        (head_length + length).checked_sub(filled).ok_or("more bytes than the Content-Length of an answer")?;
    while missing > 0 {
        let part = missing.min(answer.len());
        let read = stream.read(&mut answer[..part])?;
        if read == 0 {
            return Err("the connection ended before an answer did".into());
        }
        missing -= read;
    }
    Ok(())
}

async fn over_grpc(host: &str, path: &str, message: Bytes, total: usize) -> Result<Vec<Duration>> {
    let stream = tokio::net::TcpStream::connect(host).await.map_err(|error| format!("{host}: {error}"))?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .handshake::<_, Bytes>(stream)
        .await?;
    tokio::spawn(connection); // if it breaks, the request that waits for it says so
    let request = Request::post(format!("http://{host}{path}"))
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
