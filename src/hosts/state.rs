//! What is known of a host while it is there: pings under way, its clock, who waits for which worker, and why it is lost. Must not
//! know the stream.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Result, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use super::message::{FromHost, Reply, ToHost, line};
use super::offset::{RoundTrip, RoundTrips};
use crate::clock;
use crate::text;

/// Messages of a worker that nobody has read yet, and pings without an answer.
pub(super) const UNDER_WAY: usize = 64;

/// The answer to a question, with its number.
pub(super) type Numbered = (u64, Result<Reply, String>);

/// What tasks and users of a link share.
pub(super) struct State {
    /// What it is called, once that is settled, and what it calls itself.
    pub name: OnceLock<String>,
    pub own_name: String,
    /// Bounded by what its user says: pieces of files are answered one by one.
    pub say: mpsc::UnboundedSender<Vec<u8>>,
    pub known: Mutex<Known>,
    /// The pings that were answered.
    pub answered: watch::Sender<u64>,
    /// Why the host is lost.
    pub lost: watch::Sender<Option<String>>,
    pub replies: tokio::sync::Mutex<mpsc::Receiver<Numbered>>,
}

#[derive(Default)]
pub(super) struct Known {
    /// Pings without an answer: their numbers, and when they were sent.
    pub pinged: VecDeque<(u64, u64)>,
    pub pings: u64,
    pub questions: u64,
    pub trips: RoundTrips,
    pub workers: HashMap<u32, mpsc::Sender<Heard>>,
    pub next_worker: u32,
}

/// What is heard of a worker.
pub enum Heard {
    /// A message.
    Said(Box<RawValue>),
    /// It has ended: how.
    Ended(String),
    /// Its host is lost: why.
    Lost(String),
}

impl State {
    pub fn name(&self) -> &str {
        self.name.get().unwrap_or(&self.own_name)
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn say(&self, message: &impl Serialize) {
        if let Ok(line) = line(message) {
            // nobody who is lost is told
            let _ = self.say.send(line);
        }
    }

    /// The number of the next question.
    pub fn next_question(&self) -> u64 {
        let mut known = self.known();
        known.questions += 1;
        known.questions
    }

    /// Sends a ping, and returns its number.
    pub fn ping(&self) -> u64 {
        // as one, so that pings go out in the order of their numbers
        let mut known = self.known();
        known.pings += 1;
        let number = known.pings;
        known.pinged.push_back((number, clock::shared_ns()));
        self.say(&ToHost::Ping(number));
        number
    }

    pub fn lost_error(&self) -> anyhow::Error {
        let words = self.lost.borrow().clone().unwrap_or_else(|| "it does not answer".to_owned());
        anyhow!("host {} is lost: {words}", self.name())
    }

    /// Notes that the host is lost, and tells everybody who waits for its workers.
    pub fn lose(&self, words: String) {
        let words = text::message(&words);
        let lost = format!("host {} is lost: {words}", self.name());
        self.lost.send_replace(Some(words));
        for (_, worker) in self.known().workers.drain() {
            let _ = worker.try_send(Heard::Lost(lost.clone()));
        }
    }

    /// Takes in a message.
    pub fn hear(&self, message: FromHost, reply: &mpsc::Sender<Numbered>) -> Result<()> {
        match message {
            FromHost::Hello(_) => bail!("it greeted again"),
            FromHost::Pong { number, clock_ns } => {
                let mut known = self.known();
                let back_ns = clock::shared_ns();
                let Some((_, sent_ns)) = known.pinged.pop_front().filter(|(sent, _)| *sent == number) else {
                    bail!("it answered a ping that was not sent")
                };
                known.trips.add(RoundTrip { sent_ns, back_ns, there_ns: clock_ns });
                drop(known);
                self.answered.send_replace(number);
            }
            FromHost::Said { worker, message } => self.pass(worker, Heard::Said(message)),
            FromHost::Ended { worker, how } => {
                self.pass(worker, Heard::Ended(text::message(&how)));
                self.known().workers.remove(&worker);
            }
            FromHost::Reply { number, answer } => {
                let answer = answer.map_err(|words| text::message(&words));
                ensure!(reply.try_send((number, answer)).is_ok(), "it answered what was not asked");
            }
        }
        Ok(())
    }

    /// Passes what a worker says to whoever started it.
    fn pass(&self, worker: u32, heard: Heard) {
        let mut known = self.known();
        // of a worker that nobody waits for, nothing is kept
        if known.workers.get(&worker).is_some_and(|to| to.try_send(heard).is_err()) {
            known.workers.remove(&worker);
        }
    }
}
