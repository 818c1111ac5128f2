//! The client-facing side: connections, HTTP, gRPC, JSON, and the memory that requests may hold. Must not know how
//! models are executed.

pub mod buffers;
pub mod connection;
pub mod grpc;
pub mod http;
pub mod json;
pub mod json_answer;
pub mod memory;
pub mod message;
