//! The end of a run as people read it: the answers, a table that fits the terminal, doubts, the files, what to do next.

use std::path::Path;

use anyhow::Result;
use console::{Style as Paint, Term};

use super::page::{Page, ROWS_MAX, drawn};
use super::{print, prose, write};
use crate::record::{RECORDS, Record, Status};
use crate::report::answers::{Line, Said};
use crate::report::html::REPORT;
use crate::report::mlperf;
use crate::report::notes::{About, notes};
use crate::report::run::Run;
use crate::report::said::{measure, said};
use crate::report::tables::{self, Style};
use crate::report::thresholds;
use crate::report::verdicts::Compared;
use crate::report::words::Markup;
use crate::report::{capacity, cold_start, forecast, markdown};
use crate::text;

/// Where the rest of a table is.
const IN_FILES: &str = "in the files";

/// The end of a run, as [`report`] prints it.
///
/// # Errors
/// The run's files cannot be read, or as [`print()`].
pub fn run(path: &Path) -> Result<()> {
    let run = Run::open(path)?;
    if !Term::stdout().is_term() {
        print("\n")?;
    }
    report(&[run], Style::default())
}

/// Runs with their answers and tables: drawn on a terminal, otherwise as Markdown.
///
/// # Errors
/// As [`print()`].
pub fn report(runs: &[Run], style: Style) -> Result<()> {
    let page = Page::of_terminal();
    match Term::stdout().is_term() {
        true => runs.iter().try_for_each(|run| write(&format!("\n{}", section(run, style, page)))),
        false => {
            let sections: Vec<String> = runs.iter().map(|run| markdown::section(run, style)).collect();
            print(&sections.join("\n"))
        }
    }
}

/// A document of this program: drawn on a terminal, otherwise as it is.
///
/// # Errors
/// As [`print()`].
pub fn document(markdown: &str) -> Result<()> {
    match Term::stdout().is_term() {
        true => write(&format!("\n{}\n", prose::lines(markdown, Page::of_terminal()).join("\n"))),
        false => print(markdown),
    }
}

