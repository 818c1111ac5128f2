//! The statistics against SciPy's and statsmodels' values, and against random numbers of every kind.

use std::fs;

use proptest::prelude::*;
use runner::recorder::{Recorder, RequestTiming};
use runner::statistics::*;
use serde_json::Value;

/// The values from tests/statistics/reference.py.
fn reference(key: &str) -> Vec<Value> {
    let text = fs::read_to_string("tests/statistics/reference.json").unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    all[key].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn same(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{found} is not {expected}");
    }
}

#[test]
fn intervals_of_a_mean_are_scipys() {
    for case in reference("mean") {
        let found = mean(&numbers(&case["values"])).unwrap();
        same(&[found.value, found.low, found.high], &numbers(&case["interval"]));
    }
}

#[test]
fn ratios_and_sign_flips_are_scipys() {
    for case in reference("ratio") {
        let pairs: Vec<_> = numbers(&case["ours"]).into_iter().zip(numbers(&case["theirs"])).collect();
        let Ratio { interval, p, blocks } = ratio(&pairs).unwrap();
        same(&[interval.value, interval.low, interval.high, p], &numbers(&case["ratio"]));
        assert_eq!(blocks, pairs.len());
    }
}

#[test]
fn ratios_of_independent_blocks_are_scipys() {
    for case in reference("independent") {
        let Ratio { interval, p, .. } =
            ratio_of_independent(&numbers(&case["base"]), &numbers(&case["other"])).unwrap();
        same(&[interval.value, interval.low, interval.high, p], &numbers(&case["ratio"]));
    }
    let exact = ratio_of_independent(&[2.0, 2.0], &[4.0, 4.0]).unwrap();
    assert_eq!((exact.interval.low, exact.interval.high, exact.p), (2.0, 2.0, 0.0));
    assert_eq!(ratio_of_independent(&[2.0, 2.0], &[2.0, 2.0]).unwrap().p, 1.0);
    for (base, other) in [(&[1.0][..], &[1.0, 2.0][..]), (&[1.0, 2.0], &[]), (&[0.0, 1.0], &[1.0, 2.0])] {
        assert_eq!(ratio_of_independent(base, other), None);
    }
}

#[test]
fn the_reach_of_a_ratio_of_means_is_that_of_its_logarithm() {
    // of equal counts, the parts of two blocks are (x - mean) / sum
    let of = |sum| Sum { sum, over: 1.0 };
    let blocks = [[of(10.0), of(11.0)], [of(10.0), of(9.0)]];
    // t(0.975, 1) is 12.706; the parts are 0.05 and -0.05
    let expected = (12.706_204_736_174_707 * (2.0 * (0.05_f64.powi(2) * 2.0)).sqrt()).exp() - 1.0;
    assert!((reach(&blocks).unwrap() - expected).abs() < 1e-9, "{:?} {expected}", reach(&blocks));
    assert_eq!((reach(&blocks[..1]), reach(&[])), (None, None));
    // asked after an even number of rounds, six at least
    let exact = [[of(10.0), of(10.0)]; 8];
    let ends: Vec<bool> = (0..=8).map(|rounds| is_precise(&exact[..rounds], 0.01)).collect();
    assert_eq!(ends, [false, false, false, false, false, false, true, false, true]);
}

#[test]
fn holms_correction_is_statsmodels() {
    for case in reference("holm") {
        same(&holm(&numbers(&case["p"])), &numbers(&case["corrected"]));
    }
}

/// As in a run: batches are made while latencies are recorded.
fn effective(latencies: &[u64]) -> f64 {
    let mut recorder = Recorder::default();
    latencies
        .iter()
        .for_each(|latency| recorder.record(RequestTiming { latency: *latency, ..RequestTiming::default() }));
    let batches = recorder
        .sequence
        .batches()
        .map(|(length, count, variance)| Batches { length, count, variance });
    effective_samples(recorder.count(), &batches.collect::<Vec<_>>())
}

#[test]
fn effective_samples_are_those_of_batch_means() {
    for case in reference("effective") {
        let latencies: Vec<u64> = case["values"].as_array().unwrap().iter().map(|it| it.as_u64().unwrap()).collect();
        same(&[effective(&latencies)], &[case["effective"].as_f64().unwrap()]);
    }
}

