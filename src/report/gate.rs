//! The numbers that are compared between runs, and the changes of them that end a comparison with exit code 99.

use anyhow::{Result, bail};

use crate::record::{BlockRecord, Record};
use crate::spelling::{Spelled, spelled};
use crate::statistics::{ALPHA, Interval};

spelled! {
    /// A number that is compared between runs.
    pub enum Metric {
        /// Mean latency.
        Mean = "mean",
        /// Median.
        P50 = "p50",
        /// 95th percentile.
        P95 = "p95",
        /// Answered requests a second.
        Throughput = "throughput",
        /// The capacity, in requests a second; of runs that searched for it, the only number.
        Capacity = "capacity",
    }
}

impl Metric {
    /// Its value for a whole case.
    pub fn of_case(self, record: &Record) -> Option<f64> {
        match self {
            Metric::Mean => record.mean_ms,
            Metric::P50 => record.p50_ms,
            Metric::P95 => record.p95_ms,
            Metric::Throughput => record.requests_per_s,
            Metric::Capacity => record.capacity_per_s,
        }
    }

    /// Its value in one block, if a block has one.
    pub fn of_block(self, block: &BlockRecord) -> Option<f64> {
        match self {
            Metric::Mean => block.mean_ms,
            Metric::P50 => block.p50_ms,
            Metric::P95 => block.p95_ms,
            Metric::Throughput => block.requests_per_s,
            Metric::Capacity => None,
        }
    }

    /// Its unit.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::Throughput | Metric::Capacity => "requests/s",
            _ => "ms",
        }
    }

    /// The numbers of a run: one that searched for capacities has no others, as its blocks are at different loads.
    pub fn of_run(is_searched: bool) -> impl Iterator<Item = Metric> {
        let all = Metric::ALL.iter().map(|(_, metric)| *metric);
        all.filter(move |metric| (*metric == Metric::Capacity) == is_searched)
    }

    /// Whether a run has it.
    ///
    /// # Errors
    /// It does not; the message has the remedy.
    pub fn check(self, is_searched: bool) -> Result<()> {
        match (self == Metric::Capacity, is_searched) {
            (false, true) => bail!(
                "{self} is asked for, and the runs searched for capacities: their blocks are at different loads, so that {self} over all \
                 of them means nothing; ask for capacity"
            ),
            (true, false) => bail!(
                "capacity is asked for, and the runs searched for none: measure with [capacity], or --capacity \"p99<50ms\""
            ),
            _ => Ok(()),
        }
    }
}

/// A threshold that ends the command with exit code 99 where a change is beyond it, and beyond chance: `p95 > 5%`,
/// `throughput < -5%`, `capacity < -5%`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gate {
    /// The number that changes.
    pub metric: Metric,
    is_more: bool,
    /// The change, as a part.
    threshold: f64,
}

impl Gate {
    /// Parses a threshold.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, is_more, change) = match (text.split_once('>'), text.split_once('<')) {
            (Some((name, change)), None) => (name, true, change),
            (None, Some((name, change))) => (name, false, change),
            _ => return Err("expected a number and a change, such as \"p95 > 5%\" or \"throughput < -5%\"".to_owned()),
        };
        let metric = Metric::spelled(name.trim()).ok_or_else(|| {
            let known = Metric::WORDS.join(", ");
            format!("\"{}\" is no number that is compared: there are {known}", name.trim().escape_debug())
        })?;
        let percent = change.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        let percent = percent.filter(|percent| percent.is_finite()).ok_or_else(|| {
            format!("\"{}\" is no change in percent: write it as 5% or -5%", change.trim().escape_debug())
        })?;
        Ok(Gate { metric, is_more, threshold: percent / 100.0 })
    }

    /// Whether a change breaks it: beyond the threshold, and beyond chance in the same direction.
    pub fn is_broken_by(&self, metric: Metric, ratio: Option<Interval>, p_holm: Option<f64>) -> bool {
        let Some(Interval { value, low, high }) = ratio.filter(|_| metric == self.metric) else {
            return false;
        };
        let beyond = match self.is_more {
            true => value - 1.0 > self.threshold && low > 1.0,
            false => value - 1.0 < self.threshold && high < 1.0,
        };
        beyond && p_holm.is_some_and(|p| p <= ALPHA)
    }
}

impl std::fmt::Display for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.is_more { '>' } else { '<' };
        write!(formatter, "{} {sign} {}%", self.metric, 100.0 * self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_breaks_beyond_its_threshold_and_beyond_chance() {
        let broken = |gate: &str, [low, value, high]: [f64; 3], p: f64| {
            let ratio = Some(Interval { value, low, high });
            Gate::parse(gate).unwrap().is_broken_by(Metric::P95, ratio, Some(p))
        };
        assert!(broken("p95 > 5%", [1.01, 1.06, 1.11], ALPHA) && broken("p95 < -5%", [0.91, 0.94, 0.99], ALPHA));
        for (gate, ratio, p) in [
            ("p95 > 5%", [1.01, 1.06, 1.11], 2.0 * ALPHA),
            ("p95 > 6.25%", [1.01, 1.0625, 1.11], ALPHA),
            ("p95 > 5%", [1.0, 1.06, 1.13], ALPHA),
            ("p95 > 5%", [1.01, 1.02, 1.03], ALPHA),
            ("p95 < -6.25%", [0.91, 0.9375, 0.99], ALPHA),
            ("p95 < -5%", [0.88, 0.94, 1.0], ALPHA),
            ("p95 < -5%", [0.97, 0.98, 0.99], ALPHA),
            ("mean > 5%", [1.01, 1.06, 1.11], ALPHA),
        ] {
            assert!(!broken(gate, ratio, p), "{gate} {ratio:?} {p}");
        }
    }
}
