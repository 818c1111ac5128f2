//! A worker process: connects, verifies, warms up, and measures blocks. Only here the clock is read around a request.
//! Must not know plans, records or results.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

use super::message::{Block, BlockDone, FromWorker, Order, ToWorker, Traffic, Usage};
use super::timeline::Timeline;
use crate::protocol::grpc::Grpc;
use crate::protocol::http::Http;
use crate::protocol::verify::verify;
use crate::protocol::{Driver, Fault, FaultKind, Reply};
use crate::recorder::{Parts, Recorder};
use crate::scenario::Protocol;
use crate::tensor::Datatype;

/// A server that fails this often in a row is not asked again in the same block.
pub const FAILURES_IN_A_ROW: u32 = 10;

/// The first answer may meet a server that fails now and then.
const VERIFY_ATTEMPTS: u32 = 3;

/// How often a worker says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Obeys the parent's messages on standard input until it closes.
///
/// # Errors
/// A message that cannot be understood, or a parent that is gone.
pub fn run() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, mut messages) = mpsc::unbounded_channel();
    // a thread of its own: it sleeps in read while requests are timed, and sees at once when the parent is gone
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
    LocalSet::new().block_on(&runtime, async {
        let first = messages.recv().await.context("the parent said nothing")?;
        let ToWorker::Order(order) = serde_json::from_str(&first)? else { bail!("expected an order first") };
        match order.protocol {
            Protocol::Http => obey::<Http>(order, &mut messages).await,
            Protocol::Grpc => obey::<Grpc>(order, &mut messages).await,
        }
    })
}

async fn obey<D: Driver + 'static>(order: Order, messages: &mut mpsc::UnboundedReceiver<String>) -> Result<()> {
    let mut crew = match prepare::<D>(&order).await {
        Ok((crew, requests)) => {
            say(&FromWorker::Ready { requests })?;
            crew
        }
        Err(fault) => return say(&FromWorker::Failed(fault)),
    };
    while let Some(line) = messages.recv().await {
        let ToWorker::Block(block) = serde_json::from_str(&line)? else { bail!("expected a block") };
        say(&FromWorker::Done(measure(&mut crew, block).await?))?;
    }
    Ok(())
}

/// The connections of a worker, one a request in flight.
struct Crew<D> {
    connections: Vec<(D, Rc<Timeline>)>,
    timeout: Duration,
    /// Size of a good answer, where it cannot vary.
    answer_bytes: Option<u64>,
}

/// Connects, verifies an answer on every connection and warms up.
async fn prepare<D: Driver + 'static>(order: &Order) -> Result<(Crew<D>, u64), Fault> {
    let request = order.request().map_err(|error| Fault::new(FaultKind::Answer, format!("{error:#}")))?;
    let encoded = D::encode(&order.address, &request)?;
    drop(request);
    let limit = Duration::from_millis(order.timeout_ms);
    let beat = tokio::task::spawn_local(heartbeat(|| 0));
    let mut connections = Vec::new();
    let mut answer_bytes = None;
    for _ in 0..order.concurrency {
        let timeline = Rc::new(Timeline::new());
        let mut connection = D::new(&order.address, encoded.clone(), timeline.clone());
        answer_bytes = Some(verified(&mut connection, order, limit).await?);
        connections.push((connection, timeline));
    }
    beat.abort();
    let varies = order.outputs.iter().any(|output| output.datatype == Datatype::Bytes.name());
    let mut crew = Crew { connections, timeout: limit, answer_bytes: answer_bytes.filter(|_| !varies) };
    let share = Rc::new(Share::new(order.warmup, order.warmup_cap_ms));
    crew.drive(&share, Instant::now()).await;
    if let (true, Some(fault)) = (share.gave_up.get(), share.example.take()) {
        return Err(Fault { message: format!("the warmup failed: {}", fault.message), ..fault });
    }
    let requests = share.recorder.borrow().count() + u64::from(order.concurrency);
    Ok((crew, requests))
}

/// Sends one request and verifies its answer, whose size is returned.
async fn verified<D: Driver>(connection: &mut D, order: &Order, limit: Duration) -> Result<u64, Fault> {
    let mut attempt = 1;
    loop {
        let answer = timeout(limit, connection.infer_whole()).await.unwrap_or_else(|_| Err(too_late(limit)));
        match answer.and_then(|answer| verify(&answer, &order.outputs).map(|()| answer.bytes)) {
            Err(fault) if fault.kind == FaultKind::Server && attempt < VERIFY_ATTEMPTS => attempt += 1,
            outcome => return outcome,
        }
    }
}

