//! Two runs, case by case: measured at different times, so what lies between them is compared with the spread of the
//! blocks within each. What changed meanwhile on the machine cannot be seen from inside; what is known to differ is told.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::answers;
use super::capacity::{self, Apart};
use super::gate::{Gate, Metric};
use super::hosts;
use super::json::pretty;
use super::layout;
use super::run::Run;
use super::table::{Cell, Table};
use super::words::{NOTHING, escaped, number_if_any, warmup_words};
use crate::record::{Record, SCENARIO, Status};
use crate::statistics::{self, ALPHA, DELTA, Interval, Verdict};

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
    /// Of a capacity the ends of their 95 % intervals, as far as they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_ends: Option<[Option<f64>; 2]>,
    #[allow(missing_docs)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_ends: Option<[Option<f64>; 2]>,
    /// The new one over the base's, by the geometric means of their blocks, with the 95 % interval of Welch's t; of capacities by
    /// the intervals of both.
    #[serde(flatten)]
    pub ratio: Option<Ends>,
    /// The p-value after Holm's correction over all changes.
    pub p_holm: Option<f64>,
    /// What the change says, in words.
    pub said: String,
    /// `faster`, `slower`, `equal` or `unclear`, of a latency or a capacity (`faster`: higher).
    pub verdict: &'static str,
    /// The thresholds that it breaks.
    pub breaks: Vec<String>,
}

