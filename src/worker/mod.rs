//! Worker processes: the parent's side, the child's side, and the messages between them.

pub mod child;
mod generator;
pub mod message;
pub mod pace;
mod deadline;
pub mod pool;
pub mod block_run;
mod timeline;
