//! Hosts that connect to the leader. One with another token is in `tests/faults/hosts.rs`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;

use runner::record::{HOSTS, HostRecord, State, Status, read, read_manifest};

use crate::between::{Passed, next_of, passed_on};
use crate::case::{Case, SCENARIO, signal, text};
use crate::machines::{Leader, PROGRAM, all_end, descendants_of, host, output_of, under_way, words_of};

const TOKEN: &str = "4f1f7a5be3-a-secret-of-the-run";

/// Some seconds over two hosts, or less.
fn case(requests: u32) -> Case {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 2ms\" } }";
    let scenario = SCENARIO
        .replace("processes = [1, 2]", "processes = [2]\n    hosts = [1, 2]\n    protocols = [\"http\"]")
        .replace("iterations = 50", &format!("iterations = {requests}"));
    Case::new(slow, &scenario)
}

/// Two hosts with the token.
fn two(leader: &Leader) -> [Child; 2] {
    ["one", "two"].map(|name| host(name, &leader.address, TOKEN))
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

fn has_token(bytes: &[u8]) -> bool {
    bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes())
}

/// Checks that hosts ended well and said nothing.
fn ended_well(hosts: [Child; 2]) {
    for host in hosts {
        let output = output_of(host);
        assert!(output.status.success() && output.stdout.is_empty() && is_quiet(&output), "{}", text(&output));
    }
}

/// Whether a host said no more than how it met its leader.
fn is_quiet(host: &Output) -> bool {
    let said = String::from_utf8_lossy(&host.stderr);
    said.lines()
        .all(|line| line.starts_with("looking for the leader at ") || line == "connected")
}

