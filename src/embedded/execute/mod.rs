//! Execution of a validated request: scheduling, batching, the ONNX engine and models of known behaviour. Must not
//! know connections.

pub mod backend;
pub mod batching;
pub mod engine;
pub mod infer;
pub mod loopback;
pub mod onnx;
pub mod remembered;
pub mod scheduler;
pub mod values;
