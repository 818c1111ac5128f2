//! `runner init`: asks a server of a model, and drafts the scenario that measures it. Must not know how it is shown.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use tokio::sync::watch;

use super::embedded_server::EmbeddedServer;
use super::interrupt::stop_on_signals;
use super::reach::{self, Learned};
use super::{connect, probe};
use crate::matrix::{AxisId, Protocol, Value};
use crate::plan::Plan;
use crate::preflight::{self, Draft, Shapes};
use crate::protocol::FaultKind;
use crate::report::terminal::say;
use crate::scenario::{Model, Overrides, Scenario, Server};
use crate::text;
use crate::worker::seat::PoolError;

/// What to draft a scenario of.
pub struct Wanted {
    /// The model's name on the server.
    pub model: String,
    /// A version of it.
    pub version: Option<String>,
    /// Where the server is.
    pub place: Place,
    /// Shapes without the batch dimension, by the input's name; the only input's name may be empty.
    pub shapes: Shapes,
}

/// Where a server is.
pub enum Place {
    /// The embedded server, with the models of this folder.
    Embedded(PathBuf),
    /// Other addresses than Triton's default ones on this machine.
    At(Box<Overrides>),
}

/// Asks for the shape of an input, of which the sizes are known that are not -1; `None` if nobody can answer.
pub type AskShape<'a> = &'a dyn Fn(&str, Option<&[i64]>) -> Result<Option<Vec<usize>>>;

/// A drafted scenario.
pub struct Drafted {
    /// Its text.
    pub text: String,
    /// Whether a request as it describes was answered over every protocol.
    pub is_answered: bool,
}

/// Asks the server, and drafts the scenario. Reports requests that are not answered.
///
/// # Errors
/// The server or the model cannot be asked, or is not described well enough.
pub async fn draft(wanted: Wanted, ask: AskShape<'_>) -> Result<Drafted> {
    let stop = stop_on_signals();
    let mut asking = asking(&wanted.model, wanted.version.as_deref())?;
    let default = asking.server.clone();
    let server = match &wanted.place {
        Place::Embedded(repository) => Some(embedded(&mut asking, repository).await?),
        Place::At(overrides) => {
            asking = asking.overridden_by(overrides).map_err(anyhow::Error::msg)?;
            None
        }
    };
    let drafted = draft_at(asking, &default, wanted, ask, &stop).await;
    if let Some(server) = server {
        server.stop().await;
    }
    drafted
}

/// A scenario with nothing but the model, to ask with.
fn asking(model: &str, version: Option<&str>) -> Result<Scenario> {
    const ASKING: &str = "title = \"init\"\n[model]\nname = \"model\"\n[matrix]\n";
    let mut scenario = Scenario::parse(Path::new("init.toml"), ASKING.as_bytes())?;
    scenario.model = Model { name: model.to_owned(), version: version.map(str::to_owned), ..scenario.model };
    Ok(scenario)
}

async fn embedded(asking: &mut Scenario, repository: &Path) -> Result<EmbeddedServer> {
    let name = &asking.model.name;
    ensure!(
        repository.join(name).is_dir(),
        "the embedded server has no model \"{}\": there is no folder {}; name the folder of your models with \
         --model-repository, or an ONNX file",
        text::name(name),
        repository.join(name).display()
    );
    let server = EmbeddedServer::start(repository, std::slice::from_ref(name)).await?;
    asking.server.clone_from(server.addresses());
    Ok(server)
}

async fn draft_at(
    mut asking: Scenario,
    default: &Server,
    wanted: Wanted,
    ask: AskShape<'_>,
    stop: &watch::Receiver<bool>,
) -> Result<Drafted> {
    let addresses = match &wanted.place {
        Place::Embedded(_) => Some(Server::embedded()),
        Place::At(_) => Some(asking.server.clone()).filter(|server| server != default),
    };
    connect::find(&mut asking, stop).await;
    let (learned, protocols) = learn(&asking).await?;
    let draft = Draft {
        server: &learned.server,
        metadata: &learned.metadata,
        config: learned.config.as_ref(),
        model: &asking.model,
        addresses: addresses.as_ref(),
        protocols: &protocols,
    };
    let mut shapes = name_only_input(wanted.shapes, &learned)?;
    for (name, known) in draft.open(&shapes) {
        match ask(&name, known.as_deref())? {
            Some(shape) => drop(shapes.insert(name, shape)),
            None => {
                let (shown, example) = told(known.as_deref());
                bail!(
                    "input \"{0}\": its shape {shown}: give it without the batch dimension, such as --shape {0}={example}",
                    text::name(&name)
                )
            }
        }
    }
    let model = text::name(&asking.model.name);
    let text = draft.text(&shapes).map_err(|wrong| {
        let list: String = wrong.iter().map(|line| format!("\n  {}", text::message(line))).collect();
        anyhow::anyhow!("the server does not describe the model \"{model}\" well enough:{list}")
    })?;
    let mut scenario = Scenario::parse(Path::new("draft.toml"), text.as_bytes())?;
    scenario.server.clone_from(&asking.server);
    scenario.servers.clear();
    let is_answered = is_answered(&scenario, &learned, stop).await?;
    Ok(Drafted { text, is_answered })
}

