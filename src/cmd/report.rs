//! `runner report`: its options.
#![allow(missing_docs)]

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::report::{self, Section, Style, Wanted};
use crate::run::Outcome;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Runs' folders, or names of scenarios, which stand for their newest full runs [default: all scenarios]
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// What to tell of each run; a marker says that itself
    #[arg(long, value_name = "NAME", default_value = "results", value_parser = super::word::<Section>)]
    pub section: Section,
    /// Show means and 95th percentiles with their 95 % intervals
    #[arg(long)]
    pub intervals: bool,
    /// Regenerate the tables between this document's markers; a marker carries the runs it shows, and a lesser run takes
    /// the place of one that is shown only if its folder is named
    #[arg(long, value_name = "FILE")]
    pub splice: Option<PathBuf>,
    /// Write one HTML file that has all of the runs: answers, charts, tables; it needs no network
    #[arg(long, value_name = "FILE", conflicts_with_all = ["splice", "section", "intervals"])]
    pub html: Option<PathBuf>,
    /// Print the runs as JSON: answers, thresholds, comparisons, and the rows of all files; `runner schema report` describes it
    #[arg(long, conflicts_with_all = ["splice", "section", "intervals", "html"])]
    pub json: bool,
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// Prints tables, or puts them into a document.
///
/// # Errors
/// There is nothing to show, or the output cannot be printed or written.
pub fn report(arguments: Arguments) -> Result<Outcome> {
    let (document, html, results) = (arguments.splice.clone(), arguments.html.clone(), arguments.results.clone());
    let json = arguments.json;
    let wanted = arguments.into();
    let all = match (document, html) {
        (Some(document), _) => report::document::splice(&wanted, &document, &results)?,
        (None, Some(file)) => report::write_html(&wanted, &file, &results)?,
        (None, None) if json => report::print_json(&wanted, &results)?,
        (None, None) => report::print(&wanted, &results)?,
    };
    Ok(if all { Outcome::Complete } else { Outcome::Incomplete })
}

impl From<Arguments> for Wanted {
    fn from(arguments: Arguments) -> Self {
        let Arguments { runs, section, intervals, .. } = arguments;
        Wanted { runs, section, style: Style { intervals } }
    }
}
