//! The row of a case before anything of it is measured. Must not know how blocks are measured.

use jiff::Timestamp;

use super::context::Context;
use super::job::planned;
use super::mlperf;
use crate::matrix::Point;
use crate::plan::Group;
use crate::record::{Record, Status, rounded};
use crate::scenario::Over;

/// The row of a case that was not started.
pub fn not_measured(context: &Context<'_>, group: &Group, case: &Point, status: Status, reason: &str) -> Record {
    let row = Record {
        reason: reason.to_owned(),
        requests_planned: planned(context.scenario, group, case),
        ..blank_row(context, case, status)
    };
    mlperf::not_measured(context.scenario.mlperf.as_ref(), row)
}

/// The row of a case as far as it is known before anything is measured.
pub fn blank_row(context: &Context<'_>, case: &Point, status: Status) -> Record {
    let (manifest, target) = (context.manifest, context.targets.of(case));
    let now = Timestamp::now().into();
    let capacity = context.scenario.capacity.as_ref();
    let goodput = context.scenario.load.goodput.filter(|_| capacity.is_none());
    let is_open = case.rate.is_some() || capacity.is_some_and(|capacity| capacity.over == Over::Rate);
    Record {
        scenario: manifest.scenario.clone(),
        model: target.scenario.model.name.clone(),
        server: target.reached.server.name.clone(),
        server_version: target.reached.server.version.clone(),
        weights: target.reached.weights(),
        case: case.clone(),
        arrival: is_open.then(|| context.scenario.load.arrival.word()),
        arrival_detail: if is_open { context.scenario.load.arrival.detail() } else { String::new() },
        described_by: target.reached.described_by,
        tensors: Some(target.reached.http.of(case)),
        status,
        goodput_ms: goodput.map(|good| good.as_secs_f64() * 1e3),
        warmup: manifest.warmup,
        warmup_s: manifest.warmup_s,
        warmup_until_percent: manifest.warmup_until.map(|part| rounded(part * 100.0)),
        quick: manifest.quick,
        started: now,
        ended: now,
        runner_version: manifest.runner_version.clone(),
        git_revision: manifest.git_revision.clone(),
        ..Record::default()
    }
}
