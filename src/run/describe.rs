//! What a run writes down of itself: what is measured, by whom, and with what. Must not know how anything is measured.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::targets::{Target, Targets};
use crate::environment::Environment;
use crate::hosts::Host;
use crate::matrix::{Point, selects};
use crate::plan::Plan;
use crate::record::{Asked, Asserted, Machine, Manifest, MetricsRead, Searched, State};
use crate::scenario::{Assert, Capacity, Scenario};

/// The manifest of a run. With several servers and models it describes the first, as rows have their own.
pub fn manifest(
    scenario: &Scenario,
    plan: &Plan,
    targets: &Targets,
    client: Environment,
    started: Timestamp,
) -> Manifest {
    let first = asked(targets.first());
    Manifest {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        state: State::Running,
        started: started.into(),
        ended: None,
        runner_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: env!("RUNNER_GIT_REVISION").to_owned(),
        overridden: scenario.overridden.clone(),
        cap_s: scenario.load.stop.most.map(|most| most.as_secs_f64()),
        quick: scenario.load.quick,
        server: first.server,
        server_version: first.server_version,
        http: first.http,
        grpc: first.grpc,
        model: first.model,
        weights: first.weights,
        iterations: scenario.load.stop.requests,
        duration_s: scenario.load.stop.least.map(|least| least.as_secs_f64()),
        precision: scenario.load.precision,
        capacity: scenario.capacity.as_ref().map(searched),
        warmup: scenario.load.warmup.requests,
        warmup_s: scenario.load.warmup.least.map(|least| least.as_secs_f64()),
        warmup_until: scenario.load.warmup.steady,
        blocks: scenario.load.blocks,
        timeout_s: scenario.load.timeout.as_secs_f64(),
        parameters: scenario.parameters.clone(),
        seed: scenario.load.seed,
        data: BTreeMap::new(),
        cases: plan.cases().count(),
        asserts: scenario.asserts.iter().map(|assert| asserted(assert, plan)).collect(),
        compare: Some(scenario.matrix.compared().axis().column.to_owned()),
        counts: None,
        metrics: MetricsRead::default(),
        statistics: String::new(),
        one_machine: first.one_machine,
        targets: targets.counted().map(asked).collect(),
        client,
        hosts: Vec::new(),
        arguments: Vec::new(),
        file: scenario.file.display().to_string(),
        resumed: Vec::new(),
    }
}

/// What a search for the capacity was asked.
fn searched(capacity: &Capacity) -> Searched {
    Searched {
        over: capacity.over.name().to_owned(),
        bounds: capacity.bounds.iter().map(ToString::to_string).collect(),
        from: capacity.range.0,
        to: capacity.range.1,
        budget_s: capacity.budget.as_secs_f64(),
    }
}

/// A threshold and the cases that it is for.
fn asserted(Assert { that, cases }: &Assert, plan: &Plan) -> Asserted {
    let chosen = || plan.cases().filter(|case| selects(cases, case)).map(Point::tag).collect();
    Asserted { that: *that, cases: (!cases.is_empty()).then(chosen) }
}

/// What is told of a server and a model.
fn asked(target: &Target) -> Asked {
    let Target { case, scenario: Scenario { server, model, matrix, .. }, reached } = target;
    Asked {
        server_key: case.server.as_deref().map(str::to_owned),
        model_key: case.model.as_deref().map(str::to_owned),
        server: reached.server.name.clone(),
        server_version: reached.server.version.clone(),
        http: server.http.to_string(),
        grpc: server.grpc.to_string(),
        one_machine: server.address(matrix.protocols()[0]).is_loopback(),
        model: model.name.clone(),
        weights: reached.weights(),
    }
}

/// What is told of a machine that sends requests.
pub fn machine(host: &Host) -> Machine {
    Machine {
        name: host.name.clone(),
        machine: host.links[0].hello.machine.clone(),
        tasks: host.links.len(),
        environment: host.environment().clone(),
    }
}