/// A run's answers, tables and doubts.
fn section(run: &Run, style: Style, page: Page) -> String {
    let mut lines = vec![page.paint(Paint::new().bold(), &text::name(&run.manifest.title))];
    if let Some(part) = run.part() {
        lines.extend(page.filled("", &format!("Not a whole run: {part}.")));
    }
    let tables = tables::of(run);
    let cells = tables::cells(&tables);
    let notes = notes(run, &cells, Markup::Plain);
    let about = |kind: About| notes.iter().filter(move |note| note.about == kind);

    for note in about(About::Method) {
        lines.extend(page.filled("", &note.text));
    }
    lines.push(String::new());
    lines.extend(answered(run, &cells, page));
    lines.extend(kept(run, page));
    if capacity::is_searched(run) {
        lines.extend(drawn(&capacity::table(run), page, IN_FILES));
        lines.push(String::new());
    }
    lines.extend(by_rules(run, page));
    lines.extend(cold_starts(run, page));
    for rows in &tables {
        if tables.len() > 1 || rows.is_open() {
            lines.push(rows.heading());
        }
        for table in [Some(rows.latencies(style)), rows.goodput()].into_iter().flatten() {
            lines.extend(drawn(&table, page, IN_FILES));
            lines.push(String::new());
        }
    }
    if let Some(parts) = slowest(run) {
        lines.extend(page.filled("", &parts));
        lines.push(String::new());
    }
    for (kind, paint) in [(About::Doubt, Paint::new().yellow()), (About::Failure, Paint::new().red())] {
        for note in about(kind) {
            let filled = page.filled("! ", &note.text);
            lines.extend(filled.into_iter().map(|line| page.paint(paint.clone(), &line)));
        }
    }
    for note in about(About::Reading) {
        lines.extend(page.filled("  ", &note.text));
    }
    lines.push(String::new());
    let folder = run.path.display().to_string();
    let files = if run.path.join(REPORT).exists() {
        format!("{REPORT}, {RECORDS}")
    } else {
        RECORDS.to_owned()
    };
    lines.push(format!("files   {files} in {folder}"));
    lines.push(format!("again   runner report {folder}"));
    if run.part().is_some() && !run.manifest.file.is_empty() {
        lines.push(format!("go on   runner --resume {folder}"));
    }
    lines.push("next    runner report --splice README.md   puts the tables into a document".to_owned());
    if let Some((precision, seconds)) = forecast::proposal(run, &cells) {
        let (percent, time) = (100.0 * precision, forecast::roughly(seconds));
        let proposed = format!("--precision {percent}%   every ratio within {percent} %, in about {time} instead");
        lines.extend(page.filled("        ", &proposed));
    }
    lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The answers, with their places in one column.
fn answered(run: &Run, cells: &[Compared<'_>], page: Page) -> Vec<String> {
    let mut lines = Vec::new();
    let Said { answers, fastest } = said(run, cells);
    for answers in answers {
        lines.extend(page.filled("", &format!("{}, {}", text::message(&answers.question), measure(run))));
        let said = answers.lines();
        let longest = said.iter().map(|line| textwrap::core::display_width(&line.place)).max().unwrap_or(0);
        for Line { place, words, .. } in said {
            let place = text::message(&place);
            let first = if longest == 0 { "  ".to_owned() } else { format!("  {place:longest$}  ") };
            lines.extend(match first.len() < page.width / 2 {
                true => page.filled(&first, &words),
                false => page.filled("  ", &format!("{place}: {words}")),
            });
        }
        lines.push(String::new());
    }
    for (place, value) in &fastest {
        let place = if place.is_empty() { String::new() } else { format!(" of {}", text::message(place)) };
        lines.extend(page.filled("  ", &format!("fastest{place}: {}", text::message(value))));
    }
    if !fastest.is_empty() {
        lines.push(String::new());
    }
    lines
}

/// The scenario's thresholds: how many hold, and which do not.
fn kept(run: &Run, page: Page) -> Vec<String> {
    let judged = thresholds::judged(run);
    let Some(summary) = thresholds::summary(run, &judged) else { return Vec::new() };
    let paint = if thresholds::is_broken(&judged) { Paint::new().red() } else { Paint::new() };
    let mut lines: Vec<String> = page
        .filled("", &format!("{summary}."))
        .iter()
        .map(|line| page.paint(paint.clone(), line))
        .collect();
    // a table would be wider than many terminals
    let table = thresholds::table(&judged).unwrap_or_default();
    for row in table.rows().iter().take(ROWS_MAX) {
        let [case, threshold, found, kept] = [0, 1, 2, 3].map(|column| text::name(&row[column].text));
        lines.extend(page.filled("  ", &format!("{kept}: {case}: {threshold}, found {found}")));
    }
    lines.extend(beyond(table.rows().len()));
    lines.push(String::new());
    lines
}

/// How many of all lines are more than are shown, if any.
fn beyond(all: usize) -> Option<String> {
    let more = all.checked_sub(ROWS_MAX).filter(|more| *more > 0)?;
    Some(format!("  {more} more are {IN_FILES}"))
}

/// The cases by MLPerf's rules, if the load follows them.
fn by_rules(run: &Run, page: Page) -> Vec<String> {
    let Some(heading) = mlperf::heading(run) else { return Vec::new() };
    let mut lines = page.filled("", &heading);
    let said = mlperf::said(run);
    for case in said.iter().take(ROWS_MAX) {
        let paint = if case.is_good { Paint::new() } else { Paint::new().red() };
        let words = page.filled("  ", &text::message(&case.words));
        lines.extend(words.iter().map(|line| page.paint(paint.clone(), line)));
    }
    lines.extend(beyond(said.len()));
    lines.push(String::new());
    lines
}

/// The cold starts, if there were any.
fn cold_starts(run: &Run, page: Page) -> Vec<String> {
    let Some(heading) = cold_start::heading(run) else { return Vec::new() };
    let mut lines = page.filled("", &heading);
    let said = cold_start::said(run);
    for words in said.iter().take(ROWS_MAX) {
        lines.extend(page.filled("  ", &text::message(words)));
    }
    lines.extend(beyond(said.len()));
    lines.push(String::new());
    lines
}

/// Where the time of the slowest case goes.
fn slowest(run: &Run) -> Option<String> {
    let measured = run.records.iter().filter(|row| row.status == Status::Ok && row.network_ms.is_some());
    let row = measured.max_by(|a, b| a.mean_ms.unwrap_or(0.0).total_cmp(&b.mean_ms.unwrap_or(0.0)))?;
    let mean = row.mean_ms.filter(|mean| *mean > 0.0)?;
    let Record {
        queue_ms, compute_input_ms, compute_infer_ms, compute_output_ms, network_ms, client_ms, ..
    } = row;
    let compute = [compute_input_ms, compute_infer_ms, compute_output_ms]
        .into_iter()
        .flatten()
        .sum::<f64>();
    let parts =
        [("model", Some(compute)), ("queue", *queue_ms), ("network, front end", *network_ms), ("client", *client_ms)];
    let share = |(name, part): (&str, Option<f64>)| Some(format!("{name} {:.1} %", 100.0 * part? / mean));
    let parts: Vec<String> = parts.into_iter().filter_map(share).collect();
    Some(format!("The slowest case's time ({}): {}.", row.case.phrase(), parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::record::Asserted;
    use crate::threshold::Threshold;

    /// The committed run, with what a reader should be warned of: a failed case, a flag, a broken threshold.
    fn run() -> Run {
        let mut run = Run::open(Path::new("results/scrfd/2026-11-25T113021Z")).unwrap();
        let last = run.records.len() - 1;
        let failed = &mut run.records[last];
        (failed.status, failed.mean_ms, failed.p95_ms) = (Status::Failed, None, None);
        "the worker ended by signal 9".clone_into(&mut failed.reason);
        let that = Threshold::read("mean_ms < 1000").unwrap();
        run.manifest.asserts = vec![Asserted { that, cases: None }];
        run
    }

    fn shown(width: usize, is_coloured: bool) -> String {
        section(&run(), Style::default(), Page { width, is_coloured })
    }

    #[test]
    fn the_end_of_a_run_is_as_it_was_read_last() {
        for (name, width) in [("80", 80), ("120", 120)] {
            let path = format!("tests/terminal/end_{name}.txt");
            let shown = shown(width, false);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                fs::write(&path, &shown).unwrap();
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), shown, "{path}: UPDATE_GOLDEN=1 writes it");
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_colours_change_no_words() {
        // names of files and commands are not broken
        let is_path = |line: &str| line.contains("results/") || line.contains("runner report");
        for width in [40, 60, 80, 120] {
            let plain = shown(width, false);
            for line in plain.lines().filter(|line| !is_path(line)) {
                assert!(console::measure_text_width(line) <= width, "{width}: {line}");
            }
            let coloured = shown(width, true);
            assert!(coloured.contains("\u{1b}[1m") && coloured.contains("\u{1b}[31m"), "{coloured}");
            assert_eq!(console::strip_ansi_codes(&coloured), plain);
        }
    }
}
