//! `comparisons.csv`: what is said of every compared number, from the same cells as the tables.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use super::Run;
use super::judge::{self, Cell};
use super::markdown::{distinct, load_of};
use crate::file;
use crate::record::{COMPARISONS, Record, rounded};

/// One row of the file: a number of one case beside that of another.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Comparison {
    /// The case that the other one is held against, as in the histograms' tags.
    pub baseline: String,
    pub other: String,
    /// The column of `records.csv` that is compared.
    pub metric: &'static str,
    pub baseline_value: Option<f64>,
    pub other_value: Option<f64>,
    /// The other's over the baseline's, and the ends of its 95 % interval.
    pub ratio: Option<f64>,
    pub ratio_low: Option<f64>,
    pub ratio_high: Option<f64>,
    /// By the sign-flip test, and after Holm's correction over the table.
    pub p: Option<f64>,
    pub p_holm: Option<f64>,
    /// What is said of the other's number; empty where nothing is.
    pub verdict: &'static str,
    /// Pairs of blocks.
    pub blocks: Option<usize>,
    /// `pooled`: the ratio of the two values, by the paired jackknife. `blocks`: the mean of the blocks' ratios.
    pub interval: &'static str,
}

/// All rows of a run, table by table.
pub fn rows(run: &Run) -> Vec<Comparison> {
    let table = |load| {
        let rows: Vec<&Record> = run.records.iter().filter(|record| load_of(record) == load).collect();
        judge::cells(run, &rows).iter().map(row).collect::<Vec<_>>()
    };
    distinct(&run.records, load_of).into_iter().flat_map(table).collect()
}

fn row(cell: &Cell<'_>) -> Comparison {
    let interval = cell.ratio.map(|ratio| ratio.interval);
    Comparison {
        baseline: cell.pair.base.case_name(),
        other: cell.pair.other.case_name(),
        metric: cell.metric.column(),
        baseline_value: cell.metric.of_case(cell.pair.base),
        other_value: cell.metric.of_case(cell.pair.other),
        ratio: interval.map(|interval| rounded(interval.value)),
        ratio_low: interval.map(|interval| rounded(interval.low)),
        ratio_high: interval.map(|interval| rounded(interval.high)),
        p: cell.ratio.map(|ratio| rounded(ratio.p)),
        p_holm: cell.corrected.map(rounded),
        verdict: cell.verdict.map_or("", |verdict| verdict.name()),
        blocks: cell.ratio.map(|ratio| ratio.blocks),
        interval: match cell.ratio {
            Some(_) if cell.pooled => "pooled",
            Some(_) => "blocks",
            None => "",
        },
    }
}

/// The file's text.
///
/// # Errors
/// A row cannot be written as CSV.
pub fn text(run: &Run) -> Result<String> {
    let rows = rows(run);
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in &rows {
        writer.serialize(row)?;
    }
    if rows.is_empty() {
        // the names of the columns follow from a row
        writer.serialize(Comparison::default())?;
    }
    let text = String::from_utf8(writer.into_inner()?)?;
    Ok(text.split_inclusive('\n').take(rows.len() + 1).collect())
}

/// Writes the file into a run's folder.
///
/// # Errors
/// The run cannot be read, or the file cannot be written.
pub fn write(path: &Path) -> Result<()> {
    let run = Run::open(path)?;
    file::replace(&path.join(COMPARISONS), text(&run)?.as_bytes())
}
