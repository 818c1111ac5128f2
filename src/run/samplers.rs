//! The metrics of all servers of a run, each sampled while its own cases are measured.

use tokio::sync::watch;

use super::folder::Folder;
use super::sampler::Sampler;
use super::targets::Targets;
use crate::address::Address;
use crate::matrix::{Name, Point};
use crate::record::MetricsRead;

/// The samplers of a run.
pub struct Samplers(Vec<OfServers>);

/// A sampler, and its servers: names of the scenario that share a metrics address.
struct OfServers {
    address: Option<Address>,
    servers: Vec<Option<Name>>,
    sampler: Sampler,
}

impl Samplers {
    /// Starts a sampler for each server whose metrics can be read; `finish` reports which could not be.
    pub async fn start(targets: &Targets, folder: &Folder, stop: &watch::Receiver<bool>) -> Self {
        let mut all: Vec<OfServers> = Vec::new();
        for target in targets.iter() {
            let (name, address) = (target.case.server.clone(), target.scenario.server.metrics.clone());
            match all.iter_mut().find(|known| known.address == address) {
                Some(known) => known.servers.push(name),
                None => {
                    let sampler = Sampler::start(address.clone(), folder.metrics(), stop).await;
                    all.push(OfServers { address, servers: vec![name], sampler });
                }
            }
        }
        Samplers(all)
    }

    /// Notes whether a case is measured from now on.
    pub fn during(&self, case: &Point, measured: bool) {
        if let Some(of_server) = self.0.iter().find(|known| known.servers.contains(&case.server)) {
            of_server.sampler.during(measured.then(|| case.tag()));
        }
    }

    /// Ends, and reports what was read.
    pub fn finish(self) -> MetricsRead {
        MetricsRead::Of(self.0.into_iter().map(|of_servers| of_servers.sampler.finish()).collect())
    }
}