async fn measure<D: Driver + 'static>(crew: &mut Crew<D>, block: Block) -> Result<BlockDone> {
    let share = Rc::new(Share::new(block.iterations, block.cap_ms));
    wait_until(block.start_unix_ns).await;
    // what went over the connections before belongs to no block
    crew.traffic();
    let before = usage();
    // wall clock once, so that processes share a time line; everything after it is monotonic
    let (wall, begin) = (unix_ns(), Instant::now());
    crew.drive(&share, begin).await;
    let at = |instant: Option<Instant>| wall + instant.map_or(0, |instant| (instant - begin).as_nanos() as u64);
    Ok(BlockDone {
        recorder: share.recorder.borrow().to_wire()?,
        first_unix_ns: at(share.first.get()),
        last_unix_ns: at(share.last.get()),
        usage: usage().since(&before),
        traffic: crew.traffic(),
        example: share.example.take(),
        gave_up: share.gave_up.get(),
    })
}

impl<D: Driver + 'static> Crew<D> {
    /// Works through a share with all connections at once.
    async fn drive(&mut self, share: &Rc<Share>, begin: Instant) {
        let progress = share.clone();
        let beat = tokio::task::spawn_local(heartbeat(move || progress.finished.get()));
        let (limit, answer_bytes) = (self.timeout, self.answer_bytes);
        let tasks: Vec<_> = self
            .connections
            .drain(..)
            .map(|(mut connection, timeline)| {
                let share = share.clone();
                tokio::task::spawn_local(async move {
                    while share.take(begin) {
                        let started = timeline.start(connection.body_bytes());
                        let outcome = timeout(limit, connection.infer()).await;
                        let done = Instant::now();
                        let outcome = outcome.unwrap_or_else(|_| Err(too_late(limit)));
                        let outcome = outcome.and_then(|reply| expected_size(reply, answer_bytes));
                        share.settle(started, done, outcome.map(|()| timeline.parts(done)));
                    }
                    (connection, timeline)
                })
            })
            .collect();
        for task in tasks {
            if let Ok(connection) = task.await {
                self.connections.push(connection);
            }
        }
        beat.abort();
    }
}

impl<D> Crew<D> {
    /// Bytes on all connections since this was last asked.
    fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        self.connections.iter().for_each(|(_, timeline)| sum += timeline.take_traffic());
        sum
    }
}

/// What the connections of a worker share while they work through a block.
struct Share {
    remaining: Cell<u64>,
    cap: Option<Duration>,
    finished: Cell<u64>,
    recorder: RefCell<Recorder>,
    first: Cell<Option<Instant>>,
    last: Cell<Option<Instant>>,
    failures_in_a_row: Cell<u32>,
    gave_up: Cell<bool>,
    example: RefCell<Option<Fault>>,
}

impl Share {
    fn new(requests: u64, cap_ms: Option<u64>) -> Self {
        Share {
            remaining: Cell::new(requests),
            cap: cap_ms.map(Duration::from_millis),
            finished: Cell::new(0),
            recorder: RefCell::default(),
            first: Cell::new(None),
            last: Cell::new(None),
            failures_in_a_row: Cell::new(0),
            gave_up: Cell::new(false),
            example: RefCell::default(),
        }
    }

    /// Whether there is a request left to send.
    fn take(&self, begin: Instant) -> bool {
        let late = self.finished.get() > 0 && self.cap.is_some_and(|cap| begin.elapsed() >= cap);
        if self.remaining.get() == 0 || self.gave_up.get() || late {
            return false;
        }
        self.remaining.set(self.remaining.get() - 1);
        true
    }

    fn settle(&self, started: Instant, done: Instant, outcome: Result<Parts, Fault>) {
        self.first.set(Some(self.first.get().map_or(started, |first| first.min(started))));
        self.last.set(Some(self.last.get().map_or(done, |last| last.max(done))));
        self.finished.set(self.finished.get() + 1);
        match outcome {
            Ok(parts) => {
                self.failures_in_a_row.set(0);
                self.recorder.borrow_mut().record(parts);
            }
            Err(fault) => {
                self.failures_in_a_row.set(self.failures_in_a_row.get() + 1);
                if self.failures_in_a_row.get() >= FAILURES_IN_A_ROW {
                    self.gave_up.set(true);
                }
                self.recorder.borrow_mut().record_error(fault.kind.name());
                self.example.replace(Some(fault));
            }
        }
    }
}

/// Timed answers are not parsed, but one of another size than the verified one is not a good answer.
fn expected_size(reply: Reply, answer_bytes: Option<u64>) -> Result<(), Fault> {
    match answer_bytes {
        Some(expected) if reply.bytes != expected => Err(Fault::new(
            FaultKind::Answer,
            format!("an answer of {} bytes, the verified one has {expected}", reply.bytes),
        )),
        _ => Ok(()),
    }
}

