//! Errors for refused requests and models: Triton's error codes, and their HTTP and gRPC equivalents.

use std::fmt;

use http::StatusCode;
use tonic::Code as GrpcCode;

/// Triton's kinds of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// An invalid request.
    InvalidArgument,
    /// No such model, version or endpoint.
    NotFound,
    /// A model that exists but cannot be used now.
    Unavailable,
    /// Something this server does not offer.
    Unsupported,
    /// Everything else; also, as in Triton, JSON that cannot be read.
    Internal,
}

/// An error with its kind and a message for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The kind.
    pub code: Code,
    /// The problem, with the name and the value.
    pub message: String,
}

impl Error {
    /// An error of a kind, with its message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }

    /// [`Code::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(Code::InvalidArgument, message)
    }

    /// [`Code::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Error::new(Code::Unsupported, message)
    }

    /// [`Code::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(Code::Internal, message)
    }

    /// The HTTP status.
    pub fn http_status(&self) -> StatusCode {
        match self.code {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// gRPC clients accept 8 KB of headers, which include the escaped message; names from a request may be longer.
const GRPC_MESSAGE_MAX: usize = 2048;

fn shortened(mut message: String) -> String {
    if message.len() > GRPC_MESSAGE_MAX {
        let end = (0..=GRPC_MESSAGE_MAX).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        let code = match error.code {
            Code::InvalidArgument => GrpcCode::InvalidArgument,
            Code::NotFound => GrpcCode::NotFound,
            Code::Unavailable => GrpcCode::Unavailable,
            Code::Unsupported => GrpcCode::Unimplemented,
            Code::Internal => GrpcCode::Internal,
        };
        tonic::Status::new(code, shortened(error.message))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
