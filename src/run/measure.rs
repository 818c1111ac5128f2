//! Measures one group of a plan: its cases interleaved block by block, each block on disk when it is there.
//! Must not know how results are shown.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;

use super::calibrate::Ceilings;
use super::folder::Folder;
use crate::plan::{Case, Group, Round};
use crate::preflight::expected_for;
use crate::protocol::control::TensorMetadata;
use crate::record::{
    BlockRecord, CEILING_SHARE, Columns, Manifest, Record, Status, case_name, cpu_a_request, error_kinds, flags, rate,
    utc,
};
use crate::recorder::Recorder;
use crate::scenario::{Load, Scenario};
use crate::worker::message::{Arrivals, Block, Order, Traffic, Usage};
use crate::worker::pool::{BlockOutcome, Pool, PoolError};
use crate::worker::share::FAILURES_IN_A_ROW;

/// `--quick`: the longest warmup of a worker.
const QUICK_WARMUP: Duration = Duration::from_millis(500);

/// Why a case was not measured, or not to its end, after Ctrl-C.
pub const STOPPED: &str = "the run was stopped by the user";

/// What is told while a group is measured.
pub trait Listener {
    /// A case begins its block of a round, or (without one) its workers prepare.
    fn begins(&mut self, case: &Case, round: Option<(usize, &Group)>);
    /// The part of the block under way that is done, from 0 to 1.
    fn progress(&mut self, done: f64);
    /// The block under way has ended.
    fn block_done(&mut self);
}

/// What stays the same for all groups of a run.
pub struct Context<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The outputs as the model describes them.
    pub outputs: &'a [TensorMetadata],
    /// The run's manifest, whose fields are repeated in rows.
    pub manifest: &'a Manifest,
    /// What the client reaches.
    pub ceilings: &'a Ceilings,
    /// Where results go.
    pub folder: &'a Folder,
    /// Becomes true when the user asks to stop.
    pub stop: &'a watch::Receiver<bool>,
}

/// A case under measurement.
struct Running {
    case: Case,
    pool: Option<Pool>,
    recorder: Recorder,
    window_ns: u64,
    usage: Usage,
    traffic: Traffic,
    held_back: u64,
    /// Whether a block ended before what was asked for was done.
    capped: bool,
    blocks: u32,
    prepared: u64,
    started: Timestamp,
    ended: Timestamp,
    /// Why it is not measured further.
    ended_early: Option<(Status, String)>,
    example: Option<String>,
}

/// Measures a group. Its rows are returned, not yet written, with the items answered while preparing.
///
/// # Errors
/// Results cannot be written. A fault of the server or a worker is no error but a row.
pub async fn group(context: &Context<'_>, group: &Group, listener: &mut dyn Listener) -> Result<(Vec<Record>, u64)> {
    let mut running: Vec<Running> = group.cases.iter().map(Running::new).collect();
    for case in &group.cases {
        listener.begins(case, None);
    }
    join_all(running.iter_mut().map(|running| running.prepare(context))).await;
    for (index, round) in group.rounds.iter().enumerate() {
        for (position, case) in round.order.iter().enumerate() {
            let running = &mut running[*case];
            listener.begins(&running.case, Some((index, group)));
            if running.ended_early.is_none() {
                running.block(context, round, (index, position), listener).await?;
            }
            listener.block_done();
        }
        // after a whole round, so that all cases of the group have as many blocks
        let spent =
            |running: &Running| context.scenario.load.cap.is_some_and(|cap| running.window_ns >= cap.as_nanos() as u64);
        if index + 1 < group.rounds.len() && running.iter().any(spent) {
            running.iter_mut().for_each(|running| running.capped = true);
            break;
        }
    }
    join_all(running.iter_mut().filter_map(|running| running.pool.take()).map(Pool::stop)).await;
    let prepared = running.iter().map(|running| running.prepared * u64::from(running.case.batch_size)).sum();
    Ok((running.into_iter().map(|running| running.into_record(context, group)).collect(), prepared))
}

