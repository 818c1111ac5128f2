//! Worker processes: the parent's side, the child's side, and the messages between them.

pub mod block_run;
pub mod child;
mod deadline;
mod generator;
pub mod logged;
pub mod message;
pub mod outcome;
pub mod pace;
pub mod pool;
mod references;
pub mod request_log;
mod requests;
pub mod schedule;
pub mod seat;
mod spec;
pub mod steady;
mod timeline;
