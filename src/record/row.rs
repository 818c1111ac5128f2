//! The rows of a run: one a case, and one a case and block.

use serde::{Deserialize, Serialize};

use super::case_name;
use crate::plan::{Arm, Case};
use crate::scenario::{Arrival, Encode, Protocol};
use crate::tensor::Tensors;

/// How a case ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every request that was sent was answered.
    Ok,
    /// Measured to the end, but some requests failed.
    Errors,
    /// Could not be measured to the end.
    Failed,
    /// The user stopped the run while it was measured.
    Interrupted,
    /// Not begun.
    #[default]
    NotRun,
}

impl Status {
    /// The spelling of results.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Errors => "errors",
            Status::Failed => "failed",
            Status::Interrupted => "interrupted",
            Status::NotRun => "not_run",
        }
    }
}

/// One case. Latencies are in milliseconds to the answer's last byte: in a closed loop from the request's start, in an
/// open one (with a rate) from the instant at which it was due.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Record {
    pub scenario: String,
    pub model: String,
    pub server: String,
    pub server_version: String,
    /// What the server says of the model's weights; empty when it says nothing.
    pub weights: String,
    pub protocol: Protocol,
    /// Which of two equal cases it is (`--aa`).
    pub arm: Option<Arm>,
    pub batch_size: u32,
    pub processes: u32,
    /// Requests in flight in one process; with a rate, at most so many.
    pub concurrency: u32,
    /// Connections of one process; older files have one for each request in flight and do not tell.
    #[serde(default)]
    pub connections: Option<u32>,
    /// Requests a second that were to come from all processes together; `None` in a closed loop.
    #[serde(default)]
    pub rate: Option<f64>,
    /// How they were to arrive; `None` in a closed loop.
    #[serde(default)]
    pub arrival: Option<Arrival>,
    #[serde(default)]
    pub encode: Encode,
    pub status: Status,
    /// Why the status is not `ok`; empty otherwise.
    pub reason: String,
    /// What makes the row doubtful though its status is `ok`: see [`flags`].
    #[serde(default)]
    pub flags: String,
    /// Requests asked for, over all processes; `None` where time alone ended the case.
    pub requests_planned: Option<u64>,
    /// Requests answered.
    pub requests: u64,
    /// Requests without a good answer.
    pub errors: u64,
    /// Errors by kind, such as `timeout=2 server=1`.
    pub error_kinds: String,
    /// Requests without a good answer while processes connected, were verified and warmed up; not among `errors`.
    #[serde(default)]
    pub errors_preparing: Option<u64>,
    /// Of the answers, those whose names, types, shapes and sizes equal the verified one's byte for byte ..
    #[serde(default)]
    pub answers_compared: Option<u64>,
    /// .. and those that differ from it or vary in size, which were read and checked once the clock was stopped.
    #[serde(default)]
    pub answers_read: Option<u64>,
    /// How tensors travelled: as raw bytes or, to a server that takes nothing else over HTTP, as JSON.
    #[serde(default)]
    pub tensors: Option<Tensors>,
    pub mean_ms: Option<f64>,
    pub stddev_ms: Option<f64>,
    pub min_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// How many independent requests the answered ones are worth.
    pub effective_requests: Option<f64>,
    /// 95 % intervals: of the mean by its blocks, of the percentiles by order statistics of independent requests.
    pub mean_low_ms: Option<f64>,
    pub mean_high_ms: Option<f64>,
    pub p50_low_ms: Option<f64>,
    pub p50_high_ms: Option<f64>,
    pub p95_low_ms: Option<f64>,
    pub p95_high_ms: Option<f64>,
    pub p99_low_ms: Option<f64>,
    pub p99_high_ms: Option<f64>,
    /// The same from the request's start alone; `None` in a closed loop, where it is the latency.
    pub service_mean_ms: Option<f64>,
    pub service_p50_ms: Option<f64>,
    pub service_p95_ms: Option<f64>,
    pub service_p99_ms: Option<f64>,
    pub service_max_ms: Option<f64>,
    /// How late requests were sent; `None` in a closed loop.
    pub lateness_mean_ms: Option<f64>,
    pub lateness_p50_ms: Option<f64>,
    pub lateness_p99_ms: Option<f64>,
    pub lateness_max_ms: Option<f64>,
    /// Requests that were sent late because as many were in flight as may be; `None` in a closed loop.
    pub held_back: Option<u64>,
    /// Mean of what the client took until a request's last byte was handed to the system.
    pub send_mean_ms: Option<f64>,
    /// Mean of what it waited before the answer's head: for the network, the server's front end, its queue and the model.
    pub wait_mean_ms: Option<f64>,
    /// Mean from there to the answer's last byte.
    pub receive_mean_ms: Option<f64>,
    /// The mean time from a request's start in parts that add up to it: what the client took to hand it over, ..
    pub client_ms: Option<f64>,
    /// .. the network and the server's front end, which is what remains, ..
    pub network_ms: Option<f64>,
    /// .. and by the server's statistics over the blocks of this case its queue and the model.
    pub queue_ms: Option<f64>,
    pub compute_input_ms: Option<f64>,
    pub compute_infer_ms: Option<f64>,
    pub compute_output_ms: Option<f64>,
    /// Items in an execution of the model.
    pub avg_batch: Option<f64>,
    /// Requests that the server counted over the blocks of this case, and those that its response cache answered.
    pub server_requests: Option<u64>,
    pub server_cache_hits: Option<u64>,
    /// Items a second, from first send to last answer, summed over the blocks.
    pub inferences_per_s: Option<f64>,
    pub requests_per_s: Option<f64>,
    /// Requests a second that the client reaches where a server answers at once (`--calibrate`).
    pub client_ceiling_per_s: Option<f64>,
    /// CPU time of the client a request, user and system.
    pub client_cpu_ms: Option<f64>,
    /// CPU time of all client processes over the case, in seconds.
    pub client_user_s: Option<f64>,
    pub client_system_s: Option<f64>,
    /// Context switches of all client processes over the case: waiting, and taken off a core.
    pub context_switches_voluntary: Option<u64>,
    pub context_switches_involuntary: Option<u64>,
    /// Bytes handed to the system and taken from it, headers and framing included.
    #[serde(default)]
    pub bytes_sent: u64,
    #[serde(default)]
    pub bytes_received: u64,
    /// Connections that were made while requests were timed: what it takes is in their latencies.
    #[serde(default)]
    pub reconnects: Option<u64>,
    /// How late a client process's timer was at worst: so long it did not run, whatever the server did.
    #[serde(default)]
    pub client_stall_ms: Option<f64>,
    /// Blocks measured.
    pub blocks: u32,
    /// Requests of one process before anything was measured.
    pub warmup: u64,
    /// Whether measuring time was capped (`--quick`).
    pub quick: bool,
    pub started: String,
    pub ended: String,
    pub runner_version: String,
    pub git_revision: String,
}

