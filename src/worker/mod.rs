//! Worker processes: the parent's side, the child's side, and the messages between them.

pub mod child;
pub mod message;
pub mod pool;
mod timeline;
