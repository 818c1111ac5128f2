//! Servers that tell less of themselves than Triton, tell it otherwise, late or never: what the program makes of them.

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
