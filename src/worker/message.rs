//! Messages between parent and worker, as JSON lines over a duplex stream. Must not know what the stream is.

use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::logged::{LogAnswer, LogAsk};
use super::steady::Settled;
use crate::address::Address;
use crate::matrix::{Encode, Protocol};
use crate::protocol::Fault;
use crate::protocol::verify::Expected;
use crate::recorder::{PartSnapshot, RecorderSnapshot};
use crate::scenario::{ArrivalProcess, Input, Model, StopRule, Warmup};
use crate::tensor::{Parameters, Tensors};

/// From the parent to a worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum ToWorker {
    /// Connect, verify an answer, warm up, send `Ready`.
    Job(Job),
    /// Measure one block, send `Done`.
    Block(Block),
    /// Send an answer about the log of requests.
    Log(LogAsk),
}

/// A worker's job in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Job {
    pub protocol: Protocol,
    /// The server's address.
    pub address: Address,
    pub model: Model,
    pub inputs: Vec<Input>,
    /// The outputs to ask for, and their expected shapes and types.
    pub outputs: Vec<Expected>,
    pub batch_size: u32,
    /// Requests in flight; in an open loop, the maximum.
    pub concurrency: u32,
    pub connections: u32,
    pub encode: Encode,
    /// How tensors travel.
    pub tensors: Tensors,
    pub parameters: Parameters,
    /// Different requests to send; `None`: as many as the data makes.
    pub distinct: Option<u32>,
    /// Whether every request has an id.
    pub request_ids: bool,
    /// Of so many answers the content of one is checked.
    pub verify_every: u64,
    /// Whether the answer to every distinct request is checked before measuring.
    pub verify_all: bool,
    /// Whether requests will be sent without waiting for earlier answers.
    pub open_loop: bool,
    /// How they then arrive; of recorded instants those of one worker.
    pub arrival: ArrivalProcess,
    /// What is sent before measuring starts.
    pub warmup: Warmup,
    /// No warm-up request starts later than this after preparation began.
    pub warmup_cap_ms: Option<u64>,
    /// Longest wait for one answer.
    pub timeout_ms: u64,
}

impl Job {
    /// The same job where data files are elsewhere.
    pub fn with_files(mut self, places: &[(PathBuf, PathBuf)]) -> Job {
        let place = |path: &mut PathBuf| {
            if let Some((_, there)) = places.iter().find(|(here, _)| here == path) {
                path.clone_from(there);
            }
        };
        self.inputs.iter_mut().filter_map(|input| input.data.file_mut()).for_each(place);
        self.outputs
            .iter_mut()
            .filter_map(|output| output.expect.as_mut()?.file_mut())
            .for_each(place);
        self
    }

    /// The same job for one of some workers.
    pub fn of_process(&self, process: u32, processes: u32) -> Job {
        Job { arrival: self.arrival.of_process(process, processes), ..self.clone() }
    }

    /// Items of a request.
    pub fn items(&self) -> usize {
        if self.model.batching { self.batch_size as usize } else { 1 }
    }
}

/// What an order is drawn from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Draw {
    pub seed: u64,
    /// Number of the block.
    pub block: u32,
    /// Index of this process.
    pub process: u32,
}

/// What the requests of a block are held against.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Requests that are due earlier than this after the block's start are not.
    pub after: Duration,
    /// The longest times that are good; `None` where only failures are bad.
    pub limits: Vec<Option<Duration>>,
    /// Once so many requests of this process are bad, for each limit, the block ends.
    pub hopeless: Vec<u64>,
}

impl Judge {
    /// Every request is held against limits, and none ends the block. `None` without limits.
    pub fn of_all(limits: Vec<Option<Duration>>) -> Option<Self> {
        let hopeless = vec![u64::MAX; limits.len()];
        (!limits.is_empty()).then_some(Judge { after: Duration::ZERO, limits, hopeless })
    }
}

/// How requests of a block were held against limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// Requests, answered or not.
    pub requests: u64,
    /// Those that failed or took longer, for each limit.
    pub bad: Vec<u64>,
}

impl Judged {
    /// Both added up.
    pub fn with(mut self, other: &Judged) -> Judged {
        self.requests = self.requests.saturating_add(other.requests);
        self.bad.resize(self.bad.len().max(other.bad.len()), 0);
        self.bad
            .iter_mut()
            .zip(&other.bad)
            .for_each(|(all, one)| *all = all.saturating_add(*one));
        self
    }
}

