//! The parent's side: starts worker processes, starts their blocks simultaneously, merges their measurements, and
//! reports one that dies or kills one that hangs. Must not know plans, records or results.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;

use super::logged::{LogAnswer, LogAsk, LoggedRequest, PIECE};
use super::message::{Arrivals, Block, Draw, FromWorker, Job, Prepared, ToWorker};
use super::outcome::{BlockOutcome, HostClock, HostPart};
use super::seat::{PoolError, Seat, Worker};
use crate::clock;
use crate::hosts::link::Link;
use crate::hosts::offset::Offset;
use crate::protocol::{Fault, FaultKind};

/// A worker that is silent for this long hangs. It cannot report while it prepares tensors.
const SILENCE_PREPARING: Duration = Duration::from_secs(120);
/// The same while requests are in flight: a heartbeat is due every second.
const SILENCE: Duration = Duration::from_secs(20);
/// How far ahead a block's start is announced, so that every worker knows it in time.
const LEAD: Duration = Duration::from_millis(10);

/// The worker processes of one case.
pub struct Pool {
    workers: Vec<Worker>,
    /// The hosts of these workers, once each.
    links: Vec<Arc<Link>>,
    /// What all of them did while connecting and warming up.
    pub prepared: Prepared,
}

impl Pool {
    /// Starts the workers of a case and waits until all are connected, verified and warmed up.
    ///
    /// # Errors
    /// A worker could not be started or prepared, or the user asked to stop; the others are stopped.
    pub async fn start(job: &Job, seats: &[Seat], stop: &watch::Receiver<bool>) -> Result<Self, PoolError> {
        let mut workers = Vec::new();
        let mut links: Vec<Arc<Link>> = Vec::new();
        for (seat, process) in seats.iter().zip(0..) {
            let mut worker = Worker::start(seat)?;
            worker
                .send(&ToWorker::Job(seat.job(&job.of_process(process, seats.len() as u32))))
                .await?;
            if let Some(link) = worker.link().filter(|link| !links.iter().any(|known| Arc::ptr_eq(known, link))) {
                links.push(link.clone());
            }
            workers.push(worker);
        }
        let processes = workers.len() as u32;
        let ready = workers.iter_mut().enumerate().map(async |(index, worker)| {
            loop {
                match worker.receive(SILENCE_PREPARING, stop).await {
                    Ok(FromWorker::Ready(prepared)) => return Ok(prepared),
                    Ok(FromWorker::Progress { .. }) => {}
                    Ok(other) => return Err(worker.named(unexpected(other), index, processes)),
                    Err(error) => return Err(worker.named(error, index, processes)),
                }
            }
        });
        let ready: Vec<Prepared> = try_join_all(ready).await?;
        let prepared = ready.into_iter().fold(Prepared::default(), Prepared::with);
        Ok(Pool { workers, links, prepared })
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
        let before = self.compare_clocks().await?;
        // a message to the farthest host takes no longer than a round trip
        let farthest = before.iter().map(|clock| 2 * clock.error_ns).max().unwrap_or(0);
        let (start_ns, unix_ns) = (clock::shared_ns(), clock::unix_ns());
        let first_ns = start_ns + LEAD.as_nanos() as u64 + farthest;
        // from the time line of this machine's shared clock to that of the Unix epoch
        let to_unix = unix_ns.wrapping_sub(start_ns).cast_signed();
        let processes = self.workers.len() as u32;
        for (worker, process) in self.workers.iter_mut().zip(0..) {
            let arrivals = block.arrivals.map(|arrivals| Arrivals { process, processes, ..arrivals });
            let order = Draw { process, ..block.order };
            let start_ns = clock_of(&self.links, &before, worker).there(first_ns);
            let block = Block { start_ns, arrivals, order, ..block.clone() };
            worker.send(&ToWorker::Block(block)).await?;
        }
        let parts = RefCell::new((vec![0.0; self.workers.len()], progress));
        let outcome = RefCell::new(BlockOutcome::of_none());
        // reads all workers concurrently: one whose messages are not read would block on a full pipe
        let done = self.workers.iter_mut().enumerate().map(async |(index, worker)| {
            loop {
                match worker.receive(SILENCE, stop).await {
                    Ok(FromWorker::Progress { done }) => {
                        let (parts, progress) = &mut *parts.borrow_mut();
                        parts[index] = done;
                        progress(parts.iter().sum::<f64>() / f64::from(processes));
                    }
                    Ok(FromWorker::Done(done)) => {
                        let by_ns = to_unix - clock_of(&self.links, &before, worker).offset_ns;
                        // at once: the memory of all their messages together is not needed
                        outcome.borrow_mut().add_of(worker.host(), done.moved(by_ns))?;
                        return Ok(());
                    }
                    Ok(other) => return Err(worker.named(unexpected(other), index, processes)),
                    Err(error) => return Err(worker.named(error, index, processes)),
                }
            }
        });
        try_join_all(done).await?;
        let mut outcome = outcome.into_inner();
        let after = self.compare_clocks().await?;
        let elapsed_ns = clock::shared_ns().saturating_sub(start_ns);
        for (link, (before, after)) in self.links.iter().zip(before.iter().zip(&after)) {
            let clock = HostClock {
                offset_ns: before.offset_ns,
                // the same offset is taken for both ends
                error_ns: before.error_ns.max(after.error_ns + before.offset_ns.abs_diff(after.offset_ns)),
                round_trip_ns: link.round_trip_ns(),
                moved_ns: before.moved_ns(*after, elapsed_ns),
            };
            outcome.clock_of(link.name(), clock);
        }
        // not in the order in which they happened to end
        let place = |part: &HostPart| self.links.iter().position(|link| link.name() == part.host);
        outcome.hosts.sort_by_key(place);
        Ok(outcome)
    }

