//! `--calibrate`: measures the client's own maximum throughput in each case against a no-op server. That server is
//! the embedded one, on the machine that sends the requests, with a model that takes the same inputs and gives the same outputs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::future::{join_all, try_join_all};
use tokio::sync::watch;

use super::embedded_server::{self, EmbeddedServer};
use super::job;
use super::targets::{Target, Targets};
use crate::hosts::link::Link;
use crate::hosts::{Fleet, agent};
use crate::matrix::{AxisId, Point};
use crate::plan::Plan;
use crate::preflight::Outputs;
use crate::process;
use crate::protocol::verify::Expected;
use crate::record::rate;
use crate::report::terminal;
use crate::scenario::{Scenario, Server, StopRule, Warmup};
use crate::tensor::{Datatype, Tensors};
use crate::worker::message::{Block, Draw};
use crate::worker::pool::Pool;
use crate::worker::seat::{PoolError, Seat};

/// Name of the model that answers at once.
const NULL: &str = agent::MODEL;
/// How long each case is measured.
const LENGTH: Duration = Duration::from_secs(1);

/// The client's maximum throughput in each case, in requests a second; empty without `--calibrate`.
#[derive(Default)]
pub struct Ceilings(Vec<(Point, Ceiling)>);

/// The maximum throughput of a case's processes: of each host, or of this machine alone.
#[derive(Clone, Debug)]
struct Ceiling(Vec<(String, f64)>);

impl Ceilings {
    /// The ceiling of a case, of all hosts together. An open loop has the ceiling of the closed one with as many requests in
    /// flight.
    pub fn of(&self, case: &Point) -> Option<f64> {
        self.found(case)
            .map(|Ceiling(of_hosts)| of_hosts.iter().map(|(_, ceiling)| ceiling).sum())
    }

    /// The part of a host.
    pub fn of_host(&self, case: &Point, host: &str) -> Option<f64> {
        let Ceiling(of_hosts) = self.found(case)?;
        of_hosts.iter().find(|(known, _)| known == host).map(|(_, ceiling)| *ceiling)
    }

    fn found(&self, case: &Point) -> Option<&Ceiling> {
        let closed = closed(case);
        self.0.iter().find(|(known, _)| *known == closed).map(|(_, ceiling)| ceiling)
    }
}

/// No-op servers: one on each host, or one on this machine.
enum NullServers {
    Here(Box<EmbeddedServer>),
    On(Vec<(Arc<Link>, Server)>),
}

impl NullServers {
    async fn start(fleet: &Fleet, config: &str) -> Result<Self> {
        if fleet.is_empty() {
            let repository = process::repository_of(NULL, config)?;
            let server = EmbeddedServer::start(repository.path(), &[NULL.to_owned()]).await?;
            return Ok(NullServers::Here(Box::new(server)));
        }
        let started = fleet.hosts.iter().map(async |host| {
            let link = &host.links[0];
            let line = link.serve(config).await?;
            Ok::<_, anyhow::Error>((link.clone(), embedded_server::addresses(line.get())?))
        });
        Ok(NullServers::On(try_join_all(started).await?))
    }

    /// The workers of a case by where they are, each with the server to ask.
    fn of(&self, seats: Vec<Seat>) -> Vec<(String, Server, Vec<Seat>)> {
        match self {
            NullServers::Here(server) => vec![(String::new(), server.addresses().clone(), seats)],
            NullServers::On(servers) => {
                let of_host = |(link, server): &(Arc<Link>, Server)| {
                    let own = seats.iter().filter(|seat| seat.host() == Some(link.name())).cloned().collect();
                    (link.name().to_owned(), server.clone(), own)
                };
                servers
                    .iter()
                    .map(of_host)
                    .filter(|(.., seats): &(_, _, Vec<Seat>)| !seats.is_empty())
                    .collect()
            }
        }
    }

    async fn stop(self) {
        match self {
            NullServers::Here(server) => server.stop().await,
            NullServers::On(servers) => {
                join_all(servers.iter().map(|(link, _)| link.end_server())).await;
            }
        }
    }
}

/// The closed loop of an open one, without think time; the first of two equal variants.
fn closed(case: &Point) -> Point {
    Point { rate: None, think_time_ms: None, arm: None, ..case.clone() }
}

