//! What `[capacity]` asks: the highest load at which bounds are kept. Must not know how it is searched.

use std::time::Duration;

use super::arrival::Distances;
use super::{ArrivalProcess, Scenario};
use crate::capacity::Bound;
use crate::matrix::AxisId;
use crate::spelling::spelled;

/// The time of a case's search, unless the scenario says.
const BUDGET: Duration = Duration::from_secs(300);
/// The same with `--quick`.
const QUICK_BUDGET: Duration = Duration::from_secs(30);
/// A search has the time for so many blocks at least.
pub(super) const BLOCKS_LEAST: u32 = 8;
/// Within this part the capacity is known well enough, unless the scenario says.
const PRECISION: f64 = 0.03;

spelled! {
    /// What is searched: of which load the highest is wanted.
    #[derive(Default)]
    pub enum Over {
        /// Requests a second of an open loop.
        #[default]
        Rate = "rate",
        /// Requests in flight in a closed loop.
        Concurrency = "concurrency",
    }
}

/// A search for the highest load within bounds, of every case.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// The load that is searched.
    pub over: Over,
    /// The bounds, at least one.
    pub bounds: Vec<Bound>,
    /// The smallest and the largest load that are tried.
    pub range: (f64, f64),
    /// The longest time of a case's search.
    pub budget: Duration,
    /// How long a block is, if not as long as bounds and budget suggest.
    pub block: Option<Duration>,
}

impl Over {
    /// The axis whose value is searched.
    pub fn axis(self) -> AxisId {
        match self {
            Over::Rate => AxisId::Rate,
            Over::Concurrency => AxisId::Concurrency,
        }
    }

    /// The loads that are tried, unless the scenario says.
    pub fn range(self) -> (f64, f64) {
        match self {
            Over::Rate => (1.0, 1_000_000.0),
            Over::Concurrency => (1.0, 1024.0),
        }
    }
}

impl Capacity {
    /// A search within bounds, with the defaults of everything else.
    pub fn within(bounds: Vec<Bound>, over: Over) -> Self {
        Capacity { over, bounds, range: over.range(), budget: BUDGET, block: None }
    }
}

impl Scenario {
    /// Has its cases searched for their capacity.
    pub(super) fn search(&mut self, capacity: Capacity) {
        // a load that is searched is not given, and the search ends by itself
        self.matrix.set(capacity.over.axis(), Vec::new());
        self.matrix.search(Some(capacity.over.axis()));
        (self.load.stop.requests, self.load.stop.least) = (0, None);
        self.load.precision.get_or_insert(PRECISION);
        // users do not take turns, and a server that seems to keep up with those that do has less capacity
        if !self.load.is_arrival_given {
            self.load.arrival = ArrivalProcess::Steady(Distances::Exponential);
        }
        self.capacity = Some(capacity);
    }

    /// What the requests of each block are held against: the bounds of a search, or those that end a sweep.
    pub fn bounds(&self) -> &[Bound] {
        self.capacity.as_ref().map_or(&self.load.sweep_until, |capacity| &capacity.bounds)
    }

    /// Checks that blocks can tell whether a bound is kept.
    ///
    /// # Errors
    /// The problem, and the remedy.
    pub(super) fn check_search(&self) -> Result<(), (String, String)> {
        let Some(capacity) = &self.capacity else { return Ok(()) };
        let timeout = self.load.timeout;
        if let Some(bound) = capacity.bounds.iter().find(|bound| bound.limit().is_some_and(|limit| limit > timeout)) {
            let timeout_s = timeout.as_secs_f64();
            return Err((
                format!("the search has the bound {bound}, and requests time out after {timeout_s} s"),
                "raise timeout_s in [load], or lower the bound".to_owned(),
            ));
        }
        match self.load.arrival {
            ArrivalProcess::OnOff { .. } => Err((
                "the search has blocks of any length, and `on_off` has periods".to_owned(),
                "search with bursts as arrival = {gamma = {shape = 0.5}}".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    /// The load of a sweep: the rates, if there are any, else requests in flight.
    pub fn swept(&self) -> AxisId {
        match self.matrix.given(AxisId::Rate) {
            [] => AxisId::Concurrency,
            _ => AxisId::Rate,
        }
    }

    /// Checks that `sweep_until` can leave loads out.
    ///
    /// # Errors
    /// The problem, and the remedy.
    pub(super) fn check_sweep(&self) -> Result<(), (String, String)> {
        if self.load.sweep_until.is_empty() {
            return Ok(());
        }
        if self.capacity.is_some() {
            let help = "leave sweep_until out: a search finds the load at which its own bounds are broken";
            return Err(("the load is searched, and sweep_until ends a sweep".to_owned(), help.to_owned()));
        }
        let swept = self.swept();
        let is_compared = self.matrix.compared() == swept && self.matrix.values(swept).len() > 1;
        match is_compared {
            true => Err((
                format!("values of {} are compared, so measured side by side: none can be left out", swept.axis().key),
                "compare something else, or leave sweep_until out".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// Limits the search to what `--quick` and the longest time of a case allow.
    pub(super) fn limit_search(&mut self) {
        let quick = self.load.quick.then_some(QUICK_BUDGET);
        let Some(capacity) = &mut self.capacity else { return };
        // --quick has a longest time of its own, too short for a search
        let most = quick.or(self.load.stop.most);
        capacity.budget = most.map_or(capacity.budget, |most| capacity.budget.min(most));
        capacity.block = capacity.block.map(|block| block.min(capacity.budget / BLOCKS_LEAST));
        self.load.stop = Default::default();
    }
}
