//! Parse, dispatch, print the error, exit code.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use runner::cli::{self, Cli, Command, ModelsCommand};
use runner::report::terminal::{ReaderGone, print, say};
use runner::run::{self, Outcome, install};
use runner::{process, report, worker};

/// What a shell says of a program that SIGPIPE ended, as it ends other programs whose reader leaves.
const READER_GONE: u8 = 141;

fn main() -> ExitCode {
    // before the options: those of the command that was meant are not those of a run
    if let Some(words) = cli::mistyped(std::env::args_os().nth(1).as_deref()) {
        say(&format!("error: {words}"));
        return ExitCode::from(2);
    }
    let outcome = match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(words) if words.use_stderr() => {
            say(words.render().to_string().trim_end());
            return ExitCode::from(2);
        }
        Err(help) => print(&help.render().to_string()).map(|()| Outcome::Complete),
    };
    match outcome {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) if error.is::<ReaderGone>() => ExitCode::from(READER_GONE),
        Err(error) => {
            say(&format!("error: {error:#}"));
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
            process::cap_mmap_threshold();
            let until_input_ends = arguments.until_input_ends;
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run::serve::serve(arguments.into(), until_input_ends))?;
            // threads that read standard input or execute a model are not waited for
            runtime.shutdown_background();
            Ok(Outcome::Complete)
        }
        Some(Command::Report(arguments)) => {
            let (document, results) = (arguments.splice.clone(), arguments.results.clone());
            let wanted = arguments.into();
            let all = match document {
                Some(document) => report::document::splice(&wanted, &document, &results)?,
                None => report::print(&wanted, &results)?,
            };
            Ok(if all { Outcome::Complete } else { Outcome::Incomplete })
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