/// Measures the ceilings of a plan's cases and prints them. `None` when the user stopped it.
///
/// # Errors
/// The server cannot be started, or a case cannot be measured against it.
pub async fn calibrate(
    targets: &Targets,
    fleet: &Fleet,
    plan: &Plan,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Ceilings>> {
    let mut ceilings = Ceilings::default();
    for target in targets.iter() {
        let Target { scenario, reached, .. } = target;
        let servers = NullServers::start(fleet, &null_config(scenario, &reached.outputs)?).await?;
        let mut null = scenario.clone();
        NULL.clone_into(&mut null.model.name);
        null.model.version = None;
        // the null model does not answer with the model's shapes
        let any_shape = Outputs { tensors: reached.outputs.tensors.iter().map(any).collect(), batched: false };
        let cases = plan.cases().filter(|case| target.is_of(case)).map(closed);
        let measured = self::ceilings(&null, &servers, fleet, cases, &any_shape, &mut ceilings, stop).await;
        servers.stop().await;
        if measured?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(ceilings))
}

/// Adds the ceilings of one server and model. `None` when the user stopped it.
async fn ceilings(
    null: &Scenario,
    servers: &NullServers,
    fleet: &Fleet,
    cases: impl Iterator<Item = Point>,
    outputs: &Outputs,
    ceilings: &mut Ceilings,
    stop: &watch::Receiver<bool>,
) -> Result<Option<()>> {
    for case in cases {
        if ceilings.of(&case).is_some() {
            continue;
        }
        let places = servers.of(job::seats(fleet, null, &case));
        let measured = places.into_iter().map(async |(host, server, seats)| {
            let null = Scenario { server, ..null.clone() };
            Ok((host, ceiling(&null, outputs, &case, &seats, stop).await?))
        });
        match try_join_all(measured).await {
            Ok(of_hosts) => {
                terminal::ceiling(null, &case, of_hosts.iter().map(|(_, ceiling)| ceiling).sum());
                ceilings.0.push((case, Ceiling(of_hosts)));
            }
            Err(PoolError::Interrupted) => return Ok(None),
            Err(PoolError::Failed(fault)) => return Err(anyhow!("the client's ceiling cannot be measured: {fault}")),
        }
    }
    Ok(Some(()))
}

async fn ceiling(
    null: &Scenario,
    outputs: &Outputs,
    case: &Point,
    seats: &[Seat],
    stop: &watch::Receiver<bool>,
) -> Result<f64, PoolError> {
    let mut job = job::job(null, outputs, case, Tensors::Binary);
    // a server that does nothing has nothing to warm up
    job.warmup = Warmup::of_requests(job.warmup.requests);
    let mut pool = Pool::start(&job, seats, stop).await?;
    let block = Block {
        stop: StopRule { requests: 1, least: Some(LENGTH), most: None },
        arrivals: None,
        order: Draw::default(),
        think_time: Duration::ZERO,
        judge: None,
        start_ns: 0,
    };
    let outcome = pool.block(block, stop, &mut |_| {}).await?;
    pool.stop().await;
    match (rate(&outcome.recorder, outcome.window_ns()), outcome.example) {
        (Some(rate), None) => Ok(rate),
        (_, example) => Err(anyhow!("{}", example.map_or("no answer".to_owned(), |fault| fault.message)).into()),
    }
}

/// The model's configuration: the scenario's inputs and the real model's outputs. A dimension of any size becomes 1, and one
/// in the batch's place becomes the batch.
fn null_config(scenario: &Scenario, outputs: &Outputs) -> Result<String> {
    let outputs = outputs.tensors.iter().map(described).collect::<Result<Vec<_>>>()?;
    let batches = outputs.iter().all(|(_, _, shape)| shape.first() == Some(&-1));
    let batched = scenario.model.batching && batches;
    let mut text = format!("name: \"{NULL}\"\nbackend: \"loopback\"\n");
    if batched {
        let batch = scenario.matrix.largest_batch();
        text.push_str(&format!("max_batch_size: {batch}\n"));
    }
    let any_size = !scenario.matrix.values(AxisId::Shapes).is_empty();
    for input in &scenario.inputs {
        // without batching by the server the batch is a dimension like any other
        let batch = (scenario.model.batching && !batched).then_some(-1);
        let size = |size: &usize| if any_size { -1 } else { *size as i64 };
        let dims: Vec<i64> = batch.into_iter().chain(input.shape.iter().map(size)).collect();
        text.push_str(&tensor("input", &input.name, input.datatype.name(), &dims)?);
    }
    for (name, datatype, shape) in outputs {
        let mut dims: Vec<i64> = shape.iter().skip(batched.into()).map(|size| (*size).max(1)).collect();
        if dims.is_empty() {
            dims.push(1);
        }
        text.push_str(&tensor("output", name, datatype, &dims)?);
    }
    Ok(text)
}

/// An output of any shape and content.
fn any(output: &Expected) -> Expected {
    Expected { shape: None, expect: None, ..output.clone() }
}

fn described(output: &Expected) -> Result<(&str, &str, &[i64])> {
    let parts = output.datatype.as_deref().zip(output.shape.as_deref());
    let (datatype, shape) = parts.with_context(|| {
        format!(
            "--calibrate asks a model with the same outputs, and the server does not tell type and shape of \"{}\": \
             leave the option out",
            output.name
        )
    })?;
    Ok((&output.name, datatype, shape))
}

fn tensor(field: &str, name: &str, datatype: &str, dims: &[i64]) -> Result<String> {
    let data_type = match datatype == Datatype::Bytes.name() {
        true => "STRING",
        false => datatype,
    };
    // protobuf's text format quotes as JSON does
    let name = serde_json::to_string(name)?;
    Ok(format!("{field} {{ name: {name} data_type: TYPE_{data_type} dims: {dims:?} }}\n"))
}