/// A ratio and the ends of its interval; of capacities an end may be all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Ends {
    pub ratio: Option<f64>,
    pub ratio_low: Option<f64>,
    pub ratio_high: Option<f64>,
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
    /// What was searched, in words, where both runs searched for capacities, which are then all that is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<String>,
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
/// A folder is no run; the runs are of different scenarios, or searched for different capacities; they have no such number as a gate
/// asks for; no case can be compared.
pub fn compare(base: &Path, new: &Path, gates: &[Gate]) -> Result<Comparison> {
    let (base, new) = (open(base)?, open(new)?);
    let names = [&base, &new].map(|run| &run.manifest.scenario);
    ensure!(
        names[0] == names[1],
        "the runs are of different scenarios, {} and {}: compare runs of one",
        names[0].escape_debug(),
        names[1].escape_debug()
    );
    let is_searched = is_searched(&base, &new)?;
    for gate in gates {
        gate.metric.check(is_searched).with_context(|| format!("--fail-if \"{gate}\""))?;
    }
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
            None => numbers.extend(Metric::of_run(is_searched).map(|metric| (before, after, metric))),
        }
    }
    let reasons: Vec<String> = unlike.iter().map(|(case, reason)| format!("{case}: {reason}")).collect();
    ensure!(!numbers.is_empty(), "no case of the two runs can be compared{}", list(&reasons));
    let of_blocks = |run: &Run, record: &Record, metric: Metric| -> Vec<f64> {
        run.blocks.of(record).into_iter().filter_map(|block| metric.of_block(block)).collect()
    };
    let apart = |(before, after, metric): &(&Record, &Record, Metric)| match metric {
        Metric::Capacity => Apart::of(before, after, before.blocks.min(after.blocks) as usize),
        _ => statistics::ratio_of_independent(&of_blocks(&base, before, *metric), &of_blocks(&new, after, *metric))
            .map(Apart::Known),
    };
    let apart: Vec<Option<Apart>> = numbers.iter().map(apart).collect();
    let judged = match is_searched {
        true => capacity::judged(&apart),
        false => {
            let ratios: Vec<_> = apart.iter().map(|apart| apart.and_then(Apart::ratio)).collect();
            let judged = statistics::verdicts(&ratios, DELTA).into_iter();
            judged.map(|(p_holm, verdict)| (p_holm, Some(verdict))).collect()
        }
    };
    let judged = numbers.iter().zip(&apart).zip(judged);
    let changes = judged
        .map(|((number, apart), verdict)| Change::new(number, named(number.0), *apart, verdict, gates))
        .collect();
    Ok(Comparison {
        title: base.manifest.title.clone(),
        capacity: is_searched.then(|| capacity::measure(&base)),
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

/// Whether both runs searched for capacities, and for the same.
fn is_searched(base: &Run, new: &Run) -> Result<bool> {
    match (&base.manifest.capacity, &new.manifest.capacity) {
        (None, None) => Ok(false),
        (Some(old), Some(current)) if old.what() == current.what() => Ok(true),
        (Some(old), Some(current)) => bail!(
            "the base run searched for the highest {}, and the new one for the highest {}: these capacities cannot be compared, search \
             both times within the same bounds",
            old.what(),
            current.what()
        ),
        (old, _) => {
            let (one, other) = if old.is_some() { ("base", "new") } else { ("new", "base") };
            bail!(
                "the {one} run searched for capacities, and the {other} one did not: compare two that did ([capacity], --capacity), or two \
                 that did not"
            )
        }
    }
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
    // of requests that failed, as they do beyond a capacity, any part may have been sent
    let sizes = |record: &Record| {
        let of = |requests: u64| record.bytes_sent as f64 / requests.max(1) as f64;
        (of(record.requests + record.errors), of(record.requests))
    };
    let ((old_least, old), (new_least, new)) = (sizes(before), sizes(after));
    let off = old > 0.0 && (new_least / old > 1.0 + ALIKE || new / old_least < 1.0 - ALIKE);
    off.then(|| format!("a request had {old:.0} bytes and has {new:.0}"))
}

impl Change {
    fn new(
        (before, after, metric): &(&Record, &Record, Metric),
        words: String,
        apart: Option<Apart>,
        (p_holm, verdict): (Option<f64>, Option<Verdict>),
        gates: &[Gate],
    ) -> Self {
        let ratio = apart.and_then(Apart::ratio).map(|ratio| ratio.interval);
        let said = match (metric, ratio) {
            (Metric::Capacity, _) => capacity::beside(apart, (p_holm, verdict), [("base", before), ("new", after)]),
            (_, None) => "too few blocks to say".to_owned(),
            (Metric::Throughput, Some(interval)) => rate(interval, p_holm),
            (_, Some(interval)) => answers::of_interval(interval, verdict, p_holm),
        };
        let broken = gates.iter().filter(|gate| match apart {
            // ends that lie apart tell, without a test
            Some(Apart::Beyond(end)) => {
                gate.is_broken_by(*metric, Some(Interval { value: end, low: end, high: end }), Some(0.0))
            }
            _ => gate.is_broken_by(*metric, ratio, p_holm),
        });
        let is_capacity = *metric == Metric::Capacity;
        let verdict = verdict.filter(|_| apart.is_some() && *metric != Metric::Throughput);
        Change {
            case: before.case.tag(),
            words,
            metric: *metric,
            base: metric.of_case(before),
            new: metric.of_case(after),
            base_ends: is_capacity.then(|| capacity::ends(before)),
            new_ends: is_capacity.then(|| capacity::ends(after)),
            ratio: apart.map(|apart| {
                let [ratio, ratio_low, ratio_high] = apart.parts();
                Ends { ratio, ratio_low, ratio_high }
            }),
            p_holm,
            said,
            verdict: verdict.map_or("", Verdict::name),
            breaks: broken.map(Gate::to_string).collect(),
        }
    }

    /// Both values, as tables show them.
    fn values(&self) -> String {
        let one = |value: Option<f64>, ends: Option<[Option<f64>; 2]>| match ends {
            Some(ends) => capacity::number(value, ends).unwrap_or(NOTHING.to_owned()),
            None => number_if_any(value),
        };
        format!("{} → {}", one(self.base, self.base_ends), one(self.new, self.new_ends))
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
        let (headings, values, said): (&[&str], &[Metric], &[Metric]) = match self.capacity {
            Some(_) => (&["Case", "Capacity (requests/s)", "Change"], &[Metric::Capacity], &[Metric::Capacity]),
            None => (
                &["Case", "Mean (ms)", "P95 (ms)", "Mean Latency", "P95 Latency", "Throughput"],
                &[Metric::Mean, Metric::P95],
                &[Metric::Mean, Metric::P95, Metric::Throughput],
            ),
        };
        let mut table = Table::default();
        headings.iter().for_each(|heading| table.words(*heading));
        for case in self.changes.chunk_by(|one, next| one.case == next.case) {
            let of = |metric: &Metric| case.iter().find(|change| change.metric == *metric);
            let mut row: Vec<Cell> = vec![case[0].words.clone().into()];
            row.extend(values.iter().filter_map(of).map(|change| Cell::from(change.values())));
            row.extend(
                said.iter().filter_map(of).map(|change| Cell {
                    text: change.said.clone(),
                    is_best: change.verdict == Verdict::Faster.name(),
                }),
            );
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
        if let Some(capacity) = &self.capacity {
            let _ = writeln!(
                out,
                "- Compared is the {}; latencies and throughputs are not, as blocks are at different loads.",
                escaped(capacity)
            );
        }
        let intervals = match self.capacity {
            Some(_) => "of a ratio by those of both capacities",
            None => "Welch's t over the blocks",
        };
        let _ = writeln!(
            out,
            "- Measured one after the other, not interleaved: what else changed meanwhile cannot be told from the numbers. \
             Intervals of 95 %, {intervals}; Holm's correction over all changes."
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
