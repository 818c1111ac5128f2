//! What the workers of a case measured in one block, merged: never averaged. Must not know where workers are.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::block_run::keep_first;
use super::message::{BlockDone, Checks, Judged, Offered, Traffic, Usage};
use crate::protocol::Fault;
use crate::recorder::{Part, Recorder, RecorderSnapshot};

/// The measurements of a case's workers in one block, merged.
#[derive(Clone, Debug, Default)]
pub struct BlockOutcome {
    /// Latencies and errors of all workers.
    pub recorder: Recorder,
    /// When the first and the last worker began, in nanoseconds of the Unix epoch; `None` in what earlier versions kept.
    pub begun_ns: Option<(u64, u64)>,
    /// First send of any worker, in nanoseconds of the Unix epoch.
    pub first_ns: u64,
    /// Last answer of any worker, in nanoseconds of the Unix epoch.
    pub last_ns: u64,
    /// Use of the machine by all workers.
    pub usage: Usage,
    /// Traffic of all connections.
    pub traffic: Traffic,
    /// The load offered by an open loop's schedule; `None` in a closed loop.
    pub offered: Option<Offered>,
    /// Requests of the schedule that were sent late because the maximum number was in flight.
    pub held_back: u64,
    /// The last error of a worker.
    pub example: Option<Fault>,
    /// The first error of each kind.
    pub examples: Vec<Fault>,
    /// What requests without a good answer took, in nanoseconds; `None` if a part does not tell.
    pub failed_ns: Option<u64>,
    /// Whether a worker stopped early because requests kept failing.
    pub aborted: bool,
    /// How good answers were checked.
    pub checks: Checks,
    /// How requests were held against limits; `None` if they were not.
    pub judged: Option<Judged>,
    /// What became of the requests of each stage of the schedule; empty if it has none.
    pub stages: Vec<Part>,
    /// The longest pause of a worker, in nanoseconds.
    pub stall_ns: u64,
    /// The parts of other hosts; empty if all workers are processes of this machine.
    pub hosts: Vec<HostPart>,
}

/// What the workers of one host measured.
#[derive(Clone, Debug)]
pub struct HostPart {
    /// The host's name.
    pub host: String,
    /// Its worker processes.
    pub processes: u32,
    /// Its clock.
    pub clock: HostClock,
    /// Their measurements, merged.
    pub outcome: BlockOutcome,
}

/// A host's clock in one block, against that of the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostClock {
    /// How far it was ahead, in nanoseconds.
    pub offset_ns: i64,
    /// The largest error of that.
    pub error_ns: u64,
    /// The shortest round trip to the host.
    pub round_trip_ns: u64,
    /// By how much it moved during the block, beyond all errors.
    pub moved_ns: u64,
}

/// What the workers of one host measured, as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HostDone {
    pub host: String,
    pub processes: u32,
    pub clock: HostClock,
    pub done: BlockDone,
}

impl BlockOutcome {
    /// The block as one worker would have measured it.
    ///
    /// # Errors
    /// A histogram cannot be serialised.
    pub fn to_done(&self) -> Result<BlockDone> {
        Ok(BlockDone {
            recorder: self.recorder.to_snapshot()?,
            begun_ns: self.begun_ns,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            usage: self.usage,
            traffic: self.traffic,
            example: self.example.clone(),
            examples: self.examples.clone(),
            failed_ns: self.failed_ns,
            offered: self.offered,
            held_back: self.held_back,
            aborted: self.aborted,
            checks: self.checks,
            judged: self.judged.clone(),
            stages: self.stages.iter().map(Part::to_snapshot).collect::<Result<_>>()?,
            stall_ns: self.stall_ns,
        })
    }

    /// What [`BlockOutcome::to_done`] was made from.
    ///
    /// # Errors
    /// The histograms are not this program's.
    pub fn of_done(done: BlockDone) -> Result<Self> {
        let mut outcome = BlockOutcome::of_none();
        outcome.add(done)?;
        Ok(outcome)
    }

    /// The parts of hosts, as they are kept.
    ///
    /// # Errors
    /// A histogram cannot be serialised.
    pub fn hosts_done(&self) -> Result<Vec<HostDone>> {
        let done = |part: &HostPart| {
            let HostPart { host, processes, clock, outcome } = part;
            Ok(HostDone { host: host.clone(), processes: *processes, clock: *clock, done: outcome.to_done()? })
        };
        self.hosts.iter().map(done).collect()
    }

