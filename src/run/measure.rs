//! Measures one group of a plan: its cases interleaved block by block, each block on disk as soon as it ends.
//! Must not know how results are shown.

use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;

use super::budget::Budget;
use super::case_run::CaseRun;
use super::cold_start::cold_starts;
use super::context::{Context, Listener, Place};
use super::job::within;
use super::kept::{self, KeptBlock};
use super::mlperf;
use super::rows::{BlockMean, CaseRows};
use super::search;
use super::targets::{Observers, first_of_targets, is_counted_with};
use crate::plan::Group;
use crate::statistics::{self, Sum};
use crate::worker::pool::Pool;

/// Measures a group, or what is missing of one of which an earlier part of the run measured `kept`. Its rows
/// are returned, not yet written; beside them the error that ended the measuring if a block could not be written.
///
/// # Errors
/// What is kept is not this program's. A fault of the server or a worker is not an error but a row.
pub async fn group(
    context: &Context<'_>,
    group: &Group,
    kept: Vec<KeptBlock>,
    observers: &mut Observers<'_>,
    listener: &mut dyn Listener,
) -> Result<(Vec<CaseRows>, Result<()>)> {
    let capacity = context.scenario.capacity.as_ref();
    let mut running: Vec<CaseRun> = group.cases.iter().map(|case| CaseRun::new(case, capacity)).collect();
    let load = &context.scenario.load;
    // not of the time for measuring
    cold_starts(context, &mut running, observers, listener).await?;
    let mut budget = Budget::begin(load.stop.most, group.cases.len(), group.rounds.len());
    let resumed = restore(&mut running, group, kept, &mut budget)?;
    for case in &group.cases {
        listener.begins(case, None);
    }
    let mut before = Vec::new();
    for first in first_of_targets(&group.cases) {
        before.push((first, observers.of(first).read(first.protocol).await));
    }
    if load.warmup.is_timed() {
        // what others send meanwhile would be in the latencies that are to become steady
        for running in &mut running {
            running.prepare(context).await;
        }
    } else {
        join_all(running.iter_mut().map(|running| running.prepare(context))).await;
        budget.prepared(running.iter().map(CaseRun::in_a_row).min().unwrap_or(1));
    }
    // the first block must not count the warmup requests
    for (first, before) in before {
        let of_target = running.iter().filter(|running| is_counted_with(&running.case, first));
        let prepared = of_target.map(|running| running.prepared).sum();
        observers.of(first).gained(first.protocol, before.as_ref(), prepared).await;
    }

    let written = match capacity {
        Some(capacity) => search::rounds(context, capacity, group, resumed, &mut running, observers, listener).await,
        None => rounds(context, group, resumed, &mut running, &mut budget, observers, listener).await,
    };
    if let Err(error) = &written {
        running.iter_mut().for_each(|running| running.unwritten(error));
    }
    if let (Some(precision), false, None) = (load.precision, load.quick, capacity) {
        let imprecise = !are_precise(&running, precision, context.rounds_least);
        running.iter_mut().for_each(|running| running.totals.imprecise = imprecise);
    }
    join_all(running.iter_mut().filter_map(|running| running.pool.take()).map(Pool::stop)).await;
    for running in &running {
        let items = u64::from(running.case.batch_size);
        let measured = running.totals.recorder.count() * items - running.before;
        observers.count(&running.case, measured, running.prepared * items);
    }
    let ratio = match &running[..] {
        [first, second] => statistics::ratio_of_means(None, &paired(&first.totals.means, &second.totals.means)),
        _ => None,
    };
    let mut rows: Vec<_> = running.into_iter().map(|running| running.into_rows(context, group)).collect();
    mlperf::test_repeats(context.scenario.mlperf.as_ref(), ratio, &mut rows);
    Ok((rows, written))
}

/// Measures the rounds of a group from number `resumed` on.
///
/// # Errors
/// A block cannot be written.
async fn rounds(
    context: &Context<'_>,
    group: &Group,
    resumed: usize,
    running: &mut [CaseRun],
    budget: &mut Budget,
    observers: &mut Observers<'_>,
    listener: &mut dyn Listener,
) -> Result<()> {
    let load = &context.scenario.load;
    for (index, round) in group.rounds.iter().enumerate().skip(resumed) {
        // only between rounds, so that all cases of the group have the same number of blocks
        let Some(share) = budget.next(load.arrival.length()) else {
            running.iter_mut().for_each(|running| running.totals.capped |= load.has_length());
            break;
        };
        let within = within(round, share.block, load);
        for (position, case) in round.order.iter().enumerate() {
            let running = &mut running[*case];
            listener.begins(&running.case, Some(Place { index, rounds: Some(share.rounds), round }));
            if running.ended_early.is_none() && !running.has(index) {
                let observer = observers.of(&running.case);
                running.block(context, &within, (index, position), observer, listener).await?;
                running.capped_within(context, round, &within);
                running.keep_last(context, budget.spent())?;
            }
            listener.block_done(&running.case, &running.totals);
        }
        if load
            .precision
            .is_some_and(|precision| are_precise(running, precision, context.rounds_least))
        {
            break;
        }
    }
    Ok(())
}

/// Adds the blocks that an earlier part of the run measured. Returns the number of the first round with one missing.
fn restore(running: &mut [CaseRun], group: &Group, kept: Vec<KeptBlock>, budget: &mut Budget) -> Result<usize> {
    let (resumed, kept) = kept::of_group(group, kept);
    let spent = kept.iter().map(|block| block.spent_ns).max().unwrap_or(0);
    for block in kept {
        let tag = &block.case;
        if let Some(running) = running.iter_mut().find(|running| running.case.tag() == *tag) {
            running.restore(block)?;
        }
    }
    let blocks = running.iter().map(|running| running.totals.window_ns).sum();
    budget.resumed(resumed, Duration::from_nanos(spent), Duration::from_nanos(blocks));
    Ok(resumed)
}

/// Whether the means of a group's cases, over that of the first, are known well enough, by as many rounds as a verdict takes at
/// least; of a single case its own mean.
fn are_precise(running: &[CaseRun], precision: f64, rounds_least: usize) -> bool {
    let Some((first, others)) = running.split_first() else { return true };
    if first.totals.rounds.len() < rounds_least {
        return false;
    }
    let base = &first.totals.means;
    if others.is_empty() {
        // over one in every block
        let unit: Vec<BlockMean> = base.iter().map(|block| BlockMean { mean_ms: 1.0, ..*block }).collect();
        return statistics::is_precise(&paired(&unit, base), precision);
    }
    others
        .iter()
        .all(|other| statistics::is_precise(&paired(base, &other.totals.means), precision))
}

/// The sums of two cases' latencies over the blocks that were measured in the same rounds.
fn paired(base: &[BlockMean], other: &[BlockMean]) -> Vec<[Sum; 2]> {
    let sum = |block: &BlockMean| {
        let requests = block.requests as f64;
        Sum { sum: block.mean_ms * requests, over: requests }
    };
    let partner = |round: usize| base.iter().find(|block| block.round == round);
    other
        .iter()
        .filter_map(|block| Some([sum(partner(block.round)?), sum(block)]))
        .collect()
}