#[test]
fn hosts_that_connect_measure_and_the_token_is_nowhere() {
    let case = case(100);
    let leader = Leader::start(&case, 2, TOKEN, &[]);
    let hosts = two(&leader);
    under_way(&case, 2);
    let roots = [leader.run.id(), hosts[0].id(), hosts[1].id()];
    let processes: Vec<u32> = roots.iter().flat_map(|pid| [vec![*pid], descendants_of(*pid)].concat()).collect();
    // the leader with its server, two hosts, and workers
    assert!(processes.len() > 4, "{processes:?}");
    for pid in &processes {
        assert!(!has_token(words_of(*pid).as_bytes()), "{}", words_of(*pid));
    }
    let output = leader.output();
    assert!(output.status.success(), "{}", text(&output));
    ended_well(hosts);
    all_end(&processes);

    let run = case.newest().unwrap();
    let manifest = read_manifest(&run).unwrap();
    assert!(manifest.state == State::Complete && manifest.counts.unwrap().agrees(), "{:?}", manifest.counts);
    // whoever was the first
    assert_eq!(manifest.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    let parts: Vec<HostRecord> = read(&run.join(HOSTS)).unwrap();
    for row in case.records() {
        assert_eq!((row.status, row.requests), (Status::Ok, 200), "{row:?}");
        let of_hosts: Vec<u64> = parts.iter().filter(|part| part.case == row.case).map(|part| part.requests).collect();
        assert_eq!(of_hosts, if row.case.hosts == Some(1) { vec![200] } else { vec![100, 100] }, "{row:?}");
    }
    assert!(!has_token(&output.stdout) && !has_token(&output.stderr));
    for file in files(&case.path("results")) {
        assert!(!has_token(&fs::read(&file).unwrap()), "{}", file.display());
    }
}

/// Waits until a host is let in: then it has nothing to do but to tell the time.
fn is_let_in(passed: &Receiver<Passed>) {
    let mut said = Vec::new();
    next_of(passed, |passed| {
        let Passed::OfHost(more) = passed else { panic!("it was shown the door") };
        said.extend(more);
        String::from_utf8_lossy(&said).contains("{\"pong\":").then_some(())
    });
}

/// Whoever connects first: the hosts are the same.
#[test]
fn a_run_goes_on_once_its_hosts_have_connected_again() {
    let case = case(100);
    let leader = Leader::start(&case, 2, TOKEN, &["--quiet"]);
    let hosts = two(&leader);
    let run = under_way(&case, 2);
    signal("-KILL", leader.run.id());
    leader.output();
    // a leader that said goodbye would be another matter
    for host in hosts {
        let output = output_of(host);
        assert!(
            !output.status.success() && text(&output).contains("the connection to the leader ended"),
            "{}",
            text(&output)
        );
    }
    let mut command = Command::new(PROGRAM);
    command.arg("--resume").arg(&run).arg("--quiet");
    let leader = Leader::of(command, 2, TOKEN);
    let (between, passed) = passed_on(&leader.address);
    let second = host("two", &between, TOKEN);
    is_let_in(&passed);
    let hosts = [host("one", &leader.address, TOKEN), second];
    let output = leader.output();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    ended_well(hosts);
    let manifest = read_manifest(&run).unwrap();
    assert!(manifest.state == State::Complete && manifest.counts.unwrap().agrees(), "{:?}", manifest.counts);
    assert!(manifest.resumed.len() == 1 && manifest.resumed[0].differs.is_empty(), "{:?}", manifest.resumed);
    let rows = case.records();
    assert!(rows.len() == 4 && rows.iter().all(|row| (row.status, row.requests) == (Status::Ok, 200)), "{rows:?}");
}

#[test]
fn strangers_do_no_harm() {
    let case = case(10);
    let leader = Leader::start(&case, 2, TOKEN, &["--quiet"]);
    let stranger = || TcpStream::connect(&leader.address).unwrap();
    // one that says nothing, one that is gone at once, one that never ends its line
    let silent = stranger();
    drop(stranger());
    let mut endless = stranger();
    endless.write_all(&[b'x'; 200]).unwrap();
    let mut told = Vec::new();
    for words in [
        "GET / HTTP/1.1\r\nHost: leader\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\n".to_owned(),
        format!("{}\n", "0".repeat(100_000)),
        format!("nonce {}\n", "0".repeat(64)),
        "nonce \u{e9}\n".to_owned(),
        "{\"hello\":{\"version\":\"0.2.0\"}}\n".to_owned(),
    ] {
        let mut stream = stranger();
        // it may be shown the door before it has said all
        let _ = stream.write_all(words.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with("runner-leader ") && answer.lines().count() == 1, "{answer}");
        told.push(answer);
    }
    // a question of its own for each
    told.sort();
    told.dedup();
    assert!(told.len() > 3, "{told:?}");
    let hosts = two(&leader);
    let output = leader.output();
    assert!(output.status.success(), "{}", text(&output));
    ended_well(hosts);
    assert_eq!(read_manifest(&case.newest().unwrap()).unwrap().hosts.len(), 2);
    drop((silent, endless));
}

#[test]
fn a_leader_that_is_stopped_while_it_waits_lets_its_hosts_end() {
    let case = case(10);
    let leader = Leader::start(&case, 2, TOKEN, &[]);
    let (between, passed) = passed_on(&leader.address);
    let one = host("one", &between, TOKEN);
    is_let_in(&passed);
    signal("-INT", leader.run.id());
    let output = leader.output();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(case.newest().is_none());
    let output = output_of(one);
    assert!(output.status.success() && is_quiet(&output), "{}", text(&output));
}

#[test]
fn several_programs_of_one_host_are_one_host() {
    let case = case(10);
    let leader = Leader::start(&case, 3, TOKEN, &["--quiet", "--set", "hosts=2", "--processes", "6"]);
    let hosts = ["one", "one", "two"].map(|name| host(name, &leader.address, TOKEN));
    let output = leader.output();
    assert!(output.status.success(), "{}", text(&output));
    hosts.into_iter().for_each(|host| assert!(output_of(host).status.success()));
    let run = case.newest().unwrap();
    let mut tasks: Vec<_> = read_manifest(&run)
        .unwrap()
        .hosts
        .into_iter()
        .map(|host| (host.name, host.tasks))
        .collect();
    tasks.sort();
    assert_eq!(tasks, [("one".to_owned(), 2), ("two".to_owned(), 1)]);
    let parts: Vec<HostRecord> = read(&run.join(HOSTS)).unwrap();
    assert!(parts.len() == 4 && parts.iter().all(|part| (part.host_processes, part.requests) == (3, 30)), "{parts:?}");
}

/// A program that is to fail, without a token in its environment but these variables.
fn failed(mut command: Command, variables: &[(&str, &Path)]) -> String {
    command
        .env_remove("RUNNER_TOKEN")
        .env_remove("RUNNER_TOKEN_FILE")
        .envs(variables.iter().copied());
    let output: Output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn leader_and_hosts_ask_for_a_token_that_is_one() {
    let case = case(10);
    let leader = || case.command(&["--listen", "127.0.0.1:0", "--wait-for", "1"]);
    let host = || {
        let mut host = Command::new(PROGRAM);
        host.args(["worker", "--connect", "127.0.0.1:1"]);
        host
    };
    let file = case.path("token");
    fs::write(&file, "  short\n").unwrap();
    let no_file = case.path("no-token");
    let short = "a token of fewer than 16 characters is no secret: make one with `openssl rand -hex 32`\n";
    for (variables, words) in [
        (
            &[][..],
            "error: leader and hosts need a secret that they share: set RUNNER_TOKEN, or RUNNER_TOKEN_FILE to the path of a file \
             with it, to what `openssl rand -hex 32` prints\n"
                .to_owned(),
        ),
        (&[("RUNNER_TOKEN", Path::new("abcde"))], format!("error: RUNNER_TOKEN: {short}")),
        (&[("RUNNER_TOKEN_FILE", &file)], format!("error: {}: {short}", file.display())),
        (
            &[("RUNNER_TOKEN_FILE", &no_file)],
            format!("error: {} cannot be read: No such file or directory (os error 2)\n", no_file.display()),
        ),
    ] {
        assert_eq!(failed(leader(), variables), words);
        assert_eq!(failed(host(), variables), words);
    }
    // a file that is a token's, and an address that is none
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let mut elsewhere = case.command(&["--listen", "nowhere", "--wait-for", "1"]);
    elsewhere.env("RUST_BACKTRACE", "0");
    let words = failed(elsewhere, &[("RUNNER_TOKEN_FILE", &file)]);
    assert!(
        words.starts_with("error: --listen nowhere: cannot be used: give ADDRESS:PORT of this machine: "),
        "{words}"
    );
    assert!(case.newest().is_none());
}

#[test]
fn a_plan_waits_for_nobody() {
    let case = case(10);
    let mut command = case.command(&["--list", "--listen", "127.0.0.1:0", "--wait-for", "2"]);
    let output = command.env_remove("RUNNER_TOKEN").output().unwrap();
    assert!(output.status.success() && text(&output).contains("2 hosts"), "{}", text(&output));
}
