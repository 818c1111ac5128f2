//! Chooses the axes for the rows of a run's tables: those that vary; an axis with one value is named once, elsewhere.
//! The compared axis comes last, so compared numbers are in a column. Must not know the other cells.

use super::run::Run;
use super::table::{Cell, Table};
use super::words::distinct;
use crate::matrix::{self, AxisId, Limit, Point, Value};
use crate::record::Record;

/// Axes whose values have a place in every table: they begin its rows, or tell its columns apart.
const PLACED: [AxisId; 4] = [AxisId::Protocol, AxisId::Arm, AxisId::BatchSize, AxisId::Processes];
/// Axes whose values tell tables apart.
const OF_TABLE: [AxisId; 3] = [AxisId::Rate, AxisId::Concurrency, AxisId::Connections];

/// The rows of each table of a run. The rows of a table share rate, requests in flight and connections, unless these
/// are compared.
pub fn tables(run: &Run) -> Vec<Vec<&Record>> {
    let of_table = |record: &Record| {
        let values = OF_TABLE.iter().filter(|id| **id != run.compared).map(|id| record.case.chosen(*id));
        values.collect::<Vec<_>>()
    };
    let keys = distinct(&run.records, of_table);
    let rows = |key: &Vec<_>| run.records.iter().filter(|record| of_table(record) == *key).collect();
    keys.iter().map(rows).collect()
}

/// The values that the rows of a table share, for its heading.
pub fn heading(run: &Run, rows: &[&Record]) -> String {
    let Some(case) = rows.first().map(|record| &record.case) else { return String::new() };
    let words = if OF_TABLE.contains(&run.compared) {
        // a value that follows from the compared one differs within the table
        let others = OF_TABLE.iter().filter(|id| **id != run.compared && case.chosen(**id).is_some());
        let said = others.map(|id| match id {
            // of all processes together
            AxisId::Rate => (id.axis().phrase)(case),
            _ => format!("{} in each process", (id.axis().phrase)(case)),
        });
        said.collect::<Vec<_>>().join(", ")
    } else {
        format!("{} in each process", matrix::load(case.rate, case.concurrency, case.connections))
    };
    match words.split_at_checked(1) {
        Some((first, rest)) => format!("{}{rest}", first.to_uppercase()),
        None => "One connection for each request in flight".to_owned(),
    }
}

/// The axes whose values begin the rows of tables.
pub struct Layout {
    axes: Vec<AxisId>,
}

impl Layout {
    /// Of one of the [`tables`] of a run; `processes_in_rows` if rows, not columns, distinguish the numbers of processes.
    pub fn of(run: &Run, processes_in_rows: bool) -> Self {
        let compared = run.compared;
        let is_shown = |id: AxisId| varies(id, &run.records) && (id == compared || !OF_TABLE.contains(&id));
        Layout::showing(is_shown, processes_in_rows, compared)
    }

    /// Of the only table that has these rows.
    pub fn of_all<'a>(run: &Run, rows: impl IntoIterator<Item = &'a Record> + Clone) -> Self {
        Layout::showing(|id| varies(id, rows.clone()), true, run.compared)
    }

    fn showing(is_shown: impl Fn(AxisId) -> bool, processes_in_rows: bool, compared: AxisId) -> Self {
        let others = AxisId::ALL.iter().copied().filter(|id| !PLACED.contains(id) && is_shown(*id));
        let processes = processes_in_rows.then_some(AxisId::Processes);
        let (last, between): (Vec<AxisId>, Vec<AxisId>) = others.partition(|id| *id == compared);
        let axes = [AxisId::BatchSize]
            .into_iter()
            .chain(processes)
            .chain(between)
            .chain([AxisId::Protocol])
            .chain(last);
        Layout { axes: axes.collect() }
    }

    /// Adds their columns to a table.
    pub fn columns(&self, table: &mut Table) {
        columns(&self.axes, table);
    }

    /// The first cells of a case's row.
    pub fn cells(&self, record: &Record) -> Vec<Cell> {
        cells(&self.axes, record)
    }
}

