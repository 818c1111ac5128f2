//! The rows of a case, from its blocks. Must not know how blocks are measured, or how rows are shown.

use super::host_rows::{HostTotals, Limits};
use crate::matrix::Point;
use crate::protocol::control::statistics::{Statistics, Sum};
use crate::record::{
    Columns, ErrorKinds, Flag, Flags, HostRecord, Record, StageRecord, Status, cpu_a_request, milliseconds, rate,
    rounded,
};
use crate::recorder::{Part, Recorder};
use crate::report::terminal::{SoFar, bars};
use crate::scenario::Load;
use crate::scenario::arrival::Ramp;
use crate::statistics::{self, Batches, Interval};
use crate::worker::message::{Checks, Judged, Traffic, Usage};
use crate::worker::outcome::BlockOutcome;

/// From this fraction of the client's ceiling on, the client may limit the rate.
pub const CEILING_SHARE: f64 = 0.8;
/// From this fraction of a core on, a client process may be the bottleneck.
pub const BUSY_SHARE: f64 = 0.9;
/// From this length on, scheduling does not explain a stall of a client process.
const STALL_NS: u64 = 100_000_000;
/// From this fraction of the requests on, the cost of new connections shows in the tables.
const RECONNECTS_SHARE: f64 = 0.01;
/// Little's law: the mean number in flight may be off by this.
const IN_FLIGHT_OFF: f64 = 0.05;

/// All rows of a case.
pub struct CaseRows {
    /// Its own.
    pub record: Record,
    /// Those of the hosts that measured it.
    pub hosts: Vec<HostRecord>,
    /// Those of the stages of its load.
    pub stages: Vec<StageRecord>,
}

impl CaseRows {
    /// Of a case that was not measured.
    pub fn alone(record: Record) -> Self {
        CaseRows { record, hosts: Vec::new(), stages: Vec::new() }
    }
}

/// The totals of a case's blocks.
pub struct CaseTotals {
    /// Latencies and their parts.
    pub recorder: Recorder,
    /// From first send to last answer, summed over the blocks.
    pub window_ns: u64,
    /// Resources that the client processes used.
    pub usage: Usage,
    /// Bytes on the connections.
    pub traffic: Traffic,
    /// What requests without a good answer took, in nanoseconds; `None` if a block does not tell.
    pub failed_ns: Option<u64>,
    /// How the answered requests were checked.
    pub checks: Checks,
    /// Longest stall of a client process, in nanoseconds.
    pub stall_ns: u64,
    /// Requests that were queued at the limit of requests in flight.
    pub held_back: u64,
    /// Whether a block ended before all of its work was done.
    pub capped: bool,
    /// The rounds whose blocks are measured.
    pub rounds: Vec<usize>,
    /// Whether the run was taken up again before with something that is not as before.
    pub resumed: bool,
    /// The blocks that have answers.
    pub means: Vec<BlockMean>,
    /// Whether it ended before the compared ratios were as precise as asked for.
    pub imprecise: bool,
    /// Whether a server that gives statistics gave none over a block.
    pub unserved: bool,
    /// The parts of hosts.
    pub hosts: HostTotals,
    /// Requests that were held against bounds, and at last against the time within which answers are good.
    judged: Judged,
    /// What became of the requests of each stage of the schedule.
    stages: Vec<Part>,
    /// Requests that have a row of their own; `None` if none was asked for.
    pub logged: Option<u64>,
    /// What the server counted over the blocks; `None` if it gives no counts.
    served: Option<Statistics>,
}

/// The mean latency of a block.
#[derive(Clone, Copy, Debug)]
pub struct BlockMean {
    /// The number of its round.
    pub round: usize,
    /// In milliseconds.
    pub mean_ms: f64,
    /// Requests answered.
    pub requests: u64,
}

impl Default for CaseTotals {
    fn default() -> Self {
        CaseTotals {
            recorder: Recorder::default(),
            window_ns: 0,
            usage: Usage::default(),
            traffic: Traffic::default(),
            failed_ns: Some(0),
            checks: Checks::default(),
            stall_ns: 0,
            held_back: 0,
            capped: false,
            rounds: Vec::new(),
            resumed: false,
            means: Vec::new(),
            imprecise: false,
            unserved: false,
            hosts: HostTotals::default(),
            judged: Judged::default(),
            stages: Vec::new(),
            logged: None,
            served: Some(Statistics::default()),
        }
    }
}