    /// The number of workers.
    pub fn processes(&self) -> usize {
        self.workers.len()
    }

    /// Has each worker reserve memory for the log of so many requests of each of its next blocks.
    ///
    /// # Errors
    /// As [`Pool::block`].
    pub async fn reserve_log(&mut self, requests: u64, stop: &watch::Receiver<bool>) -> Result<(), PoolError> {
        let processes = self.workers.len() as u32;
        let reserved = self.workers.iter_mut().enumerate().map(async |(index, worker)| {
            match ask_log(worker, LogAsk::Reserve(requests), stop).await {
                Ok(LogAnswer::Reserved) => Ok(()),
                Ok(other) => Err(worker.named(unexpected(FromWorker::Log(other)), index, processes)),
                Err(error) => Err(worker.named(error, index, processes)),
            }
        });
        try_join_all(reserved).await.map(drop)
    }

    /// The next requests of the last block that a worker logged, from a number on: [`PIECE`] of them, fewer at the end. One
    /// worker is asked for one piece at a time, so that no more than that is in memory here, however many there are.
    ///
    /// # Errors
    /// As [`Pool::block`].
    pub async fn logged(
        &mut self,
        index: usize,
        from: u64,
        stop: &watch::Receiver<bool>,
    ) -> Result<Vec<LoggedRequest>, PoolError> {
        let processes = self.workers.len() as u32;
        let worker = &mut self.workers[index];
        match ask_log(worker, LogAsk::Read(from), stop).await {
            Ok(LogAnswer::Requests(piece)) if piece.len() <= PIECE => Ok(piece),
            Ok(other) => Err(worker.named(unexpected(FromWorker::Log(other)), index, processes)),
            Err(error) => Err(worker.named(error, index, processes)),
        }
    }

    /// The offset of each host's clock now.
    async fn compare_clocks(&self) -> Result<Vec<Offset>, PoolError> {
        Ok(try_join_all(self.links.iter().map(|link| link.compare_clocks())).await?)
    }

    /// Lets the workers finish in an orderly way, and waits for them; kills any that do not.
    pub async fn stop(self) {
        join_all(self.workers.into_iter().map(Worker::stop)).await;
    }
}

/// A worker's answer about its log.
async fn ask_log(worker: &mut Worker, ask: LogAsk, stop: &watch::Receiver<bool>) -> Result<LogAnswer, PoolError> {
    worker.send(&ToWorker::Log(ask)).await?;
    match worker.receive(SILENCE, stop).await? {
        FromWorker::Log(answer) => Ok(answer),
        other => Err(unexpected(other)),
    }
}

fn unexpected(message: FromWorker) -> PoolError {
    PoolError::Failed(match message {
        FromWorker::Failed(fault) => fault,
        other => Fault::new(FaultKind::Transport, format!("a worker said {other:?} out of turn")),
    })
}

/// The offset of a worker's clock.
fn clock_of(links: &[Arc<Link>], clocks: &[Offset], worker: &Worker) -> Offset {
    let place = worker.link().and_then(|link| links.iter().position(|known| Arc::ptr_eq(known, link)));
    place.and_then(|place| clocks.get(place)).copied().unwrap_or_default()
}
