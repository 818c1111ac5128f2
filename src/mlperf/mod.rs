//! The rules of MLPerf Inference's LoadGen: the load of its four scenarios, when a result is valid, and two of its compliance
//! tests. Pure: knows neither servers nor files. Written from the rules and the mathematics; nothing here is of LoadGen's source.
//!
//! Source: MLPerf Inference rules (mlcommons/inference_policies) and the settings of LoadGen 6.0 (mlcommons/inference).

mod early_stopping;
mod outcome;

use std::time::Duration;

pub use early_stopping::{allowed, needed};
pub use outcome::{Measured, Outcome, cached, is_short, outcome};

use crate::spelling::spelled;

/// What every report of a result says.
pub const DISCLAIMER: &str =
    "The load follows the rules of MLPerf Inference's LoadGen; this is not a submission, and not verified by MLCommons";
/// Shortest time of a valid run.
pub const DURATION: Duration = Duration::from_secs(600);
/// Confidence of early stopping.
pub const CONFIDENCE: f64 = 0.99;

spelled! {
    /// One of MLPerf's scenarios.
    pub enum TestScenario {
        /// One query of one sample after the other.
        SingleStream = "single-stream",
        /// One query of eight samples after the other.
        MultiStream = "multi-stream",
        /// Queries of one sample at random, whether or not earlier ones are answered.
        Server = "server",
        /// All samples at once.
        Offline = "offline",
    }
}

spelled! {
    /// Whether a result counts by the rules.
    pub enum Validity {
        /// It does.
        Valid = "VALID",
        /// It does not.
        Invalid = "INVALID",
    }
}

spelled! {
    /// How a compliance test ended.
    pub enum Compliance {
        /// As it has to be.
        Pass = "PASS",
        /// Not so.
        Fail = "FAIL",
        /// The data do not decide.
        Unclear = "UNCLEAR",
    }
}

impl TestScenario {
    /// Samples of a query; `None` where the system that is measured may choose.
    pub fn samples_a_query(self) -> Option<u32> {
        match self {
            TestScenario::SingleStream | TestScenario::Server => Some(1),
            TestScenario::MultiStream => Some(8),
            TestScenario::Offline => None,
        }
    }

    /// The percentile of latency that is estimated, or has to be within the bound.
    pub fn percentile(self) -> Option<f64> {
        match self {
            TestScenario::SingleStream => Some(0.90),
            TestScenario::MultiStream | TestScenario::Server => Some(0.99),
            TestScenario::Offline => None,
        }
    }

    /// Fewest samples of a valid run; LoadGen's default where a scenario sets no minimum of queries.
    pub fn samples_least(self) -> u64 {
        match self {
            TestScenario::SingleStream | TestScenario::Server => 100,
            TestScenario::MultiStream => 8 * 662,
            TestScenario::Offline => 24_576,
        }
    }

    /// What its metric is, and its unit.
    pub fn metric(self) -> (&'static str, &'static str) {
        match self {
            TestScenario::SingleStream => ("90th percentile of latency by early stopping", "ms"),
            TestScenario::MultiStream => ("99th percentile of latency by early stopping", "ms"),
            TestScenario::Server => ("completed", "samples/s"),
            TestScenario::Offline => ("throughput", "samples/s"),
        }
    }
}
