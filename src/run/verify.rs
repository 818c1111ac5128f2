//! `--verify`: each distinct request of a case once, and a check of its answer. Nothing is timed.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::watch;

use super::targets::{Target, Targets};
use super::{Options, Outcome, data, fleet, job};
use crate::hosts::Fleet;
use crate::plan::Plan;
use crate::report;
use crate::scenario::{Scenario, Warmup};
use crate::worker::pool::Pool;
use crate::worker::seat::PoolError;

/// Verifies the answers of a scenario's cases, and prints how each went.
///
/// # Errors
/// The server or a host cannot be used.
pub async fn verify(
    scenario: &Scenario,
    plan: &Plan,
    gathered: Option<&Arc<Fleet>>,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<Outcome> {
    let Some(targets) = Targets::reach(scenario, plan, stop).await? else {
        return Ok(Outcome::Interrupted);
    };
    let Some(fleet) =
        fleet::reach(scenario, plan, &targets, gathered, &data::digests(scenario)?, options, stop).await?
    else {
        return Ok(Outcome::Interrupted);
    };
    let verified = verify_over(&fleet, &targets, plan, options, stop).await;
    // however it went: they leave nothing behind
    if gathered.is_none() {
        fleet.close().await;
    }
    verified
}

async fn verify_over(
    fleet: &Fleet,
    targets: &Targets,
    plan: &Plan,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<Outcome> {
    let mut outcome = Outcome::Complete;
    for case in plan.cases() {
        let Target { scenario, reached, .. } = targets.of(case);
        let mut job = job::job(scenario, &reached.outputs, case, reached.http.of(case));
        (job.warmup, job.verify_all) = (Warmup::default(), true);
        let words = match Pool::start(&job, &job::seats(fleet, scenario, case), stop).await {
            Ok(pool) => {
                let distinct = pool.prepared.distinct;
                pool.stop().await;
                if distinct > 1 {
                    format!("ok, all {distinct} distinct requests")
                } else {
                    "ok".to_owned()
                }
            }
            Err(PoolError::Interrupted) => return Ok(Outcome::Interrupted),
            Err(PoolError::Failed(fault)) => {
                outcome = Outcome::Incomplete;
                format!("failed: {}", reached.http.explained(case, fault).message)
            }
        };
        match options.json {
            true => report::terminal::verified_json(scenario, case, &words)?,
            false => report::terminal::verified(scenario, case, &words)?,
        }
    }
    Ok(outcome)
}
