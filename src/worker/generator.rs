//! A worker's load generator: a closed or an open loop over its connections, and the timestamps of each request. Must
//! not know orders, blocks or who asked for them.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, timeout};

use super::block_run::BlockRun;
use super::deadline::Deadline;
use super::message::Traffic;
use super::pace::PreciseTimer;
use super::request_log::{Ended, RequestLog};
use super::schedule::Schedule;
use super::spec::{RequestSpec, Sent};
use super::timeline::Timeline;
use crate::protocol::{Fault, FaultKind, InferClient, Reply};
use crate::recorder::{Part, Recorder, RequestTiming};

/// A worker's load generator.
pub(super) struct LoadGenerator<D: InferClient> {
    /// One context for each request in flight.
    pub(super) contexts: Vec<ClientContext<D>>,
    /// The byte counters of the connections.
    pub(super) timelines: Vec<Rc<Timeline>>,
    pub(super) timer: PreciseTimer,
    /// Reused from block to block.
    pub(super) recorder: Rc<RefCell<Recorder>>,
    /// Reused from block to block.
    pub(super) stages: Rc<RefCell<Vec<Part>>>,
    /// Reused from block to block.
    pub(super) log: Rc<RequestLog>,
    pub(super) spec: Rc<RequestSpec<D>>,
}

/// The context of one request in flight.
pub(super) struct ClientContext<D: InferClient> {
    pub(super) client: D,
    pub(super) timeline: Rc<Timeline>,
    /// Index of its connection.
    pub(super) connection: u32,
    pub(super) deadline: Deadline,
    pub(super) spec: Rc<RequestSpec<D>>,
    /// Whether the last request failed, perhaps with its connection.
    pub(super) is_lost: bool,
}

impl<D: InferClient> LoadGenerator<D> {
    /// Traffic of all connections since the last call.
    pub(super) fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        self.timelines.iter().for_each(|timeline| sum += timeline.take_traffic());
        sum
    }
}

impl<D: InferClient + 'static> LoadGenerator<D> {
    /// Runs a block with `at_once` requests in flight, each sent `think_time` after the one before it is answered.
    pub(super) async fn closed(
        &mut self,
        block_run: &Rc<BlockRun>,
        at_once: usize,
        think_time: Duration,
        begin: Instant,
    ) {
        let mut tasks = JoinSet::new();
        for mut context in self.contexts.drain(..at_once) {
            let block_run = block_run.clone();
            tasks.spawn_local(async move {
                while block_run.start(|| begin.elapsed()) {
                    context.request(&block_run, None).await;
                    let pause = block_run.pause().max(think_time);
                    if pause.is_zero() {
                        continue;
                    }
                    if block_run.is_over(|| begin.elapsed() + pause) {
                        break;
                    }
                    sleep(pause).await;
                }
                context
            });
        }
        self.contexts.extend(tasks.join_all().await);
    }

    /// Runs a block with requests sent when they are due, whether or not earlier ones are answered. At most one
    /// request per context is in flight; further ones wait for a context.
    pub(super) async fn open(&mut self, block_run: &Rc<BlockRun>, schedule: Schedule, begin: Instant) {
        let mut flying = JoinSet::new();
        for offset in schedule.map(Duration::from_nanos) {
            if block_run.over_at(|| offset) {
                break;
            }
            let due = begin + offset;
            self.timer.until(due).await;
            while let Some(landed) = flying.try_join_next() {
                self.contexts.extend(landed);
            }
            let held_back = self.contexts.is_empty();
            if held_back {
                self.contexts.extend(flying.join_next().await.and_then(Result::ok));
            }
            if !block_run.start(|| begin.elapsed()) {
                break;
            }
            block_run.held_back.set(block_run.held_back.get() + u64::from(held_back));
            // the context used last: its connection is warm
            let Some(mut context) = self.contexts.pop() else { break };
            let block_run = block_run.clone();
            flying.spawn_local(async move {
                context.request(&block_run, Some(due)).await;
                // at once, so that no request that is due waits for it; a failure is counted when a request needs it
                let _ = context.reconnect().await;
                context
            });
            // sends it now: otherwise setting the timer for the next one would come first
            yield_now().await;
        }
        self.contexts.extend(flying.join_all().await);
    }
}

