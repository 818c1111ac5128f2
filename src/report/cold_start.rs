//! The cold starts of a run's cases. Must not know how tables are drawn.

use super::layout::Layout;
use super::run::Run;
use super::table::Table;
use super::words::{NOTHING, counted, format_ms};
use crate::record::{ColdStartRecord, Record};
use crate::statistics;

/// What the table holds; `None` if there was none.
pub fn heading(run: &Run) -> Option<String> {
    let most = run.records.iter().filter_map(|record| record.cold_starts).max()?;
    let words = "after the model was unloaded and loaded again, one request after the other";
    Some(format!("Cold starts, {words}: median of {most} (smallest to largest)."))
}

/// A row a case; `None` if there was no cold start.
pub fn table(run: &Run) -> Option<Table> {
    heading(run)?;
    let started: Vec<&Record> = started(run).collect();
    let layout = Layout::of_all(run, started.iter().copied());
    let mut table = Table::default();
    layout.columns(&mut table);
    for heading in ["Loaded in (ms)", "First Request (ms)", "Steady after (ms)", "Beyond the Steady Mean, in All (ms)"]
    {
        table.numbers(heading);
    }
    let any_failed = run.cold_starts.iter().any(|start| start.errors > 0);
    if any_failed {
        table.numbers("Errors");
    }
    for record in started {
        let mut cells = layout.cells(record);
        cells.extend(numbers(run, record).map(Into::into));
        if any_failed {
            cells.push(errors(run, record).to_string().into());
        }
        table.row(cells);
    }
    Some(table)
}

/// Each case in words.
pub fn said(run: &Run) -> Vec<String> {
    let of_case = |record: &Record| {
        let [load, first, after, beyond] = numbers(run, record);
        let case = record.case.phrase();
        let errors = match errors(run, record) {
            0 => String::new(),
            count => format!(", {}", counted(count, "error")),
        };
        format!(
            "{case}: loaded in {load} ms, first request {first} ms, steady after {after} ms, {beyond} ms beyond the steady mean{errors}"
        )
    };
    started(run).map(of_case).collect()
}

/// The cases whose cold starts were measured.
fn started(run: &Run) -> impl Iterator<Item = &Record> {
    run.records.iter().filter(|record| record.cold_starts.is_some())
}

/// The cold starts of a case.
fn of<'a>(run: &'a Run, record: &'a Record) -> impl Iterator<Item = &'a ColdStartRecord> {
    run.cold_starts.iter().filter(|start| start.case == record.case)
}

fn errors(run: &Run, record: &Record) -> u64 {
    of(run, record).map(|start| start.errors).sum()
}

/// Medians and ranges; and of how many cold starts, if some have no value because latencies were not steady in time.
fn numbers(run: &Run, record: &Record) -> [String; 4] {
    let all = of(run, record).count();
    let columns: [fn(&ColdStartRecord) -> Option<f64>; 4] = [
        |start| Some(start.load_ms),
        |start| Some(start.first_ms),
        |start| start.steady_after_ms,
        |start| start.beyond_ms,
    ];
    columns.map(|column| {
        let values: Vec<f64> = of(run, record).filter_map(column).collect();
        let part = if values.len() < all { format!(", {} of {all}", values.len()) } else { String::new() };
        let (least, most) =
            (values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max));
        match (statistics::median(values), least < most) {
            (None, _) => NOTHING.to_owned(),
            (Some(median), false) => format!("{}{part}", format_ms(median)),
            (Some(median), true) => {
                format!("{} ({} to {}{part})", format_ms(median), format_ms(least), format_ms(most))
            }
        }
    })
}