#[test]
fn the_bounds_of_a_quantile_are_ranks() {
    // 1.96 * sqrt(1000 * 0.95 * 0.05)
    let (low, high) = quantile_bounds(1000.0, 0.95).unwrap();
    same(&[1000.0 * low, 1000.0 * high], &[950.0 - 13.508_367_777_048_417, 950.0 + 13.508_367_777_048_417]);
    assert_eq!(quantile_bounds(20.0, 0.99), None);
    assert!(is_trusted(200.0, 0.95) && !is_trusted(199.0, 0.95) && is_trusted(1000.0, 0.99));
    for (effective, q) in
        [(-5.0, 2.0), (-5.0, 0.5), (0.0, 0.5), (100.0, -0.5), (100.0, 1.5), (f64::INFINITY, 0.5), (f64::NAN, 0.5)]
    {
        assert_eq!(quantile_bounds(effective, q), None, "{effective} {q}");
    }
}

fn constant(off: f64, blocks: usize) -> Option<Ratio> {
    let wobble = |block: usize| 1.0 + 0.001 * (block % 3) as f64;
    let pairs: Vec<_> = (0..blocks).map(|block| (off * wobble(block), wobble(block + 1))).collect();
    ratio(&pairs)
}

#[test]
fn verdicts_need_a_difference_and_enough_blocks() {
    let judged = |ratio, blocks| verdicts(&[constant(ratio, blocks)], DELTA)[0].1;
    assert_eq!(judged(0.95, 10), Verdict::Faster);
    assert_eq!(judged(1.05, 10), Verdict::Slower);
    assert_eq!(judged(1.002, 10), Verdict::Equal);
    assert_eq!(judged(1.01, 10), Verdict::Unclear);
    // of 5 blocks all ways of flipping are 32
    assert_eq!(judged(0.5, 5), Verdict::Unclear);
    assert_eq!(judged(0.5, 6), Verdict::Faster);
    // 30 cells of one table are 30 chances to be wrong
    assert_eq!(verdicts(&[constant(0.95, 10); 30], DELTA)[0].1, Verdict::Unclear);
    let one = constant(0.95, 10);
    let expected = [(None, Verdict::Unclear), (one.map(|ratio| ratio.p), Verdict::Faster)];
    assert_eq!(verdicts(&[None, one], DELTA), expected);
}

#[test]
fn a_drift_is_what_the_halves_cannot_share() {
    let blocks =
        |late: f64| -> Vec<f64> { (0..10).map(|n| if n < 5 { 10.0 } else { late } + 0.01 * (n % 2) as f64).collect() };
    assert!(drifts(&blocks(11.0)) && drifts(&blocks(9.0)));
    assert!(!drifts(&blocks(10.05)) && !drifts(&blocks(10.0)[..3]) && !drifts(&[]));
}

/// Every kind of number: also 0, tiny, huge, negative, infinite and NaN.
#[test]
fn a_ratio_that_no_number_holds_is_none() {
    for pair in
        [(1e300, 1e-300), (1e-300, 1e300), (0.0, 1.0), (1.0, 0.0), (-1.0, 1.0), (f64::INFINITY, 1.0), (f64::NAN, 1.0)]
    {
        assert_eq!(ratio(&[pair; 3]), None, "{pair:?}");
        assert_eq!(ratio(&[(1.0, 1.0), pair, (1.0, 2.0)]), None, "{pair:?}");
    }
    assert!(ratio(&[(1.0, 2.0), (2.0, 4.0)]).is_some_and(|found| found.interval.value == 0.5));
}

/// For a mean, the jackknife over all halves is the variance of the mean: (n - d) / d times the mean square is s^2 / n.
#[test]
fn the_jackknife_of_a_mean_is_its_interval() {
    let logarithms = [0.10, 0.12, 0.07, 0.11, 0.05, 0.13, 0.10, 0.02, 0.09, 0.14];
    for groups in 2..=logarithms.len() {
        let values = &logarithms[..groups];
        let expected = mean(values).unwrap();
        let of_half = |kept: &[bool]| {
            assert_eq!((kept.len(), kept.iter().filter(|kept| **kept).count()), (groups, groups.div_ceil(2)));
            let kept: Vec<f64> = values.iter().zip(kept).filter(|(_, kept)| **kept).map(|(value, _)| *value).collect();
            Some((kept.iter().sum::<f64>() / kept.len() as f64).exp())
        };
        let found = jackknife(expected.value.exp(), groups, of_half).unwrap();
        same(&[found.value, found.low, found.high].map(f64::ln), &[expected.value, expected.low, expected.high]);
    }
}

