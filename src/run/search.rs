//! Searches the capacities of a group's cases: in every round each case whose capacity is not known yet tries one load, so that
//! what is compared is measured under the same conditions. Must not know which load is tried next.

use std::time::Duration;

use anyhow::Result;

use super::budget::TryTime;
use super::case_run::CaseRun;
use super::context::{Context, Listener, Place};
use super::targets::Observers;
use crate::matrix::Point;
use crate::plan::{Group, Round};
use crate::scenario::{Capacity, StopRule};

/// Searches from round number `resumed` on, until every capacity is known well enough or the time of its case is over.
///
/// # Errors
/// A block cannot be written.
pub async fn rounds(
    context: &Context<'_>,
    capacity: &Capacity,
    group: &Group,
    resumed: usize,
    running: &mut [CaseRun],
    observers: &mut Observers<'_>,
    listener: &mut dyn Listener,
) -> Result<()> {
    for (index, planned) in group.rounds.iter().enumerate().skip(resumed) {
        let mut is_over = true;
        for (position, case) in planned.order.iter().enumerate() {
            let running = &mut running[*case];
            let precision = context.scenario.load.precision;
            let Some((at, length)) = running.next_try(capacity, precision) else { continue };
            is_over = false;
            let time = TryTime::begin();
            running.try_at(at).await;
            let stop = StopRule { requests: 0, least: Some(length), most: None };
            let round = Round { stop, order: planned.order.clone() };
            listener.begins(running.at(), Some(Place { index, rounds: None, round: &round }));
            running
                .block(context, &round, (index, position), observers.of(&running.case), listener)
                .await?;
            let spent = running.spend(time.spent());
            running.keep_last(context, spent)?;
            listener.block_done(&running.case, &running.totals);
        }
        if is_over {
            break;
        }
    }
    Ok(())
}

impl CaseRun {
    /// The load to try next, and for how long; `None` once the search is over.
    fn next_try(&self, capacity: &Capacity, precision: Option<f64>) -> Option<(Point, Duration)> {
        let search = self.search.as_ref().filter(|_| self.ended_early.is_none())?;
        let (load, length) = search.next(precision)?;
        Some((self.case.at_load(capacity.over.axis(), load), length))
    }

    /// Counts the time of a try.
    fn spend(&mut self, time: Duration) -> Duration {
        let Some(search) = &mut self.search else { return time };
        search.spent += time;
        search.spent
    }
}
