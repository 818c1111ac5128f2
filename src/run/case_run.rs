//! One case of a group while it is measured: its processes, its blocks, and the row that they become. Must not know the
//! other cases.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;

use super::blank_row::blank_row;
use super::block_row::block_row;
use super::case_search::CaseSearch;
use super::cold_start_row;
use super::context::{Context, Listener};
use super::interrupt::STOPPED;
use super::job::{self, asked_for, block, planned};
use super::kept::KeptBlock;
use super::mlperf;
use super::observer::Observer;
use super::request_rows;
use super::rows::{CaseRows, CaseTotals, status};
use crate::capacity::Bound;
use crate::matrix::Point;
use crate::plan::{Group, Round};
use crate::protocol::Fault;
use crate::protocol::control::statistics::Statistics;
use crate::record::{ColdStartRecord, Flag, Record, Status, rounded};
use crate::scenario::{Capacity, Warmup};
use crate::worker::block_run::{FAILURES_IN_A_ROW, keep_first};
use crate::worker::message::{Block, Judge, Prepared};
use crate::worker::outcome::BlockOutcome;
use crate::worker::pool::Pool;
use crate::worker::request_log;
use crate::worker::seat::PoolError;

/// New processes for a block may cost at most this part of it; otherwise the old ones stay.
const RENEWAL_COST: f64 = 0.2;

/// A case under measurement.
pub struct CaseRun {
    pub case: Point,
    /// The case at the load of the block under way: the case itself unless its load is searched.
    at: Point,
    /// The search for its capacity.
    pub search: Option<CaseSearch>,
    pub pool: Option<Pool>,
    pub totals: CaseTotals,
    pub prepared: u64,
    /// Different requests that each process sends; 0 before any was made.
    distinct: u64,
    /// Requests that failed while preparing.
    failed_preparing: u64,
    /// How long it warmed up before anything was measured, and whether it was unsteady after that.
    warmed_up: Option<(Duration, bool)>,
    /// Whether this part of the run did so.
    is_warm: bool,
    /// Whether the block before was aborted.
    aborted: bool,
    /// Answered requests of the block before.
    last_block: u64,
    /// Its requests that were answered or failed, unless it was aborted.
    settled: Option<u64>,
    started: Timestamp,
    ended: Timestamp,
    /// Why it is not measured further.
    pub ended_early: Option<(Status, String)>,
    /// The first error of each kind.
    examples: Vec<Fault>,
    /// Items in answered requests of blocks that an earlier part of the run measured.
    pub before: u64,
    /// Its cold starts.
    pub cold_starts: Vec<ColdStartRecord>,
    /// The block that was measured last, until it is kept.
    last: Option<KeptBlock>,
}

impl CaseRun {
    pub fn new(case: &Point, capacity: Option<&Capacity>) -> Self {
        let now = Timestamp::now();
        let search = capacity.map(CaseSearch::new);
        CaseRun {
            at: search.as_ref().map_or(case.clone(), |search| search.first(case)),
            search,
            case: case.clone(),
            pool: None,
            totals: CaseTotals::default(),
            prepared: 0,
            distinct: 0,
            failed_preparing: 0,
            warmed_up: None,
            is_warm: false,
            aborted: false,
            last_block: 0,
            settled: None,
            started: now,
            ended: now,
            ended_early: None,
            examples: Vec::new(),
            before: 0,
            cold_starts: Vec::new(),
            last: None,
        }
    }

    /// Whether the block of a round is measured.
    pub fn has(&self, round: usize) -> bool {
        self.totals.rounds.contains(&round)
    }

