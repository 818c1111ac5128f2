//! What requests are held against: the bounds of a search, those that end a sweep, and thresholds; and whether the load can tell.

use super::{ArrivalProcess, Over, Scenario};
use crate::capacity::Bound;
use crate::matrix::AxisId;
use crate::threshold::Number;

/// The key of a scenario that the load cannot satisfy, the problem, and the remedy.
pub type Unfit = (&'static str, String, &'static str);

impl Scenario {
    /// What the requests of each block are held against.
    pub fn bounds(&self) -> &[Bound] {
        self.capacity.as_ref().map_or(&self.load.sweep_until, |capacity| &capacity.bounds)
    }

    /// The load of a sweep: the rates, if there are any, else requests in flight.
    pub fn swept(&self) -> AxisId {
        match self.matrix.given(AxisId::Rate) {
            [] => AxisId::Concurrency,
            _ => AxisId::Rate,
        }
    }

    /// Checks that the load can tell whether bounds and thresholds are kept.
    ///
    /// # Errors
    /// It cannot.
    pub(super) fn check_bounds(&self) -> Result<(), Unfit> {
        self.check_search()?;
        self.check_sweep()?;
        let of_goodput = |number: Number| matches!(number, Number::GoodputPerS | Number::GoodputShare);
        match self.asserts.iter().find(|assert| of_goodput(assert.that.number)) {
            Some(assert) if self.load.goodput.is_none() => Err((
                "assert",
                format!("the threshold {} is on answers in time, and nothing says within which", assert.that),
                "add goodput_ms to [load], such as goodput_ms = 50",
            )),
            _ => Ok(()),
        }
    }

    fn check_search(&self) -> Result<(), Unfit> {
        let Some(capacity) = &self.capacity else { return Ok(()) };
        let timeout = self.load.timeout;
        if let Some(bound) = capacity.bounds.iter().find(|bound| bound.limit().is_some_and(|limit| limit > timeout)) {
            return Err((
                "capacity",
                format!("the search has the bound {bound}, and requests time out after {} s", timeout.as_secs_f64()),
                "raise timeout_s in [load], or lower the bound",
            ));
        }
        if capacity.over == Over::Rate && capacity.bounds.iter().all(|bound| bound.limit().is_none()) {
            return Err((
                "capacity",
                "the search has a bound of errors alone, and requests that the server does not take wait in the client"
                    .to_owned(),
                "add a bound of time, such as p99_ms = 1000",
            ));
        }
        match self.load.arrival {
            ArrivalProcess::OnOff { .. } => Err((
                "capacity",
                "the search has blocks of any length, and `on_off` has periods".to_owned(),
                "search with bursts as arrival = {gamma = {shape = 0.5}}",
            )),
            _ => Ok(()),
        }
    }

    fn check_sweep(&self) -> Result<(), Unfit> {
        if self.load.sweep_until.is_empty() {
            return Ok(());
        }
        if self.capacity.is_some() {
            return Err((
                "sweep_until",
                "the load is searched, and sweep_until ends a sweep".to_owned(),
                "leave sweep_until out: a search finds the load at which its own bounds are broken",
            ));
        }
        let swept = self.swept();
        match self.matrix.compared() == swept && self.matrix.values(swept).len() > 1 {
            true => Err((
                "sweep_until",
                format!("values of {} are compared, so measured side by side: none can be left out", swept.axis().key),
                "compare something else, or leave sweep_until out",
            )),
            false => Ok(()),
        }
    }
}
