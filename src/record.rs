//! The files of a run: rows <-> CSV, the manifest <-> JSON. Must not know reports, workers or protocols.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use jiff::{Timestamp, Unit};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::file;
use crate::plan::Case;
use crate::recorder::{Distribution, Recorder};
use crate::scenario::{Arrival, Encode, Protocol};

/// `records.csv`: one row a case.
pub const RECORDS: &str = "records.csv";
/// `blocks.csv`: one row a case and block.
pub const BLOCKS: &str = "blocks.csv";
/// `run.json`: what holds for the whole run.
pub const MANIFEST: &str = "run.json";

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Every request that was sent was answered.
    Ok,
    /// Measured to the end, but some requests failed.
    Errors,
    /// Could not be measured to the end.
    Failed,
    /// The user stopped the run while it was measured.
    Interrupted,
    /// Not begun.
    NotRun,
}

impl Status {
    /// The spelling of results.
    pub fn name(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Errors => "errors",
            Status::Failed => "failed",
            Status::Interrupted => "interrupted",
            Status::NotRun => "not_run",
        }
    }
}

/// One case. Latencies are in milliseconds to the answer's last byte: in a closed loop from the request's start, in an
/// open one (with a rate) from the instant at which it was due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Record {
    pub scenario: String,
    pub model: String,
    pub server: String,
    pub server_version: String,
    /// What the server says of the model's weights; empty when it says nothing.
    pub weights: String,
    pub protocol: Protocol,
    pub batch_size: u32,
    pub processes: u32,
    /// Requests in flight in one process; with a rate, at most so many.
    pub concurrency: u32,
    /// Connections of one process; older files have one for each request in flight and do not tell.
    #[serde(default)]
    pub connections: Option<u32>,
    /// Requests a second that were to come from all processes together; `None` in a closed loop.
    #[serde(default)]
    pub rate: Option<f64>,
    /// How they were to arrive; `None` in a closed loop.
    #[serde(default)]
    pub arrival: Option<Arrival>,
    #[serde(default)]
    pub encode: Encode,
    pub status: Status,
    /// Why the status is not `ok`; empty otherwise.
    pub reason: String,
    /// What makes the row doubtful though its status is `ok`: see [`flags`].
    #[serde(default)]
    pub flags: String,
    /// Requests asked for, over all processes; `None` where time alone ended the case.
    pub requests_planned: Option<u64>,
    /// Requests answered.
    pub requests: u64,
    /// Requests without a good answer.
    pub errors: u64,
    /// Errors by kind, such as `timeout=2 server=1`.
    pub error_kinds: String,
    pub mean_ms: Option<f64>,
    pub stddev_ms: Option<f64>,
    pub min_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// The same from the request's start alone; `None` in a closed loop, where it is the latency.
    pub service_mean_ms: Option<f64>,
    pub service_p50_ms: Option<f64>,
    pub service_p95_ms: Option<f64>,
    pub service_p99_ms: Option<f64>,
    pub service_max_ms: Option<f64>,
    /// How late requests were sent; `None` in a closed loop.
    pub lateness_mean_ms: Option<f64>,
    pub lateness_p50_ms: Option<f64>,
    pub lateness_p99_ms: Option<f64>,
    pub lateness_max_ms: Option<f64>,
    /// Requests that were sent late because as many were in flight as may be; `None` in a closed loop.
    pub held_back: Option<u64>,
    /// Mean from a request's start until its last byte was handed to the system.
    pub send_mean_ms: Option<f64>,
    /// Mean from there to the answer's head: the network, the server's front end, its queue and the model.
    pub wait_mean_ms: Option<f64>,
    /// Mean from there to the answer's last byte.
    pub receive_mean_ms: Option<f64>,
    /// Items a second, from first send to last answer, summed over the blocks.
    pub inferences_per_s: Option<f64>,
    pub requests_per_s: Option<f64>,
    /// Requests a second that the client reaches where a server answers at once (`--calibrate`).
    pub client_ceiling_per_s: Option<f64>,
    /// CPU time of the client a request, user and system.
    pub client_cpu_ms: Option<f64>,
    /// CPU time of all client processes over the case, in seconds.
    pub client_user_s: Option<f64>,
    pub client_system_s: Option<f64>,
    /// Context switches of all client processes over the case: waiting, and taken off a core.
    pub context_switches_voluntary: Option<u64>,
    pub context_switches_involuntary: Option<u64>,
    /// Bytes handed to the system and taken from it, headers and framing included.
    #[serde(default)]
    pub bytes_sent: u64,
    #[serde(default)]
    pub bytes_received: u64,
    /// Blocks measured.
    pub blocks: u32,
    /// Requests of one process before anything was measured.
    pub warmup: u64,
    /// Whether measuring time was capped (`--quick`).
    pub quick: bool,
    pub started: String,
    pub ended: String,
    pub runner_version: String,
    pub git_revision: String,
}