/// One block of a case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Block {
    /// When the block ends; times count from its start.
    pub stop: StopRule,
    /// The arrival schedule; without it, each request waits for the one before.
    pub arrivals: Option<Arrivals>,
    /// What the order of distinct requests is drawn from.
    pub order: Draw,
    /// From an answer to the next request, in a closed loop.
    pub think_time: Duration,
    /// What its requests are held against, if anything.
    pub judge: Option<Judge>,
    /// The instant at which all workers start, by the shared clock of the worker's machine, in nanoseconds.
    pub start_ns: u64,
}

/// Arrivals of an open loop's requests.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Arrivals {
    /// Requests a second, all processes together.
    pub rate: f64,
    pub seed: u64,
    /// Number of the block.
    pub block: u32,
    /// Index of this process among `processes`.
    pub process: u32,
    pub processes: u32,
}

impl Block {
    /// Requests of this process in an open loop: as many as iterations and time demand.
    pub fn arrivals_count(&self, arrivals: &Arrivals) -> u64 {
        let seconds = self.stop.least.unwrap_or_default().as_secs_f64();
        let of_time = (seconds * arrivals.rate / f64::from(arrivals.processes)).round() as u64;
        self.stop.requests.max(of_time).max(1)
    }

    /// How many of them fit into the block's longest time: at least one.
    pub fn scheduled(&self, arrivals: &Arrivals) -> u64 {
        let asked = self.arrivals_count(arrivals);
        let fitting = |most: Duration| (most.as_nanos() as f64 / arrivals.length_ns(1) + 1e-9) as u64;
        self.stop.most.map_or(asked, |most| asked.min(fitting(most)).max(1))
    }
}

impl Arrivals {
    /// The time over which the rate spreads `count` requests per process, in nanoseconds.
    pub fn length_ns(&self, count: u64) -> f64 {
        1e9 * count as f64 * f64::from(self.processes) / self.rate
    }
}

/// From a worker to the parent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum FromWorker {
    /// Connected, one answer verified, warmed up.
    Ready(Prepared),
    /// Still alive. At most once a second.
    Progress {
        /// The completed fraction of the block, from 0 to 1.
        done: f64,
    },
    /// A block's result.
    Done(BlockDone),
    /// About the log of requests.
    Log(LogAnswer),
    /// The worker cannot go on.
    Failed(Fault),
}

/// What a worker did until it was ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Requests answered so far.
    pub requests: u64,
    /// Requests that failed meanwhile and were repeated.
    pub errors: u64,
    /// Different requests that are sent.
    pub distinct: u64,
    /// The time for which it warmed up.
    #[serde(default)]
    pub warmed_up: Duration,
    /// Whether latencies were not steady by then although they should be.
    #[serde(default)]
    pub is_unsteady: bool,
    /// What the first request with a good answer took, its connection included.
    #[serde(default)]
    pub first: Duration,
    /// What came before latencies were steady, if they were waited for.
    #[serde(default)]
    pub settled: Option<Settled>,
}

impl Prepared {
    /// That of several workers of one case.
    pub fn with(self, other: Prepared) -> Prepared {
        Prepared {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            distinct: self.distinct.max(other.distinct),
            warmed_up: self.warmed_up.max(other.warmed_up),
            is_unsteady: self.is_unsteady || other.is_unsteady,
            first: self.first.max(other.first),
            settled: self.settled.or(other.settled),
        }
    }
}

/// A process's use of the machine; zeros if it cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Usage {
    pub user_ns: u64,
    pub system_ns: u64,
    /// Context switches because the process waited.
    pub voluntary: u64,
    /// Context switches because others took their turn.
    pub involuntary: u64,
}

/// Bytes sent and received, headers and framing included, and the number of connections made.
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
    /// Answers compared: names, types, shapes and sizes equal those of the verified answer, byte for byte.
    pub compared: u64,
    /// Answers read, after the clock was stopped.
    pub read: u64,
    /// Answers whose content was compared with the expected one.
    #[serde(default)]
    pub verified: u64,
}

impl AddAssign for Checks {
    fn add_assign(&mut self, other: Checks) {
        self.compared = self.compared.saturating_add(other.compared);
        self.read = self.read.saturating_add(other.read);
        self.verified = self.verified.saturating_add(other.verified);
    }
}

impl Usage {
    /// User and system time.
    pub fn cpu_ns(&self) -> u64 {
        self.user_ns.saturating_add(self.system_ns)
    }

