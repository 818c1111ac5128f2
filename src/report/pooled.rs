//! The numbers of two compared cases, pooled over all of their paired blocks and over halves of them. Must not know verdicts.

use super::metric::{Metric, Pair};
use super::run::Run;
use crate::record::BlockRecord;
use crate::record::latencies::Latencies;
use crate::statistics::{self, Interval, Sum};

/// The ratio of the two numbers that tables show, the other's over the base's, with its interval. `None` if the
/// blocks are not enough, such as for a percentile without the blocks' histograms.
pub fn ratio(run: &Run, pair: &Pair<'_>, metric: Metric, blocks: &[(&BlockRecord, &BlockRecord)]) -> Option<Interval> {
    let shown = metric.of_case(pair.other)? / metric.of_case(pair.base)?;
    let groups = statistics::groups(blocks.len());
    match metric {
        Metric::P95 => {
            let of = |record| Percentiles::new(run.latencies_of(record)?, groups, blocks.len());
            let (base, other) = (of(pair.base)?, of(pair.other)?);
            statistics::jackknife(shown, groups, |kept| Some(other.of(0.95, kept)? / base.of(0.95, kept)?))
        }
        Metric::Mean | Metric::Rate => {
            let sums: Vec<[Sum; 2]> =
                blocks.iter().map(|(base, other)| [base, other].map(|it| sum(it, metric))).collect();
            statistics::ratio_of_means(Some(shown), &sums)
        }
    }
}

/// A block's latencies in milliseconds over its requests, or its requests over its seconds.
fn sum(block: &BlockRecord, metric: Metric) -> Sum {
    let requests = block.requests as f64;
    match metric {
        Metric::Rate => Sum { sum: requests, over: block.duration_s },
        _ => Sum { sum: requests * block.mean_ms.unwrap_or(0.0), over: requests },
    }
}

/// A case's latencies in groups of blocks.
struct Percentiles {
    descending: Vec<(u64, usize, u64)>,
    /// Requests of each group.
    requests: Vec<u64>,
}

impl Percentiles {
    /// `None` if the latencies are not of the same blocks.
    fn new(latencies: &Latencies, groups: usize, blocks: usize) -> Option<Self> {
        if latencies.blocks() != blocks {
            return None;
        }
        let descending = latencies.descending();
        let mut requests = vec![0; groups];
        descending.iter().for_each(|(_, group, count)| requests[*group] += count);
        Some(Percentiles { descending, requests })
    }

    /// The quantile `q` over some groups, in nanoseconds.
    fn of(&self, q: f64, kept: &[bool]) -> Option<f64> {
        let total: u64 = self.requests.iter().zip(kept).filter(|(_, kept)| **kept).map(|(count, _)| count).sum();
        let beyond = total - ((q * total as f64).ceil() as u64).clamp(1, total.max(1)).min(total);
        let mut seen = 0;
        for (ns, group, count) in &self.descending {
            seen += if kept[*group] { *count } else { 0 };
            if seen > beyond {
                return Some(*ns as f64);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_over_some_groups_is_that_of_their_requests() {
        let mut latencies = Latencies::new(2, 2);
        (1..=100).for_each(|ns| latencies.add(0, ns, 1));
        latencies.add(1, 500, 100);
        let percentiles = Percentiles::new(&latencies, 2, 2).unwrap();
        assert_eq!(percentiles.of(0.95, &[true, false]), Some(95.0));
        assert_eq!(percentiles.of(0.95, &[false, true]), Some(500.0));
        assert_eq!(percentiles.of(0.50, &[true, true]), Some(100.0));
        assert_eq!(percentiles.of(0.51, &[true, true]), Some(500.0));
        assert_eq!(percentiles.of(0.95, &[false, false]), None);
        assert!(Percentiles::new(&latencies, 2, 3).is_none());
    }
}
