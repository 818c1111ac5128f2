//! What parent and worker say to each other, as JSON lines over a duplex stream. Must not know what the stream is.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::protocol::control::TensorMetadata;
use crate::protocol::{Fault, Request};
use crate::recorder::RecorderWire;
use crate::scenario::{Input, Model, Protocol};
use crate::tensor::bytes_of;

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
    /// `host:port`.
    pub address: String,
    pub model: Model,
    pub inputs: Vec<Input>,
    /// The outputs to ask for, and what they have to look like.
    pub outputs: Vec<TensorMetadata>,
    pub batch_size: u32,
    /// Requests in flight, each on a connection of its own.
    pub concurrency: u32,
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
        })
    }
}

/// One block of a case.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Block {
    /// Requests to send.
    pub iterations: u64,
    /// No request begins later than this after the block's start; the first one always does.
    pub cap_ms: Option<u64>,
    /// All workers begin at this instant, in nanoseconds of the Unix epoch.
    pub start_unix_ns: u64,
}

/// From a worker to the parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromWorker {
    /// Connected, one answer verified, warmed up.
    Ready {
        /// Requests answered so far.
        requests: u64,
    },
    /// Still alive; requests finished in this block, or in the warmup. At most once a second.
    Progress {
        /// Requests finished.
        requests: u64,
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

/// Bytes on connections, headers and framing included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Traffic {
    pub sent: u64,
    pub received: u64,
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
    /// Whether the worker stopped early because requests kept failing.
    pub gave_up: bool,
}
