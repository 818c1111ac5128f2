//! Measures one group of a plan: its cases interleaved block by block, each block on disk as soon as it ends.
//! Must not know how results are shown.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;

use super::budget::Budget;
use super::calibrate::Ceilings;
use super::folder::Folder;
use super::interrupt::STOPPED;
use super::job::{asked_for, block, job, planned, within};
use super::observer::Observer;
use super::rows::{BlockMean, CaseTotals, block_row, status};
use super::samplers::Samplers;
use super::targets::{Observers, Targets};
use crate::matrix::Point;
use crate::plan::{Group, Round};
use crate::protocol::control::statistics::Statistics;
use crate::record::{Manifest, Record, Status};
use crate::scenario::Scenario;
use crate::statistics::{self, Sum};
use crate::worker::block_run::FAILURES_IN_A_ROW;
use crate::worker::pool::{BlockOutcome, Pool, PoolError};

/// New processes for a block may cost at most this part of it; otherwise the old ones stay.
const RENEWAL_COST: f64 = 0.2;

/// The current round.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Its number, from 0.
    pub index: usize,
    /// Expected number of rounds.
    pub rounds: usize,
    /// Its plan.
    pub round: &'a Round,
}

/// Follows the measurement of a group.
pub trait Listener {
    /// A case begins its block of a round, or (without one) its workers prepare.
    fn begins(&mut self, case: &Point, round: Option<Place<'_>>);
    /// The part of the block under way that is done, from 0 to 1.
    fn progress(&mut self, done: f64);
    /// The block of a case under way has ended, or could not be measured.
    fn block_done(&mut self, case: &Point, totals: &CaseTotals);
}

/// The context that all groups of a run share.
pub struct Context<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The servers and models that are asked.
    pub targets: &'a Targets,
    /// The run's manifest, whose fields are repeated in rows.
    pub manifest: &'a Manifest,
    /// The client's maximum throughput in each case.
    pub ceilings: &'a Ceilings,
    /// The samplers of the servers' metrics.
    pub samplers: &'a Samplers,
    /// Where results go.
    pub folder: &'a Folder,
    /// Becomes true when the user asks to stop.
    pub stop: &'a watch::Receiver<bool>,
}

/// A case under measurement.
struct CaseRun {
    case: Point,
    pool: Option<Pool>,
    totals: CaseTotals,
    prepared: u64,
    /// Requests that failed while preparing.
    failed_preparing: u64,
    /// Whether the block before was aborted.
    aborted: bool,
    /// Answered requests of the block before.
    last_block: u64,
    /// Its requests that were answered or failed, unless it was aborted.
    settled: Option<u64>,
    started: Timestamp,
    ended: Timestamp,
    /// Why it is not measured further.
    ended_early: Option<(Status, String)>,
    example: Option<String>,
}

/// Measures a group. Its rows are returned, not yet written.
///
/// # Errors
/// Results cannot be written. A fault of the server or a worker is not an error but a row.
pub async fn group(
    context: &Context<'_>,
    group: &Group,
    observers: &mut Observers<'_>,
    listener: &mut dyn Listener,
) -> Result<Vec<Record>> {
    let mut running: Vec<CaseRun> = group.cases.iter().map(CaseRun::new).collect();
    let load = &context.scenario.load;
    let mut budget = Budget::begin(load.stop.most, group.cases.len(), group.rounds.len());
    for case in &group.cases {
        listener.begins(case, None);
    }
    let mut before = Vec::new();
    for first in first_of_targets(context, &group.cases) {
        before.push((first, observers.of(first).read(first.protocol).await));
    }
    join_all(running.iter_mut().map(|running| running.prepare(context))).await;
    budget.prepared(running.iter().map(CaseRun::in_a_row).min().unwrap_or(1));
    // the first block must not count the warmup requests
    for (first, before) in before {
        let target = context.targets.of(first);
        let of_target = running.iter().filter(|running| target.is_of(&running.case));
        let prepared = of_target.map(|running| running.prepared).sum();
        observers.of(first).gained(first.protocol, before.as_ref(), prepared).await;
    }

    for (index, round) in group.rounds.iter().enumerate() {
        // only between rounds, so that all cases of the group have the same number of blocks
        let Some(share) = budget.next() else {
            running.iter_mut().for_each(|running| running.totals.capped |= load.has_length());
            break;
        };
        let within = within(round, share.block, load);
        for (position, case) in round.order.iter().enumerate() {
            let running = &mut running[*case];
            listener.begins(&running.case, Some(Place { index, rounds: share.rounds, round }));
            if running.ended_early.is_none() {
                let observer = observers.of(&running.case);
                running.block(context, &within, (index, position), observer, listener).await?;
                running.capped_within(context, round, &within);
            }
            listener.block_done(&running.case, &running.totals);
        }
        if load.precision.is_some_and(|precision| are_precise(&running, precision)) {
            break;
        }
    }
    if let (Some(precision), false) = (load.precision, load.quick) {
        let imprecise = !are_precise(&running, precision);
        running.iter_mut().for_each(|running| running.totals.imprecise = imprecise);
    }
    join_all(running.iter_mut().filter_map(|running| running.pool.take()).map(Pool::stop)).await;
    for running in &running {
        observers.count(&running.case, 0, running.prepared * u64::from(running.case.batch_size));
    }
    Ok(running.into_iter().map(|running| running.into_record(context, group)).collect())
}

