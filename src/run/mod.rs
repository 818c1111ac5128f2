//! The composition root of a run: load, plan, check, measure, write, report.

mod awake;
mod budget;
mod calibrate;
mod connect;
mod embedded_server;
mod folder;
pub mod install;
mod interrupt;
mod job;
mod measure;
mod observer;
mod probe;
mod reach;
mod rows;
mod sampler;
pub mod serve;

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::environment::Environment;
use crate::matrix::Point;
use crate::plan::Plan;
use crate::process;
use crate::record::{Manifest, Record, State, Status, utc};
use crate::report;
use crate::report::terminal::{Progress, ReaderGone, say};
use crate::scenario::{Overrides, Scenario};
use crate::worker::pool::{Pool, PoolError};
use awake::Awake;
use calibrate::Ceilings;
use embedded_server::EmbeddedServer;
use folder::Folder;
use interrupt::stop_on_ctrl_c;
use observer::Observer;
use reach::{Reached, reach, unreachable};
use sampler::Sampler;

/// What `runner SCENARIO...` is asked to do.
pub struct Options {
    /// Scenario files.
    pub scenarios: Vec<PathBuf>,
    /// Changes to all of them.
    pub overrides: Overrides,
    /// Folder under which each run makes its own.
    pub results: PathBuf,
    /// The folder of the models, if the embedded server serves them.
    pub embedded: Option<PathBuf>,
    /// Whether to measure first what the client reaches in each case.
    pub calibrate: bool,
    /// Whether this machine's processors are kept from sleeping.
    pub awake: bool,
    /// Whether a flagged row is a failure.
    pub strict: bool,
    /// What to do with them.
    pub mode: Mode,
}

/// What to do with a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Measure it.
    Measure,
    /// Print the plan; nothing is sent.
    List,
    /// Send one checked request a case; nothing is timed.
    Verify,
}

/// How it went, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Every case is `ok`.
    Complete,
    /// Some case is not.
    Incomplete,
    /// The user stopped it.
    Interrupted,
}

/// Does what is asked for all scenarios, one after the other. All are read before anything is sent.
///
/// # Errors
/// A scenario is wrong, the server cannot be reached or does not agree with it, or results cannot be written.
pub async fn run(options: &Options) -> Result<Outcome> {
    let mut scenarios = Vec::new();
    for path in &options.scenarios {
        let mut scenario = Scenario::load(path)?.overridden_by(&options.overrides).map_err(anyhow::Error::msg)?;
        if options.embedded.is_some() {
            scenario.overridden.push("--server embedded".to_owned());
            // until it is started and tells its own
            scenario.server.http = "the embedded server".to_owned();
            scenario.server.grpc = "the embedded server".to_owned();
        }
        if options.awake {
            scenario.overridden.push("--awake".to_owned());
        }
        scenarios.push((Plan::expand(&scenario), scenario));
    }
    if options.mode == Mode::List {
        scenarios.iter().try_for_each(|(plan, scenario)| report::terminal::plan(scenario, plan))?;
        return Ok(Outcome::Complete);
    }
    let _awake = options.awake.then(Awake::keep).transpose()?;
    let stop = stop_on_ctrl_c();
    let server = match &options.embedded {
        Some(repository) => {
            let scenarios = scenarios.iter_mut().map(|(_, scenario)| scenario);
            Some(EmbeddedServer::for_scenarios(scenarios, repository).await?)
        }
        None => None,
    };
    let mut worst = Outcome::Complete;
    let mut runs = Vec::new();
    for (plan, scenario) in &mut scenarios {
        if *stop.borrow() {
            worst = worst.max(Outcome::Interrupted);
            break;
        }
        connect::find(scenario, &stop).await;
        let done = match options.mode {
            Mode::Verify => verify(scenario, plan, &stop).await.map(|outcome| (outcome, None)),
            _ => measure(scenario, plan, options, &stop).await,
        };
        match done {
            Ok((outcome, run)) => {
                worst = worst.max(outcome);
                runs.extend(run);
            }
            // nothing more is asked for
            Err(error) if error.is::<ReaderGone>() => return Err(error),
            // the other scenarios may be fine
            Err(error) => {
                say(&format!("error: {}: {error:#}", scenario.file.display()));
                worst = worst.max(Outcome::Incomplete);
            }
        }
    }
    if let Some(server) = server {
        server.stop().await;
    }
    for run in &runs {
        match report::terminal::run(run) {
            // how it went counts, whether or not somebody reads it to the end
            Err(error) if error.is::<ReaderGone>() => break,
            shown => shown?,
        }
    }
    Ok(worst)
}

async fn verify(scenario: &Scenario, plan: &Plan, stop: &watch::Receiver<bool>) -> Result<Outcome> {
    let Some(reached) = reach(scenario, plan, stop).await? else { return Ok(Outcome::Interrupted) };
    let mut outcome = Outcome::Complete;
    for case in plan.cases() {
        let mut order = job::order(scenario, &reached.outputs, case, reached.http.of(case));
        order.warmup = 0;
        let words = match Pool::start(&order, case.processes, stop).await {
            Ok(pool) => {
                pool.stop().await;
                "ok".to_owned()
            }
            Err(PoolError::Interrupted) => return Ok(Outcome::Interrupted),
            Err(PoolError::Failed(fault)) => {
                outcome = Outcome::Incomplete;
                format!("failed: {}", reached.http.explained(case, fault).message)
            }
        };
        report::terminal::verified(scenario, case, &words)?;
    }
    Ok(outcome)
}

