//! What cold starts say of a case, as columns of its row. Must not know how they are measured.

use crate::record::{ColdStartRecord, Record};
use crate::statistics;

/// A case's row with what its cold starts say: medians, as few values have no better middle.
pub fn told(starts: &[ColdStartRecord], row: Record) -> Record {
    let median = |of: fn(&ColdStartRecord) -> Option<f64>| statistics::median(starts.iter().filter_map(of).collect());
    Record {
        cold_starts: (!starts.is_empty()).then_some(starts.len() as u32),
        cold_load_ms: median(|start| Some(start.load_ms)),
        cold_first_ms: median(|start| Some(start.first_ms)),
        cold_steady_after_ms: median(|start| start.steady_after_ms),
        cold_beyond_ms: median(|start| start.beyond_ms),
        ..row
    }
}
