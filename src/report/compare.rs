//! Two runs, case by case: measured at different times, so what lies between them is compared with the spread of the
//! blocks within each. What changed meanwhile on the machine cannot be seen from inside; what is known to differ is told.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::answers;
use super::gate::{Gate, Metric};
use super::hosts;
use super::json::pretty;
use super::layout;
use super::run::Run;
use super::table::{Cell, Table};
use super::words::{escaped, number_if_any, warmup_words};
use crate::record::{Record, SCENARIO, Status};
use crate::statistics::{self, ALPHA, DELTA, Interval, Ratio, Verdict};

/// Sizes of requests that differ by more than this part are no like loads.
const ALIKE: f64 = 0.01;

/// One number of one case in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// The case's tag.
    pub case: String,
    /// The case in words.
    pub words: String,
    /// The number.
    pub metric: Metric,
    /// Its values, in milliseconds or requests a second.
    pub base: Option<f64>,
    #[allow(missing_docs)]
    pub new: Option<f64>,
    /// The new one over the base's, by the geometric means of their blocks, with the 95 % interval of Welch's t.
    #[serde(flatten)]
    pub ratio: Option<Ends>,
    /// The p-value after Holm's correction over all changes.
    pub p_holm: Option<f64>,
    /// What the change says, in words.
    pub said: String,
    /// `faster`, `slower`, `equal` or `unclear`, of a latency.
    pub verdict: &'static str,
    /// The thresholds that it breaks.
    pub breaks: Vec<String>,
}

/// A ratio and the ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Ends {
    pub ratio: f64,
    pub ratio_low: f64,
    pub ratio_high: f64,
}

impl From<Interval> for Ends {
    fn from(Interval { value, low, high }: Interval) -> Self {
        Ends { ratio: value, ratio_low: low, ratio_high: high }
    }
}

/// Two runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The folders.
    pub base: PathBuf,
    #[allow(missing_docs)]
    pub new: PathBuf,
    /// What the runs have in common.
    pub title: String,
    /// What is known to differ, beside the numbers.
    pub differences: Vec<(String, String, String)>,
    /// Cases of one run alone.
    pub vanished: Vec<String>,
    #[allow(missing_docs)]
    pub added: Vec<String>,
    /// Cases that are not compared, and why.
    pub unlike: Vec<(String, String)>,
    /// Case by case, number by number.
    pub changes: Vec<Change>,
}

/// Reads and compares two runs: folders, or their `records.csv`.
///
/// # Errors
/// A folder is no run; the runs are of different scenarios; no case can be compared.
pub fn compare(base: &Path, new: &Path, gates: &[Gate]) -> Result<Comparison> {
    let (base, new) = (open(base)?, open(new)?);
    let names = [&base, &new].map(|run| &run.manifest.scenario);
    ensure!(
        names[0] == names[1],
        "the runs are of different scenarios, {} and {}: compare runs of one",
        names[0].escape_debug(),
        names[1].escape_debug()
    );
    let (old, current) = (by_tag(&base), by_tag(&new));
    let named = layout::in_short(&[&base.records[..], &new.records].concat());
    let missing = |run: &Run, other: &HashMap<String, &Record>| -> Vec<String> {
        let alone = run.records.iter().filter(|record| !other.contains_key(&record.case.tag()));
        alone.map(&named).collect()
    };
    let (vanished, added) = (missing(&base, &current), missing(&new, &old));
    let (mut numbers, mut unlike) = (Vec::new(), Vec::new());
    for before in &base.records {
        let Some(after) = current.get(&before.case.tag()).copied() else { continue };
        match is_unlike(before, after) {
            Some(reason) => unlike.push((named(before), reason)),
            None => numbers.extend(Metric::ALL.iter().map(|(_, metric)| (before, after, *metric))),
        }
    }
    let reasons: Vec<String> = unlike.iter().map(|(case, reason)| format!("{case}: {reason}")).collect();
    ensure!(!numbers.is_empty(), "no case of the two runs can be compared{}", list(&reasons));
    let of_blocks = |run: &Run, record: &Record, metric: Metric| -> Vec<f64> {
        run.blocks.of(record).into_iter().filter_map(|block| metric.of_block(block)).collect()
    };
    let ratio = |(before, after, metric): &(&Record, &Record, Metric)| {
        statistics::ratio_of_independent(&of_blocks(&base, before, *metric), &of_blocks(&new, after, *metric))
    };
    let ratios: Vec<Option<Ratio>> = numbers.iter().map(ratio).collect();
    let judged = numbers.iter().zip(&ratios).zip(statistics::verdicts(&ratios, DELTA));
    let changes = judged
        .map(|((number, ratio), verdict)| Change::new(number, named(number.0), *ratio, verdict, gates))
        .collect();
    Ok(Comparison {
        title: base.manifest.title.clone(),
        differences: differences(&base, &new),
        vanished,
        added,
        unlike,
        changes,
        base: base.path.clone(),
        new: new.path.clone(),
    })
}

