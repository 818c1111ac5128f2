//! Loads by MLPerf's rules, on models whose behaviour is known.

use std::fs;

use runner::mlperf::{Compliance, TestScenario, Validity, allowed};
use runner::record::{Record, Status};

use crate::case::{Case, SCENARIO, text};

/// A case whose model takes batches of 8 and has these parameters.
fn case(mlperf: &str, load: &str, parameters: &[(&str, &str)]) -> Case {
    let tables = format!("[mlperf]\n    {mlperf}\n    [matrix]");
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", "");
    let scenario = scenario.replace("[matrix]", &tables).replace("iterations = 50", load);
    let scenario = scenario.replace("shape = [3]", "shape = [3]\n    data = {random = {seed = 3}}");
    let parameter = |(key, value): &(&str, &str)| {
        format!("parameters {{ key: \"{key}\" value {{ string_value: \"{value}\" }} }}\n")
    };
    let case = Case::new(&parameters.iter().map(parameter).collect::<String>(), &scenario);
    let config = case.path("models/echo/config.pbtxt");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, text.replace("max_batch_size: 4", "max_batch_size: 8")).unwrap();
    case
}

/// Its rows, what it printed and its exit code.
fn run(case: &Case, options: &[&str]) -> (Vec<Record>, String, Option<i32>) {
    let output = case.command(options).output().unwrap();
    (case.records(), text(&output), output.status.code())
}

#[test]
fn a_stream_has_one_query_in_flight_and_its_percentile_by_early_stopping() {
    for (scenario, batch_size, percentile) in
        [(TestScenario::SingleStream, 1, 0.90), (TestScenario::MultiStream, 8, 0.99)]
    {
        let case = case(&format!("scenario = \"{scenario}\""), "duration_s = 1", &[]);
        let (rows, printed, code) = run(&case, &[]);
        assert_eq!((rows.len(), code), (2, Some(0)), "{printed}");
        for row in rows {
            let at_once = (row.case.batch_size, row.case.processes, row.case.concurrency, row.case.rate);
            assert_eq!(at_once, (batch_size, 1, 1, None), "{row:?}");
            assert_eq!(
                (row.status, row.mlperf, row.mlperf_result),
                (Status::Ok, Some(scenario), Some(Validity::Invalid))
            );
            assert!(row.mlperf_reason.contains("s, at least 600 s are asked for"), "{row:?}");
            // however many requests there were in that time
            let rank = allowed(row.requests, percentile, 0.99);
            assert_eq!(row.mlperf_over_allowed, rank, "{row:?}");
            assert_eq!(row.mlperf_metric.is_some(), rank > Some(0), "{row:?}");
            let of_sample = if percentile == 0.90 { row.p90_ms } else { row.p99_ms };
            assert!(row.mlperf_metric.is_none_or(|ms| of_sample <= Some(ms) && row.max_ms >= Some(ms)), "{row:?}");
            assert_eq!((row.mlperf_over, row.mlperf_latency_ms, row.mlperf_test01), (None, None, None));
        }
        let report = fs::read_to_string(case.newest().unwrap().join("report.html")).unwrap();
        for shown in [printed, report] {
            assert!(shown.contains(&format!("MLPerf {scenario}. ")), "{shown}");
            assert!(shown.contains("this is not a submission, and not verified by MLCommons"), "{shown}");
        }
    }
}

