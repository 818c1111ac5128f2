//! What the numbers of a case are by MLPerf's rules, as columns of its row. Must not know how blocks are measured, or how rows are
//! shown.

use std::time::Duration;

use super::rows::{CaseRows, CaseTotals};
use crate::mlperf::{Compliance, Measured, Outcome, Validity, cached, outcome};
use crate::protocol::FaultKind;
use crate::record::{Record, Status, rounded};
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
    let test01 = checks.then(|| same_answers(&row)).flatten();
    reasons.extend(test01.as_ref().and_then(|(_, reason)| reason.clone()));
    Record {
        mlperf: Some(*scenario),
        mlperf_result: Some(validity),
        mlperf_reason: reasons.join("; "),
        mlperf_metric: metric.map(rounded),
        mlperf_latency_ms: (!latency.is_zero()).then_some(latency.as_secs_f64() * 1e3),
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

/// TEST01: whether answers equal those of the pass over all distinct requests, and why not; `None` without any answer.
fn same_answers(row: &Record) -> Option<(Compliance, Option<String>)> {
    let others = row.error_kinds.of(FaultKind::Value.name());
    match (others, row.answers_verified) {
        (0, _) if row.requests == 0 => None,
        (0, Some(compared)) if compared > 0 => Some((Compliance::Pass, None)),
        (0, _) => Some((Compliance::Fail, Some("TEST01: no answer was compared".to_owned()))),
        (others, _) => {
            let words = format!("TEST01: {others} answers are not those of the pass before measuring");
            Some((Compliance::Fail, Some(words)))
        }
    }
}

/// TEST04 of a group: fills in the columns of the case that repeats one request. `ratio` is its mean latency over that of the case
/// with different ones.
pub fn test_repeats(rules: Option<&Mlperf>, ratio: Option<Interval>, rows: &mut [CaseRows]) {
    let Some(Mlperf { scenario, checks: true, .. }) = rules else { return };
    let [CaseRows { record: different, .. }, CaseRows { record: repeated, .. }] = rows else {
        return;
    };
    let reason = match different.mean_ms.zip(ratio) {
        None => Some("TEST04: too little was measured to compare".to_owned()),
        Some((different_ms, Interval { value, low, high })) => {
            let (test, most) = cached(*scenario, different_ms, [1.0 / high, 1.0 / low]);
            repeated.mlperf_test04 = Some(test);
            let found =
                format!("{:.2} times as fast as different ones ({:.2} to {:.2})", 1.0 / value, 1.0 / high, 1.0 / low);
            let words = format!("TEST04: one request again and again is {found}, {most} may be");
            (test != Compliance::Pass).then_some(words)
        }
    };
    let known = std::mem::take(&mut repeated.mlperf_reason);
    let all = [Some(known).filter(|known| !known.is_empty()), reason];
    repeated.mlperf_reason = all.into_iter().flatten().collect::<Vec<_>>().join("; ");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Point;
    use crate::mlperf::TestScenario;
    use crate::recorder::RequestTiming;

    const MS: u64 = 1_000_000;

    /// A case of ten minutes with requests of 1, 2, 3 .. ms, as a row by the rules.
    fn row(scenario: TestScenario, latency_us: u64, requests: u64) -> Record {
        let mut totals = CaseTotals::default();
        totals.window_ns = 600_000 * MS;
        for number in 1..=requests {
            totals
                .recorder
                .record(RequestTiming { latency: number * MS, ..RequestTiming::default() });
        }
        let rules = Mlperf { scenario, latency: Duration::from_micros(latency_us), checks: false };
        let row = Record { requests, status: Status::Ok, inferences_per_s: Some(2.5), ..Record::default() };
        judged(Some(&rules), &totals, row)
    }

    #[test]
    fn a_row_is_valid_or_says_why_not() {
        let kept = row(TestScenario::Server, 998_500, 1000);
        assert_eq!((kept.mlperf_result, kept.mlperf_reason.as_str()), (Some(Validity::Valid), ""));
        assert_eq!((kept.mlperf_metric, kept.mlperf_over, kept.mlperf_over_allowed), (Some(2.5), Some(2), Some(2)));
        assert_eq!(kept.mlperf_latency_ms, Some(998.5));
        // what is so close to the bound that the histogram cannot tell counts as beyond it
        assert_eq!(row(TestScenario::Server, 998_000, 1000).mlperf_over, Some(3));
        let broken = row(TestScenario::Server, 996_500, 1000);
        let reason = "4 of 1000 requests took longer than 996.5 ms, 2 may";
        assert_eq!((broken.mlperf_result, broken.mlperf_reason.as_str()), (Some(Validity::Invalid), reason));
        let single = row(TestScenario::SingleStream, 0, 1000);
        assert_eq!((single.mlperf_result, single.mlperf_latency_ms), (Some(Validity::Valid), None));
        // the 78th from above, at the histogram's resolution and not below
        assert!(single.mlperf_metric.is_some_and(|ms| (923.0..924.0).contains(&ms)), "{single:?}");
    }

    #[test]
    fn what_was_not_begun_and_what_has_no_rules_are_no_results() {
        let row = not_measured(
            Some(&Mlperf { scenario: TestScenario::Offline, latency: Duration::ZERO, checks: true }),
            Record::default(),
        );
        assert_eq!((row.mlperf_result, row.mlperf_reason.as_str()), (Some(Validity::Invalid), "it was not measured"));
        assert_eq!(judged(None, &CaseTotals::default(), Record::default()), Record::default());
    }

    #[test]
    fn a_test_that_compares_nothing_is_not_passed() {
        let with = |requests: u64, verified: Option<u64>| {
            same_answers(&Record { requests, answers_verified: verified, ..Record::default() })
        };
        assert_eq!(with(9, Some(3)), Some((Compliance::Pass, None)));
        let nothing = Some((Compliance::Fail, Some("TEST01: no answer was compared".to_owned())));
        assert_eq!((with(9, Some(0)), with(9, None)), (nothing.clone(), nothing));
        assert_eq!(with(0, Some(0)), None);
    }

    #[test]
    fn repeats_are_judged_by_the_interval_of_mean_latencies() {
        let rules = Mlperf { scenario: TestScenario::Server, latency: Duration::from_secs(1), checks: true };
        let tested = |ratio: Option<[f64; 3]>| {
            let record = |distinct, reason: &str| Record {
                case: Point { distinct: Some(distinct), ..Point::default() },
                mean_ms: Some(10.0),
                mlperf_reason: reason.to_owned(),
                ..Record::default()
            };
            let mut rows = [record(64, ""), record(1, "it is short")].map(CaseRows::alone);
            let ratio = ratio.map(|[value, low, high]| Interval { value, low, high });
            test_repeats(Some(&rules), ratio, &mut rows);
            let [different, repeated] = rows.map(|rows| rows.record);
            assert_eq!((different.mlperf_test04, different.mlperf_reason.as_str()), (None, ""));
            (repeated.mlperf_test04, repeated.mlperf_reason)
        };
        let words = "it is short; TEST04: one request again and again is 2.00 times as fast as different ones (1.60 to 2.50), 1.1 may be";
        assert_eq!(tested(Some([0.5, 0.4, 0.625])), (Some(Compliance::Fail), words.to_owned()));
        assert_eq!(tested(Some([1.0, 0.95, 1.05])), (Some(Compliance::Pass), "it is short".to_owned()));
        assert_eq!(tested(Some([0.95, 0.85, 1.05])).0, Some(Compliance::Unclear));
        let nothing = "it is short; TEST04: too little was measured to compare";
        assert_eq!(tested(None), (None, nothing.to_owned()));
    }
}
