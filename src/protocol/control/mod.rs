//! The control plane: what a server tells of itself and its models. Nobody times it; it is bounded in time and size.

mod bounded;
pub mod description;
pub mod metrics;
mod plane;
pub mod statistics;
mod unary;

pub use plane::Control;
