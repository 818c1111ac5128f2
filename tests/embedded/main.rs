//! The embedded server from outside: each test starts its own `runner serve` on ports that the system picks.

mod behaviour;
mod client;
mod faults;
mod init;
mod limits;
mod malformed_grpc;
mod malformed_http;
mod mutate;
mod repository;
mod server;
mod serving;