impl Running {
    fn new(case: &Case) -> Self {
        let now = Timestamp::now();
        Running {
            case: *case,
            pool: None,
            recorder: Recorder::default(),
            window_ns: 0,
            usage: Usage::default(),
            traffic: Traffic::default(),
            held_back: 0,
            capped: false,
            blocks: 0,
            prepared: 0,
            started: now,
            ended: now,
            ended_early: None,
            example: None,
        }
    }

    async fn prepare(&mut self, context: &Context<'_>) {
        let order = order(context.scenario, context.outputs, &self.case);
        match Pool::start(&order, self.case.processes, context.stop).await {
            Ok(pool) => {
                self.prepared = pool.prepared_requests;
                self.pool = Some(pool);
            }
            Err(error) => self.end(error),
        }
    }

    async fn block(
        &mut self,
        context: &Context<'_>,
        round: &Round,
        (index, position): (usize, usize),
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let Some(pool) = self.pool.as_mut() else { return Ok(()) };
        if self.blocks == 0 {
            self.started = Timestamp::now();
        }
        let mut progress = |done| listener.progress(done);
        let block = block(context.scenario, &self.case, round, index as u32);
        let outcome = pool.block(block, context.stop, &mut progress).await;
        if let Ok(outcome) = &outcome {
            let asked = outcome.due.unwrap_or(round.iterations * u64::from(self.case.processes));
            self.capped |= !outcome.gave_up && outcome.recorder.count() + outcome.recorder.error_count() < asked;
        }
        self.ended = Timestamp::now();
        match outcome {
            Ok(outcome) => self.keep(context, outcome, index, position),
            Err(error) => {
                self.end(error);
                Ok(())
            }
        }
    }

    fn keep(&mut self, context: &Context<'_>, outcome: BlockOutcome, index: usize, position: usize) -> Result<()> {
        let window_ns = outcome.window_ns();
        let latency = Columns(&outcome.recorder.latency);
        let start = Duration::from_nanos(outcome.first_unix_ns);
        let row = BlockRecord {
            scenario: context.scenario.name.clone(),
            protocol: self.case.protocol,
            batch_size: self.case.batch_size,
            processes: self.case.processes,
            concurrency: self.case.concurrency,
            connections: Some(self.case.connections),
            rate: self.case.rate,
            block: index as u32,
            position: position as u32,
            requests: outcome.recorder.count(),
            errors: outcome.recorder.error_count(),
            mean_ms: latency.mean(),
            stddev_ms: latency.stddev(),
            min_ms: latency.min(),
            p50_ms: latency.quantile(0.50),
            p95_ms: latency.quantile(0.95),
            max_ms: latency.max(),
            duration_s: window_ns as f64 / 1e9,
            requests_per_s: rate(&outcome.recorder, window_ns),
            client_cpu_ms: cpu_a_request(&outcome.recorder, outcome.usage.cpu_ns()),
            started: utc(Timestamp::UNIX_EPOCH.saturating_add(start).unwrap_or(self.started)),
        };
        context.folder.block(
            &row,
            &case_name(&self.case),
            &outcome.recorder,
            start,
            Duration::from_nanos(window_ns),
        )?;
        self.recorder.merge(&outcome.recorder);
        self.window_ns += window_ns;
        self.usage += outcome.usage;
        self.traffic += outcome.traffic;
        self.held_back += outcome.held_back;
        self.blocks += 1;
        let words = outcome.example.map(|fault| fault.message);
        if outcome.gave_up {
            let last = words.clone().unwrap_or_default();
            self.ended_early =
                Some((Status::Failed, format!("given up after {FAILURES_IN_A_ROW} failures in a row: {last}")));
            self.pool = None;
        }
        self.example = self.example.take().or(words);
        Ok(())
    }

    fn end(&mut self, error: PoolError) {
        self.pool = None;
        self.ended_early = Some(match error {
            PoolError::Interrupted if self.blocks == 0 => (Status::NotRun, STOPPED.to_owned()),
            PoolError::Interrupted => (Status::Interrupted, STOPPED.to_owned()),
            PoolError::Failed(fault) => (Status::Failed, fault.message),
        });
    }

