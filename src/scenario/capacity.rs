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