    /// Adds a block that an earlier part of the run measured.
    pub fn restore(&mut self, block: KeptBlock) -> Result<()> {
        let outcome = BlockOutcome::of_done(block.done)?.with_hosts(block.hosts)?;
        let at = |unix_ns: u64| Timestamp::from_nanosecond(unix_ns.into()).unwrap_or(self.started);
        let (first, last) = (at(outcome.first_ns), at(outcome.last_ns));
        if self.totals.rounds.is_empty() {
            self.started = first;
        }
        self.ended = last;
        self.failed_preparing = block.errors_preparing;
        self.distinct = block.distinct;
        self.warmed_up = block.warmed_up;
        self.last_block = outcome.recorder.count();
        self.before += outcome.recorder.count() * u64::from(self.case.batch_size);
        self.aborted = outcome.aborted;
        self.totals.capped |= block.capped;
        self.totals.unserved |= block.unserved;
        self.totals.add(block.round, &outcome, block.served);
        if let (Some(search), Some(load)) = (&mut self.search, block.load) {
            search.add(load, &outcome);
            search.spent = Duration::from_nanos(block.spent_ns);
        }
        self.totals.add_logged(block.logged);
        // an earlier version kept one alone
        outcome
            .examples
            .iter()
            .chain(&outcome.example)
            .for_each(|fault| keep_first(&mut self.examples, fault));
        Ok(())
    }

    /// Keeps the block that was measured last.
    pub fn keep_last(&mut self, context: &Context<'_>, spent: Duration) -> Result<()> {
        let Some(mut block) = self.last.take() else { return Ok(()) };
        block.capped = self.totals.capped;
        block.errors_preparing = self.failed_preparing;
        block.spent_ns = spent.as_nanos() as u64;
        context.folder.keep(&block)
    }

    /// Requests that one client context sent one after the other while preparing.
    pub fn in_a_row(&self) -> u64 {
        let places = if self.at.rate.is_some() { 1 } else { self.at.concurrency };
        let processes = u64::from(self.case.processes);
        1 + self.prepared.saturating_sub(processes) / (processes * u64::from(places))
    }

    pub async fn prepare(&mut self, context: &Context<'_>) {
        if self.ended_early.is_some() {
            return;
        }
        let target = context.targets.of(&self.case);
        let http = &target.reached.http;
        let mut job = job::job(&target.scenario, &target.reached.outputs, &self.at, http.of(&self.at));
        // of a server that is warm, new processes have to know no more than their connections
        if self.is_warm && !self.aborted {
            job.warmup = Warmup::of_requests(job.warmup.requests);
        }
        let seats = job::seats(context.fleet, &target.scenario, &self.at);
        match Pool::start(&job, &seats, context.stop).await {
            Ok(pool) => {
                self.prepared += pool.prepared.requests;
                self.failed_preparing += pool.prepared.errors;
                self.distinct = pool.prepared.distinct;
                self.is_warm = true;
                let Prepared { warmed_up, is_unsteady, .. } = pool.prepared;
                self.warmed_up.get_or_insert((warmed_up, false)).1 |= is_unsteady;
                self.pool = Some(pool);
            }
            Err(PoolError::Failed(fault)) => self.end(PoolError::Failed(http.explained(&self.case, fault))),
            Err(error) => self.end(error),
        }
    }

