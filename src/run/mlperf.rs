//! What the numbers of a case are by MLPerf's rules, as columns of its row. Must not know how blocks are measured, or how rows are
//! shown.

use std::time::Duration;

use super::rows::CaseTotals;
use crate::mlperf::{Compliance, Measured, Outcome, Validity, cached, outcome};
use crate::protocol::FaultKind;
use crate::record::{HostRecord, Record, Status, rounded};
use crate::scenario::Mlperf;
use crate::statistics::Interval;

/// Fills in the columns of a case that has its others.
pub fn judged(rules: Option<&Mlperf>, totals: &CaseTotals, row: Record) -> Record {
    let Some(Mlperf { scenario, latency, checks }) = rules else { return row };
    let measured = Measured {
        scenario: *scenario,
        bound_ns: latency.as_nanos() as u64,
        samples_a_request: row.case.batch_size.into(),
        latencies: totals.recorder.latency.counts().collect(),
        failed: row.errors,
        held_back: row.held_back.unwrap_or(0),
        from_cache: row.server_cache_hits.unwrap_or(0),
        duration: Duration::from_nanos(totals.window_ns),
        samples_per_s: row.inferences_per_s,
        is_whole: matches!(row.status, Status::Ok | Status::Errors),
    };
    let Outcome { validity, mut reasons, metric, over, allowed } = outcome(&measured);
    let test01 = checks.then(|| same_answers(&row));
    reasons.extend(test01.as_ref().and_then(|(_, reason)| reason.clone()));
    Record {
        mlperf: Some(*scenario),
        mlperf_result: Some(validity),
        mlperf_reason: reasons.join("; "),
        mlperf_metric: metric.map(rounded),
        mlperf_latency_ms: (!latency.is_zero()).then(|| latency.as_secs_f64() * 1e3),
        mlperf_over: over,
        mlperf_over_allowed: allowed,
        mlperf_test01: test01.map(|(test01, _)| test01),
        ..row
    }
}

/// The columns of a case that was not begun.
pub fn not_measured(rules: Option<&Mlperf>, row: Record) -> Record {
    let Some(Mlperf { scenario, .. }) = rules else { return row };
    let (mlperf, mlperf_result) = (Some(*scenario), Some(Validity::Invalid));
    Record { mlperf, mlperf_result, mlperf_reason: "it was not measured".to_owned(), ..row }
}

/// TEST01: whether answers equal those of the pass over all distinct requests, and why not.
fn same_answers(row: &Record) -> (Compliance, Option<String>) {
    let others = row.error_kinds.of(FaultKind::Value.name());
    match (others, row.answers_verified) {
        (0, Some(compared)) if compared > 0 => (Compliance::Pass, None),
        (0, _) => (Compliance::Fail, Some("TEST01: no answer was compared".to_owned())),
        (others, _) => {
            (Compliance::Fail, Some(format!("TEST01: {others} answers are not those of the pass before measuring")))
        }
    }
}

/// TEST04 of a group: fills in the columns of the case that repeats one request. `ratio` is its mean latency over that of the case
/// with different ones.
pub fn test_repeats(rules: Option<&Mlperf>, ratio: Option<Interval>, rows: &mut [(Record, Vec<HostRecord>)]) {
    let Some(Mlperf { scenario, checks: true, .. }) = rules else { return };
    let [(different, _), (repeated, _)] = rows else { return };
    let reason = match different.mean_ms.zip(ratio) {
        None => Some("TEST04: too little was measured to compare".to_owned()),
        Some((different_ms, Interval { value, low, high })) => {
            let (test, most) = cached(*scenario, different_ms, [1.0 / high, 1.0 / low]);
            repeated.mlperf_test04 = Some(test);
            let found = format!("{:.2} times as fast as different ones ({:.2} to {:.2})", 1.0 / value, 1.0 / high, 1.0 / low);
            let words = format!("TEST04: one request again and again is {found}, {most} may be");
            (test != Compliance::Pass).then_some(words)
        }
    };
    let known = std::mem::take(&mut repeated.mlperf_reason);
    let all = [Some(known).filter(|known| !known.is_empty()), reason];
    repeated.mlperf_reason = all.into_iter().flatten().collect::<Vec<_>>().join("; ");
}
