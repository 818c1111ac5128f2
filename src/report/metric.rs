//! The metrics that are compared, and the pairs of cases they are compared in.

use crate::record::{BlockRecord, Record};

/// A metric that the cells of a table compare.
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
    /// All metrics. The last is shown without a verdict: in a closed loop it repeats the mean.
    pub const ALL: [Metric; 3] = [Metric::Mean, Metric::P95, Metric::Rate];

    /// Whether it gets a verdict.
    pub fn is_judged(self) -> bool {
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

    /// Its value for a whole case.
    pub fn of_case(self, record: &Record) -> Option<f64> {
        match self {
            Metric::Mean => record.mean_ms,
            Metric::P95 => record.p95_ms,
            Metric::Rate => record.inferences_per_s,
        }
    }

    /// Its value in one block.
    pub fn of_block(self, block: &BlockRecord) -> Option<f64> {
        match self {
            Metric::Mean => block.mean_ms,
            Metric::P95 => block.p95_ms,
            Metric::Rate => block.requests_per_s,
        }
    }
}

/// Two cases that differ in the compared axis alone.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// The case compared against: the one with the earlier value.
    pub base: &'a Record,
    /// The other.
    pub other: &'a Record,
    /// Whether all other cases are compared against this base.
    pub is_of_baseline: bool,
}