    fn into_record(self, context: &Context<'_>, group: &Group) -> Record {
        let (status, reason) = match self.ended_early {
            Some(ended) => ended,
            None if self.recorder.error_count() > 0 => (Status::Errors, self.example.unwrap_or_default()),
            None => (Status::Ok, String::new()),
        };
        let [latency, service, lateness] =
            [&self.recorder.latency, &self.recorder.service, &self.recorder.lateness].map(Columns);
        // a system that does not tell leaves zeros
        let used = (self.usage.cpu_ns() > 0).then_some(self.usage);
        let requests_per_s = rate(&self.recorder, self.window_ns);
        let ceiling = context.ceilings.of(&self.case);
        Record {
            reason,
            flags: raised(requests_per_s, ceiling, self.capped),
            requests_planned: planned(context.scenario, group, &self.case),
            requests: self.recorder.count(),
            errors: self.recorder.error_count(),
            error_kinds: error_kinds(self.recorder.errors()),
            mean_ms: latency.mean(),
            stddev_ms: latency.stddev(),
            min_ms: latency.min(),
            p50_ms: latency.quantile(0.50),
            p90_ms: latency.quantile(0.90),
            p95_ms: latency.quantile(0.95),
            p99_ms: latency.quantile(0.99),
            max_ms: latency.max(),
            service_mean_ms: service.mean(),
            service_p50_ms: service.quantile(0.50),
            service_p95_ms: service.quantile(0.95),
            service_p99_ms: service.quantile(0.99),
            service_max_ms: service.max(),
            lateness_mean_ms: lateness.mean(),
            lateness_p50_ms: lateness.quantile(0.50),
            lateness_p99_ms: lateness.quantile(0.99),
            lateness_max_ms: lateness.max(),
            held_back: self.case.rate.map(|_| self.held_back),
            inferences_per_s: requests_per_s.map(|rate| rate * f64::from(self.case.batch_size)),
            requests_per_s,
            client_ceiling_per_s: ceiling,
            send_mean_ms: Columns(&self.recorder.send).mean(),
            wait_mean_ms: Columns(&self.recorder.wait).mean(),
            receive_mean_ms: Columns(&self.recorder.receive).mean(),
            client_cpu_ms: cpu_a_request(&self.recorder, self.usage.cpu_ns()),
            client_user_s: used.map(|usage| usage.user_ns as f64 / 1e9),
            client_system_s: used.map(|usage| usage.system_ns as f64 / 1e9),
            context_switches_voluntary: used.map(|usage| usage.voluntary),
            context_switches_involuntary: used.map(|usage| usage.involuntary),
            bytes_sent: self.traffic.sent,
            bytes_received: self.traffic.received,
            blocks: self.blocks,
            started: utc(self.started),
            ended: utc(self.ended),
            ..empty_record(context, &self.case, status)
        }
    }
}

/// The column of flags.
fn raised(requests_per_s: Option<f64>, ceiling: Option<f64>, capped: bool) -> String {
    let at_ceiling = requests_per_s.zip(ceiling).is_some_and(|(rate, ceiling)| rate >= CEILING_SHARE * ceiling);
    let flags = [(at_ceiling, flags::CLIENT_CEILING), (capped, flags::CAPPED)];
    flags.into_iter().filter_map(|(raised, flag)| raised.then_some(flag)).collect::<Vec<_>>().join(" ")
}

/// The row of a case that was not begun.
pub fn not_run(context: &Context<'_>, group: &Group, case: &Case, reason: &str) -> Record {
    Record {
        reason: reason.to_owned(),
        requests_planned: planned(context.scenario, group, case),
        ..empty_record(context, case, Status::NotRun)
    }
}