impl CaseTotals {
    /// Adds a block of a round, and what the server counted over it.
    pub fn add(&mut self, round: usize, outcome: &BlockOutcome, served: Option<Statistics>) {
        self.recorder.merge(&outcome.recorder);
        self.window_ns += outcome.window_ns();
        self.usage += outcome.usage;
        self.traffic += outcome.traffic;
        self.failed_ns = self.failed_ns.zip(outcome.failed_ns).map(|(all, block)| all.saturating_add(block));
        self.checks += outcome.checks;
        self.stall_ns = self.stall_ns.max(outcome.stall_ns);
        self.held_back += outcome.held_back;
        self.rounds.push(round);
        self.hosts.add(outcome);
        if let Some(judged) = &outcome.judged {
            self.judged = std::mem::take(&mut self.judged).with(judged);
        }
        Part::merge_all(&mut self.stages, &outcome.stages);
        let mean_ms = Columns(&outcome.recorder.latency).mean();
        let requests = outcome.recorder.count();
        self.means.extend(mean_ms.map(|mean_ms| BlockMean { round, mean_ms, requests }));
        self.served = self.served.zip(served).map(|(all, block)| all.plus(&block));
    }

    /// Adds the requests of a block that have a row of their own.
    pub fn add_logged(&mut self, requests: Option<u64>) {
        self.logged = requests.map(|requests| self.logged.unwrap_or(0) + requests).or(self.logged);
    }

    /// The mean latency of each block, in milliseconds.
    fn means_ms(&self) -> Vec<f64> {
        self.means.iter().map(|block| block.mean_ms).collect()
    }

    /// What is shown of the case while it is measured.
    pub fn so_far(&self, is_detailed: bool) -> SoFar {
        let latency = Columns(&self.recorder.latency);
        let counted = || {
            let values = self.recorder.latency.histogram().iter_recorded();
            values.map(|value| (milliseconds(value.value_iterated_to() as f64), value.count_at_value()))
        };
        let ends = latency.min().zip(latency.quantile(0.995)).filter(|_| is_detailed);
        let means = self.means.iter().filter(|_| is_detailed);
        SoFar {
            requests: self.recorder.count(),
            errors: self.recorder.error_count(),
            requests_per_s: rate(&self.recorder, self.window_ns),
            p50_ms: latency.quantile(0.50),
            p95_ms: latency.quantile(0.95),
            block_means_ms: means.map(|block| (block.round, block.mean_ms)).collect(),
            histogram: ends.map(|(low, high)| bars(counted(), low, high)).unwrap_or_default(),
        }
    }

