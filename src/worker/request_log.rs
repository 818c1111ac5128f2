//! A worker's log of each request of a block: memory that is reserved before the block, one write for each request while requests
//! are timed, and pieces that the parent reads afterwards. Must not know how requests are sent.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::logged::{LOGGED_MAX, LogAnswer, LogAsk, LoggedRequest, PIECE};
use super::message::Block;
use crate::protocol::FaultKind;

/// Memory for a block that time alone ends is reserved for this many requests a second: more than a process can send.
const RATE_MAX: f64 = 50_000.0;

/// Where the rate changes or a file says when, processes that take turns may have so many more than their mean, rounded.
const UNEVEN: u64 = 2;

/// For a number that is not known.
const NONE: u64 = u64::MAX;

/// How many requests of a block a process can log at most: all of them, if it has no more than [`LOGGED_MAX`].
pub fn capacity(block: &Block) -> u64 {
    let wanted = match &block.arrivals {
        Some(arrivals) => block.scheduled(arrivals) + UNEVEN,
        None => {
            let of_time = block.stop.least.unwrap_or_default().as_secs_f64() * RATE_MAX;
            block.stop.requests.max(of_time as u64)
        }
    };
    wanted.min(LOGGED_MAX)
}

/// When parts of a request were through, and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamps {
    /// When its last byte was handed to the system; `None` if it never was, or several requests share a connection.
    pub sent: Option<Instant>,
    /// When the answer's head was there; `None` if it never was.
    pub head: Option<Instant>,
    /// Bytes sent on its connection meanwhile, headers and framing included; of a shared connection those of its body.
    pub bytes_sent: u64,
    /// Bytes received, likewise; of a shared connection those of the answer's body.
    pub bytes_received: u64,
}

/// What is logged of a request that ended.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Ended {
    pub due: Option<Instant>,
    pub started: Instant,
    pub done: Instant,
    pub stamps: Stamps,
    pub distinct: Option<usize>,
    pub connection: u32,
    pub error: Option<FaultKind>,
}

/// The log of one block at a time.
#[derive(Default)]
pub struct RequestLog {
    slots: RefCell<Vec<Slot>>,
    /// Requests of the block so far.
    begun: Cell<u64>,
    /// The instant from which times count.
    origin: Cell<Option<Instant>>,
}

/// A logged request in memory: one line of the processor's cache.
#[derive(Clone)]
#[repr(align(64))]
struct Slot {
    due_ns: u64,
    start_ns: u64,
    sent_ns: u64,
    head_ns: u64,
    done_ns: u64,
    bytes_sent: u64,
    bytes_received: u64,
    distinct: u32,
    connection: u16,
    error: Option<FaultKind>,
}

impl RequestLog {
    /// Answers the parent. Memory is written to when it is reserved, so that the system provides all of it before the block.
    pub fn answer(&self, ask: LogAsk) -> LogAnswer {
        match ask {
            LogAsk::Reserve(requests) => {
                let requests = requests.min(LOGGED_MAX) as usize;
                let mut slots = self.slots.borrow_mut();
                if slots.len() < requests {
                    *slots = Vec::new();
                    *slots = vec![Slot::empty(); requests];
                }
                LogAnswer::Reserved
            }
            LogAsk::Read(from) => LogAnswer::Requests(self.piece(from)),
        }
    }

    fn piece(&self, from: u64) -> Vec<LoggedRequest> {
        let slots = self.slots.borrow();
        let logged = slots.len().min(usize::try_from(self.begun.get()).unwrap_or(usize::MAX));
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(logged);
        slots[from..logged].iter().take(PIECE).map(LoggedRequest::from).collect()
    }

    /// Begins a block whose times count from `late` before `begin`.
    pub fn begin(&self, begin: Instant, late: Duration) {
        self.begun.set(0);
        self.origin.set(Some(begin.checked_sub(late).unwrap_or(begin)));
    }

    /// The number of the request that begins now.
    pub fn next(&self) -> u64 {
        let number = self.begun.get();
        self.begun.set(number + 1);
        number
    }

    /// Logs the end of a request, if there is memory for one of its number.
    pub fn add(&self, number: u64, ended: &Ended) {
        let mut slots = self.slots.borrow_mut();
        let slot = usize::try_from(number).ok().and_then(|number| slots.get_mut(number));
        let (Some(slot), Some(origin)) = (slot, self.origin.get()) else { return };
        let ns = |at: Instant| at.saturating_duration_since(origin).as_nanos() as u64;
        *slot = Slot {
            due_ns: ended.due.map_or(NONE, ns),
            start_ns: ns(ended.started),
            sent_ns: ended.stamps.sent.map_or(NONE, ns),
            head_ns: ended.stamps.head.map_or(NONE, ns),
            done_ns: ns(ended.done),
            bytes_sent: ended.stamps.bytes_sent,
            bytes_received: ended.stamps.bytes_received,
            distinct: ended.distinct.map_or(u32::MAX, |distinct| distinct as u32),
            connection: ended.connection as u16,
            error: ended.error,
        };
    }
}

impl Slot {
    fn empty() -> Self {
        Slot {
            due_ns: NONE,
            start_ns: 0,
            sent_ns: NONE,
            head_ns: NONE,
            done_ns: 0,
            bytes_sent: 0,
            bytes_received: 0,
            distinct: u32::MAX,
            connection: 0,
            error: None,
        }
    }
}

