//! The folder of one run: `results/<scenario>/<UTC time>/`. Each measurement is on disk before the next begins.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use jiff::Timestamp;
use serde::Serialize;

use crate::file;
use crate::record::{
    self, BLOCKS, BlockRecord, HISTOGRAMS, LATENESS, MANIFEST, METRICS, Manifest, RECORDS, Record, SCENARIO, SERVICE,
};
use crate::recorder::Recorder;

/// A run's folder.
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes a new folder, even if two runs begin in the same second.
    ///
    /// # Errors
    /// The folder cannot be made; the message names it.
    pub fn create(results: &Path, scenario: &str, started: Timestamp) -> Result<Self> {
        let parent = results.join(scenario);
        std::fs::create_dir_all(&parent).with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let time = started.strftime("%Y-%m-%dT%H%M%SZ").to_string();
        for attempt in 1..100 {
            let name = if attempt == 1 { time.clone() } else { format!("{time}-{attempt}") };
            let path = parent.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Folder { path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make the folder {}", path.display())),
            }
        }
        Err(anyhow!("cannot make a new folder for {time} in {}", parent.display()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the scenario's text, as it was read.
    pub fn scenario(&self, text: &str) -> Result<()> {
        file::replace(&self.path.join(SCENARIO), text.as_bytes())
    }

    /// Writes the server's answer, as `<name>.json`.
    pub fn json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        record::write_json(&self.path.join(format!("{name}.json")), value)
    }

    /// Writes the manifest, replacing an earlier one.
    pub fn manifest(&self, manifest: &Manifest) -> Result<()> {
        record::write_json(&self.path.join(MANIFEST), manifest)
    }

    /// The file for the server's metrics.
    pub fn metrics(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Adds a measured case.
    pub fn record(&self, record: &Record) -> Result<()> {
        record::append(&self.path.join(RECORDS), record)
    }

    /// Adds a measured block and its histograms. `tag` names the case; times are since the Unix epoch. In an open
    /// loop the service times and the lateness of sending follow the latencies, under their own tags.
    pub fn block(
        &self,
        block: &BlockRecord,
        tag: &str,
        recorder: &Recorder,
        start: Duration,
        length: Duration,
    ) -> Result<()> {
        record::append(&self.path.join(BLOCKS), block)?;
        let path = self.path.join(HISTOGRAMS);
        let failed = || format!("cannot write {}", path.display());
        let mut file = OpenOptions::new().create(true).append(true).open(&path).with_context(failed)?;
        let mut builder = IntervalLogWriterBuilder::new();
        if file.metadata().with_context(failed)?.len() == 0 {
            builder.add_comment("nanoseconds; one interval a block, tagged with its case");
            builder.with_base_time(SystemTime::UNIX_EPOCH);
        }
        let mut serializer = V2DeflateSerializer::new();
        let mut log = builder.begin_log_with(&mut file, &mut serializer).with_context(failed)?;
        let distributions = [("", &recorder.latency), (SERVICE, &recorder.service), (LATENESS, &recorder.lateness)];
        for (suffix, distribution) in distributions {
            if suffix.is_empty() || distribution.count() > 0 {
                log.write_histogram(distribution.histogram(), start, length, Tag::new(&format!("{tag}{suffix}")))
                    .map_err(|error| anyhow!("cannot write {}: {error:?}", path.display()))?;
            }
        }
        Ok(())
    }
}
