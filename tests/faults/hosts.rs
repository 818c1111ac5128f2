//! Other machines that send requests, and that are lost, cannot be used, or are none of the run's.

use std::fs;
use std::process::Command;

use runner::hosts::message::Version;
use runner::record::{BLOCKS, BlockRecord, Record, State, Status, read, read_manifest};

use crate::between::{Passed, next_of, passed_on};
use crate::case::{Case, SCENARIO, signal, text};
use crate::machines::{
    Lab, Leader, PROGRAM, all_end, children_of, descendants_of, host, output_of, under_way, write_program,
};
use crate::table::{Line, quoted, tell, words};

/// Two cases on one host and on two, of which each lasts some seconds.
fn slow() -> Lab {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 5ms\" } }";
    let scenario = SCENARIO
        .replace("processes = [1, 2]", "processes = [2]\n    hosts = [2, 1]\n    protocols = [\"http\"]")
        .replace("iterations = 50\n    warmup = 3", "iterations = 100\n    warmup = 10");
    Lab::new(slow, &scenario, &["one", "two"], "")
}

/// One line of the page, of what a test saw.
fn told(key: &'static str, fault: &str, by: &str, test: &str, told: String) {
    tell(&Line { key: ("hosts", key), fault, by, told: vec![told], test });
}

/// Does this to the program on the second of two hosts in the midst of the first case, and returns the rows. All else has to go
/// on, nothing may stay, and the run has to be whole once it is taken up again.
fn in_the_midst(name: &str) -> Vec<Record> {
    let lab = slow();
    let run = lab.case.command(&["--quiet"]).spawn().unwrap();
    under_way(&lab.case, 3);
    let processes = descendants_of(run.id());
    let agent = lab.agent("two");
    assert!(processes.contains(&agent) && !children_of(agent).is_empty(), "{processes:?}");
    signal(name, agent);
    let output = output_of(run);
    assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
    all_end(&processes);
    all_end(&lab.started("one"));
    let rows = lab.case.records();
    let statuses: Vec<(u32, Status)> = rows.iter().map(|row| (row.case.hosts.unwrap(), row.status)).collect();
    let expected = [(2, Status::Failed), (1, Status::Ok), (2, Status::Failed), (1, Status::Ok)];
    assert_eq!(statuses, expected, "{name}: {rows:?}");
    assert!(rows[0].requests > 0 && rows[0].mean_ms > Some(5.0), "{name}: {:?}", rows[0]);
    assert_eq!((rows[2].requests, &rows[2].reason), (0, &rows[0].reason), "{name}");

    let run = lab.case.newest().unwrap();
    assert_eq!(read_manifest(&run).unwrap().state, State::Incomplete, "{name}");
    let output = Command::new(PROGRAM).arg("--resume").arg(&run).arg("--quiet").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
    let again = lab.case.records();
    assert!(
        again.iter().all(|row| (row.status, row.requests, row.blocks) == (Status::Ok, 200, 10)),
        "{name}: {again:?}"
    );
    assert!(read_manifest(&run).unwrap().counts.unwrap().agrees(), "{name}");
    let mut blocks: Vec<_> = read::<BlockRecord>(&run.join(BLOCKS)).unwrap();
    blocks.sort_by_key(|block| (block.case.tag(), block.block));
    blocks.dedup_by_key(|block| (block.case.tag(), block.block));
    assert_eq!((blocks.len(), lab.host_rows().len()), (4 * 10, 6), "{name}");
    rows
}

#[test]
fn a_host_that_is_lost_ends_its_cases_and_the_run_goes_on_later() {
    let rows = in_the_midst("-KILL");
    assert_eq!(rows[0].reason, "host two is lost: the connection ended (signal: 9 (SIGKILL))");
    told(
        "lost",
        "a host is lost within a block, as when its machine or its ssh ends",
        "SIGKILL",
        "a_host_that_is_lost_ends_its_cases_and_the_run_goes_on_later",
        words(&rows[0]),
    );
}

#[test]
fn a_host_that_says_nothing_is_lost() {
    let rows = in_the_midst("-STOP");
    assert_eq!(rows[0].reason, "host two is lost: it said nothing for 20 s");
    told(
        "mute",
        "a host says nothing any more, as when its network is gone",
        "SIGSTOP",
        "a_host_that_says_nothing_is_lost",
        words(&rows[0]),
    );
}

/// What is told of the second of two hosts, whose line does `first` first and whose program is this one.
fn unusable(first: &str, program: &str) -> String {
    let lab = Lab::new("", SCENARIO, &["one", "two"], "");
    let file = lab.case.path("echo.toml");
    let scenario = fs::read_to_string(&file).unwrap();
    let there = lab.case.path("runner");
    fs::write(&file, scenario.replace(PROGRAM, there.to_str().unwrap())).unwrap();
    lab.ssh(&format!("[ $host = two ] || exec {PROGRAM} worker --host\n{first}"));
    if !program.is_empty() {
        write_program(&there, program);
    }
    let output = lab.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(lab.case.newest().is_none() && output.stdout.is_empty(), "{}", text(&output));
    all_end(&[lab.started("one"), lab.started("two")].concat());
    let line = String::from_utf8(output.stderr).unwrap();
    let line = line
        .trim_end()
        .strip_prefix(&format!("error: {}: ", file.display()))
        .unwrap_or_else(|| panic!("{line}"));
    let place = there.display().to_string();
    line.replace(&place, "PROGRAM")
}

