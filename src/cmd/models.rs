//! `runner models`: gets the model files that a scenario's `[artifact]` names. Asks and shows; the work is in `models`.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::models::{self, Installed};
use crate::report::terminal::{Download, ask, say};
use crate::run::Outcome;
use crate::scenario::{Artifact, Scenario};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Download the published weights, after showing their licence
    Fetch {
        /// Name of the scenario, or its file
        scenario: String,
        /// Accept the licence without being asked
        #[arg(long)]
        accept_license: bool,
        /// Folder of the models
        #[arg(long, value_name = "DIR", default_value = super::MODEL_REPOSITORY)]
        model_repository: PathBuf,
    },
    /// Write a stand-in with the real structure and seeded random weights
    Synth {
        /// Name of the scenario, or its file
        scenario: String,
        /// Seed of the weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Replace published weights too
        #[arg(long)]
        force: bool,
        /// Folder of the models
        #[arg(long, value_name = "DIR", default_value = super::MODEL_REPOSITORY)]
        model_repository: PathBuf,
    },
}

/// Gets the model files.
///
/// # Errors
/// The error of the command.
pub fn models(command: Command) -> Result<Outcome> {
    match command {
        Command::Synth { scenario, seed, force, model_repository } => synth(&scenario, &model_repository, seed, force)?,
        Command::Fetch { scenario, accept_license, model_repository } => {
            super::runtime()?.block_on(fetch(&scenario, &model_repository, accept_license))?;
        }
    }
    Ok(Outcome::Complete)
}

/// Writes a scenario's stand-in into the repository.
///
/// # Errors
/// The scenario has no `[artifact]`, or the file cannot be written.
fn synth(scenario: &str, repository: &Path, seed: u64, force: bool) -> Result<()> {
    let (scenario, artifact) = load(scenario)?;
    let installed = models::synth(artifact.stand_in, repository, &scenario.model.name, seed, force)?;
    tell(&installed);
    Ok(())
}

/// Downloads a scenario's published weights into the repository, once their licence is accepted.
///
/// # Errors
/// The scenario has no `[artifact]`, the licence is not accepted, or the download or its checks fail; nothing is left
/// behind then, and an existing model stays.
async fn fetch(scenario: &str, repository: &Path, accept_licence: bool) -> Result<()> {
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
