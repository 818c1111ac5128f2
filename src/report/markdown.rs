//! Tables in Markdown, a function of a run's data alone.

use std::fmt::Write;

use super::run::Run;
use super::tables::{Rows, Style};
use super::words::escaped;
use super::{layout, notes, verdicts};

/// A run's section: heading, tables, how it was measured, and what is wrong with it.
pub fn section(run: &Run, style: Style) -> String {
    let mut out = format!("### {}\n\n", escaped(&run.manifest.title));
    if let Some(part) = run.part() {
        let _ = writeln!(out, "**Not a whole run:** {part}.\n");
    }
    let tables = layout::tables(run);
    let mut judged = Vec::new();
    for rows in &tables {
        let cells = verdicts::cells(run, rows);
        let is_open = rows.iter().any(|record| record.case.rate.is_some());
        if tables.len() > 1 || is_open {
            let _ = writeln!(out, "{}:\n", layout::heading(run, rows));
        }
        let content = Rows { run, records: rows, cells: &cells };
        let latencies = if is_open { content.open(style) } else { content.closed(style) };
        for table in [Some(latencies), content.parts()].into_iter().flatten() {
            out.push_str(&table.markdown());
            out.push('\n');
        }
        judged.extend(cells);
    }
    out.push_str(&notes::notes(run, &judged));
    out
}
