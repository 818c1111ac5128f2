//! Tables in Markdown, a function of a run's data alone.

use std::fmt::Write;

use super::run::Run;
use super::tables::{Rows, Style};
use super::verdicts::Compared;
use super::words::{Markup, escaped};
use super::{answers, layout, notes, verdicts};

/// A run's section: heading, answers, tables, how it was measured, and what is wrong with it.
pub fn section(run: &Run, style: Style) -> String {
    let mut out = format!("### {}\n\n", escaped(&run.manifest.title));
    if let Some(part) = run.part() {
        let _ = writeln!(out, "**Not a whole run:** {part}.\n");
    }
    let tables = layout::tables(run);
    let cells: Vec<Vec<Compared<'_>>> = tables.iter().map(|rows| verdicts::cells(run, rows)).collect();
    let all: Vec<Compared<'_>> = cells.iter().flatten().copied().collect();
    said(&mut out, run, &all);
    for (rows, cells) in tables.iter().zip(&cells) {
        let is_open = rows.iter().any(|record| record.case.rate.is_some());
        if tables.len() > 1 || is_open {
            let _ = writeln!(out, "{}:\n", layout::heading(run, rows));
        }
        let content = Rows { run, records: rows, cells };
        let latencies = if is_open { content.open(style) } else { content.closed(style) };
        for table in [Some(latencies), content.comparisons()].into_iter().flatten() {
            let _ = writeln!(out, "{}", table.markdown());
        }
        if let Some(parts) = content.parts() {
            let _ =
                writeln!(out, "<details><summary>Where the time goes</summary>\n\n{}\n</details>\n", parts.markdown());
        }
    }
    for note in notes::notes(run, &all, Markup::Markdown) {
        let _ = writeln!(out, "- {}", note.text);
    }
    out
}

/// The answers, a line each.
fn said(out: &mut String, run: &Run, cells: &[Compared<'_>]) {
    for answers in answers::answers(run, cells) {
        let _ = writeln!(out, "**{}**, {}:\n", escaped(&answers.question), answers::measure(run));
        for (place, words) in answers.lines() {
            let _ = match place.is_empty() {
                true => writeln!(out, "- {words}."),
                false => writeln!(out, "- {}: {words}.", escaped(&place)),
            };
        }
        out.push('\n');
    }
    let fastest = answers::fastest(run, cells);
    for (place, value) in &fastest {
        let place = if place.is_empty() { String::new() } else { format!(" of {}", escaped(place)) };
        let _ = writeln!(out, "- Fastest{place}: {}.", escaped(value));
    }
    if !fastest.is_empty() {
        out.push('\n');
    }
}
