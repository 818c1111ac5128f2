//! A worker's run of a block: when it ends, and the outcome of its requests. Must not know how requests are sent.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::message::{Checks, Judge, Judged};
use super::request_log::RequestLog;
use super::steady::{Settled, Steadiness};
use crate::protocol::Fault;
use crate::recorder::{Part, Recorder, RequestTiming};
use crate::scenario::StopRule;

/// A server that fails this often in a row, for at least [`SERVER_WAIT`], gets no more requests in the same block.
pub const FAILURES_IN_A_ROW: u32 = 10;

/// How long to wait for a server that is away or refuses: a restart or a lost connection must not end a case.
pub const SERVER_WAIT: Duration = Duration::from_secs(5);

/// The longest pause between two attempts at a request that keeps failing.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Number of answers recorded at once: recording in batches keeps the histogram code and buckets hot in the caches,
/// from which a request evicts them.
const RECORDED_AT_ONCE: usize = 16;

/// The state that a worker's requests share during a block.
#[derive(Default)]
pub struct BlockRun {
    stop: StopRule,
    taken: Cell<u64>,
    finished: Cell<u64>,
    recorder: Rc<RefCell<Recorder>>,
    /// Answers that are not recorded yet.
    answered: RefCell<Vec<RequestTiming>>,
    /// The first start and the last end of a request.
    pub window: Cell<Option<(Instant, Instant)>>,
    /// The end of the schedule's first half, in which an open loop's requests are early.
    pub early_until: Cell<Option<Instant>>,
    /// The longest response time of early requests.
    pub slowest_early_ns: Cell<u64>,
    /// Requests that waited because the maximum number was in flight.
    pub held_back: Cell<u64>,
    failures_in_a_row: Cell<u32>,
    /// When the first of these failed requests began.
    failing_since: Cell<Option<Instant>>,
    /// Whether requests kept failing.
    pub aborted: Cell<bool>,
    /// The last error.
    pub example: RefCell<Option<Fault>>,
    /// The first error of each kind.
    pub examples: RefCell<Vec<Fault>>,
    /// What requests without a good answer took, in nanoseconds.
    pub failed_ns: Cell<u64>,
    /// How good answers were checked.
    pub checks: Cell<Checks>,
    /// The block's start, and what requests are held against.
    judge: Option<(Instant, Judge)>,
    judged: RefCell<Judged>,
    /// Whether so many requests broke a limit that more would not tell more.
    hopeless: Cell<bool>,
    /// The begin, and whether latencies are steady since, if the block goes on until they are.
    steadiness: Option<(Instant, RefCell<Steadiness>)>,
    /// The stages of its schedule, if it has any.
    stages: Option<Stages>,
    /// The log of its requests, with memory if one is asked for.
    pub(super) log: Rc<RequestLog>,
}

/// The stages of a block's schedule.
struct Stages {
    begin: Instant,
    /// When they end, from the block's start.
    ends: Vec<Duration>,
    /// What became of the requests that were due in each.
    parts: Rc<RefCell<Vec<Part>>>,
}

impl Stages {
    fn note(&self, due: Instant, latency: Option<u64>) {
        let at = due.saturating_duration_since(self.begin);
        let mut parts = self.parts.borrow_mut();
        let stage = self.ends.partition_point(|end| *end <= at).min(parts.len().saturating_sub(1));
        if let Some(part) = parts.get_mut(stage) {
            part.record(latency);
        }
    }
}

impl BlockRun {
    /// Starts a block; forgets the content of `recorder`.
    pub fn new(stop: StopRule, recorder: Rc<RefCell<Recorder>>) -> Self {
        recorder.borrow_mut().clear();
        BlockRun { stop, recorder, ..BlockRun::default() }
    }

    /// The same block, whose requests are held against limits; it begins at `begin`.
    pub fn judged_by(self, begin: Instant, judge: Option<Judge>) -> Self {
        let bad = vec![0; judge.as_ref().map_or(0, |judge| judge.limits.len())];
        let judged = RefCell::new(Judged { requests: 0, bad });
        BlockRun { judge: judge.map(|judge| (begin, judge)), judged, ..self }
    }

    /// The same block, which goes on until latencies are steady within a part, if one is given; it begins at `begin`.
    pub fn until_steady(self, begin: Instant, within: Option<f64>) -> Self {
        let steadiness = within.map(|within| (begin, RefCell::new(Steadiness::new(within))));
        BlockRun { steadiness, ..self }
    }

