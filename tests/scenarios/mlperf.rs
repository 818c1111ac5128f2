//! What the rules of MLPerf set in a scenario, and what the command line may change of it.

use std::time::Duration;

use runner::matrix::{Arrival, AxisId, Point};
use runner::plan::Plan;
use runner::scenario::{Overrides, Scenario};

use crate::{MINIMAL, axis, parse};

fn scenario(mlperf: &str, matrix: &str, load: &str) -> Scenario {
    parse(MINIMAL.replace("[matrix]\n", &format!("[mlperf]\n{mlperf}\n[matrix]\n{matrix}\n[load]\n{load}\n"))).unwrap()
}

fn options(axes: &[(AxisId, &[&str])]) -> Overrides {
    Overrides {
        axes: axes.iter().map(|(id, values)| axis(*id, values)).collect(),
        ..Overrides::default()
    }
}

#[test]
fn each_scenario_has_its_load() {
    for (mlperf, matrix, load, expected, requests) in [
        ("scenario = \"single-stream\"", "", "", (1, 1, 1), 100),
        // 662 queries of eight
        ("scenario = \"multi-stream\"", "", "", (8, 1, 1), 662),
        ("scenario = \"server\"\nlatency_ms = 15", "", "rate = [100]", (1, 1, 64), 100),
        ("scenario = \"server\"\nlatency_ms = 15", "processes = [4]\nconcurrency = [9]", "rate = [100]", (1, 4, 9), 25),
        ("scenario = \"offline\"", "", "", (1, 1, 64), 24_576),
        // of each process
        ("scenario = \"offline\"", "batch_sizes = [16]\nprocesses = [2]\nconcurrency = [3]", "", (16, 2, 3), 768),
    ] {
        let scenario = scenario(mlperf, matrix, load);
        let point: Point = scenario.matrix.points().next().unwrap();
        assert_eq!((point.batch_size, point.processes, point.concurrency), expected, "{mlperf}");
        assert_eq!(scenario.load.stop.requests, requests, "{mlperf}");
        assert!(scenario.load.stop.least >= Some(Duration::from_secs(600)), "{mlperf}");
        assert_eq!(point.rate.is_some(), scenario.load.arrival.word() == Arrival::Poisson, "{mlperf}");
    }
}

#[test]
fn blocks_of_an_open_loop_last_as_long_as_the_rules_ask_for() {
    // a rate of which no block holds a whole number of requests
    for rate in [0.9, 1.003, 7.77, 333.3] {
        let scenario =
            scenario("scenario = \"server\"\nlatency_ms = 15", "processes = [3]", &format!("rate = [{rate}]"));
        let plan = Plan::expand(&scenario);
        let of_process = |least: Duration| (least.as_secs_f64() * rate / 3.0).round();
        let scheduled: f64 = plan.groups[0]
            .rounds
            .iter()
            .map(|round| of_process(round.stop.least.unwrap()) * 3.0 / rate)
            .sum();
        // and no longer than by one request of each block and process
        assert!((600.0..600.1 + 30.0 / rate * 1.2).contains(&scheduled), "{rate}: {scheduled}");
    }
}

#[test]
fn a_shorter_load_has_no_least_number_of_requests() {
    let offline = scenario("scenario = \"offline\"", "", "duration_s = 5");
    assert_eq!((offline.load.stop.requests, offline.load.stop.least), (0, Some(Duration::from_secs(5))));
    let whole = scenario("scenario = \"offline\"", "", "");
    let shorter = Overrides { duration_s: Some(5.0), ..Overrides::default() };
    let shortened = whole.clone().overridden_by(&shorter).unwrap();
    assert_eq!(shortened.load.stop, offline.load.stop);
    let quick = whole.clone().overridden_by(&Overrides { quick: true, ..Overrides::default() }).unwrap();
    assert_eq!((quick.load.stop.requests, quick.load.stop.least), (0, Some(Duration::from_secs(3))));
    // and what options change counts
    let batched = whole.overridden_by(&options(&[(AxisId::BatchSize, &["8"])])).unwrap();
    assert_eq!(batched.load.stop.requests, 3072);
}

#[test]
fn options_may_not_change_what_the_rules_set() {
    let single = || scenario("scenario = \"single-stream\"", "", "");
    for (overrides, words) in [
        (options(&[(AxisId::Concurrency, &["2"])]), "--concurrency 2: MLPerf's single-stream has 1"),
        (options(&[(AxisId::BatchSize, &["1", "4"])]), "--batch-sizes 1,4: MLPerf's single-stream has 1"),
        (options(&[(AxisId::Rate, &["9"])]), "--rate 9: it has no place beside MLPerf's single-stream"),
        (Overrides { iterations: Some(5), ..Overrides::default() }, "--iterations: MLPerf's rules say"),
        (Overrides { precision: Some("2%".to_owned()), ..Overrides::default() }, "--precision: MLPerf's rules say"),
    ] {
        let error = single().overridden_by(&overrides).unwrap_err();
        assert!(error.starts_with(words), "{error}");
    }
    assert!(single().overridden_by(&options(&[(AxisId::Processes, &["1"])])).is_ok());
}

#[test]
fn compliance_tests_compare_different_requests_with_one() {
    let check = Overrides { mlperf_check: true, ..Overrides::default() };
    let distinct = |scenario: Scenario| {
        let scenario = scenario.overridden_by(&check)?;
        assert_eq!(scenario.matrix.compared(), AxisId::Distinct);
        Ok::<_, String>(scenario.matrix.groups()[0].iter().map(|point| point.distinct).collect::<Vec<_>>())
    };
    let with = |data: &str, load: &str| {
        let rules = format!("[mlperf]\nscenario = \"single-stream\"\n[load]\n{load}\n[matrix]\n");
        let text = MINIMAL
            .replace("[matrix]\n", &rules)
            .replace("shape = [4]\n", &format!("shape = [4]\n{data}\n"));
        parse(text).unwrap()
    };
    let random = "data = {random = {seed = 7}}";
    assert_eq!(distinct(with(random, "")).unwrap(), [Some(64), Some(1)]);
    assert_eq!(distinct(with(random, "distinct = 9")).unwrap(), [Some(9), Some(1)]);
    let error = distinct(with("", "")).unwrap_err();
    assert!(error.contains("give an input different data"), "{error}");
    let error = parse(MINIMAL).unwrap().overridden_by(&check).unwrap_err();
    assert!(error.contains("the scenario has no [mlperf]"), "{error}");
}
