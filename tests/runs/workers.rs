//! Worker processes that end, or stand still, before their work is done.

use std::fs;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use runner::record::{State, Status, read_manifest};

use crate::case::{Case, SCENARIO, signal, text};

/// Two cases of one process each, which several blocks share: a process that was looked up stays.
fn two_cases() -> Case {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 5ms\" } }";
    let matrix = "protocols = [\"http\"]\nbatch_sizes = [1, 4]";
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", matrix);
    Case::new(slow, &scenario.replace("iterations = 50\n    warmup = 3", "iterations = 200\nwarmup = 20"))
}

/// The process identifiers of a run's workers.
fn workers_of(run: &Child) -> Vec<u32> {
    let pid = run.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let is_worker = |pid: &u32| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == b"worker")
    };
    children
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .filter(is_worker)
        .collect()
}

fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap()
}

/// Waits until a block is on disk, and returns the run's one worker.
fn worker_under_way(case: &Case, run: &Child) -> u32 {
    let found = (0..1200).find_map(|_| {
        sleep(Duration::from_millis(50));
        let blocks = fs::read_to_string(case.newest()?.join("blocks.csv")).ok()?;
        (blocks.lines().count() > 1).then(|| workers_of(run).first().copied())?
    });
    found.expect("no block within a minute")
}

#[test]
fn a_worker_that_ends_or_hangs_makes_its_case_a_row_and_the_others_go_on() {
    for (name, words) in
        [("-KILL", "a worker process died (signal: 9"), ("-STOP", "a worker said nothing for 20 s and was killed")]
    {
        let case = two_cases();
        let run = case.command(&[]).spawn().unwrap();
        let worker = worker_under_way(&case, &run);
        signal(name, worker);
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
        assert!(!is_there(worker), "{name}: the worker is still there");
        let records = case.records();
        assert_eq!(records.iter().map(|row| row.status).collect::<Vec<_>>(), [Status::Failed, Status::Ok], "{name}");
        assert!(records[0].reason.starts_with(words), "{name}: {:?}", records[0]);
        assert!(records[0].requests > 0 && records[0].mean_ms > Some(5.0), "{name}: {:?}", records[0]);
        assert_eq!(read_manifest(&case.newest().unwrap()).unwrap().state, State::Incomplete, "{name}");
    }
}

#[test]
fn a_run_may_be_stopped_while_a_worker_hangs() {
    let case = two_cases();
    let run = case.command(&[]).spawn().unwrap();
    let worker = worker_under_way(&case, &run);
    signal("-STOP", worker);
    signal("-INT", run.id());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(!is_there(worker), "the worker is still there");
    let statuses: Vec<Status> = case.records().iter().map(|row| row.status).collect();
    assert_eq!(statuses, [Status::Interrupted, Status::NotRun]);
}
