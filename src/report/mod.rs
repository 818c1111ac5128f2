//! Turns the files of a run into reports. Reads records and nothing else, so every report can be regenerated.

mod answers;
mod blocks;
mod capacity;
mod choose;
mod cold_start;
pub mod compare;
pub mod comparisons;
pub mod document;
mod forecast;
pub mod gate;
pub mod history;
mod hosts;
pub mod html;
mod json;
mod knee;
mod layout;
pub mod markdown;
mod metric;
mod mlperf;
mod notes;
pub mod picture;
mod pictures;
mod pooled;
mod profile;
mod run;
mod said;
pub mod splice;
mod stages;
mod table;
mod tables;
pub mod terminal;
mod thresholds;
mod verdicts;
mod words;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::file;
use crate::record::COMPARISONS;
use crate::spelling::{Spelled, spelled};
pub use json::schema;
pub use run::{Blocks, Run};
pub use tables::Style;

spelled! {
    /// What to report about a run.
    #[derive(Default)]
    pub enum Section {
        /// Tables and notes.
        #[default]
        Results = "results",
        /// The client's machine.
        Environment = "environment",
        /// Docker and the server.
        Docker = "docker",
        /// The model's configuration.
        Model = "model",
        /// The requested parameters.
        Parameters = "parameters",
        /// Every comparison, as in `comparisons.csv`.
        Comparisons = "comparisons",
        /// A picture of the latencies, drawn into the run's folder.
        Picture = "picture",
    }
}

impl Section {
    /// The section of a run, for a document in the folder `beside`.
    fn of(self, run: &Run, style: Style, beside: &Path) -> Result<String> {
        Ok(match self {
            Section::Results => markdown::section(run, style),
            Section::Environment => profile::environment(run),
            Section::Docker => profile::docker(run),
            Section::Model => profile::model(run),
            Section::Parameters => profile::parameters(run),
            Section::Comparisons => comparisons::text(run)?,
            Section::Picture => pictures::section(run, beside)?,
        })
    }
}

/// What a marker or the command line asks for: runs, and how to show them.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Runs' folders or scenarios' names.
    pub runs: Vec<String>,
    /// What to report about them.
    pub section: Section,
    /// How tables are shown.
    pub style: Style,
}

impl Wanted {
    /// Parses a marker's words, which take the options of the command line.
    fn of_marker(words: &[&str]) -> Result<Self> {
        let mut wanted = Wanted::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--intervals" => wanted.style.intervals = true,
                "--section" => {
                    let name = words.next().copied().unwrap_or_default();
                    let all = Section::WORDS.join(", ");
                    wanted.section = Section::spelled(name)
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

/// Writes the reports of a run into its folder: `comparisons.csv` and `report.html`. Returns whether a threshold is broken, or a
/// compliance test failed.
///
/// # Errors
/// The run cannot be read, or a file cannot be written.
pub fn write_files(folder: &Path) -> Result<bool> {
    let run = Run::open(folder)?;
    file::replace(&folder.join(COMPARISONS), comparisons::text(&run)?.as_bytes())?;
    let broken = thresholds::is_broken(&thresholds::judged(&run)) || mlperf::is_failed(&run);
    file::replace(&folder.join(html::REPORT), html::document(&[run]).as_bytes())?;
    Ok(broken)
}

/// `runner report`: prints the sections of runs, reports what is missing, and returns whether nothing is.
///
/// # Errors
/// No run that was asked for can be found and read, or nothing can be printed.
pub fn print(wanted: &Wanted, results: &Path) -> Result<bool> {
    let (runs, all) = found(wanted, results)?;
    match wanted.section {
        Section::Results => terminal::report(&runs, wanted.style)?,
        section => {
            let sections: Vec<String> = runs
                .iter()
                .map(|run| section.of(run, wanted.style, Path::new("")))
                .collect::<Result<_>>()?;
            terminal::print(&sections.join("\n"))?;
        }
    }
    Ok(all)
}

/// `runner report --json`: prints runs as JSON, reports what is missing, and returns whether nothing is.
///
/// # Errors
/// As [`print()`].
pub fn print_json(wanted: &Wanted, results: &Path) -> Result<bool> {
    let (runs, all) = found(wanted, results)?;
    terminal::print(&json::text(&runs)?)?;
    Ok(all)
}

/// The end of runs, as JSON.
///
/// # Errors
/// A run's files cannot be read, or nothing can be printed.
pub fn print_runs_json(folders: &[PathBuf]) -> Result<()> {
    let runs: Vec<Run> = folders.iter().map(|folder| Run::open(folder)).collect::<Result<_>>()?;
    terminal::print(&json::text(&runs)?)
}

/// `runner report --html`: writes runs into one file, reports what is missing, and returns whether nothing is.
///
/// # Errors
/// No run that was asked for can be found and read, or the file cannot be written.
pub fn write_html(wanted: &Wanted, path: &Path, results: &Path) -> Result<bool> {
    let (runs, all) = found(wanted, results)?;
    file::replace(path, html::document(&runs).as_bytes())?;
    Ok(all)
}

/// The runs that are asked for, and whether they are all. Reports what is missing.
fn found(wanted: &Wanted, results: &Path) -> Result<(Vec<Run>, bool)> {
    let words = if wanted.runs.is_empty() { choose::scenarios(results)? } else { wanted.runs.clone() };
    let (mut runs, mut missing) = (Vec::new(), Vec::new());
    for word in &words {
        match choose::find(results, word) {
            Ok(choice) => {
                choice.notes.iter().for_each(|note| terminal::say(&format!("{word}: {note}")));
                runs.push(choice.run);
            }
            Err(error) => missing.push(error),
        }
    }
    if runs.is_empty() && missing.len() == 1 {
        return Err(missing.remove(0));
    }
    missing.iter().for_each(|error| terminal::say(&format!("error: {error:#}")));
    ensure!(!runs.is_empty(), "there is nothing to report");
    Ok((runs, missing.is_empty()))
}
