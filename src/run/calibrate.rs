//! `--calibrate`: measures the client's own maximum throughput in each case against a no-op server. That server is
//! the embedded one, on this machine, with a model that takes the same inputs and gives the same outputs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::watch;

use super::embedded_server::EmbeddedServer;
use super::job;
use super::targets::{Target, Targets};
use crate::matrix::{AxisId, Point};
use crate::plan::Plan;
use crate::preflight::Outputs;
use crate::protocol::verify::Expected;
use crate::record::rate;
use crate::report::terminal;
use crate::scenario::{Scenario, StopRule};
use crate::tensor::{Datatype, Tensors};
use crate::worker::message::{Block, Draw};
use crate::worker::pool::Pool;
use crate::worker::seat::{PoolError, Seat};

/// Name of the model that answers at once.
const NULL: &str = "null";
/// How long each case is measured.
const LENGTH: Duration = Duration::from_secs(1);

/// The client's maximum throughput in each case, in requests a second; empty without `--calibrate`.
#[derive(Default)]
pub struct Ceilings(Vec<(Point, f64)>);

impl Ceilings {
    /// The ceiling of a case. An open loop has the ceiling of the closed one with as many requests in flight.
    pub fn of(&self, case: &Point) -> Option<f64> {
        let closed = closed(case);
        self.0.iter().find(|(known, _)| *known == closed).map(|(_, ceiling)| *ceiling)
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
pub async fn calibrate(targets: &Targets, plan: &Plan, stop: &watch::Receiver<bool>) -> Result<Option<Ceilings>> {
    let mut ceilings = Ceilings::default();
    for target in targets.iter() {
        let Target { scenario, reached, .. } = target;
        let repository = tempfile::tempdir().context("cannot make a folder for the null model")?;
        write_null(scenario, &reached.outputs, repository.path())?;
        let server = EmbeddedServer::start(repository.path(), &[NULL.to_owned()]).await?;
        let mut null = scenario.clone();
        server.serves(&mut null);
        NULL.clone_into(&mut null.model.name);
        null.model.version = None;
        // the null model does not answer with the model's shapes
        let any_shape = Outputs { tensors: reached.outputs.tensors.iter().map(any).collect(), batched: false };
        let cases = plan.cases().filter(|case| target.is_of(case)).map(closed);
        let measured = self::ceilings(&null, cases, &any_shape, &mut ceilings, stop).await;
        server.stop().await;
        if measured?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(ceilings))
}

/// Adds the ceilings of one server and model. `None` when the user stopped it.
async fn ceilings(
    null: &Scenario,
    cases: impl Iterator<Item = Point>,
    outputs: &Outputs,
    ceilings: &mut Ceilings,
    stop: &watch::Receiver<bool>,
) -> Result<Option<()>> {
    for case in cases {
        if ceilings.of(&case).is_some() {
            continue;
        }
        match ceiling(null, outputs, &case, stop).await {
            Ok(ceiling) => {
                terminal::ceiling(null, &case, ceiling);
                ceilings.0.push((case, ceiling));
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
    stop: &watch::Receiver<bool>,
) -> Result<f64, PoolError> {
    let job = job::job(null, outputs, case, Tensors::Binary);
    let mut pool = Pool::start(&job, &Seat::here(case.processes), stop).await?;
    let block = Block {
        stop: StopRule { requests: 1, least: Some(LENGTH), most: None },
        arrivals: None,
        order: Draw::default(),
        think_time: Duration::ZERO,
        start_ns: 0,
    };
    let outcome = pool.block(block, stop, &mut |_| {}).await?;
    pool.stop().await;
    match (rate(&outcome.recorder, outcome.window_ns()), outcome.example) {
        (Some(rate), None) => Ok(rate),
        (_, example) => Err(anyhow!("{}", example.map_or("no answer".to_owned(), |fault| fault.message)).into()),
    }
}

/// Writes the model: the scenario's inputs and the real model's outputs. A dimension of any size becomes 1, and one
/// in the batch's place becomes the batch.
fn write_null(scenario: &Scenario, outputs: &Outputs, repository: &Path) -> Result<()> {
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
    let folder = repository.join(NULL);
    std::fs::create_dir_all(folder.join("1"))?;
    std::fs::write(folder.join("config.pbtxt"), text).context("cannot write the null model")
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
