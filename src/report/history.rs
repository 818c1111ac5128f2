//! The runs of a scenario over time: a number of each case in every run, and where it changed beyond chance. The unit of evidence is
//! the run, so that what differs between runs on its own is no change.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::capacity;
use super::choose;
use super::gate::Metric;
use super::json::pretty;
use super::layout;
use super::table::Table;
use super::words::{NOTHING, counted, escaped, format_ms, number_if_any};
use crate::record::{self, Manifest, RECORDS, Record, Searched, Status, Utc};
use crate::statistics::{ALPHA, DELTA, SERIES_MIN, change_points};

/// Most runs that the table shows; the newest.
const RUNS_SHOWN: usize = 6;
/// Most runs of a series, the newest: changes are looked for in time that grows with their square.
const RUNS_MAX: usize = 200;
/// Most runs that are left out by name.
const LEFT_OUT_SHOWN: usize = 5;

/// A scenario's runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// The scenario's name, and its title in the newest run.
    pub scenario: String,
    #[allow(missing_docs)]
    pub title: String,
    /// The number that is followed.
    pub metric: Metric,
    /// What was searched, where that is the capacity: `rate with p99_ms <= 50`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched: Option<String>,
    /// The runs, oldest first.
    pub runs: Vec<RunAt>,
    /// Runs that are not of the series, and why.
    pub left_out: Vec<String>,
    /// The cases of the newest run.
    pub cases: Vec<Case>,
}

/// A run of the series.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct RunAt {
    pub path: PathBuf,
    pub started: Utc,
    pub server: String,
    pub weights: String,
    /// The version of this program, and its commit.
    pub program: String,
}

/// A case over the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Case {
    /// Its tag.
    pub case: String,
    /// It in words.
    pub words: String,
    /// The number in each run, in milliseconds or requests a second; `None` where it was not measured.
    pub values: Vec<Option<f64>>,
    /// Of a capacity the ends of its 95 % interval in each run; one is alone where the search found that it is at least or below that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<[Option<f64>; 2]>,
    /// Where it changed.
    pub shifts: Vec<Shift>,
}

/// A change beyond chance that lasted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shift {
    /// The start of the first run after it.
    pub since: Utc,
    /// Geometric means of the runs before it and from it on, up to the neighbouring changes.
    pub before: f64,
    #[allow(missing_docs)]
    pub after: f64,
    /// `after` over `before`.
    pub ratio: f64,
    /// What else is new in that run.
    pub new: Vec<String>,
}

/// Reads the runs of a scenario. The number is the mean, or the capacity where that was searched, unless another one is given.
///
/// # Errors
/// There is no complete run; they have no such number; a file cannot be read.
pub fn history(results: &Path, scenario: &str, metric: Option<Metric>) -> Result<History> {
    let has_it = |manifest: &Manifest| metric.is_none_or(|metric| metric.check(manifest.capacity.is_some()).is_ok());
    let (mut found, left_out) = choose::alike(results, scenario, has_it)?;
    found.drain(..found.len().saturating_sub(RUNS_MAX));
    // runs that are alike all searched for the same
    let searched = found.last().and_then(|(_, manifest)| manifest.capacity.as_ref()).map(Searched::what);
    let metric = metric.unwrap_or(if searched.is_some() { Metric::Capacity } else { Metric::Mean });
    metric.check(searched.is_some())?;
    let mut runs = Vec::new();
    let mut rows: Vec<HashMap<String, Record>> = Vec::new();
    let mut order: Vec<(String, String)> = Vec::new();
    for (path, manifest) in &found {
        let records: Vec<Record> = record::read(&path.join(RECORDS))?;
        let named = layout::in_short(&records);
        order = records.iter().map(|record| (record.case.tag(), named(record))).collect();
        rows.push(records.into_iter().map(|record| (record.case.tag(), record)).collect());
        runs.push(RunAt::new(path, manifest));
    }
    ensure!(!order.is_empty(), "the newest run of {scenario} has no cases");
    let alpha = ALPHA / order.len() as f64;
    let cases = order.iter().map(|(tag, words)| {
        let measured = || rows.iter().map(|rows| rows.get(tag).filter(|record| record.status == Status::Ok));
        let value = |record: Option<&Record>| metric.of_case(record?).filter(|value| *value > 0.0);
        let values: Vec<Option<f64>> = measured().map(value).collect();
        let ends = measured()
            .filter(|_| searched.is_some())
            .map(|record| record.map_or([None; 2], capacity::ends));
        let shifts = shifts(&values, &runs, alpha);
        Case { case: tag.clone(), words: words.clone(), values, ends: ends.collect(), shifts }
    });
    let cases = cases.collect();
    let title = found.last().map(|(_, manifest)| manifest.title.clone()).unwrap_or_default();
    Ok(History { scenario: scenario.to_owned(), title, metric, searched, runs, left_out, cases })
}