/// Asks over both protocols; returns those that are answered. What one of them tells stands for the other.
async fn learn(asking: &Scenario) -> Result<(Learned, Vec<Protocol>)> {
    let (mut told, mut protocols, mut refused) = (None, Vec::new(), None);
    let mut untold: Vec<String> = Vec::new();
    for protocol in asking.matrix.protocols() {
        let mut scenario = asking.clone();
        scenario.matrix.set(AxisId::Protocol, vec![Value::Word(protocol.name())]);
        match reach::learn(&scenario).await {
            Ok(learned) if learned.metadata.describes() => {
                protocols.push(protocol);
                told = told.or(Some(learned));
            }
            Ok(learned) => {
                protocols.push(protocol);
                untold.extend(learned.untold);
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match (told, refused) {
        (Some(told), _) => Ok((told, protocols)),
        (None, Some(refused)) if protocols.is_empty() => Err(refused),
        _ => {
            let model = text::name(&asking.model.name);
            bail!("the server does not tell of a model \"{model}\": {}", text::message(&untold.join("; ")))
        }
    }
}

/// Gives the shape without a name to the only input.
fn name_only_input(mut shapes: Shapes, learned: &Learned) -> Result<Shapes> {
    let inputs = &learned.metadata.inputs;
    let names = || {
        inputs
            .iter()
            .map(|input| format!("\"{}\"", text::name(&input.name)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(shape) = shapes.remove("") {
        let [only] = &inputs[..] else {
            bail!("--shape: the model has the inputs {}: say which, such as --shape NAME=3,640,640", names())
        };
        shapes.insert(only.name.clone(), shape);
    }
    let unknown = shapes.keys().find(|name| !inputs.iter().any(|input| input.name == **name));
    match unknown {
        Some(name) => bail!("--shape {}=..: the model has no such input, it has {}", text::name(name), names()),
        None => Ok(shapes),
    }
}

/// Sends one request over each protocol, and reports those without a good answer.
async fn is_answered(scenario: &Scenario, learned: &Learned, stop: &watch::Receiver<bool>) -> Result<bool> {
    let outputs = match preflight::agree(scenario, &learned.metadata, learned.config.as_ref()) {
        Ok(outputs) => outputs,
        Err(wrong) => bail!("the model cannot be measured: {}", text::message(&wrong.join("; "))),
    };
    let plan = Plan::expand(scenario);
    let cases: Vec<_> = plan.cases().cloned().collect();
    let http = probe::http_tensors(scenario, &cases, &learned.server, &outputs, stop).await;
    let mut all = true;
    for protocol in scenario.matrix.protocols() {
        let Some(case) = cases.iter().find(|case| case.protocol == protocol) else { continue };
        match reach::try_out(scenario, &outputs, case, &http, stop).await {
            Ok(()) => {}
            Err(PoolError::Interrupted) => bail!("stopped"),
            Err(PoolError::Failed(fault)) => {
                let fault = http.explained(case, fault);
                let help = match fault.kind {
                    FaultKind::Timeout => "raise timeout_s in [load]",
                    _ => "change the data of its inputs",
                };
                say(&format!("a request of this scenario is not answered over {protocol}: {fault}; {help}"));
                all = false;
            }
        }
    }
    Ok(all)
}

/// What is known of a shape, and an example of one that fits.
fn told(known: Option<&[i64]>) -> (String, String) {
    let Some(known) = known else {
        return ("is not told".to_owned(), "3,640,640".to_owned());
    };
    let sizes: Vec<String> = known.iter().map(|size| if *size < 1 { 640 } else { *size }.to_string()).collect();
    (format!("{known:?} has free dimensions"), sizes.join(","))
}
