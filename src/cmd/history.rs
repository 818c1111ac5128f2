//! `runner history`: its options.
#![allow(missing_docs)]

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::report::gate::Metric;
use crate::report::history::history as read;
use crate::report::{html, terminal};
use crate::run::Outcome;

#[derive(Args, Debug)]
pub struct Arguments {
    /// The scenario's name, such as scrfd
    pub scenario: String,
    /// The number to follow: mean, p50, p95 or throughput; of runs that searched for it, capacity [default: mean, or capacity]
    #[arg(long, value_name = "NUMBER", value_parser = super::word::<Metric>)]
    pub metric: Option<Metric>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write one HTML file too
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Prints the runs of a scenario, and where its cases changed.
///
/// # Errors
/// There is no complete run, a file cannot be read, or the output cannot be printed or written.
pub fn history(arguments: &Arguments) -> Result<Outcome> {
    let history = read(&arguments.results, &arguments.scenario, arguments.metric)?;
    let markdown = history.markdown();
    if let Some(path) = &arguments.html {
        html::write_markdown(path, &history.title, &markdown)?;
    }
    match arguments.json {
        true => terminal::print(&history.json()?)?,
        false => terminal::document(&markdown)?,
    }
    Ok(Outcome::Complete)
}
