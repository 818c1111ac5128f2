//! `runner worker`: a worker process, or a machine that sends requests for a run elsewhere.
#![allow(missing_docs)]

use anyhow::Result;
use clap::Args;

use crate::run::{Outcome, agent};
use crate::worker;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Start workers for a leader at the other end of standard input and output
    #[arg(long)]
    pub host: bool,
}

/// Works until the other end is gone.
///
/// # Errors
/// It says what cannot be understood.
pub fn work(arguments: &Arguments) -> Result<Outcome> {
    if arguments.host {
        return agent::over_pipes();
    }
    worker::child::run().map(|()| Outcome::Complete)
}
