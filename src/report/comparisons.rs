//! `comparisons.csv`: the comparison of every compared number, from the same cells as the tables.

use anyhow::Result;

use super::run::Run;
use super::verdicts::Compared;
use super::{capacity, tables};
use crate::record::column::columns;
use crate::record::{lines, rounded};
use crate::statistics::Interval;

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
        /// Lower end of the ratio's 95 % interval.
        pub ratio_low: Option<f64>,
        /// Upper end of it.
        pub ratio_high: Option<f64>,
        /// How probable so large a difference is if the two are the same: exact sign-flip test over the blocks.
        pub p: Option<f64>,
        /// The same after Holm's correction over the table.
        pub p_holm: Option<f64>,
        /// Of the other's number: `faster` (lower; of a capacity: higher), `slower`, `equal`, `unclear`; empty where none is given, as for throughput,
        /// which in a closed loop says what the mean says.
        pub verdict: String,
        /// Pairs of blocks.
        pub blocks: Option<usize>,
        /// `pooled`: of the ratio of the two numbers, by the paired jackknife; `blocks`: of the mean of the blocks' ratios, as the
        /// files lack their histograms. `searches`: of the ratio of two capacities, by the intervals of both.
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
    let interval = cell.ratio.map(|ratio| ratio.interval);
    Comparison {
        baseline: cell.pair.base.case.tag(),
        other: cell.pair.other.case.tag(),
        metric: cell.metric.column().to_owned(),
        baseline_value: cell.metric.of_case(cell.pair.base),
        other_value: cell.metric.of_case(cell.pair.other),
        ratio: interval.map(|interval| rounded(interval.value)),
        ratio_low: interval.map(|interval| rounded(interval.low)),
        ratio_high: interval.map(|interval| rounded(interval.high)),
        p: cell.ratio.map(|ratio| rounded(ratio.p)),
        p_holm: cell.corrected.map(rounded),
        verdict: cell.verdict.map_or("", |verdict| verdict.name()).to_owned(),
        blocks: cell.ratio.map(|ratio| ratio.blocks),
        interval: match cell.ratio {
            Some(_) if cell.pooled => "pooled",
            Some(_) => "blocks",
            None => "",
        }
        .to_owned(),
    }
}

/// The comparison of two capacities.
fn searched(cell: &capacity::Compared<'_>) -> Comparison {
    // the other's over the baseline's, as everywhere
    let rates = cell.time.map(|time| {
        let Interval { value, low, high } = time.interval;
        Interval { value: 1.0 / value, low: 1.0 / high, high: 1.0 / low }
    });
    Comparison {
        baseline: cell.pair.base.case.tag(),
        other: cell.pair.other.case.tag(),
        metric: "capacity_per_s".to_owned(),
        baseline_value: cell.pair.base.capacity_per_s,
        other_value: cell.pair.other.capacity_per_s,
        ratio: rates.map(|rates| rounded(rates.value)),
        ratio_low: rates.map(|rates| rounded(rates.low)),
        ratio_high: rates.map(|rates| rounded(rates.high)),
        p: cell.time.map(|time| rounded(time.p)),
        p_holm: cell.corrected.map(rounded),
        verdict: cell.verdict.map_or("", |verdict| verdict.name()).to_owned(),
        blocks: cell.time.map(|time| time.blocks),
        interval: if rates.is_some() { "searches" } else { "" }.to_owned(),
    }
}

/// The file's text.
///
/// # Errors
/// A row cannot be written as CSV.
pub fn text(run: &Run) -> Result<String> {
    Ok(String::from_utf8(lines(&rows(run), true)?)?)
}