#[test]
fn a_server_keeps_its_bound_or_does_not() {
    let slow = [("service_time", "constant 2ms")];
    // the number of requests is the schedule's, whatever the machine
    for (bound_ms, over, words) in
        [("3600000", 0, None), ("1", 500, Some("500 of 500 requests took longer than 1 ms, 0 may"))]
    {
        let mlperf = format!("scenario = \"server\"\n    latency_ms = {bound_ms}");
        let case = case(&mlperf, "rate = [250]\n    duration_s = 2", &slow);
        let (rows, printed, code) = run(&case, &["--protocols", "grpc", "--warmup", "0"]);
        let [row] = &rows[..] else { panic!("{printed}") };
        assert_eq!((code, row.requests, row.arrival.map(|it| it.name())), (Some(0), 500, Some("poisson")), "{printed}");
        assert_eq!((row.case.batch_size, row.case.concurrency), (1, 64));
        assert_eq!((row.mlperf_over, row.mlperf_over_allowed), (Some(over), Some(0)), "{row:?}");
        assert_eq!((row.mlperf_metric, row.mlperf_result), (row.inferences_per_s, Some(Validity::Invalid)));
        assert!(row.mlperf_reason.contains("at least 600 s"), "{row:?}");
        assert_eq!(row.mlperf_reason.contains("took longer"), words.is_some(), "{row:?}");
        assert!(words.is_none_or(|words| row.mlperf_reason.contains(words)), "{row:?}");
    }
}

#[test]
fn offline_sends_all_samples_in_the_batches_that_are_asked_for() {
    let case = case("scenario = \"offline\"", "duration_s = 0.5", &[]);
    let (rows, printed, code) = run(&case, &["--protocols", "http", "--batch-sizes", "2,8", "--strict"]);
    // strict: what is not valid is a failure
    assert_eq!((rows.len(), code), (2, Some(1)), "{printed}");
    for row in rows {
        assert_eq!((row.case.concurrency, row.mlperf_metric), (64, row.inferences_per_s), "{row:?}");
        let samples = row.requests * u64::from(row.case.batch_size);
        let few = format!("it has {samples} samples, at least 24576 are asked for");
        assert_eq!(row.mlperf_reason.contains(&few), samples < 24_576, "{row:?}");
    }
}

#[test]
fn a_model_that_remembers_answers_fails_test04() {
    // so far apart that no machine is slow enough to hide it; each block has a request at least
    for (service, repeat, expected, code) in
        [("constant 400ms", "0us", Compliance::Fail, 99), ("constant 0us", "400ms", Compliance::Pass, 0)]
    {
        let parameters = [("service_time", service), ("repeat_time", repeat)];
        let load = "duration_s = 1\n    blocks = 6\n    distinct = 3";
        let case = case("scenario = \"single-stream\"", load, &parameters);
        let (rows, printed, found) = run(&case, &["--mlperf-check", "--protocols", "http", "--warmup", "0"]);
        let [different, repeated] = &rows[..] else { panic!("{printed}") };
        assert_eq!((different.case.distinct, repeated.case.distinct), (Some(3), Some(1)));
        assert_eq!((different.mlperf_test04, repeated.mlperf_test04), (None, Some(expected)), "{printed}");
        assert_eq!(repeated.mlperf_reason.contains("TEST04"), expected == Compliance::Fail, "{repeated:?}");
        assert_eq!(found, Some(code), "{printed}");
        // answers are the right ones, from memory or not
        let tests = [different.mlperf_test01, repeated.mlperf_test01];
        assert_eq!(tests, [Some(Compliance::Pass); 2], "{printed}");
        assert!(printed.contains("| TEST01 | TEST04 |"), "{printed}");
    }
}

#[test]
fn answers_that_change_while_it_is_measured_fail_test01() {
    // both cases verify, 5 + 2 requests and one again each, before any is measured
    let parameters = [("wrong_values_after", "20"), ("service_time", "constant 1ms")];
    let load = "duration_s = 0.5\n    blocks = 2\n    distinct = 4\n    verify_every = 1";
    let case = case("scenario = \"offline\"", load, &parameters);
    let (rows, printed, code) = run(&case, &["--mlperf-check", "--protocols", "grpc", "--warmup", "0"]);
    assert_eq!((rows.len(), code), (2, Some(99)), "{printed}");
    for row in rows {
        assert_eq!(row.mlperf_test01, Some(Compliance::Fail), "{row:?}");
        assert!(row.mlperf_reason.contains("answers are not those of the pass before measuring"), "{row:?}");
    }
}
