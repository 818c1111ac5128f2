//! Worker processes: the parent's side, the child's side, and the messages between them.

pub mod block_run;
pub mod child;
mod deadline;
mod generator;
pub mod message;
pub mod outcome;
pub mod pace;
pub mod pool;
mod references;
mod requests;
pub mod schedule;
pub mod seat;
mod spec;
mod timeline;