    /// Starts new processes for the next block, if their warmup costs little against it. A process keeps its memory
    /// layout and its server thread for life; reusing it would confound both with the compared axis.
    async fn renew(&mut self, context: &Context<'_>, observer: &mut Observer<'_>) {
        let slots = u64::from(self.at.processes) * u64::from(self.at.concurrency);
        let preparing = (context.scenario.load.warmup.requests + 1) * slots;
        let cheap = preparing as f64 <= RENEWAL_COST * self.last_block as f64;
        // after a block without an answer there are no processes, and the server may be back
        // later answers are compared with those that the processes have from before measuring
        let remembers = context.scenario.mlperf.is_some_and(|rules| rules.checks);
        if self.ended_early.is_some() || (self.pool.is_some() && (!cheap || remembers)) {
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
    pub fn capped_within(&mut self, context: &Context<'_>, asked: &Round, within: &Round) {
        let load = &context.scenario.load;
        if let (Some(settled), true) = (self.settled.take(), load.has_length()) {
            let shortened = asked.stop.least.is_some_and(|least| within.stop.least < Some(least));
            self.totals.capped |= shortened || settled < asked_for(context.scenario, &self.case, asked);
        }
    }

    /// Takes the load that its search tries next. The clients of another number of requests in flight are others.
    pub async fn try_at(&mut self, at: Point) {
        if at.concurrency != self.at.concurrency
            && let Some(pool) = self.pool.take()
        {
            pool.stop().await;
        }
        self.at = at;
    }

    /// The case at the load of the block under way.
    pub fn at(&self) -> &Point {
        &self.at
    }

    pub async fn block(
        &mut self,
        context: &Context<'_>,
        round: &Round,
        place: (usize, usize),
        observer: &mut Observer<'_>,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        self.renew(context, observer).await;
        let Some(pool) = self.pool.as_mut() else { return Ok(()) };
        if self.totals.rounds.is_empty() {
            self.started = Timestamp::now();
        }
        let load = &context.scenario.load;
        let judge = match &self.search {
            Some(search) => Some(search.judge(&self.at, round.stop.least)),
            None => Judge::of_all(load.sweep_until.iter().map(Bound::limit).chain(load.goodput.map(Some)).collect()),
        };
        let block = Block { judge, ..block(context.scenario, &self.at, round, place.0 as u32) };
        if context.logs_requests
            && let Err(error) = pool.reserve_log(request_log::capacity(&block), context.stop).await
        {
            self.end(error);
            return Ok(());
        }
        let before = observer.read(self.case.protocol).await;
        let mut progress = |done| listener.progress(done);
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
                let unserved = served.is_none() && observer.tells(self.case.protocol);
                let logged = match self.log(context, place.0).await? {
                    Ok(logged) => logged,
                    Err(error) => {
                        self.end(error);
                        return Ok(());
                    }
                };
                self.totals.add_logged(logged);
                self.keep(context, outcome, (served, unserved), logged, place)
            }
            Err(error) => {
                self.end(error);
                Ok(())
            }
        }
    }

    /// Writes the requests of the block that was measured last, if they are asked for. Returns how many there are.
    async fn log(&mut self, context: &Context<'_>, block: usize) -> Result<Result<Option<u64>, PoolError>> {
        let Some(pool) = self.pool.as_mut().filter(|_| context.logs_requests) else {
            return Ok(Ok(None));
        };
        let path = context.folder.requests();
        let logged = request_rows::append(&path, (&self.case.tag(), block as u32), pool, context.stop).await?;
        Ok(logged.map(Some))
    }

    fn keep(
        &mut self,
        context: &Context<'_>,
        outcome: BlockOutcome,
        (served, unserved): (Option<Statistics>, bool),
        logged: Option<u64>,
        place: (usize, usize),
    ) -> Result<()> {
        let (row, start) = block_row(&context.scenario.name, &self.at, &outcome, place, context.scenario.bounds());
        let length = Duration::from_nanos(outcome.window_ns());
        // first, as what cannot be written is told all the same
        self.totals.add(place.0, &outcome, served);
        self.totals.unserved |= unserved;
        context.folder.block(&row, &self.at.tag(), &outcome.recorder, start, length)?;
        let load = self.search.as_mut().map(|search| search.add_at(&self.at, &outcome));
        // what nobody waited for may be counted when the run goes on, and the block is measured again
        let is_whole = !(unserved && *context.stop.borrow());
        self.last = is_whole.then_some(KeptBlock {
            case: self.case.tag(),
            round: place.0,
            load,
            hosts: outcome.hosts_done()?,
            done: outcome.to_done()?,
            served,
            unserved,
            capped: false,
            errors_preparing: 0,
            distinct: self.distinct,
            warmed_up: self.warmed_up,
            logged,
            spent_ns: 0,
        });
        let words = outcome.example.map(|fault| fault.message);
        if outcome.aborted || outcome.recorder.count() == 0 {
            // new processes begin the next block, which waits for the server
            self.pool = None;
        }
        // beyond its capacity a server may well answer nothing
        let is_given_up = self.search.is_none() || outcome.recorder.count() == 0;
        if outcome.aborted && is_given_up && (self.aborted || self.totals.recorder.count() == 0) {
            let last = words.clone().unwrap_or_default();
            let reason = format!("given up after at least {FAILURES_IN_A_ROW} failures in a row: {last}");
            self.ended_early = Some((Status::Failed, reason));
        }
        let (failed, all) = (self.totals.recorder.error_count(), self.totals.recorder.settled());
        let most = context.scenario.load.max_error_share.filter(|_| self.search.is_none());
        if let Some(most) = most.filter(|most| failed as f64 > most * all as f64) {
            let last = words.clone().unwrap_or_default();
            let reason =
                format!("{failed} of {all} requests failed, more than the {most} that may (max_error_share): {last}");
            self.pool = None;
            self.ended_early = Some((Status::Failed, reason));
        }
        self.aborted = outcome.aborted;
        outcome.examples.iter().for_each(|fault| keep_first(&mut self.examples, fault));
        Ok(())
    }

