//! `comparisons.csv`: the comparison of every compared number, from the same cells as the tables.

use anyhow::Result;

use super::capacity::{self, Apart};
use super::metric::Pair;
use super::run::Run;
use super::tables;
use super::verdicts::Compared;
use crate::record::column::columns;
use crate::record::{lines, rounded};
use crate::statistics::{Ratio, Verdict};

columns! {
    /// One row of the file: a number of one case beside that of another.
    pub struct Comparison {
        /// The tag of the case that the other one is held against.
        pub baseline: String,
        /// The tag of the other case.
        pub other: String,
        /// The column of `records.csv` that is compared: `mean_ms`, `p95_ms`, `inferences_per_s` or `capacity_per_s`.
        pub metric: String,
        /// The baseline's number, in the metric's unit.
        pub baseline_value: Option<f64>,
        /// The other's number.
        pub other_value: Option<f64>,
        /// The other's over the baseline's; empty where there is too little to tell.
        pub ratio: Option<f64>,
        /// Lower end of the ratio's 95 % interval; alone where it is at least this (`ends`).
        pub ratio_low: Option<f64>,
        /// Upper end of it; alone where it is at most this.
        pub ratio_high: Option<f64>,
        /// How probable so large a difference is if the two are the same: exact sign-flip test over the blocks; of capacities from the intervals
        /// of both, and empty where an end alone tells.
        pub p: Option<f64>,
        /// The same after Holm's correction over the table.
        pub p_holm: Option<f64>,
        /// Of the other's number: `faster` (lower; of a capacity: higher), `slower`, `equal`, `unclear`; empty where none is given, as for throughput,
        /// which in a closed loop says what the mean says.
        pub verdict: String,
        /// Pairs of blocks.
        pub blocks: Option<usize>,
        /// `pooled`: of the ratio of the two numbers, by the paired jackknife; `blocks`: of the mean of the blocks' ratios, as the
        /// files lack their histograms. `searches`: of the ratio of two capacities, by the intervals of both. `ends`: one of the two has no
        /// interval, and an end of it lies beyond the other's; without a p-value.
        pub interval: String,
    }
}

/// All rows of a run, table by table.
pub fn rows(run: &Run) -> Vec<Comparison> {
    match capacity::is_searched(run) {
        true => capacity::compared(run).iter().map(searched).collect(),
        false => tables::cells(&tables::of(run)).iter().map(row).collect(),
    }
}

fn row(cell: &Compared<'_>) -> Comparison {
    let metric = cell.metric;
    let interval = if cell.pooled { "pooled" } else { "blocks" };
    let values = [cell.pair.base, cell.pair.other].map(|record| metric.of_case(record));
    written(&cell.pair, (metric.column(), values), (cell.ratio, interval), cell.corrected, cell.verdict)
}

/// The comparison of two capacities.
fn searched(cell: &capacity::Compared<'_>) -> Comparison {
    let values = [cell.pair.base, cell.pair.other].map(|record| record.capacity_per_s);
    let ratio = cell.apart.and_then(Apart::ratio);
    let row = written(&cell.pair, ("capacity_per_s", values), (ratio, "searches"), cell.corrected, cell.verdict);
    match cell.apart {
        Some(apart @ Apart::Beyond(_)) => {
            let [_, ratio_low, ratio_high] = apart.parts().map(|end| end.map(rounded));
            Comparison { ratio_low, ratio_high, interval: "ends".to_owned(), ..row }
        }
        _ => row,
    }
}

/// The row of a metric of two cases, with the values of both; a ratio comes with the kind of its interval.
fn written(
    pair: &Pair<'_>,
    (metric, [baseline_value, other_value]): (&str, [Option<f64>; 2]),
    (ratio, interval): (Option<Ratio>, &str),
    corrected: Option<f64>,
    verdict: Option<Verdict>,
) -> Comparison {
    Comparison {
        baseline: pair.base.case.tag(),
        other: pair.other.case.tag(),
        metric: metric.to_owned(),
        baseline_value,
        other_value,
        ratio: ratio.map(|ratio| rounded(ratio.interval.value)),
        ratio_low: ratio.map(|ratio| rounded(ratio.interval.low)),
        ratio_high: ratio.map(|ratio| rounded(ratio.interval.high)),
        p: ratio.map(|ratio| rounded(ratio.p)),
        p_holm: corrected.map(rounded),
        verdict: verdict.map_or("", |verdict| verdict.name()).to_owned(),
        blocks: ratio.map(|ratio| ratio.blocks),
        interval: ratio.map_or("", |_| interval).to_owned(),
    }
}

/// The file's text.
///
/// # Errors
/// A row cannot be written as CSV.
pub fn text(run: &Run) -> Result<String> {
    Ok(String::from_utf8(lines(&rows(run), true)?)?)
}
