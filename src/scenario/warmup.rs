//! What is sent before anything is measured. Knows only what a scenario says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What each process sends before anything is measured: all that is given here has to be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warmup {
    /// Requests, at least.
    pub requests: u64,
    /// Time, at least.
    #[serde(default)]
    pub least: Option<Duration>,
    /// Until mean latencies stay within this part of each other.
    #[serde(default)]
    pub steady: Option<f64>,
}

/// Warming up takes at most the longest time of a case divided by this.
pub const PART: u32 = 6;

impl Warmup {
    /// So many requests.
    pub fn of_requests(requests: u64) -> Self {
        Warmup { requests, ..Warmup::default() }
    }

    /// Whether more than a number of requests is asked for.
    pub fn is_timed(&self) -> bool {
        self.least.is_some() || self.steady.is_some()
    }
}
