//! The files of a run: rows <-> CSV, the manifest <-> JSON. Must not know reports, workers or protocols.

pub mod column;
mod errors;
mod flag;
pub mod latencies;
mod manifest;
mod parts;
mod request;
mod row;
mod table;
mod utc;

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::file;
use crate::recorder::{Distribution, Recorder};
pub use errors::ErrorKinds;
pub use flag::{Flag, Flags};
pub use manifest::{Asked, Asserted, CountCheck, Machine, Manifest, MetricsOf, MetricsRead, Resumed, Searched, State};
pub use parts::{ColdStartRecord, HostRecord, StageRecord};
pub use request::{Micros, RequestRow};
pub use row::{BlockRecord, MetricRow, Record, Status};
pub use table::{Rows, append, append_all, lines, parse, read, read_if_any, read_whole_rows, retain};
pub use utc::Utc;

/// `records.csv`: one row a case.
pub const RECORDS: &str = "records.csv";
/// `blocks.csv`: one row a case and block.
pub const BLOCKS: &str = "blocks.csv";
/// `requests.csv`: one row a request, where a run was asked for them (`--requests`).
pub const REQUESTS: &str = "requests.csv";
/// `hosts.csv`: one row a case and host, where other machines sent requests.
pub const HOSTS: &str = "hosts.csv";
/// `cold_starts.csv`: one row a case and cold start, where a scenario asked for them.
pub const COLD_STARTS: &str = "cold_starts.csv";
/// `stages.csv`: one row a case and stage, where a load has stages.
pub const STAGES: &str = "stages.csv";
/// `comparisons.csv`: one row a compared number.
pub const COMPARISONS: &str = "comparisons.csv";
/// `histograms.hlog`: the histograms of all blocks, in the standard log format, tagged with their case.
pub const HISTOGRAMS: &str = "histograms.hlog";
/// What the tag of a case's service times ends with.
pub const SERVICE: &str = "-service";
/// What the tag of a case's lateness ends with.
pub const LATENESS: &str = "-lateness";
/// `metrics.csv`: one row a sample of one of the server's metrics.
pub const METRICS: &str = "metrics.csv";
/// `resume.jsonl`: the blocks of the group under way, with all that its rows need of them; not there once a run is complete.
pub const RESUME: &str = "resume.jsonl";
/// `scenario.toml`: the scenario's text.
pub const SCENARIO: &str = "scenario.toml";
/// `run.json`: what holds for the whole run.
pub const MANIFEST: &str = "run.json";
/// `model_config.json`: a model's configuration, as the server gave it. Of several servers or models, their names follow.
pub const MODEL_CONFIG: &str = "model_config";

/// Nanoseconds as milliseconds, the unit of tables.
pub fn milliseconds(nanoseconds: f64) -> f64 {
    (nanoseconds / 1e6 * 1e6).round() / 1e6
}

/// To six decimal places, as columns have them.
pub fn rounded(value: f64) -> f64 {
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

/// Milliseconds of CPU a request; `None` if CPU time cannot be read.
pub fn cpu_a_request(recorder: &Recorder, cpu_ns: u64) -> Option<f64> {
    let requests = recorder.settled();
    (cpu_ns > 0 && requests > 0).then(|| milliseconds(cpu_ns as f64 / requests as f64))
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
    read_json(&run.join(MANIFEST))
}

/// Reads a value from JSON.
///
/// # Errors
/// The file cannot be read, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a file of this program's format", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Arm, Point, Protocol};

    #[test]
    fn rows_survive_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(BLOCKS);
        let row = BlockRecord {
            scenario: "a, \"b\"\nc".to_owned(),
            case: Point {
                protocol: Protocol::Grpc,
                arm: Some(Arm::B),
                batch_size: 8,
                processes: 3,
                rate: Some(0.5),
                ..Point::default()
            },
            block: 0,
            position: 1,
            requests: 0,
            errors: 7,
            mean_ms: None,
            stddev_ms: None,
            min_ms: None,
            p50_ms: Some(1.25),
            p95_ms: Some(0.000_001),
            p99_ms: None,
            max_ms: Some(1e9),
            bound_requests: Some(9),
            bound_broken: ErrorKinds::new(&[("p99_ms".to_owned(), 2)].into()),
            duration_s: 0.5,
            requests_per_s: None,
            client_cpu_ms: None,
            started: Utc::default(),
        };
        append(&path, &row).unwrap();
        append(&path, &row).unwrap();
        assert_eq!(read::<BlockRecord>(&path).unwrap(), [row.clone(), row]);
        assert_eq!(std::fs::read_to_string(&path).unwrap().matches("scenario,").count(), 1);
    }
}
