//! Which of two compared cases is faster, by the blocks that they were measured in side by side. Must not know how it is
//! shown.

use super::Run;
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
    /// What the data say of the other's.
    pub verdict: Verdict,
}

impl Cell<'_> {
    /// What the data say of one of the two cases' number.
    pub fn verdict_of(&self, record: &Record) -> Verdict {
        if std::ptr::eq(record, self.pair.base) { self.verdict.reversed() } else { self.verdict }
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

/// The judged cells of one table: mean and 95th percentile of all pairs, corrected together.
pub fn cells<'a>(run: &Run, rows: &[&'a Record]) -> Vec<Cell<'a>> {
    let pairs = pairs(rows);
    let both: Vec<(Pair<'a>, Metric)> =
        pairs.iter().flat_map(|pair| [Metric::Mean, Metric::P95].map(|metric| (*pair, metric))).collect();
    let ratios: Vec<Option<Ratio>> = both
        .iter()
        .map(|(pair, metric)| {
            let enough = *metric != Metric::P95 || (is_trusted(pair.base, 0.95) && is_trusted(pair.other, 0.95));
            ratio(run, pair, *metric).filter(|_| enough)
        })
        .collect();
    let verdicts = statistics::verdicts(&ratios, DELTA);
    let cells = both.into_iter().zip(ratios).zip(verdicts);
    cells.map(|(((pair, metric), ratio), verdict)| Cell { pair, metric, ratio, verdict }).collect()
}

/// The other's number over the base's, by their blocks.
pub fn ratio(run: &Run, pair: &Pair<'_>, metric: Metric) -> Option<Ratio> {
    if [pair.base, pair.other].iter().any(|row| row.status != Status::Ok) {
        return None;
    }
    let of = |row: &Record| run.blocks.iter().filter(|block| block.is_of(row)).collect::<Vec<_>>();
    let base = of(pair.base);
    let paired = of(pair.other).into_iter().filter_map(|other| {
        let base = base.iter().find(|base| base.block == other.block)?;
        Some((metric.of_block(other)?, metric.of_block(base)?))
    });
    statistics::ratio(&paired.collect::<Vec<_>>())
}

/// Whether a percentile of a row is more than a handful of its requests.
pub fn is_trusted(record: &Record, q: f64) -> bool {
    // older files do not tell how much the requests depend on each other
    statistics::is_trusted(record.effective_requests.unwrap_or(record.requests as f64), q)
}

/// The least delta at which none of the cells would be called different.
pub fn least_delta(cells: &[Cell<'_>]) -> f64 {
    let off = |ratio: Ratio| (1.0 - ratio.interval.high).max(ratio.interval.low - 1.0).max(0.0);
    cells.iter().filter_map(|cell| cell.ratio.map(off)).fold(0.0, f64::max)
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
