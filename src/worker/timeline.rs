//! Timestamps of successive requests on one connection, from the monotonic clock, and the bytes over it. Also
//! measures the worker's idle time meanwhile, which is not the client's time.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, LocalRuntime};

use super::message::Traffic;
use super::request_log::Stamps;
use crate::protocol::stream::IoObserver;
use crate::recorder::Phases;

thread_local! {
    /// This thread's idle time so far.
    static IDLE: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Start of the current idle time.
    static PARKED: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A worker's single-threaded runtime, which notifies the timelines when it waits for the system.
pub fn runtime() -> io::Result<LocalRuntime> {
    let park = || PARKED.set(Some(Instant::now()));
    let unpark = || {
        if let Some(since) = PARKED.take() {
            IDLE.set(IDLE.get() + since.elapsed());
        }
    };
    Builder::new_current_thread()
        .enable_all()
        .on_thread_park(park)
        .on_thread_unpark(unpark)
        .build_local(Default::default())
}

/// The state of the pending request.
pub struct Timeline {
    /// Whether all traffic of the connection belongs to this request.
    alone: bool,
    started: Cell<Instant>,
    /// The thread's idle time at the start.
    idle: Cell<Duration>,
    /// Bytes of the request that are not handed over yet.
    left: Cell<u64>,
    /// When the last of them was handed over, and the thread's idle time between start and then.
    sent: Cell<Option<(Instant, Duration)>>,
    answered: Cell<Option<Instant>>,
    traffic: Cell<Traffic>,
    /// The traffic before the request.
    before: Cell<Traffic>,
    /// Bytes of the request's body, and of the answer's so far.
    bodies: Cell<(u64, u64)>,
}

impl Timeline {
    /// No request is pending. `alone`: on a connection that no other request shares.
    pub fn new(alone: bool) -> Self {
        Timeline {
            alone,
            started: Cell::new(Instant::now()),
            idle: Cell::default(),
            left: Cell::new(0),
            sent: Cell::new(None),
            answered: Cell::new(None),
            traffic: Cell::new(Traffic::default()),
            before: Cell::new(Traffic::default()),
            bodies: Cell::default(),
        }
    }

    /// Starts a request now.
    pub fn start(&self) -> Instant {
        let now = Instant::now();
        self.started.set(now);
        self.idle.set(IDLE.get());
        self.sent.set(None);
        self.answered.set(None);
        self.before.set(self.traffic.get());
        self.bodies.set((0, 0));
        now
    }

    /// Sets the size of its body, which is about to be sent.
    pub fn body(&self, bytes: u64) {
        self.left.set(bytes);
        self.bodies.set((bytes, 0));
    }

    /// Ends the request now: returns the instant and its phases.
    pub fn end(&self) -> (Instant, Option<Phases>) {
        let done = Instant::now();
        (done, self.split(done))
    }

    fn split(&self, done: Instant) -> Option<Phases> {
        let started = self.started.get();
        let answered = self.answered.get().unwrap_or(done);
        let (sent, idle) = self.sent.get().unwrap_or((started, Duration::ZERO));
        let to_answer = answered - started;
        // the server may answer, and refuse, before it received the whole request
        let send = (sent - started).saturating_sub(idle).min(to_answer);
        let ns = |duration: Duration| duration.as_nanos() as u64;
        self.alone
            .then(|| Phases { send: ns(send), wait: ns(to_answer - send), receive: ns(done - answered) })
    }

    /// The stamps and bytes of the request that has just ended.
    pub fn stamps(&self) -> Stamps {
        let (before, now) = (self.before.get(), self.traffic.get());
        let (bytes_sent, bytes_received) = match self.alone {
            true => (now.sent - before.sent, now.received - before.received),
            false => self.bodies.get(),
        };
        let sent = self.sent.get().map(|(at, _)| at);
        Stamps { sent, head: self.answered.get(), bytes_sent, bytes_received }
    }

    /// Returns the traffic so far, and resets it.
    pub fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }
}

impl IoObserver for Timeline {
    fn connected(&self) {
        let mut traffic = self.traffic.get();
        traffic.connections += 1;
        self.traffic.set(traffic);
    }