impl From<&Slot> for LoggedRequest {
    fn from(slot: &Slot) -> Self {
        let known = |ns: u64| (ns != NONE).then_some(ns);
        LoggedRequest {
            due_ns: known(slot.due_ns),
            start_ns: slot.start_ns,
            sent_ns: known(slot.sent_ns),
            head_ns: known(slot.head_ns),
            done_ns: slot.done_ns,
            bytes_sent: slot.bytes_sent,
            bytes_received: slot.bytes_received,
            distinct: (slot.distinct != u32::MAX).then_some(slot.distinct),
            connection: u32::from(slot.connection),
            error: slot.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::StopRule;
    use crate::scenario::arrival::{ArrivalProcess, Distances, Stage};
    use crate::worker::message::{Arrivals, Draw};
    use crate::worker::schedule::Schedule;

    fn block(requests: u64, seconds: Option<u64>, arrivals: Option<Arrivals>) -> Block {
        let stop = StopRule { requests, least: seconds.map(Duration::from_secs), most: None };
        Block {
            stop,
            arrivals,
            order: Draw::default(),
            think_time: Duration::ZERO,
            judge: None,
            start_ns: 0,
        }
    }

    #[test]
    fn memory_is_for_what_a_block_asks_for_within_the_bound() {
        assert_eq!(size_of::<Slot>(), 64);
        assert_eq!(capacity(&block(7, None, None)), 7);
        assert_eq!(capacity(&block(7, Some(2), None)), 100_000);
        assert_eq!(capacity(&block(200_000, Some(2), None)), 200_000);
        assert_eq!(capacity(&block(0, Some(3600), None)), LOGGED_MAX);
        assert_eq!(capacity(&block(u64::MAX, None, None)), LOGGED_MAX);
        let arrivals = Arrivals { rate: 30.0, seed: 1, block: 0, process: 0, processes: 3 };
        assert_eq!(capacity(&block(7, Some(2), Some(arrivals))), 20 + UNEVEN);
    }

    #[test]
    fn there_is_memory_for_all_requests_of_processes_that_take_turns() {
        for (target, duration_s) in [(11.0, 10.0), (55.0, 1.0), (7.0, 0.5), (1000.1, 3.3)] {
            let stages = vec![Stage { duration_s, target }];
            let arrival = ArrivalProcess::Stages { stages, distances: Distances::Constant };
            let rate = arrival.mean_rate().unwrap();
            for process in 0..3 {
                let arrivals = Arrivals { rate, seed: 1, block: 0, process, processes: 3 };
                let block = block(0, None, Some(arrivals));
                let block = Block { stop: StopRule { least: arrival.length(), ..block.stop }, ..block };
                let requests = Schedule::new(&arrival, &block, &arrivals).requests();
                assert!(requests <= capacity(&block), "{requests} of {}", capacity(&block));
            }
        }
    }

    /// A log of so many requests with memory for some, and the instant from which its times count.
    fn logged(requests: u64, memory: u64) -> (RequestLog, Instant) {
        let log = RequestLog::default();
        assert_eq!(log.answer(LogAsk::Reserve(memory)), LogAnswer::Reserved);
        let begin = Instant::now();
        log.begin(begin, Duration::ZERO);
        let numbers: Vec<u64> = (0..requests).map(|_| log.next()).collect();
        // they end in another order than they began in
        for number in numbers.into_iter().rev() {
            let started = begin + Duration::from_nanos(number);
            let stamps = Stamps { sent: Some(started), head: None, bytes_sent: number, bytes_received: 1 };
            let (done, distinct) = (started + Duration::from_nanos(5), Some(3));
            log.add(number, &Ended { due: None, started, done, stamps, distinct, connection: 2, error: None });
        }
        (log, begin)
    }

    fn read(log: &RequestLog, from: u64) -> Vec<LoggedRequest> {
        match log.answer(LogAsk::Read(from)) {
            LogAnswer::Requests(requests) => requests,
            LogAnswer::Reserved => panic!("nothing was reserved"),
        }
    }

    #[test]
    fn pieces_are_all_requests_in_the_order_in_which_they_began() {
        let all = 2 * PIECE as u64 + 3;
        let (log, _) = logged(all, all);
        let mut requests = Vec::new();
        loop {
            let piece = read(&log, requests.len() as u64);
            let is_last = piece.len() < PIECE;
            requests.extend(piece);
            if is_last {
                break;
            }
        }
        assert_eq!(requests.len() as u64, all);
        for (number, request) in (0..).zip(&requests) {
            let expected = LoggedRequest {
                due_ns: None,
                start_ns: number,
                sent_ns: Some(number),
                head_ns: None,
                done_ns: number + 5,
                bytes_sent: number,
                bytes_received: 1,
                distinct: Some(3),
                connection: 2,
                error: None,
            };
            assert_eq!(*request, expected);
        }
        assert_eq!(read(&log, u64::MAX), []);
    }

    #[test]
    fn what_exceeds_the_memory_is_left_out_and_the_next_block_begins_again() {
        let (log, begin) = logged(10, 4);
        assert_eq!(read(&log, 0).iter().map(|request| request.start_ns).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let late = Duration::from_nanos(100);
        log.begin(begin, late);
        assert_eq!(read(&log, 0), []);
        let stamps = Stamps { sent: None, head: None, bytes_sent: 0, bytes_received: 0 };
        let error = Some(FaultKind::Connect);
        let (due, distinct) = (Some(begin), None);
        log.add(log.next(), &Ended { due, started: begin, done: begin, stamps, distinct, connection: 0, error });
        let [request] = &read(&log, 0)[..] else { panic!("one request was logged") };
        assert_eq!((request.due_ns, request.start_ns, request.sent_ns), (Some(100), 100, None));
        assert_eq!((request.distinct, request.error), (None, Some(FaultKind::Connect)));
        // a worker that was asked for none logs none
        assert_eq!(read(&logged(10, 0).0, 0), []);
    }
}
