//! The parent's side: starts worker processes, starts their blocks together, gathers what they measured, and puts an
//! end to one that dies or hangs. Must not know plans, records or results.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures_util::future::{join_all, try_join_all};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::message::{Arrivals, Block, Checks, FromWorker, Job, Offered, ToWorker, Traffic, Usage};
use crate::process::Process;
use crate::protocol::{Fault, FaultKind};
use crate::recorder::Recorder;

/// A worker that says nothing for this long hangs. While it prepares tensors it cannot speak.
const SILENCE_PREPARING: Duration = Duration::from_secs(120);
/// The same while requests are under way: a heartbeat a second is due.
const SILENCE: Duration = Duration::from_secs(20);
/// Ahead of a block's start, so that every worker has heard of it.
const LEAD: Duration = Duration::from_millis(10);
/// The worker processes of one case.
pub struct Pool {
    workers: Vec<Worker>,
    /// Requests answered while connecting and warming up.
    pub prepared_requests: u64,
    /// Requests that failed meanwhile.
    pub prepared_errors: u64,
}

/// What the workers of a case measured in one block, merged.
#[derive(Clone, Debug, Default)]
pub struct BlockOutcome {
    /// Latencies and errors of all workers.
    pub recorder: Recorder,
    /// First send of any worker, in nanoseconds of the Unix epoch.
    pub first_unix_ns: u64,
    /// Last answer of any worker, in nanoseconds of the Unix epoch.
    pub last_unix_ns: u64,
    /// What all workers took of the machine.
    pub usage: Usage,
    /// What went over all connections.
    pub traffic: Traffic,
    /// What the schedule of an open loop offered; `None` in the closed one.
    pub offered: Option<Offered>,
    /// Of these, requests that were sent late because as many were in flight as may be.
    pub held_back: u64,
    /// One of the errors, in words.
    pub example: Option<Fault>,
    /// Whether a worker stopped early because requests kept failing.
    pub aborted: bool,
    /// How good answers were checked.
    pub checks: Checks,
    /// How long a worker did not run at worst, in nanoseconds.
    pub stall_ns: u64,
}

impl BlockOutcome {
    /// The time over which the block's answers count, in nanoseconds: in a closed loop from the first send to the last
    /// answer of any worker, in an open one see [`Offered::window_ns`].
    pub fn window_ns(&self) -> u64 {
        match &self.offered {
            Some(offered) => {
                let settled = self.recorder.count() + self.recorder.error_count();
                offered.window_ns(self.last_unix_ns, settled, self.recorder.latency.min_ns().unwrap_or(0))
            }
            None => self.last_unix_ns.saturating_sub(self.first_unix_ns),
        }
    }
}

/// Why a case cannot go on.
#[derive(Debug)]
pub enum PoolError {
    /// The user asked to stop.
    Interrupted,
    /// A worker could not do its work.
    Failed(Fault),
}

impl From<anyhow::Error> for PoolError {
    fn from(error: anyhow::Error) -> Self {
        PoolError::Failed(Fault::new(FaultKind::Transport, format!("{error:#}")))
    }
}

struct Worker {
    process: Process,
}

impl Pool {
    /// Starts the workers of a case and waits until all are connected, verified and warmed up.
    ///
    /// # Errors
    /// A worker could not be started or prepared, or the user asked to stop; the others are stopped.
    pub async fn start(job: &Job, processes: u32, stop: &watch::Receiver<bool>) -> Result<Self, PoolError> {
        let mut workers = Vec::new();
        for _ in 0..processes {
            let mut worker = Worker::start()?;
            worker.send(&ToWorker::Job(job.clone())).await?;
            workers.push(worker);
        }
        let ready = workers.iter_mut().enumerate().map(async |(index, worker)| {
            loop {
                match worker.receive(SILENCE_PREPARING, stop).await.map_err(|error| named(error, index, processes))? {
                    FromWorker::Ready { requests, errors } => return Ok((requests, errors)),
                    FromWorker::Progress { .. } => {}
                    other => return Err(named(unexpected(other), index, processes)),
                }
            }
        });
        let ready: Vec<(u64, u64)> = try_join_all(ready).await?;
        let (prepared_requests, prepared_errors) =
            ready.iter().fold((0, 0), |(requests, errors), ready| (requests + ready.0, errors + ready.1));
        Ok(Pool { workers, prepared_requests, prepared_errors })
    }

