//! The truth about every request, as CSV: what a client's measurements can be held against.
//! Written by a thread of its own, so that no instance waits for the disk.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::statistics::Execution;

/// One executed request.
pub struct Entry {
    /// The model's name.
    pub model: String,
    /// Items of the request.
    pub items: usize,
    /// When it was found to fit its model and put into the queue.
    pub admitted: Instant,
    /// Its wait.
    pub queue: Duration,
    /// The execution that it was part of.
    pub execution: Execution,
    /// From admission to answer.
    pub total: Duration,
    /// Whether it was answered without an error.
    pub ok: bool,
}

/// Where entries go.
#[derive(Clone)]
pub struct RequestLog {
    entries: Sender<Entry>,
}

impl RequestLog {
    /// Begins a new file.
    ///
    /// # Errors
    /// The file cannot be made.
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
            "ok",
        ])?;
        writer.flush().with_context(failed)?;
        let (entries, received) = channel();
        thread::Builder::new().name("request-log".to_owned()).spawn(move || write(&mut writer, &received))?;
        Ok(RequestLog { entries })
    }

    /// Adds an entry. `admitted_ns` in the file counts from the first entry's admission.
    pub fn write(&self, entry: Entry) {
        // a full disk ends the log, not the server
        let _ = self.entries.send(entry);
    }
}

fn write(writer: &mut csv::Writer<impl Write>, entries: &Receiver<Entry>) {
    let mut first = None;
    while let Ok(entry) = entries.recv() {
        let mut next = Some(entry);
        // what came meanwhile is written together
        while let Some(entry) = next {
            let begin = *first.get_or_insert(entry.admitted);
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
                entry.ok,
            );
            if writer.serialize(row).is_err() {
                return;
            }
            next = entries.try_recv().ok();
        }
        if writer.flush().is_err() {
            return;
        }
    }
}