    /// The same block, whose requests are counted by the stages that end at `ends` too, a part each; it begins at `begin`.
    pub fn staged(self, begin: Instant, ends: Vec<Duration>, parts: Rc<RefCell<Vec<Part>>>) -> Self {
        let stages = (!ends.is_empty()).then_some(Stages { begin, ends, parts });
        BlockRun { stages, ..self }
    }

    /// Whether latencies are steady, where that was asked for.
    pub fn is_steady(&self) -> bool {
        self.steadiness.as_ref().is_none_or(|(_, steadiness)| steadiness.borrow().is_steady())
    }

    /// What came before latencies were steady, if they were waited for and are.
    pub fn settled(&self) -> Option<Settled> {
        self.steadiness.as_ref().and_then(|(_, steadiness)| steadiness.borrow().settled())
    }

    /// How its requests were held against limits.
    pub fn judged(&self) -> Option<Judged> {
        self.judge.as_ref().map(|_| self.judged.borrow().clone())
    }

    /// The same, with a log of its requests.
    pub(super) fn logged(self, log: Rc<RequestLog>) -> Self {
        BlockRun { log, ..self }
    }

    /// Whether a request is left to send; if so, counts it as started. `elapsed` is the time since the block's start.
    pub fn start(&self, elapsed: impl Fn() -> Duration) -> bool {
        let starts = !self.is_over(elapsed);
        self.taken.set(self.taken.get() + u64::from(starts));
        starts
    }

    /// Whether no request is left to send, `elapsed` after the block's start.
    pub fn is_over(&self, elapsed: impl Fn() -> Duration) -> bool {
        let is_enough = || self.taken.get() >= self.stop.requests;
        let is_time = || self.stop.least.is_none_or(|least| elapsed() >= least);
        let is_all = || is_enough() && is_time() && self.is_steady();
        self.aborted.get() || self.hopeless.get() || self.over_at(&elapsed) || is_all()
    }

    /// Whether the longest time is over, `elapsed` after the block's start.
    pub fn over_at(&self, elapsed: impl FnOnce() -> Duration) -> bool {
        self.taken.get() > 0 && self.stop.most.is_some_and(|cap| elapsed() >= cap)
    }

    /// The completed fraction, from 0 to 1.
    pub fn done(&self, elapsed: Duration) -> f64 {
        let of_time = |time: Duration| elapsed.as_secs_f64() / time.as_secs_f64().max(1e-9);
        let requests = self.finished.get() as f64 / (self.stop.requests.max(1)) as f64;
        let by_count = if self.stop.requests == 0 { 1.0 } else { requests };
        let asked = by_count.min(self.stop.least.map_or(1.0, of_time));
        asked.max(self.stop.most.map_or(0.0, of_time)).min(1.0)
    }

    /// Records that a request of an open loop starts `late_ns` after it was due.
    pub fn begin(&self, late_ns: u64) {
        self.recorder.borrow_mut().lateness.record(late_ns);
    }

