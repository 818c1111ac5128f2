//! The composition root of a run: load, plan, check, measure, write, report.

pub mod agent;
mod blank_row;
mod block_row;
mod budget;
mod calibrate;
mod case_run;
mod case_search;
mod cold_start;
mod cold_start_row;
mod connect;
mod context;
mod cpu_latency;
mod data;
mod describe;
mod embedded_server;
mod fleet;
mod folder;
mod host_rows;
pub mod init;
pub mod interrupt;
mod job;
pub mod kept;
mod measure;
mod mlperf;
mod observer;
mod probe;
mod reach;
mod request_rows;
pub mod resume;
mod rows;
mod sampler;
mod samplers;
mod search;
pub mod serve;
mod sweep;
mod targets;
mod verify;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::environment::Environment;
use crate::hosts::Fleet;
use crate::matrix::Point;
use crate::plan::Plan;
use crate::record::{Manifest, State, Status};
use crate::report;
use crate::report::terminal::{Progress, ReaderGone, Show, say};
use crate::scenario::{Overrides, Scenario, Server};
use crate::statistics;
use calibrate::Ceilings;
use context::Context;
use cpu_latency::CpuLatencyLimit;
use embedded_server::EmbeddedServer;
pub use fleet::Gathering;
use folder::Folder;
use interrupt::stop_on_signals;
use resume::{Going, Measured, Resume};
use rows::{CaseRows, CaseTotals};
use samplers::Samplers;
use sweep::Sweep;
use targets::{Observers, Target, Targets};

/// Numbers of a pair of cases that get a verdict: mean and 95th percentile.
const JUDGED: usize = 2;

/// The options of `runner SCENARIO...`.
pub struct Options {
    /// Scenario files.
    pub scenarios: Vec<PathBuf>,
    /// Changes to all of them.
    pub overrides: Overrides,
    /// Folder under which each run makes its own.
    pub results: PathBuf,
    /// Whether to use the embedded server, whatever the scenarios say.
    pub embedded: bool,
    /// The folder of the embedded server's models.
    pub model_repository: PathBuf,
    /// Whether to measure the client's maximum throughput in each case first.
    pub calibrate: bool,
    /// Whether each request has a row of its own in a file of the run.
    pub requests: bool,
    /// Whether this machine's processors are kept from sleeping.
    pub awake: bool,
    /// Whether this program is copied to the hosts that send requests.
    pub ship: bool,
    /// How hosts come to the run that its scenarios do not name.
    pub gathering: Gathering,
    /// Whether a flagged row is a failure.
    pub strict: bool,
    /// How progress is reported.
    pub show: Show,
    /// Whether JSON is printed instead of tables.
    pub json: bool,
    /// What to do with the scenarios.
    pub mode: Mode,
    /// The run to take up again, whose scenario is the only one.
    pub resume: Option<Resume>,
    /// The command line without the program's name, which runs write down.
    pub arguments: Vec<String>,
}

/// What to do with a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Measure it.
    Measure,
    /// Print the plan; nothing is sent.
    List,
    /// Send each distinct request of a case once, and check its answer; nothing is timed.
    Verify,
}

/// The outcome, for the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Every case is `ok`.
    Complete,
    /// Some case is not.
    Incomplete,
    /// A threshold is broken.
    Broken,
    /// The user stopped it.
    Interrupted,
}

/// Does what the options ask for, one scenario after the other. Reads all of them before sending anything.
///
/// # Errors
/// A scenario is wrong, the server cannot be reached or does not agree with it, or results cannot be written.
pub async fn run(options: &Options) -> Result<Outcome> {
    let stop = stop_on_signals();
    let scenarios = load(options);
    if options.mode == Mode::List {
        return list(&scenarios?, options.json);
    }
    // tasks wait for this one, and end with it, whatever is wrong; others are not made to wait for what is wrong
    let scenarios = match options.gathering {
        Gathering::Tasks(_) => scenarios,
        Gathering::None | Gathering::Listen(..) => Ok(scenarios?),
    };
    let Some(gathered) = fleet::gather(&options.gathering, &stop).await? else {
        return Ok(Outcome::Interrupted);
    };
    let ran = async { run_all(scenarios?, gathered.as_ref(), options, &stop).await }.await;
    // however it went: they are told, and end in order; whoever reads the output may take their time
    if let Some(fleet) = gathered {
        fleet.close().await;
    }
    let (worst, runs) = ran?;
    let shown = match options.json {
        true if options.mode == Mode::Measure => report::print_runs_json(&runs),
        _ => runs.iter().try_for_each(|run| report::terminal::run(run)),
    };
    match shown {
        // the outcome counts, whether or not somebody reads the output to its end
        Err(error) if !error.is::<ReaderGone>() => Err(error),
        _ => Ok(worst),
    }
}

