//! Reaches a scenario's server, reads its metadata, and checks that the two agree. Reports what a server does not
//! describe, and tries it with one request. Must not know how cases are measured.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connect::{LOOK, control};
use super::interrupt::{STOPPED, stopped};
use super::job;
use super::probe::{self, HttpTensors};
use crate::matrix::{Describer, Point, Protocol};
use crate::preflight::{self, Outputs};
use crate::protocol::control::Control;
use crate::protocol::control::description::{ModelConfig, ModelMetadata, ServerMetadata};
use crate::protocol::{Fault, FaultKind};
use crate::report::terminal::say;
use crate::scenario::{Scenario, Warmup};
use crate::text;
use crate::worker::pool::Pool;
use crate::worker::seat::{PoolError, Seat};

/// Least timeout for the answers that a run needs: the first request may load a model.
const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// After this long the user learns what the run waits for.
const WORDLESS: Duration = Duration::from_secs(5);
/// How long to wait for a server that does not answer before giving up a group.
const SERVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two attempts to reach a server.
const PAUSE: Duration = Duration::from_millis(250);

/// Name of a server that does not give one.
const UNNAMED: &str = "unnamed server";

/// A server that was found to agree with a scenario.
pub struct Reached {
    /// Its metadata.
    pub server: ServerMetadata,
    /// Its metadata of the model; empty if it gives none.
    pub metadata: ModelMetadata,
    /// The model's configuration, if the server has that extension.
    pub config: Option<ModelConfig>,
    /// The outputs to ask for.
    pub outputs: Outputs,
    /// The source that describes them, and the inputs.
    pub described_by: Describer,
    /// How tensors travel over HTTP.
    pub http: HttpTensors,
    /// Protocols over which the server reports that it and the model are ready.
    ready: Vec<Protocol>,
}

impl Reached {
    /// The server's label of the model's weights; empty if it gives none.
    pub fn weights(&self) -> String {
        self.config.as_ref().and_then(|config| config.weights.clone()).unwrap_or_default()
    }
}

/// What the server described, and what it did not.
#[derive(Default)]
pub struct Learned {
    /// The server's name and version.
    pub server: ServerMetadata,
    /// The model's tensors; empty if it tells none.
    pub metadata: ModelMetadata,
    /// The model's configuration, if it tells that.
    pub config: Option<ModelConfig>,
    ready: Vec<Protocol>,
    /// What the server does not describe, with its answer instead.
    pub untold: Vec<String>,
}

/// Reaches the server over every protocol of the scenario, and checks that the two agree. `None` when the user stopped it.
///
/// # Errors
/// The server cannot be reached, or it does not take what the scenario asks for.
pub async fn reach(scenario: &mut Scenario, cases: &[Point], stop: &watch::Receiver<bool>) -> Result<Option<Reached>> {
    let learned = tokio::select! {
        learned = learn(scenario) => learned?,
        () = stopped(stop) => return Ok(None),
    };
    let described_by = preflight::complete(scenario, &learned.metadata, learned.config.as_ref());
    let agreed = described_by.and_then(|described_by| {
        Ok((described_by, preflight::agree(scenario, &learned.metadata, learned.config.as_ref())?))
    });
    let (described_by, outputs) = match agreed {
        Ok(agreed) => agreed,
        Err(wrong) => {
            let list: String = wrong.iter().map(|line| format!("\n  {}", text::message(line))).collect();
            let ServerMetadata { name, version, .. } = &learned.server;
            bail!("the scenario does not fit the model \"{}\" of {name} {version}:{list}", scenario.model.name)
        }
    };
    let scenario = &*scenario;
    let http = probe::http_tensors(scenario, cases, &learned.server, &outputs, stop).await;
    let undescribed = preflight::undescribed(scenario, &learned.metadata);
    for protocol in scenario.matrix.protocols() {
        let doubtful = undescribed.is_some() || !learned.ready.contains(&protocol);
        let case = cases.iter().find(|case| case.protocol == protocol).filter(|_| doubtful);
        let Some(case) = case else { continue };
        match try_out(scenario, &outputs, case, &http, stop).await {
            Ok(()) => {}
            Err(PoolError::Interrupted) => return Ok(None),
            Err(PoolError::Failed(fault)) => {
                bail!(unusable(scenario, protocol, &http.explained(case, fault), &learned))
            }
        }
    }
    let mut untold = learned.untold;
    untold.extend(undescribed);
    if !untold.is_empty() {
        let list = untold.join("; ");
        say(&format!("{}: the server does not tell: {list}. Measured is what the scenario says.", scenario.name));
    }
    let Learned { server, metadata, config, ready, .. } = learned;
    Ok(Some(Reached { server, metadata, config, outputs, described_by, http, ready }))
}