fn empty_record(context: &Context<'_>, case: &Case, status: Status) -> Record {
    let manifest = context.manifest;
    let now = utc(Timestamp::now());
    Record {
        scenario: manifest.scenario.clone(),
        model: manifest.model.clone(),
        server: manifest.server.clone(),
        server_version: manifest.server_version.clone(),
        weights: manifest.weights.clone(),
        protocol: case.protocol,
        batch_size: case.batch_size,
        processes: case.processes,
        concurrency: case.concurrency,
        connections: Some(case.connections),
        rate: case.rate,
        arrival: case.rate.map(|_| context.scenario.load.arrival),
        encode: context.scenario.load.encode,
        status,
        reason: String::new(),
        flags: String::new(),
        requests_planned: None,
        requests: 0,
        errors: 0,
        error_kinds: String::new(),
        mean_ms: None,
        stddev_ms: None,
        min_ms: None,
        p50_ms: None,
        p90_ms: None,
        p95_ms: None,
        p99_ms: None,
        max_ms: None,
        service_mean_ms: None,
        service_p50_ms: None,
        service_p95_ms: None,
        service_p99_ms: None,
        service_max_ms: None,
        lateness_mean_ms: None,
        lateness_p50_ms: None,
        lateness_p99_ms: None,
        lateness_max_ms: None,
        held_back: None,
        inferences_per_s: None,
        requests_per_s: None,
        client_ceiling_per_s: None,
        send_mean_ms: None,
        wait_mean_ms: None,
        receive_mean_ms: None,
        client_cpu_ms: None,
        client_user_s: None,
        client_system_s: None,
        context_switches_voluntary: None,
        context_switches_involuntary: None,
        bytes_sent: 0,
        bytes_received: 0,
        blocks: 0,
        warmup: manifest.warmup,
        quick: manifest.quick,
        started: now.clone(),
        ended: now,
        runner_version: manifest.runner_version.clone(),
        git_revision: manifest.git_revision.clone(),
    }
}

/// What the workers of a case are told.
pub fn order(scenario: &Scenario, outputs: &[TensorMetadata], case: &Case) -> Order {
    Order {
        protocol: case.protocol,
        address: scenario.server.address(case.protocol).to_owned(),
        model: scenario.model.clone(),
        inputs: scenario.inputs.clone(),
        outputs: expected_for(outputs, scenario.model.batching, case.batch_size),
        batch_size: case.batch_size,
        concurrency: case.concurrency,
        connections: case.connections,
        encode: scenario.load.encode,
        open_loop: case.rate.is_some(),
        warmup: scenario.load.warmup,
        warmup_cap_ms: scenario.load.quick.then_some(QUICK_WARMUP.as_millis() as u64),
        timeout_ms: scenario.load.timeout.as_millis() as u64,
    }
}

/// What the workers of a case are told of one block.
fn block(scenario: &Scenario, case: &Case, round: &Round, number: u32) -> Block {
    let nanoseconds = |time: Option<Duration>| time.map(|time| time.as_nanos() as u64);
    let Load { arrival, seed, .. } = scenario.load;
    let arrivals = |rate| Arrivals { rate, arrival, seed, block: number, process: 0, processes: case.processes };
    Block {
        iterations: round.iterations,
        duration_ns: nanoseconds(round.duration),
        cap_ns: nanoseconds(round.cap),
        arrivals: case.rate.map(arrivals),
        start_unix_ns: 0,
    }
}

/// Requests asked for of all processes; `None` where time alone ends the case.
fn planned(scenario: &Scenario, group: &Group, case: &Case) -> Option<u64> {
    let of_round = |round: &Round| {
        let block = block(scenario, case, round, 0);
        block.arrivals.map_or(block.iterations, |arrivals| block.arrivals_count(&arrivals))
    };
    let requests: u64 = group.rounds.iter().map(of_round).sum();
    (requests > 0).then_some(requests * u64::from(case.processes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_within_a_fifth_of_the_ceiling_is_flagged() {
        assert_eq!(raised(Some(80.0), Some(100.0), false), "client_ceiling");
        assert_eq!(raised(Some(79.9), Some(100.0), false), "");
        assert_eq!(raised(Some(120.0), Some(100.0), true), "client_ceiling capped");
        assert_eq!(raised(None, Some(100.0), false), "");
        assert_eq!(raised(Some(80.0), None, true), "capped");
    }
}
