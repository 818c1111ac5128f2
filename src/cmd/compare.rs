//! `runner compare`: its options.
#![allow(missing_docs)]

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::report::compare::compare as compared;
use crate::report::gate::Gate;
use crate::report::{html, terminal};
use crate::run::Outcome;

#[derive(Args, Debug)]
pub struct Arguments {
    /// The run to compare with: its folder, or a file in it
    pub base: PathBuf,
    /// The other run, of the same scenario
    pub new: PathBuf,
    /// Exit code 99 if a case changed by more than this and beyond chance, such as "p95 > 5%" or "throughput < -5%"; of mean,
    /// p50, p95 and throughput; of runs that searched for it, of capacity; may be given several times
    #[arg(long, value_name = "CHANGE", value_parser = Gate::parse)]
    pub fail_if: Vec<Gate>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write one HTML file too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// Prints what changed between two runs.
///
/// # Errors
/// The runs cannot be compared, or the output cannot be printed or written.
pub fn compare(arguments: &Arguments) -> Result<Outcome> {
    let comparison = compared(&arguments.base, &arguments.new, &arguments.fail_if)?;
    let markdown = comparison.markdown();
    if let Some(path) = &arguments.html {
        html::write_markdown(path, &comparison.title, &markdown)?;
    }
    match arguments.json {
        true => terminal::print(&comparison.json()?)?,
        false => terminal::document(&markdown)?,
    }
    Ok(if comparison.is_broken() { Outcome::Broken } else { Outcome::Complete })
}
