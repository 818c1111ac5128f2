//! Which of two compared cases is faster, by the blocks that they were measured in side by side. Must not know how it is
//! shown.

use super::{Run, pooled};
use crate::record::{BlockRecord, Record, Status};
use crate::statistics::{self, DELTA, Ratio, Verdict};

/// What is compared, in the cells of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Mean latency.
    Mean,
    /// 95th percentile.
    P95,
    /// Answered requests a second.
    Rate,
}

impl Metric {
    /// All of them; the last is told, but no verdict is given on it: in a closed loop it says what the mean says.
    const ALL: [Metric; 3] = [Metric::Mean, Metric::P95, Metric::Rate];

    fn is_judged(self) -> bool {
        self != Metric::Rate
    }

    /// Its column in the rows of cases.
    pub fn column(self) -> &'static str {
        match self {
            Metric::Mean => "mean_ms",
            Metric::P95 => "p95_ms",
            Metric::Rate => "inferences_per_s",
        }
    }

    /// The number of a whole case.
    pub fn of_case(self, record: &Record) -> Option<f64> {
        match self {
            Metric::Mean => record.mean_ms,
            Metric::P95 => record.p95_ms,
            Metric::Rate => record.inferences_per_s,
        }
    }

    fn of_block(self, block: &BlockRecord) -> Option<f64> {
        match self {
            Metric::Mean => block.mean_ms,
            Metric::P95 => block.p95_ms,
            Metric::Rate => block.requests_per_s,
        }
    }
}

/// Two cases that differ in protocol alone, or (with `--aa`) in nothing.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The one that the other is held against: HTTP, or A.
    pub base: &'a Record,
    /// The other.
    pub other: &'a Record,
}

/// A compared number: its ratio to that of the base, and what follows.
#[derive(Clone, Copy, Debug)]
pub struct Cell<'a> {
    /// Of which cases.
    pub pair: Pair<'a>,
    /// Which number.
    pub metric: Metric,
    /// The other's over the base's; `None` where there is too little to tell.
    pub ratio: Option<Ratio>,
    /// Whether it is the ratio of the two numbers that are shown, or (where the files do not tell enough for its interval)
    /// the mean of the blocks' ratios.
    pub pooled: bool,
    /// The ratio's p-value after the table's correction.
    pub corrected: Option<f64>,
    /// What the data say of the other's; `None` where nothing is said.
    pub verdict: Option<Verdict>,
}

impl Cell<'_> {
    /// What the data say of one of the two cases' number.
    pub fn verdict_of(&self, record: &Record) -> Option<Verdict> {
        if std::ptr::eq(record, self.pair.base) { self.verdict.map(Verdict::reversed) } else { self.verdict }
    }
}

/// The pairs of some rows of a run.
pub fn pairs<'a>(rows: &[&'a Record]) -> Vec<Pair<'a>> {
    let mut pairs = Vec::new();
    for (place, base) in rows.iter().enumerate() {
        if let Some(other) = rows[place + 1..].iter().find(|other| compared(base, other)) {
            pairs.push(Pair { base, other });
        }
    }
    pairs
}

fn compared(a: &Record, b: &Record) -> bool {
    let point = |row: &Record| (row.batch_size, row.processes, row.concurrency, row.connections, row.rate);
    let of_arms = a.arm.is_some() && a.protocol == b.protocol && a.arm != b.arm;
    let of_protocols = a.arm.is_none() && b.arm.is_none() && a.protocol != b.protocol;
    point(a) == point(b) && (of_arms || of_protocols)
}

