//! Finds out how a server takes tensors over HTTP, before anything is measured. Must not know rows or results.

use tokio::sync::watch;

use super::job;
use crate::matrix::{Point, Protocol};
use crate::preflight::Outputs;
use crate::protocol::control::description::ServerMetadata;
use crate::protocol::{Fault, FaultKind};
use crate::report::terminal::say;
use crate::scenario::{Scenario, Warmup};
use crate::tensor::Tensors;
use crate::worker::message::Job;
use crate::worker::pool::Pool;
use crate::worker::seat::{PoolError, Seat};

/// The extension's name in the server's metadata.
const BINARY_TENSORS: &str = "binary_tensor_data";

/// How tensors travel over HTTP.
#[derive(Clone, Debug, Default)]
pub struct HttpTensors {
    /// As bytes, or as JSON.
    pub tensors: Tensors,
    /// What to add to the message of a failure, if the server takes neither.
    hint: Option<String>,
}

impl HttpTensors {
    /// How they travel in a case.
    pub fn of(&self, case: &Point) -> Tensors {
        if case.protocol == Protocol::Http { self.tensors } else { Tensors::Binary }
    }

    /// The failure of a case, with the remedy if there is one.
    pub fn explained(&self, case: &Point, fault: Fault) -> Fault {
        match &self.hint {
            Some(hint) if case.protocol == Protocol::Http => {
                Fault { message: format!("{}; {hint}", fault.message), ..fault }
            }
            _ => fault,
        }
    }
}

/// Asks a server that does not announce binary tensors for one answer, first with them and then in JSON.
pub async fn http_tensors(
    scenario: &Scenario,
    cases: &[Point],
    server: &ServerMetadata,
    outputs: &Outputs,
    stop: &watch::Receiver<bool>,
) -> HttpTensors {
    let announced = server.extensions.iter().any(|extension| extension == BINARY_TENSORS);
    let cases = cases.iter().filter(|case| case.protocol == Protocol::Http);
    let Some(case) = cases.min_by_key(|case| case.batch_size).filter(|_| !announced) else {
        return HttpTensors::default();
    };
    let case = Point { concurrency: 1, connections: 1, ..case.clone() };
    let job = |tensors| Job { warmup: Warmup::default(), ..job::job(scenario, outputs, &case, tensors) };
    let Some(binary) = asked(&job(Tensors::Binary), stop).await else {
        return HttpTensors::default();
    };
    // a fault of the address or the answer does not depend on how tensors travel
    if matches!(binary.kind, FaultKind::Connect | FaultKind::Timeout | FaultKind::Answer) {
        return HttpTensors::default();
    }
    match asked(&job(Tensors::Json), stop).await {
        None => {
            say("HTTP: the server takes no binary tensors, so they are sent as JSON; over gRPC they are raw bytes");
            HttpTensors { tensors: Tensors::Json, hint: None }
        }
        Some(json) => {
            let hint = format!(
                "the server does not announce the extension {BINARY_TENSORS}, and to tensors in JSON it says: {json}; \
                 gRPC needs no extension (--protocols grpc)"
            );
            HttpTensors { tensors: Tensors::Binary, hint: Some(hint) }
        }
    }
}

/// Sends one request and returns what is wrong with its answer; `None` if nothing is, or the user stopped it.
async fn asked(job: &Job, stop: &watch::Receiver<bool>) -> Option<Fault> {
    match Pool::start(job, &Seat::here(1), stop).await {
        Ok(pool) => {
            pool.stop().await;
            None
        }
        Err(PoolError::Interrupted) => None,
        Err(PoolError::Failed(fault)) => Some(fault),
    }
}
