//! Parse, dispatch, print the error, exit code.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use runner::cli::{Cli, Command};
use runner::run::{self, Outcome};
use runner::{report, worker};

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(cli: Cli) -> Result<Outcome> {
    match cli.command {
        None => {
            ensure!(!cli.run.scenarios.is_empty(), "name a scenario, such as scenarios/scrfd.toml");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run::run(&cli.run.into()))
        }
        Some(Command::Worker) => worker::child::run().map(|()| Outcome::Complete),
        Some(Command::Report(arguments)) => {
            report::command(&arguments.runs, arguments.splice.as_deref(), &arguments.results)?;
            Ok(Outcome::Complete)
        }
        Some(Command::Models(_)) => anyhow::bail!("not yet"),
    }
}