/// Whether the means of a group's cases, over that of the first, are known well enough; of a single case its own mean.
fn are_precise(running: &[CaseRun], precision: f64) -> bool {
    let Some((first, others)) = running.split_first() else { return true };
    let base = &first.totals.means;
    if others.is_empty() {
        // over one in every block
        let unit: Vec<BlockMean> = base.iter().map(|block| BlockMean { mean_ms: 1.0, ..*block }).collect();
        return statistics::is_precise(&paired(&unit, base), precision);
    }
    others
        .iter()
        .all(|other| statistics::is_precise(&paired(base, &other.totals.means), precision))
}

/// The sums of two cases' latencies over the blocks that were measured in the same rounds.
fn paired(base: &[BlockMean], other: &[BlockMean]) -> Vec<[Sum; 2]> {
    let sum = |block: &BlockMean| {
        let requests = block.requests as f64;
        Sum { sum: block.mean_ms * requests, over: requests }
    };
    let partner = |round: usize| base.iter().find(|block| block.round == round);
    other
        .iter()
        .filter_map(|block| Some([sum(partner(block.round)?), sum(block)]))
        .collect()
}

/// The first case of each server and model of a group.
fn first_of_targets<'a>(context: &Context<'_>, cases: &'a [Point]) -> Vec<&'a Point> {
    let mut first: Vec<&Point> = Vec::new();
    for case in cases {
        if !first.iter().any(|known| context.targets.of(known).is_of(case)) {
            first.push(case);
        }
    }
    first
}

impl CaseRun {
    fn new(case: &Point) -> Self {
        let now = Timestamp::now();
        CaseRun {
            case: case.clone(),
            pool: None,
            totals: CaseTotals::default(),
            prepared: 0,
            failed_preparing: 0,
            aborted: false,
            last_block: 0,
            settled: None,
            started: now,
            ended: now,
            ended_early: None,
            example: None,
        }
    }

    /// Requests that one client context sent one after the other while preparing.
    fn in_a_row(&self) -> u64 {
        let places = if self.case.rate.is_some() { 1 } else { self.case.concurrency };
        let processes = u64::from(self.case.processes);
        1 + self.prepared.saturating_sub(processes) / (processes * u64::from(places))
    }

    async fn prepare(&mut self, context: &Context<'_>) {
        let target = context.targets.of(&self.case);
        let http = &target.reached.http;
        let job = job(&target.scenario, &target.reached.outputs, &self.case, http.of(&self.case));
        match Pool::start(&job, self.case.processes, context.stop).await {
            Ok(pool) => {
                self.prepared += pool.prepared_requests;
                self.failed_preparing += pool.prepared_errors;
                self.pool = Some(pool);
            }
            Err(PoolError::Failed(fault)) => self.end(PoolError::Failed(http.explained(&self.case, fault))),
            Err(error) => self.end(error),
        }
    }

    /// Starts new processes for the next block, if their warmup costs little against it. A process keeps its memory
    /// layout and its server thread for life; reusing it would confound both with the compared axis.
    async fn renew(&mut self, context: &Context<'_>, observer: &mut Observer<'_>) {
        let slots = u64::from(self.case.processes) * u64::from(self.case.concurrency);
        let preparing = (context.scenario.load.warmup + 1) * slots;
        let cheap = preparing as f64 <= RENEWAL_COST * self.last_block as f64;
        // after a block without an answer there are no processes, and the server may be back
        if self.ended_early.is_some() || (self.pool.is_some() && !cheap) {
            return;
        }
        let before = observer.read(self.case.protocol).await;
        if let Some(pool) = self.pool.take() {
            pool.stop().await;
        }
        let prepared = self.prepared;
        self.prepare(context).await;
        observer.gained(self.case.protocol, before.as_ref(), self.prepared - prepared).await;
    }

