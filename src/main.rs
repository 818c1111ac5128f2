//! Parse, dispatch, print the error, exit code.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use runner::cli::{Cli, Command, ModelsCommand};
use runner::run::{self, Outcome, install};
use runner::{process, report, worker};

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
            runtime()?.block_on(run::run(&cli.run.try_into()?))
        }
        Some(Command::Worker) => worker::child::run().map(|()| Outcome::Complete),
        Some(Command::Serve(arguments)) => {
            process::settle_memory();
            let until_input_ends = arguments.until_input_ends;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run::serve::serve(arguments.into(), until_input_ends))?;
            // threads that read standard input or execute a model are not waited for
            runtime.shutdown_background();
            Ok(Outcome::Complete)
        }
        Some(Command::Report(arguments)) => {
            let (document, results) = (arguments.splice.clone(), arguments.results.clone());
            report::command(&arguments.into(), document.as_deref(), &results).map(|()| Outcome::Complete)
        }
        Some(Command::Models(ModelsCommand::Synth { scenario, seed, force, model_repository })) => {
            install::synth(&scenario, &model_repository, seed, force).map(|()| Outcome::Complete)
        }
        Some(Command::Models(ModelsCommand::Fetch { scenario, accept_license, model_repository })) => {
            let fetched = install::fetch(&scenario, &model_repository, accept_license);
            runtime()?.block_on(fetched).map(|()| Outcome::Complete)
        }
    }
}

/// One thread: the parent must not compete with its workers.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
