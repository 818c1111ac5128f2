//! The other machines that send requests for a run: reached, compared, and held against what the run asks for. Must not know how
//! streams to them come about.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::try_join;

use super::interrupt::stopped;
use super::targets::Targets;
use super::{Options, job};
use crate::address::Address;
use crate::hosts::pull::Listener;
use crate::hosts::push::{self, Push};
use crate::hosts::rank::{LEADER, Rank};
use crate::hosts::token::Token;
use crate::hosts::{Fleet, Host};
use crate::matrix::Point;
use crate::plan::Plan;
use crate::report::terminal::say;
use crate::scenario::{Hosts, Scenario};
use crate::text;

/// Most client processes of one machine.
const PROCESSES_MAX: u32 = 256;

/// How hosts come to a run that does not name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Gathering {
    /// They do not: this machine sends all requests, or those that a scenario names.
    #[default]
    None,
    /// A launcher started this program on all of them.
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
            let hosts = if *count == 1 { "a host" } else { &format!("{count} hosts") };
            say(&format!("waiting for {hosts} at {}: runner worker --connect LEADER:PORT", listener.address()?));
            let Some(links) = listener.accept(*count, stopped(stop)).await? else {
                return Ok(None);
            };
            links
        }
        Gathering::Tasks(rank) => {
            let listener = match leader()? {
                Some((_, port)) => Listener::at_port(port, token()?).await?,
                None => Listener::for_tasks(rank).await?,
            };
            let others = rank.size as usize - 1;
            let (links, here) =
                try_join!(listener.accept(others, stopped(stop)), push::here(None)).with_context(|| {
                    format!("this is task 0 of {} ({}), which leads the others", rank.size, rank.launcher)
                })?;
            let Some(mut links) = links else { return Ok(None) };
            links.push(here);
            links
        }
    };
    Ok(Some(Some(Arc::new(Fleet::of(links)))))
}

/// The leader's address where its tasks share no folder, and its port.
///
/// # Errors
/// It has no port.
pub fn leader() -> Result<Option<(String, u16)>> {
    let Some(leader) = std::env::var(LEADER).ok().filter(|leader| !leader.is_empty()) else {
        return Ok(None);
    };
    let port = leader.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port =
        port.with_context(|| format!("{LEADER}={}: expected HOST:PORT, such as client-0:7700", text::name(&leader)))?;
    Ok(Some((leader, port)))
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

/// The hosts of a scenario: those that connected, else those that it names; all with its data files, given with their hashes. `None` when the user stopped it.
///
/// # Errors
/// A host cannot be used, or there are fewer than the run asks for, or they cannot reach the server.
pub async fn reach(
    scenario: &Scenario,
    plan: &Plan,
    targets: &Targets,
    gathered: Option<&Arc<Fleet>>,
    data: &BTreeMap<PathBuf, String>,
    options: &Options,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Arc<Fleet>>> {
    let Hosts { names, ssh, program, .. } = &scenario.hosts;
    ensure!(
        !options.ship || !names.is_empty(),
        "--ship copies the program to hosts that are reached by ssh, and none is named: add --hosts, or leave it out"
    );
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
        agree(&fleet, scenario, plan, targets).await?;
        ensure!(
            !options.awake || fleet.hosts.iter().all(Host::is_here),
            "--awake keeps this machine's processors from sleeping, and other machines send requests: leave it out, and set theirs up \
             by their own means"
        );
        fleet.place(data).await
    };
    let fit = tokio::select! {
        fit = fit => fit.map(Some),
        () = stopped(stop) => Ok(None),
    };
    if let (Ok(None) | Err(_), None) = (&fit, gathered) {
        fleet.close().await;
    }
    Ok(fit?.map(|()| fleet))
}

/// Checks that hosts can do what a run asks of them.
async fn agree(fleet: &Fleet, scenario: &Scenario, plan: &Plan, targets: &Targets) -> Result<()> {
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
    for case in plan.cases() {
        let most = job::shares_of(fleet, scenario, case).into_iter().max().unwrap_or(case.processes);
        ensure!(
            most <= PROCESSES_MAX,
            "processes = {}, but one machine runs at most {PROCESSES_MAX}: lower it, or spread it over more machines ([hosts])",
            case.processes
        );
    }
    tell_of_idle_hosts(fleet, scenario, plan);
    let Some(elsewhere) = fleet.hosts.iter().find(|host| !host.is_here()) else {
        return Ok(());
    };
    for target in targets.iter() {
        for protocol in scenario.matrix.protocols() {
            let address = target.scenario.server.address(protocol);
            ensure!(
                !is_this_machine(address).await,
                "host {} would ask itself: {address} ({protocol}) is an address of this machine alone: name the server by one \
                 that all hosts reach (--server, --http, --grpc)",
                elsewhere.name
            );
        }
    }
    Ok(())
}

/// Whether an address leads every machine to itself.
async fn is_this_machine(address: &Address) -> bool {
    let is_own = |found: SocketAddr| found.ip().is_loopback() || found.ip().is_unspecified();
    address.is_loopback() || lookup_host(&address.authority).await.is_ok_and(|mut found| found.any(is_own))
}

/// Says so if some cases have too few processes for all hosts.
fn tell_of_idle_hosts(fleet: &Fleet, scenario: &Scenario, plan: &Plan) {
    let all = fleet.hosts.len();
    let used = |case: &Point| job::shares_of(fleet, scenario, case).iter().filter(|share| **share > 0).count();
    let few: Vec<(u32, usize)> = plan
        .cases()
        .filter(|case| case.hosts.is_none())
        .map(|case| (case.processes, used(case)))
        .filter(|(_, used)| *used < all)
        .collect();
    if let Some((processes, used)) = few.first() {
        say(&format!(
            "{}: {} of {} cases do not use all {all} hosts, such as processes = {processes}, which uses {used}: processes is the number \
             of all client processes together (--processes {all})",
            scenario.name,
            few.len(),
            plan.cases().count()
        ));
    }
}