    /// The increase since `earlier`.
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
        self.user_ns = self.user_ns.saturating_add(other.user_ns);
        self.system_ns = self.system_ns.saturating_add(other.system_ns);
        self.voluntary = self.voluntary.saturating_add(other.voluntary);
        self.involuntary = self.involuntary.saturating_add(other.involuntary);
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Traffic) {
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.connections = self.connections.saturating_add(other.connections);
    }
}

/// The load that a schedule offered to the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Requests in the schedule.
    pub requests: u64,
    /// The schedule's start, on the time line of its block's other times.
    #[serde(alias = "begin_unix_ns")]
    pub begin_ns: u64,
    /// The time over which it spreads the requests.
    pub length_ns: u64,
    /// The longest response time of requests due in its first half.
    pub slowest_early_ns: u64,
}

impl Offered {
    /// Both added up.
    pub fn with(self, other: Offered) -> Offered {
        Offered {
            requests: self.requests.saturating_add(other.requests),
            begin_ns: self.begin_ns.min(other.begin_ns),
            length_ns: self.length_ns.max(other.length_ns),
            slowest_early_ns: self.slowest_early_ns.max(other.slowest_early_ns),
        }
    }

    /// The time the server needed for the offered load, if it completed `settled` requests by `last_ns`.
    ///
    /// A server that keeps up handles N requests in the time over which they are spread; its last answers only come
    /// later by an ordinary response time. A server that does not keep up builds a backlog: its last answer comes
    /// later after the schedule's end than any response of the first half took, and than the fastest of all. Its time
    /// runs to the last answer.
    pub fn window_ns(&self, last_ns: u64, settled: u64, fastest_ns: u64) -> u64 {
        let taken = last_ns.saturating_sub(self.begin_ns);
        let behind = taken.saturating_sub(self.length_ns);
        // a single request proves nothing
        let deadline = if self.requests > 1 { self.slowest_early_ns.max(fastest_ns) } else { 0 };
        match settled >= self.requests && behind <= deadline {
            true => self.length_ns,
            false => taken,
        }
    }
}

/// The measurements of one worker in one block. Its times are by the shared clock of the worker's machine; where it is kept,
/// of the Unix epoch.
#[derive(Debug, Serialize, Deserialize)]
pub struct BlockDone {
    /// Latencies and errors.
    pub recorder: RecorderSnapshot,
    /// When the worker began, in nanoseconds; of several the first and the last. `None` in what earlier versions kept.
    #[serde(default)]
    pub begun_ns: Option<(u64, u64)>,
    /// First send, in nanoseconds.
    #[serde(alias = "first_unix_ns")]
    pub first_ns: u64,
    /// Last answer, in nanoseconds.
    #[serde(alias = "last_unix_ns")]
    pub last_ns: u64,
    /// The worker's use of the machine in the block.
    pub usage: Usage,
    /// Traffic of its connections.
    pub traffic: Traffic,
    /// The last error.
    pub example: Option<Fault>,
    /// The first error of each kind; empty in what earlier versions kept.
    #[serde(default)]
    pub examples: Vec<Fault>,
    /// What requests without a good answer took, in nanoseconds; `None` in what earlier versions kept.
    #[serde(default)]
    pub failed_ns: Option<u64>,
    /// The load offered by an open loop's schedule; `None` in a closed loop.
    pub offered: Option<Offered>,
    /// Requests of the schedule that were sent late because the maximum number was in flight.
    pub held_back: u64,
    /// Whether the worker stopped early because requests kept failing.
    pub aborted: bool,
    /// How good answers were checked.
    pub checks: Checks,
    /// How requests were held against limits; `None` if they were not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged: Option<Judged>,
    /// What became of the requests of each stage of the schedule; empty if it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<PartSnapshot>,
    /// The worst lateness of the worker's timer, in nanoseconds: a pause of the worker, not of the server.
    pub stall_ns: u64,
}

impl BlockDone {
    /// Moves its times to a time line whose zero is `by_ns` before that of the worker's clock.
    pub fn moved(mut self, by_ns: i64) -> Self {
        let move_ns = |time: &mut u64| *time = time.saturating_add_signed(by_ns);
        let times = [&mut self.first_ns, &mut self.last_ns].into_iter();
        times
            .chain(self.offered.as_mut().map(|offered| &mut offered.begin_ns))
            .for_each(move_ns);
        if let Some((first, last)) = &mut self.begun_ns {
            [first, last].into_iter().for_each(move_ns);
        }
        self
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