    /// The recorder, with all answers recorded.
    pub fn recorder(&self) -> Ref<'_, Recorder> {
        self.record_if(1);
        self.recorder.borrow()
    }

    /// Records the pending answers, if there are at least `least`.
    fn record_if(&self, least: usize) {
        let mut answered = self.answered.borrow_mut();
        if answered.len() >= least {
            let mut recorder = self.recorder.borrow_mut();
            answered.drain(..).for_each(|parts| recorder.record(parts));
        }
    }

    /// Holds a request that was due at an instant against the limits; `took` is `None` if it failed.
    fn judge(&self, due: Instant, took: Option<Duration>) {
        let Some((begin, judge)) = &self.judge else { return };
        if due.saturating_duration_since(*begin) < judge.after {
            return;
        }
        let mut judged = self.judged.borrow_mut();
        judged.requests += 1;
        for ((limit, bad), most) in judge.limits.iter().zip(&mut judged.bad).zip(&judge.hopeless) {
            let is_good = took.is_some_and(|took| limit.is_none_or(|limit| took <= limit));
            *bad += u64::from(!is_good);
            if *bad >= *most {
                self.hopeless.set(true);
            }
        }
    }

    /// Records the end of a request that began at `started`, and was `due` at an instant in an open loop.
    pub fn complete(
        &self,
        due: Option<Instant>,
        started: Instant,
        done: Instant,
        outcome: Result<RequestTiming, Fault>,
    ) {
        let due = due.unwrap_or(started);
        self.judge(due, outcome.as_ref().ok().map(|_| done.saturating_duration_since(due)));
        if let Some(stages) = &self.stages {
            stages.note(due, outcome.as_ref().ok().map(|parts| parts.latency));
        }
        let (first, last) = self.window.get().unwrap_or((started, done));
        self.window.set(Some((first.min(started), last.max(done))));
        self.finished.set(self.finished.get() + 1);
        match outcome {
            Ok(parts) => {
                self.failures_in_a_row.set(0);
                if let Some((begin, steadiness)) = &self.steadiness {
                    let at = done.saturating_duration_since(*begin);
                    steadiness.borrow_mut().add(at, parts.latency);
                }
                if self.early_until.get().is_some_and(|until| due < until) {
                    self.slowest_early_ns.set(self.slowest_early_ns.get().max(parts.latency));
                }
                self.answered.borrow_mut().push(parts);
                self.record_if(RECORDED_AT_ONCE);
            }
            Err(fault) => self.fail(started, done, fault),
        }
    }

    fn fail(&self, started: Instant, done: Instant, fault: Fault) {
        let failures = self.failures_in_a_row.get() + 1;
        self.failures_in_a_row.set(failures);
        if failures == 1 {
            self.failing_since.set(Some(started));
        }
        let failing = self.failing_since.get().map(|since| done.saturating_duration_since(since));
        let waited = !fault.kind.may_pass() || failing >= Some(SERVER_WAIT);
        if failures >= FAILURES_IN_A_ROW && waited {
            self.aborted.set(true);
        }
        self.recorder.borrow_mut().record_error(fault.kind.name());
        let took = done.saturating_duration_since(started).as_nanos() as u64;
        self.failed_ns.set(self.failed_ns.get().saturating_add(took));
        keep_first(&mut self.examples.borrow_mut(), &fault);
        self.example.replace(Some(fault));
    }

    /// The pause that failures demand before the next request: longer with each in a row, so that a server that is away
    /// is neither flooded nor given up at once.
    pub fn pause(&self) -> Duration {
        pause_after(self.failures_in_a_row.get())
    }
}

/// Keeps an error if it is the first of its kind.
pub fn keep_first(examples: &mut Vec<Fault>, fault: &Fault) {
    if !examples.iter().any(|known| known.kind == fault.kind) {
        examples.push(fault.clone());
    }
}

