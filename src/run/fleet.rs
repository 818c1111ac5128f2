//! The other machines that send requests for a run: reached, compared, and held against what the run asks for. Must not know how
//! streams to them come about.

use anyhow::{Result, bail, ensure};
use tokio::sync::watch;

use super::Options;
use super::interrupt::stopped;
use super::targets::Targets;
use crate::hosts::Fleet;
use crate::hosts::push::Push;
use crate::plan::Plan;
use crate::scenario::{Hosts, Scenario};

/// Most client processes of one machine.
const PROCESSES_MAX: u32 = 256;

/// Reaches the hosts of a scenario; none if it names none. `None` when the user stopped it.
///
/// # Errors
/// A host cannot be used, or there are fewer than the run asks for, or they cannot reach the server.
pub async fn reach(
    scenario: &Scenario,
    plan: &Plan,
    targets: &Targets,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Fleet>> {
    let Hosts { names, ssh, program, .. } = &scenario.hosts;
    let push = Push { ssh: ssh.clone(), program: program.clone(), ship: options.ship };
    let fleet = tokio::select! {
        fleet = Fleet::push(names, &push) => fleet?,
        () = stopped(stop) => return Ok(None),
    };
    agree(&fleet, scenario, plan, targets)?;
    Ok(Some(fleet))
}

/// Checks that hosts can do what a run asks of them.
fn agree(fleet: &Fleet, scenario: &Scenario, plan: &Plan, targets: &Targets) -> Result<()> {
    let asked = plan.cases().filter_map(|case| case.hosts).max().unwrap_or(0) as usize;
    if asked > fleet.hosts.len() {
        let there = fleet.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>();
        let there = if there.is_empty() {
            "none is named".to_owned()
        } else {
            format!("there are {}", there.join(", "))
        };
        bail!("hosts = {asked} in [matrix], but {there}: name as many with names in [hosts] or --hosts, or lower it");
    }
    let most = fleet.hosts.len().max(1) as u32 * PROCESSES_MAX;
    let processes = plan.cases().map(|case| case.processes).max().unwrap_or(1);
    ensure!(
        processes <= most,
        "processes = {processes}, but one machine runs at most {PROCESSES_MAX}: lower it, or spread it over more machines \
         ([hosts])"
    );
    let Some(elsewhere) = fleet.hosts.iter().find(|host| !host.is_here()) else {
        return Ok(());
    };
    for target in targets.iter() {
        for protocol in scenario.matrix.protocols() {
            let address = target.scenario.server.address(protocol);
            ensure!(
                !address.is_loopback(),
                "host {} would ask itself: {address} ({protocol}) is an address of this machine alone: name the server by one \
                 that all hosts reach (--server, --http, --grpc)",
                elsewhere.name
            );
        }
    }
    Ok(())
}
