//! What holds for a whole run.

use serde::{Deserialize, Serialize};

use crate::environment::Environment;

/// What holds for a whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Manifest {
    pub scenario: String,
    pub title: String,
    pub state: State,
    pub started: String,
    pub ended: Option<String>,
    pub runner_version: String,
    pub git_revision: String,
    /// Options that changed the scenario, as they were given.
    pub overridden: Vec<String>,
    /// Seconds of measuring to which each case was capped.
    pub cap_s: Option<f64>,
    /// Whether that was because of `--quick`; older files do not tell, and had no other reason.
    #[serde(default = "yes")]
    pub quick: bool,
    pub server: String,
    pub server_version: String,
    pub http: String,
    pub grpc: String,
    pub model: String,
    pub weights: String,
    pub iterations: u64,
    /// Seconds that each case was to last, at least.
    #[serde(default)]
    pub duration_s: Option<f64>,
    pub warmup: u64,
    pub blocks: u32,
    pub timeout_s: f64,
    pub seed: u64,
    pub cases: usize,
    pub counts: Option<CountCheck>,
    /// What there is of the server's metrics, in words.
    #[serde(default)]
    pub metrics: String,
    /// Why the server's own statistics are missing, or were lost on the way; empty where there are.
    #[serde(default)]
    pub statistics: String,
    /// Whether the server's address is the client's own machine.
    #[serde(default)]
    pub one_machine: bool,
    pub client: Environment,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not ended; or the program was killed.
    Running,
    /// Every case is `ok`.
    Complete,
    /// Ended, but some case is not `ok`.
    Incomplete,
    /// The user stopped it.
    Interrupted,
}

/// The server's own count of inferences over the run, against the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountCheck {
    /// By the server's statistics, from before the first worker to after the last.
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
