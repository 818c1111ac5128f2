//! What a run says: of its compared cases, or of the capacities that were searched.

use super::answers::{self, Said};
use super::capacity;
use super::run::Run;
use super::verdicts::Compared;

/// What a run says, from the cells of all of its tables.
pub fn said(run: &Run, cells: &[Compared<'_>]) -> Said {
    if capacity::is_searched(run) { capacity::said(run) } else { answers::said(run, cells) }
}

/// What is compared, in words: `mean latency`, or the load that was searched.
pub fn measure(run: &Run) -> String {
    if capacity::is_searched(run) {
        capacity::measure(run)
    } else {
        answers::measure(run).to_owned()
    }
}