impl RunAt {
    fn new(path: &Path, manifest: &Manifest) -> Self {
        RunAt {
            path: path.to_owned(),
            started: manifest.started,
            server: format!("{} {}", manifest.server, manifest.server_version),
            weights: manifest.weights.clone(),
            program: format!("{} ({})", manifest.runner_version, manifest.git_revision),
        }
    }

    /// What is not as it was in the run before.
    fn new_since(&self, before: &RunAt) -> Vec<String> {
        [
            ("server", &before.server, &self.server),
            ("weights", &before.weights, &self.weights),
            ("program", &before.program, &self.program),
        ]
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| format!("{what} {old} → {new}"))
        .collect()
    }
}

/// The changes of a series, of those runs that have a value.
fn shifts(values: &[Option<f64>], runs: &[RunAt], alpha: f64) -> Vec<Shift> {
    let known: Vec<(usize, f64)> = values
        .iter()
        .enumerate()
        .filter_map(|(run, value)| Some((run, (*value)?.ln())))
        .collect();
    let logarithms: Vec<f64> = known.iter().map(|(_, value)| *value).collect();
    let places = change_points(&logarithms, alpha);
    let mean = |values: &[f64]| (values.iter().sum::<f64>() / values.len() as f64).exp();
    let mut shifts = Vec::new();
    for (index, place) in places.iter().copied().enumerate() {
        let from = if index == 0 { 0 } else { places[index - 1] };
        let to = places.get(index + 1).copied().unwrap_or(logarithms.len());
        let (before, after) = (mean(&logarithms[from..place]), mean(&logarithms[place..to]));
        let ratio = after / before;
        let (first, last) = (&runs[known[place].0], &runs[known[place - 1].0]);
        if (ratio - 1.0).abs() > DELTA {
            shifts.push(Shift { since: first.started, before, after, ratio, new: first.new_since(last) });
        }
    }
    shifts
}

impl Case {
    /// The number in a run, as tables show it.
    fn shown(&self, run: usize) -> String {
        match self.ends.get(run) {
            Some(ends) => capacity::number(self.values[run], *ends).unwrap_or(NOTHING.to_owned()),
            None => number_if_any(self.values[run]),
        }
    }
}

impl History {
    /// In Markdown: what changed, the newest runs in a table, and the runs that are left out.
    pub fn markdown(&self) -> String {
        let unit = self.metric.unit();
        let mut out =
            format!("### {}: {} of {}\n\n", escaped(&self.title), self.metric, counted(self.runs.len() as u64, "run"));
        self.say(&mut out, unit);
        let first = self.runs.len().saturating_sub(RUNS_SHOWN);
        let mut table = Table::default();
        table.words("Case");
        // the newest first: where there is little room, the oldest are left out
        self.runs[first..].iter().rev().for_each(|run| table.numbers(run.started.day()));
        for case in &self.cases {
            let mut row = vec![case.words.as_str().into()];
            row.extend((first..self.runs.len()).rev().map(|run| case.shown(run).into()));
            table.row(row);
        }
        let _ = writeln!(out, "{}", table.markdown());
        if first > 0 {
            let _ =
                writeln!(out, "- The newest {RUNS_SHOWN} runs, the newest first, in {unit}; --json has all of them.");
        }
        if let Some(searched) = &self.searched {
            let _ = writeln!(out, "- Capacities over the {}, in {unit}, with their 95 % intervals.", escaped(searched));
        }
        let is_alone = |(value, ends): (&Option<f64>, &[Option<f64>; 2])| value.is_none() && *ends != [None; 2];
        if self.cases.iter().any(|case| case.values.iter().zip(&case.ends).any(is_alone)) {
            let _ = writeln!(
                out,
                "- Where a search found one side alone (at least, below), the run is left out where changes are looked for."
            );
        }
        let seen: HashSet<&str> = self.runs.iter().map(|run| run.server.as_str()).collect();
        let _ = writeln!(
            out,
            "- Now {}; {} of the server in these runs.",
            escaped(self.runs.last().map_or("", |run| &run.server)),
            counted(seen.len() as u64, "version")
        );
        for reason in self.left_out.iter().take(LEFT_OUT_SHOWN) {
            let _ = writeln!(out, "- {}.", escaped(reason));
        }
        if let Some(more) = self.left_out.len().checked_sub(LEFT_OUT_SHOWN).filter(|more| *more > 0) {
            let _ = writeln!(out, "- {more} more are left out.");
        }
        let _ = writeln!(
            out,
            "- A change is a shift of the mean by more than {} % that any order of the runs shows as clearly with less than {} % \
             probability, over all cases together; it has two runs at least on each side.",
            100.0 * DELTA,
            100.0 * ALPHA
        );
        out
    }

