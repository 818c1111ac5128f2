//! From the files of a run to what people read. Reads records and nothing else: every report can be made again.

mod blocks;
mod choose;
pub mod comparisons;
pub mod document;
mod judge;
pub mod markdown;
mod notes;
mod pooled;
mod profile;
pub mod splice;
mod tables;
pub mod terminal;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::record::latencies::{self, Latencies};
use crate::record::{self, BLOCKS, BlockRecord, MODEL_CONFIG, Manifest, RECORDS, Record, Rows, State, Status};
use crate::statistics;
use markdown::Style;

/// A run as its files tell it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// What holds for all of it.
    pub manifest: Manifest,
    /// One row a case, in the order of measuring.
    pub records: Vec<Record>,
    /// One row a case and block.
    pub blocks: Vec<BlockRecord>,
    /// The latencies of the blocks of each of the records; `None` where their histograms are not there.
    pub latencies: Vec<Option<Latencies>>,
    /// The model's configuration, if the server told it.
    pub config: Option<Value>,
    /// Files whose last line is torn, which is left out.
    pub torn: Vec<&'static str>,
}

impl Run {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// The folder is not a run's; the message names the file.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest = record::read_manifest(path)?;
        let config = path.join(MODEL_CONFIG);
        let config = if config.exists() { Some(record::read_json(&config)?) } else { None };
        let (records, blocks) = (rows(&path.join(RECORDS))?, rows(&path.join(BLOCKS))?);
        let torn = [(RECORDS, records.torn), (BLOCKS, blocks.torn)];
        let (records, blocks) = (records.rows, blocks.rows);
        let latencies = latencies::read(path, &records, &blocks, statistics::groups, statistics::group_of);
        Ok(Run {
            config,
            path: path.to_owned(),
            manifest,
            records,
            blocks,
            latencies,
            torn: torn.into_iter().filter_map(|(file, torn)| torn.then_some(file)).collect(),
        })
    }

    /// The latencies of one of the records.
    fn latencies_of(&self, record: &Record) -> Option<&Latencies> {
        let place = self.records.iter().position(|known| std::ptr::eq(known, record))?;
        self.latencies.get(place)?.as_ref()
    }

    /// What part of the run there is, in words, if it is not the whole.
    fn part(&self) -> Option<String> {
        let all = self.manifest.cases;
        // some of a case's requests may have failed
        let whole = |record: &&Record| matches!(record.status, Status::Ok | Status::Errors);
        let measured = self.records.iter().filter(whole).count();
        let why = match self.manifest.state {
            State::Running => "the run has not ended, or was killed",
            _ if measured >= all => return None,
            State::Interrupted => "the run was stopped",
            State::Incomplete => "the others failed or were not run",
            State::Complete => "the rows of the others are lost",
        };
        Some(format!("{measured} of {all} cases are measured; {why}"))
    }
}

/// The rows of a file. A run whose first case is not measured yet has none.
fn rows<T: DeserializeOwned>(path: &Path) -> Result<Rows<T>> {
    if path.exists() { record::read_whole_rows(path) } else { Ok(Rows { rows: Vec::new(), torn: false }) }
}

/// What to tell of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Section {
    /// Tables and notes.
    #[default]
    Results,
    /// The client's machine.
    Environment,
    /// Docker and the server.
    Docker,
    /// The model's configuration.
    Model,
    /// What was asked for.
    Parameters,
    /// What is said of every compared number, as `comparisons.csv` has it.
    Comparisons,
}

impl Section {
    /// All, with the spelling of the command line and of markers.
    pub const ALL: [(&'static str, Section); 6] = [
        ("results", Section::Results),
        ("environment", Section::Environment),
        ("docker", Section::Docker),
        ("model", Section::Model),
        ("parameters", Section::Parameters),
        ("comparisons", Section::Comparisons),
    ];

    /// By its name.
    pub fn named(name: &str) -> Option<Section> {
        Section::ALL.iter().find(|(known, _)| *known == name).map(|(_, section)| *section)
    }

    fn of(self, run: &Run, style: Style) -> String {
        match self {
            Section::Results => markdown::section(run, style),
            Section::Environment => profile::environment(run),
            Section::Docker => profile::docker(run),
            Section::Model => profile::model(run),
            Section::Parameters => profile::parameters(run),
            Section::Comparisons => comparisons::text(run).unwrap_or_else(|error| format!("{error:#}")),
        }
    }
}

/// What is asked for by the words of a marker or of the command line: runs, and how they are shown.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Runs' folders or scenarios' names.
    pub runs: Vec<String>,
    /// What to tell of them.
    pub section: Section,
    /// How tables are shown.
    pub style: Style,
}

impl Wanted {
    /// By a marker's words, with the options of the command line.
    fn of_marker(words: &[&str]) -> Result<Self> {
        let mut wanted = Wanted::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--intervals" => wanted.style.intervals = true,
                "--section" => {
                    let name = words.next().copied().unwrap_or_default();
                    let all = Section::ALL.map(|(name, _)| name).join(", ");
                    wanted.section = Section::named(name)
                        .with_context(|| format!("the marker asks for the section \"{name}\": there are {all}"))?;
                }
                option if option.starts_with("--") => {
                    bail!("the marker has the option {option}: it may have --section NAME and --intervals")
                }
                run => wanted.runs.push(run.to_owned()),
            }
        }
        Ok(wanted)
    }
}

/// `runner report`: prints the sections of runs. Returns whether all that was asked for is there; what is not is said.
///
/// # Errors
/// No run that was asked for can be found and read, or nothing can be printed.
pub fn print(wanted: &Wanted, results: &Path) -> Result<bool> {
    let words = if wanted.runs.is_empty() { choose::scenarios(results)? } else { wanted.runs.clone() };
    let (mut told, mut missing) = (Vec::new(), Vec::new());
    for word in &words {
        match choose::find(results, word) {
            Ok(choice) => {
                choice.notes.iter().for_each(|note| terminal::say(&format!("{word}: {note}")));
                told.push(wanted.section.of(&choice.run, wanted.style));
            }
            Err(error) => missing.push(error),
        }
    }
    if told.is_empty() && missing.len() == 1 {
        return Err(missing.remove(0));
    }
    missing.iter().for_each(|error| terminal::say(&format!("error: {error:#}")));
    ensure!(!told.is_empty(), "there is nothing to report");
    terminal::print(&told.join("\n"))?;
    Ok(missing.is_empty())
}
