//! What comes before anything is measured: warming up by time or until latencies are steady, and cold starts.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use runner::record::{COLD_STARTS, ColdStartRecord, Flag, RECORDS, Record, State, Status, read, read_manifest};

use crate::case::{Case, SCENARIO, signal, text};

/// Twenty executions of 32 ms after the model is loaded, and 2 ms from then on.
const COLD: &str = "parameters { key: \"service_time\" value { string_value: \"constant 2ms\" } }
    parameters { key: \"warm_up\" value { string_value: \"30ms for 20 executions\" } }";

fn case(load: &str) -> Case {
    case_of(COLD, load)
}

fn case_of(model: &str, load: &str) -> Case {
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", "processes = [1]");
    Case::new(model, &scenario.replace("iterations = 50\n    warmup = 3", load))
}

/// The rows of a run with this `[load]`, and what it printed.
fn rows(load: &str) -> (Vec<Record>, String) {
    let case = case(load);
    let output = case.command(&["--quiet"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let counts = read_manifest(&case.newest().unwrap()).unwrap().counts.unwrap();
    assert!(counts.agrees(), "{counts:?}");
    (case.records(), text(&output))
}

#[test]
fn processes_warm_up_for_a_time() {
    let (records, printed) = rows("iterations = 20\nwarmup = 0\nwarmup_s = 0.3");
    for record in &records {
        assert_eq!((record.warmup, record.warmup_s, record.requests), (0, Some(0.3), 20), "{record:?}");
        assert!(record.warmed_up_s >= Some(0.3) && !record.flags.has(Flag::Unsteady), "{record:?}");
    }
    assert!(printed.contains("at least 0.3 s before them to warm up"), "{printed}");
}

#[test]
fn processes_warm_up_until_latencies_are_steady() {
    let (records, printed) = rows("iterations = 20\nwarmup = 0\nwarmup_until = \"50%\"");
    // the first of the two warms the model up: twenty executions, of which verifying was one
    assert!(records[0].warmed_up_s > Some(19.0 * 0.032), "{records:?}");
    for record in &records {
        assert_eq!(record.warmup_until_percent, Some(50.0), "{record:?}");
        assert!(!record.flags.has(Flag::Unsteady), "{record:?}");
    }
    assert!(printed.contains("before them to warm up, until latencies were steady within 50 %;"), "{printed}");
}

#[test]
fn a_row_that_was_not_steady_in_time_is_flagged() {
    // a sixth of that is too short to tell
    let (records, printed) = rows("iterations = 20\nmax_seconds_per_case = 3\nwarmup_until = \"5%\"");
    assert!(records.iter().all(|record| record.flags.has(Flag::Unsteady)), "{records:?}");
    assert!(printed.contains("latencies were not steady when measuring began"), "{printed}");
}

#[test]
fn a_run_that_is_stopped_within_a_cold_start_leaves_the_model_loaded() {
    let case = case("iterations = 20\nwarmup = 0\ncold_starts = 100");
    let (mut server, http, grpc) = case.other_server();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg(case.path("echo.toml")).args(["--quiet", "--http", &http, "--grpc", &grpc]);
    let run = command
        .arg("--results")
        .arg(case.path("results"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = || fs::read_dir(case.path("results/echo")).is_ok_and(|mut runs| runs.next().is_some());
    while !begun() {
        sleep(Duration::from_millis(10));
    }
    sleep(Duration::from_millis(300));
    signal("-INT", run.id());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    // it answers as before
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg(case.path("echo.toml")).args(["--verify", "--http", &http, "--grpc", &grpc]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn cold_starts_tell_what_a_model_takes_after_it_is_loaded() {
    let case = case("iterations = 20\nwarmup = 0\nwarmup_until = \"50%\"\ncold_starts = 2");
    let output = case.command(&["--quiet", "--set", "concurrency=1,2"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = case.newest().unwrap();
    assert!(read_manifest(&run).unwrap().counts.unwrap().agrees());
    let starts: Vec<ColdStartRecord> = read(&run.join(COLD_STARTS)).unwrap();
    // in turn, each protocol twice, and not again with two requests in flight
    let order: Vec<(u32, String)> = starts.iter().map(|start| (start.cold_start, start.case.tag())).collect();
    let [http, grpc] = ["http-b1-p1-c1", "grpc-b1-p1-c1"].map(str::to_owned);
    assert_eq!(order, [(0, http.clone()), (0, grpc.clone()), (1, grpc), (1, http)]);
    for start in &starts {
        assert!(start.load_ms > 0.0 && start.first_ms >= 32.0 && start.errors == 0, "{start:?}");
        assert!(start.steady_after_requests >= Some(20), "{start:?}");
        assert!(start.steady_after_ms >= Some(20.0 * 32.0) && start.steady_mean_ms >= Some(2.0), "{start:?}");
        assert!(start.beyond_ms >= Some(20.0 * 15.0), "{start:?}");
    }
    let records = case.records();
    let (one, two): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| record.case.concurrency == 1);
    assert!(two.len() == 2 && two.iter().all(|record| record.cold_starts.is_none()), "{two:?}");
    for record in one {
        assert_eq!((record.cold_starts, record.requests), (Some(2), 20), "{record:?}");
        assert!(record.cold_first_ms >= Some(32.0) && record.cold_beyond_ms >= Some(20.0 * 15.0), "{record:?}");
    }
    let printed = text(&output);
    assert!(
        printed.contains("Cold starts, after the model was unloaded") && printed.contains("| Loaded in (ms) |"),
        "{printed}"
    );
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("Beyond the Steady Mean"), "{report}");

    let plan = text(&case.command(&["--list"]).output().unwrap());
    assert!(plan.contains("before a case its model is unloaded and loaded again, 2 times"), "{plan}");

    // of a run that goes on, none is repeated
    let mut manifest = read_manifest(&run).unwrap();
    (manifest.state, manifest.ended) = (State::Interrupted, None);
    fs::write(run.join("run.json"), serde_json::to_vec(&manifest).unwrap()).unwrap();
    fs::remove_file(run.join(RECORDS)).unwrap();
    let output = crate::resume::resume(&run, &["--quiet"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(read::<ColdStartRecord>(&run.join(COLD_STARTS)).unwrap(), starts);
    for row in case.records() {
        let cold_starts = (row.case.concurrency == 1).then_some(2);
        assert_eq!((row.status, row.cold_starts), (Status::Ok, cold_starts), "{row:?}");
    }
}

#[test]
fn requests_that_fail_after_a_cold_start_are_counted() {
    let model = "parameters { key: \"error_share\" value { string_value: \"0.2\" } }";
    let case = case_of(model, "iterations = 20\nwarmup = 100\ncold_starts = 1");
    let output = case.command(&["--quiet"]).output().unwrap();
    let starts: Vec<ColdStartRecord> = read(&case.newest().unwrap().join(COLD_STARTS)).unwrap();
    assert!(starts.len() == 2 && starts.iter().all(|start| start.errors > 0), "{starts:?}");
    assert!(text(&output).contains("| Errors |"), "{}", text(&output));
}
