//! A scenario's load by the rules of MLPerf's LoadGen: what they set, and what they leave open.

use std::time::Duration;

use super::ArrivalProcess;
use super::arrival::Distances;
use super::{Input, Load, Overrides, Scenario};
use crate::matrix::{AxisId, Matrix, Value};
use crate::mlperf::{DURATION, TestScenario, is_short};
use crate::tensor::distinct_batches;

/// Requests that a process has in flight in the offline scenario, unless the scenario says. Samples of one query reach a server of
/// this protocol as many requests, and so many keep one busy that batches them.
const OFFLINE_IN_FLIGHT: u32 = 64;

/// Different requests of the compliance tests, where data has no end.
const DISTINCT: u32 = 64;
/// Most of them, where data has many items.
const DISTINCT_MAX: u64 = 1024;

/// By so much a block of a closed loop is longer: its time counts from when its first request is sent.
const BEFORE_FIRST: Duration = Duration::from_millis(100);

/// Whose rules the load follows, and what they leave open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mlperf {
    /// MLPerf's scenario.
    pub scenario: TestScenario,
    /// The longest that a query of the server scenario may take; zero in others.
    pub latency: Duration,
    /// Whether the run also makes the compliance tests (`--mlperf-check`).
    pub checks: bool,
}

impl Mlperf {
    /// The only value of an axis, if the rules say.
    pub(super) fn value_of(&self, axis: AxisId) -> Option<u32> {
        let is_stream = matches!(self.scenario, TestScenario::SingleStream | TestScenario::MultiStream);
        match axis {
            AxisId::BatchSize => self.scenario.samples_a_query(),
            AxisId::Processes | AxisId::Concurrency if is_stream => Some(1),
            _ => None,
        }
    }

    /// Whether the rules have no place for an axis.
    pub(super) fn excludes(&self, axis: AxisId) -> bool {
        match axis {
            AxisId::Rate => self.scenario != TestScenario::Server,
            AxisId::ThinkTime => true,
            _ => false,
        }
    }

    /// Checks that options of the command line leave what the rules set.
    ///
    /// # Errors
    /// One does not: the option, the problem, the remedy.
    pub(super) fn allow(&self, overrides: &Overrides) -> Result<(), String> {
        let scenario = self.scenario;
        for (id, values) in &overrides.axes {
            let setting = id.setting(&values.join(","));
            if self.excludes(*id) {
                return Err(format!("{setting}: it has no place beside MLPerf's {scenario}: leave the option out"));
            }
            if let Some(value) = self.value_of(*id).filter(|value| *values != [value.to_string()]) {
                return Err(format!("{setting}: MLPerf's {scenario} has {value}: leave the option out"));
            }
        }
        for (option, is_given) in
            [("--iterations", overrides.iterations.is_some()), ("--precision", overrides.precision.is_some())]
        {
            if is_given {
                let help = "leave it out, or shorten the run with --duration";
                return Err(format!("{option}: MLPerf's rules say how much is measured at least: {help}"));
            }
        }
        Ok(())
    }

    /// Sets the axes that the rules set.
    pub(super) fn fill(&self, matrix: &mut Matrix) {
        for axis in AxisId::ALL {
            if let Some(value) = self.value_of(*axis) {
                matrix.set(*axis, vec![Value::Whole(value)]);
            }
        }
        if self.scenario == TestScenario::Offline && matrix.given(AxisId::Concurrency).is_empty() {
            matrix.set(AxisId::Concurrency, vec![Value::Whole(OFFLINE_IN_FLIGHT)]);
        }
    }

    /// Sets how much is sent, unless the load is to be shorter than the rules allow. May be asked again once the matrix or the load
    /// has changed.
    pub(super) fn fill_load(&self, matrix: &Matrix, load: &mut Load) {
        if self.scenario == TestScenario::Server {
            load.arrival = ArrivalProcess::Steady(Distances::Exponential);
        }
        let least = load.stop.least.unwrap_or(DURATION);
        (load.stop.least, load.stop.requests) = (Some(least), 0);
        if is_short(least) {
            return;
        }
        let (mut requests, mut whole) = (0, Duration::ZERO);
        for point in matrix.points() {
            let samples = u64::from(point.batch_size) * u64::from(point.processes);
            requests = requests.max(self.scenario.samples_least().div_ceil(samples));
            // a block of an open loop has a whole number of requests, half a one fewer than its time has room for
            let missing = |rate: f64| Duration::from_secs_f64(0.5 * f64::from(point.processes) / rate);
            whole = whole.max(load.blocks * point.rate.map_or(BEFORE_FIRST, missing));
        }
        load.stop.requests = requests;
        load.stop.least = Some(least.max(DURATION + whole));
    }
}

impl Scenario {
    /// Compares different requests with one that is sent again and again, for the compliance tests.
    ///
    /// # Errors
    /// The scenario has no rules of MLPerf, or its data makes one request: the option, the problem, the remedy.
    pub(super) fn compare_repeats(&mut self) -> Result<(), String> {
        let Some(rules) = &mut self.mlperf else {
            return Err(
                "--mlperf-check: the scenario has no [mlperf]: add it, such as scenario = \"single-stream\"".to_owned()
            );
        };
        rules.checks = true;
        let given = self.matrix.given(AxisId::Distinct).iter().filter_map(|value| match value {
            Value::Whole(distinct) => Some(*distinct),
            _ => None,
        });
        let different = given.max().unwrap_or_else(|| self.different_requests());
        if different < 2 {
            return Err(
                "--mlperf-check: TEST04 compares different requests with one, and there is one: give an input different data, such as \
                 data = {random = {seed = 7}}, or distinct = 64"
                    .to_owned(),
            );
        }
        self.matrix.set(AxisId::Distinct, vec![Value::Whole(different), Value::Whole(1)]);
        self.matrix.compare(Some(AxisId::Distinct));
        Ok(())
    }

    /// How many different requests all inputs make, as far as the compliance tests take them.
    fn different_requests(&self) -> u32 {
        let of_models = self.models.iter().map(|(_, target)| &target.inputs);
        let all: Vec<&Vec<Input>> = if self.models.is_empty() { vec![&self.inputs] } else { of_models.collect() };
        let of_inputs = |inputs: &Vec<Input>| {
            // what cannot be read is told elsewhere, and what the server describes is zeros
            let items = inputs.iter().map(Input::items).collect::<Result<Vec<_>, _>>().unwrap_or_default();
            let batches = self.matrix.batch_sizes().into_iter();
            let most = batches.map(|batch| distinct_batches(&items, batch as usize));
            // without end is more than any number
            let most = most.map(|most| most.unwrap_or(DISTINCT.into())).min().unwrap_or(1);
            most.min(DISTINCT_MAX) as u32
        };
        all.into_iter().map(of_inputs).min().unwrap_or(1)
    }
}
