//! Standard output and standard error that nobody reads, or that are full: nothing panics, and a measurement keeps its results.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use runner::record::{State, read_manifest};

use crate::case::{CONFIG, Case, SCENARIO, text};

/// The shell's exit code for a program that SIGPIPE ended.
const READER_GONE: Option<i32> = Some(141);

/// A pipe that nobody reads.
fn closed() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

/// A full disk.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

fn runner(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with a model, a scenario and results.
fn place() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("models/echo")).unwrap();
    fs::write(folder.path().join("models/echo/config.pbtxt"), CONFIG).unwrap();
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", "batch_sizes = [1]");
    fs::write(folder.path().join("echo.toml"), scenario).unwrap();
    folder
}

fn run(folder: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command
        .current_dir(folder)
        .args(["echo.toml", "--server", "embedded", "--model-repository", "models"])
        .args(options);
    command.stdin(Stdio::null());
    command
}

fn newest(folder: &Path) -> PathBuf {
    fs::read_dir(folder.join("results/echo"))
        .unwrap()
        .map(|run| run.unwrap().path())
        .max()
        .unwrap()
}

/// A committed run, by its folder: its scenario may have newer runs, which would be reported.
const COMMITTED: &str = "results/scrfd/2026-11-25T113021Z";
const PRINTING: [&[&str]; 5] =
    [&["--help"], &["report", "--help"], &["--version"], &["report", COMMITTED], &["scenarios/scrfd.toml", "--list"]];

#[test]
fn a_reader_that_left_is_no_fault_of_commands_that_only_print() {
    for arguments in PRINTING {
        let output = runner(arguments).stdout(closed()).output().unwrap();
        assert_eq!((output.status.code(), words(&output).as_str()), (READER_GONE, ""), "{arguments:?}");
    }
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    for arguments in PRINTING {
        let output = runner(arguments).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            words(&output).starts_with("error: cannot write to standard output: No space left"),
            "{}",
            words(&output)
        );
    }
}

#[test]
fn errors_that_nobody_reads_keep_their_exit_code() {
    for stderr in [closed, full] {
        for arguments in [&["report", "none"][..], &["--nonsense"], &["none.toml"]] {
            let status = runner(arguments).stdout(Stdio::null()).stderr(stderr()).status().unwrap();
            assert_eq!(status.code(), Some(2), "{arguments:?}");
        }
    }
}

#[test]
fn a_measurement_goes_on_without_its_log_and_keeps_its_results() {
    for (stdout, stderr, code) in [(closed(), full(), 0), (Stdio::null(), closed(), 0), (full(), closed(), 2)] {
        let folder = place();
        let status = run(folder.path(), &[]).stdout(stdout).stderr(stderr).status().unwrap();
        assert_eq!(status.code(), Some(code));
        assert_eq!(read_manifest(&newest(folder.path())).unwrap().state, State::Complete);
    }
    let folder = place();
    let output = run(folder.path(), &["--verify"]).stdout(closed()).output().unwrap();
    assert_eq!(output.status.code(), READER_GONE, "{}", words(&output));
}

#[test]
fn a_server_goes_on_without_its_log() {
    let folder = place();
    let arguments = [
        "serve",
        "--until-input-ends",
        "--model-repository",
        "models",
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "127.0.0.1:0",
    ];
    let mut command = runner(&arguments);
    let mut server = command
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(full())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.contains("\"unavailable\":[]"), "{ready}");
    drop(server.stdin.take());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn progress_is_for_people_for_programs_or_not_at_all() {
    let case = Case::new("", SCENARIO);
    let options = ["--batch-sizes", "4", "--processes", "1"];
    let run = |progress: &[&str]| {
        let output = case.command(&[&options[..], progress].concat()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let lines = run(&[]);
    assert!(lines.contains("echo: HTTP batch 4, 1 process: mean "), "{lines}");
    assert_eq!(run(&["--quiet"]), "");
    let objects: Vec<serde_json::Value> = run(&["--progress", "json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events = |name: &str| objects.iter().filter(|object| object["event"] == name).count();
    let counts = ["run", "block", "case", "done"].map(events);
    assert_eq!(counts, [1, 20, 2, 1], "{objects:?}");
    assert!(objects.iter().all(|object| object["scenario"] == "echo"), "{objects:?}");
    let last = objects.iter().rfind(|object| object["event"] == "case").unwrap();
    assert_eq!((&last["case"], &last["requests"]), (&"grpc-b4-p1-c1".into(), &50.into()), "{objects:?}");
}
