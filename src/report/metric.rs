//! The numbers that are compared, and the pairs of cases in which they are.

use crate::record::{BlockRecord, Record};

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
    pub const ALL: [Metric; 3] = [Metric::Mean, Metric::P95, Metric::Rate];

    /// Whether a verdict is given on it.
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

    /// The number of a whole case.
    pub fn of_case(self, record: &Record) -> Option<f64> {
        match self {
            Metric::Mean => record.mean_ms,
            Metric::P95 => record.p95_ms,
            Metric::Rate => record.inferences_per_s,
        }
    }

    /// The number of one block.
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
    /// The one that the other is held against: the one with the earlier value.
    pub base: &'a Record,
    /// The other.
    pub other: &'a Record,
    /// Whether the base is the one that all others are held against.
    pub is_of_baseline: bool,
}