    fn say(&self, out: &mut String, unit: &str) {
        let mut any = false;
        for case in &self.cases {
            for Shift { since, before, after, ratio, new } in &case.shifts {
                any = true;
                let new = if new.is_empty() {
                    String::new()
                } else {
                    format!("; new with it: {}", escaped(&new.join(", ")))
                };
                let _ = writeln!(
                    out,
                    "- **{}**: {:+.1} % since {since} ({} → {} {unit}){new}.",
                    escaped(&case.words),
                    100.0 * (ratio - 1.0),
                    format_ms(*before),
                    format_ms(*after)
                );
            }
        }
        if !any {
            let _ = match self.runs.len() < SERIES_MIN {
                true => writeln!(
                    out,
                    "- Too few runs to tell a change from chance: it takes {SERIES_MIN} at least; two are compared by `runner compare`."
                ),
                false => writeln!(out, "- No change beyond chance in any of {} cases.", self.cases.len()),
            };
        }
        out.push('\n');
    }

    /// As JSON.
    ///
    /// # Errors
    /// A path is not Unicode.
    pub fn json(&self) -> Result<String> {
        pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A case over as many runs as it has values, a day apart, with a new server in the ninth and the seventeenth run.
    fn of(values: Vec<Option<f64>>, metric: Metric) -> History {
        let run = |day: usize| RunAt {
            path: PathBuf::new(),
            started: format!("2026-03-{:02}T12:00:00Z", day + 1).parse().unwrap(),
            server: format!("triton {}", day / 8),
            weights: String::new(),
            program: String::new(),
        };
        let runs: Vec<RunAt> = (0..values.len()).map(run).collect();
        let shifts = shifts(&values, &runs, ALPHA);
        let case = Case { case: "http".to_owned(), words: "HTTP".to_owned(), values, ends: Vec::new(), shifts };
        let (scenario, title) = ("s".to_owned(), "S".to_owned());
        History { scenario, title, metric, searched: None, runs, left_out: Vec::new(), cases: vec![case] }
    }

    /// Three levels, with a noise of 0.2 % and a run without a value before each.
    fn levels() -> Vec<Option<f64>> {
        let level = |run: usize| [100.0, 110.0, 104.5][run / 8] * (1.0 + 0.001 * ((run * 5 % 8) as f64 - 3.5) / 1.75);
        (0..24).map(|run| (run % 8 != 7).then(|| level(run))).collect()
    }

    #[test]
    fn each_change_is_told_with_the_levels_beside_it_and_what_was_new() {
        let history = of(levels(), Metric::Mean);
        let found: Vec<(String, Vec<String>)> = history.cases[0]
            .shifts
            .iter()
            .map(|shift| (shift.since.day(), shift.new.clone()))
            .collect();
        let expected =
            [("2026-03-09 12:00", "server triton 0 → triton 1"), ("2026-03-17 12:00", "server triton 1 → triton 2")];
        assert_eq!(found, expected.map(|(day, new)| (day.to_owned(), vec![new.to_owned()])));
        for (shift, [before, after]) in history.cases[0].shifts.iter().zip([[100.0, 110.0], [110.0, 104.5]]) {
            assert!(
                (shift.before / before - 1.0).abs() < 0.001 && (shift.after / after - 1.0).abs() < 0.001,
                "{shift:?}"
            );
        }
        // a change of less than 1 % is none that anybody needs to look at
        let small = levels().iter().map(|value| value.map(|value| 100.0 + (value - 100.0) * 0.05)).collect();
        assert!(of(small, Metric::Mean).cases[0].shifts.is_empty());
    }

    #[test]
    fn the_newest_runs_are_shown_with_their_unit() {
        let shown = of(levels(), Metric::Throughput).markdown();
        assert!(shown.contains("requests/s)") && !shown.contains(" ms"), "{shown}");
        assert!(shown.contains("| Case | 2026-03-24 12:00 | 2026-03-23 12:00 |"), "{shown}");
        assert!(shown.contains("- The newest 6 runs, the newest first, in requests/s;"), "{shown}");
        let few = of(levels()[..6].to_vec(), Metric::Mean).markdown();
        assert!(!few.contains("The newest 6 runs") && few.contains("- Too few runs to tell a change"), "{few}");
        let enough = of(vec![Some(1.0); SERIES_MIN], Metric::Mean).markdown();
        assert!(enough.contains("- No change beyond chance in any of 1 cases."), "{enough}");
    }
}