async fn measure(
    scenario: &Scenario,
    plan: &Plan,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<(Outcome, Option<PathBuf>)> {
    let Some(reached) = reach(scenario, plan, stop).await? else { return Ok((Outcome::Interrupted, None)) };
    let ceilings = match options.calibrate {
        true => calibrate::calibrate(scenario, plan, &reached.outputs, stop).await?,
        false => Some(Ceilings::default()),
    };
    let Some(ceilings) = ceilings else { return Ok((Outcome::Interrupted, None)) };
    let started = Timestamp::now();
    let folder = Folder::create(&options.results, &scenario.name, started)?;
    let port = is_loopback(&scenario.server.http).then(|| port(&scenario.server.http)).flatten();
    let client = spawn_blocking(move || Environment::read(&process::output, port)).await.unwrap_or_default();
    let mut manifest = manifest(scenario, plan, &reached, client, started);
    folder.scenario(&scenario.text)?;
    folder.json("server", &reached.server)?;
    folder.json("model_metadata", &reached.metadata)?;
    if let Some(config) = &reached.config {
        folder.json("model_config", &config.json)?;
    }
    folder.manifest(&manifest)?;

    let mut observer = Observer::new(scenario, stop);
    let first = scenario.matrix.protocols()[0];
    let before = observer.read(first).await;
    if let Some(silence) = observer.silence() {
        say(&format!("{}: no statistics of the server's own ({silence})", scenario.name));
    }
    let sampler = Sampler::start(scenario.server.metrics.as_deref(), folder.metrics(), stop).await;
    let mut progress = Progress::new(scenario, plan, &manifest);
    let (mut states, mut flagged) = (Vec::new(), false);
    let (mut measured, mut prepared) = (0, 0);
    for group in &plan.groups {
        let context = measure::Context {
            scenario,
            outputs: &reached.outputs,
            manifest: &manifest,
            http: &reached.http,
            ceilings: &ceilings,
            sampler: &sampler,
            folder: &folder,
            stop,
        };
        let records = match unreachable(scenario, &reached, stop).await {
            Some(reason) => group.cases.iter().map(|case| measure::not_run(&context, group, case, &reason)).collect(),
            None => {
                let (records, items) = measure::group(&context, group, &mut observer, &mut progress).await?;
                prepared += items;
                records
            }
        };
        for record in &records {
            folder.record(record)?;
            progress.case_done(record);
            flagged |= !record.flags.is_empty();
            measured += record.requests * u64::from(record.case.batch_size);
        }
        progress.group_done(group);
        states.extend(records.iter().map(|record: &Record| record.status));
    }
    progress.finish();
    manifest.metrics = sampler.finish();

    let complete = states.iter().all(|status| *status == Status::Ok);
    let interrupted = *stop.borrow();
    manifest.state = match (complete, interrupted) {
        (true, _) => State::Complete,
        (false, true) => State::Interrupted,
        (false, false) => State::Incomplete,
    };
    manifest.ended = Some(utc(Timestamp::now()));
    if let (Some(before), true) = (before, complete) {
        manifest.counts = observer.count_check(first, &before, measured, prepared).await;
    }
    manifest.statistics = observer.silence().unwrap_or_default();
    folder.manifest(&manifest)?;
    report::comparisons::write(folder.path())?;
    let outcome = match manifest.state {
        State::Complete if options.strict && flagged => Outcome::Incomplete,
        State::Complete => Outcome::Complete,
        State::Interrupted => Outcome::Interrupted,
        State::Incomplete | State::Running => Outcome::Incomplete,
    };
    Ok((outcome, Some(folder.path().to_owned())))
}

fn manifest(scenario: &Scenario, plan: &Plan, reached: &Reached, client: Environment, started: Timestamp) -> Manifest {
    let weights = reached.config.as_ref().and_then(|config| config.weights.clone()).unwrap_or_default();
    Manifest {
        scenario: scenario.name.clone(),
        title: scenario.title.clone(),
        state: State::Running,
        started: utc(started),
        ended: None,
        runner_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_revision: env!("RUNNER_GIT_REVISION").to_owned(),
        overridden: scenario.overridden.clone(),
        cap_s: scenario.load.stop.most.map(|most| most.as_secs_f64()),
        quick: scenario.load.quick,
        server: reached.server.name.clone(),
        server_version: reached.server.version.clone(),
        http: scenario.server.http.clone(),
        grpc: scenario.server.grpc.clone(),
        model: scenario.model.name.clone(),
        weights,
        iterations: scenario.load.stop.requests,
        duration_s: scenario.load.stop.least.map(|least| least.as_secs_f64()),
        warmup: scenario.load.warmup,
        blocks: scenario.load.blocks,
        timeout_s: scenario.load.timeout.as_secs_f64(),
        seed: scenario.load.seed,
        cases: plan.cases().count(),
        compare: Some(scenario.matrix.compared().axis().column.to_owned()),
        counts: None,
        metrics: String::new(),
        statistics: String::new(),
        one_machine: is_loopback(scenario.server.address(scenario.matrix.protocols()[0])),
        client,
    }
}

/// Whether an address is this machine's own; `localhost` in a container's network may be another container.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn port(address: &str) -> Option<u16> {
    address.rsplit_once(':')?.1.parse().ok()
}

impl measure::Listener for Progress {
    fn begins(&mut self, case: &Point, round: Option<measure::Place<'_>>) {
        self.show(case, round.map(|place| (place.index, place.rounds, place.round)));
    }

    fn progress(&mut self, done: f64) {
        self.advance(done);
    }

    fn block_done(&mut self) {
        Progress::block_done(self);
    }
}
