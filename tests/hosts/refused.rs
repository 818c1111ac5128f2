//! What cannot be done over hosts, told before anything is measured. Hosts that cannot be used are in `tests/faults/hosts.rs`.

use std::fs;

use crate::case::{Case, SCENARIO, signal, text};
use crate::machines::{Lab, PROGRAM, all_end, output_of, wait_for};

/// Checks that a run was refused with this line, and that nothing stays of it.
fn refused(lab: &Lab, options: &[&str], code: i32, words: &str) {
    let output = lab.run(options);
    assert_eq!(output.status.code(), Some(code), "{words}: {}", text(&output));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = errors.lines().find_map(|line| line.strip_prefix("error: "));
    let file = format!("{}: ", lab.case.path("echo.toml").display());
    let line = line.map(|line| line.strip_prefix(&file).unwrap_or(line));
    assert_eq!(line, Some(words), "{errors}");
    assert!(lab.case.newest().is_none(), "{words}");
    all_end(&[lab.started("one"), lab.started("two")].concat());
}

#[test]
fn more_hosts_than_there_are_or_more_processes_than_they_run_are_refused() {
    let lab = Lab::new("", SCENARIO, &["one", "two"], "");
    let only = ["--protocols", "http", "--batch-sizes", "1", "--processes"];
    let with = |more: &[&'static str]| [&only[..], more].concat();
    refused(
        &lab,
        &with(&["4", "--set", "hosts=1,4"]),
        1,
        "hosts = 4 in [matrix], but there are one, two: name as many with names in [hosts] or --hosts, or lower it",
    );
    refused(
        &lab,
        &with(&["513"]),
        1,
        "processes = 513, but one machine runs at most 256: lower it, or spread it over more machines ([hosts])",
    );
    fs::write(lab.case.path("echo.toml"), SCENARIO).unwrap();
    refused(
        &lab,
        &with(&["300"]),
        1,
        "processes = 300, but one machine runs at most 256: lower it, or spread it over more machines ([hosts])",
    );
    refused(
        &lab,
        &with(&["4", "--set", "hosts=2"]),
        1,
        "hosts = 2 in [matrix], but none is named: name as many with names in [hosts] or --hosts, or lower it",
    );
}

#[test]
fn names_on_the_command_line_have_the_limits_of_those_in_the_file() {
    let lab = Lab::new("", SCENARIO, &["one"], "");
    for (names, words) in [
        ("one,-oProxyCommand=id", "expected names of hosts: a name that begins with - would be an option of ssh"),
        ("two,", "expected names of hosts: write the host as ssh takes it, such as \"gpu-client-1\" or \"10.0.0.7\""),
        ("two,one,two", "two is listed twice: remove the repetition"),
    ] {
        refused(&lab, &["--hosts", names], 2, &format!("--hosts {names}: {words}"));
    }
    assert!(lab.started("one").is_empty());
}

#[test]
fn a_case_that_would_leave_hosts_idle_is_refused() {
    let lab = Lab::new("", SCENARIO, &["one", "two"], "");
    let output = lab.run(&["--processes", "1", "--set", "hosts=2"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("1 process on 2 hosts leave some of them idle"), "{}", text(&output));
}

#[test]
fn a_shell_may_greet_before_the_program_does() {
    let lab = Lab::new("", SCENARIO, &["one"], "");
    lab.ssh("echo 'Welcome to'; echo '{\"hell\": of a host}'; head -c 20000 /dev/zero | tr '\\0' '\\377'; echo; echo hm >&2");
    let output = lab.run(&["--protocols", "http", "--batch-sizes", "1", "--processes", "1"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(lab.host_rows()[0].requests, 50);
    // but not for ever
    lab.ssh("exec yes 'Welcome to'");
    let output = lab.run(&["--verify"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let words = "it said more than 64 KiB, and no greeting of the program: is its shell quiet?";
    assert!(text(&output).contains(words), "{}", text(&output));
    all_end(&lab.started("one"));
}

#[test]
fn a_run_may_be_stopped_while_a_host_does_not_greet() {
    let lab = Lab::new("", SCENARIO, &["one", "two"], "");
    lab.ssh("[ $host = one ] || exec sleep 600");
    let run = lab.case.command(&[]).spawn().unwrap();
    wait_for("the hosts", || (!lab.started("one").is_empty() && !lab.started("two").is_empty()).then_some(()));
    signal("-INT", run.id());
    let output = output_of(run);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    assert!(lab.case.newest().is_none());
    all_end(&[lab.started("one"), lab.started("two")].concat());
}

#[test]
fn hosts_that_connect_and_hosts_that_are_named_do_not_mix() {
    let case = Case::new("", SCENARIO);
    let listen = ["--listen", "127.0.0.1:0", "--wait-for", "1"];
    for (options, words) in [
        ([&listen[..], &["--hosts", "one"]].concat(), "cannot be used with"),
        (vec!["--listen", "127.0.0.1:0"], "--wait-for"),
        (vec!["--wait-for", "2"], "--listen"),
        (vec!["--listen", "127.0.0.1:0", "--wait-for", "0"], "0 is not in 1.."),
    ] {
        let output = case.command(&options).output().unwrap();
        assert!(output.status.code() == Some(2) && text(&output).contains(words), "{words}: {}", text(&output));
    }
}

/// Another machine does not reach what listens on this one's loopback interface.
#[test]
fn a_server_that_is_the_leader_s_alone_is_not_asked_from_elsewhere() {
    let lab = Lab::new("", SCENARIO, &["one", "two"], "");
    let machine = "s/\"machine\":\"[^\"]*\"/\"machine\":\"another\"/";
    lab.ssh(&format!("[ $host = one ] || exec sh -c '{PROGRAM} worker --host | sed -u '\\''{machine}'\\'"));
    let output = lab.run(&["--protocols", "grpc"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let (before, after) = errors.split_once("127.0.0.1:").unwrap_or_else(|| panic!("{errors}"));
    assert!(before.ends_with("host two would ask itself: "), "{errors}");
    let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
    let words = " (grpc) is an address of this machine alone: name the server by one that all hosts reach (--server, --http, --grpc)\n";
    assert_eq!(after, words, "{errors}");
    assert!(lab.case.newest().is_none());
    all_end(&[lab.started("one"), lab.started("two")].concat());
}
