//! Worker processes: the parent's side, the child's side, and the messages between them.

pub mod block_run;
pub mod child;
mod deadline;
mod generator;
pub mod message;
pub mod pace;
pub mod pool;
mod references;
mod requests;
mod spec;
mod timeline;