/// Asks for everything. Needed answers may take as long as the scenario's timeout; what a run can do without may not.
pub async fn learn(scenario: &Scenario) -> Result<Learned> {
    let (name, version) = (scenario.model.name.as_str(), scenario.model.version.as_deref());
    let mut learned = Learned::default();
    let mut controls = Vec::new();
    for protocol in scenario.matrix.protocols() {
        let mut control = control(scenario, protocol, FIRST_ANSWER.max(scenario.load.timeout))?;
        let asked = aloud(scenario, protocol, is_ready(&mut control, name, version)).await;
        let refused = asked.or_else(|fault| if is_unreachable(&fault) { Err(fault) } else { Ok(Some(fault)) });
        match refused {
            Ok(None) => learned.ready.push(protocol),
            Ok(Some(fault)) => {
                let what = if fault.kind == FaultKind::Unsupported { "readiness" } else { "that it is ready" };
                learned.untold.push(format!("{what} ({protocol}: {fault})"));
            }
            Err(fault) => {
                let address = scenario.server.address(protocol);
                bail!("the server at {address} ({protocol}) cannot be used{}: {fault}", hint(&fault))
            }
        }
        controls.push((protocol, control));
    }
    let mut reasons = Vec::new();
    for (protocol, control) in &mut controls {
        match aloud(scenario, *protocol, control.model_metadata(name, version)).await {
            Ok(metadata) => learned.metadata = metadata,
            Err(fault) => reasons.push(format!("{protocol}: {fault}")),
        }
        if learned.metadata.describes() {
            reasons.clear();
            break;
        }
    }
    if !reasons.is_empty() {
        learned.untold.push(format!("the model's metadata ({})", reasons.join(", ")));
    }
    controls.iter_mut().for_each(|(_, control)| control.within(LOOK));
    learn_more(name, version, &mut controls, &mut learned).await;
    Ok(learned)
}

/// Asks for what a run can do without.
async fn learn_more(model: &str, version: Option<&str>, controls: &mut [(Protocol, Control)], learned: &mut Learned) {
    let mut why = None;
    for (protocol, control) in controls.iter_mut() {
        match control.server_metadata().await {
            Ok(server) => {
                (learned.server, why) = (server, None);
                break;
            }
            Err(fault) => why = why.or(Some(format!("its name ({protocol}: {fault})"))),
        }
    }
    learned.untold.extend(why.take());
    if learned.server.name.is_empty() {
        learned.server.name = UNNAMED.to_owned();
    }
    for (protocol, control) in controls {
        match control.model_config(model, version).await {
            Ok(config) => {
                (learned.config, why) = (Some(config), None);
                break;
            }
            // another attempt would take as long
            Err(fault) if fault.kind == FaultKind::Timeout => {
                why = Some(format!("the model's configuration ({protocol}: {fault})"));
                break;
            }
            Err(fault) => why = why.or(Some(format!("the model's configuration ({protocol}: {fault})"))),
        }
    }
    learned.untold.extend(why);
}

/// Asks whether server and model are ready; returns the reason if they are not.
async fn is_ready(control: &mut Control, model: &str, version: Option<&str>) -> Result<Option<Fault>, Fault> {
    let server = control.server_ready().await;
    if let Err(fault) = &server
        && is_unreachable(fault)
    {
        return Err(fault.clone());
    }
    let model = control.model_ready(model, version).await;
    match (server, model) {
        (_, Err(fault)) if is_unreachable(&fault) => Err(fault),
        // the model's fault is more specific
        (_, Err(fault)) | (Err(fault), Ok(())) => Ok(Some(fault)),
        (Ok(()), Ok(())) => Ok(None),
    }
}

