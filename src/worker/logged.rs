//! What a worker and its parent say to each other of the requests that were logged. Must not know how they are logged.

use serde::{Deserialize, Serialize};

use crate::protocol::FaultKind;

/// The most requests of a block that a process logs: 64 MiB of memory.
pub const LOGGED_MAX: u64 = 1 << 20;

/// The requests that a piece has, but for the last: 2 MB as JSON at most, many times below the longest line.
pub const PIECE: usize = 8192;

/// What a parent asks of a worker's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogAsk {
    /// Reserve memory for so many requests of each of the next blocks.
    Reserve(u64),
    /// Send the next piece of the last block's requests, from this number on.
    Read(u64),
}

/// A worker's answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogAnswer {
    /// The memory is there.
    Reserved,
    /// [`PIECE`] requests, in the order of their numbers; fewer end the log.
    Requests(Vec<LoggedRequest>),
}

/// A request that was timed. Times are in nanoseconds from the instant at which all workers were to begin the block, by the
/// monotonic clock of the worker's machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedRequest {
    /// When it was due; `None` in a closed loop.
    pub due_ns: Option<u64>,
    /// When it began.
    pub start_ns: u64,
    /// When its last byte was with the system; `None` if it never was, or several requests share a connection.
    pub sent_ns: Option<u64>,
    /// When the answer's head was there; `None` if it never was.
    pub head_ns: Option<u64>,
    /// When the answer's last byte was there, or the request had failed.
    pub done_ns: u64,
    /// Bytes sent on its connection until it ended, headers and framing included; of a shared connection those of its body.
    pub bytes_sent: u64,
    /// Bytes received, likewise; of a shared connection those of the answer's body.
    pub bytes_received: u64,
    /// The number of its content among the distinct ones; `None` if its connection could not be made again before it.
    pub distinct: Option<u32>,
    /// Index of its connection in the process.
    pub connection: u32,
    /// Why it has no good answer; `None` if it has.
    pub error: Option<FaultKind>,
}
