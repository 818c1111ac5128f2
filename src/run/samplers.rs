//! The metrics of all servers of a run, each sampled while its own cases are measured.

use tokio::sync::watch;

use super::folder::Folder;
use super::sampler::Sampler;
use super::targets::{Target, Targets};
use crate::matrix::{Name, Point};

/// A sampler a server's metrics address.
pub struct Samplers {
    samplers: Vec<(Option<String>, Sampler)>,
    /// The metrics address of each server, by the name that the scenario gives it.
    addresses: Vec<(Option<Name>, Option<String>)>,
}

impl Samplers {
    /// Starts a sampler for each server whose metrics can be read; `finish` tells which could not be.
    pub async fn start(targets: &Targets, folder: &Folder, stop: &watch::Receiver<bool>) -> Self {
        let mut samplers: Vec<(Option<String>, Sampler)> = Vec::new();
        for target in targets.iter() {
            let address = target.scenario.server.metrics.clone();
            if !samplers.iter().any(|(known, _)| *known == address) {
                let sampler = Sampler::start(address.as_deref(), folder.metrics(), stop).await;
                samplers.push((address, sampler));
            }
        }
        let address = |target: &Target| (target.server.clone(), target.scenario.server.metrics.clone());
        Samplers { samplers, addresses: targets.iter().map(address).collect() }
    }

    /// A case is measured from now on, or not any more.
    pub fn during(&self, case: &Point, measured: bool) {
        let address = self.addresses.iter().find(|(server, _)| *server == case.server).map(|(_, address)| address);
        if let Some((_, sampler)) = self.samplers.iter().find(|(known, _)| Some(known) == address) {
            sampler.during(measured.then(|| case.tag()));
        }
    }

    /// Ends, and tells in words what there is.
    pub fn finish(self) -> String {
        self.samplers.into_iter().map(|(_, sampler)| sampler.finish()).collect::<Vec<_>>().join("; ")
    }
}
