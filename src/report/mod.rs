//! From the files of a run to what people read. Reads records and nothing else: every report can be made again.

mod judge;
pub mod markdown;
mod notes;
pub mod splice;
mod tables;
pub mod terminal;

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::de::DeserializeOwned;

use crate::file;
use crate::record::{self, BLOCKS, BlockRecord, MANIFEST, Manifest, RECORDS, Record, State};
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
}

impl Run {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// The folder is not a run's; the message names the file.
    pub fn open(path: &Path) -> Result<Self> {
        let manifest = record::read_manifest(path)?;
        Ok(Run {
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

/// A word of a marker, and an option of the command line, that asks for intervals.
const INTERVALS: &str = "--intervals";

/// `runner report`: prints the sections of runs, or puts them between a document's markers. Runs that are named take
/// the place of their scenarios' newest ones. A marker may ask for intervals itself.
///
/// # Errors
/// A run cannot be found or read, or the document's markers are broken; the document is then left as it was.
pub fn command(words: &[String], style: Style, document: Option<&Path>, results: &Path) -> Result<()> {
    let named = words.iter().map(|word| find(results, word)).collect::<Result<Vec<Run>>>()?;
    let section = |word: &str, style: Style| {
        let chosen = named.iter().rev().find(|run| run.manifest.scenario == word);
        chosen.map_or_else(|| find(results, word), |run| Ok(run.clone())).map(|run| markdown::section(&run, style))
    };
    let render = |words: &[&str]| {
        let style = Style { intervals: style.intervals || words.contains(&INTERVALS) };
        let runs: Vec<&str> = words.iter().copied().filter(|word| *word != INTERVALS).collect();
        let all = if runs.is_empty() { scenarios(results)? } else { runs.into_iter().map(str::to_owned).collect() };
        Ok(all.iter().map(|word| section(word, style)).collect::<Result<Vec<String>>>()?.join("\n"))
    };
    let Some(document) = document else {
        let sections: Vec<String> = named.iter().map(|run| markdown::section(run, style)).collect();
        terminal::print(&if named.is_empty() { render(&[])? } else { sections.join("\n") });
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