fn by_tag(run: &Run) -> HashMap<String, &Record> {
    run.records.iter().map(|record| (record.case.tag(), record)).collect()
}

fn list(reasons: &[String]) -> String {
    if reasons.is_empty() {
        ": they have none in common".to_owned()
    } else {
        format!(": {}", reasons.join("; "))
    }
}

fn open(path: &Path) -> Result<Run> {
    let is_csv = path.extension().is_some_and(|extension| extension == "csv");
    let folder = if is_csv { path.parent().unwrap_or(path) } else { path };
    Run::open(folder).with_context(|| format!("{} is not a run's folder, nor a file in one", path.display()))
}

/// Why two cases are no like loads, or have no numbers.
fn is_unlike(before: &Record, after: &Record) -> Option<String> {
    for (record, which) in [(before, "base"), (after, "new")] {
        if record.status != Status::Ok {
            return Some(format!("the {which} run's case is {}", record.status.name()));
        }
    }
    if (before.arrival, &before.arrival_detail) != (after.arrival, &after.arrival_detail) {
        return Some("requests arrived in different ways".to_owned());
    }
    if before.tensors != after.tensors {
        return Some("tensors travelled in different ways".to_owned());
    }
    let size = |record: &Record| record.bytes_sent as f64 / record.requests.max(1) as f64;
    let (old, new) = (size(before), size(after));
    let off = old > 0.0 && (new / old - 1.0).abs() > ALIKE;
    off.then(|| format!("a request had {old:.0} bytes and has {new:.0}"))
}

impl Change {
    fn new(
        (before, after, metric): &(&Record, &Record, Metric),
        words: String,
        ratio: Option<Ratio>,
        (p_holm, verdict): (Option<f64>, Verdict),
        gates: &[Gate],
    ) -> Self {
        let is_latency = *metric != Metric::Throughput;
        let ratio = ratio.map(|ratio| ratio.interval);
        let said = match ratio {
            Some(interval) if is_latency => answers::of_interval(interval, Some(verdict), p_holm),
            Some(interval) => rate(interval, p_holm),
            None => "too few blocks to say".to_owned(),
        };
        let broken = gates.iter().filter(|gate| gate.is_broken_by(*metric, ratio, p_holm));
        Change {
            case: before.case.tag(),
            words,
            metric: *metric,
            base: metric.of_case(before),
            new: metric.of_case(after),
            ratio: ratio.map(Ends::from),
            p_holm,
            said,
            verdict: if is_latency && ratio.is_some() { verdict.name() } else { "" },
            breaks: broken.map(Gate::to_string).collect(),
        }
    }
}

fn or_nothing(text: &str) -> String {
    if text.is_empty() { "nothing".to_owned() } else { escaped(text) }
}

/// What a change of throughput says.
fn rate(interval: Interval, corrected: Option<f64>) -> String {
    let Interval { value, low, high } = interval;
    let is_certain = corrected.is_some_and(|p| p <= ALPHA) && (low > 1.0 || high < 1.0);
    match is_certain {
        true => {
            format!("{:+.1} % ({:+.1} to {:+.1} %)", 100.0 * (value - 1.0), 100.0 * (low - 1.0), 100.0 * (high - 1.0))
        }
        false => format!("no difference seen; if there is one, it is below {}", answers::bound(interval)),
    }
}

/// What two runs are known to differ in.
fn differences(base: &Run, new: &Run) -> Vec<(String, String, String)> {
    let told = |run: &Run| -> Vec<(&'static str, String)> {
        let manifest = &run.manifest;
        let seconds = |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value} s"));
        let warmup = warmup_words(manifest.warmup, manifest.warmup_s, manifest.warmup_until);
        vec![
            ("options", manifest.overridden.join(" ")),
            ("server", format!("{} {}", manifest.server, manifest.server_version)),
            ("model", manifest.model.clone()),
            ("weights", manifest.weights.clone()),
            ("machine", manifest.client.summary()),
            ("hosts", hosts::summary(manifest)),
            ("program", format!("{} ({})", manifest.runner_version, manifest.git_revision)),
            ("iterations", manifest.iterations.to_string()),
            ("seconds a case", seconds(manifest.duration_s)),
            ("longest time of a case", seconds(manifest.cap_s)),
            ("warmup", warmup.0 + &warmup.1),
            ("seed", manifest.seed.to_string()),
        ]
    };
    let texts = |run: &Run| {
        let scenario = std::fs::read_to_string(run.path.join(SCENARIO)).unwrap_or_default();
        let configs = run
            .asked
            .iter()
            .filter_map(|(_, config)| serde_json::to_string_pretty(config.as_ref()?).ok());
        [("scenario", scenario), ("model configuration", configs.collect::<Vec<_>>().join("\n"))]
    };
    let both = told(base).into_iter().zip(told(new));
    let of_texts = texts(base).into_iter().zip(texts(new));
    let lines =
        of_texts.map(|((name, before), (_, after))| ((name, alone(&before, &after)), (name, alone(&after, &before))));
    both.chain(lines)
        .filter(|(before, after)| before.1 != after.1)
        .map(|((name, before), (_, after))| (name.to_owned(), before, after))
        .collect()
}

