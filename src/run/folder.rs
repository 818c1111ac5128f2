//! The folder of one run: `results/<scenario>/<UTC time>/`. Each measurement is on disk before the next begins.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use jiff::Timestamp;
use serde::Serialize;

use super::kept::{self, KeptBlock};
use super::rows::CaseRows;
use crate::file;
use crate::record::{
    self, BLOCKS, BlockRecord, COLD_STARTS, ColdStartRecord, HISTOGRAMS, HOSTS, LATENESS, MANIFEST, METRICS, Manifest,
    RECORDS, REQUESTS, RESUME, SCENARIO, SERVICE, STAGES,
};
use crate::recorder::Recorder;

/// A run's folder.
pub struct Folder {
    path: PathBuf,
    /// The blocks of the group under way. Locked while the run goes on, so that nobody takes it up meanwhile.
    kept: File,
}

impl Folder {
    /// Makes a new folder, even if two runs begin in the same second.
    ///
    /// # Errors
    /// The folder cannot be made; the message names it.
    pub fn create(results: &Path, scenario: &str, started: Timestamp) -> Result<Self> {
        let parent = results.join(scenario);
        let failed = |path: &Path| {
            format!("cannot make the folder {}: name another than {} with --results", path.display(), results.display())
        };
        std::fs::create_dir_all(&parent).with_context(|| failed(&parent))?;
        let time = started.strftime("%Y-%m-%dT%H%M%SZ").to_string();
        for attempt in 1..100 {
            let name = if attempt == 1 { time.clone() } else { format!("{time}-{attempt}") };
            let path = parent.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Folder::locked(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| failed(&path)),
            }
        }
        Err(anyhow!("cannot make a new folder for {time} in {}", parent.display()))
    }

    /// Opens the folder of a run that is to be taken up again.
    ///
    /// # Errors
    /// The run goes on, or the folder cannot be written.
    pub fn reopen(path: &Path) -> Result<Self> {
        Folder::locked(path.to_owned())
    }

    fn locked(path: PathBuf) -> Result<Self> {
        let file = path.join(RESUME);
        let failed = || format!("cannot write {}", file.display());
        let kept = OpenOptions::new().create(true).append(true).open(&file).with_context(failed)?;
        match kept.try_lock() {
            Err(TryLockError::WouldBlock) => bail!("{}: the run still goes on: stop it first", path.display()),
            // a file system without locks
            Err(TryLockError::Error(_)) | Ok(()) => Ok(Folder { path, kept }),
        }
    }

    /// Keeps a block of the group under way.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep(&self, block: &KeptBlock) -> Result<()> {
        let line = kept::line(block)?;
        let mut file = &self.kept;
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.join(RESUME).display()))
    }

    /// Forgets the blocks that are kept but for these.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn keep_only(&mut self, blocks: &[KeptBlock]) -> Result<()> {
        let path = self.path.join(RESUME);
        let lines: Vec<u8> = blocks.iter().map(kept::line).collect::<Result<Vec<_>>>()?.concat();
        if std::fs::read(&path).is_ok_and(|held| held == lines) {
            return Ok(());
        }
        file::replace(&path, &lines)?;
        // the lock is that of the file which was replaced
        *self = Folder::locked(self.path.clone())?;
        Ok(())
    }

    /// Notes that the rows of the group under way are on file: its blocks are not needed any more.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn group_done(&self) -> Result<()> {
        self.kept
            .set_len(0)
            .with_context(|| format!("cannot write {}", self.path.join(RESUME).display()))
    }

    /// Notes that nothing of the run is missing.
    ///
    /// # Errors
    /// The file cannot be deleted.
    pub fn complete(&self) -> Result<()> {
        file::remove(&self.path.join(RESUME))
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

    /// The cold starts that are on file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cold_starts(&self) -> Result<Vec<ColdStartRecord>> {
        Ok(record::read_if_any(&self.path.join(COLD_STARTS))?.rows)
    }

    /// Adds a cold start.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn cold_start(&self, start: &ColdStartRecord) -> Result<()> {
        record::append(&self.path.join(COLD_STARTS), start)
    }

    /// The file for single requests.
    pub fn requests(&self) -> PathBuf {
        self.path.join(REQUESTS)
    }

    /// Adds a measured case, after its parts.
    pub fn record(&self, CaseRows { record, hosts, stages }: &CaseRows) -> Result<()> {
        if !hosts.is_empty() {
            record::append_all(&self.path.join(HOSTS), hosts)?;
        }
        if !stages.is_empty() {
            record::append_all(&self.path.join(STAGES), stages)?;
        }
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