    /// Notes whether the measured block had less time, or did less, than was asked for.
    fn capped_within(&mut self, context: &Context<'_>, asked: &Round, within: &Round) {
        let load = &context.scenario.load;
        if let (Some(settled), true) = (self.settled.take(), load.has_length()) {
            let shortened = asked.stop.least.is_some_and(|least| within.stop.least < Some(least));
            self.totals.capped |= shortened || settled < asked_for(context.scenario, &self.case, asked);
        }
    }

    async fn block(
        &mut self,
        context: &Context<'_>,
        round: &Round,
        place: (usize, usize),
        observer: &mut Observer<'_>,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        self.renew(context, observer).await;
        let Some(pool) = self.pool.as_mut() else { return Ok(()) };
        if self.totals.blocks == 0 {
            self.started = Timestamp::now();
        }
        let before = observer.read(self.case.protocol).await;
        let mut progress = |done| listener.progress(done);
        let block = block(context.scenario, &self.case, round, place.0 as u32);
        context.samplers.during(&self.case, true);
        let outcome = pool.block(block, context.stop, &mut progress).await;
        context.samplers.during(&self.case, false);
        self.ended = Timestamp::now();
        match outcome {
            Ok(outcome) => {
                let answered = outcome.recorder.count();
                self.last_block = answered;
                self.settled = (!outcome.aborted).then(|| answered + outcome.recorder.error_count());
                let served = observer.gained(self.case.protocol, before.as_ref(), answered).await;
                self.totals.unserved |= served.is_none() && observer.tells(self.case.protocol);
                self.keep(context, outcome, served, place)
            }
            Err(error) => {
                self.end(error);
                Ok(())
            }
        }
    }

    fn keep(
        &mut self,
        context: &Context<'_>,
        outcome: BlockOutcome,
        served: Option<Statistics>,
        place: (usize, usize),
    ) -> Result<()> {
        let (row, start) = block_row(&context.scenario.name, &self.case, &outcome, place);
        let length = Duration::from_nanos(outcome.window_ns());
        context.folder.block(&row, &self.case.tag(), &outcome.recorder, start, length)?;
        self.totals.add(place.0, &outcome, served);
        let words = outcome.example.map(|fault| fault.message);
        if outcome.aborted || outcome.recorder.count() == 0 {
            // new processes begin the next block, which waits for the server
            self.pool = None;
        }
        if outcome.aborted && (self.aborted || self.totals.recorder.count() == 0) {
            let last = words.clone().unwrap_or_default();
            let reason = format!("given up after at least {FAILURES_IN_A_ROW} failures in a row: {last}");
            self.ended_early = Some((Status::Failed, reason));
        }
        self.aborted = outcome.aborted;
        self.example = self.example.take().or(words);
        Ok(())
    }

    fn end(&mut self, error: PoolError) {
        self.pool = None;
        self.ended_early = Some(match error {
            PoolError::Interrupted if self.totals.blocks == 0 => (Status::NotRun, STOPPED.to_owned()),
            PoolError::Interrupted => (Status::Interrupted, STOPPED.to_owned()),
            PoolError::Failed(fault) => (Status::Failed, fault.message),
        });
    }

    fn into_record(self, context: &Context<'_>, group: &Group) -> Record {
        let (status, reason) = match self.ended_early {
            Some(ended) => ended,
            None => (status(&self.totals.recorder), self.example.unwrap_or_default()),
        };
        let row = Record {
            reason: if status == Status::Ok { String::new() } else { reason },
            requests_planned: planned(context.scenario, group, &self.case),
            errors_preparing: Some(self.failed_preparing),
            started: self.started.into(),
            ended: self.ended.into(),
            ..empty_record(context, &self.case, status)
        };
        self.totals.fill(&self.case, context.ceilings.of(&self.case), row)
    }
}

/// The row of a case that was not started.
pub fn not_run(context: &Context<'_>, group: &Group, case: &Point, reason: &str) -> Record {
    Record {
        reason: reason.to_owned(),
        requests_planned: planned(context.scenario, group, case),
        ..empty_record(context, case, Status::NotRun)
    }
}

fn empty_record(context: &Context<'_>, case: &Point, status: Status) -> Record {
    let (manifest, target) = (context.manifest, context.targets.of(case));
    let now = Timestamp::now().into();
    Record {
        scenario: manifest.scenario.clone(),
        model: target.scenario.model.name.clone(),
        server: target.reached.server.name.clone(),
        server_version: target.reached.server.version.clone(),
        weights: target.reached.weights(),
        case: case.clone(),
        arrival: case.rate.map(|_| context.scenario.load.arrival),
        described_by: target.reached.described_by,
        tensors: Some(target.reached.http.of(case)),
        status,
        warmup: manifest.warmup,
        quick: manifest.quick,
        started: now,
        ended: now,
        runner_version: manifest.runner_version.clone(),
        git_revision: manifest.git_revision.clone(),
        ..Record::default()
    }
}
