//! A machine that sends requests for a leader elsewhere. Must not know how a run is measured.

use anyhow::{Context, Result};
use tokio::io::{AsyncBufRead, AsyncWrite, BufReader, stdin, stdout};
use tokio::runtime::Builder;

use super::interrupt::stop_quietly;
use super::{Outcome, fleet};
use crate::hosts::message::Hello;
use crate::hosts::rank::Rank;
use crate::hosts::{agent, pull};

/// Works for the leader at the other end of standard input and output.
///
/// # Errors
/// It says what cannot be understood, or nothing any more.
pub fn over_pipes() -> Result<Outcome> {
    until_stopped(async { work(BufReader::new(stdin()), stdout()).await })
}

/// Connects to a leader at `host:port`, and works for it.
///
/// # Errors
/// There is none, or its token is another one, or see [`over_pipes`].
pub fn connect(leader: &str) -> Result<Outcome> {
    let token = fleet::token()?;
    until_stopped(async {
        let (input, output) = pull::connect(leader, &token).await?;
        work(input, output).await
    })
}

/// Finds the leader of a job's tasks, and works for it.
///
/// # Errors
/// See [`connect`].
pub fn of_task(rank: &Rank) -> Result<Outcome> {
    if let Some(leader) = fleet::leader() {
        return connect(&leader);
    }
    until_stopped(async {
        let (input, output) = pull::find(rank).await?;
        work(input, output).await
    })
}

async fn work(input: impl AsyncBufRead + Unpin, output: impl AsyncWrite + Unpin + Send + 'static) -> Result<()> {
    agent::work(input, output, Hello::own().await).await
}

fn until_stopped(work: impl Future<Output = Result<()>>) -> Result<Outcome> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime")?;
    let worked = runtime.block_on(async {
        tokio::select! {
            worked = work => worked,
            () = stop_quietly() => Ok(()),
        }
    });
    // does not wait for the thread that reads standard input
    runtime.shutdown_background();
    worked.map(|()| Outcome::Complete)
}