const EXPECTED: &str = "host two cannot be used (the program is expected there as PROGRAM: program in [hosts] names another path, \
                        and --ship copies this one): ";

#[test]
fn a_host_that_cannot_be_reached_is_told_in_the_words_of_ssh() {
    let words = "ssh: connect to host two port 22: No route to host";
    let found = unusable(&format!("echo '{words}' >&2; exit 255"), "");
    assert_eq!(found, format!("{EXPECTED}the connection ended (exit status: 255): {words}"));
    let test = "a_host_that_cannot_be_reached_is_told_in_the_words_of_ssh";
    told("unreachable", "ssh does not reach a host", "a stand-in for ssh", test, quoted(&found));
    // without waiting for what shares its standard error
    let lasting = unusable(&format!("cat <&0 >/dev/null & echo '{words}' >&2; exit 255"), "");
    assert_eq!(lasting, found);
}

#[test]
fn a_host_without_the_program_is_told() {
    let found = unusable("", "");
    // each shell has its own words
    let (before, cause) = found.split_once("(exit status: 127): ").unwrap_or_else(|| panic!("{found}"));
    assert_eq!(before, format!("{EXPECTED}the connection ended "));
    assert!(cause.contains("PROGRAM") && cause.contains("not found"), "{cause}");
    let cause = format!("{before}(exit status: 127): CAUSE");
    told(
        "not there",
        "a host does not have the program",
        "a path",
        "a_host_without_the_program_is_told",
        quoted(&cause),
    );
}

#[test]
fn a_host_with_another_version_is_told() {
    let program = "#!/bin/sh\necho '{\"hello\":{\"version\":\"9.9.9\",\"revision\":\"abc\",\"name\":[7]}}'\nexec cat\n";
    let found = unusable("", program);
    let own = Version::own().to_string();
    let it_runs = "it runs version 9.9.9 (abc) of the program, and this is ";
    assert_eq!(found, format!("{EXPECTED}{it_runs}{own}: install the same there, or let --ship copy it"));
    let test = "a_host_with_another_version_is_told";
    let found = quoted(&found.replace(&own, "VERSION").replace("9.9.9 (abc)", "VERSION"));
    told("another version", "a host has another version of the program", "a stand-in for it", test, found);
}

#[test]
fn a_host_with_another_token_is_not_let_in() {
    let (token, other) = ("a token that all hosts share", "a token of another run");
    let case = Case::new("", SCENARIO);
    let leader = Leader::start(&case, 2, token, &["--quiet", "--processes", "2", "--batch-sizes", "1"]);
    let (between, passed) = passed_on(&leader.address);
    let mut stranger = host("stranger", &between, other);
    for _ in 0..2 {
        let said = next_of(&passed, |passed| if let Passed::All(said) = passed { Some(said) } else { None });
        let said = String::from_utf8(said).unwrap();
        // a question and an answer, and then it is shown the door
        assert!(said.starts_with("runner-leader ") && said.lines().count() == 2, "{said}");
        assert!(!said.contains(token) && !said.contains(other), "{said}");
    }
    assert!(stranger.try_wait().unwrap().is_none(), "it goes on trying");
    let hosts = [host("one", &leader.address, token), host("two", &leader.address, token)];
    let output = leader.output();
    assert!(output.status.success(), "{}", text(&output));
    hosts.into_iter().for_each(|host| assert!(output_of(host).status.success()));
    let manifest = read_manifest(&case.newest().unwrap()).unwrap();
    let mut names: Vec<&str> = manifest.hosts.iter().map(|host| host.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["one", "two"]);
    stranger.kill().unwrap();
    stranger.wait().unwrap();

    // said after two minutes
    let parts = [
        ("src/hosts/pull.rs", "no leader at {leader} within {} s"),
        ("src/hosts/pull.rs", "the leader at {address} cannot be used"),
        ("src/hosts/token.rs", "the leader does not accept the token"),
    ];
    for (file, part) in parts {
        assert!(fs::read_to_string(file).unwrap().contains(part), "{file}: {part}");
    }
    let said = quoted(
        "no leader at 127.0.0.1:1 within 120 s: the leader at 127.0.0.1:1 cannot be used: the leader does not accept the token",
    );
    told(
        "another token",
        "a host connects with another token",
        "another `RUNNER_TOKEN`",
        "a_host_with_another_token_is_not_let_in",
        format!(
            "nothing by the leader, which goes on waiting for its hosts; that host tries again, and says after 120 s {said}"
        ),
    );
}