/// The pause after `failures` failures in a row; none after a single one.
pub fn pause_after(failures: u32) -> Duration {
    let doublings = failures.checked_sub(2);
    doublings.map_or(Duration::ZERO, |doublings| Duration::from_millis(1 << doublings.min(8)).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::FaultKind;

    const SECOND: Duration = Duration::from_secs(1);

    fn taken(stop: StopRule, elapsed: Duration) -> u64 {
        let block_run = BlockRun::new(stop, Rc::default());
        (0..100).take_while(|_| block_run.start(|| elapsed)).count() as u64
    }

    #[test]
    fn a_share_ends_when_both_requests_and_time_are_enough_and_at_the_cap() {
        let stop = StopRule { requests: 7, ..StopRule::default() };
        assert_eq!(taken(stop, SECOND), 7);
        assert_eq!(taken(StopRule { least: Some(2 * SECOND), ..stop }, SECOND), 100);
        assert_eq!(taken(StopRule { least: Some(SECOND), ..stop }, SECOND), 7);
        assert_eq!(taken(StopRule { requests: 0, least: Some(SECOND), most: None }, Duration::ZERO), 100);
        assert_eq!(taken(StopRule { requests: 0, least: Some(SECOND), most: None }, SECOND), 0);
        // the first request is always sent
        assert_eq!(taken(StopRule { most: Some(Duration::ZERO), ..stop }, SECOND), 1);
        assert_eq!(taken(StopRule::default(), Duration::ZERO), 0);
    }

    #[test]
    fn what_is_done_follows_the_rule_that_takes_longest_and_the_cap() {
        let block_run =
            BlockRun::new(StopRule { requests: 4, least: Some(10 * SECOND), most: Some(20 * SECOND) }, Rc::default());
        let now = Instant::now();
        block_run.complete(None, now, now, Ok(RequestTiming::default()));
        assert_eq!(block_run.done(SECOND), 0.1);
        assert_eq!(block_run.done(4 * SECOND), 0.25);
        assert_eq!(block_run.done(15 * SECOND), 0.75);
        assert_eq!(block_run.done(40 * SECOND), 1.0);
    }

    fn failed(block_run: &BlockRun, kind: FaultKind, at: Duration) {
        let began = block_run.failing_since.get().unwrap_or_else(Instant::now);
        block_run.complete(None, began, began + at, Err(Fault::new(kind, "scripted")));
    }

    #[test]
    fn a_server_that_is_away_is_given_up_after_a_time_and_one_that_answers_wrongly_after_a_count() {
        let block_run = BlockRun::default();
        for _ in 0..100 {
            failed(&block_run, FaultKind::Connect, SERVER_WAIT - SECOND);
        }
        assert!(!block_run.aborted.get());
        failed(&block_run, FaultKind::Connect, SERVER_WAIT);
        assert!(block_run.aborted.get());
        // a good answer restarts the time
        let block_run = BlockRun::default();
        failed(&block_run, FaultKind::Connect, SERVER_WAIT);
        let now = Instant::now();
        block_run.complete(None, now, now, Ok(RequestTiming::default()));
        (0..FAILURES_IN_A_ROW).for_each(|_| failed(&block_run, FaultKind::Server, SECOND));
        assert!(!block_run.aborted.get());
        let block_run = BlockRun::default();
        (0..FAILURES_IN_A_ROW).for_each(|_| failed(&block_run, FaultKind::Answer, Duration::ZERO));
        assert!(block_run.aborted.get());
    }

    #[test]
    fn the_first_error_of_each_kind_is_kept_and_the_time_of_all() {
        let block_run = BlockRun::default();
        let now = Instant::now();
        for (kind, words) in [
            (FaultKind::Timeout, "first"),
            (FaultKind::Server, "other"),
            (FaultKind::Timeout, "again"),
            (FaultKind::Server, "last"),
        ] {
            block_run.complete(None, now, now + SECOND, Err(Fault::new(kind, words)));
        }
        let words: Vec<String> = block_run.examples.borrow().iter().map(|fault| fault.message.clone()).collect();
        assert_eq!(words, ["first", "other"]);
        assert_eq!(block_run.example.take().unwrap().message, "last");
        assert_eq!(block_run.failed_ns.get(), 4_000_000_000);
        assert_eq!(block_run.recorder().count(), 0);
    }

    #[test]
    fn requests_are_held_against_limits_once_a_block_has_settled_until_it_is_hopeless() {
        let begin = Instant::now();
        let stop = StopRule { requests: 1000, ..StopRule::default() };
        let ms = Duration::from_millis;
        let limits = vec![Some(ms(10)), Some(ms(20)), None];
        let judge = Judge { after: SECOND, limits, hopeless: vec![4, 100, 100] };
        let block_run = BlockRun::new(stop, Rc::default()).judged_by(begin, Some(judge));
        let answer = |due: Duration, took: Duration| {
            let (due, timing) = (begin + due, RequestTiming::default());
            block_run.complete(Some(due), due + ms(1), due + took, Ok(timing));
        };
        // from the instant it was due, not from its start
        answer(ms(999), ms(500));
        [ms(5), ms(10), ms(11), ms(20), ms(21)].iter().for_each(|took| answer(SECOND, *took));
        assert_eq!(block_run.judged(), Some(Judged { requests: 5, bad: vec![3, 1, 0] }));
        assert!(!block_run.is_over(|| SECOND));
        let due = begin + SECOND;
        block_run.complete(Some(due), due, due, Err(Fault::new(FaultKind::Server, "scripted")));
        assert_eq!(block_run.judged(), Some(Judged { requests: 6, bad: vec![4, 2, 1] }));
        assert!(block_run.is_over(|| SECOND));
        assert_eq!(BlockRun::default().judged(), None);
    }

    #[test]
    fn pauses_grow_and_a_single_failure_has_none() {
        let pauses: Vec<u128> = (0..12).map(|failures| pause_after(failures).as_millis()).collect();
        assert_eq!(pauses, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 250, 250]);
    }
}