    /// Ends it because results cannot be written.
    pub fn unwritten(&mut self, error: &anyhow::Error) {
        let status = if self.totals.rounds.is_empty() { Status::NotRun } else { Status::Failed };
        self.ended_early.get_or_insert_with(|| (status, format!("{error:#}")));
    }

    /// Ends it because of its workers, or of the server.
    pub fn end(&mut self, error: PoolError) {
        self.pool = None;
        self.ended_early = Some(match error {
            PoolError::Interrupted if self.totals.rounds.is_empty() => (Status::NotRun, STOPPED.to_owned()),
            PoolError::Interrupted => (Status::Interrupted, STOPPED.to_owned()),
            PoolError::Failed(fault) => (Status::Failed, fault.message),
        });
    }

    /// Its rows.
    pub fn into_rows(mut self, context: &Context<'_>, group: &Group) -> CaseRows {
        let unknown = || self.search.as_ref().and_then(CaseSearch::unknown);
        let (status, reason) = match self.ended_early.take() {
            Some(ended) => ended,
            None if self.search.is_some() => {
                unknown().map_or((Status::Ok, String::new()), |reason| (Status::Failed, reason))
            }
            None => (status(&self.totals.recorder), words_of(&self.examples)),
        };
        self.totals.resumed = context.differs;
        let row = Record {
            reason: if status == Status::Ok { String::new() } else { reason },
            requests_planned: planned(context.scenario, group, &self.case),
            errors_preparing: Some(self.failed_preparing),
            warmed_up_s: self.warmed_up.map(|(time, _)| rounded(time.as_secs_f64())),
            distinct_requests: Some(self.distinct).filter(|distinct| *distinct > 0),
            started: self.started.into(),
            ended: self.ended.into(),
            ..blank_row(context, &self.case, status)
        };
        let of_host = |host: &str| context.ceilings.of_host(&self.case, host);
        let cores = |host: &str| context.fleet.named(host).and_then(|host| host.environment().cores);
        let hosts = self.totals.host_rows(&context.manifest.scenario, &self.case, &cores, of_host);
        let all = self.totals.fill(&self.case, context.ceilings.of(&self.case), row.clone());
        let row = match &self.search {
            Some(search) => search.row(&self.case, all, row),
            None => all,
        };
        // a single host at its limit is lost in the sums over all
        let of_hosts =
            [Flag::ClientCeiling, Flag::ClientCpu].map(|flag| (flag, hosts.iter().any(|host| host.flags.has(flag))));
        let is_unsteady = self.warmed_up.is_some_and(|(_, is_unsteady)| is_unsteady);
        let row = cold_start_row::told(&self.cold_starts, row);
        let flags = row.flags.clone().with(of_hosts).with([(Flag::Unsteady, is_unsteady)]);
        let rules = context.scenario.mlperf.as_ref();
        let stages = self.totals.stage_rows(&context.manifest.scenario, &self.case, &context.scenario.load);
        CaseRows { record: mlperf::judged(rules, &self.totals, Record { flags, ..row }), hosts, stages }
    }
}

/// The words of a row's errors: that of the only kind, or those of several, each after the name of its kind.
fn words_of(examples: &[Fault]) -> String {
    match examples {
        [only] => only.message.clone(),
        several => {
            let words = several.iter().map(|fault| format!("{}: {}", fault.kind.name(), fault.message));
            words.collect::<Vec<_>>().join("; ")
        }
    }
}
