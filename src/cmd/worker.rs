//! `runner worker`: a worker process, or a machine that sends requests for a run elsewhere.
#![allow(missing_docs)]

use anyhow::Result;
use clap::Args;

use crate::run::{Outcome, agent};
use crate::worker;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Start workers for a leader at the other end of standard input and output
    #[arg(long, conflicts_with = "connect")]
    pub host: bool,
    /// Start workers for the leader that listens there; RUNNER_TOKEN or RUNNER_TOKEN_FILE has the secret that both share
    #[arg(long, value_name = "LEADER:PORT")]
    pub connect: Option<String>,
}

/// Works until the other end is gone.
///
/// # Errors
/// The other end sends a message that cannot be read.
pub fn work(arguments: &Arguments) -> Result<Outcome> {
    match &arguments.connect {
        Some(leader) => agent::connect(leader),
        None if arguments.host => agent::over_pipes(),
        None => worker::child::run().map(|()| Outcome::Complete),
    }
}
