//! Decides which of two compared cases is faster, from the blocks measured side by side. Must not know how it is
//! shown.

use std::collections::HashMap;

use super::metric::{Metric, Pair};
use super::pooled;
use super::run::Run;
use crate::matrix::AxisId;
use crate::record::{BlockRecord, Record, Status};
use crate::statistics::{self, DELTA, Ratio, Verdict};

/// A compared number: its ratio to the base's, and the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Compared<'a> {
    /// The two cases.
    pub pair: Pair<'a>,
    /// The axis in which they differ.
    pub compared: AxisId,
    /// The compared metric.
    pub metric: Metric,
    /// The other's over the base's; `None` if there is too little data.
    pub ratio: Option<Ratio>,
    /// Whether it is the ratio of the two numbers shown. If the files lack what its interval needs, it is the mean of
    /// the blocks' ratios.
    pub pooled: bool,
    /// The ratio's p-value after the table's correction.
    pub corrected: Option<f64>,
    /// The verdict on the other's number; `None` if there is none.
    pub verdict: Option<Verdict>,
}

impl Compared<'_> {
    /// The verdict on one of the two cases' numbers.
    pub fn verdict_of(&self, record: &Record) -> Option<Verdict> {
        if std::ptr::eq(record, self.pair.base) {
            self.verdict.map(Verdict::reversed)
        } else {
            self.verdict
        }
    }
}

/// The rows in groups whose cases differ in the compared axis alone, in the order of their first rows.
pub fn groups<'a>(compared: AxisId, rows: &[&'a Record]) -> Vec<Vec<&'a Record>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Vec<&'a Record>> = Vec::new();
    for row in rows {
        let place = *places.entry(row.case.tag_but(compared)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

/// The pairs of rows whose cases differ in the compared axis alone, each row with every later one.
pub fn pairs<'a>(compared: AxisId, rows: &[&'a Record]) -> Vec<Pair<'a>> {
    let mut pairs = Vec::new();
    for group in groups(compared, rows) {
        for (place, base) in group.iter().enumerate() {
            let others = group[place + 1..].iter().filter(|other| base.case.differs_in(compared, &other.case));
            pairs.extend(others.map(|other| Pair { base, other, is_of_baseline: place == 0 }));
        }
    }
    pairs
}

/// Whether a case is faster than each that it is compared with.
pub fn is_fastest(cells: &[Compared<'_>], record: &Record, metric: Metric) -> bool {
    let is_of_case = |cell: &&Compared<'_>| {
        cell.metric == metric && [cell.pair.base, cell.pair.other].iter().any(|row| std::ptr::eq(*row, record))
    };
    let mut own = cells.iter().filter(is_of_case).peekable();
    own.peek().is_some() && own.all(|cell| cell.verdict_of(record) == Some(Verdict::Faster))
}

/// The compared numbers of one table, pair by pair; verdicts on mean and 95th percentile are corrected together.
pub fn cells<'a>(run: &Run, rows: &[&'a Record]) -> Vec<Compared<'a>> {
    let mut cells: Vec<Compared<'a>> = pairs(run.compared, rows)
        .into_iter()
        .flat_map(|pair| Metric::ALL.map(|metric| compare(run, pair, metric)))
        .collect();
    let is_judged = |cell: &&mut Compared<'a>| cell.metric.is_judged() && is_comparable(&cell.pair, cell.metric);
    let mut judged: Vec<&mut Compared<'a>> = cells.iter_mut().filter(is_judged).collect();
    let ratios: Vec<Option<Ratio>> = judged.iter().map(|cell| cell.ratio).collect();
    for (cell, (corrected, verdict)) in judged.iter_mut().zip(statistics::verdicts(&ratios, DELTA)) {
        (cell.corrected, cell.verdict) = (corrected, Some(verdict));
    }
    cells
}

/// Whether the two numbers can be compared.
fn is_comparable(pair: &Pair<'_>, metric: Metric) -> bool {
    let both = [pair.base, pair.other];
    let enough = metric != Metric::P95 || both.iter().all(|row| is_trusted(row, 0.95));
    enough && both.iter().all(|row| row.status == Status::Ok)
}

/// The other's number over the base's, by their blocks.
fn compare<'a>(run: &Run, pair: Pair<'a>, metric: Metric) -> Compared<'a> {
    let compared = run.compared;
    let told = |ratio, pooled| Compared { pair, compared, metric, ratio, pooled, corrected: None, verdict: None };
    if !is_comparable(&pair, metric) {
        return told(None, false);
    }
    let (base, other) = (run.blocks.of(pair.base), run.blocks.of(pair.other));
    let partner = |other: &&'_ BlockRecord| base.iter().find(|base| base.block == other.block).copied();
    let blocks: Vec<(&BlockRecord, &BlockRecord)> =
        other.iter().filter_map(|other| Some((partner(other)?, *other))).collect();
    let values = blocks
        .iter()
        .filter_map(|(base, other)| Some((metric.of_block(other)?, metric.of_block(base)?)));
    let by_blocks = statistics::ratio(&values.collect::<Vec<_>>());
    match by_blocks.zip(pooled::ratio(run, &pair, metric, &blocks)) {
        Some((ratio, interval)) => told(Some(Ratio { interval, ..ratio }), true),
        None => told(by_blocks, false),
    }
}

/// Whether a percentile of a row rests on more than a handful of requests.
pub fn is_trusted(record: &Record, q: f64) -> bool {
    // older files lack the number of independent requests
    statistics::is_trusted(record.effective_requests.unwrap_or(record.requests as f64), q)
}

/// The least delta that would call none of the cells different.
pub fn least_delta(cells: &[Compared<'_>]) -> f64 {
    let off = |ratio: Ratio| (1.0 - ratio.interval.high).max(ratio.interval.low - 1.0).max(0.0);
    cells
        .iter()
        .filter(|cell| cell.verdict.is_some())
        .filter_map(|cell| cell.ratio.map(off))
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{Arm, Point, Protocol};

    fn record(protocol: Protocol, arm: Option<Arm>, batch_size: u32) -> Record {
        let case = Point { protocol, arm, batch_size, ..Point::default() };
        Record { case, status: Status::Ok, requests: 1000, ..Record::default() }
    }

    fn named(compared: AxisId, rows: &[Record]) -> Vec<String> {
        let pairs = pairs(compared, &rows.iter().collect::<Vec<_>>());
        pairs
            .iter()
            .map(|pair| format!("{} / {}", pair.other.case.variant(), pair.base.case.variant()))
            .collect()
    }

    #[test]
    fn cases_are_compared_that_differ_in_the_compared_axis_alone() {
        use Protocol::{Grpc, Http};
        let rows = [record(Http, None, 1), record(Grpc, None, 1), record(Grpc, None, 4)];
        assert_eq!(named(AxisId::Protocol, &rows), ["gRPC / HTTP"]);
        let (a, b) = (Some(Arm::A), Some(Arm::B));
        let rows = [record(Http, a, 1), record(Http, b, 1), record(Grpc, a, 1), record(Grpc, b, 1)];
        assert_eq!(named(AxisId::Arm, &rows), ["HTTP B / HTTP A", "gRPC B / gRPC A"]);
        let rows = [record(Http, None, 1), record(Http, None, 4), record(Http, None, 8)];
        assert_eq!(named(AxisId::BatchSize, &rows).len(), 3);
    }
}
