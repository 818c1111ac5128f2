//! `--server embedded`: the embedded server of a run, a separate process from before the first scenario to after the
//! last. Missing models are synthesised first.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::serve::Ready;
use crate::address::Address;
use crate::models;
use crate::process::Process;
use crate::report::terminal::say;
use crate::scenario::{Scenario, Server};
use crate::text;

/// How long the server may take to load all models.
const LOADING: Duration = Duration::from_secs(300);
/// Seed of a stand-in's weights.
const SEED: u64 = 1;

/// A server that is ready.
pub struct EmbeddedServer {
    process: Process,
    addresses: Server,
}

impl EmbeddedServer {
    /// Starts the server with the models of the scenarios that use it, and points them to it. `None` if none does.
    ///
    /// # Errors
    /// A model is missing and cannot be synthesised, or the server cannot load one.
    pub async fn for_scenarios<'a>(
        scenarios: impl Iterator<Item = &'a mut Scenario>,
        repository: &Path,
    ) -> Result<Option<EmbeddedServer>> {
        let asks = |scenario: &mut &'a mut Scenario| scenario.asked_servers().any(|server| server.is_embedded);
        let mut scenarios: Vec<_> = scenarios.collect();
        scenarios.retain_mut(asks);
        if scenarios.is_empty() {
            return Ok(None);
        }
        for scenario in &scenarios {
            scenario
                .check_tls()
                .map_err(|problem| anyhow::anyhow!("{}: {problem}", scenario.file.display()))?;
        }
        let mut names: Vec<String> = Vec::new();
        for scenario in &scenarios {
            for name in scenario.asked_models() {
                if names.iter().any(|known| known == name) {
                    continue;
                }
                if name == scenario.model.name {
                    synthesise(scenario, repository)?;
                }
                let folder = repository.join(name);
                ensure!(
                    folder.is_dir(),
                    "the embedded server has no model \"{name}\": make the folder {} with config.pbtxt and 1/model.onnx, or \
                     name the folder of your models with --model-repository",
                    folder.display()
                );
                names.push(name.to_owned());
            }
        }
        let server = Self::start(repository, &names).await?;
        for scenario in scenarios {
            scenario
                .asked_servers()
                .filter(|it| it.is_embedded)
                .for_each(|it| it.clone_from(&server.addresses));
        }
        Ok(Some(server))
    }

    /// Starts the server with some models of a repository.
    ///
    /// # Errors
    /// The server cannot load one of them.
    pub async fn start(repository: &Path, names: &[String]) -> Result<EmbeddedServer> {
        let (process, line) = Process::serve(repository, names, LOADING).await?;
        match addresses(&line) {
            Ok(addresses) => Ok(EmbeddedServer { process, addresses }),
            Err(error) => {
                process.stop().await;
                Err(error)
            }
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Server {
        &self.addresses
    }

    /// Ends the server.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// The addresses of a server that said it is ready.
///
/// # Errors
/// It could not load a model, or said something else.
pub fn addresses(line: &str) -> Result<Server> {
    let address = |text: &str| Address::parse(text).map_err(anyhow::Error::msg);
    let ready: Ready = serde_json::from_str(line).context("the embedded server said something unexpected")?;
    if !ready.unavailable.is_empty() {
        let words: Vec<String> = ready.unavailable.iter().map(|words| text::message(words)).collect();
        bail!("the embedded server: {}", words.join("; "));
    }
    Ok(Server { http: address(&ready.http)?, grpc: address(&ready.grpc)?, ..Server::embedded() })
}

/// Writes the stand-in of a scenario's model, if the scenario names one and the model is missing.
fn synthesise(scenario: &Scenario, repository: &Path) -> Result<()> {
    let Some(artifact) = &scenario.artifact else { return Ok(()) };
    if models::is_there(repository, &scenario.model.name)? {
        return Ok(());
    }
    say(&format!(
        "{}: no model is there; writing a stand-in with the real structure and random weights, whose answers mean \
         nothing (the published weights: runner models fetch {})",
        scenario.model.name, scenario.name
    ));
    let made = models::synth(artifact.stand_in, repository, &scenario.model.name, SEED, false)?;
    say(&format!("{}: {:.1} MB", made.path.display(), made.bytes as f64 / 1e6));
    Ok(())
}
