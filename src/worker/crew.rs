//! What a worker sends requests with: a closed loop or an open one over its connections, and the stamps of each request.
//! Must not know orders, blocks or who asked for them.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, yield_now};

use super::message::Traffic;
use super::pace::{Pacer, Schedule};
use super::patience::Patience;
use super::share::Share;
use super::timeline::Timeline;
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
    /// Size of a good answer, where it cannot vary.
    pub(super) answer_bytes: Option<u64>,
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
        let exchange = pin!(exchange(&mut self.driver, &self.timeline, &self.rules));
        let outcome = self.patience.with(started, exchange).await;
        let (done, split) = self.timeline.end();
        let outcome = outcome.unwrap_or_else(|| Err(too_late(self.patience.limit)));
        let parts = outcome.and_then(|reply| expected_size(reply, self.rules.answer_bytes)).map(|()| Parts {
            latency: nanoseconds(due.unwrap_or(started), done),
            service: due.map(|_| nanoseconds(started, done)),
            split,
        });
        share.settle(started, done, parts);
    }
}

async fn exchange<D: Driver>(driver: &mut D, timeline: &Timeline, rules: &SlotRules) -> Result<Reply, Fault> {
    if let Some((address, request)) = &rules.anew {
        driver.replace(D::encode(address, request)?);
    }
    timeline.body(driver.body_bytes());
    driver.infer().await
}

fn nanoseconds(from: Instant, to: Instant) -> u64 {
    to.saturating_duration_since(from).as_nanos() as u64
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

pub(super) fn too_late(limit: Duration) -> Fault {
    Fault::new(FaultKind::Timeout, format!("no answer within {} s", limit.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use tokio::runtime::LocalRuntime;

    use super::*;
    use crate::protocol::wire::Probe;
    use crate::scenario::Arrival;
    use crate::worker::message::Arrivals;
    use crate::worker::patience::Watch;
    use crate::worker::share::{FAILURES_IN_A_ROW, Rules};

    /// A driver that answers in a script's order: `true` is a good answer.
    struct Scripted(Rc<RefCell<Vec<bool>>>);

    impl Driver for Scripted {
        type Encoded = ();
        type Connection = Rc<RefCell<Vec<bool>>>;

        fn encode(_: &str, _: &Request) -> Result<(), Fault> {
            Ok(())
        }

        fn connection(_: &str, _: Rc<dyn Probe>) -> Self::Connection {
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

        async fn infer(&mut self) -> Result<Reply, Fault> {
            // long enough for the next request to begin meanwhile
            for _ in 0..4 {
                yield_now().await;
            }
            match self.0.borrow_mut().pop() {
                Some(true) => Ok(Reply { bytes: 4 }),
                _ => Err(Fault::new(FaultKind::Server, "scripted")),
            }
        }

        async fn infer_whole(&mut self) -> Result<crate::protocol::Answer, Fault> {
            self.infer().await.map(|reply| crate::protocol::Answer { bytes: reply.bytes, outputs: Vec::new() })
        }
    }

    /// What comes of so many requests, in a closed loop or in an open one that would send all at once.
    fn drive(script: Vec<bool>, slots: usize, requests: u64, answer_bytes: Option<u64>, open: bool) -> Rc<Share> {
        let script = Rc::new(RefCell::new(script));
        let rules = Rc::new(SlotRules { answer_bytes, anew: None });
        let share = Rc::new(Share::new(Rules { iterations: requests, ..Rules::default() }, Rc::default()));
        LocalRuntime::new().unwrap().block_on(async {
            let slot = |_| Slot {
                driver: Scripted(script.clone()),
                timeline: Rc::new(Timeline::new(true)),
                patience: Watch::new(Duration::from_secs(5)).patience(),
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
                let share = drive(vec![true; 100], slots, 100, Some(4), open);
                let recorder = share.recorder();
                assert_eq!((recorder.count(), recorder.error_count()), (100, 0));
                let of_open_loops = if open { 100 } else { 0 };
                assert_eq!((recorder.lateness.count(), recorder.service.count()), (of_open_loops, of_open_loops));
            }
        }
    }

    #[test]
    fn what_exceeds_the_bound_is_held_back_and_sent_all_the_same() {
        let share = drive(vec![true; 100], 2, 100, None, true);
        assert!(share.held_back.get() > 0, "{}", share.held_back.get());
        assert_eq!(drive(vec![true; 100], 100, 100, None, true).held_back.get(), 0);
    }

    #[test]
    fn a_failed_request_is_counted_and_the_block_goes_on() {
        let share = drive([vec![true; 10], vec![false], vec![true; 10]].concat(), 1, 21, None, false);
        assert_eq!((share.recorder().count(), share.recorder().error_count()), (20, 1));
        assert!(!share.gave_up.get());
    }

    #[test]
    fn a_server_that_only_fails_is_given_up() {
        for open in [false, true] {
            let share = drive(Vec::new(), 1, 1000, None, open);
            assert_eq!(share.recorder().error_count(), u64::from(FAILURES_IN_A_ROW));
            assert!(share.gave_up.get());
        }
    }

    #[test]
    fn an_answer_of_another_size_is_an_error() {
        let share = drive(vec![true; 3], 1, 3, Some(5), false);
        assert_eq!(share.recorder().errors()["answer"], 3);
    }
}
