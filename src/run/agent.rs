//! A machine that sends requests for a leader elsewhere. Must not know how a run is measured.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader, stdin, stdout};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::interrupt::Signals;
use super::{Outcome, fleet};
use crate::hosts::message::Hello;
use crate::hosts::rank::Rank;
use crate::hosts::{agent, pull};
use crate::report::terminal::say;

/// Works for the leader at the other end of standard input and output.
///
/// # Errors
/// The leader sends a message that cannot be read, or is gone.
pub fn over_pipes() -> Result<Outcome> {
    in_runtime(until_stopped(async { work(BufReader::new(stdin()), stdout()).await }))
}

/// Connects to a leader at `host:port`, and works for it.
///
/// # Errors
/// There is none, or its token is another one, or see [`over_pipes`].
pub fn connect(leader: &str) -> Result<Outcome> {
    let token = fleet::token()?;
    say(&format!("looking for the leader at {leader}; Ctrl-C ends this"));
    in_runtime(async {
        let (input, output) = tokio::select! {
            stream = pull::connect(leader, &token, false) => stream?,
            () = ending() => return Ok(()),
        };
        say("connected");
        until_stopped(work(input, output)).await
    })
}

/// Finds the leader of a job's tasks, and works for it.
///
/// # Errors
/// See [`connect`].
pub fn of_task(rank: &Rank) -> Result<Outcome> {
    in_runtime(async {
        let found = async {
            match fleet::leader()? {
                Some((leader, _)) => pull::connect(&leader, &fleet::token()?, true).await,
                None => pull::find(rank).await,
            }
        };
        let (input, output) = tokio::select! {
            stream = found => stream?,
            () = ending() => return Ok(()),
        };
        until_stopped(work(input, output)).await
    })
}

async fn work(input: impl AsyncBufRead + Unpin, output: impl AsyncWrite + Unpin + Send + 'static) -> Result<()> {
    agent::work(input, output, Hello::own().await).await
}

/// Works on for a while after a signal that would end the program: a launcher that stops a job tells every process of it, and the
/// leader is to have the time to end in order, and its hosts with it. The second signal ends it.
async fn until_stopped(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::select! {
        worked = work => worked,
        () = async {
            let mut signals = Signals::listen();
            signals.next().await;
            let _ = timeout(QUIET, signals.next()).await;
        } => Ok(()),
    }
}

/// Returns at a signal that would end the program.
async fn ending() {
    Signals::listen().next().await;
}

/// How long a host waits for its leader to end.
const QUIET: Duration = Duration::from_secs(15);

fn in_runtime(work: impl Future<Output = Result<()>>) -> Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let worked = runtime.block_on(work);
    // does not wait for the thread that reads standard input
    runtime.shutdown_background();
    worked.map(|()| Outcome::Complete)
}