    /// Fills in the measured columns of the case's row.
    pub fn fill(&self, case: &Point, ceiling: Option<f64>, row: Record) -> Record {
        let Recorder { latency, service, lateness, send, wait, receive, .. } = &self.recorder;
        let [latency, service, lateness, send, wait, receive] =
            [latency, service, lateness, send, wait, receive].map(Columns);
        // a system that does not report usage leaves zeros
        let used = (self.usage.cpu_ns() > 0).then_some(self.usage);
        let requests_per_s = rate(&self.recorder, self.window_ns);
        let effective = self.effective();
        let [mean, p50, p95, p99, p99_9] = [
            statistics::mean(&self.means_ms()),
            self.around(effective, 0.50),
            self.around(effective, 0.95),
            self.around(effective, 0.99),
            self.around(effective, 0.999),
        ];
        let low = |interval: Option<Interval>| interval.map(|interval| interval.low);
        let high = |interval: Option<Interval>| interval.map(|interval| interval.high);
        let row = Record {
            flags: self.flags(case, ceiling, requests_per_s, effective),
            requests: self.recorder.count(),
            errors: self.recorder.error_count(),
            error_kinds: ErrorKinds::new(self.recorder.errors()),
            errors_s: self.failed_ns.map(|ns| rounded(ns as f64 / 1e9)),
            requests_logged: self.logged,
            answers_compared: Some(self.checks.compared),
            answers_read: Some(self.checks.read),
            answers_verified: Some(self.checks.verified),
            mean_ms: latency.mean(),
            stddev_ms: latency.stddev(),
            min_ms: latency.min(),
            p50_ms: latency.quantile(0.50),
            p90_ms: latency.quantile(0.90),
            p95_ms: latency.quantile(0.95),
            p99_ms: latency.quantile(0.99),
            p99_9_ms: latency.quantile(0.999),
            max_ms: latency.max(),
            effective_requests: (self.recorder.count() > 0).then(|| (effective * 10.0).round() / 10.0),
            mean_low_ms: low(mean).map(rounded),
            mean_high_ms: high(mean).map(rounded),
            p50_low_ms: low(p50),
            p50_high_ms: high(p50),
            p95_low_ms: low(p95),
            p95_high_ms: high(p95),
            p99_low_ms: low(p99),
            p99_high_ms: high(p99),
            p99_9_low_ms: low(p99_9),
            p99_9_high_ms: high(p99_9),
            service_mean_ms: service.mean(),
            service_p50_ms: service.quantile(0.50),
            service_p95_ms: service.quantile(0.95),
            service_p99_ms: service.quantile(0.99),
            service_max_ms: service.max(),
            lateness_mean_ms: lateness.mean(),
            lateness_p50_ms: lateness.quantile(0.50),
            lateness_p99_ms: lateness.quantile(0.99),
            lateness_max_ms: lateness.max(),
            held_back: case.rate.map(|_| self.held_back),
            send_mean_ms: send.mean(),
            wait_mean_ms: wait.mean(),
            receive_mean_ms: receive.mean(),
            inferences_per_s: requests_per_s.map(|rate| rate * f64::from(case.batch_size)),
            requests_per_s,
            goodput_share: row.goodput_ms.and(self.good_share()).map(rounded),
            goodput_per_s: row.goodput_ms.and(self.good_per_s()).map(rounded),
            client_ceiling_per_s: ceiling,
            client_cpu_ms: cpu_a_request(&self.recorder, self.usage.cpu_ns()),
            client_user_s: used.map(|usage| usage.user_ns as f64 / 1e9),
            client_system_s: used.map(|usage| usage.system_ns as f64 / 1e9),
            context_switches_voluntary: used.map(|usage| usage.voluntary),
            context_switches_involuntary: used.map(|usage| usage.involuntary),
            bytes_sent: self.traffic.sent,
            bytes_received: self.traffic.received,
            reconnects: Some(self.traffic.connections),
            client_stall_ms: Some(milliseconds(self.stall_ns as f64)),
            start_skew_ms: self.hosts.start_skew_ms(),
            clock_error_ms: self.hosts.clock_error_ms(),
            blocks: self.rounds.len() as u32,
            ..row
        };
        self.split(row)
    }

    /// Requests that were answered in time.
    fn good(&self) -> u64 {
        self.judged.requests.saturating_sub(self.judged.bad.last().copied().unwrap_or(0))
    }

    /// Their part of all.
    fn good_share(&self) -> Option<f64> {
        (self.judged.requests > 0).then(|| self.good() as f64 / self.judged.requests as f64)
    }

    /// How many there were in a second.
    fn good_per_s(&self) -> Option<f64> {
        (self.window_ns > 0).then(|| self.good() as f64 / (self.window_ns as f64 / 1e9))
    }

    /// The rows of hosts, of which the cores and the ceilings are known.
    pub fn host_rows(
        &self,
        scenario: &str,
        case: &Point,
        cores: &dyn Fn(&str) -> Option<usize>,
        ceiling: impl Fn(&str) -> Option<f64>,
    ) -> Vec<HostRecord> {
        let limits = Limits { cores, ceiling_share: CEILING_SHARE, busy_share: BUSY_SHARE, stall_ns: STALL_NS };
        self.hosts.rows(scenario, case, &limits, ceiling)
    }

    /// The rows of the stages of its load.
    pub fn stage_rows(&self, scenario: &str, case: &Point, load: &Load) -> Vec<StageRecord> {
        let blocks = self.rounds.len() as f64;
        let ramps = load.arrival.ramps();
        let names = load.stage_names.iter();
        let row = |(number, ((part, ramp), name)): (u32, ((&Part, Ramp), &String))| {
            let latency = Columns(&part.latency);
            let answered = part.latency.count();
            StageRecord {
                scenario: scenario.to_owned(),
                case: case.clone(),
                stage: number,
                stage_name: name.clone(),
                start_s: rounded(ramp.start_s),
                duration_s: ramp.duration_s,
                rate_from: ramp.from,
                rate_to: ramp.to,
                requests: answered,
                errors: part.errors,
                requests_per_s: (blocks > 0.0).then(|| rounded(answered as f64 / blocks / ramp.duration_s)),
                mean_ms: latency.mean(),
                p50_ms: latency.quantile(0.5),
                p95_ms: latency.quantile(0.95),
                p99_ms: latency.quantile(0.99),
                max_ms: latency.max(),
            }
        };
        (0..).zip(self.stages.iter().zip(ramps).zip(names)).map(row).collect()
    }