fn too_late(limit: Duration) -> Fault {
    Fault::new(FaultKind::Timeout, format!("no answer within {} s", limit.as_secs_f64()))
}

async fn heartbeat(finished: impl Fn() -> u64) {
    loop {
        sleep(HEARTBEAT).await;
        if say(&FromWorker::Progress { requests: finished() }).is_err() {
            return;
        }
    }
}

/// Sleeps until a millisecond before the instant, then spins: the runtime's timer is no finer.
async fn wait_until(start_unix_ns: u64) {
    let ahead = Duration::from_nanos(start_unix_ns.saturating_sub(unix_ns()));
    sleep(ahead.saturating_sub(Duration::from_millis(2))).await;
    while unix_ns() < start_unix_ns {
        std::hint::spin_loop();
    }
}

fn say(message: &FromWorker) -> Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&line)?;
    Ok(out.flush()?)
}

fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// What this process has taken of the machine so far.
#[cfg(unix)]
fn usage() -> Usage {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    getrusage(UsageWho::RUSAGE_SELF).map_or_else(
        |_| Usage::default(),
        |usage| Usage {
            user_ns: usage.user_time().num_nanoseconds().unsigned_abs(),
            system_ns: usage.system_time().num_nanoseconds().unsigned_abs(),
            voluntary: usage.voluntary_context_switches().unsigned_abs(),
            involuntary: usage.involuntary_context_switches().unsigned_abs(),
        },
    )
}

#[cfg(not(unix))]
fn usage() -> Usage {
    Usage::default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::Probe;

    /// A driver that answers in a script's order: `true` is a good answer.
    struct Scripted(Rc<RefCell<Vec<bool>>>);

    impl Driver for Scripted {
        type Encoded = ();

        fn encode(_: &str, _: &crate::protocol::Request) -> Result<(), Fault> {
            Ok(())
        }

        fn new(_: &str, (): (), _: Rc<dyn Probe>) -> Self {
            Scripted(Rc::default())
        }

        fn body_bytes(&self) -> u64 {
            4
        }

        async fn infer(&mut self) -> Result<Reply, Fault> {
            tokio::task::yield_now().await;
            match self.0.borrow_mut().pop() {
                Some(true) => Ok(Reply { bytes: 4 }),
                _ => Err(Fault::new(FaultKind::Server, "scripted")),
            }
        }

        async fn infer_whole(&mut self) -> Result<crate::protocol::Answer, Fault> {
            self.infer().await.map(|reply| crate::protocol::Answer { bytes: reply.bytes, outputs: Vec::new() })
        }
    }

    fn drive(script: Vec<bool>, connections: usize, requests: u64, answer_bytes: Option<u64>) -> Rc<Share> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let script = Rc::new(RefCell::new(script));
        let connections = (0..connections).map(|_| (Scripted(script.clone()), Rc::new(Timeline::new()))).collect();
        let mut crew = Crew { connections, timeout: Duration::from_secs(5), answer_bytes };
        let share = Rc::new(Share::new(requests, None));
        LocalSet::new().block_on(&runtime, crew.drive(&share, Instant::now()));
        share
    }

    #[test]
    fn every_request_is_counted_once_however_many_are_in_flight() {
        for connections in [1, 3, 16] {
            let share = drive(vec![true; 100], connections, 100, Some(4));
            assert_eq!(share.recorder.borrow().count(), 100);
            assert_eq!(share.recorder.borrow().error_count(), 0);
        }
    }

    #[test]
    fn a_failed_request_is_counted_and_the_block_goes_on() {
        let share = drive([vec![true; 10], vec![false], vec![true; 10]].concat(), 1, 21, None);
        assert_eq!((share.recorder.borrow().count(), share.recorder.borrow().error_count()), (20, 1));
        assert!(!share.gave_up.get());
    }

    #[test]
    fn a_server_that_only_fails_is_given_up() {
        let share = drive(Vec::new(), 1, 1000, None);
        assert_eq!(share.recorder.borrow().error_count(), u64::from(FAILURES_IN_A_ROW));
        assert!(share.gave_up.get());
    }

    #[test]
    fn an_answer_of_another_size_is_an_error() {
        let share = drive(vec![true; 3], 1, 3, Some(5));
        assert_eq!(share.recorder.borrow().errors()["answer"], 3);
    }

    #[test]
    fn a_cap_lets_the_first_request_through() {
        let share = Share::new(5, Some(0));
        let begin = Instant::now();
        assert!(share.take(begin));
        share.settle(begin, begin, Ok(Parts::default()));
        assert!(!share.take(begin));
    }
}
