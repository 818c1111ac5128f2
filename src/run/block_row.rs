//! The row of one block. Must not know how blocks are measured, or how rows are shown.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::capacity::Bound;
use crate::matrix::Point;
use crate::record::{BlockRecord, Columns, ErrorKinds, cpu_a_request, rate};
use crate::worker::outcome::BlockOutcome;

/// The row of one block; `bounds` are what its requests were held against.
pub fn block_row(
    scenario: &str,
    case: &Point,
    outcome: &BlockOutcome,
    (index, position): (usize, usize),
    bounds: &[Bound],
) -> (BlockRecord, Duration) {
    let judged = outcome.judged.clone().unwrap_or_default();
    let broken: BTreeMap<String, u64> = bounds.iter().map(Bound::key).zip(judged.bad).collect();
    let window_ns = outcome.window_ns();
    let latency = Columns(&outcome.recorder.latency);
    let start = Duration::from_nanos(outcome.first_ns);
    let row = BlockRecord {
        scenario: scenario.to_owned(),
        case: case.clone(),
        block: index as u32,
        position: position as u32,
        requests: outcome.recorder.count(),
        errors: outcome.recorder.error_count(),
        mean_ms: latency.mean(),
        stddev_ms: latency.stddev(),
        min_ms: latency.min(),
        p50_ms: latency.quantile(0.50),
        p95_ms: latency.quantile(0.95),
        p99_ms: latency.quantile(0.99),
        max_ms: latency.max(),
        bound_requests: outcome.judged.as_ref().map(|judged| judged.requests),
        bound_broken: ErrorKinds::new(&broken),
        duration_s: window_ns as f64 / 1e9,
        requests_per_s: rate(&outcome.recorder, window_ns),
        client_cpu_ms: cpu_a_request(&outcome.recorder, outcome.usage.cpu_ns()),
        started: Timestamp::UNIX_EPOCH.saturating_add(start).unwrap_or_else(|_| Timestamp::now()).into(),
    };
    (row, start)
}
