//! Worker processes that end, or stand still, before their work is done; and the end of their parent.

use std::fs;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use runner::record::{State, Status, read_manifest};

use crate::case::{Case, SCENARIO, signal, text};
use crate::machines::{children_of, is_there, words_of};
use crate::table::{Line, quoted, tell, words};

/// Two cases of one process each, which several blocks share: a process that was looked up stays.
fn two_cases() -> Case {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 5ms\" } }";
    let matrix = "protocols = [\"http\"]\nbatch_sizes = [1, 4]";
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", matrix);
    Case::new(slow, &scenario.replace("iterations = 50\n    warmup = 3", "iterations = 200\nwarmup = 20"))
}

/// The process identifiers of a run's workers.
fn workers_of(run: &Child) -> Vec<u32> {
    let is_worker = |pid: &u32| words_of(*pid).split(' ').any(|word| word == "worker");
    children_of(run.id()).into_iter().filter(is_worker).collect()
}

/// What the tests have left in the folder of memory files, by its names.
fn memory_files() -> Vec<String> {
    let files = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    files
        .map(|file| file.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("runner"))
        .collect()
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

/// One line of the page, of what a test saw.
fn told(key: &'static str, fault: &str, by: &str, test: &str, told: String) {
    tell(&Line { key: ("workers", key), fault, by, told: vec![told], test });
}

#[test]
fn a_worker_that_ends_or_hangs_makes_its_case_a_row_and_the_others_go_on() {
    for (key, fault, name, words_of) in [
        ("killed", "a worker is killed", "KILL", "a worker process died (signal: 9"),
        ("hung", "a worker hangs", "STOP", "a worker said nothing for 20 s and was killed"),
    ] {
        let case = two_cases();
        let run = case.command(&[]).spawn().unwrap();
        let worker = worker_under_way(&case, &run);
        let children = children_of(run.id());
        signal(&format!("-{name}"), worker);
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
        assert!(!is_there(worker), "{name}: the worker is still there");
        assert!(!children.into_iter().any(is_there), "{name}: a process is still there");
        let records = case.records();
        assert_eq!(records.iter().map(|row| row.status).collect::<Vec<_>>(), [Status::Failed, Status::Ok], "{name}");
        assert!(records[0].reason.starts_with(words_of), "{name}: {:?}", records[0]);
        assert!(records[0].requests > 0 && records[0].mean_ms > Some(5.0), "{name}: {:?}", records[0]);
        assert_eq!(read_manifest(&case.newest().unwrap()).unwrap().state, State::Incomplete, "{name}");
        assert_eq!(memory_files(), [""; 0], "{name}");
        let test = "a_worker_that_ends_or_hangs_makes_its_case_a_row_and_the_others_go_on";
        told(key, fault, &format!("SIG{name}"), test, words(&records[0]));
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
    let records = case.records();
    let statuses: Vec<Status> = records.iter().map(|row| row.status).collect();
    assert_eq!(statuses, [Status::Interrupted, Status::NotRun]);
    told(
        "stopped",
        "Ctrl-C while a worker hangs",
        "SIGSTOP, SIGINT",
        "a_run_may_be_stopped_while_a_worker_hangs",
        words(&records[0]),
    );
}

#[test]
fn the_children_of_a_killed_run_end_by_themselves() {
    let case = two_cases();
    let mut run = case.command(&[]).spawn().unwrap();
    worker_under_way(&case, &run);
    let children = children_of(run.id());
    assert!(children.len() >= 2, "a worker and the server: {children:?}");
    signal("-KILL", run.id());
    run.wait().unwrap();
    let are_gone = (0..1200).any(|_| {
        sleep(Duration::from_millis(50));
        !children.iter().any(|pid| is_there(*pid))
    });
    assert!(are_gone, "a process is still there");
    assert_eq!(memory_files(), [""; 0]);
    // what was measured is on disk, and the run goes on from there
    let blocks = fs::read_to_string(case.newest().unwrap().join("blocks.csv")).unwrap();
    assert!(blocks.lines().count() > 1, "{blocks}");
    told(
        "parent killed",
        "the run itself is killed",
        "SIGKILL",
        "the_children_of_a_killed_run_end_by_themselves",
        "nothing more is told; its workers and the embedded server end when their input does, and `--resume` goes on with the \
         blocks on disk"
            .to_owned(),
    );
}

#[test]
fn a_worker_without_memory_makes_its_case_a_row() {
    // room for all that a run needs, and not for a request of 1 GB; the server has as much as it likes
    const KIB: u64 = 900_000;
    let sizes = "shapes = [[3], [250000000]]\n    protocols = [\"http\"]\n    processes = [1]";
    let case = Case::new("", &SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", sizes));
    let config = fs::read_to_string(case.path("models/echo/config.pbtxt")).unwrap();
    fs::write(case.path("models/echo/config.pbtxt"), config.replace("[ 3 ]", "[ -1 ]")).unwrap();
    let (mut server, http, grpc) = case.other_server();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {KIB} || exit 77; exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_runner")).arg(case.path("echo.toml"));
    command.args(["--http", &http, "--grpc", &grpc, "--results"]).arg(case.path("results"));
    let output = command.output().unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    if output.status.code() == Some(77) {
        return println!("skipped: no limit of memory can be set here");
    }
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let rows = case.records();
    assert_eq!(rows.iter().map(|row| row.status).collect::<Vec<_>>(), [Status::Ok, Status::Failed], "{rows:?}");
    let reason = &rows[1].reason;
    assert!(reason.starts_with("a worker process died (signal: 6 (SIGABRT)"), "{reason}");
    assert!(reason.ends_with(": memory allocation of 1000000000 bytes failed"), "{reason}");
    assert_eq!(rows[0].requests, 50, "{:?}", rows[0]);
    told(
        "out of memory",
        "a worker gets no more memory",
        "`ulimit -v`",
        "a_worker_without_memory_makes_its_case_a_row",
        words(&rows[1]),
    );
}

#[test]
fn what_workers_say_wrongly_is_in_the_page() {
    let of_parent = "src/worker/seat.rs";
    for (key, fault, by, words, test) in [
        (
            "garbage",
            "a worker says what is no message",
            "a stand-in for a worker",
            "a worker said something that cannot be read, and was killed: it is no text",
            "what_is_no_message_of_a_worker_is_told_and_the_worker_killed",
        ),
        (
            "silent",
            "a worker says nothing",
            "a stand-in for a worker",
            "a worker said nothing for 20 s and was killed",
            "a_worker_that_says_nothing_is_killed",
        ),
    ] {
        let source = fs::read_to_string(of_parent).unwrap();
        for words in [test, words.split(" 20 s").next().unwrap().split(':').next().unwrap()] {
            assert!(source.contains(words), "{of_parent}: {words}");
        }
        told(key, fault, by, test, quoted(words));
    }
}
