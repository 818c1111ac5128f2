//! A worker's share of a block: when it ends, and what comes of its requests. Must not know how requests are sent.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::protocol::Fault;
use crate::recorder::{Parts, Recorder};

/// A server that fails this often in a row is not asked again in the same block.
pub const FAILURES_IN_A_ROW: u32 = 10;

/// So many answers are recorded at once: what a recorder needs of the program and of its histograms is then in the caches,
/// which the next request empties.
const RECORDED_AT_ONCE: usize = 16;

/// When a share is worked off.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Requests, at least.
    pub iterations: u64,
    /// Time, at least.
    pub duration: Option<Duration>,
    /// No request begins later than this; the first always does.
    pub cap: Option<Duration>,
}

/// What the requests of a worker share while it works through a block.
#[derive(Default)]
pub struct Share {
    rules: Rules,
    taken: Cell<u64>,
    finished: Cell<u64>,
    recorder: Rc<RefCell<Recorder>>,
    /// Answers that are not in the recorder yet.
    answered: RefCell<Vec<Parts>>,
    /// The first start and the last end of a request.
    pub window: Cell<Option<(Instant, Instant)>>,
    /// Requests that had to wait because as many were in flight as may be.
    pub held_back: Cell<u64>,
    failures_in_a_row: Cell<u32>,
    /// Whether requests kept failing.
    pub gave_up: Cell<bool>,
    /// One of the errors.
    pub example: RefCell<Option<Fault>>,
}

impl Share {
    /// Nothing is done yet; what `recorder` held is forgotten.
    pub fn new(rules: Rules, recorder: Rc<RefCell<Recorder>>) -> Self {
        recorder.borrow_mut().clear();
        Share { rules, recorder, ..Share::default() }
    }

    /// Whether there is a request left to send, which is then taken. `elapsed` is the time since the block's start.
    pub fn take(&self, elapsed: impl Fn() -> Duration) -> bool {
        let taken = self.taken.get();
        let enough = || taken >= self.rules.iterations && self.rules.duration.is_none_or(|least| elapsed() >= least);
        if self.gave_up.get() || self.over_at(&elapsed) || enough() {
            return false;
        }
        self.taken.set(taken + 1);
        true
    }

    /// Whether the longest time is over so long after the block's start.
    pub fn over_at(&self, elapsed: impl FnOnce() -> Duration) -> bool {
        self.taken.get() > 0 && self.rules.cap.is_some_and(|cap| elapsed() >= cap)
    }

    /// The part that is done, from 0 to 1.
    pub fn done(&self, elapsed: Duration) -> f64 {
        let of_time = |time: Duration| elapsed.as_secs_f64() / time.as_secs_f64().max(1e-9);
        let requests = self.finished.get() as f64 / (self.rules.iterations.max(1)) as f64;
        let by_count = if self.rules.iterations == 0 { 1.0 } else { requests };
        let asked = by_count.min(self.rules.duration.map_or(1.0, of_time));
        asked.max(self.rules.cap.map_or(0.0, of_time)).min(1.0)
    }

    /// A request of an open loop begins so many nanoseconds after it was due.
    pub fn begin(&self, late_ns: u64) {
        self.recorder.borrow_mut().lateness.record(late_ns);
    }

    /// What was recorded.
    pub fn recorder(&self) -> Ref<'_, Recorder> {
        self.record_if(1);
        self.recorder.borrow()
    }

    /// Records the answers that are not yet, if there are so many.
    fn record_if(&self, least: usize) {
        let mut answered = self.answered.borrow_mut();
        if answered.len() >= least {
            let mut recorder = self.recorder.borrow_mut();
            answered.drain(..).for_each(|parts| recorder.record(parts));
        }
    }

    /// A request has ended.
    pub fn settle(&self, started: Instant, done: Instant, outcome: Result<Parts, Fault>) {
        let (first, last) = self.window.get().unwrap_or((started, done));
        self.window.set(Some((first.min(started), last.max(done))));
        self.finished.set(self.finished.get() + 1);
        match outcome {
            Ok(parts) => {
                self.failures_in_a_row.set(0);
                self.answered.borrow_mut().push(parts);
                self.record_if(RECORDED_AT_ONCE);
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(rules: Rules, elapsed: Duration) -> u64 {
        let share = Share::new(rules, Rc::default());
        (0..100).take_while(|_| share.take(|| elapsed)).count() as u64
    }

    #[test]
    fn a_share_ends_when_both_requests_and_time_are_enough_and_at_the_cap() {
        let rules = Rules { iterations: 7, ..Rules::default() };
        assert_eq!(taken(rules, SECOND), 7);
        assert_eq!(taken(Rules { duration: Some(2 * SECOND), ..rules }, SECOND), 100);
        assert_eq!(taken(Rules { duration: Some(SECOND), ..rules }, SECOND), 7);
        assert_eq!(taken(Rules { iterations: 0, duration: Some(SECOND), cap: None }, Duration::ZERO), 100);
        assert_eq!(taken(Rules { iterations: 0, duration: Some(SECOND), cap: None }, SECOND), 0);
        // the first request is always sent
        assert_eq!(taken(Rules { cap: Some(Duration::ZERO), ..rules }, SECOND), 1);
        assert_eq!(taken(Rules::default(), Duration::ZERO), 0);
    }

    #[test]
    fn what_is_done_follows_the_rule_that_takes_longest_and_the_cap() {
        let share =
            Share::new(Rules { iterations: 4, duration: Some(10 * SECOND), cap: Some(20 * SECOND) }, Rc::default());
        let now = Instant::now();
        share.settle(now, now, Ok(Parts::default()));
        assert_eq!(share.done(SECOND), 0.1);
        assert_eq!(share.done(4 * SECOND), 0.25);
        assert_eq!(share.done(15 * SECOND), 0.75);
        assert_eq!(share.done(40 * SECOND), 1.0);
    }
}
