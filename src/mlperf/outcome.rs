//! What a case's numbers are by the rules: its metric, whether it is valid, and whether repeats are too fast. Must not know where the
//! numbers come from.

use std::time::Duration;

use super::{CONFIDENCE, Compliance, DURATION, TestScenario, Validity, allowed, needed};

/// By so much a run that repeats one sample may be faster than one of different samples.
const FASTER: f64 = 0.10;
/// The same of latencies so short that the system around them shows.
const FASTER_SHORT: f64 = 0.20;
/// Up to this latency, in milliseconds, of a query of one sample, and of one of eight.
const SHORT_MS: [f64; 2] = [0.2, 1.6];

/// What a case measured. Latencies are in nanoseconds, by how often each was seen, shortest first; in the server scenario they are
/// response times.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Measured {
    pub scenario: TestScenario,
    /// The longest that a query of the server scenario may take.
    pub bound_ns: u64,
    pub samples_a_request: u64,
    pub latencies: Vec<(u64, u64)>,
    /// Requests without a good answer.
    pub failed: u64,
    /// Requests that waited for others, where none should.
    pub held_back: u64,
    /// Requests that the server's response cache answered.
    pub from_cache: u64,
    /// The time of all blocks.
    pub duration: Duration,
    /// Samples answered a second.
    pub samples_per_s: Option<f64>,
    /// Whether it was measured to its end.
    pub is_whole: bool,
}

/// What they are by the rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether the result counts.
    pub validity: Validity,
    /// Why it does not; empty if it does.
    pub reasons: Vec<String>,
    /// See [`TestScenario::metric`]; `None` if there are too few requests for it.
    pub metric: Option<f64>,
    /// Requests of the server scenario that took longer than they may.
    pub over: Option<u64>,
    /// Of so many requests as there were, those that may by early stopping. Where a percentile is estimated it is the latency of
    /// that many-th request from above.
    pub allowed: Option<u64>,
}

/// Whether a run of this length is too short to be valid.
pub fn is_short(duration: Duration) -> bool {
    duration < DURATION
}

/// What a case's numbers are by the rules.
pub fn outcome(measured: &Measured) -> Outcome {
    let Measured { scenario, latencies, .. } = measured;
    let requests: u64 = latencies.iter().map(|(_, count)| count).sum();
    let allowed = scenario.percentile().and_then(|percentile| allowed(requests, percentile, CONFIDENCE));
    let over = (*scenario == TestScenario::Server).then(|| {
        let beyond = latencies.iter().filter(|(ns, _)| *ns > measured.bound_ns);
        beyond.map(|(_, count)| count).sum()
    });
    let metric = match scenario {
        TestScenario::SingleStream | TestScenario::MultiStream => {
            let of_rank = allowed.filter(|rank| *rank > 0).and_then(|rank| from_above(latencies, rank));
            of_rank.map(|ns| ns as f64 / 1e6)
        }
        TestScenario::Server | TestScenario::Offline => measured.samples_per_s,
    };
    let mut reasons = Vec::new();
    if !measured.is_whole {
        reasons.push("it was not measured to its end".to_owned());
    }
    if is_short(measured.duration) {
        let (lasted, least) = (measured.duration.as_secs_f64(), DURATION.as_secs());
        // not rounded up to what it has to be
        reasons.push(format!("it lasted {} s, at least {least} s are asked for", (lasted * 10.0).floor() / 10.0));
    }
    let (samples, least) = (requests * measured.samples_a_request, scenario.samples_least());
    if samples < least {
        reasons.push(format!("it has {samples} samples, at least {least} are asked for"));
    }
    if measured.failed > 0 {
        reasons.push(format!("{} requests have no good answer", measured.failed));
    }
    if measured.held_back > 0 {
        let held_back = measured.held_back;
        reasons.push(format!("{held_back} requests waited for others to be answered: raise concurrency"));
    }
    if measured.from_cache > 0 {
        let from_cache = measured.from_cache;
        reasons.push(format!("{from_cache} answers came from the server's response cache, which may not be used"));
    }
    if let (Some(percentile), None, None) = (scenario.percentile(), over, metric) {
        let least = needed(1, percentile, CONFIDENCE);
        reasons.push(format!("it has {requests} requests, early stopping takes at least {least}"));
    }
    if let (Some(over), Some(percentile)) = (over, scenario.percentile())
        && allowed.is_none_or(|allowed| over > allowed)
    {
        let least = needed(over, percentile, CONFIDENCE);
        let bound_ms = measured.bound_ns as f64 / 1e6;
        reasons.push(match allowed {
            Some(allowed) => format!("{over} of {requests} requests took longer than {bound_ms} ms, {allowed} may"),
            None => format!("it has {requests} requests, early stopping takes at least {least}"),
        });
    }
    let validity = if reasons.is_empty() { Validity::Valid } else { Validity::Invalid };
    Outcome { validity, reasons, metric, over, allowed }
}

