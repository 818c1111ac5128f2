//! Runs as JSON, for programs: what people read, and the rows it comes from. Its schema is made from these types.

use schemars::JsonSchema;
use serde::Serialize;

use super::comparisons::{self, Comparison};
use super::notes::{About, notes};
use super::run::Run;
use super::said::{measure, said};
use super::tables;
use super::thresholds::{self, Kept};
use super::words::Markup;
use crate::record::column::Objects;
use crate::record::{BlockRecord, ColdStartRecord, HostRecord, Manifest, Record, StageRecord};
use crate::threshold::Threshold;

/// What `runner report --json` and `runner SCENARIO --json` print.
#[derive(Serialize, JsonSchema)]
pub struct Report {
    /// The runs, in the order they were asked for.
    pub runs: Vec<RunReport>,
}

/// One run.
#[derive(Serialize, JsonSchema)]
pub struct RunReport {
    /// Its folder.
    pub path: String,
    /// The facts that hold for the whole run, as in `run.json`.
    pub run: Manifest,
    /// How much of it exists, if it is not all.
    pub part: Option<String>,
    /// What was compared: `mean latency`, `mean response time`, or the load that was searched within which bounds.
    pub measure: String,
    /// The answer to each comparison.
    pub answers: Vec<Answer>,
    /// The scenario's thresholds, each with each of its cases.
    pub thresholds: Vec<Found>,
    /// How it was measured, and what makes it doubtful.
    pub notes: Vec<Note>,
    /// One object a compared number, as in `comparisons.csv`.
    pub comparisons: Objects<Comparison>,
    /// One object a case, as in `records.csv`.
    pub records: Objects<Record>,
    /// One object a case and block, as in `blocks.csv`.
    pub blocks: Objects<BlockRecord>,
    /// One object a case and host, as in `hosts.csv`; none if one machine sent all requests.
    pub hosts: Objects<HostRecord>,
    /// One object a case and stage, as in `stages.csv`; none if no load has stages.
    pub stages: Objects<StageRecord>,
    /// One object a case and cold start, as in `cold_starts.csv`; none if none was asked for.
    pub cold_starts: Objects<ColdStartRecord>,
}

/// What one comparison says.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// `gRPC against HTTP`.
    pub question: String,
    /// The values on the axes that vary: `batch 8, 3 processes`; empty if none does.
    pub place: String,
    /// `2.9 times as fast (2.8 to 3.0)`.
    pub words: String,
    /// `faster`, `slower`, `equal` or `unclear`; none if it cannot be compared.
    pub verdict: Option<String>,
    /// The ratio of the means, or of the capacities, with its 95 % interval: of what is held against the baseline to the baseline, as in
    /// `comparisons.csv`.
    pub ratio: Option<f64>,
    /// See `ratio`; alone where all that is known of two capacities is that it is at least this.
    pub ratio_low: Option<f64>,
    /// See `ratio`; alone where it is at most this.
    pub ratio_high: Option<f64>,
}

/// A threshold and a case.
#[derive(Serialize, JsonSchema)]
pub struct Found {
    /// The case's tag.
    pub case: String,
    /// The threshold.
    pub that: Threshold,
    /// The number, with its 95 % interval where it has one.
    pub value: Option<f64>,
    /// See `value`; alone of a capacity that is at least this.
    pub low: Option<f64>,
    /// See `value`; alone of a capacity that is below this.
    pub high: Option<f64>,
    /// Whether it holds.
    pub kept: Kept,
}

/// A note of a report.
#[derive(Serialize, JsonSchema)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// Its text.
    pub text: String,
}

/// Runs as JSON text.
///
/// # Errors
/// A number cannot be written.
pub fn text(runs: &[Run]) -> anyhow::Result<String> {
    let report = Report { runs: runs.iter().map(RunReport::of).collect() };
    pretty(&report)
}

/// A value as JSON text of several lines.
///
/// # Errors
/// It cannot be written, such as a path that is not Unicode.
pub fn pretty(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// The schema of that text.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Report)
}

impl RunReport {
    fn of(run: &Run) -> Self {
        let tables = tables::of(run);
        let cells = tables::cells(&tables);
        let answers = said(run, &cells).answers.into_iter().flat_map(|answers| {
            let question = answers.question;
            answers.answers.into_iter().map(move |answer| {
                let [ratio, ratio_low, ratio_high] = answer.ratio;
                Answer {
                    question: question.clone(),
                    place: answer.place,
                    words: answer.words,
                    verdict: answer.verdict.map(|verdict| verdict.name().to_owned()),
                    ratio,
                    ratio_low,
                    ratio_high,
                }
            })
        });
        let thresholds = thresholds::judged(run).into_iter().map(|judged| {
            let [value, low, high] = judged.found;
            Found {
                case: judged.record.case.tag(),
                that: judged.threshold,
                value,
                low,
                high,
                kept: judged.kept,
            }
        });
        let notes = notes(run, &cells, Markup::Plain)
            .into_iter()
            .map(|note| Note { about: note.about, text: note.text });
        let blocks: Vec<BlockRecord> = run.records.iter().flat_map(|record| run.blocks.of(record)).cloned().collect();
        RunReport {
            path: run.path.display().to_string(),
            run: run.manifest.clone(),
            part: run.part(),
            measure: measure(run),
            answers: answers.collect(),
            thresholds: thresholds.collect(),
            notes: notes.collect(),
            comparisons: Objects::of(&comparisons::rows(run)),
            records: Objects::of(&run.records),
            blocks: Objects::of(&blocks),
            hosts: Objects::of(&run.hosts),
            stages: Objects::of(&run.stages),
            cold_starts: Objects::of(&run.cold_starts),
        }
    }
}
