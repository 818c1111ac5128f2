//! The cold starts of a run's cases. Must not know how tables are drawn.

use super::layout::Layout;
use super::run::Run;
use super::table::Table;
use super::words::format_ms;
use crate::record::{ColdStartRecord, Record};
use crate::statistics;

/// Shown in cells without a value.
const NOTHING: &str = "–";

/// What the table holds; `None` if there was none.
pub fn heading(run: &Run) -> Option<String> {
    let most = run.records.iter().filter_map(|record| record.cold_starts).max()?;
    let words = "after the model was unloaded and loaded again, one request after the other";
    Some(format!("Cold starts, {words}: median of {most} (smallest to largest)."))
}

/// A row a case; `None` if there was no cold start.
pub fn table(run: &Run) -> Option<Table> {
    heading(run)?;
    let layout = Layout::of(run, true);
    let mut table = Table::default();
    layout.columns(&mut table);
    for heading in ["Loaded in (ms)", "First Request (ms)", "Steady after (ms)", "Beyond the Steady Mean, in All (ms)"]
    {
        table.numbers(heading);
    }
    for record in run.records.iter().filter(|record| record.cold_starts.is_some()) {
        let mut cells = layout.cells(record);
        cells.extend(numbers(run, record).map(Into::into));
        table.row(cells);
    }
    Some(table)
}

/// Each case in words.
pub fn said(run: &Run) -> Vec<String> {
    let of_case = |record: &Record| {
        let [load, first, after, beyond] = numbers(run, record);
        let case = record.case.phrase();
        format!(
            "{case}: loaded in {load} ms, first request {first} ms, steady after {after} ms, {beyond} ms beyond the steady mean"
        )
    };
    let started = run.records.iter().filter(|record| record.cold_starts.is_some());
    started.map(of_case).collect()
}

fn numbers(run: &Run, record: &Record) -> [String; 4] {
    let of: [fn(&ColdStartRecord) -> Option<f64>; 4] = [
        |start| Some(start.load_ms),
        |start| Some(start.first_ms),
        |start| start.steady_after_ms,
        |start| start.beyond_ms,
    ];
    of.map(|of| {
        let values: Vec<f64> = run
            .cold_starts
            .iter()
            .filter(|start| start.case == record.case)
            .filter_map(of)
            .collect();
        let (least, most) =
            (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max));
        match (statistics::median(values), least < most) {
            (None, _) => NOTHING.to_owned(),
            (Some(median), false) => format_ms(median),
            (Some(median), true) => format!("{} ({} to {})", format_ms(median), format_ms(least), format_ms(most)),
        }
    })
}
