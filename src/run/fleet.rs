//! The other machines that send requests for a run: reached, compared, and held against what the run asks for. Must not know how
//! streams to them come about.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::watch;
use tokio::try_join;

use super::interrupt::stopped;
use super::targets::Targets;
use super::{Options, data};
use crate::hosts::Fleet;
use crate::hosts::pull::Listener;
use crate::hosts::push::{self, Push};
use crate::hosts::rank::Rank;
use crate::hosts::token::Token;
use crate::plan::Plan;
use crate::report::terminal::say;
use crate::scenario::{Hosts, Scenario};

/// Most client processes of one machine.
const PROCESSES_MAX: u32 = 256;

/// How hosts come to a run that does not name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gathering {
    /// They do not: this machine sends all requests, or those that a scenario names.
    #[default]
    None,
    /// An engine started this program on all of them.
    Tasks(Rank),
    /// So many connect to this address.
    Listen(String, usize),
}

/// Waits for hosts that connect. The inner `None` if none are to, the outer when the user stopped it.
///
/// # Errors
/// They do not come, or one of them cannot be used.
pub async fn gather(how: &Gathering, stop: &watch::Receiver<bool>) -> Result<Option<Option<Arc<Fleet>>>> {
    let links = match how {
        Gathering::None => return Ok(Some(None)),
        Gathering::Listen(address, count) => {
            let listener = Listener::at(address, token()?).await?;
            say(&format!("waiting for {count} hosts at {}: runner worker --connect LEADER:PORT", listener.address()?));
            let Some(links) = listener.accept(*count, stopped(stop)).await? else {
                return Ok(None);
            };
            links
        }
        Gathering::Tasks(rank) => {
            let listener = match leader() {
                // its port is the leader's own; the name before it is how others see this machine
                Some(leader) => {
                    let port = leader.rsplit(':').next().unwrap_or_default();
                    Listener::at(&format!("0.0.0.0:{port}"), token()?).await?
                }
                None => Listener::for_tasks(rank).await?,
            };
            let others = rank.size as usize - 1;
            let (links, here) =
                try_join!(listener.accept(others, stopped(stop)), push::here(None)).with_context(|| {
                    format!("this is task 0 of {} ({}), which leads the others", rank.size, rank.engine)
                })?;
            let Some(mut links) = links else { return Ok(None) };
            links.push(here);
            links
        }
    };
    Ok(Some(Some(Arc::new(Fleet::of(links)))))
}

/// The leader's address where its tasks share no folder.
pub fn leader() -> Option<String> {
    std::env::var("RUNNER_LEADER").ok().filter(|leader| !leader.is_empty())
}

/// The secret that was given to all hosts of a run.
///
/// # Errors
/// There is none.
pub fn token() -> Result<Token> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable("RUNNER_TOKEN"), variable("RUNNER_TOKEN_FILE")) {
        (Some(token), _) => Token::given(&token, "RUNNER_TOKEN"),
        (None, Some(file)) => Token::of_file(Path::new(&file)),
        (None, None) => bail!(
            "leader and hosts need a secret that they share: set RUNNER_TOKEN, or RUNNER_TOKEN_FILE to the path of a file with it, \
             to what `openssl rand -hex 32` prints"
        ),
    }
}

/// The hosts of a scenario: those that connected, else those that it names. `None` when the user stopped it.
///
/// # Errors
/// A host cannot be used, or there are fewer than the run asks for, or they cannot reach the server.
pub async fn reach(
    scenario: &Scenario,
    plan: &Plan,
    targets: &Targets,
    gathered: Option<&Arc<Fleet>>,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Arc<Fleet>>> {
    let Hosts { names, ssh, program, .. } = &scenario.hosts;
    let push = Push { ssh: ssh.clone(), program: program.clone(), ship: options.ship };
    let fleet = match gathered {
        Some(gathered) => {
            ensure!(
                names.is_empty(),
                "the scenario names hosts ({}), and others connected: leave names in [hosts], or --hosts, out",
                names.join(", ")
            );
            gathered.clone()
        }
        None => tokio::select! {
            fleet = Fleet::push(names, &push) => Arc::new(fleet?),
            () = stopped(stop) => return Ok(None),
        },
    };
    let fit = async {
        agree(&fleet, scenario, plan, targets)?;
        fleet.place(&data::digests(scenario)?).await
    };
    match fit.await {
        Ok(()) => Ok(Some(fleet)),
        Err(error) => {
            if gathered.is_none() {
                fleet.close().await;
            }
            Err(error)
        }
    }
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
