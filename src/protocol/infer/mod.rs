//! The timed path: a request encoded beforehand, over HTTP/1.1 and over gRPC. Must not know what is measured.

pub mod grpc;
pub(in crate::protocol) mod grpc_head;
pub mod http;
pub mod http1;
mod http1_answer;