/// The scenarios as the options change them, and their plans.
fn load(options: &Options) -> Result<Vec<(Plan, Scenario)>> {
    let mut scenarios = Vec::new();
    for path in &options.scenarios {
        let mut scenario = Scenario::load(path)?.overridden_by(&options.overrides).map_err(anyhow::Error::msg)?;
        if options.embedded {
            ensure!(
                scenario.servers.is_empty(),
                "--server embedded: {} names its servers: choose some of them by --set servers=NAME,..",
                path.display()
            );
            scenario.overridden.push("--server embedded".to_owned());
            scenario.server = Server::embedded();
        }
        if options.awake {
            scenario.overridden.push("--awake".to_owned());
        }
        scenarios.push((Plan::expand(&scenario), scenario));
    }
    Ok(scenarios)
}

/// `--list`: prints the plans.
fn list(scenarios: &[(Plan, Scenario)], json: bool) -> Result<Outcome> {
    match json {
        true => report::terminal::plans_json(scenarios)?,
        false => scenarios
            .iter()
            .try_for_each(|(plan, scenario)| report::terminal::plan(scenario, plan))?,
    }
    Ok(Outcome::Complete)
}

/// Verifies or measures all scenarios. Returns the worst outcome, and the folders of the runs.
async fn run_all(
    mut scenarios: Vec<(Plan, Scenario)>,
    gathered: Option<&Arc<Fleet>>,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<(Outcome, Vec<PathBuf>)> {
    let _limit = options.awake.then(CpuLatencyLimit::hold).transpose()?;
    let asking = scenarios.iter_mut().map(|(_, scenario)| scenario);
    let server = EmbeddedServer::for_scenarios(asking, &options.model_repository).await?;
    let mut worst = Outcome::Complete;
    let mut runs = Vec::new();
    for (plan, scenario) in &mut scenarios {
        if *stop.borrow() {
            worst = worst.max(Outcome::Interrupted);
            break;
        }
        let done = match options.mode {
            Mode::Verify => verify::verify(scenario, plan, gathered, options, stop)
                .await
                .map(|outcome| (outcome, None)),
            _ => measure(scenario, plan, gathered, options, stop).await,
        };
        match done {
            Ok((outcome, run)) => {
                worst = worst.max(outcome);
                runs.extend(run);
            }
            // the reader wants nothing more
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
    Ok((worst, runs))
}

async fn measure(
    scenario: &Scenario,
    plan: &Plan,
    gathered: Option<&Arc<Fleet>>,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<(Outcome, Option<PathBuf>)> {
    // before a server is asked anything: the run may still go on
    let reopened = match &options.resume {
        Some(resume) => Some((resume, Folder::reopen(&resume.run)?)),
        None => None,
    };
    let Some(targets) = Targets::reach(scenario, plan, stop).await? else {
        return Ok((Outcome::Interrupted, None));
    };
    let data = data::digests(scenario)?;
    let Some(fleet) = fleet::reach(scenario, plan, &targets, gathered, &data, options, stop).await? else {
        return Ok((Outcome::Interrupted, None));
    };
    let measured = measure_over(&fleet, &targets, scenario, plan, (reopened, &data), options, stop).await;
    if gathered.is_none() {
        fleet.close().await;
    }
    measured
}

async fn measure_over(
    fleet: &Fleet,
    targets: &Targets,
    scenario: &Scenario,
    plan: &Plan,
    (reopened, data): (Option<(&Resume, Folder)>, &BTreeMap<PathBuf, String>),
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<(Outcome, Option<PathBuf>)> {
    let ceilings = match options.calibrate {
        true => calibrate::calibrate(targets, fleet, plan, stop).await?,
        false => Some(Ceilings::default()),
    };
    let Some(ceilings) = ceilings else { return Ok((Outcome::Interrupted, None)) };

    let started = Timestamp::now();
    let http = &targets.first().scenario.server.http;
    let port = http.port().filter(|_| http.is_loopback());
    let client = Environment::read(port).await;
    let now = Manifest {
        arguments: options.arguments.clone(),
        data: data::named(scenario, data)?,
        hosts: fleet.hosts.iter().map(describe::machine).collect(),
        ..describe::manifest(scenario, plan, targets, client, started)
    };
    let going = match reopened {
        Some((resume, folder)) => resume::take_up(resume, folder, scenario, plan, targets, &now)?,
        None => begin(scenario, targets, &options.results, now, started)?,
    };
    let differs = going.differs();
    let Going { folder, mut manifest, measured, mut kept } = going;

    let mut observers = Observers::begin(targets, stop).await;
    if let Some(silence) = observers.silence() {
        say(&format!("{}: no statistics of the server's own ({silence})", scenario.name));
    }
    let samplers = Samplers::start(targets, &folder, stop).await;
    let mut progress = Progress::new(options.show, scenario, plan, &manifest);
    let (mut states, mut flagged) = (Vec::new(), false);
    let mut sweep = Sweep::new(scenario);
    for group in &plan.groups {
        if let Some(records) = measured.of(group) {
            sweep.note(records.iter().copied(), folder.path())?;
            records.iter().for_each(|record| progress.case_done(record));
            progress.group_done(group);
            states.extend(records.iter().map(|record| record.status));
            continue;
        }
        let context = Context {
            scenario,
            targets,
            fleet,
            manifest: &manifest,
            ceilings: &ceilings,
            samplers: &samplers,
            logs_requests: options.requests,
            folder: &folder,
            rounds_least: statistics::rounds_to_judge(JUDGED * plan.pairs()),
            differs,
            stop,
        };
        let row = |case: &Point, status: Status, reason: &str| {
            CaseRows::alone(blank_row::not_measured(&context, group, case, status, reason))
        };
        let skipped = group
            .cases
            .iter()
            .filter_map(|case| Some(row(case, Status::Skipped, &sweep.skips(case)?)));
        let skipped: Vec<_> = skipped.collect();
        let (mut rows, written) = match sweep::without(group, |case| sweep.skips(case).is_some()) {
            None => (Vec::new(), Ok(())),
            Some(rest) => match targets.unreachable(&rest.cases, stop).await {
                Some(reason) => (rest.cases.iter().map(|case| row(case, Status::NotRun, &reason)).collect(), Ok(())),
                None => {
                    measure::group(&context, &rest, std::mem::take(&mut kept), &mut observers, &mut progress).await?
                }
            },
        };
        rows.extend(skipped);
        sweep.note(rows.iter().map(|rows| &rows.record), folder.path())?;
        // told first: whatever becomes of the disk, it is on the terminal
        rows.iter().for_each(|rows| progress.case_done(&rows.record));
        flagged |= rows.iter().any(|rows| rows.record.is_doubtful());
        let written = written.and_then(|()| {
            rows.iter().try_for_each(|rows| folder.record(rows))?;
            if *stop.borrow() { Ok(()) } else { folder.group_done() }
        });
        written.map_err(|error| progress.unwritten(error, folder.path()))?;
        progress.group_done(group);
        states.extend(rows.iter().map(|rows| rows.record.status));
    }
    progress.finish(folder.path());
    manifest.metrics = samplers.finish();

    let complete = states.iter().all(|status| matches!(status, Status::Ok | Status::Skipped));
    let interrupted = *stop.borrow();
    manifest.state = match (complete, interrupted) {
        (true, _) => State::Complete,
        (false, true) => State::Interrupted,
        (false, false) => State::Incomplete,
    };
    manifest.ended = Some(Timestamp::now().into());
    if complete {
        manifest.counts = observers.check().await;
    }
    manifest.statistics = observers.silence().unwrap_or_default();
    let conclude = || {
        if options.resume.is_some() {
            resume::in_order(folder.path(), plan)?;
        }
        folder.manifest(&manifest)?;
        if complete {
            folder.complete()?;
        }
        report::write_files(folder.path())
    };
    let broken = conclude().map_err(|error| progress.unwritten(error, folder.path()))?;
    let outcome = match manifest.state {
        State::Complete | State::Incomplete if broken => Outcome::Broken,
        State::Complete if options.strict && flagged => Outcome::Incomplete,
        State::Complete => Outcome::Complete,
        State::Interrupted => Outcome::Interrupted,
        State::Incomplete | State::Running => Outcome::Incomplete,
    };
    Ok((outcome, Some(folder.path().to_owned())))
}

/// Makes the folder of a new run, with what is known before anything is measured.
fn begin(
    scenario: &Scenario,
    targets: &Targets,
    results: &Path,
    manifest: Manifest,
    started: Timestamp,
) -> Result<Going> {
    let folder = Folder::create(results, &scenario.name, started)?;
    folder.scenario(&scenario.text)?;
    for (Target { reached, .. }, asked) in targets.counted().zip(&manifest.targets) {
        let tag = asked.tag();
        folder.json(&format!("server{tag}"), &reached.server)?;
        folder.json(&format!("model_metadata{tag}"), &reached.metadata)?;
        if let Some(config) = &reached.config {
            folder.json(&format!("model_config{tag}"), &config.json)?;
        }
    }
    folder.manifest(&manifest)?;
    Ok(Going { folder, manifest, measured: Measured::default(), kept: Vec::new() })
}

impl context::Listener for Progress {
    fn begins(&mut self, case: &Point, round: Option<context::Place<'_>>) {
        self.show(case, round.map(|place| (place.index, place.rounds, place.round)));
    }

    fn starts_cold(&mut self, case: &Point, (number, all): (u32, u32)) {
        self.say_current(case, &format!("cold start {} of {all}", number + 1));
    }

    fn progress(&mut self, done: f64) {
        self.advance(done);
    }

    fn block_done(&mut self, case: &Point, totals: &CaseTotals) {
        let so_far = totals.so_far(self.is_detailed());
        Progress::block_done(self, case, so_far);
    }
}
