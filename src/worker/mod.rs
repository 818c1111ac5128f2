//! Worker processes: the parent's side, the child's side, and the messages between them.

pub mod child;
mod crew;
pub mod message;
pub mod pace;
mod patience;
pub mod pool;
pub mod share;
mod timeline;
