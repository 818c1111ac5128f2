//! Where the processes of a case are, and that the parts of hosts make up the whole.

use std::fs;

use runner::matrix::Point;
use runner::record::{CountCheck, HOSTS, HostRecord, Manifest, Record, Status, read_manifest};

use crate::case::{Case, SCENARIO, text};
use crate::machines::{Lab, all_end};

/// Over both protocols; one process leaves one of two hosts idle.
const SPREAD: &str = "processes = [1, 2, 4]\n    hosts = [1, 2]\n    exclude = [{processes = [1], hosts = [2]}]";

/// A scenario with these lines in its matrix.
fn scenario(matrix: &str) -> String {
    SCENARIO
        .replace("batch_sizes = [1, 4]\n    processes = [1, 2]", matrix)
        .replace("iterations = 50\n    warmup = 3", "iterations = 20\n    warmup = 1\n    blocks = 2")
}

/// The processes that a host has of a case, by the cores of each.
fn processes_on(manifest: &Manifest, case: &Point, spread: &str) -> Vec<u32> {
    let hosts = case.hosts.map_or(manifest.hosts.len(), |hosts| hosts as usize);
    let cores = |place: usize| manifest.hosts[place].environment.cores.unwrap() as u32;
    // hosts that are asked for are not idle
    let least = u32::from(case.hosts.is_some());
    let mut processes = vec![least; hosts];
    let mut left = case.processes - least * hosts as u32;
    if spread == "fill" {
        for (place, processes) in processes.iter_mut().enumerate() {
            let more = left.min(cores(place) - least);
            *processes += more;
            left -= more;
        }
    }
    (0..left as usize).for_each(|turn| processes[turn % hosts] += 1);
    processes
}

/// The rows of a case's hosts.
fn parts<'a>(hosts: &'a [HostRecord], record: &Record) -> Vec<&'a HostRecord> {
    hosts.iter().filter(|row| row.case == record.case).collect()
}

#[test]
fn processes_are_spread_over_hosts_and_their_parts_make_up_the_whole() {
    for (spread, names) in [("even", ["one", "two"]), ("fill", ["one", "localhost"])] {
        let lab = Lab::new("", &scenario(SPREAD), &names, &format!("spread = {spread:?}"));
        let output = lab.run(&[]);
        assert!(output.status.success(), "{spread}: {}", text(&output));
        let manifest = read_manifest(&lab.case.newest().unwrap()).unwrap();
        let told: Vec<&str> = manifest.hosts.iter().map(|host| host.name.as_str()).collect();
        assert_eq!(told, names, "{spread}");
        assert!(
            manifest
                .hosts
                .iter()
                .all(|host| host.tasks == 1 && host.machine == manifest.hosts[0].machine)
        );
        let (records, hosts) = (lab.case.records(), lab.host_rows());
        assert_eq!(records.len(), 10, "{spread}: {records:?}");
        for record in &records {
            let (case, asked) = (&record.case, 20 * u64::from(record.case.processes));
            assert_eq!((record.status, record.requests, record.errors), (Status::Ok, asked, 0), "{record:?}");
            assert!(record.clock_error_ms.is_some() && record.start_skew_ms.is_some(), "{record:?}");
            let parts = parts(&hosts, record);
            let found: Vec<_> = parts.iter().map(|part| (part.host.as_str(), part.host_processes)).collect();
            let expected = names.into_iter().zip(processes_on(&manifest, case, spread));
            // one that has no process has no part
            let expected: Vec<_> = expected.filter(|(_, processes)| *processes > 0).collect();
            assert_eq!(found, expected, "{spread}: {}", case.tag());
            assert_eq!(parts.iter().map(|part| part.requests).sum::<u64>(), asked, "{spread}: {parts:?}");
            for part in parts {
                assert_eq!(part.requests, 20 * u64::from(part.host_processes), "{spread}: {part:?}");
                assert!(part.errors == 0 && part.mean_ms > Some(0.0) && part.requests_per_s > Some(0.0), "{part:?}");
                assert!(part.clock_error_ms >= 0.0 && part.client_ceiling_per_s.is_none(), "{part:?}");
            }
        }
        let counts = manifest.counts.unwrap();
        assert!(counts.agrees(), "{spread}: {counts:?}");
        assert_eq!(counts.measured, records.iter().map(|record| record.requests).sum::<u64>(), "{spread}");
        assert!(text(&output).contains(&format!("{} and {} are one machine", names[0], names[1])), "{}", text(&output));
        all_end(&lab.started("one"));
    }
}

