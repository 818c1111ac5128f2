//! What a worker sends requests with: a closed loop or an open one over its connections, and the stamps of each request.
//! Must not know orders, blocks or who asked for them.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::message::Traffic;
use super::pace::{Pacer, Schedule};
use super::patience::Patience;
use super::share::Share;
use super::timeline::Timeline;
use crate::protocol::verify::{Expected, verify};
use crate::protocol::{Driver, Fault, FaultKind, Reply, Request};
use crate::recorder::{Parts, Recorder};

/// What a worker sends requests with.
pub(super) struct Crew<D: Driver> {
    /// A place for each request in flight.
    pub(super) slots: Vec<Slot<D>>,
    /// What counts the bytes of each connection.
    pub(super) wires: Vec<Rc<Timeline>>,
    pub(super) pacer: Pacer,
    /// For one block after the other.
    pub(super) recorder: Rc<RefCell<Recorder>>,
}

/// What holds for all requests of a worker.
pub(super) struct SlotRules {
    /// What an answer must be.
    pub(super) expected: Vec<Expected>,
    /// The address and the request, where it is encoded anew each time.
    pub(super) anew: Option<(String, Request)>,
}

/// A place for a request in flight.
pub(super) struct Slot<D: Driver> {
    pub(super) driver: D,
    pub(super) timeline: Rc<Timeline>,
    pub(super) patience: Patience,
    pub(super) rules: Rc<SlotRules>,
}

impl<D: Driver> Crew<D> {
    /// Bytes on all connections since this was last asked.
    pub(super) fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        self.wires.iter().for_each(|wire| sum += wire.take_traffic());
        sum
    }
}

impl<D: Driver + 'static> Crew<D> {
    /// Works through a share with so many requests in flight at once, each sent when the one before it is answered.
    pub(super) async fn closed(&mut self, share: &Rc<Share>, at_once: usize, begin: Instant) {
        let mut tasks = JoinSet::new();
        for mut slot in self.slots.drain(..at_once) {
            let share = share.clone();
            tasks.spawn_local(async move {
                while share.take(|| begin.elapsed()) {
                    slot.request(&share, None).await;
                    if let Some(pause) = share.pause() {
                        sleep(pause).await;
                    }
                }
                slot
            });
        }
        self.slots.extend(tasks.join_all().await);
    }

    /// Works through a share with requests sent when they are due, whether or not earlier ones are answered; at most as
    /// many are in flight as there are slots, and those beyond wait for one.
    pub(super) async fn open(&mut self, share: &Rc<Share>, schedule: Schedule, begin: Instant) {
        let mut flying = JoinSet::new();
        for offset in schedule.map(Duration::from_nanos) {
            if share.over_at(|| offset) {
                break;
            }
            let due = begin + offset;
            self.pacer.until(due).await;
            while let Some(landed) = flying.try_join_next() {
                self.slots.extend(landed);
            }
            let held_back = self.slots.is_empty();
            if held_back {
                self.slots.extend(flying.join_next().await.and_then(Result::ok));
            }
            if !share.take(|| begin.elapsed()) {
                break;
            }
            share.held_back.set(share.held_back.get() + u64::from(held_back));
            // the one that was used last: its connection is warm
            let Some(mut slot) = self.slots.pop() else { break };
            let share = share.clone();
            flying.spawn_local(async move {
                slot.request(&share, Some(due)).await;
                slot
            });
            // it leaves now: setting the timer for the next one would come first otherwise
            yield_now().await;
        }
        self.slots.extend(flying.join_all().await);
    }
}

impl<D: Driver> Slot<D> {
    /// Sends one request, `due` at an instant in an open loop, and records what came of it.
    async fn request(&mut self, share: &Share, due: Option<Instant>) {
        let started = self.timeline.start();
        if let Some(due) = due {
            share.begin(nanoseconds(due, started));
        }
        let outcome = {
            let exchange = pin!(exchange(&mut self.driver, &self.timeline, &self.rules));
            self.patience.with(started, exchange).await
        };
        let (done, split) = self.timeline.end();
        let limit = self.patience.limit;
        // an answer after its time is none, however late the timer was that should have said so
        let in_time = outcome.filter(|_| done.saturating_duration_since(started) <= limit);
        if in_time.is_none() {
            self.driver.timed_out();
        }
        let reply = in_time.unwrap_or_else(|| Err(too_late(limit)));
        let parts = reply.and_then(|reply| self.check(reply, share)).map(|()| Parts {
            latency: nanoseconds(due.unwrap_or(started), done),
            service: due.map(|_| nanoseconds(started, done)),
            split,
        });
        share.settle(started, done, parts);
    }

    /// Whether an answer is what it must be. The clock has stopped.
    fn check(&self, reply: Reply<D::Unread>, share: &Share) -> Result<(), Fault> {
        let mut checks = share.checks.get();
        match reply {
            Reply::Same => checks.compared += 1,
            Reply::Unread(unread) => {
                verify(&D::read(unread)?, &self.rules.expected)?;
                checks.read += 1;
            }
        }
        share.checks.set(checks);
        Ok(())
    }
}

