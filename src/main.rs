//! Parse, dispatch, print the error, exit code.

use std::process::ExitCode;

use clap::Parser;
use runner::cmd::{self, Cli};
use runner::process::forbid_core_dumps;
use runner::report::terminal::{ReaderGone, print, say};
use runner::run::{Outcome, interrupt};

/// The shell's exit code for a program that SIGPIPE ended, as it ends other programs whose reader leaves.
const READER_GONE: u8 = 141;

fn main() -> ExitCode {
    forbid_core_dumps();
    // before the options are parsed: those of a mistyped command are not those of a run
    if let Some(words) = cmd::mistyped(std::env::args_os().nth(1).as_deref()) {
        say(&format!("error: {words}"));
        return ExitCode::from(2);
    }
    let outcome = match Cli::try_parse() {
        Ok(cli) => cli.execute(),
        Err(words) if words.use_stderr() => {
            say(words.render().to_string().trim_end());
            return ExitCode::from(2);
        }
        Err(help) => print(&help.render().to_string()).map(|()| Outcome::Complete),
    };
    match outcome {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(1),
        Ok(Outcome::Broken) => ExitCode::from(99),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::exit_code()),
        Err(error) if error.is::<ReaderGone>() => ExitCode::from(READER_GONE),
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}