/// The compared numbers of one table, pair by pair; verdicts on mean and 95th percentile are corrected together.
pub fn cells<'a>(run: &Run, rows: &[&'a Record]) -> Vec<Cell<'a>> {
    let mut cells: Vec<Cell<'a>> =
        pairs(rows).into_iter().flat_map(|pair| Metric::ALL.map(|metric| compare(run, pair, metric))).collect();
    let is_judged = |cell: &&mut Cell<'a>| cell.metric.is_judged() && is_comparable(&cell.pair, cell.metric);
    let mut judged: Vec<&mut Cell<'a>> = cells.iter_mut().filter(is_judged).collect();
    let ratios: Vec<Option<Ratio>> = judged.iter().map(|cell| cell.ratio).collect();
    for (cell, (corrected, verdict)) in judged.iter_mut().zip(statistics::verdicts(&ratios, DELTA)) {
        (cell.corrected, cell.verdict) = (corrected, Some(verdict));
    }
    cells
}

/// Whether anything is to be said of the two numbers.
fn is_comparable(pair: &Pair<'_>, metric: Metric) -> bool {
    let both = [pair.base, pair.other];
    let enough = metric != Metric::P95 || both.iter().all(|row| is_trusted(row, 0.95));
    enough && both.iter().all(|row| row.status == Status::Ok)
}

/// The other's number over the base's, by their blocks.
fn compare<'a>(run: &Run, pair: Pair<'a>, metric: Metric) -> Cell<'a> {
    let told = |ratio, pooled| Cell { pair, metric, ratio, pooled, corrected: None, verdict: None };
    if !is_comparable(&pair, metric) {
        return told(None, false);
    }
    let of = |row: &Record| run.blocks.iter().filter(|block| block.is_of(row)).collect::<Vec<_>>();
    let (base, other) = (of(pair.base), of(pair.other));
    let partner = |other: &&'_ BlockRecord| base.iter().find(|base| base.block == other.block).copied();
    let blocks: Vec<(&BlockRecord, &BlockRecord)> =
        other.iter().filter_map(|other| Some((partner(other)?, *other))).collect();
    let values = blocks.iter().filter_map(|(base, other)| Some((metric.of_block(other)?, metric.of_block(base)?)));
    let by_blocks = statistics::ratio(&values.collect::<Vec<_>>());
    match by_blocks.zip(pooled::ratio(run, &pair, metric, &blocks)) {
        Some((ratio, interval)) => told(Some(Ratio { interval, ..ratio }), true),
        None => told(by_blocks, false),
    }
}

/// Whether a percentile of a row is more than a handful of its requests.
pub fn is_trusted(record: &Record, q: f64) -> bool {
    // older files do not tell how much the requests depend on each other
    statistics::is_trusted(record.effective_requests.unwrap_or(record.requests as f64), q)
}

/// The least delta at which none of the cells would be called different.
pub fn least_delta(cells: &[Cell<'_>]) -> f64 {
    let off = |ratio: Ratio| (1.0 - ratio.interval.high).max(ratio.interval.low - 1.0).max(0.0);
    cells.iter().filter(|cell| cell.verdict.is_some()).filter_map(|cell| cell.ratio.map(off)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Arm;
    use crate::scenario::Protocol;

    fn record(protocol: Protocol, arm: Option<Arm>, batch_size: u32) -> Record {
        Record { protocol, arm, batch_size, status: Status::Ok, requests: 1000, ..Record::default() }
    }

    fn named(pairs: &[Pair<'_>]) -> Vec<String> {
        let name = |row: &Record| format!("{} {:?}", row.protocol, row.arm);
        pairs.iter().map(|pair| format!("{} / {}", name(pair.other), name(pair.base))).collect()
    }

    #[test]
    fn cases_are_compared_that_differ_in_protocol_or_in_nothing() {
        use Protocol::{Grpc, Http};
        let rows = [record(Http, None, 1), record(Grpc, None, 1), record(Grpc, None, 4)];
        assert_eq!(named(&pairs(&rows.iter().collect::<Vec<_>>())), ["grpc None / http None"]);
        let (a, b) = (Some(Arm::A), Some(Arm::B));
        let rows = [record(Http, a, 1), record(Http, b, 1), record(Grpc, a, 1), record(Grpc, b, 1)];
        let found = pairs(&rows.iter().collect::<Vec<_>>());
        assert_eq!(named(&found), ["http Some(B) / http Some(A)", "grpc Some(B) / grpc Some(A)"]);
    }
}