    fn wrote(&self, bytes: usize) {
        let mut traffic = self.traffic.get();
        traffic.sent += bytes as u64;
        self.traffic.set(traffic);
        // once the body's number of bytes is sent: later bytes may be HTTP/2's answers to pings. Headers and frames
        // count, so the stamp is early by less than a thousandth of a large body
        if self.sent.get().is_none() {
            self.left.set(self.left.get().saturating_sub(bytes as u64));
            if self.left.get() == 0 {
                self.sent.set(Some((Instant::now(), IDLE.get() - self.idle.get())));
            }
        }
    }

    fn read(&self, bytes: usize) {
        let mut traffic = self.traffic.get();
        traffic.received += bytes as u64;
        self.traffic.set(traffic);
    }

    fn answered(&self) {
        self.answered.set(Some(Instant::now()));
    }

    fn read_of_body(&self, bytes: usize) {
        let (sent, received) = self.bodies.get();
        self.bodies.set((sent, received + bytes as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_millis(3);

    fn sum(split: Phases) -> u64 {
        split.send + split.wait + split.receive
    }

    #[test]
    fn the_parts_add_up_and_late_writes_are_not_the_request() {
        let timeline = Timeline::new(true);
        let started = timeline.start();
        timeline.body(100);
        timeline.wrote(60);
        timeline.wrote(50);
        let (sent, idle) = timeline.sent.get().unwrap();
        timeline.wrote(17);
        assert_eq!(timeline.sent.get(), Some((sent, Duration::ZERO)));
        timeline.answered();
        timeline.read(30);
        timeline.connected();
        let done = Instant::now();
        let split = timeline.split(done).unwrap();
        assert_eq!(sum(split), (done - started).as_nanos() as u64);
        assert_eq!(split.send, (sent - started - idle).as_nanos() as u64);
        assert_eq!(timeline.take_traffic(), Traffic { sent: 127, received: 30, connections: 1 });
        assert_eq!(timeline.take_traffic(), Traffic::default());
        // an answer before the whole request, such as a refusal
        let started = timeline.start();
        timeline.body(100);
        timeline.wrote(10);
        timeline.answered();
        let done = Instant::now();
        let split = timeline.split(done).unwrap();
        assert_eq!(sum(split), (done - started).as_nanos() as u64);
        assert_eq!(Timeline::new(false).split(done), None);
    }

    #[test]
    fn bytes_are_those_of_the_request_that_ended() {
        let timeline = Timeline::new(true);
        timeline.wrote(1000);
        timeline.read(1000);
        timeline.start();
        timeline.body(100);
        assert_eq!(timeline.stamps(), Stamps { sent: None, head: None, bytes_sent: 0, bytes_received: 0 });
        timeline.wrote(130);
        timeline.answered();
        timeline.read(30);
        timeline.read_of_body(20);
        let stamps = timeline.stamps();
        assert_eq!((stamps.bytes_sent, stamps.bytes_received), (130, 30));
        assert!(stamps.sent.is_some() && stamps.sent <= stamps.head);
        // others' bytes are on a shared connection too
        let timeline = Timeline::new(false);
        timeline.start();
        timeline.body(100);
        timeline.answered();
        timeline.read_of_body(20);
        let stamps = timeline.stamps();
        assert_eq!((stamps.sent, stamps.bytes_sent, stamps.bytes_received), (None, 100, 20));
        timeline.start();
        assert_eq!(timeline.stamps(), Stamps { sent: None, head: None, bytes_sent: 0, bytes_received: 0 });
    }

    #[test]
    fn waiting_for_a_server_to_take_more_is_not_sending() {
        runtime().unwrap().block_on(async {
            let timeline = Timeline::new(true);
            // idle before the request, within it, and after its last byte
            tokio::time::sleep(PAUSE).await;
            let started = timeline.start();
            timeline.body(100);
            timeline.wrote(60);
            tokio::time::sleep(PAUSE).await;
            timeline.wrote(40);
            let (sent, idle) = timeline.sent.get().unwrap();
            tokio::time::sleep(PAUSE).await;
            timeline.answered();
            let done = Instant::now();
            let split = timeline.split(done).unwrap();
            assert!(idle > Duration::ZERO && idle < sent - started, "{idle:?} of {:?}", sent - started);
            assert_eq!(split.send, (sent - started - idle).as_nanos() as u64);
            assert_eq!(sum(split), (done - started).as_nanos() as u64);
        });
    }
}