async fn exchange<D: Driver>(
    driver: &mut D,
    timeline: &Timeline,
    rules: &SlotRules,
) -> Result<Reply<D::Unread>, Fault> {
    if let Some((address, request)) = &rules.anew {
        driver.replace(D::encode(address, request)?);
    }
    timeline.body(driver.body_bytes());
    driver.infer().await
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

    use super::*;
    use crate::matrix::Arrival;
    use crate::protocol::wire::Probe;
    use crate::protocol::{Address, Answer, OutputTensor, Payload};
    use crate::scenario::StopRule;
    use crate::worker::message::{Arrivals, Checks};
    use crate::worker::patience::Watch;
    use crate::worker::share::FAILURES_IN_A_ROW;

    /// What a scripted driver answers.
    #[derive(Clone, Copy, PartialEq)]
    enum Step {
        /// As the verified answer.
        Same,
        /// An answer of so many FP32 elements, to be read.
        Elements(usize),
        /// An error of the connection.
        Reset,
    }
    use Step::{Elements, Reset, Same};

    /// A driver that answers in a script's order, from its end; after it wrongly.
    struct Scripted(Rc<RefCell<Vec<Step>>>);

    impl Driver for Scripted {
        type Encoded = ();
        type Connection = Rc<RefCell<Vec<Step>>>;
        type Unread = usize;
        type Pattern = ();

        fn encode(_: &str, _: &Request) -> Result<(), Fault> {
            Ok(())
        }

        fn connection(_: &Address, _: Rc<dyn Probe>) -> Self::Connection {
            Rc::default()
        }

        fn new(script: Self::Connection, (): (), _: Rc<dyn Probe>) -> Self {
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
            // long enough for the next request to begin meanwhile
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

        fn follow(&mut self, _: Rc<()>) {}

        fn timed_out(&mut self) {}

        fn pattern(_: &usize) -> Option<()> {
            None
        }

        fn read(elements: usize) -> Result<Answer, Fault> {
            let shape = vec![elements as i64];
            let payload = Payload::Size(4 * elements);
            Ok(Answer { outputs: vec![OutputTensor { name: "y".into(), datatype: "FP32".into(), shape, payload }] })
        }
    }

    const LIMIT: Duration = Duration::from_secs(5);

    /// What comes of so many requests, in a closed loop or in an open one that would send all at once.
    fn drive(script: Vec<Step>, slots: usize, requests: u64, limit: Duration, open: bool) -> Rc<Share> {
        let script = Rc::new(RefCell::new(script));
        let expected = Expected { name: "y".into(), datatype: Some("FP32".into()), shape: Some(vec![3]) };
        let rules = Rc::new(SlotRules { expected: vec![expected], anew: None });
        let share = Rc::new(Share::new(StopRule { requests, ..StopRule::default() }, Rc::default()));
        LocalRuntime::new().unwrap().block_on(async {
            let slot = |_| Slot {
                driver: Scripted(script.clone()),
                timeline: Rc::new(Timeline::new(true)),
                patience: Watch::new(limit).patience(),
                rules: rules.clone(),
            };
            let mut crew = Crew {
                slots: (0..slots).map(slot).collect(),
                wires: Vec::new(),
                pacer: Pacer::new(),
                recorder: Rc::default(),
            };
            let arrival = Arrival::Poisson;
            let arrivals = Arrivals { rate: 1e9, arrival, seed: 1, block: 0, process: 0, processes: 1 };
            match open {
                true => crew.open(&share, Schedule::new(arrivals, requests), Instant::now()).await,
                false => crew.closed(&share, slots, Instant::now()).await,
            }
            assert_eq!(crew.slots.len(), slots);
        });
        share
    }

    #[test]
    fn every_request_is_counted_once_however_many_are_in_flight() {
        for open in [false, true] {
            for slots in [1, 3, 16] {
                let share = drive(vec![Same; 100], slots, 100, LIMIT, open);
                let recorder = share.recorder();
                assert_eq!((recorder.count(), recorder.error_count()), (100, 0));
                let of_open_loops = if open { 100 } else { 0 };
                assert_eq!((recorder.lateness.count(), recorder.service.count()), (of_open_loops, of_open_loops));
            }
        }
    }

    #[test]
    fn what_exceeds_the_bound_is_held_back_and_sent_all_the_same() {
        let share = drive(vec![Same; 100], 2, 100, LIMIT, true);
        assert!(share.held_back.get() > 0, "{}", share.held_back.get());
        assert_eq!(drive(vec![Same; 100], 100, 100, LIMIT, true).held_back.get(), 0);
    }

    #[test]
    fn failed_requests_are_counted_and_the_block_goes_on() {
        for open in [false, true] {
            let share = drive([vec![Same; 10], vec![Reset; 12], vec![Same; 10]].concat(), 1, 32, LIMIT, open);
            assert_eq!((share.recorder().count(), share.recorder().error_count()), (20, 12));
            assert!(!share.gave_up.get());
        }
    }

    #[test]
    fn a_server_that_only_answers_wrongly_is_given_up() {
        for open in [false, true] {
            let share = drive(Vec::new(), 1, 1000, LIMIT, open);
            assert_eq!(share.recorder().error_count(), u64::from(FAILURES_IN_A_ROW));
            assert!(share.gave_up.get());
        }
    }

    #[test]
    fn answers_that_differ_are_read_and_counted() {
        let share = drive(vec![Same, Elements(2), Elements(3), Same], 1, 4, LIMIT, false);
        assert_eq!(share.checks.get(), Checks { compared: 2, read: 1 });
        assert_eq!(share.recorder().errors()["answer"], 1);
        assert!(share.example.borrow().as_ref().is_some_and(|fault| fault.message.contains("shape [2]")));
    }

    #[test]
    fn an_answer_after_its_time_is_a_timeout() {
        let share = drive(vec![Same; 3], 1, 3, Duration::ZERO, false);
        assert_eq!((share.recorder().count(), share.recorder().errors()["timeout"]), (0, 3));
    }
}