#[test]
fn a_jackknife_without_its_ratios_is_none() {
    assert_eq!(jackknife(1.0, 1, |_| Some(1.0)), None);
    assert_eq!(jackknife(1.0, 11, |_| Some(1.0)), None);
    assert_eq!(jackknife(1.0, 4, |_| None), None);
    for wrong in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        assert_eq!(jackknife(1.0, 4, |_| Some(wrong)), None, "{wrong}");
        assert_eq!(jackknife(wrong, 4, |_| Some(1.0)), None, "{wrong}");
    }
    assert!(jackknife(1.0, 2, |_| Some(1.0)).is_some());
}

#[test]
fn blocks_are_joined_into_as_equal_groups_as_can_be() {
    let sizes = |blocks: usize| {
        let mut sizes = vec![0; groups(blocks)];
        (0..blocks).for_each(|block| sizes[group_of(block, blocks)] += 1);
        sizes
    };
    assert_eq!((groups(0), sizes(1), sizes(7)), (0, vec![1], vec![1; 7]));
    assert_eq!((sizes(10), sizes(30)), (vec![1; 10], vec![3; 10]));
    assert_eq!(sizes(25), [3_usize, 2, 3, 2, 3, 2, 3, 2, 3, 2]);
    let places: Vec<usize> = (0..25).map(|block| group_of(block, 25)).collect();
    assert!(places.is_sorted(), "{places:?}");
}

fn any() -> impl Strategy<Value = f64> {
    prop_oneof![proptest::num::f64::ANY, 0.5..2.0, Just(0.0), Just(1.0)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn no_input_makes_them_panic_or_give_what_is_no_number(
        values in prop::collection::vec(any(), 0..14),
        effective in any(),
        q in any(),
    ) {
        let finite = |interval: Interval| {
            interval.low <= interval.value && interval.value <= interval.high && interval.low.is_finite() && interval.high.is_finite()
        };
        if let Some(interval) = mean(&values) {
            prop_assert!(finite(interval), "{interval:?}");
        }
        let pairs: Vec<_> = values.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let found = ratio(&pairs);
        if let Some(found) = found {
            prop_assert!(finite(found.interval) && (0.0..=1.0).contains(&found.p), "{found:?}");
        }
        prop_assert_eq!(verdicts(&[found, None, found], DELTA).len(), 3);
        drifts(&values);
        if let Some((low, high)) = quantile_bounds(effective, q) {
            prop_assert!((0.0..=1.0).contains(&low) && (0.0..=1.0).contains(&high) && low <= high);
        }
        is_trusted(effective, q);
        let batches: Vec<_> =
            values.iter().map(|variance| Batches { length: 1, count: 9, variance: *variance }).collect();
        let found = effective_samples(100, &batches);
        prop_assert!((0.0..=100.0).contains(&found), "{found}");
    }

    #[test]
    fn the_other_side_of_a_ratio_is_its_inverse(pairs in prop::collection::vec((0.5..2.0, 0.5..2.0), 2..12)) {
        let turned: Vec<(f64, f64)> = pairs.iter().map(|(ours, theirs)| (*theirs, *ours)).collect();
        let (ours, theirs) = (ratio(&pairs).unwrap(), ratio(&turned).unwrap());
        prop_assert!((ours.interval.value * theirs.interval.value - 1.0).abs() < 1e-9);
        prop_assert!((ours.interval.low * theirs.interval.high - 1.0).abs() < 1e-9);
        prop_assert!((ours.p - theirs.p).abs() < 1e-12);
    }
}

#[test]
fn intervals_of_a_share_are_wilsons() {
    // statsmodels' proportion_confint(part, all, method="wilson")
    for (part, all, low, high) in [
        (10, 100, 0.055_229, 0.174_366),
        (0, 100, 0.0, 0.036_995),
        (30, 30, 0.886_486, 1.0),
        (500, 100_000, 0.004_581, 0.005_457),
    ] {
        let found = share(part, all);
        assert!((found.low - low).abs() < 2e-5 && (found.high - high).abs() < 2e-5, "{part} of {all}: {found:?}");
        assert_eq!(found.value, part as f64 / all as f64);
    }
    assert!(share(0, 0).low.abs() < 1e-9 && share(0, 0).high > 0.5);
}
