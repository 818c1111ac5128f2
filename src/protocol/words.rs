//! Explains the libraries' errors to somebody who does not know HTTP/2. Must not know requests or connections.

use std::error::Error;
use std::io;

use http::StatusCode;

/// The message for a connection that ends within an answer, or without one.
pub(in crate::protocol) const CLOSED: &str = "the connection was closed before the answer's end";

/// A plainer message for an error, if the library's own is unclear.
pub(in crate::protocol) fn of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return of_http2(error);
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    error
        .is_parse()
        .then(|| format!("the answer is not HTTP/1.1 ({error}): {OTHER_PORT_HTTP}"))
}

const OTHER_PORT_HTTP: &str = "is it the gRPC port? --http takes the HTTP port, 8000 by default";
const OTHER_PORT_GRPC: &str = "is it the HTTP port? --grpc takes the gRPC port, 8001 by default";

fn of_http2(error: &h2::Error) -> Option<String> {
    // how h2 puts the end of a connection
    if error.get_io().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe) {
        return Some(CLOSED.to_owned());
    }
    let reason = error.reason()?;
    let who = if error.is_remote() { "the server" } else { "the client" };
    if error.is_reset() {
        return Some(format!("{who} reset the stream (RST_STREAM, {reason:?}: {reason})"));
    }
    // HTTP/1.1's "HTTP/1.1 400" read as a frame's head announces a frame of 4.7 MB
    if !error.is_remote() && reason == h2::Reason::FRAME_SIZE_ERROR {
        return Some(format!("the server does not speak HTTP/2, perhaps HTTP/1.1: {OTHER_PORT_GRPC}"));
    }
    error
        .is_go_away()
        .then(|| format!("{who} ended the connection (GOAWAY, {reason:?}: {reason})"))
}

/// The message for bytes that do not begin an HTTP/1.1 answer.
pub(in crate::protocol) fn of_no_http(bytes: &[u8], cause: &str) -> String {
    // an HTTP/2 server first sends a SETTINGS frame on stream 0
    let settings = matches!(bytes, [0, _, _, 4, _, 0, 0, 0, 0, ..]);
    // a server of TLS answers with an alert, or closes
    let alert = matches!(bytes, [21, 3, ..]);
    let hint = match (settings, alert) {
        (true, _) => format!(", it is HTTP/2: {OTHER_PORT_HTTP}"),
        (_, true) => ", it is TLS: its address begins with https://".to_owned(),
        _ => String::new(),
    };
    format!("the answer is not HTTP/1.1: {cause}{hint}")
}

/// The message for an answer over HTTP/2 that is not gRPC's, such as a proxy's page.
pub(in crate::protocol) fn of_page(status: StatusCode, content_type: Option<&str>) -> String {
    let kind = content_type.unwrap_or("no content type");
    let status = status.as_u16();
    format!("HTTP {status} with {kind} instead of an answer of gRPC: a proxy or another service answered")
}