/// The latency of a rank from above, 1 for the longest.
fn from_above(latencies: &[(u64, u64)], rank: u64) -> Option<u64> {
    let mut above = 0;
    let at_rank = latencies.iter().rev().find(|(_, count)| {
        above += count;
        above >= rank
    });
    at_rank.map(|(ns, _)| *ns)
}

/// TEST04: whether answers are remembered, because one sample again and again is faster than different ones, whose mean latency is
/// given in milliseconds. `times` are the ends of an interval of how many times as fast it is. Returns beside it how many it may be.
pub fn cached(scenario: TestScenario, different_ms: f64, [low, high]: [f64; 2]) -> (Compliance, f64) {
    let is_short = match scenario {
        TestScenario::SingleStream => different_ms <= SHORT_MS[0],
        TestScenario::MultiStream => different_ms <= SHORT_MS[1],
        TestScenario::Server | TestScenario::Offline => false,
    };
    let most = 1.0 + if is_short { FASTER_SHORT } else { FASTER };
    let test = match (low >= most, high < most) {
        (true, _) => Compliance::Fail,
        (_, true) => Compliance::Pass,
        _ => Compliance::Unclear,
    };
    (test, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// A run that is valid, of `count` requests of 1, 2, 3 .. ms.
    fn measured(scenario: TestScenario, count: u64) -> Measured {
        Measured {
            scenario,
            bound_ns: 0,
            samples_a_request: scenario.samples_a_query().unwrap_or(1).into(),
            latencies: (1..=count).map(|number| (number * MS, 1)).collect(),
            failed: 0,
            held_back: 0,
            from_cache: 0,
            duration: DURATION,
            samples_per_s: Some(50.0),
            is_whole: true,
        }
    }

    fn reasons(measured: &Measured) -> Vec<String> {
        let Outcome { validity, reasons, .. } = outcome(measured);
        assert_eq!(validity == Validity::Valid, reasons.is_empty());
        reasons
    }

    #[test]
    fn a_percentile_is_the_order_statistic_that_early_stopping_allows() {
        // LoadGen: of 100 requests two are discarded, of 1000 at the 99th percentile one
        let single = outcome(&measured(TestScenario::SingleStream, 100));
        assert_eq!((single.metric, single.allowed, single.over), (Some(98.0), Some(3), None));
        assert_eq!(single.validity, Validity::Valid);
        let multi = outcome(&measured(TestScenario::MultiStream, 1000));
        assert_eq!((multi.metric, multi.allowed, multi.validity), (Some(999.0), Some(2), Validity::Valid));
        // latencies that were seen several times
        let several = Measured { latencies: vec![(MS, 98), (5 * MS, 2)], ..measured(TestScenario::SingleStream, 0) };
        assert_eq!(outcome(&several).metric, Some(1.0));
        assert_eq!(from_above(&several.latencies, 2), Some(5 * MS));
        assert_eq!(from_above(&several.latencies, 101), None);
    }

    #[test]
    fn too_few_requests_give_no_percentile() {
        let few = outcome(&measured(TestScenario::SingleStream, 63));
        assert_eq!((few.metric, few.validity), (None, Validity::Invalid));
        assert_eq!(
            few.reasons,
            ["it has 63 samples, at least 100 are asked for", "it has 63 requests, early stopping takes at least 64"]
        );
        assert_eq!(outcome(&measured(TestScenario::SingleStream, 64)).metric, Some(64.0));
        assert_eq!(outcome(&measured(TestScenario::MultiStream, 661)).metric, None);
        assert!(reasons(&measured(TestScenario::SingleStream, 0)).len() == 2);
    }

    #[test]
    fn the_server_is_valid_by_the_number_of_requests_beyond_its_bound() {
        let with = |over: u64, count: u64| Measured {
            bound_ns: 10 * MS,
            latencies: vec![(9 * MS, count - over), (10 * MS, 0), (10 * MS + 1, over)],
            ..measured(TestScenario::Server, 0)
        };
        // 1000 requests: two
        assert_eq!(reasons(&with(2, 1000)), [""; 0]);
        assert_eq!(reasons(&with(3, 1000)), ["3 of 1000 requests took longer than 10 ms, 2 may"]);
        assert_eq!(reasons(&with(0, 459)), [""; 0]);
        assert_eq!(reasons(&with(0, 458)), ["it has 458 requests, early stopping takes at least 459"]);
        let kept = outcome(&with(2, 1000));
        assert_eq!((kept.metric, kept.over, kept.allowed), (Some(50.0), Some(2), Some(2)));
        let crowded = Measured { held_back: 4, ..with(0, 1000) };
        assert_eq!(reasons(&crowded), ["4 requests waited for others to be answered: raise concurrency"]);
    }

    #[test]
    fn all_samples_at_once_take_as_many_and_as_long() {
        let batches = |count: u64| Measured {
            samples_a_request: 16,
            latencies: vec![(MS, count)],
            ..measured(TestScenario::Offline, 0)
        };
        assert_eq!(reasons(&batches(1536)), [""; 0]);
        assert_eq!(reasons(&batches(1535)), ["it has 24560 samples, at least 24576 are asked for"]);
        let short = Measured { duration: Duration::from_millis(599_990), failed: 2, is_whole: false, ..batches(1536) };
        assert_eq!(
            reasons(&short),
            [
                "it was not measured to its end",
                "it lasted 599.9 s, at least 600 s are asked for",
                "2 requests have no good answer"
            ]
        );
        assert_eq!((outcome(&short).metric, outcome(&short).allowed), (Some(50.0), None));
    }

    #[test]
    fn repeats_may_be_a_tenth_faster_and_no_more() {
        let of = |scenario, different_ms, low, high| cached(scenario, different_ms, [low, high]).0;
        let single = TestScenario::SingleStream;
        assert_eq!(of(single, 10.0, 1.05, 1.09), Compliance::Pass);
        assert_eq!(of(single, 10.0, 0.4, 0.5), Compliance::Pass);
        assert_eq!(of(single, 10.0, 1.11, 5.0), Compliance::Fail);
        assert_eq!(of(single, 10.0, 1.05, 1.15), Compliance::Unclear);
        // a fifth where latencies are short
        assert_eq!((of(single, 0.2, 1.11, 1.19), of(single, 0.2, 1.21, 1.3)), (Compliance::Pass, Compliance::Fail));
        assert_eq!(of(TestScenario::MultiStream, 1.6, 1.11, 1.19), Compliance::Pass);
        assert_eq!(of(TestScenario::Server, 0.2, 1.11, 1.19), Compliance::Fail);
        assert_eq!(of(TestScenario::Offline, 0.2, 1.11, 1.19), Compliance::Fail);
    }
}
