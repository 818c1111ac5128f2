//! A run, as read from its files. Must not know how it is shown.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::matrix::{AxisId, Point};
use crate::record::latencies::{self, Latencies};
use crate::record::{
    self, Asked, BLOCKS, BlockRecord, COLD_STARTS, ColdStartRecord, HOSTS, HostRecord, MODEL_CONFIG, Manifest, RECORDS,
    Record, Rows, STAGES, StageRecord, State, Status,
};
use crate::statistics;

/// A run, as read from its files.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The axis whose values are compared.
    pub compared: AxisId,
    /// One row a case, in the order of measuring.
    pub records: Vec<Record>,
    /// One row a case and block.
    pub blocks: Blocks,
    /// One row a case and host; empty if this machine sent all requests.
    pub hosts: Vec<HostRecord>,
    /// Every stage of every case.
    pub stages: Vec<StageRecord>,
    /// Every cold start.
    pub cold_starts: Vec<ColdStartRecord>,
    /// The latencies of the blocks of each record; `None` if their histograms are missing.
    pub latencies: Vec<Option<Latencies>>,
    /// The servers and models that were asked, each with the model's configuration, if the server gave it.
    pub asked: Vec<(Asked, Option<Value>)>,
    /// Files whose last line is torn and left out.
    pub torn: Vec<&'static str>,
}

/// One row a case and block, found by case.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    rows: Vec<BlockRecord>,
    /// The axis that was searched: blocks of one case differ on it.
    searched: Option<AxisId>,
    /// The places of each case's rows, by the case's tag.
    places: HashMap<String, Vec<usize>>,
}

impl Blocks {
    /// The blocks of a search over an axis.
    fn of_search(searched: Option<AxisId>, rows: Vec<BlockRecord>) -> Self {
        let mut blocks = Blocks { searched, ..Blocks::default() };
        rows.into_iter().for_each(|row| blocks.push(row));
        blocks
    }

    /// The case of a block.
    fn case_of(&self, block: &BlockRecord) -> Point {
        self.searched.map_or_else(|| block.case.clone(), |axis| block.case.without(axis))
    }

    /// Adds a row.
    pub fn push(&mut self, row: BlockRecord) {
        self.places.entry(self.case_of(&row).tag()).or_default().push(self.rows.len());
        self.rows.push(row);
    }

    /// The blocks of a case, in the order of rounds.
    pub fn of(&self, record: &Record) -> Vec<&BlockRecord> {
        let places = self.places.get(&record.case.tag()).map_or(&[][..], Vec::as_slice);
        places
            .iter()
            .map(|place| &self.rows[*place])
            .filter(|block| self.case_of(block) == record.case)
            .collect()
    }
}

impl FromIterator<BlockRecord> for Blocks {
    fn from_iter<T: IntoIterator<Item = BlockRecord>>(rows: T) -> Self {
        Blocks::of_search(None, rows.into_iter().collect())
    }
}

impl Run {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// The folder is not a run's; the message names the file.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest = record::read_manifest(path)?;
        let asked = manifest.asked().into_iter().map(|asked| {
            let name = format!("{MODEL_CONFIG}{}.json", asked.tag());
            // a manifest from elsewhere must not lead out of its folder
            let is_plain = Path::new(&name).components().count() == 1;
            let file = path.join(name);
            let config = if is_plain && file.exists() { Some(record::read_json(&file)?) } else { None };
            Ok((asked, config))
        });
        let asked = asked.collect::<Result<_>>()?;
        let records: Rows<Record> = record::read_if_any(&path.join(RECORDS))?;
        let blocks: Rows<BlockRecord> = record::read_if_any(&path.join(BLOCKS))?;
        let hosts: Rows<HostRecord> = record::read_if_any(&path.join(HOSTS))?;
        let cold_starts: Rows<ColdStartRecord> = record::read_if_any(&path.join(COLD_STARTS))?;
        let stages: Rows<StageRecord> = record::read_if_any(&path.join(STAGES))?;
        let torn = [
            (RECORDS, records.torn),
            (BLOCKS, blocks.torn),
            (HOSTS, hosts.torn),
            (STAGES, stages.torn),
            (COLD_STARTS, cold_starts.torn),
        ];
        let (records, blocks) = (records.rows, blocks.rows);
        let searched = manifest.capacity.as_ref().and_then(|searched| AxisId::named(&searched.over));
        let blocks = Blocks::of_search(searched, blocks);
        let latencies =
            latencies::read(path, &records, &|record| blocks.of(record), statistics::groups, statistics::group_of);
        Ok(Run {
            asked,
            path: path.to_owned(),
            compared: manifest.compared(&records),
            manifest,
            records,
            blocks,
            hosts: hosts.rows,
            stages: stages.rows,
            cold_starts: cold_starts.rows,
            latencies,
            torn: torn.into_iter().filter_map(|(file, torn)| torn.then_some(file)).collect(),
        })
    }

    /// A record's value of the compared axis, in words: `gRPC`.
    pub fn value_of(&self, record: &Record) -> String {
        (self.compared.axis().phrase)(&record.case)
    }

    /// The latencies of one of the records.
    pub fn latencies_of(&self, record: &Record) -> Option<&Latencies> {
        let place = self.records.iter().position(|known| std::ptr::eq(known, record))?;
        self.latencies.get(place)?.as_ref()
    }

    /// Describes how much of the run exists, if it is not all.
    pub fn part(&self) -> Option<String> {
        let all = self.manifest.cases;
        // some of a case's requests may have failed
        let whole = |record: &&Record| matches!(record.status, Status::Ok | Status::Errors | Status::Skipped);
        let measured = self.records.iter().filter(whole).count();
        let why = match self.manifest.state {
            State::Running => "the run has not ended, or was killed",
            _ if measured >= all => return None,
            State::Interrupted => "the run was stopped",
            State::Incomplete => "the others failed or were not run",
            State::Complete => "the rows of the others are lost",
        };
        Some(format!("{measured} of {all} cases are measured; {why}"))
    }
}