/// The lines of a text that another one lacks.
fn alone(text: &str, other: &str) -> String {
    let known: HashSet<&str> = other.lines().map(str::trim).collect();
    let alone = text.lines().map(str::trim).filter(|line| !known.contains(line));
    alone.collect::<Vec<_>>().join("; ")
}

impl Comparison {
    /// Whether a threshold is broken.
    pub fn is_broken(&self) -> bool {
        self.changes.iter().any(|change| !change.breaks.is_empty())
    }

    /// A summary in Markdown, fit for a comment on a pull request.
    pub fn markdown(&self) -> String {
        let mut out = format!("### {}: new against base\n\n", escaped(&self.title));
        let broken: Vec<&Change> = self.changes.iter().filter(|change| !change.breaks.is_empty()).collect();
        for change in &broken {
            let gates = change.breaks.join(", ");
            let _ = writeln!(
                out,
                "- **Broken**: {gates}: {}: {} {}.",
                escaped(&change.words),
                change.metric.name(),
                change.said
            );
        }
        if !broken.is_empty() {
            out.push('\n');
        }
        let mut table = Table::default();
        ["Case", "Mean (ms)", "P95 (ms)", "Mean Latency", "P95 Latency", "Throughput"]
            .into_iter()
            .for_each(|heading| {
                table.words(heading);
            });
        for case in self.changes.chunks_exact(Metric::ALL.len()) {
            let of = |metric: Metric| case.iter().find(|change| change.metric == metric);
            let values = |metric: Metric| {
                of(metric).map_or(String::new(), |change| {
                    format!("{} → {}", number_if_any(change.base), number_if_any(change.new))
                })
            };
            let said = |metric: Metric| Cell {
                text: of(metric).map_or(String::new(), |change| change.said.clone()),
                is_best: of(metric).is_some_and(|change| change.verdict == Verdict::Faster.name()),
            };
            let mut row: Vec<Cell> = vec![case[0].words.clone().into()];
            row.extend([Metric::Mean, Metric::P95].map(|metric| Cell::from(values(metric))));
            row.extend([Metric::Mean, Metric::P95, Metric::Throughput].map(said));
            table.row(row);
        }
        let _ = writeln!(out, "{}", table.markdown());
        for (heading, cases) in [("Only in the base", &self.vanished), ("Only in the new run", &self.added)] {
            if !cases.is_empty() {
                let _ = writeln!(out, "- {heading}: {}.", escaped(&cases.join("; ")));
            }
        }
        for (case, reason) in &self.unlike {
            let _ = writeln!(out, "- Not compared: {}: {}.", escaped(case), escaped(reason));
        }
        for (name, before, after) in &self.differences {
            let _ = writeln!(out, "- Differs: {name}: {} → {}.", or_nothing(before), or_nothing(after));
        }
        let _ = writeln!(
            out,
            "- Measured one after the other, not interleaved: what else changed meanwhile cannot be told from the numbers. \
             Intervals of 95 %, Welch's t over the blocks; Holm's correction over all changes."
        );
        out
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

    #[test]
    fn a_throughput_changes_only_beyond_chance() {
        let said = |low: f64, high: f64, p: f64| rate(Interval { value: (low * high).sqrt(), low, high }, Some(p));
        assert_eq!(said(1.1, 1.21, ALPHA), "+15.4 % (+10.0 to +21.0 %)");
        assert_eq!(said(0.8, 0.9, ALPHA), "-15.1 % (-20.0 to -10.0 %)");
        for (low, high, p) in [(1.1, 1.2, 2.0 * ALPHA), (1.0, 1.2, ALPHA), (0.8, 1.0, ALPHA), (0.9, 1.1, ALPHA)] {
            assert!(said(low, high, p).starts_with("no difference seen"), "{low} {high} {p}");
        }
    }
}
