//! Explains the libraries' errors to somebody who does not know HTTP/2. Must not know requests or connections.

use std::error::Error;

use http::StatusCode;

use crate::protocol::tls;

/// The message for a connection that ends within an answer, or without one.
pub(in crate::protocol) const CLOSED: &str = "the connection was closed before the answer's end";

/// A plainer message for an error, if the library's own is unclear.
pub(in crate::protocol) fn of(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<h2::Error>() {
        return of_http2(error);
    }
    if let Some(words) = tls::said(error) {
        return Some(words);
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    error.is_parse().then(|| {
        format!("the answer is not HTTP/1.1 ({error}): {OTHER_PORT_HTTP}; is it one of TLS? https://host:port")
    })
}

const OTHER_PORT_HTTP: &str = "is it the gRPC port? --http takes the HTTP port, 8000 by default";
const OTHER_PORT_GRPC: &str = "is it the HTTP port? --grpc takes the gRPC port, 8001 by default";

fn of_http2(error: &h2::Error) -> Option<String> {
    // how h2 puts the end of a connection
    if error
        .get_io()
        .is_some_and(|io| io.to_string() == "stream closed because of a broken pipe")
    {
        return Some(CLOSED.to_owned());
    }
    let reason = error.reason()?;
    let who = if error.is_remote() { "the server" } else { "the client" };
    if error.is_reset() {
        return Some(format!("{who} reset the stream (RST_STREAM, {reason:?}: {reason})"));
    }
    // HTTP/1.1's "HTTP/1.1 400" read as a frame's head announces a frame of 4.7 MB, an alert of TLS one of 1.4 MB
    if !error.is_remote() && reason == h2::Reason::FRAME_SIZE_ERROR {
        let words = "the server does not speak HTTP/2, perhaps HTTP/1.1, or TLS first";
        return Some(format!("{words}: {OTHER_PORT_GRPC}; is it one of TLS? grpcs://host:port"));
    }
    error
        .is_go_away()
        .then(|| format!("{who} ended the connection (GOAWAY, {reason:?}: {reason})"))
}

/// The message for bytes that do not begin an HTTP/1.1 answer.
pub(in crate::protocol) fn of_no_http(bytes: &[u8], cause: &str) -> String {
    // an HTTP/2 server first sends a SETTINGS frame on stream 0
    let settings = matches!(bytes, [0, _, _, 4, _, 0, 0, 0, 0, ..]);
    // an alert of TLS 1.x
    let alert = matches!(bytes, [0x15, 3, ..]);
    let hint = match (settings, alert) {
        (true, _) => format!(", it is HTTP/2: {OTHER_PORT_HTTP}"),
        (_, true) => ", it is TLS: write https://host:port".to_owned(),
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

/// What servers answer in HTTP about TLS, and what to do about it: some accept every connection, and refuse only then.
const ABOUT_TLS: [(&str, &str); 5] = [
    // nginx
    ("No required SSL certificate was sent", "name the client's certificate for TLS with tls_certificate and tls_key"),
    (
        "The SSL certificate error",
        "it refuses the client's certificate for TLS: name a valid one of an authority that it trusts with tls_certificate and tls_key",
    ),
    ("The plain HTTP request was sent to HTTPS port", ENCRYPT),
    // Apache, and Go
    ("speaking plain HTTP to an SSL-enabled server port", ENCRYPT),
    ("Client sent an HTTP request to an HTTPS server", ENCRYPT),
];
const ENCRYPT: &str = "this is a port of TLS: write https://host:port, or grpcs://host:port for gRPC";

/// The message for a page that is about TLS; `None` for any other.
pub(in crate::protocol) fn of_tls_page(status: StatusCode, body: &[u8]) -> Option<String> {
    if status != StatusCode::BAD_REQUEST {
        return None;
    }
    let body = String::from_utf8_lossy(body);
    let (words, help) = ABOUT_TLS.into_iter().find(|(words, _)| body.contains(words))?;
    Some(format!("HTTP {}: \"{words}\": {help}", status.as_u16()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say_of_tls_names_the_remedy() {
        let of = |body: &str| of_tls_page(StatusCode::BAD_REQUEST, body.as_bytes()).unwrap_or_default();
        let page = |title: &str| of(&format!("<html>\r\n<head><title>400 {title}</title></head></html>"));
        assert!(page("No required SSL certificate was sent").contains("tls_certificate and tls_key"));
        assert!(page("The plain HTTP request was sent to HTTPS port").contains("https://"));
        assert!(of("Client sent an HTTP request to an HTTPS server.\n").contains("https://"));
        assert_eq!(page("Bad Request"), "");
        assert_eq!(of_tls_page(StatusCode::OK, b"The SSL certificate error"), None);
        // an alert, instead of an answer
        assert!(of_no_http(&[0x15, 3, 3, 0, 2, 2, 70], "no status").ends_with("it is TLS: write https://host:port"));
    }
}
