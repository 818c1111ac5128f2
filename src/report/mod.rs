//! From the files of a run to what people read. Reads records and nothing else: every report can be made again.

mod judge;
pub mod markdown;
mod notes;
mod profile;
pub mod splice;
mod tables;
pub mod terminal;

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::file;
use crate::record::{self, BLOCKS, BlockRecord, MANIFEST, MODEL_CONFIG, Manifest, RECORDS, Record, State};
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
    /// The model's configuration, if the server told it.
    pub config: Option<Value>,
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
        Ok(Run {
            config,
            path: path.to_owned(),
            manifest,
            records: rows(&path.join(RECORDS))?,
            blocks: rows(&path.join(BLOCKS))?,
        })
    }
}

/// The rows of a file. A run whose first case is not measured yet has none.
fn rows<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    if path.exists() { record::read(path) } else { Ok(Vec::new()) }
}

/// The run that a word of the command line or of a README marker means: a run's folder, or a scenario's name, which
/// stands for its newest complete run.
///
/// # Errors
/// There is no such run.
pub fn find(results: &Path, word: &str) -> Result<Run> {
    let path = Path::new(word);
    if path.join(MANIFEST).is_file() {
        return Run::open(path);
    }
    ensure!(
        path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().count() == 1,
        "{word} is not a run's folder: it has no {MANIFEST}",
    );
    newest_complete(results, word)
}

fn newest_complete(results: &Path, scenario: &str) -> Result<Run> {
    let folder = results.join(scenario);
    for path in folders(&folder)?.into_iter().rev() {
        if record::read_manifest(&path).is_ok_and(|manifest| manifest.state == State::Complete) {
            return Run::open(&path);
        }
    }
    bail!("{} holds no complete run: run `runner scenarios/{scenario}.toml`, or name a run's folder", folder.display())
}

/// The names of the scenarios that have results, in alphabetical order.
fn scenarios(results: &Path) -> Result<Vec<String>> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(folders(results)?.iter().filter_map(name).collect())
}

/// The folders in a folder, by name; runs are named by their time, so the last is the newest.
fn folders(parent: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(parent).with_context(|| format!("there are no results in {}", parent.display()))?;
    let mut folders: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
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
}

impl Section {
    /// All, with the spelling of the command line and of markers.
    pub const ALL: [(&'static str, Section); 5] = [
        ("results", Section::Results),
        ("environment", Section::Environment),
        ("docker", Section::Docker),
        ("model", Section::Model),
        ("parameters", Section::Parameters),
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

/// `runner report`: prints the sections of runs, or puts them between a document's markers. Runs that are named take
/// the place of their scenarios' newest ones. A marker says itself which section it is for.
///
/// # Errors
/// A run cannot be found or read, or the document's markers are broken; the document is then left as it was.
pub fn command(wanted: &Wanted, document: Option<&Path>, results: &Path) -> Result<()> {
    let named = wanted.runs.iter().map(|word| find(results, word)).collect::<Result<Vec<Run>>>()?;
    let open = |word: &String| {
        let chosen = named.iter().rev().find(|run| run.manifest.scenario == *word);
        chosen.map_or_else(|| find(results, word), |run| Ok(run.clone()))
    };
    let render = |words: &[&str]| {
        let Wanted { runs, section, mut style } = Wanted::of_marker(words)?;
        style.intervals |= wanted.style.intervals;
        let runs = if runs.is_empty() { scenarios(results)? } else { runs };
        let told = runs.iter().map(|word| Ok(section.of(&open(word)?, style))).collect::<Result<Vec<String>>>();
        Ok(told?.join("\n"))
    };
    let Some(document) = document else {
        let all =
            if wanted.runs.is_empty() { scenarios(results)?.iter().map(open).collect::<Result<_>>()? } else { named };
        let told: Vec<String> = all.iter().map(|run| wanted.section.of(run, wanted.style)).collect();
        terminal::print(&told.join("\n"));
        return Ok(());
    };
    let text = std::fs::read_to_string(document).with_context(|| format!("cannot read {}", document.display()))?;
    let spliced = splice::splice(&text, render).with_context(|| document.display().to_string())?;
    if spliced != text {
        file::replace(document, spliced.as_bytes())?;
    }
    terminal::say(&format!(
        "{}: {}",
        document.display(),
        if spliced == text { "nothing to change" } else { "tables made anew" }
    ));
    Ok(())
}
