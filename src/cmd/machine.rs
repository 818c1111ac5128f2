//! What shells, editors and other programs take: completions, the manual page, JSON Schemas.
#![allow(missing_docs)]

use anyhow::Result;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Cli;
use crate::report::terminal::print;
use crate::run::Outcome;
use crate::{report, scenario};

/// What a schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Described {
    /// Scenario files
    Scenario,
    /// The output of `runner report --json`
    Report,
}

/// Prints a JSON Schema.
///
/// # Errors
/// It cannot be printed.
pub fn schema(of: Described) -> Result<Outcome> {
    let schema = match of {
        Described::Scenario => serde_json::to_string_pretty(&scenario::json_schema())?,
        Described::Report => serde_json::to_string_pretty(&report::schema())?,
    };
    print(&format!("{schema}\n"))?;
    Ok(Outcome::Complete)
}

/// Prints a shell's completions.
///
/// # Errors
/// They cannot be printed.
pub fn completions(shell: Shell) -> Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "runner", &mut text);
    print(&String::from_utf8(text)?)?;
    Ok(Outcome::Complete)
}

/// Prints the manual page.
///
/// # Errors
/// It cannot be printed.
pub fn man() -> Result<Outcome> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    print(&String::from_utf8(text)?)?;
    Ok(Outcome::Complete)
}
