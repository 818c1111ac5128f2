//! The latencies of a case's blocks, read back from the histograms of a run. Must not know what is done with them.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::{BlockRecord, HISTOGRAMS, LATENESS, Record, SERVICE};
use crate::recorder;

/// Latencies in nanoseconds and how often each was seen, in groups of blocks. Memory grows with the number of different
/// latencies a group, which the histograms' resolution bounds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    blocks: usize,
    groups: Vec<BTreeMap<u64, u64>>,
}

impl Latencies {
    /// Empty, for `blocks` blocks in `groups` groups.
    pub fn new(blocks: usize, groups: usize) -> Self {
        Latencies { blocks, groups: vec![BTreeMap::new(); groups] }
    }

    /// The number of blocks that they come from.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Adds a latency that was seen `count` times.
    pub fn add(&mut self, group: usize, ns: u64, count: u64) {
        *self.groups[group].entry(ns).or_default() += count;
    }

    /// The latencies of all groups, longest first: nanoseconds, group, count.
    pub fn descending(&self) -> Vec<(u64, usize, u64)> {
        let of_group = |(group, counts): (usize, &BTreeMap<u64, u64>)| {
            counts.iter().map(move |(ns, count)| (*ns, group, *count)).collect::<Vec<_>>()
        };
        let mut all: Vec<_> = self.groups.iter().enumerate().flat_map(of_group).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all
    }
}

/// Every case's latencies, in the order of `records`. `blocks_of` gives a case's blocks in order; `group_of` returns a block's group, from its index and the
/// number of blocks of its case. `None` for a case whose histograms are missing or do not match its blocks.
pub fn read<'a>(
    run: &Path,
    records: &[Record],
    blocks_of: &impl Fn(&Record) -> Vec<&'a BlockRecord>,
    groups: impl Fn(usize) -> usize,
    group_of: impl Fn(usize, usize) -> usize,
) -> Vec<Option<Latencies>> {
    let text = std::fs::read(run.join(HISTOGRAMS)).unwrap_or_default();
    let logged = logged(&text);
    let of_case = |record: &Record| {
        let rows = blocks_of(record);
        let histograms = logged.get(&record.case.tag()).filter(|histograms| histograms.len() == rows.len())?;
        let mut latencies = Latencies::new(rows.len(), groups(rows.len()));
        for (place, (row, histogram)) in rows.iter().zip(histograms).enumerate() {
            let histogram = decoded(histogram).filter(|histogram| histogram.len() == row.requests)?;
            for step in histogram.iter_recorded() {
                latencies.add(group_of(place, rows.len()), step.value_iterated_to(), step.count_at_value());
            }
        }
        Some(latencies)
    };
    records.iter().map(of_case).collect()
}

/// How late the requests of a case were sent, by nanoseconds, and how often each was seen; empty in a closed loop. In the
/// order of `cases`.
pub fn lateness(run: &Path, cases: &[&Record]) -> Vec<BTreeMap<u64, u64>> {
    if cases.iter().all(|record| record.case.rate.is_none()) {
        return vec![BTreeMap::new(); cases.len()];
    }
    let text = std::fs::read(run.join(HISTOGRAMS)).unwrap_or_default();
    let logged = logged(&text);
    let of_case = |record: &&Record| {
        let mut counts = BTreeMap::new();
        let histograms = logged.get(&format!("{}{LATENESS}", record.case.tag()));
        for histogram in histograms.into_iter().flatten().filter_map(|text| decoded(text)) {
            for step in histogram.iter_recorded() {
                *counts.entry(step.value_iterated_to()).or_default() += step.count_at_value();
            }
        }
        counts
    };
    cases.iter().map(of_case).collect()
}

/// A log with the first blocks of each case alone, as many as `blocks_of` says of its tag; without a last line that was not
/// written whole.
pub fn first_blocks(log: &[u8], blocks_of: impl Fn(&str) -> usize) -> Vec<u8> {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut is_kept = |line: &&[u8]| {
        let Some(tag) = line.strip_prefix(b"Tag=").and_then(|rest| rest.split(|byte| *byte == b',').next()) else {
            return line.ends_with(b"\n");
        };
        let tag = String::from_utf8_lossy(tag).into_owned();
        let case = [SERVICE, LATENESS].iter().find_map(|suffix| tag.strip_suffix(suffix)).unwrap_or(&tag);
        let most = blocks_of(case);
        let count = seen.entry(tag).or_default();
        *count += 1;
        line.ends_with(b"\n") && *count <= most
    };
    log.split_inclusive(|byte| *byte == b'\n')
        .filter(|line| is_kept(line))
        .flatten()
        .copied()
        .collect()
}

/// The histograms of a log by their tag, still encoded.
pub fn logged(text: &[u8]) -> BTreeMap<String, Vec<&str>> {
    let mut logged: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for entry in IntervalLogIterator::new(text) {
        match entry {
            Ok(LogEntry::Interval(interval)) => {
                let tag = interval.tag().map_or("", |tag| tag.as_str()).to_owned();
                logged.entry(tag).or_default().push(interval.encoded_histogram());
            }
            Ok(_) => {}
            // such as a last line that was not written whole
            Err(_) => break,
        }
    }
    logged
}

/// A histogram of a log; `None` if it is not one.
pub fn decoded(text: &str) -> Option<Histogram<u64>> {
    recorder::decoded(&STANDARD.decode(text).ok()?).ok()
}
