//! From the start of a run to its end: what is written, what is refused before, and that nothing is left behind.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use runner::record::{State, Status, read_manifest};

use crate::case::{Case, SCENARIO, signal, text};

/// Whether nothing listens at an address any more, after a short wait.
fn is_gone(address: &str) -> bool {
    (0..200).any(|_| {
        sleep(Duration::from_millis(50));
        TcpStream::connect(address).is_err()
    })
}

#[test]
fn a_run_needs_no_other_server_and_says_what_it_measured() {
    let case = Case::new("", SCENARIO);
    let output = case.command(&[]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = case.newest().unwrap();
    let records = case.records();
    assert_eq!(records.len(), 8);
    for record in &records {
        assert_eq!((record.status, record.errors), (Status::Ok, 0), "{record:?}");
        assert_eq!(record.requests, 50 * u64::from(record.case.processes), "{record:?}");
    }
    let manifest = read_manifest(&run).unwrap();
    assert_eq!(manifest.state, State::Complete);
    assert!(manifest.counts.unwrap().agrees(), "{:?}", manifest.counts);
    let tables = String::from_utf8_lossy(&output.stdout);
    assert!(tables.contains("embedded (rten "), "{tables}");
    assert!(!tables.to_lowercase().contains("triton"), "{tables}");
    assert!(tables.contains("--server embedded"), "{tables}");
    assert!(is_gone(&manifest.http) && is_gone(&manifest.grpc), "the server is still there");
}

#[test]
fn the_plan_starts_no_server() {
    let case = Case::new("", SCENARIO);
    fs::remove_dir_all(case.path("models")).unwrap();
    let output = case.command(&["--list"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("requests to the embedded server"), "{}", text(&output));
}

#[test]
fn a_missing_model_is_synthesised_with_a_notice() {
    let case = Case::new("", SCENARIO);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(case.path("models/arcface")).unwrap();
    fs::copy(root.join("model_repository/arcface/config.pbtxt"), case.path("models/arcface/config.pbtxt")).unwrap();
    fs::copy(root.join("scenarios/arcface.toml"), case.path("echo.toml")).unwrap();
    let options = ["--verify", "--batch-sizes", "1", "--processes", "1"];
    let output = case.command(&options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("arcface: no model is there; writing a stand-in"), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches(": ok").count(), 2, "{}", text(&output));
    let again = case.command(&options).output().unwrap();
    assert!(again.status.success() && !text(&again).contains("stand-in"), "{}", text(&again));
}

#[test]
fn what_cannot_be_served_is_told_before_anything_is_measured() {
    for (parameters, scenario, words) in [
        ("nonsense: 1", SCENARIO, "nonsense"),
        ("parameters { key: \"service_time\" value { string_value: \"2\" } }", SCENARIO, "\"service_time\" is \"2\""),
        ("", &SCENARIO.replace("name = \"echo\"", "name = \"other\""), "has no model \"other\""),
        ("", &SCENARIO.replace("shape = [3]", "shape = [4]"), "the scenario does not fit the model"),
    ] {
        let case = Case::new(parameters, scenario);
        let output = case.command(&[]).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}", text(&output));
        assert!(text(&output).contains(words), "{words}: {}", text(&output));
        assert!(case.newest().is_none());
    }
    let case = Case::new("", SCENARIO);
    let output = case.command(&["--http", "localhost:8000"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("--http has no place beside --server embedded"), "{}", text(&output));
}

#[test]
fn ports_that_are_mixed_up_are_named() {
    let case = Case::new("", SCENARIO);
    let (mut server, http, grpc) = case.other_server();
    for (options, words) in [
        (
            ["--http", &grpc, "--protocols", "http"],
            "--http takes the HTTP port, 8000 by default, --grpc the gRPC port, 8001",
        ),
        (
            ["--grpc", &http, "--protocols", "grpc"],
            "--http takes the HTTP port, 8000 by default, --grpc the gRPC port, 8001",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command
            .arg(case.path("echo.toml"))
            .arg("--results")
            .arg(case.path("results"))
            .args(options);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.code() == Some(1) && text(&output).contains(words), "{}", text(&output));
    }
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

#[test]
fn faults_become_rows() {
    for (fault, words) in [("error_share", "asked to fail"), ("reset_share", "connection"), ("truncated_share", "")] {
        let parameters = format!("parameters {{ key: \"{fault}\" value {{ string_value: \"0.2\" }} }}");
        let case = Case::new(&parameters, &SCENARIO.replace("processes = [1, 2]", "processes = [1]"));
        // the request that is verified first may be one that fails: another seed, another fate
        let output = case.command(&[]).output().unwrap();
        let records = case.records();
        assert_eq!(records.len(), 4, "{fault}: {}", text(&output));
        assert_eq!(output.status.code(), Some(1), "{fault}: {}", text(&output));
        for record in records.iter().filter(|record| record.status != Status::Ok) {
            assert!(record.reason.to_lowercase().contains(words), "{fault}: {record:?}");
        }
        let some = records.iter().map(|record| record.errors).sum::<u64>();
        let failed = records.iter().filter(|record| record.status != Status::Ok).count();
        assert!(some > 0 || failed > 0, "{fault}: {records:?}");
    }
}

#[cfg(unix)]
#[test]
fn the_server_ends_with_the_run_however_that_ends() {
    for name in ["-INT", "-KILL"] {
        let slow = "parameters { key: \"service_time\" value { string_value: \"constant 20ms\" } }";
        let case = Case::new(slow, &SCENARIO.replace("iterations = 50", "iterations = 100000"));
        let mut child = case.command(&[]).spawn().unwrap();
        let manifest = case.manifest_of_running();
        assert!(TcpStream::connect(&manifest.http).is_ok());
        signal(name, child.id());
        let status = child.wait().unwrap();
        assert_eq!(status.code(), (name == "-INT").then_some(130), "{name}");
        assert!(is_gone(&manifest.http) && is_gone(&manifest.grpc), "{name}: the server is still there");
    }
}

#[test]
fn a_broken_threshold_ends_with_99_and_says_which() {
    let asserts = "[[assert]]\nthat = \"mean_ms < 1000000\"\n[[assert]]\nthat = \"requests_per_s > 1000000\"\nbatch_sizes = [4]\n\
                   processes = [1]\n";
    let case = Case::new("", &format!("{SCENARIO}{asserts}"));
    let output = case.command(&["--assert", "errors <= 0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(99), "{}", text(&output));
    let shown = String::from_utf8_lossy(&output.stdout);
    // eight cases keep two thresholds each, and the two with batch 4 and one process break theirs
    assert!(shown.contains("16 of 18 thresholds hold, 2 broken.\n"), "{shown}");
    assert_eq!(shown.matches("| requests\\_per\\_s \\> 1000000 | ").count(), 2, "{shown}");
    let run = case.newest().unwrap();
    assert!(
        fs::read_to_string(run.join("report.html"))
            .unwrap()
            .contains("16 of 18 thresholds hold, 2 broken.")
    );
    let asserts = read_manifest(&run).unwrap().asserts;
    assert_eq!(asserts.len(), 3);
    assert_eq!(asserts[1].cases.as_ref().unwrap().len(), 2);
    // without the broken one all is well
    let kept = case.command(&["--batch-sizes", "1", "--quick", "--iterations", "20"]).output().unwrap();
    assert_eq!(kept.status.code(), Some(0), "{}", text(&kept));
    assert!(text(&kept).contains("4 of 4 thresholds hold.\n"), "{}", text(&kept));
}