#[test]
fn the_same_run_without_hosts_counts_the_same_and_has_no_parts() {
    let plain = scenario("processes = [1, 3]");
    let of = |case: &Case| -> (Vec<(String, u64)>, CountCheck) {
        let records = case.records().into_iter().map(|record| (record.case.tag(), record.requests));
        (records.collect(), read_manifest(&case.newest().unwrap()).unwrap().counts.unwrap())
    };
    let lab = Lab::new("", &plain, &["one", "two"], "");
    let output = lab.run(&["--quiet"]);
    assert!(output.status.success(), "{}", text(&output));
    let alone = Case::new("", &plain);
    let output = alone.command(&["--quiet"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let ((rows, counts), (rows_alone, counts_alone)) = (of(&lab.case), of(&alone));
    assert_eq!((rows, &counts), (rows_alone, &counts_alone));
    assert!(counts.agrees(), "{counts:?}");
    let run = alone.newest().unwrap();
    assert!(!run.join(HOSTS).exists() && read_manifest(&run).unwrap().hosts.is_empty());
    assert!(!fs::read_to_string(run.join("run.json")).unwrap().contains("\"hosts\""));
    assert!(alone.records().iter().all(|record| record.clock_error_ms.is_none()));
    // named on the command line instead
    let options = ["--quiet", "--hosts", "localhost", "--processes", "3", "--batch-sizes", "4"];
    let output = alone.command(&options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let manifest = read_manifest(&alone.newest().unwrap()).unwrap();
    assert_eq!(manifest.hosts.len(), 1);
    assert!(manifest.overridden.contains(&"--hosts localhost".to_owned()), "{:?}", manifest.overridden);
}

#[test]
fn each_host_has_its_own_ceiling_and_the_case_their_sum() {
    let lab = Lab::new("", &scenario("processes = [2]\n    hosts = [1, 2]"), &["one", "two"], "");
    let output = lab.run(&["--calibrate", "--protocols", "http"]);
    assert!(output.status.success(), "{}", text(&output));
    let hosts = lab.host_rows();
    for record in lab.case.records() {
        let parts = parts(&hosts, &record);
        assert_eq!(parts.len() as u32, record.case.hosts.unwrap(), "{parts:?}");
        let sum: f64 = parts.iter().map(|part| part.client_ceiling_per_s.unwrap()).sum();
        assert!(parts.iter().all(|part| part.client_ceiling_per_s > Some(0.0)), "{parts:?}");
        let whole = record.client_ceiling_per_s.unwrap();
        assert!((sum / whole - 1.0).abs() < 1e-6, "{sum} {whole}");
    }
    // and the servers that answered at once are gone with the hosts
    all_end(&lab.started("one"));
    all_end(&lab.started("two"));
}

#[test]
fn every_host_verifies_and_the_plan_asks_none() {
    let lab = Lab::new("", &scenario("processes = [2]\n    hosts = [1, 2]"), &["one", "two"], "");
    let output = lab.run(&["--list"]);
    assert!(output.status.success() && text(&output).contains("2 hosts"), "{}", text(&output));
    assert!(lab.started("one").is_empty() && lab.started("two").is_empty());
    let output = lab.run(&["--verify"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches(": ok").count(), 4, "{}", text(&output));
    assert!(lab.started("one").len() == 1 && lab.started("two").len() == 1);
    assert!(lab.case.newest().is_none());
    all_end(&[lab.started("one"), lab.started("two")].concat());
}
