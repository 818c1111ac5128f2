//! What became of the requests of each stage of a load that changes. Must not know how tables are drawn.

use super::layout::Layout;
use super::run::Run;
use super::table::Table;
use super::words::number_if_any;
use crate::record::{Record, StageRecord};

/// A row a case and stage; `None` if no load had stages, or too few for a table to say more than the case's own row.
pub fn table(run: &Run) -> Option<Table> {
    if run.stages.iter().all(|stage| stage.stage == 0) {
        return None;
    }
    let layout = Layout::of_all(run, &run.records);
    let mut table = Table::default();
    layout.columns(&mut table);
    table.words("Stage");
    let numbers = [
        "Requests/s Asked For",
        "Requests/s",
        "Errors",
        "Response Mean (ms)",
        "P50 (ms)",
        "P95 (ms)",
        "P99 (ms)",
        "Max (ms)",
    ];
    numbers.into_iter().for_each(|heading| table.numbers(heading));
    for record in &run.records {
        for stage in of(run, record) {
            let mut cells = layout.cells(record);
            cells.push(named(stage).into());
            cells.push(asked(stage).into());
            cells.push(number_if_any(stage.requests_per_s).into());
            cells.push(stage.errors.to_string().into());
            for value in [stage.mean_ms, stage.p50_ms, stage.p95_ms, stage.p99_ms, stage.max_ms] {
                cells.push(number_if_any(value).into());
            }
            table.row(cells);
        }
    }
    Some(table)
}

fn of<'a>(run: &'a Run, record: &'a Record) -> impl Iterator<Item = &'a StageRecord> {
    run.stages.iter().filter(|stage| stage.case == record.case)
}

/// `2`, `2: peak`: people count from one.
fn named(stage: &StageRecord) -> String {
    let number = stage.stage + 1;
    if stage.stage_name.is_empty() {
        number.to_string()
    } else {
        format!("{number}: {}", stage.stage_name)
    }
}

/// `200`, `0 to 200`.
fn asked(stage: &StageRecord) -> String {
    match stage.rate_from == stage.rate_to {
        true => stage.rate_to.to_string(),
        false => format!("{} to {}", stage.rate_from, stage.rate_to),
    }
}