    /// Splits the mean time of a request into parts that add up to it.
    fn split(&self, row: Record) -> Record {
        let Some(served) = self.served.filter(|served| served.success.count > 0) else {
            return row;
        };
        let server = |sum: Sum| sum.ns as f64 / served.success.count as f64 / 1e6;
        let [queue, input, infer, output] =
            [served.queue, served.compute_input, served.compute_infer, served.compute_output].map(server);
        let rest = |mean: f64| mean - row.send_mean_ms.unwrap_or(0.0) - queue - input - infer - output;
        Record {
            client_ms: row.send_mean_ms,
            network_ms: row.service_mean_ms.or(row.mean_ms).map(rest).map(rounded),
            queue_ms: Some(rounded(queue)),
            compute_input_ms: Some(rounded(input)),
            compute_infer_ms: Some(rounded(infer)),
            compute_output_ms: Some(rounded(output)),
            avg_batch: (served.execution_count > 0)
                .then(|| rounded(served.inference_count as f64 / served.execution_count as f64)),
            server_requests: Some(served.success.count),
            server_cache_hits: Some(served.cache_hit.count),
            ..row
        }
    }

    /// The number of independent requests that the answered ones are worth.
    fn effective(&self) -> f64 {
        let batches: Vec<Batches> = self
            .recorder
            .sequence
            .batches()
            .map(|(length, count, variance)| Batches { length, count, variance })
            .collect();
        statistics::effective_samples(self.recorder.count(), &batches)
    }

    /// The interval of a percentile of latency, in milliseconds.
    fn around(&self, effective: f64, q: f64) -> Option<Interval> {
        let (low, high) = statistics::quantile_bounds(effective, q)?;
        let at = |q: f64| Columns(&self.recorder.latency).quantile(q);
        Some(Interval { value: at(q)?, low: at(low)?, high: at(high)? })
    }

    /// The flags of the row.
    fn flags(&self, case: &Point, ceiling: Option<f64>, requests_per_s: Option<f64>, effective: f64) -> Flags {
        let answered = self.recorder.count();
        let served = self.served.unwrap_or_default();
        let counted = served.success.count;
        let processes = f64::from(case.processes);
        let offered = f64::from(case.concurrency) * processes;
        let in_flight = requests_per_s
            .zip(self.recorder.latency.mean_ns())
            .map(|(rate, mean)| rate * mean / 1e9);
        // failed requests were in flight too, for an unknown time
        let closed = case.rate.is_none() && self.recorder.error_count() == 0;
        let busy = self.usage.cpu_ns() as f64 >= BUSY_SHARE * self.window_ns as f64 * processes;
        // the percentiles that tables show
        let shown = if case.rate.is_some() { 0.99 } else { 0.95 };
        let raised = [
            (Flag::ClientCeiling, requests_per_s.zip(ceiling).is_some_and(|(rate, most)| rate >= CEILING_SHARE * most)),
            (Flag::ClientCpu, self.window_ns > 0 && busy),
            (Flag::ClientStall, self.stall_ns >= STALL_NS),
            (Flag::Reconnects, self.traffic.connections as f64 > RECONNECTS_SHARE * answered as f64),
            (Flag::Capped, self.capped),
            (Flag::Imprecise, self.imprecise),
            (Flag::InFlight, closed && in_flight.is_some_and(|mean| (mean / offered - 1.0).abs() > IN_FLIGHT_OFF)),
            (Flag::Drift, statistics::drifts(&self.means_ms())),
            (Flag::ServerCounts, self.served.is_some() && counted < answered),
            (Flag::NoStatistics, self.unserved),
            (Flag::OtherTraffic, counted > answered + self.recorder.error_count()),
            (Flag::ResponseCache, served.cache_hit.count > 0),
            (Flag::Resumed, self.resumed),
            (Flag::FewRequests, answered > 0 && !statistics::is_trusted(effective, shown)),
        ];
        Flags::raised(raised.into_iter().chain(self.hosts.flags()))
    }
}

/// The status of a case that was measured to its end.
pub fn status(recorder: &Recorder) -> Status {
    if recorder.error_count() > 0 { Status::Errors } else { Status::Ok }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod split;

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