impl<D: InferClient> ClientContext<D> {
    /// Sends one request, `due` at an instant in an open loop, and records the outcome.
    async fn request(&mut self, block_run: &BlockRun, due: Option<Instant>) {
        if self.is_lost {
            let trying = self.timeline.start();
            if let Err(fault) = self.reconnect().await {
                let (number, done) = (block_run.log.next(), self.timeline.end().0);
                block_run.log.add(number, &self.ended(due, trying, done, None, Some(fault.kind)));
                return block_run.complete(due, trying, done, Err(fault));
            }
        }
        let sent = self.spec.next();
        if self.spec.varies() {
            let prepared = &self.spec.requests[sent.number];
            self.client.replace(prepared.encoded.clone());
            // content that is compared is kept whole
            self.client.follow(prepared.pattern.borrow().clone().filter(|_| !sent.is_verified));
        }
        let started = self.timeline.start();
        let number = block_run.log.next();
        if let Some(due) = due {
            block_run.begin(nanoseconds(due, started));
        }
        let outcome = {
            let exchange = pin!(exchange(&mut self.client, &self.timeline, &self.spec, sent.number));
            self.deadline.with(started, exchange).await
        };
        let (done, split) = self.timeline.end();
        let limit = self.deadline.limit;
        // an answer after the timeout does not count, however late the timer fired
        let in_time = outcome.filter(|_| done.saturating_duration_since(started) <= limit);
        if in_time.is_none() {
            self.client.timed_out();
        }
        let reply = in_time.unwrap_or_else(|| Err(too_late(limit)));
        let parts = reply.and_then(|reply| self.check(reply, sent, block_run)).map(|()| RequestTiming {
            latency: nanoseconds(due.unwrap_or(started), done),
            service: due.map(|_| nanoseconds(started, done)),
            split,
        });
        self.is_lost = parts.is_err();
        let error = parts.as_ref().err().map(|fault| fault.kind);
        block_run.log.add(number, &self.ended(due, started, done, Some(sent.number), error));
        block_run.complete(due, started, done, parts);
    }

    /// What is logged of the request that has just ended.
    fn ended(
        &self,
        due: Option<Instant>,
        started: Instant,
        done: Instant,
        distinct: Option<usize>,
        error: Option<FaultKind>,
    ) -> Ended {
        let stamps = self.timeline.stamps();
        Ended { due, started, done, stamps, distinct, connection: self.connection, error }
    }

    /// Makes the connection of a request that failed again, if it broke: what that takes is in no request's latency.
    async fn reconnect(&mut self) -> Result<(), Fault> {
        if self.is_lost {
            let limit = self.deadline.limit;
            timeout(limit, self.client.connect()).await.unwrap_or_else(|_| Err(too_late(limit)))?;
            self.is_lost = false;
        }
        Ok(())
    }

    /// Checks that an answer is as expected. The clock has stopped.
    fn check(&self, reply: Reply<D::Unread>, sent: Sent, block_run: &BlockRun) -> Result<(), Fault> {
        let mut checks = block_run.checks.get();
        match reply {
            Reply::Same => checks.compared += 1,
            Reply::Unread(unread) => {
                let compared = self.spec.check(unread, sent.number, sent.is_verified)?;
                checks.read += 1;
                checks.verified += u64::from(compared);
            }
        }
        block_run.checks.set(checks);
        Ok(())
    }
}

async fn exchange<D: InferClient>(
    client: &mut D,
    timeline: &Timeline,
    spec: &RequestSpec<D>,
    number: usize,
) -> Result<Reply<D::Unread>, Fault> {
    if let (Some(to), Some(request)) = (&spec.encoded_for, &spec.requests[number].request) {
        client.replace(D::encode(to, request)?);
    }
    timeline.body(client.body_bytes());
    client.infer().await
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
}

