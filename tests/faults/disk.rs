//! Disks that take no results, or no more: what was measured is on the terminal, the error names the path and what to do, and
//! nothing panics.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use runner::record::{RECORDS, Record, Status, read};

use crate::run::{Done, SCENARIO, run_at, run_with};
use crate::server::{Act, Server, good};
use crate::table::{Line, tell};

fn well() -> Server {
    Server::start(&[-1, 3], true, |_| Act::Answer(good()))
}

/// Small blocks, which are many files' worth of rows.
fn many_blocks() -> String {
    SCENARIO
        .replace("iterations = 60", "iterations = 1000")
        .replace("blocks = 3", "blocks = 200")
}

/// Runs through a shell that does `before` with the folder of results as `$RESULTS`; `None` if that cannot be done here.
fn prepared(wrap: &[&str], before: &str, scenario: &str, server: &Server) -> Option<Done> {
    let program = env!("CARGO_BIN_EXE_runner");
    let script = format!("{{ {before}; }} || exit 77; exec {program} \"$@\"");
    let mut command = Command::new(wrap.first().unwrap_or(&"sh"));
    command.args(wrap.get(1..).unwrap_or_default());
    if !wrap.is_empty() {
        command.arg("sh");
    }
    command.args(["-c", &script, "sh"]);
    let done = run_with(command, scenario, &server.http, &server.grpc, &[]);
    match done.output.status.code() {
        Some(77) | None => {
            println!("skipped: {before}: {}", done.text());
            None
        }
        // no such system call, or not allowed
        Some(_) if done.text().contains("unshare: ") => {
            println!("skipped: {}", done.text());
            None
        }
        Some(_) => Some(done),
    }
}

const OWN_MOUNTS: &[&str] = &["unshare", "--mount", "--map-root-user"];

/// Checks that a run ended with an error, and that what was measured before it was told.
fn told_and_ended(done: &Done, words: &[&str]) {
    let text = done.text();
    assert_eq!(done.output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    words.iter().for_each(|words| assert!(text.contains(words), "{words}: {text}"));
    // the first group's first case
    let cases: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("faults: HTTP batch 1") && line.contains("mean "))
        .collect();
    assert_eq!(cases.len(), 1, "{text}");
}

/// A line of the page.
fn page(key: &'static str, fault: &str, by: &str, told: &str, test: &str) {
    tell(&Line { key: ("disk", key), fault, by, told: vec![told.to_owned()], test });
}

const AFTER: &str = "the cases so far; “cannot write FILE: CAUSE; what was measured is told above, and what is on disk stays: make \
                     the folder writable, with room, and go on with runner --resume FOLDER”";

#[test]
fn a_full_disk_ends_a_run_whose_cases_are_told() {
    let server = well();
    let mount = "mount -t tmpfs -o size=128k none \"$RESULTS\"";
    let Some(done) = prepared(OWN_MOUNTS, mount, &many_blocks(), &server) else { return };
    told_and_ended(&done, &["cannot write ", "No space left on device", "runner --resume "]);
    page(
        "full",
        "the disk is full",
        "a small file system (tmpfs)",
        &AFTER.replace("CAUSE", "No space left on device"),
        "a_full_disk_ends_a_run_whose_cases_are_told",
    );
}

#[test]
fn a_file_that_may_not_grow_ends_a_run_that_goes_on_later() {
    let server = well();
    // the signal that the system sends is ignored, as shells of services do
    let limit = "trap '' XFSZ; ulimit -f 40";
    let Some(done) = prepared(&[], limit, &many_blocks(), &server) else { return };
    told_and_ended(&done, &["cannot write ", "File too large", "runner --resume "]);
    let run = done.run().unwrap();
    let resumed = Command::new(env!("CARGO_BIN_EXE_runner")).arg("--resume").arg(&run).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
    let rows: Vec<Record> = read(&run.join(RECORDS)).unwrap();
    let outcomes: Vec<_> = rows.iter().map(|row| (row.status, row.requests, row.errors)).collect();
    assert_eq!(outcomes, [(Status::Ok, 1000, 0); 2]);
    page(
        "too large",
        "a file may not grow any more; `--resume` goes on where it may",
        "`ulimit -f`",
        &AFTER.replace("CAUSE", "File too large"),
        "a_file_that_may_not_grow_ends_a_run_that_goes_on_later",
    );
}