    /// The same block with the parts of hosts that were kept beside it.
    ///
    /// # Errors
    /// The histograms are not this program's.
    pub fn with_hosts(mut self, hosts: Vec<HostDone>) -> Result<Self> {
        let part = |HostDone { host, processes, clock, done }| {
            Ok(HostPart { host, processes, clock, outcome: BlockOutcome::of_done(done)? })
        };
        self.hosts = hosts.into_iter().map(part).collect::<Result<_>>()?;
        Ok(self)
    }

    /// Before any worker's part is added.
    pub fn of_none() -> Self {
        BlockOutcome { first_ns: u64::MAX, failed_ns: Some(0), ..BlockOutcome::default() }
    }

    /// Adds what a worker measured, to all and to the part of its host.
    ///
    /// # Errors
    /// The histograms are not this program's.
    pub fn add_of(&mut self, host: Option<&str>, done: BlockDone) -> Result<()> {
        let recorder = Recorder::from_snapshot(done.recorder)?;
        let stages = done.stages.into_iter().map(Part::from_snapshot).collect::<Result<Vec<_>>>()?;
        let done = BlockDone { recorder: RecorderSnapshot::default(), stages: Vec::new(), ..done };
        Part::merge_all(&mut self.stages, &stages);
        if let Some(host) = host {
            let place = self.hosts.iter().position(|part| part.host == host).unwrap_or_else(|| {
                let (host, outcome) = (host.to_owned(), BlockOutcome::of_none());
                self.hosts.push(HostPart { host, processes: 0, clock: HostClock::default(), outcome });
                self.hosts.len() - 1
            });
            self.hosts[place].processes += 1;
            self.hosts[place].outcome.add_measured(&recorder, &done);
        }
        self.add_measured(&recorder, &done);
        Ok(())
    }

    /// Notes a host's clock.
    pub(super) fn clock_of(&mut self, host: &str, clock: HostClock) {
        // of several programs on one host, the poorest counts
        if let Some(part) = self.hosts.iter_mut().find(|part| part.host == host) {
            let moved_ns = part.clock.moved_ns.max(clock.moved_ns);
            let poorest = if part.clock.error_ns > clock.error_ns { part.clock } else { clock };
            part.clock = HostClock { moved_ns, ..poorest };
        }
    }

    /// How much later than the first the last worker began, in nanoseconds.
    pub fn start_skew_ns(&self) -> Option<u64> {
        self.begun_ns.map(|(first, last)| last.saturating_sub(first))
    }

    /// The largest error with which times of different hosts are compared, in nanoseconds: of two clocks, each against this
    /// machine's. `None` without other hosts.
    pub fn clock_error_ns(&self) -> Option<u64> {
        let mut errors: Vec<u64> = self.hosts.iter().map(|part| part.clock.error_ns).collect();
        errors.sort_unstable();
        (!errors.is_empty()).then(|| errors.iter().rev().take(2).sum())
    }

    /// Adds what a worker measured.
    fn add(&mut self, done: BlockDone) -> Result<()> {
        self.add_of(None, done)
    }

    fn add_measured(&mut self, recorder: &Recorder, done: &BlockDone) {
        self.recorder.merge(recorder);
        let both = self.begun_ns.zip(done.begun_ns);
        self.begun_ns = both.map(|(all, one)| (all.0.min(one.0), all.1.max(one.1))).or(done.begun_ns);
        self.first_ns = self.first_ns.min(done.first_ns);
        self.last_ns = self.last_ns.max(done.last_ns);
        self.usage += done.usage;
        self.traffic += done.traffic;
        self.offered = self.offered.zip(done.offered).map(|(all, one)| all.with(one)).or(done.offered);
        self.held_back = self.held_back.saturating_add(done.held_back);
        self.aborted |= done.aborted;
        self.checks += done.checks;
        if let Some(judged) = &done.judged {
            self.judged = Some(self.judged.take().unwrap_or_default().with(judged));
        }
        self.stall_ns = self.stall_ns.max(done.stall_ns);
        done.examples.iter().for_each(|fault| keep_first(&mut self.examples, fault));
        self.failed_ns = self.failed_ns.zip(done.failed_ns).map(|(all, one)| all.saturating_add(one));
        self.example = self.example.take().or_else(|| done.example.clone());
    }

    /// The time over which the block's answers count, in nanoseconds. Closed loop: from the first send to the last
    /// answer of any worker; open loop: see [`Offered::window_ns`].
    pub fn window_ns(&self) -> u64 {
        match &self.offered {
            Some(offered) => {
                let settled = self.recorder.settled();
                offered.window_ns(self.last_ns, settled, self.recorder.latency.min_ns().unwrap_or(0))
            }
            None => self.last_ns.saturating_sub(self.first_ns),
        }
    }
}