/// Sends one request of a case and verifies its answer.
pub async fn try_out(
    scenario: &Scenario,
    outputs: &Outputs,
    case: &Point,
    http: &HttpTensors,
    stop: &watch::Receiver<bool>,
) -> Result<(), PoolError> {
    let mut job = job::job(scenario, outputs, case, http.of(case));
    (job.warmup, job.concurrency, job.connections) = (Warmup::default(), 1, 1);
    Pool::start(&job, &Seat::here(1), stop).await?.stop().await;
    Ok(())
}

fn unusable(scenario: &Scenario, protocol: Protocol, fault: &Fault, learned: &Learned) -> String {
    let (model, address) = (&scenario.model.name, scenario.server.address(protocol));
    let mut words = format!("the model \"{model}\" at {address} ({protocol}) cannot be used: {fault}");
    let others: Vec<&str> = learned
        .untold
        .iter()
        .map(String::as_str)
        .filter(|untold| !untold.contains(&fault.message))
        .collect();
    if !others.is_empty() {
        words.push_str(&format!("\n  the server does not tell: {}", others.join("; ")));
    }
    // a server that gives its name is not a gateway
    if fault.kind == FaultKind::Unsupported && learned.server.name == UNNAMED {
        words.push_str(
            "\n  is this the address of the server itself? A gateway may go by the Host header, which `host` in \
             [server] sets, or by a path before /v2, which is written behind the port: \"gpu-box:8000/triton\"",
        );
    }
    words
}

/// Waits for an answer, and reports the wait if it takes long.
async fn aloud<T>(
    scenario: &Scenario,
    protocol: Protocol,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    tokio::pin!(answer);
    if let Ok(answer) = timeout(WORDLESS, &mut answer).await {
        return answer;
    }
    let longest = FIRST_ANSWER.max(scenario.load.timeout).as_secs_f64();
    let address = scenario.server.address(protocol);
    say(&format!("{}: waiting for the server at {address} ({protocol}), up to {longest} s", scenario.name));
    answer.await
}

/// Whether the server gave no answer at all.
fn is_unreachable(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Connect | FaultKind::Timeout | FaultKind::Transport)
}

fn hint(fault: &Fault) -> &'static str {
    match fault.kind {
        // the remedy follows; a question whether it is TLS is none
        _ if fault.message.contains("TLS") && !fault.message.contains("is it one of TLS?") => "",
        // the system's words: no library gives such an error a kind
        _ if ["lookup address", "No such host"].iter().any(|words| fault.message.contains(words)) => {
            "; can the name be resolved?"
        }
        FaultKind::Timeout => "; is it still loading? (timeout_s in [load] is how long it is waited for)",
        FaultKind::Transport => {
            "; is this its port? (--http takes the HTTP port, 8000 by default, --grpc the gRPC port, 8001; \
             https:// or grpcs:// goes before one of TLS)"
        }
        _ => "; is the server up, and is this its port? (scripts/triton start, or --server embedded; --http, --grpc)",
    }
}

/// Why the server cannot be used now, after waiting for one that restarts.
pub async fn unreachable(scenario: &Scenario, reached: &Reached, stop: &watch::Receiver<bool>) -> Option<String> {
    let mut last = None;
    let attempts = async {
        while let Some(fault) = unready(scenario, reached).await {
            last = Some(fault);
            sleep(PAUSE).await;
        }
    };
    tokio::select! {
        done = timeout(SERVER_TIMEOUT, attempts) => match done {
            Ok(()) => None,
            Err(_) => Some(last.unwrap_or_else(|| {
                format!("the server cannot be used: no answer within {} s", SERVER_TIMEOUT.as_secs())
            })),
        },
        () = stopped(stop) => Some(STOPPED.to_owned()),
    }
}

async fn unready(scenario: &Scenario, reached: &Reached) -> Option<String> {
    let (name, version) = (scenario.model.name.as_str(), scenario.model.version.as_deref());
    for protocol in scenario.matrix.protocols() {
        let refused = match control(scenario, protocol, SERVER_TIMEOUT) {
            Ok(mut control) => is_ready(&mut control, name, version).await,
            Err(fault) => Err(fault),
        };
        // a server that never reported ready need not do so now
        let fault = match refused {
            Ok(said) => said.filter(|_| reached.ready.contains(&protocol)),
            Err(fault) => Some(fault),
        };
        if let Some(fault) = fault {
            return Some(format!("the server cannot be used ({protocol}): {fault}"));
        }
    }
    None
}
