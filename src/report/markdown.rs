//! Tables in Markdown, a function of a run's data alone.

use std::fmt::Write;

use super::answers::{Line, Said};
use super::run::Run;
use super::said::{measure, said};
use super::tables::{self, Style};
use super::verdicts::Compared;
use super::words::{Markup, escaped};
use super::{capacity, cold_start, hosts, mlperf, notes, stages, thresholds};

/// A run's section: heading, answers, tables, how it was measured, and what is wrong with it.
pub fn section(run: &Run, style: Style) -> String {
    let mut out = format!("### {}\n\n", escaped(&run.manifest.title));
    if let Some(part) = run.part() {
        let _ = writeln!(out, "**Not a whole run:** {part}.\n");
    }
    let tables = tables::of(run);
    let cells = tables::cells(&tables);
    say(&mut out, run, &cells);
    kept(&mut out, run);
    if capacity::is_searched(run) {
        let _ = writeln!(out, "{}", capacity::table(run).markdown());
    }
    if let Some((heading, table)) = mlperf::heading(run).zip(mlperf::table(run)) {
        let _ = writeln!(out, "{heading}\n\n{}", table.markdown());
    }
    if let Some((heading, table)) = cold_start::heading(run).zip(cold_start::table(run)) {
        let _ = writeln!(out, "{heading}\n\n{}", table.markdown());
    }
    for rows in &tables {
        if tables.len() > 1 || rows.is_open() {
            let _ = writeln!(out, "{}:\n", rows.heading());
        }
        for table in [Some(rows.latencies(style)), rows.comparisons(), rows.goodput()].into_iter().flatten() {
            let _ = writeln!(out, "{}", table.markdown());
        }
        if let Some(parts) = rows.parts() {
            let _ =
                writeln!(out, "<details><summary>Where the time goes</summary>\n\n{}\n</details>\n", parts.markdown());
        }
    }
    if let Some(stages) = stages::table(run) {
        let _ = writeln!(out, "Stages:\n\n{}", stages.markdown());
    }
    if let Some(hosts) = hosts::table(run) {
        let _ = writeln!(out, "<details><summary>The hosts</summary>\n\n{}\n</details>\n", hosts.markdown());
    }
    for note in notes::notes(run, &cells, Markup::Markdown) {
        let _ = writeln!(out, "- {}", note.text);
    }
    out
}

/// The scenario's thresholds: how many hold, and which do not.
fn kept(out: &mut String, run: &Run) {
    let judged = thresholds::judged(run);
    let Some(summary) = thresholds::summary(run, &judged) else { return };
    let _ = writeln!(out, "{summary}.\n");
    if let Some(table) = thresholds::table(&judged) {
        let _ = writeln!(out, "{}", table.markdown());
    }
}

/// The answers, a line each.
fn say(out: &mut String, run: &Run, cells: &[Compared<'_>]) {
    let Said { answers, fastest } = said(run, cells);
    for answers in answers {
        let _ = writeln!(out, "**{}**, {}:\n", escaped(&answers.question), measure(run));
        for Line { place, words, .. } in answers.lines() {
            let _ = match place.is_empty() {
                true => writeln!(out, "- {words}."),
                false => writeln!(out, "- {}: {words}.", escaped(&place)),
            };
        }
        out.push('\n');
    }
    for (place, value) in &fastest {
        let place = if place.is_empty() { String::new() } else { format!(" of {}", escaped(place)) };
        let _ = writeln!(out, "- Fastest{place}: {}.", escaped(value));
    }
    if !fastest.is_empty() {
        out.push('\n');
    }
}
