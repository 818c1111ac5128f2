//! `runner models`: gets the model files that a scenario's `[artifact]` names. Asks and shows; the work is in `models`.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::models::{self, Installed};
use crate::report::terminal::{Download, ask, say};
use crate::scenario::{Artifact, Scenario};

/// Writes a scenario's stand-in into the repository.
///
/// # Errors
/// The scenario has no `[artifact]`, or the file cannot be written.
pub fn synth(scenario: &str, repository: &Path, seed: u64, force: bool) -> Result<()> {
    let (scenario, artifact) = load(scenario)?;
    let installed = models::synth(artifact.stand_in, repository, &scenario.model.name, seed, force)?;
    tell(&installed);
    Ok(())
}

/// Downloads a scenario's published weights into the repository, once their licence is accepted.
///
/// # Errors
/// The scenario has no `[artifact]`, the licence is not accepted, or the download or its checks fail; nothing is left
/// behind then, and a model that was there stays.
pub async fn fetch(scenario: &str, repository: &Path, accept_licence: bool) -> Result<()> {
    let (scenario, artifact) = load(scenario)?;
    let confirm = |licence: &str| {
        say(&format!("licence of {}:\n  {licence}", artifact.member));
        if accept_licence { Ok(true) } else { ask("accept it? [y/N] ") }
    };
    let mut download = Download::new();
    let progress = |done, total| download.show(done, total);
    let installed = tokio::select! {
        installed = models::fetch(&artifact, repository, &scenario.model.name, confirm, progress) => installed?,
        _ = tokio::signal::ctrl_c() => bail!("stopped; nothing was kept"),
    };
    tell(&installed);
    Ok(())
}

fn load(scenario: &str) -> Result<(Scenario, Artifact)> {
    let scenario = Scenario::load(Path::new(scenario))?;
    let artifact = scenario.artifact.clone();
    let artifact = artifact.with_context(|| {
        format!("{} has no [artifact] section that says where the model is", scenario.file.display())
    })?;
    Ok((scenario, artifact))
}

fn tell(installed: &Installed) {
    say(&format!("{}: {:.1} MB, weights: {}", installed.path.display(), installed.bytes as f64 / 1e6, installed.label));
    for configuration in &installed.configurations {
        say(&format!("{}: says so to clients", configuration.display()));
    }
}
