//! A machine that sends requests for a leader elsewhere. Must not know how a run is measured.

use anyhow::Result;
use tokio::io::{BufReader, stdin, stdout};
use tokio::runtime::Builder;

use super::Outcome;
use super::interrupt::stop_quietly;
use crate::hosts::agent;
use crate::hosts::message::Hello;

/// Works for the leader at the other end of standard input and output.
///
/// # Errors
/// It says what cannot be understood, or nothing any more.
pub fn over_pipes() -> Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let worked = runtime.block_on(async {
        let work = agent::work(BufReader::new(stdin()), stdout(), Hello::own().await);
        tokio::select! {
            worked = work => worked,
            () = stop_quietly() => Ok(()),
        }
    });
    // does not wait for the thread that reads standard input
    runtime.shutdown_background();
    worked.map(|()| Outcome::Complete)
}