/// One block of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BlockRecord {
    pub scenario: String,
    pub protocol: Protocol,
    pub batch_size: u32,
    pub processes: u32,
    pub concurrency: u32,
    #[serde(default)]
    pub connections: Option<u32>,
    #[serde(default)]
    pub rate: Option<f64>,
    /// Number of the round, from 0.
    pub block: u32,
    /// Place of this case in the round, from 0.
    pub position: u32,
    pub requests: u64,
    pub errors: u64,
    pub mean_ms: Option<f64>,
    pub stddev_ms: Option<f64>,
    pub min_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub max_ms: Option<f64>,
    /// From first send to last answer of any process.
    pub duration_s: f64,
    pub requests_per_s: Option<f64>,
    pub client_cpu_ms: Option<f64>,
    pub started: String,
}

/// What holds for a whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Manifest {
    pub scenario: String,
    pub title: String,
    pub state: State,
    pub started: String,
    pub ended: Option<String>,
    pub runner_version: String,
    pub git_revision: String,
    /// Options that changed the scenario, as they were given.
    pub overridden: Vec<String>,
    /// Seconds of measuring to which each case was capped.
    pub cap_s: Option<f64>,
    /// Whether that was because of `--quick`; older files do not tell, and had no other reason.
    #[serde(default = "yes")]
    pub quick: bool,
    pub server: String,
    pub server_version: String,
    pub http: String,
    pub grpc: String,
    pub model: String,
    pub weights: String,
    pub iterations: u64,
    /// Seconds that each case was to last, at least.
    #[serde(default)]
    pub duration_s: Option<f64>,
    pub warmup: u64,
    pub blocks: u32,
    pub timeout_s: f64,
    pub seed: u64,
    pub cases: usize,
    pub counts: Option<CountCheck>,
    pub client: Environment,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not ended; or the program was killed.
    Running,
    /// Every case is `ok`.
    Complete,
    /// Ended, but some case is not `ok`.
    Incomplete,
    /// The user stopped it.
    Interrupted,
}

/// The server's own count of inferences over the run, against the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountCheck {
    /// By the server's statistics, from before the first worker to after the last.
    pub server: u64,
    /// Items in answered requests of the rows.
    pub measured: u64,
    /// Items in answered requests while verifying and warming up.
    pub prepared: u64,
}

impl CountCheck {
    /// Whether both sides counted the same.
    pub fn agrees(&self) -> bool {
        self.server == self.measured + self.prepared
    }
}

/// Nanoseconds as milliseconds, the unit of tables.
pub fn milliseconds(nanoseconds: f64) -> f64 {
    (nanoseconds / 1e6 * 1e6).round() / 1e6
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// Columns of a distribution, in milliseconds.
#[derive(Clone, Copy)]
pub struct Columns<'a>(pub &'a Distribution);

#[allow(missing_docs)]
impl Columns<'_> {
    pub fn mean(self) -> Option<f64> {
        self.0.mean_ns().map(milliseconds)
    }

    pub fn stddev(self) -> Option<f64> {
        self.0.stddev_ns().map(milliseconds)
    }

    pub fn min(self) -> Option<f64> {
        self.0.min_ns().map(|ns| milliseconds(ns as f64))
    }

    pub fn max(self) -> Option<f64> {
        self.0.max_ns().map(|ns| milliseconds(ns as f64))
    }

    pub fn quantile(self, q: f64) -> Option<f64> {
        self.0.quantile_ns(q).map(|ns| milliseconds(ns as f64))
    }
}

/// Answered requests a second.
pub fn rate(recorder: &Recorder, duration_ns: u64) -> Option<f64> {
    (duration_ns > 0 && recorder.count() > 0).then(|| rounded(recorder.count() as f64 / (duration_ns as f64 / 1e9)))
}

/// Milliseconds of CPU a request; `None` where CPU time cannot be read.
pub fn cpu_a_request(recorder: &Recorder, cpu_ns: u64) -> Option<f64> {
    let requests = recorder.count() + recorder.error_count();
    (cpu_ns > 0 && requests > 0).then(|| milliseconds(cpu_ns as f64 / requests as f64))
}

