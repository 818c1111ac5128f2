//! The head of a gRPC call, and what heads and trailers of its answer say of its outcome. Must not know what is called.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use tonic::{Code, Status};

use crate::address::Address;
use crate::protocol::headers::Destination;
use crate::protocol::{Fault, FaultKind, words};

/// The service's part of every path.
pub(in crate::protocol) const SERVICE: &str = "/inference.GRPCInferenceService/";

/// The headers of a call.
///
/// # Errors
/// The address cannot be part of a URI.
pub(in crate::protocol) fn request_head(to: &Destination, path: &str) -> Result<http::Request<()>, Fault> {
    let Destination { address, headers } = to;
    let Address { authority, prefix, tls, host_header, .. } = address;
    let authority = host_header.as_ref().unwrap_or(authority);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut head = http::Request::new(());
    *head.method_mut() = http::Method::POST;
    *head.version_mut() = http::Version::HTTP_2;
    *head.uri_mut() = format!("{scheme}://{authority}{prefix}{path}").parse().map_err(|cause| {
        Fault::new(FaultKind::Connect, format!("the gRPC address \"{address}\" is not host:port: {cause}"))
    })?;
    *head.headers_mut() = headers.clone();
    head.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    head.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(head)
}

/// The gRPC status in headers or trailers; `None` if absent. A good answer's status is only compared: reading it
/// whole would copy all fields.
fn outcome_of(fields: &HeaderMap) -> Option<Result<(), Fault>> {
    if fields.get("grpc-status")?.as_bytes() == b"0" {
        return Some(Ok(()));
    }
    Status::from_header_map(fields).map(|status| Err(of_status(&status)))
}

/// The error for a gRPC status that is not OK, with the server's message.
fn of_status(status: &Status) -> Fault {
    let kind = match status.code() {
        Code::Unimplemented => FaultKind::Unsupported,
        Code::DeadlineExceeded => FaultKind::Timeout,
        Code::Unavailable => FaultKind::Unavailable,
        _ => FaultKind::Server,
    };
    let words = if status.message().is_empty() {
        "the server gives no reason"
    } else {
        status.message()
    };
    Fault::new(kind, format!("gRPC {:?}: {words}", status.code()))
}

/// Checks whether a message follows an answer's head.
///
/// # Errors
/// The head reports an error, or something other than gRPC answers.
pub(in crate::protocol) fn head_outcome(status: StatusCode, fields: &HeaderMap) -> Result<(), Fault> {
    // an answer without a body has its status in the headers
    if let Some(outcome) = outcome_of(fields) {
        return outcome;
    }
    let kind = fields.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
    if status.is_success() && kind.is_some_and(|kind| kind.starts_with("application/grpc")) {
        return Ok(());
    }
    Err(Fault::new(FaultKind::of_status(status.as_u16()), words::of_page(status, kind)))
}

/// Checks the status in an answer's trailers.
///
/// # Errors
/// The status is not OK, or missing.
pub(in crate::protocol) fn end_outcome(trailers: &HeaderMap) -> Result<(), Fault> {
    outcome_of(trailers)
        .unwrap_or_else(|| Err(Fault::new(FaultKind::Transport, "the answer ended without a gRPC status")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_goes_with_every_request_and_is_never_printed() {
        let headers =
            vec![("authorization".to_owned(), crate::address::HeaderSource::Text("Bearer s3cret".to_owned()))];
        let behind = request_head(&Destination::new(&Address::parse("a:1/triton").unwrap()).unwrap(), "/x").unwrap();
        assert_eq!(behind.uri(), "http://a:1/triton/x");
        let address = Address::parse("grpcs://a:1").unwrap();
        let address = Address { host_header: Some("m.example".to_owned()), headers, ..address };
        let head = request_head(&Destination::new(&address).unwrap(), "/x").unwrap();
        assert_eq!(head.uri(), "https://m.example/x");
        assert_eq!(head.headers()["authorization"], "Bearer s3cret");
        assert!(!format!("{head:?} {address:?}").contains("s3cret"));
    }

    #[test]
    fn a_page_is_no_answer_in_grpc() {
        let of = |status, kind: &'static str| {
            head_outcome(status, &HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]))
        };
        let page = of(StatusCode::BAD_GATEWAY, "text/html").unwrap_err();
        assert!(page.kind == FaultKind::Unavailable && page.message.starts_with("HTTP 502 with text/html"), "{page}");
        assert_eq!(of(StatusCode::NOT_FOUND, "text/html").unwrap_err().kind, FaultKind::Unsupported);
        assert!(of(StatusCode::OK, "text/html").is_err());
        assert!(of(StatusCode::OK, "application/grpc+proto").is_ok());
    }
}
