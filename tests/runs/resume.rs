//! Runs that end before their time, and go on later.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use runner::record::{
    BLOCKS, BlockRecord, Flag, HISTOGRAMS, RECORDS, RESUME, Record, State, Status, read, read_manifest,
};
use runner::report::Run;

use crate::case::{Case, SCENARIO, signal, text};

const CASES: usize = 8;
const BLOCKS_A_CASE: usize = 10;

/// Eight cases in four groups, some seconds long.
pub fn slow_case() -> Case {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 2ms\" } }";
    Case::new(slow, &SCENARIO.replace("iterations = 50", "iterations = 100"))
}

/// Waits until some blocks are on disk, and returns the run's folder.
pub fn under_way(case: &Case, blocks: usize) -> PathBuf {
    let found = (0..6000).find_map(|_| {
        sleep(Duration::from_millis(10));
        let run = case.newest()?;
        let written = fs::read_to_string(run.join(BLOCKS)).ok()?;
        (written.lines().count() > blocks).then_some(run)
    });
    found.expect("no block within a minute")
}

pub fn resume(run: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg("--resume").arg(run).args(options).output().unwrap()
}

/// A case of the matrix, and the number of a block.
fn named(block: &BlockRecord) -> (String, u32) {
    (block.case.tag(), block.block)
}

/// A run that is whole, each block of it measured once.
pub fn check_whole(run: &Path) {
    let manifest = read_manifest(run).unwrap();
    assert_eq!(manifest.state, State::Complete);
    assert!(manifest.counts.unwrap().agrees(), "{:?}", manifest.counts);
    let records: Vec<Record> = read(&run.join(RECORDS)).unwrap();
    assert_eq!(records.len(), CASES);
    for row in &records {
        let asked = 100 * u64::from(row.case.processes);
        assert_eq!((row.status, row.requests, row.errors), (Status::Ok, asked, 0), "{row:?}");
        assert_eq!(row.blocks as usize, BLOCKS_A_CASE, "{row:?}");
        assert!(row.mean_ms > Some(2.0) && row.mean_low_ms.is_some() && row.queue_ms.is_some(), "{row:?}");
    }
    let mut blocks: Vec<(String, u32)> = read(&run.join(BLOCKS)).unwrap().iter().map(named).collect();
    assert_eq!(blocks.len(), CASES * BLOCKS_A_CASE);
    blocks.sort();
    blocks.dedup();
    assert_eq!(blocks.len(), CASES * BLOCKS_A_CASE);
    // the histograms are those of the blocks
    assert!(Run::open(run).unwrap().latencies.iter().all(Option::is_some));
    assert!(!run.join(RESUME).exists() && run.join("report.html").exists());
}

#[test]
fn a_run_goes_on_where_it_was_however_it_ended() {
    for (name, code) in [("-INT", Some(130)), ("-TERM", Some(143)), ("-HUP", Some(129)), ("-KILL", None)] {
        let case = slow_case();
        let child = case.command(&["--quiet"]).spawn().unwrap();
        // in the second of four groups
        let run = under_way(&case, 25);
        signal(name, child.id());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), code, "{name}: {}", text(&output));
        let before: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();
        let kept = if name == "-KILL" { before.len() - 1 } else { before.len() };

        let output = resume(&run, &["--quiet"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
        check_whole(&run);
        let after: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();
        assert_eq!(after[..kept], before[..kept], "{name}: what was measured stays");
        let manifest = read_manifest(&run).unwrap();
        assert!(manifest.resumed.len() == 1 && manifest.resumed[0].differs.is_empty(), "{:?}", manifest.resumed);
        assert!(text(&output).contains("Taken up again at "), "{}", text(&output));
        let places: Vec<String> =
            read::<Record>(&run.join(RECORDS)).unwrap().iter().map(|row| row.case.tag()).collect();
        assert_eq!(places[..2], ["http-b1-p1-c1", "grpc-b1-p1-c1"], "{places:?}");
    }
}

#[test]
fn a_run_goes_on_from_any_place_at_which_its_files_end() {
    let case = slow_case();
    let child = case.command(&["--quiet"]).spawn().unwrap();
    let run = under_way(&case, 25);
    signal("-KILL", child.id());
    child.wait_with_output().unwrap();
    // as a crash of the machine leaves them: each file ends within its last line
    for name in [RECORDS, BLOCKS, HISTOGRAMS, RESUME] {
        let bytes = fs::read(run.join(name)).unwrap();
        fs::write(run.join(name), &bytes[..bytes.len() - 7]).unwrap();
    }
    let output = resume(&run, &["--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    check_whole(&run);
}

#[test]
fn what_is_not_as_it_was_is_told_and_marked() {
    let case = slow_case();
    let child = case.command(&["--quiet"]).spawn().unwrap();
    let run = under_way(&case, 25);
    let output = resume(&run, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("the run still goes on: stop it first"), "{}", text(&output));
    signal("-INT", child.id());
    let stopped = child.wait_with_output().unwrap();
    assert_eq!(stopped.status.code(), Some(130), "{}", text(&stopped));

    let changed = fs::read_to_string(case.path("echo.toml")).unwrap() + "# a comment\n";
    fs::write(case.path("echo.toml"), changed).unwrap();
    let output = resume(&run, &["--quiet"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let words = text(&output);
    assert!(words.contains("not all is as it was: the scenario: ") && words.contains("--resume-anyway"), "{words}");
    let before: Vec<Record> = read(&run.join(RECORDS)).unwrap();

    let output = resume(&run, &["--quiet", "--resume-anyway"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    check_whole(&run);
    let records: Vec<Record> = read(&run.join(RECORDS)).unwrap();
    for row in &records {
        let was = before.iter().find(|old| old.case == row.case).unwrap();
        assert_eq!(row.flags.has(Flag::Resumed), was.status != Status::Ok, "{row:?}");
    }
    assert!(records.iter().any(|row| !row.flags.has(Flag::Resumed)));

    for (run, options, words) in [
        (run.as_path(), &[][..], "nothing is missing: all 8 cases are measured"),
        (&case.path("results"), &[], "run.json"),
        (&run, &["--batch-sizes", "1"], "leave the options of axes out"),
        (&run, &["--quick"], "cannot be used with"),
    ] {
        let output = resume(run, options);
        assert_eq!(output.status.code(), Some(2), "{words}: {}", text(&output));
        assert!(text(&output).contains(words), "{words}: {}", text(&output));
    }
}
