//! The ground truth about every request, as CSV, for comparison with a client's measurements. Its own thread writes
//! it, seldom, so that no request waits for the disk or for a core.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::embedded::lock;
use crate::embedded::observe::statistics::Execution;

/// One executed request.
pub struct Entry {
    /// The model's name.
    pub model: String,
    /// Items of the request.
    pub items: usize,
    /// When it was validated and queued.
    pub admitted: Instant,
    /// Its time in the queue.
    pub queue: Duration,
    /// The execution that it was part of.
    pub execution: Execution,
    /// From admission to answer, as the statistics count it.
    pub total: Duration,
    /// Whether it was answered without an error.
    pub ok: bool,
}

/// A handle to the log.
#[derive(Clone)]
pub struct RequestLog {
    messages: Sender<Message>,
}

enum Message {
    /// An entry, and the time from the arrival of the request's head to handing its answer to the system: all that a
    /// client waits for except the network and itself.
    Entry(Box<Entry>, Duration),
    /// Reports when everything before it is written.
    Finish(SyncSender<()>),
}

/// How often entries are written, together.
const PERIOD: Duration = Duration::from_secs(2);
/// How long the server's shutdown waits for the log.
const FINISH_TIMEOUT: Duration = Duration::from_secs(10);

impl RequestLog {
    /// Begins a new file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        let failed = || format!("cannot write the request log {}", path.display());
        let mut writer = csv::Writer::from_path(path).with_context(failed)?;
        writer.write_record([
            "model",
            "items",
            "admitted_ns",
            "queue_ns",
            "compute_input_ns",
            "compute_infer_ns",
            "compute_output_ns",
            "total_ns",
            "server_ns",
            "ok",
        ])?;
        writer.flush().with_context(failed)?;
        let (messages, received) = channel();
        let begin = Instant::now();
        thread::Builder::new()
            .name("request-log".to_owned())
            .spawn(move || write(&mut writer, &received, begin))?;
        Ok(RequestLog { messages })
    }

    /// Adds an entry. `admitted_ns` in the file counts from the file's creation: requests do not end in the order of
    /// their arrival.
    fn write(&self, entry: Box<Entry>, server: Duration) {
        // a full disk ends the log, not the server
        let _ = self.messages.send(Message::Entry(entry, server));
    }

    /// Waits until all added entries are in the file.
    pub fn finish(&self) {
        let (finished, written) = sync_channel(1);
        if self.messages.send(Message::Finish(finished)).is_ok() {
            let _ = written.recv_timeout(FINISH_TIMEOUT);
        }
    }
}

/// The arrival of a request, and the entries where its own waits until the answer is on its way.
#[derive(Clone)]
pub struct RequestTrace {
    /// When the request's head was read.
    pub arrived: Instant,
    /// The entries of its connection.
    pub pending: Arc<PendingEntries>,
}

/// The entries of a connection whose answers have not been handed to the system yet.
#[derive(Default)]
pub struct PendingEntries(Mutex<Vec<(RequestLog, Box<Entry>, Instant)>>);

impl RequestTrace {
    /// The trace of the request with these extensions.
    pub fn of(extensions: &http::Extensions) -> Self {
        let trace = extensions.get::<RequestTrace>().cloned();
        trace.unwrap_or_else(|| RequestTrace { arrived: Instant::now(), pending: Arc::default() })
    }

    /// Adds an entry to the log, once its answer is on its way.
    pub fn log(&self, log: &RequestLog, entry: Entry) {
        self.pending.waiting().push((log.clone(), Box::new(entry), self.arrived));
    }
}

impl PendingEntries {
    /// Logs the pending entries: their answers have been handed to the system.
    pub fn sent(&self) {
        let mut waiting = self.waiting();
        if !waiting.is_empty() {
            let now = Instant::now();
            waiting.drain(..).for_each(|(log, entry, arrived)| log.write(entry, now - arrived));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<(RequestLog, Box<Entry>, Instant)>> {
        lock(&self.0)
    }
}

impl Drop for PendingEntries {
    fn drop(&mut self) {
        // answers that were never sent
        self.sent();
    }
}

fn write(writer: &mut csv::Writer<impl Write>, messages: &Receiver<Message>, begin: Instant) {
    while let Ok(message) = messages.recv() {
        if matches!(message, Message::Entry(..)) {
            thread::sleep(PERIOD);
        }
        let mut next = Some(message);
        // messages that arrived meanwhile are written together
        while let Some(message) = next {
            let (entry, server) = match message {
                Message::Entry(entry, server) => (entry, server),
                Message::Finish(finished) => {
                    let _ = writer.flush();
                    let _ = finished.send(());
                    break;
                }
            };
            let Execution { compute_input, compute_infer, compute_output } = entry.execution;
            let row = (
                &entry.model,
                entry.items,
                entry.admitted.saturating_duration_since(begin).as_nanos(),
                entry.queue.as_nanos(),
                compute_input.as_nanos(),
                compute_infer.as_nanos(),
                compute_output.as_nanos(),
                entry.total.as_nanos(),
                server.as_nanos(),
                entry.ok,
            );
            if writer.serialize(row).is_err() {
                return;
            }
            next = messages.try_recv().ok();
        }
        if writer.flush().is_err() {
            return;
        }
    }
}
