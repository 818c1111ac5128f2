//! How the program handles servers that describe themselves less than Triton, differently, late or never.

mod damage;
mod described;
mod grpc;
#[cfg(target_os = "linux")]
mod memory;
#[path = "../embedded/mutate.rs"]
#[allow(dead_code)]
mod mutate;
mod server;
mod silence;