pub(super) fn too_late(limit: Duration) -> Fault {
    Fault::new(FaultKind::Timeout, format!("no answer within {} s", limit.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::LocalRuntime;

    use std::cell::Cell;

    use super::*;
    use crate::protocol::headers::Destination;
    use crate::protocol::stream::IoObserver;
    use crate::protocol::verify::Expected;
    use crate::protocol::{Answer, OutputTensor, Payload, Request};
    use crate::scenario::arrival::Distances;
    use crate::scenario::{ArrivalProcess, StopRule};
    use crate::worker::block_run::FAILURES_IN_A_ROW;
    use crate::worker::deadline::DeadlineTimer;
    use crate::worker::message::{Arrivals, Block, Checks, Draw};
    use crate::worker::requests::Order;
    use crate::worker::spec::Prepared;

    /// An answer of a scripted client.
    #[derive(Clone, Copy, PartialEq)]
    enum Step {
        /// Equal to the verified answer.
        Same,
        /// An answer with this many FP32 elements, to be read.
        Elements(usize),
        /// A connection error.
        Reset,
    }
    use Step::{Elements, Reset, Same};

    /// A client that answers from a script, read from its end; with errors after that.
    struct Scripted(Rc<RefCell<Vec<Step>>>);

    impl InferClient for Scripted {
        type Encoded = ();
        type Connection = Rc<RefCell<Vec<Step>>>;
        type Unread = usize;
        type Pattern = ();

        fn encode(_: &Destination, _: &Request) -> Result<(), Fault> {
            Ok(())
        }

        fn encoded_bytes((): &()) -> u64 {
            0
        }

        fn connection(_: &Destination, _: Rc<dyn IoObserver>) -> Self::Connection {
            Rc::default()
        }

        fn new(script: Self::Connection, (): (), _: Rc<dyn IoObserver>) -> Self {
            Scripted(script)
        }

        fn replace(&mut self, (): ()) {}

        fn body_bytes(&self) -> u64 {
            4
        }

        async fn connect(&mut self) -> Result<(), Fault> {
            Ok(())
        }

        async fn infer(&mut self) -> Result<Reply<usize>, Fault> {
            // long enough for the next request to start meanwhile
            for _ in 0..4 {
                yield_now().await;
            }
            match self.0.borrow_mut().pop() {
                Some(Same) => Ok(Reply::Same),
                Some(Elements(count)) => Ok(Reply::Unread(count)),
                Some(Reset) => Err(Fault::new(FaultKind::Transport, "scripted")),
                None => Err(Fault::new(FaultKind::Answer, "scripted")),
            }
        }

        fn follow(&mut self, _: Option<Rc<()>>) {}

        fn timed_out(&mut self) {}

        fn pattern(_: &usize) -> Option<()> {
            None
        }

        fn read(elements: usize) -> Result<Answer, Fault> {
            let shape = vec![elements as i64];
            let payload = Payload::Size(4 * elements);
            Ok(Answer {
                id: String::new(),
                outputs: vec![OutputTensor { name: "y".into(), datatype: "FP32".into(), shape, payload }],
            })
        }
    }

    const LIMIT: Duration = Duration::from_secs(5);

    /// The outcome of `requests` requests, in a closed loop or in an open one that would send all at once.
    fn drive(script: Vec<Step>, contexts: usize, requests: u64, limit: Duration, open: bool) -> Rc<BlockRun> {
        let script = Rc::new(RefCell::new(script));
        let expected = Expected { name: "y".into(), datatype: Some("FP32".into()), shape: Some(vec![3]), expect: None };
        let prepared = Prepared { encoded: (), request: None, id: None, pattern: RefCell::default() };
        let spec = Rc::new(RequestSpec {
            expected: vec![expected],
            requests: vec![prepared],
            order: RefCell::new(Order::new(1, Draw::default())),
            encoded_for: None,
            references: None,
            verify_every: 1,
            unverified: Cell::default(),
        });
        let block_run = Rc::new(BlockRun::new(StopRule { requests, ..StopRule::default() }, Rc::default()));
        LocalRuntime::new().unwrap().block_on(async {
            let context = |_| ClientContext {
                client: Scripted(script.clone()),
                timeline: Rc::new(Timeline::new(true)),
                connection: 0,
                deadline: DeadlineTimer::new(limit).deadline(),
                spec: spec.clone(),
                is_lost: false,
            };
            let mut generator = LoadGenerator {
                contexts: (0..contexts).map(context).collect(),
                timelines: Vec::new(),
                timer: PreciseTimer::new(),
                recorder: Rc::default(),
                stages: Rc::default(),
                log: Rc::default(),
                spec: spec.clone(),
            };
            let arrival = ArrivalProcess::Steady(Distances::Exponential);
            let arrivals = Arrivals { rate: 1e9, seed: 1, block: 0, process: 0, processes: 1 };
            let (order, stop) = (Draw::default(), StopRule { requests, ..StopRule::default() });
            let block = Block { stop, arrivals: None, order, think_time: Duration::ZERO, judge: None, start_ns: 0 };
            match open {
                true => {
                    generator
                        .open(&block_run, Schedule::new(&arrival, &block, &arrivals), Instant::now())
                        .await
                }
                false => generator.closed(&block_run, contexts, Duration::ZERO, Instant::now()).await,
            }
            assert_eq!(generator.contexts.len(), contexts);
        });
        block_run
    }

    #[test]
    fn every_request_is_counted_once_however_many_are_in_flight() {
        for open in [false, true] {
            for contexts in [1, 3, 16] {
                let block_run = drive(vec![Same; 100], contexts, 100, LIMIT, open);
                let recorder = block_run.recorder();
                assert_eq!((recorder.count(), recorder.error_count()), (100, 0));
                let of_open_loops = if open { 100 } else { 0 };
                assert_eq!((recorder.lateness.count(), recorder.service.count()), (of_open_loops, of_open_loops));
            }
        }
    }

    #[test]
    fn what_exceeds_the_bound_is_held_back_and_sent_all_the_same() {
        let block_run = drive(vec![Same; 100], 2, 100, LIMIT, true);
        assert!(block_run.held_back.get() > 0, "{}", block_run.held_back.get());
        assert_eq!(drive(vec![Same; 100], 100, 100, LIMIT, true).held_back.get(), 0);
    }

    #[test]
    fn failed_requests_are_counted_and_the_block_goes_on() {
        for open in [false, true] {
            let block_run = drive([vec![Same; 10], vec![Reset; 12], vec![Same; 10]].concat(), 1, 32, LIMIT, open);
            assert_eq!((block_run.recorder().count(), block_run.recorder().error_count()), (20, 12));
            assert!(!block_run.aborted.get());
        }
    }

    #[test]
    fn a_server_that_only_answers_wrongly_is_given_up() {
        for open in [false, true] {
            let block_run = drive(Vec::new(), 1, 1000, LIMIT, open);
            assert_eq!(block_run.recorder().error_count(), u64::from(FAILURES_IN_A_ROW));
            assert!(block_run.aborted.get());
        }
    }

    #[test]
    fn answers_that_differ_are_read_and_counted() {
        let block_run = drive(vec![Same, Elements(2), Elements(3), Same], 1, 4, LIMIT, false);
        assert_eq!(block_run.checks.get(), Checks { compared: 2, read: 1, verified: 0 });
        assert_eq!(block_run.recorder().errors()["answer"], 1);
        assert!(
            block_run
                .example
                .borrow()
                .as_ref()
                .is_some_and(|fault| fault.message.contains("shape [2]"))
        );
    }

    #[test]
    fn an_answer_after_its_time_is_a_timeout() {
        let block_run = drive(vec![Same; 3], 1, 3, Duration::ZERO, false);
        assert_eq!((block_run.recorder().count(), block_run.recorder().errors()["timeout"]), (0, 3));
    }
}
