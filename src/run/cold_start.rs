//! Cold starts: a case's model is unloaded, loaded again, and asked one request after the other until latencies are steady. This takes
//! the model away from everybody else, and is done only where a scenario asks for it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::budget::{TryTime, UNTIL_STEADY};
use super::case_run::CaseRun;
use super::connect::control;
use super::context::{Context, Listener};
use super::interrupt::stopped;
use super::job;
use super::targets::{Observers, first_of_targets};
use crate::matrix::{AxisId, Point};
use crate::protocol::control::Control;
use crate::protocol::{Fault, FaultKind};
use crate::record::{ColdStartRecord, milliseconds};
use crate::scenario::Warmup;
use crate::worker::pool::Pool;
use crate::worker::seat::PoolError;
use crate::worker::steady::Settled;

/// Longest time for a model to be loaded, and to be unloaded.
const LOADED_WITHIN: Duration = Duration::from_secs(600);
/// Pause between two looks whether it is.
const PAUSE: Duration = Duration::from_millis(5);
/// Before a model that could not be loaded is loaded once more.
const AGAIN: Duration = Duration::from_secs(1);
/// Axes that mean nothing where one process sends one request after the other.
const AT_ONCE: [AxisId; 6] =
    [AxisId::Processes, AxisId::Hosts, AxisId::Concurrency, AxisId::Connections, AxisId::Rate, AxisId::ThinkTime];
/// Within which part of each other means are steady, if the scenario does not say.
const STEADY: f64 = 0.05;

/// Measures as many cold starts as are asked for, in turn. Each is on file at once; those on file are not repeated. Cases that start
/// alike have those of the first of them.
///
/// # Errors
/// The file cannot be read or written. A server that refuses is no error but ends the case.
pub async fn cold_starts(
    context: &Context<'_>,
    running: &mut [CaseRun],
    observers: &mut Observers<'_>,
    listener: &mut dyn Listener,
) -> anyhow::Result<()> {
    let asked = context.scenario.load.cold_starts;
    if asked == 0 {
        return Ok(());
    }
    let known = context.folder.cold_starts()?;
    let measured = first_of_start(running, &known);
    // a model that is loaded again counts from zero
    let cases: Vec<Point> = measured.iter().map(|place| running[*place].case.clone()).collect();
    let models = first_of_targets(&cases);
    for first in &models {
        observers.pause(first).await;
    }
    let places = (0..asked).flat_map(|number| (0..measured.len()).map(move |place| (number, place + number as usize)));
    for (number, place) in places {
        let first = &mut running[measured[place % measured.len()]];
        if first.ended_early.is_some() {
            continue;
        }
        let case = first.case.clone();
        let found = known.iter().find(|row| row.cold_start == number && row.case.tag() == case.tag());
        if let Some(row) = found {
            first.cold_starts.push(row.clone());
            continue;
        }
        listener.starts_cold(&case, (number, asked));
        match start(context, &case, number).await {
            Ok(row) => {
                context.folder.cold_start(&row)?;
                first.cold_starts.push(row);
            }
            Err(error) => {
                let alike = running.iter_mut().filter(|running| starts_alike(&running.case, &case));
                alike.for_each(|running| running.end(error.clone()));
            }
        }
    }
    for first in &models {
        observers.go_on(first).await;
    }
    Ok(())
}

/// The places of the cases to measure: those that start as another case does, which was measured before or is going to be, are left out.
fn first_of_start(running: &[CaseRun], known: &[ColdStartRecord]) -> Vec<usize> {
    let is_first = |place: &usize| {
        let case = &running[*place].case;
        let is_begun = known.iter().any(|row| row.case.tag() == case.tag());
        let before = running[..*place].iter().map(|running| &running.case);
        let mut others = before.chain(known.iter().map(|row| &row.case));
        is_begun || !others.any(|other| starts_alike(case, other))
    };
    (0..running.len()).filter(is_first).collect()
}

/// Whether two cases send the same requests one after the other.
fn starts_alike(one: &Point, other: &Point) -> bool {
    AxisId::ALL
        .iter()
        .filter(|id| !AT_ONCE.contains(id))
        .all(|id| one.get(*id) == other.get(*id))
}