/// What makes a row doubtful, in the words of its column `flags`.
pub mod flags {
    /// The rate comes within 20 % of what the client reaches where a server answers at once: it may be the client's.
    pub const CLIENT_CEILING: &str = "client_ceiling";
    /// The longest time of a case was over before what was asked for was done.
    pub const CAPPED: &str = "capped";
}

/// From this part of the client's ceiling on, a rate may be the client's.
pub const CEILING_SHARE: f64 = 0.8;

/// `timeout=2 server=1`.
pub fn error_kinds(errors: &BTreeMap<String, u64>) -> String {
    errors.iter().map(|(kind, count)| format!("{kind}={count}")).collect::<Vec<_>>().join(" ")
}

/// A case as part of a file name: `http-b1-p1-c1`; with fewer connections than requests in flight `-n1` follows, with a
/// rate `-r50`.
pub fn case_name(case: &Case) -> String {
    let mut name = format!("{}-b{}-p{}-c{}", case.protocol.name(), case.batch_size, case.processes, case.concurrency);
    if case.connections != case.concurrency {
        name.push_str(&format!("-n{}", case.connections));
    }
    if let Some(rate) = case.rate {
        name.push_str(&format!("-r{rate}"));
    }
    name
}

fn yes() -> bool {
    true
}

/// An instant in UTC to the millisecond: `2026-01-31T12:00:00.000Z`.
pub fn utc(instant: Timestamp) -> String {
    let rounded = instant.round(Unit::Millisecond).unwrap_or(instant);
    format!("{rounded:.3}")
}

/// Adds a row to a CSV file and waits until it is on disk; a new file begins with the names of the columns.
///
/// # Errors
/// The file cannot be written.
pub fn append<T: Serialize>(path: &Path, row: &T) -> Result<()> {
    let failed = || format!("cannot write {}", path.display());
    let file = OpenOptions::new().create(true).append(true).open(path).with_context(failed)?;
    let empty = file.metadata().with_context(failed)?.len() == 0;
    let mut writer = csv::WriterBuilder::new().has_headers(empty).from_writer(Vec::new());
    writer.serialize(row)?;
    let bytes = writer.into_inner().with_context(failed)?;
    // one write, so that a row is there whole or not at all
    let mut file = file;
    file.write_all(&bytes).and_then(|()| file.sync_data()).with_context(failed)
}

/// Reads all rows of a CSV file.
///
/// # Errors
/// The file cannot be read, or a row is not of this program's format; the message names the file and the line.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let rows = csv::Reader::from_reader(file).deserialize().collect::<Result<Vec<T>, _>>();
    rows.with_context(|| format!("{} is not a file of this program's format", path.display()))
}

/// Writes a value as JSON, indented, with a newline at the end.
///
/// # Errors
/// The file cannot be written.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    file::replace(path, &text)
}

/// Reads a run's manifest.
///
/// # Errors
/// The file cannot be read, or is not a manifest.
pub fn read_manifest(run: &Path) -> Result<Manifest> {
    let path = run.join(MANIFEST);
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a file of this program's format", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(BLOCKS);
        let row = BlockRecord {
            scenario: "a, \"b\"\nc".to_owned(),
            protocol: Protocol::Grpc,
            batch_size: 8,
            processes: 3,
            concurrency: 1,
            connections: Some(1),
            rate: None,
            block: 0,
            position: 1,
            requests: 0,
            errors: 7,
            mean_ms: None,
            stddev_ms: None,
            min_ms: None,
            p50_ms: Some(1.25),
            p95_ms: Some(0.000_001),
            max_ms: Some(1e9),
            duration_s: 0.5,
            requests_per_s: None,
            client_cpu_ms: None,
            started: utc(Timestamp::UNIX_EPOCH),
        };
        append(&path, &row).unwrap();
        append(&path, &row).unwrap();
        assert_eq!(read::<BlockRecord>(&path).unwrap(), [row.clone(), row]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().matches("scenario,").count(), 1);
    }

    #[test]
    fn instants_are_utc_to_the_millisecond() {
        assert_eq!(utc(Timestamp::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
        let instant: Timestamp = "2026-01-31T12:00:00.0014999Z".parse().unwrap();
        assert_eq!(utc(instant), "2026-01-31T12:00:00.001Z");
    }
}
