//! The parent's side: starts worker processes, starts their blocks simultaneously, merges their measurements, and
//! reports one that dies or kills one that hangs. Must not know plans, records or results.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures_util::future::{join_all, try_join_all};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::block_run::keep_first;
use super::message::{Arrivals, Block, BlockDone, Checks, Draw, FromWorker, Job, Offered, ToWorker, Traffic, Usage};
use crate::process::Process;
use crate::protocol::{Fault, FaultKind};
use crate::recorder::Recorder;

/// A worker that is silent for this long hangs. It cannot report while it prepares tensors.
const SILENCE_PREPARING: Duration = Duration::from_secs(120);
/// The same while requests are in flight: a heartbeat is due every second.
const SILENCE: Duration = Duration::from_secs(20);
/// The longest message of a worker, in bytes: many times what its histograms take.
const MESSAGE_MAX: u64 = 64 * 1024 * 1024;
/// How far ahead a block's start is announced, so that every worker knows it in time.
const LEAD: Duration = Duration::from_millis(10);
/// The worker processes of one case.
pub struct Pool {
    workers: Vec<Worker>,
    /// Requests answered while connecting and warming up.
    pub prepared_requests: u64,
    /// Requests that failed meanwhile.
    pub prepared_errors: u64,
    /// Different requests that a process sends.
    pub distinct: u64,
}

/// The measurements of a case's workers in one block, merged.
#[derive(Clone, Debug, Default)]
pub struct BlockOutcome {
    /// Latencies and errors of all workers.
    pub recorder: Recorder,
    /// First send of any worker, in nanoseconds of the Unix epoch.
    pub first_unix_ns: u64,
    /// Last answer of any worker, in nanoseconds of the Unix epoch.
    pub last_unix_ns: u64,
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
    /// The longest pause of a worker, in nanoseconds.
    pub stall_ns: u64,
}

impl BlockOutcome {
    /// The block as one worker would have measured it.
    ///
    /// # Errors
    /// A histogram cannot be serialised.
    pub fn to_done(&self) -> Result<BlockDone> {
        Ok(BlockDone {
            recorder: self.recorder.to_snapshot()?,
            first_unix_ns: self.first_unix_ns,
            last_unix_ns: self.last_unix_ns,
            usage: self.usage,
            traffic: self.traffic,
            example: self.example.clone(),
            examples: self.examples.clone(),
            failed_ns: self.failed_ns,
            offered: self.offered,
            held_back: self.held_back,
            aborted: self.aborted,
            checks: self.checks,
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

    /// Before any worker's part is added.
    fn of_none() -> Self {
        BlockOutcome { first_unix_ns: u64::MAX, failed_ns: Some(0), ..BlockOutcome::default() }
    }

    /// Adds what a worker measured.
    fn add(&mut self, done: BlockDone) -> Result<()> {
        self.recorder.merge(&Recorder::from_snapshot(done.recorder)?);
        self.first_unix_ns = self.first_unix_ns.min(done.first_unix_ns);
        self.last_unix_ns = self.last_unix_ns.max(done.last_unix_ns);
        self.usage += done.usage;
        self.traffic += done.traffic;
        self.offered = self.offered.zip(done.offered).map(|(all, one)| all.with(one)).or(done.offered);
        self.held_back = self.held_back.saturating_add(done.held_back);
        self.aborted |= done.aborted;
        self.checks += done.checks;
        self.stall_ns = self.stall_ns.max(done.stall_ns);
        done.examples.iter().for_each(|fault| keep_first(&mut self.examples, fault));
        self.failed_ns = self.failed_ns.zip(done.failed_ns).map(|(all, one)| all.saturating_add(one));
        self.example = self.example.take().or(done.example);
        Ok(())
    }

    /// The time over which the block's answers count, in nanoseconds. Closed loop: from the first send to the last
    /// answer of any worker; open loop: see [`Offered::window_ns`].
    pub fn window_ns(&self) -> u64 {
        match &self.offered {
            Some(offered) => {
                let settled = self.recorder.settled();
                offered.window_ns(self.last_unix_ns, settled, self.recorder.latency.min_ns().unwrap_or(0))
            }
            None => self.last_unix_ns.saturating_sub(self.first_unix_ns),
        }
    }
}

/// The reason why a case cannot go on.
#[derive(Debug)]
pub enum PoolError {
    /// The user asked to stop.
    Interrupted,
    /// A worker could not do its job.
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
                match worker
                    .receive(SILENCE_PREPARING, stop)
                    .await
                    .map_err(|error| named(error, index, processes))?
                {
                    FromWorker::Ready { requests, errors, distinct } => return Ok((requests, errors, distinct)),
                    FromWorker::Progress { .. } => {}
                    other => return Err(named(unexpected(other), index, processes)),
                }
            }
        });
        let ready: Vec<(u64, u64, u64)> = try_join_all(ready).await?;
        Ok(Pool {
            workers,
            prepared_requests: ready.iter().map(|(requests, ..)| requests).sum(),
            prepared_errors: ready.iter().map(|(_, errors, _)| errors).sum(),
            distinct: ready.iter().map(|(.., distinct)| *distinct).max().unwrap_or(0),
        })
    }

    /// Runs one block on all workers, started simultaneously; fills in the fields that differ between them.
    /// `progress` gets the completed fraction, from 0 to 1.
    ///
    /// # Errors
    /// A worker died, hung or failed, or the user asked to stop: the pool is unusable after that.
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
            let order = Draw { process, ..block.order };
            worker.send(&ToWorker::Block(Block { start_unix_ns, arrivals, order, ..block })).await?;
        }
        let parts = RefCell::new((vec![0.0; self.workers.len()], progress));
        // reads all workers concurrently: one whose messages are not read would block on a full pipe
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
        let mut outcome = BlockOutcome::of_none();
        for done in try_join_all(done).await? {
            outcome.add(done)?;
        }
        Ok(outcome)
    }

    /// Lets the workers finish in an orderly way, and waits for them; kills any that do not.
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
        // a worker that died is reported when its messages end, with the reason
        let _ = self.process.input.write_all(&line).await;
        Ok(())
    }

    async fn receive(&mut self, silence: Duration, stop: &watch::Receiver<bool>) -> Result<FromWorker, PoolError> {
        let mut stop = stop.clone();
        let mut line = String::new();
        let mut output = (&mut self.process.output).take(MESSAGE_MAX);
        let read = tokio::select! {
            read = timeout(silence, output.read_line(&mut line)) => read,
            _ = stop.wait_for(|stop| *stop) => return Err(PoolError::Interrupted),
        };
        match read {
            Ok(Ok(length)) if length > 0 => match serde_json::from_str(&line) {
                Ok(message) => Ok(message),
                // its process may have ended within a message, and says why
                Err(_) if !line.ends_with('\n') && (length as u64) < MESSAGE_MAX => Err(self.ended().await),
                Err(error) => Err(self.unreadable(&error.to_string()).await),
            },
            Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => Err(self.unreadable("it is no text").await),
            Ok(_) => Err(self.ended().await),
            Err(_) => {
                self.process.kill().await;
                let words = format!("a worker said nothing for {} s and was killed", silence.as_secs());
                Err(PoolError::Failed(Fault::new(FaultKind::Timeout, words)))
            }
        }
    }

    /// The error for a worker whose output ended.
    async fn ended(&mut self) -> PoolError {
        let words = format!("a worker process died {}", self.process.exit_description().await);
        PoolError::Failed(Fault::new(FaultKind::Transport, words))
    }

    /// The error for a worker that said what is no message; it is killed.
    async fn unreadable(&mut self, cause: &str) -> PoolError {
        self.process.kill().await;
        let words = format!("a worker said something that cannot be read, and was killed: {cause}");
        PoolError::Failed(Fault::new(FaultKind::Transport, words))
    }
}