fn varies<'a>(id: AxisId, rows: impl IntoIterator<Item = &'a Record>) -> bool {
    distinct(rows, |record| record.case.chosen(id)).len() > 1
}

/// The axes on which the cases of a run differ, without the compared one.
pub fn varying(run: &Run) -> Vec<AxisId> {
    AxisId::ALL
        .iter()
        .copied()
        .filter(|id| *id != run.compared && varies(*id, &run.records))
        .collect()
}

/// A case's values on some axes, in words: `batch 8, 3 processes`.
pub fn place(axes: &[AxisId], record: &Record) -> String {
    let values: Vec<String> = axes.iter().map(|id| (id.axis().phrase)(&record.case)).collect();
    values.join(", ")
}

/// As [`place`], and how large a request is where shapes vary: `shape 2500 (10 kB)`.
pub fn sized_place(axes: &[AxisId], record: &Record) -> String {
    let value = |id: &AxisId| {
        let words = (id.axis().phrase)(&record.case);
        match (id, record.bytes_sent.checked_div(record.requests)) {
            (AxisId::Shapes, Some(bytes)) if bytes > 0 => format!("{words} ({})", in_bytes(bytes as f64)),
            _ => words,
        }
    };
    axes.iter().map(value).collect::<Vec<_>>().join(", ")
}

/// A number of bytes, to two digits or all before the point.
fn in_bytes(bytes: f64) -> String {
    let of = |value: f64, unit: &str| match value {
        small if small < 9.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    };
    match bytes {
        small if small < 999.5 => format!("{bytes:.0} B"),
        medium if medium < 999_500.0 => of(bytes / 1e3, "kB"),
        _ => of(bytes / 1e6, "MB"),
    }
}

/// A case in the words that tell it apart from the others of its run: `HTTP, batch 8, 3 processes`.
pub fn in_short(records: &[Record]) -> impl Fn(&Record) -> String + use<> {
    let axes: Vec<AxisId> = AxisId::ALL.iter().copied().filter(|id| varies(*id, records)).collect();
    move |record| if axes.is_empty() { record.case.phrase() } else { place(&axes, record) }
}

/// Whether the values of an axis are numbers.
pub fn is_number(id: AxisId) -> bool {
    matches!(id.axis().limit, Limit::Whole(..) | Limit::Number(..))
}

/// Adds a column for each axis to a table.
pub fn columns(axes: &[AxisId], table: &mut Table) {
    for id in axes {
        match is_number(*id) {
            true => table.numbers(id.axis().heading),
            false => table.words(id.axis().heading),
        }
    }
}

/// A case's values on some axes.
pub fn cells(axes: &[AxisId], record: &Record) -> Vec<Cell> {
    axes.iter().map(|id| cell(*id, &record.case).into()).collect()
}

fn cell(id: AxisId, case: &Point) -> String {
    match (id, case.get(id)) {
        // with two equal cases, the arm follows the protocol
        (AxisId::Protocol, _) => {
            let arm = (AxisId::Arm.axis().phrase)(case);
            format!("{} {arm}", (id.axis().phrase)(case)).trim_end().to_owned()
        }
        (_, Some(value @ (Value::Whole(_) | Value::Number(_) | Value::Shapes(_)))) => value.to_string(),
        _ => (id.axis().phrase)(case),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_large_as_its_bytes() {
        let all = [12.0, 999.4, 999.5, 1234.0, 10_240.0, 999_499.0, 1_000_300.0, 9_960_000.0, 39_321_858.0];
        let words = ["12 B", "999 B", "1.0 kB", "1.2 kB", "10 kB", "999 kB", "1.0 MB", "10 MB", "39 MB"];
        assert_eq!(all.map(in_bytes), words);
    }
}