#[test]
fn requests_that_cannot_be_written_are_measured_again() {
    let server = well();
    let script = format!("trap '' XFSZ; ulimit -f 40 || exit 77; exec {} \"$@\"", env!("CARGO_BIN_EXE_runner"));
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]);
    // whose requests are more than what is kept of them otherwise
    let scenario = many_blocks().replace("blocks = 200", "blocks = 20");
    let done = run_with(command, &scenario, &server.http, &server.grpc, &["--requests"]);
    told_and_ended(&done, &["cannot write ", "requests.csv", "File too large", "runner --resume "]);
    let run = done.run().unwrap();
    let resumed = Command::new(env!("CARGO_BIN_EXE_runner")).arg("--resume").arg(&run).output().unwrap();
    assert_eq!(resumed.status.code(), Some(0), "{}", String::from_utf8_lossy(&resumed.stderr));
    for row in done.rows() {
        assert_eq!((row.requests, row.requests_logged, done.logged(&row, "ok")), (1000, Some(1000), 1000), "{row:?}");
    }
}

#[test]
fn quiet_runs_tell_their_cases_when_nothing_else_does() {
    let server = well();
    let script = format!("trap '' XFSZ; ulimit -f 40 || exit 77; exec {} \"$@\" --quiet", env!("CARGO_BIN_EXE_runner"));
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]);
    let done = run_with(command, &many_blocks(), &server.http, &server.grpc, &[]);
    told_and_ended(&done, &["cannot write "]);
}

#[test]
fn a_folder_that_cannot_be_written_is_told_before_anything_is_measured() {
    let server = well();
    let mount = "mount --bind \"$RESULTS\" \"$RESULTS\" && mount -o remount,bind,ro \"$RESULTS\"";
    let Some(done) = prepared(OWN_MOUNTS, mount, SCENARIO, &server) else { return };
    let text = done.text();
    assert_eq!(done.output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot make the folder ") && text.contains("Read-only file system"), "{text}");
    assert!(text.contains("name another than ") && text.contains(" with --results: "), "{text}");
    page(
        "read-only",
        "the folder of results is read-only",
        "a read-only mount",
        "nothing is measured; “cannot make the folder FOLDER: name another than RESULTS with --results: Read-only file system”",
        "a_folder_that_cannot_be_written_is_told_before_anything_is_measured",
    );
}

#[test]
fn a_name_that_is_taken_is_told_before_anything_is_measured() {
    let server = well();
    for taken in ["results", "results/faults"] {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join(taken);
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(&place, "a file").unwrap();
        let results = folder.path().join("results");
        let options = ["--results", results.to_str().unwrap()];
        let done = run_at(SCENARIO, &server.http, &server.grpc, &options);
        let text = done.text();
        assert_eq!(done.output.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("cannot make the folder {}/faults", results.display())), "{text}");
        assert!(text.contains("name another than ") && text.contains(" with --results: "), "{text}");
        assert_eq!(fs::read_to_string(&place).unwrap(), "a file");
    }
    page(
        "name taken",
        "a file has the name of the folder of results, or of the scenario's in it",
        "a file",
        "nothing is measured, the file stays; “cannot make the folder FOLDER: name another than RESULTS with --results: CAUSE”",
        "a_name_that_is_taken_is_told_before_anything_is_measured",
    );
}

#[test]
fn a_folder_that_vanishes_ends_a_run_whose_cases_are_told() {
    let results = tempfile::tempdir().unwrap();
    let (place, count) = (results.path().join("results/faults"), AtomicU64::new(0));
    let gone = place.clone();
    let server = Server::start(&[-1, 3], true, move |_| {
        // within the second block
        if count.fetch_add(1, Ordering::Relaxed) == 28 {
            vanish(&gone);
        }
        Act::Answer(good())
    });
    let options = ["--results", results.path().join("results").to_str().unwrap().to_owned().leak()];
    let done = run_at(SCENARIO, &server.http, &server.grpc, &options);
    told_and_ended(&done, &["cannot write ", "No such file or directory", "is gone: what was measured is told above"]);
    assert!(!place.exists(), "a folder that somebody deleted is back");
    page(
        "vanished",
        "the run's folder is deleted while it is measured",
        "deletes it",
        "the cases so far; “cannot write FILE: No such file or directory; the folder FOLDER is gone: what was measured is told \
         above, and nowhere else”",
        "a_folder_that_vanishes_ends_a_run_whose_cases_are_told",
    );
}

fn vanish(folder: &Path) {
    fs::remove_dir_all(folder).unwrap();
}
