//! Commands and their help, a file each. Only `main` uses this.
#![allow(missing_docs)]

mod axes;
mod compare;
mod history;
mod init;
mod machine;
mod models;
mod report;
mod run;
mod serve;
mod worker;

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, ensure};
use clap::{CommandFactory, Parser, Subcommand};

use crate::hosts::rank::Rank;
use crate::run::{Gathering, Options, Outcome, agent};
use crate::scenario::Scenario;
use crate::spelling::Spelled;
use crate::threshold::Threshold;

/// Benchmarks models of KServe v2 inference servers, NVIDIA Triton first: HTTP against gRPC, on equal terms.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    override_usage = "runner [OPTIONS] <SCENARIO>...\n       runner <COMMAND>",
    after_help = "Examples:\n  runner scenarios/scrfd.toml                      the whole matrix, against the server on localhost\n  \
                  runner scenarios/*.toml --server gpu-box --quick  another server, a few seconds a case\n  \
                  runner scenarios/scrfd.toml --server embedded    no server needed: the program's own\n  \
                  runner scenarios/scrfd.toml --list               the plan; nothing is sent\n  \
                  runner report --splice README.md                 regenerate the tables of a document"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: run::Arguments,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the tables of runs, or put them into a document
    Report(report::Arguments),
    /// Compare two runs of a scenario that were measured at different times, case by case
    Compare(compare::Arguments),
    /// Print the runs of a scenario over time, and where its cases changed beyond chance
    History(history::Arguments),
    /// Write a scenario for a model, from what its server tells of it
    Init(init::Arguments),
    /// Get the model files of a scenario
    #[command(subcommand)]
    Models(models::Command),
    /// The embedded server: serves a model repository over HTTP and gRPC, without Triton
    Serve(serve::Arguments),
    /// Print the JSON Schema of scenario files or of `runner report --json`
    Schema { of: machine::Described },
    /// Print a shell's completions: for bash, `source <(runner completions bash)`
    Completions { shell: clap_complete::Shell },
    /// Print the manual page: `runner man | man -l -`
    Man,
    /// Send requests for a run that another machine leads
    Worker(worker::Arguments),
}

/// The folder of the embedded server's models, unless an option names another one.
const MODEL_REPOSITORY: &str = "model_repository";

impl Cli {
    /// Executes the command.
    ///
    /// # Errors
    /// The error of the command.
    pub fn execute(self) -> Result<Outcome> {
        match self.command {
            None => {
                let task = task(&self.run)?;
                // which needs no file of the run, wherever those are
                if let Some(rank) = task.as_ref().filter(|task| task.rank > 0) {
                    return agent::of_task(rank);
                }
                let options = self.run.options()?;
                ensure!(!options.scenarios.is_empty(), "name a scenario, such as scenarios/scrfd.toml");
                let gathering = task.map_or(options.gathering, Gathering::Tasks);
                let options = Options { gathering, ..options };
                runtime()?.block_on(crate::run::run(&options))
            }
            Some(Command::Worker(arguments)) => worker::work(&arguments),
            Some(Command::Schema { of }) => machine::schema(of),
            Some(Command::Completions { shell }) => machine::completions(shell),
            Some(Command::Man) => machine::man(),
            Some(Command::Serve(arguments)) => serve::serve(arguments),
            Some(Command::Report(arguments)) => report::report(arguments),
            Some(Command::Compare(arguments)) => compare::compare(&arguments),
            Some(Command::History(arguments)) => history::history(&arguments),
            Some(Command::Init(arguments)) => init::init(arguments),
            Some(Command::Models(command)) => models::models(command),
        }
    }
}

/// Which task of a job this is, if a launcher started several of this program to measure together.
fn task(asked: &run::Arguments) -> Result<Option<Rank>> {
    let is_alone = asked.list || asked.listen.is_some();
    if is_alone { Ok(None) } else { Rank::own().map_err(anyhow::Error::msg) }
}

/// The value of an option that is one of a few words.
fn word<T: Spelled>(name: &str) -> Result<T, String> {
    let known = || T::ALL.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    T::spelled(name).ok_or_else(|| format!("there are {}", known()))
}

/// The value of an option that is a threshold.
fn threshold(text: &str) -> Result<Threshold, String> {
    Threshold::read(text).map_err(|(expected, help)| format!("expected {expected}: {help}"))
}

/// One thread: the parent must not compete with its workers.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Explains a first argument that is a word, but neither a command nor a scenario; `None` for any other.
pub fn mistyped(first: Option<&OsStr>) -> Option<String> {
    let word = first?.to_str().filter(|word| !word.is_empty() && !word.starts_with('-'))?;
    let command = Cli::command();
    let commands: Vec<&str> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name())
        .collect();
    let known = |word| word == "help" || commands.contains(&word);
    if word.contains(['.', '/', '\\']) || known(word) || Scenario::is_there(Path::new(word)) {
        return None;
    }
    let near = commands.iter().find(|command| strsim::jaro_winkler(word, command) > 0.8);
    let help = match near {
        Some(near) => format!("did you mean `runner {near}`?"),
        None => format!("the commands are {}; a scenario is named as scenarios/scrfd.toml is", commands.join(", ")),
    };
    Some(format!("\"{}\" is neither a command nor a scenario file: {help}", word.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_is_no_missing_scenario() {
        for (word, help) in [
            ("reprot", "did you mean `runner report`?"),
            ("serv", "did you mean `runner serve`?"),
            ("model", "did you mean `runner models`?"),
            (
                "benchmark",
                "the commands are report, compare, history, init, models, serve, schema, completions, man, worker; a scenario is named as",
            ),
        ] {
            let words = mistyped(Some(OsStr::new(word))).unwrap();
            assert!(words.starts_with(&format!("\"{word}\" is neither")) && words.contains(help), "{words}");
        }
        for other in ["report", "help", "worker", "scrfd", "x.toml", "scenarios/x", "--list", ""] {
            assert_eq!(mistyped(Some(OsStr::new(other))), None, "{other}");
        }
    }
}