    /// Runs one block on all workers, started together; what differs between them is filled in. `progress` hears the part
    /// that is done, from 0 to 1.
    ///
    /// # Errors
    /// A worker died, hung or failed, or the user asked to stop: the pool is of no use after that.
    pub async fn block(
        &mut self,
        block: Block,
        stop: &watch::Receiver<bool>,
        progress: &mut dyn FnMut(f64),
    ) -> Result<BlockOutcome, PoolError> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let start_unix_ns = (since_epoch + LEAD).as_nanos() as u64;
        let processes = self.workers.len() as u32;
        for (worker, process) in self.workers.iter_mut().zip(0..) {
            let arrivals = block.arrivals.map(|arrivals| Arrivals { process, processes, ..arrivals });
            worker.send(&ToWorker::Block(Block { start_unix_ns, arrivals, ..block })).await?;
        }
        let parts = RefCell::new((vec![0.0; self.workers.len()], progress));
        // all are heard at once: a worker whose words nobody reads would stand still when the pipe is full
        let done = self.workers.iter_mut().enumerate().map(async |(index, worker)| {
            loop {
                match worker.receive(SILENCE, stop).await.map_err(|error| named(error, index, processes))? {
                    FromWorker::Progress { done } => {
                        let (parts, progress) = &mut *parts.borrow_mut();
                        parts[index] = done;
                        progress(parts.iter().sum::<f64>() / f64::from(processes));
                    }
                    FromWorker::Done(done) => return Ok(done),
                    other => return Err(named(unexpected(other), index, processes)),
                }
            }
        });
        let mut outcome = BlockOutcome { first_unix_ns: u64::MAX, ..BlockOutcome::default() };
        for done in try_join_all(done).await? {
            outcome.recorder.merge(&Recorder::from_snapshot(done.recorder)?);
            outcome.first_unix_ns = outcome.first_unix_ns.min(done.first_unix_ns);
            outcome.last_unix_ns = outcome.last_unix_ns.max(done.last_unix_ns);
            outcome.usage += done.usage;
            outcome.traffic += done.traffic;
            outcome.offered = outcome.offered.zip(done.offered).map(|(all, one)| all.with(one)).or(done.offered);
            outcome.held_back += done.held_back;
            outcome.aborted |= done.aborted;
            outcome.checks += done.checks;
            outcome.stall_ns = outcome.stall_ns.max(done.stall_ns);
            outcome.example = outcome.example.or(done.example);
        }
        Ok(outcome)
    }

    /// Lets the workers end in order, and waits for them; one that does not is killed.
    pub async fn stop(self) {
        join_all(self.workers.into_iter().map(|worker| worker.process.stop())).await;
    }
}

impl Worker {
    fn start() -> Result<Self> {
        Ok(Worker { process: Process::start(&[OsStr::new("worker")])? })
    }

    async fn send(&mut self, message: &ToWorker) -> Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        // a worker that died is told by its next silence, with the reason
        let _ = self.process.input.write_all(&line).await;
        Ok(())
    }

    async fn receive(&mut self, silence: Duration, stop: &watch::Receiver<bool>) -> Result<FromWorker, PoolError> {
        let mut stop = stop.clone();
        let mut line = String::new();
        let read = tokio::select! {
            read = timeout(silence, self.process.output.read_line(&mut line)) => read,
            _ = stop.wait_for(|stop| *stop) => return Err(PoolError::Interrupted),
        };
        match read {
            Ok(Ok(length)) if length > 0 => {
                let message = serde_json::from_str(&line).context("a worker said something that cannot be read")?;
                Ok(message)
            }
            Ok(_) => {
                let words = format!("a worker process died {}", self.process.exit_description().await);
                Err(PoolError::Failed(Fault::new(FaultKind::Transport, words)))
            }
            Err(_) => {
                self.process.kill().await;
                let words = format!("a worker said nothing for {} s and was killed", silence.as_secs());
                Err(PoolError::Failed(Fault::new(FaultKind::Timeout, words)))
            }
        }
    }
}

fn unexpected(message: FromWorker) -> PoolError {
    PoolError::Failed(match message {
        FromWorker::Failed(fault) => fault,
        other => Fault::new(FaultKind::Transport, format!("a worker said {other:?} out of turn")),
    })
}

/// Says which of several processes it was.
fn named(error: PoolError, index: usize, processes: u32) -> PoolError {
    match error {
        PoolError::Failed(fault) if processes > 1 => {
            let message = format!("process {} of {processes}: {}", index + 1, fault.message);
            PoolError::Failed(Fault { message, ..fault })
        }
        other => other,
    }
}
