//! What parent and worker say to each other, as JSON lines over a duplex stream. Must not know what the stream is.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::protocol::verify::Expected;
use crate::protocol::{Address, Fault, Request};
use crate::recorder::RecorderWire;
use crate::scenario::{Arrival, Encode, Input, Model, Protocol};
use crate::tensor::{Tensors, bytes_of};

/// From the parent to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum ToWorker {
    /// Connect, verify an answer, warm up, say `Ready`.
    Order(Order),
    /// Measure one block, say `Done`.
    Block(Block),
}

/// What a worker is to do in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Order {
    pub protocol: Protocol,
    /// The server's.
    pub address: Address,
    pub model: Model,
    pub inputs: Vec<Input>,
    /// The outputs to ask for, and what they have to look like.
    pub outputs: Vec<Expected>,
    pub batch_size: u32,
    /// Requests in flight; in an open loop at most so many.
    pub concurrency: u32,
    pub connections: u32,
    pub encode: Encode,
    /// How tensors travel.
    pub tensors: Tensors,
    /// Whether requests will come whether or not earlier ones were answered.
    pub open_loop: bool,
    /// Requests before anything is measured.
    pub warmup: u64,
    /// Longest time for them, if there is a cap; at least one is sent all the same.
    pub warmup_cap_ms: Option<u64>,
    /// Longest wait for one answer.
    pub timeout_ms: u64,
}

impl Order {
    /// The request with its tensors' bytes.
    ///
    /// # Errors
    /// Input data cannot be had.
    pub fn request(&self) -> anyhow::Result<Request> {
        let batch = if self.model.batching { Some(self.batch_size) } else { None };
        let tensor = |input: &Input| {
            Ok(crate::protocol::InputTensor {
                name: input.name.clone(),
                datatype: input.datatype,
                shape: batch.map(u64::from).into_iter().chain(input.shape.iter().map(|size| *size as u64)).collect(),
                bytes: bytes_of(input.datatype, &input.shape, batch.unwrap_or(1) as usize, &input.data)?,
            })
        };
        Ok(Request {
            model: self.model.name.clone(),
            version: self.model.version.clone(),
            inputs: self.inputs.iter().map(tensor).collect::<anyhow::Result<_>>()?,
            outputs: self.outputs.iter().map(|output| output.name.clone()).collect(),
            tensors: self.tensors,
        })
    }
}

/// One block of a case.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Block {
    /// Requests to send, at least.
    pub iterations: u64,
    /// How long to go on, at least.
    pub duration_ns: Option<u64>,
    /// No request begins later than this after the block's start; the first one always does.
    pub cap_ns: Option<u64>,
    /// When requests are due; without it, each waits for the one before.
    pub arrivals: Option<Arrivals>,
    /// All workers begin at this instant, in nanoseconds of the Unix epoch.
    pub start_unix_ns: u64,
}

/// How the requests of an open loop arrive.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Arrivals {
    /// Requests a second of all processes together.
    pub rate: f64,
    pub arrival: Arrival,
    pub seed: u64,
    /// Number of the block.
    pub block: u32,
    /// Which of how many processes this is.
    pub process: u32,
    pub processes: u32,
}

impl Block {
    /// Requests of this process in an open loop: as many as iterations and time ask for.
    pub fn arrivals_count(&self, arrivals: &Arrivals) -> u64 {
        let seconds = self.duration_ns.unwrap_or(0) as f64 / 1e9;
        let of_time = (seconds * arrivals.rate / f64::from(arrivals.processes)).round() as u64;
        self.iterations.max(of_time).max(1)
    }
}

/// From a worker to the parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// Connected, one answer verified, warmed up.
    Ready {
        /// Requests answered so far.
        requests: u64,
        /// Requests that failed meanwhile, and were sent again.
        errors: u64,
    },
    /// Still alive. At most once a second.
    Progress {
        /// The part of the block that is done, from 0 to 1.
        done: f64,
    },
    /// A block's result.
    Done(BlockDone),
    /// The worker cannot go on.
    Failed(Fault),
}

/// What a process takes of the machine; zeros where that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Usage {
    pub user_ns: u64,
    pub system_ns: u64,
    /// Context switches because the process waited.
    pub voluntary: u64,
    /// Context switches because others had their turn.
    pub involuntary: u64,
}

/// What went over connections, headers and framing included, in bytes; and how many connections were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Traffic {
    pub sent: u64,
    pub received: u64,
    pub connections: u64,
}

/// How the answers of timed requests were checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// By comparing: names, types, shapes and sizes are those of the verified answer, byte for byte.
    pub compared: u64,
    /// By reading them, once the clock was stopped.
    pub read: u64,
}

impl AddAssign for Checks {
    fn add_assign(&mut self, other: Checks) {
        self.compared += other.compared;
        self.read += other.read;
    }
}

impl Usage {
    /// User and system.
    pub fn cpu_ns(&self) -> u64 {
        self.user_ns + self.system_ns
    }

    /// What was added since `earlier`.
    pub fn since(&self, earlier: &Usage) -> Usage {
        Usage {
            user_ns: self.user_ns.saturating_sub(earlier.user_ns),
            system_ns: self.system_ns.saturating_sub(earlier.system_ns),
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Usage) {
        self.user_ns += other.user_ns;
        self.system_ns += other.system_ns;
        self.voluntary += other.voluntary;
        self.involuntary += other.involuntary;
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.sent += other.sent;
        self.received += other.received;
        self.connections += other.connections;
    }
}

/// What one worker measured in one block.
#[derive(Debug, Serialize, Deserialize)]
pub struct BlockDone {
    /// Latencies and errors.
    pub recorder: RecorderWire,
    /// First send, in nanoseconds of the Unix epoch.
    pub first_unix_ns: u64,
    /// Last answer, in nanoseconds of the Unix epoch.
    pub last_unix_ns: u64,
    /// What the worker took of the machine in the block.
    pub usage: Usage,
    /// What went over its connections.
    pub traffic: Traffic,
    /// One of the errors, in words.
    pub example: Option<Fault>,
    /// Requests that were due in an open loop; `None` in the closed one.
    pub due: Option<u64>,
    /// Of these, requests that were sent late because as many were in flight as may be.
    pub held_back: u64,
    /// Whether the worker stopped early because requests kept failing.
    pub gave_up: bool,
    /// How good answers were checked.
    pub checks: Checks,
    /// How late the worker's timer was at worst, in nanoseconds: so long it did not run, whatever the server did.
    pub stall_ns: u64,
}
