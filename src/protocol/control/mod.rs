//! The control plane: a server's descriptions of itself and its models. Not timed; bounded in time and size.

mod bounded;
pub mod description;
pub mod metrics;
mod plane;
pub mod statistics;
mod unary;

pub use plane::Control;
