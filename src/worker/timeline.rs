//! The stamps of one request after the other on one connection, from the monotonic clock, and the bytes that went over it.

use std::cell::Cell;
use std::time::Instant;

use super::message::Traffic;
use crate::protocol::wire::Probe;
use crate::recorder::Split;

/// What is known of the request under way.
pub struct Timeline {
    /// Whether what goes over the connection belongs to this request.
    alone: bool,
    started: Cell<Instant>,
    /// Bytes of the request that were not handed over yet.
    left: Cell<u64>,
    sent: Cell<Option<Instant>>,
    answered: Cell<Option<Instant>>,
    traffic: Cell<Traffic>,
}

impl Timeline {
    /// Nothing is under way. `alone`: on a connection that no other request shares.
    pub fn new(alone: bool) -> Self {
        Timeline {
            alone,
            started: Cell::new(Instant::now()),
            left: Cell::new(0),
            sent: Cell::new(None),
            answered: Cell::new(None),
            traffic: Cell::new(Traffic::default()),
        }
    }

    /// A request begins now.
    pub fn start(&self) -> Instant {
        let now = Instant::now();
        self.started.set(now);
        self.sent.set(None);
        self.answered.set(None);
        now
    }

    /// It has a body of so many bytes, which are about to be sent.
    pub fn body(&self, bytes: u64) {
        self.left.set(bytes);
    }

    /// It ends now: the instant, and how long its parts took.
    pub fn end(&self) -> (Instant, Option<Split>) {
        let done = Instant::now();
        (done, self.split(done))
    }

    fn split(&self, done: Instant) -> Option<Split> {
        let started = self.started.get();
        let answered = self.answered.get().unwrap_or(done);
        let sent = self.sent.get().unwrap_or(started).min(answered);
        let ns = |from: Instant, to: Instant| (to - from).as_nanos() as u64;
        self.alone.then(|| Split { send: ns(started, sent), wait: ns(sent, answered), receive: ns(answered, done) })
    }

    /// Bytes so far; the next count begins at zero.
    pub fn take_traffic(&self) -> Traffic {
        self.traffic.take()
    }
}

impl Probe for Timeline {
    fn wrote(&self, bytes: usize) {
        let mut traffic = self.traffic.get();
        traffic.sent += bytes as u64;
        self.traffic.set(traffic);
        // once as many bytes are gone as the body has: what follows may be HTTP/2's answers to pings. Headers and frames
        // count, so the stamp is early by less than a thousandth of a large body
        if self.sent.get().is_none() {
            self.left.set(self.left.get().saturating_sub(bytes as u64));
            if self.left.get() == 0 {
                self.sent.set(Some(Instant::now()));
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_add_up_and_late_writes_are_not_the_request() {
        let timeline = Timeline::new(true);
        let started = timeline.start();
        timeline.body(100);
        timeline.wrote(60);
        timeline.wrote(50);
        let sent = timeline.sent.get().unwrap();
        timeline.wrote(17);
        assert_eq!(timeline.sent.get(), Some(sent));
        timeline.answered();
        timeline.read(30);
        let done = Instant::now();
        let split = timeline.split(done).unwrap();
        assert_eq!(split.send + split.wait + split.receive, (done - started).as_nanos() as u64);
        assert_eq!(split.send, (sent - started).as_nanos() as u64);
        assert_eq!(timeline.take_traffic(), Traffic { sent: 127, received: 30 });
        assert_eq!(timeline.take_traffic(), Traffic::default());
        // an answer before the whole request, such as a refusal
        let started = timeline.start();
        timeline.body(100);
        timeline.wrote(10);
        timeline.answered();
        let done = Instant::now();
        let split = timeline.split(done).unwrap();
        assert_eq!(split.send + split.wait + split.receive, (done - started).as_nanos() as u64);
        assert_eq!(Timeline::new(false).split(done), None);
    }
}