fn unexpected(message: FromWorker) -> PoolError {
    PoolError::Failed(match message {
        FromWorker::Failed(fault) => fault,
        other => Fault::new(FaultKind::Transport, format!("a worker said {other:?} out of turn")),
    })
}

/// Adds which of several processes it was.
fn named(error: PoolError, index: usize, processes: u32) -> PoolError {
    match error {
        PoolError::Failed(fault) if processes > 1 => {
            let message = format!("process {} of {processes}: {}", index + 1, fault.message);
            PoolError::Failed(Fault { message, ..fault })
        }
        other => other,
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    /// What the parent makes of a worker that does this, and its process identifier.
    async fn heard(script: &str, silence: Duration) -> (String, u32) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let mut worker = Worker { process: Process::spawn(command).unwrap() };
        let id = worker.process.id().unwrap();
        let (_keep, stop) = watch::channel(false);
        match worker.receive(silence, &stop).await {
            Err(PoolError::Failed(fault)) => (fault.message, id),
            other => panic!("{script}: {other:?}"),
        }
    }

    fn is_there(id: u32) -> bool {
        std::fs::exists(format!("/proc/{id}")).unwrap()
    }

    #[tokio::test]
    async fn what_is_no_message_of_a_worker_is_told_and_the_worker_killed() {
        const LONG: Duration = Duration::from_secs(120);
        for (script, words) in [
            ("printf '\\033[2Jgarbage\\n'; cat", "a worker said something that cannot be read, and was killed: "),
            (
                "printf '\\377\\376\\n'; cat",
                "a worker said something that cannot be read, and was killed: it is no text",
            ),
            // without end
            ("cat /dev/zero", "a worker said something that cannot be read, and was killed: "),
            (
                "printf '{\"rea'; echo 'out of memory' >&2; exit 3",
                "a worker process died (exit status: 3): out of memory",
            ),
            ("exit 0", "a worker process died (exit status: 0)"),
        ] {
            let (told, id) = heard(script, LONG).await;
            assert!(told.starts_with(words) && !told.contains('\x1b'), "{script}: {told}");
            assert!(!is_there(id), "{script}");
        }
    }

    #[tokio::test]
    async fn a_worker_that_says_nothing_is_killed() {
        let (told, id) = heard("cat", Duration::from_secs(1)).await;
        assert_eq!(told, "a worker said nothing for 1 s and was killed");
        assert!(!is_there(id));
    }
}
