//! Runs over hosts that end before their time, and go on later. Hosts that are lost are in `tests/faults/hosts.rs`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use runner::record::{State, Status, read_manifest};

use crate::case::{SCENARIO, signal, text};
use crate::machines::{Lab, PROGRAM, all_end, children_of, descendants_of, output_of, under_way, words_of};

/// Some seconds over two hosts.
fn slow() -> Lab {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 2ms\" } }";
    let scenario = SCENARIO
        .replace("processes = [1, 2]", "processes = [2]\n    hosts = [1, 2]\n    protocols = [\"http\"]")
        .replace("iterations = 50", "iterations = 100");
    Lab::new(slow, &scenario, &["one", "two"], "")
}

/// A run in its first blocks, and all its processes: agents, their workers and the server.
fn begun(lab: &Lab) -> (Child, Vec<u32>) {
    let run = lab.case.command(&["--quiet"]).spawn().unwrap();
    under_way(&lab.case, 2);
    let processes = descendants_of(run.id());
    for host in ["one", "two"] {
        let agent = lab.agent(host);
        assert!(processes.contains(&agent) && words_of(agent).ends_with(" worker --host "), "{}", words_of(agent));
    }
    assert!(!children_of(lab.agent("one")).is_empty());
    (run, processes)
}

/// Checks that a run goes on from where it was, and is whole then.
fn goes_on(lab: &Lab, run: &Path) {
    let output = Command::new(PROGRAM).arg("--resume").arg(run).arg("--quiet").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let manifest = read_manifest(run).unwrap();
    assert!(manifest.state == State::Complete && manifest.counts.unwrap().agrees(), "{:?}", manifest.counts);
    let (rows, parts) = (lab.case.records(), lab.host_rows());
    assert_eq!((rows.len(), parts.len()), (4, 6));
    for row in rows {
        assert_eq!((row.status, row.requests, row.blocks), (Status::Ok, 200, 10), "{row:?}");
        let of_hosts = parts.iter().filter(|part| part.case == row.case).map(|part| part.requests);
        assert_eq!(of_hosts.sum::<u64>(), 200, "{parts:?}");
    }
}

#[test]
fn a_run_over_hosts_that_is_stopped_leaves_nothing_and_goes_on_later() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let lab = slow();
        let (run, processes) = begun(&lab);
        signal(name, run.id());
        let output = output_of(run);
        assert_eq!(output.status.code(), Some(code), "{name}: {}", text(&output));
        all_end(&processes);
        let statuses: Vec<Status> = lab.case.records().iter().map(|row| row.status).collect();
        assert_eq!(statuses.len(), 4, "{name}: {statuses:?}");
        let run = lab.case.newest().unwrap();
        assert_eq!(read_manifest(&run).unwrap().state, State::Interrupted, "{name}");
        goes_on(&lab, &run);
        all_end(&[lab.started("one"), lab.started("two")].concat());
    }
}

#[test]
fn hosts_end_by_themselves_when_their_leader_is_killed() {
    let lab = slow();
    let (run, processes) = begun(&lab);
    signal("-KILL", run.id());
    output_of(run);
    all_end(&processes);
    goes_on(&lab, &lab.case.newest().unwrap());
}

#[test]
fn a_run_goes_on_with_the_hosts_that_it_had() {
    let lab = slow();
    let (run, processes) = begun(&lab);
    signal("-INT", run.id());
    output_of(run);
    all_end(&processes);
    // as if it had had another host then
    let run = lab.case.newest().unwrap();
    let manifest = fs::read_to_string(run.join("run.json")).unwrap();
    assert_eq!(manifest.matches("\"name\": \"two\"").count(), 1, "{manifest}");
    fs::write(run.join("run.json"), manifest.replace("\"name\": \"two\"", "\"name\": \"three\"")).unwrap();
    let output = Command::new(PROGRAM).arg("--resume").arg(&run).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("not all is as it was: hosts: one ("), "{}", text(&output));
    all_end(&[lab.started("one"), lab.started("two")].concat());
}