/// One cold start of a case.
async fn start(context: &Context<'_>, case: &Point, number: u32) -> Result<ColdStartRecord, PoolError> {
    if *context.stop.borrow() {
        return Err(PoolError::Interrupted);
    }
    let target = context.targets.of(case);
    let mut control = control(&target.scenario, case.protocol, LOADED_WITHIN).map_err(PoolError::Failed)?;
    let model = &target.scenario.model;
    let loaded = reload(&mut control, &model.name, model.version.as_deref(), context.stop).await;
    if *context.stop.borrow() {
        return Err(PoolError::Interrupted);
    }
    let loaded = loaded.map_err(PoolError::Failed)?;
    let warmup = &context.scenario.load.warmup;
    let mut job = job::job(&target.scenario, &target.reached.outputs, case, target.reached.http.of(case));
    (job.concurrency, job.connections) = (1, 1);
    // what is equally slow for longer than these looks steady
    job.warmup = Warmup { steady: Some(warmup.steady.unwrap_or(STEADY)), ..*warmup };
    job.warmup_cap_ms = Some(UNTIL_STEADY.max(warmup.least.unwrap_or_default()).as_millis() as u64);
    // the first requests are the cold ones
    job.verify_all = false;
    let seat = job::seats(context.fleet, &target.scenario, case)
        .into_iter()
        .take(1)
        .collect::<Vec<_>>();
    let pool = Pool::start(&job, &seat, context.stop).await?;
    let prepared = pool.prepared;
    pool.stop().await;
    let told = prepared.settled.map(|settled| with_first(settled, prepared.first, job.warmup.steady));
    let ms = |time: Duration| milliseconds(time.as_nanos() as f64);
    Ok(ColdStartRecord {
        scenario: context.manifest.scenario.clone(),
        case: case.clone(),
        cold_start: number,
        load_ms: ms(loaded),
        first_ms: ms(prepared.first),
        errors: prepared.errors,
        steady_after_ms: told.map(|told| ms(told.after)),
        steady_after_requests: told.map(|told| told.requests),
        beyond_ms: told.map(|told| ms(told.beyond)),
        steady_mean_ms: told.map(|told| ms(told.mean)),
    })
}

/// What came before latencies were steady, with the first request, which came before all of them.
fn with_first(settled: Settled, first: Duration, within: Option<f64>) -> Settled {
    let is_off = settled.requests > 0 || first > settled.mean.mul_f64(1.0 + within.unwrap_or(STEADY));
    match is_off {
        true => Settled {
            after: first + settled.after,
            requests: settled.requests + 1,
            beyond: settled.beyond + first.saturating_sub(settled.mean),
            ..settled
        },
        false => settled,
    }
}

/// Has the server unload the model and load it again. Returns the time from asking for it until the model is ready. If the user asks to
/// stop, the model is loaded all the same, as it was before, and only nothing is waited for.
async fn reload(
    control: &mut Control,
    model: &str,
    version: Option<&str>,
    stop: &watch::Receiver<bool>,
) -> Result<Duration, Fault> {
    let refused = |what: &str, fault: Fault| {
        let remedy = "cold_starts takes a server that loads and unloads models when it is asked to (Triton: --model-control-mode=explicit)";
        Fault { message: format!("the model cannot be {what}: {fault}: {remedy}"), ..fault }
    };
    let asked = control.unload(model).await.map_err(|fault| refused("unloaded", fault));
    if asked.as_ref().is_err_and(|fault| fault.kind == FaultKind::Unsupported) {
        return asked.map(|()| Duration::ZERO);
    }
    // a server may unload it and still not say so: it is loaded again in any case
    let unloaded = in_time(stop, async {
        // whatever it says then, it is not ready
        while asked.is_ok() && control.model_ready(model, version).await.is_ok() {
            sleep(PAUSE).await;
        }
    });
    let unloaded = unloaded.await;
    let mut time = TryTime::begin();
    let mut loaded = control.load(model).await;
    if asked.is_ok() && loaded.is_err() {
        // what it had may not be free yet
        sleep(AGAIN).await;
        time = TryTime::begin();
        loaded = control.load(model).await;
    }
    asked?;
    loaded.map_err(|fault| Fault {
        message: format!("the model was unloaded and cannot be loaded again, so load it yourself: {fault}"),
        ..fault
    })?;
    unloaded.map_err(|fault| refused("unloaded", fault))?;
    let is_ready = in_time(stop, async {
        while matches!(control.model_ready(model, version).await, Err(fault) if fault.kind != FaultKind::Unsupported) {
            sleep(PAUSE).await;
        }
    });
    is_ready.await.map_err(|fault| refused("loaded", fault))?;
    Ok(time.spent())
}

/// Waits for something, but not beyond [`LOADED_WITHIN`], and no longer once the user asks to stop.
async fn in_time(stop: &watch::Receiver<bool>, done: impl Future<Output = ()>) -> Result<(), Fault> {
    let waited = async {
        tokio::select! {
            () = done => {}
            () = stopped(stop) => {}
        }
    };
    let late = || Fault::new(FaultKind::Timeout, format!("not done within {} s", LOADED_WITHIN.as_secs()));
    timeout(LOADED_WITHIN, waited).await.map_err(|_| late())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_counts_where_it_was_slow() {
        let ms = Duration::from_millis;
        let steady = Settled { after: ms(0), requests: 0, beyond: ms(0), mean: ms(10) };
        assert_eq!(with_first(steady, ms(10), Some(0.05)), steady);
        let slow = with_first(steady, ms(60), Some(0.05));
        assert_eq!((slow.after, slow.requests, slow.beyond), (ms(60), 1, ms(50)));
        let later = Settled { after: ms(200), requests: 10, beyond: ms(100), mean: ms(10) };
        let both = with_first(later, ms(60), None);
        assert_eq!((both.after, both.requests, both.beyond), (ms(260), 11, ms(150)));
    }
}
