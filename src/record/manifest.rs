//! The facts that hold for a whole run.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Record, Utc};
use crate::environment::Environment;
use crate::matrix::AxisId;
use crate::spelling::spelled;
use crate::tensor::Parameters;
use crate::threshold::Threshold;

/// The facts that hold for a whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Manifest {
    pub scenario: String,
    pub title: String,
    pub state: State,
    pub started: Utc,
    pub ended: Option<Utc>,
    pub runner_version: String,
    pub git_revision: String,
    /// Options that changed the scenario, as they were given.
    pub overridden: Vec<String>,
    /// Seconds of measuring to which each case was capped.
    pub cap_s: Option<f64>,
    /// Whether that was because of `--quick`; older files lack it, and had no other reason.
    #[serde(default = "yes")]
    pub quick: bool,
    pub server: String,
    pub server_version: String,
    pub http: String,
    pub grpc: String,
    pub model: String,
    pub weights: String,
    pub iterations: u64,
    /// Minimum seconds of each case.
    #[serde(default)]
    pub duration_s: Option<f64>,
    /// How precise each compared ratio of means was to be, as a part of it.
    #[serde(default)]
    pub precision: Option<f64>,
    /// The search for the capacity of every case, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Searched>,
    pub warmup: u64,
    /// The seconds that each process warmed up at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_s: Option<f64>,
    /// Within which part of each other mean latencies had to stay before anything was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_until: Option<f64>,
    pub blocks: u32,
    pub timeout_s: f64,
    /// Parameters of every request.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    pub seed: u64,
    /// The SHA-256 of every data file that was sent or expected, by its path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    pub cases: usize,
    /// What the cases have to keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asserts: Vec<Asserted>,
    /// The column of the axis whose values are compared; older files lack it.
    #[serde(default)]
    pub compare: Option<String>,
    pub counts: Option<CountCheck>,
    /// What was read of the servers' metrics.
    #[serde(default)]
    pub metrics: MetricsRead,
    /// Why the server's own statistics are missing, or were lost on the way; empty if they are complete.
    #[serde(default)]
    pub statistics: String,
    /// Whether the server's address is the client's own machine.
    #[serde(default)]
    pub one_machine: bool,
    /// The servers and models that were asked; older files have the fields above alone.
    #[serde(default)]
    pub targets: Vec<Asked>,
    pub client: Environment,
    /// The machines that sent requests, where others than this one did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Machine>,
    /// The command line without the program's name, and the scenario's file as named there: what `--resume` repeats. Older files
    /// lack them.
    #[serde(default)]
    pub arguments: Vec<String>,
    #[serde(default)]
    pub file: String,
    /// When the run was taken up again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumed: Vec<Resumed>,
}

/// A search for the highest load within bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Searched {
    /// The load that was searched: `rate`, requests a second, or `concurrency`, requests in flight in one process.
    pub over: String,
    /// The bounds, such as `p99_ms <= 50`.
    pub bounds: Vec<String>,
    /// The smallest load that may be tried.
    pub from: f64,
    /// The largest.
    pub to: f64,
    /// The longest time of a case's search, in seconds.
    pub budget_s: f64,
}

impl Searched {
    /// What was searched, the same for searches whose capacities can be compared: `rate with p99_ms <= 50`.
    pub fn what(&self) -> String {
        let mut bounds = self.bounds.clone();
        bounds.sort();
        format!("{} with {}", self.over, bounds.join(", "))
    }
}

/// A machine that sent requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// The same for hosts that are one machine and share its network.
    pub machine: String,
    /// The programs on it that start client processes.
    pub tasks: usize,
    /// The machine.
    pub environment: Environment,
}

/// That a run was taken up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Resumed {
    /// When.
    pub time: Utc,
    /// What was not as before (`--resume-anyway`).
    pub differs: Vec<String>,
}

/// A threshold that some cases have to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Asserted {
    /// The threshold.
    pub that: Threshold,
    /// The cases' tags; without, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cases: Option<Vec<String>>,
}

/// A server and a model of it that a run asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub struct Asked {
    /// The names that the scenario gives the two; `None` where the run has one.
    pub server_key: Option<String>,
    pub model_key: Option<String>,
    pub server: String,
    pub server_version: String,
    pub http: String,
    pub grpc: String,
    /// Whether the server's address is the client's own machine.
    pub one_machine: bool,
    pub model: String,
    pub weights: String,
}

impl Asked {
    /// Its names, as part of a file's name; empty where the run has one of each.
    pub fn tag(&self) -> String {
        [&self.server_key, &self.model_key]
            .into_iter()
            .flatten()
            .map(|name| format!("-{name}"))
            .collect()
    }
}

impl Manifest {
    /// The servers and models that were asked, also of older files.
    pub fn asked(&self) -> Vec<Asked> {
        let only = || Asked {
            server_key: None,
            model_key: None,
            server: self.server.clone(),
            server_version: self.server_version.clone(),
            http: self.http.clone(),
            grpc: self.grpc.clone(),
            one_machine: self.one_machine,
            model: self.model.clone(),
            weights: self.weights.clone(),
        };
        if self.targets.is_empty() { vec![only()] } else { self.targets.clone() }
    }

    /// The axis whose values are compared: in older runs the protocol, or with `--aa` equal variants.
    pub fn compared(&self, records: &[Record]) -> AxisId {
        let of_older = || match records.iter().any(|record| record.case.arm.is_some()) {
            true => AxisId::Arm,
            false => AxisId::Protocol,
        };
        self.compare.as_deref().and_then(AxisId::named).unwrap_or_else(of_older)
    }
}

spelled! {
    /// The state of a run.
    pub enum State {
        /// Not ended; or the program was killed.
        Running = "running",
        /// Every case is `ok`.
        Complete = "complete",
        /// Ended, but some case is not `ok`.
        Incomplete = "incomplete",
        /// The user stopped it.
        Interrupted = "interrupted",
    }
}

/// What was read of the servers' metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MetricsRead {
    /// For each address that was asked.
    Of(Vec<MetricsOf>),
    /// As version 0.1 wrote it.
    Words(String),
}

impl Default for MetricsRead {
    fn default() -> Self {
        MetricsRead::Of(Vec::new())
    }
}

/// What was read of the metrics at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetricsOf {
    /// `host:port`; `None` if the metrics' port is unknown and nothing was read.
    pub address: Option<String>,
    /// How often they were read.
    pub samples: u64,
    /// Why they could not be read, or only for a time.
    pub fault: Option<String>,
}

/// The server's own count of inferences over the run, against the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CountCheck {
    /// From the server's statistics, from before the first worker to after the last.
    pub server: u64,
    /// Items in answered requests of the rows.
    pub measured: u64,
    /// Items in answered requests while verifying and warming up.
    pub prepared: u64,
}

impl CountCheck {
    /// Whether both sides counted the same.
    pub fn agrees(&self) -> bool {
        self.server == self.measured + self.prepared
    }
}

fn yes() -> bool {
    true
}