/// One block of a case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BlockRecord {
    pub scenario: String,
    pub protocol: Protocol,
    pub arm: Option<Arm>,
    pub batch_size: u32,
    pub processes: u32,
    pub concurrency: u32,
    #[serde(default)]
    pub connections: Option<u32>,
    #[serde(default)]
    pub rate: Option<f64>,
    /// Number of the round, from 0.
    pub block: u32,
    /// Place of this case in the round, from 0.
    pub position: u32,
    pub requests: u64,
    pub errors: u64,
    pub mean_ms: Option<f64>,
    pub stddev_ms: Option<f64>,
    pub min_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// From first send to last answer of any process.
    pub duration_s: f64,
    pub requests_per_s: Option<f64>,
    pub client_cpu_ms: Option<f64>,
    pub started: String,
}

/// What makes a row doubtful, in the words of its column `flags`.
pub mod flags {
    /// The rate comes within 20 % of what the client reaches where a server answers at once: it may be the client's.
    pub const CLIENT_CEILING: &str = "client_ceiling";
    /// A client process was busy for most of the time.
    pub const CLIENT_CPU: &str = "client_cpu";
    /// The longest time of a case was over before what was asked for was done.
    pub const CAPPED: &str = "capped";
    /// In a closed loop, fewer requests were in flight on average than asked for (Little's law).
    pub const IN_FLIGHT: &str = "in_flight";
    /// The second half of the blocks differs from the first beyond chance.
    pub const DRIFT: &str = "drift";
    /// The server counted fewer requests than were answered.
    pub const SERVER_COUNTS: &str = "server_counts";
    /// The server counted more requests than were sent: others asked the model.
    pub const OTHER_TRAFFIC: &str = "other_traffic";
    /// The server told its statistics, but not over all blocks of this case.
    pub const NO_STATISTICS: &str = "no_statistics";
    /// The response cache answered instead of the model.
    pub const RESPONSE_CACHE: &str = "response_cache";
    /// A client process did not run for a tenth of a second or longer, and requests in flight look slow.
    pub const CLIENT_STALL: &str = "client_stall";
    /// More than one request in a hundred began with a new connection.
    pub const RECONNECTS: &str = "reconnects";
    /// Too few requests for a percentile of the tables.
    pub const FEW_REQUESTS: &str = "few_requests";
}

impl Record {
    /// Whether a flag is raised.
    pub fn is_flagged(&self, flag: &str) -> bool {
        self.flags.split(' ').any(|raised| raised == flag)
    }
}

impl Record {
    /// Its name in files.
    pub fn case_name(&self) -> String {
        case_name(&Case {
            protocol: self.protocol,
            arm: self.arm,
            batch_size: self.batch_size,
            processes: self.processes,
            concurrency: self.concurrency,
            connections: self.connections.unwrap_or(self.concurrency),
            rate: self.rate,
        })
    }
}

impl BlockRecord {
    /// Whether it is one of a case's.
    pub fn is_of(&self, case: &Record) -> bool {
        (self.protocol, self.arm, self.batch_size, self.processes, self.concurrency, self.connections, self.rate)
            == (case.protocol, case.arm, case.batch_size, case.processes, case.concurrency, case.connections, case.rate)
    }
}
