//! The program against a real Triton. `scripts/test` starts one that serves `model_repository` and
//! `tests/model_repository`, sets TRITON_HTTP and TRITON_GRPC, and runs these with the nextest profile `triton`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use runner::matrix::Protocol;
use runner::record::{
    BLOCKS, BlockRecord, CountCheck, Flag, Manifest, MetricsRead, RECORDS, Record, State, Status, read, read_manifest,
};

/// A scenario and a results folder of one test.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(scenario: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("case.toml"), scenario).unwrap();
        Case { folder }
    }

    /// A command for the scenario and the server of TRITON_HTTP and TRITON_GRPC; later options win.
    fn command(&self, options: &[&str]) -> Command {
        let server = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command
            .arg(self.folder.path().join("case.toml"))
            .arg("--results")
            .arg(self.results())
            .args(options);
        for (option, name) in [("--http", "TRITON_HTTP"), ("--grpc", "TRITON_GRPC")] {
            if !options.contains(&option) {
                command.args([option, &server(name)]);
            }
        }
        command
    }

    fn run(&self, options: &[&str]) -> Output {
        self.command(options).stdin(Stdio::null()).output().unwrap()
    }

    /// Starts the run, and waits until it has written `rows` rows of a file.
    fn start_until(&self, options: &[&str], file: &str, rows: usize) -> Child {
        let mut child = self
            .command(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let seen = (0..1200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            let lines = self.newest().and_then(|run| fs::read_to_string(run.join(file)).ok());
            lines.is_some_and(|text| text.lines().count() > rows)
        });
        if !seen {
            child.kill().unwrap();
            panic!("no {rows} rows of {file} within a minute: {}", text(&child.wait_with_output().unwrap()));
        }
        child
    }

    fn results(&self) -> PathBuf {
        self.folder.path().join("results")
    }

    fn newest(&self) -> Option<PathBuf> {
        let runs = fs::read_dir(self.results().join("case")).ok()?;
        runs.filter_map(|entry| Some(entry.ok()?.path())).max()
    }

    fn records(&self) -> Vec<Record> {
        read(&self.newest().unwrap().join(RECORDS)).unwrap()
    }

    fn manifest(&self) -> Manifest {
        read_manifest(&self.newest().unwrap()).unwrap()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn scenario(model: &str, tensors: &str, rest: &str) -> String {
    format!("title = \"A test\"\n[model]\nname = \"{model}\"\n{tensors}\n{rest}\n")
}

const ECHO: &str = "[[input]]\nname = \"value\"\ndatatype = \"FP32\"\nshape = [4]\n[[output]]\nname = \"echo\"";

/// Uses the shell's own kill: the program of that name is not installed everywhere.
fn signal(name: &str, pid: u32) {
    assert!(
        Command::new("sh")
            .args(["-c", &format!("kill {name} {pid}")])
            .status()
            .unwrap()
            .success()
    );
}

fn worker_of(parent: u32) -> u32 {
    let line = format!("PPid:\t{parent}");
    let is_child = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| status.lines().any(|found| found == line))
    };
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(is_child).min().expect("a worker runs")
}

#[test]
fn the_main_job_gives_a_row_a_case_and_the_server_counts_the_same() {
    let case = Case::new(&fs::read_to_string("scenarios/scrfd.toml").unwrap());
    let output = case.run(&["--iterations", "2", "--warmup", "1", "--batch-sizes", "1,2", "--processes", "1,2"]);
    assert!(output.status.success(), "{}", text(&output));
    let records = case.records();
    assert_eq!(records.len(), 8);
    for record in &records {
        assert_eq!((record.status, record.errors), (Status::Ok, 0), "{record:?}");
        assert_eq!(record.requests, 2 * u64::from(record.case.processes));
        assert!(record.weights.starts_with("stand-in:") || record.weights.contains("sha256"), "{}", record.weights);
        assert_eq!(record.server, "triton");
    }
    let manifest = case.manifest();
    let measured = records.iter().map(|record| record.requests * u64::from(record.case.batch_size)).sum();
    let counts = manifest.counts.unwrap();
    assert_eq!((manifest.state, counts.measured), (State::Complete, measured));
    assert!(counts.agrees(), "{counts:?}");
    let CountCheck { server, prepared, .. } = counts;
    assert_eq!(server, measured + prepared);
    let blocks: Vec<BlockRecord> = read(&case.newest().unwrap().join(BLOCKS)).unwrap();
    assert_eq!(blocks.iter().map(|block| block.requests).sum::<u64>(), records.iter().map(|r| r.requests).sum::<u64>());
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.contains("| 1 | HTTP |") && stdout.contains("| 2 | gRPC |") && stdout.contains("weights:"),
        "{stdout}"
    );
}

#[test]
fn several_inputs_of_different_types_run_and_are_verified_over_both_protocols() {
    let input = |name: &str, datatype: &str, shape: &str| {
        format!(
            "[[input]]\nname = \"{name}\"\ndatatype = \"{datatype}\"\nshape = {shape}\ndata = {{random = {{seed = 7}}}}\n"
        )
    };
    let inputs = [
        input("counts", "INT64", "[3]"),
        input("halves", "FP16", "[2, 2]"),
        input("words", "BYTES", "[2]"),
        input("flags", "BOOL", "[4]"),
        input("pixels", "UINT8", "[5]"),
    ]
    .concat();
    let outputs: String = ["counts_out", "halves_out", "words_out", "flags_out", "pixels_out", "summary"]
        .map(|name| format!("[[output]]\nname = \"{name}\"\n"))
        .concat();
    let rest = "[matrix]\nbatch_sizes = [1, 3]\nconcurrency = [1, 4]\n[load]\niterations = 20\nwarmup = 2";
    let case = Case::new(&scenario("mixed", &(inputs + &outputs), rest));
    let output = case.run(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let records = case.records();
    assert_eq!(records.len(), 8);
    assert!(records.iter().all(|record| record.status == Status::Ok && record.requests == 20), "{records:?}");
    assert!(case.manifest().counts.unwrap().agrees());
}

#[test]
fn each_protocol_is_usable_alone() {
    let nobody = "127.0.0.1:1";
    for (protocol, other) in [("grpc", "--http"), ("http", "--grpc")] {
        let case = Case::new(&scenario("sleepy", ECHO, "[matrix]\n[load]\niterations = 3\nwarmup = 0"));
        let output = case.run(&["--protocols", protocol, other, nobody]);
        assert!(output.status.success(), "{}", text(&output));
        let run = case.newest().unwrap();
        assert!(
            fs::read_to_string(run.join("model_config.json"))
                .unwrap()
                .contains("\"max_batch_size\": 8")
        );
        assert!(fs::read_to_string(run.join("server.json")).unwrap().contains("triton"));
        assert_eq!(case.records().len(), 1);
    }
}

#[test]
fn a_model_without_a_batch_dimension_runs() {
    let tensors = "[[input]]\nname = \"matrix\"\ndatatype = \"INT32\"\nshape = [2, 3]\n[[output]]\nname = \"sum\"";
    let unbatched = scenario("unbatched\"\nbatching = false\n#", tensors, "[matrix]\n[load]\niterations = 3");
    let case = Case::new(&unbatched);
    let output = case.run(&[]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn everything_that_does_not_fit_the_model_is_said_at_once() {
    let tensors = "[[input]]\nname = \"valeu\"\ndatatype = \"FP32\"\nshape = [4]\n[[output]]\nname = \"eco\"";
    let case = Case::new(&scenario("faulty", tensors, "[matrix]\nbatch_sizes = [1, 16]"));
    let output = case.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let words = text(&output);
    for expected in [
        "no such input, it has \"value\" FP32",
        "the model needs it",
        "no such output, it has \"echo\"",
        "batch_sizes 16: the model takes at most 8",
    ] {
        assert!(words.contains(expected), "{words}");
    }
    assert!(case.newest().is_none(), "nothing was measured, so nothing is written");
}

#[test]
fn failed_requests_are_counted_in_the_row() {
    let case = Case::new(&scenario("faulty", ECHO, "[matrix]\n[load]\niterations = 50\nwarmup = 0"));
    let output = case.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let records = case.records();
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(record.status, Status::Errors, "{record:?}");
        assert_eq!(record.requests + record.errors, 50);
        assert!(record.error_kinds.of("server") > 0 && !record.reason.is_empty(), "{record:?}");
    }
}

#[test]
fn one_wrong_value_in_a_thousand_answers_is_found_and_named() {
    let echo = ECHO.replace("shape = [4]", "shape = [4]\ndata = {file = \"values.raw\"}");
    let expect = "expect = {file = \"values.raw\", atol = 1e-6}";
    let load = "[matrix]\n[load]\niterations = 2000\nverify_every = 1";
    let case = Case::new(&scenario("inaccurate", &format!("{echo}\n{expect}"), load));
    let values = (0..64).flat_map(|value| (value as f32 / 64.0).to_le_bytes());
    fs::write(case.folder.path().join("values.raw"), values.collect::<Vec<u8>>()).unwrap();
    let output = case.run(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let records = case.records();
    let wrong: u64 = records.iter().map(|record| record.error_kinds.of("value")).sum();
    // four thousand answers are measured, and some more come before
    assert_eq!(wrong, 4, "{records:?}");
    for record in records {
        assert_eq!((record.status, record.requests + record.errors), (Status::Errors, 2000), "{record:?}");
        assert_eq!(
            (record.answers_verified, record.distinct_requests),
            (Some(record.requests), Some(16)),
            "{record:?}"
        );
        let is_named = record
            .reason
            .starts_with("the output \"echo\" differs in one element at [0, 3]: it is 0.");
        assert!(is_named && record.reason.contains(", in the answer to request "), "{}", record.reason);
    }
}

#[test]
fn a_worker_that_dies_makes_its_case_a_row_and_the_others_go_on() {
    // warmup that is dear against a block keeps the process for all blocks, so that none is renewed while it is looked for
    let rest = "[matrix]\nprotocols = [\"http\"]\nbatch_sizes = [1, 2]\n[load]\niterations = 100\nwarmup = 10";
    let case = Case::new(&scenario("sleepy", ECHO, rest));
    let run = case.start_until(&[], BLOCKS, 2);
    signal("-KILL", worker_of(run.id()));
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let records = case.records();
    assert_eq!(records.iter().map(|record| record.status).collect::<Vec<_>>(), [Status::Failed, Status::Ok]);
    assert!(records[0].reason.contains("a worker process died") && records[0].requests >= 20, "{:?}", records[0]);
}

#[test]
fn ctrl_c_keeps_what_is_measured() {
    let rest = "[matrix]\nprotocols = [\"grpc\"]\nbatch_sizes = [1, 2, 3]\n[load]\niterations = 200\nwarmup = 0";
    let case = Case::new(&scenario("sleepy", ECHO, rest));
    let run = case.start_until(&[], BLOCKS, 13);
    signal("-INT", run.id());
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    let statuses: Vec<Status> = case.records().iter().map(|record| record.status).collect();
    assert_eq!(statuses, [Status::Ok, Status::Interrupted, Status::NotRun]);
    assert_eq!(case.manifest().state, State::Interrupted);
}

#[test]
fn a_server_that_dies_ends_the_run_with_a_row_for_every_case() {
    let state = tempfile::tempdir().unwrap();
    let triton = |command: &str| {
        let mut triton = Command::new("scripts/triton");
        triton.arg(command).arg("--state").arg(state.path());
        if command == "start" {
            triton.args(["--ports", "auto", "--model-repository", "tests/model_repository"]);
        }
        assert!(triton.stdin(Stdio::null()).status().unwrap().success());
    };
    triton("start");
    let endpoints = fs::read_to_string(state.path().join("endpoints")).unwrap();
    let endpoint = |name: &str| {
        endpoints
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .unwrap()
            .to_owned()
    };
    let rest = "[matrix]\nbatch_sizes = [1, 2, 3]\n[load]\niterations = 100\nwarmup = 0";
    let case = Case::new(&scenario("sleepy", ECHO, rest));
    let run = case.start_until(&["--http", &endpoint("HTTP"), "--grpc", &endpoint("GRPC")], BLOCKS, 23);
    let pid = fs::read_to_string(state.path().join("pid")).unwrap().trim().parse().unwrap();
    signal("-KILL", pid);
    let output = run.wait_with_output().unwrap();
    triton("stop");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let records = case.records();
    assert_eq!(records.len(), 6, "every case has a row");
    for (index, record) in records.iter().enumerate() {
        let expected = [Status::Ok, Status::Failed, Status::NotRun][index / 2];
        assert_eq!(record.status, expected, "{record:?}");
        assert_eq!(record.reason.is_empty(), expected == Status::Ok, "{record:?}");
    }
    assert_eq!(case.manifest().state, State::Incomplete);
}

#[test]
fn verify_checks_every_case_and_writes_nothing() {
    let case = Case::new(&scenario("sleepy", ECHO, "[matrix]\nbatch_sizes = [1, 8]\nprocesses = [1, 2]"));
    let output = case.run(&["--verify"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout).matches(": ok").count(), 8);
    assert!(case.newest().is_none());
}

#[test]
fn a_quick_run_is_capped_and_says_so() {
    let case = Case::new(&scenario("sleepy", ECHO, "[matrix]\n[load]\niterations = 100000"));
    let output = case.run(&["--quick"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("Quick run"), "{}", text(&output));
    for record in case.records() {
        assert!(record.quick && record.requests < 100_000 && record.requests_planned.is_none(), "{record:?}");
        assert!(!record.flags.has(Flag::Capped), "{record:?}");
    }
    assert!(case.manifest().cap_s.is_some());
}

#[test]
fn a_run_can_be_reported_again_and_names_what_it_measured() {
    let case = Case::new(&scenario("sleepy", ECHO, "[matrix]\n[load]\niterations = 3\nwarmup = 0"));
    let output = case.run(&[]);
    assert!(output.status.success(), "{}", text(&output));
    let report = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["report", "case", "--results"])
        .arg(case.results())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&report.stdout).trim(), String::from_utf8_lossy(&output.stdout).trim());
    // the scenario asks for ten blocks, three iterations fill three
    assert!(String::from_utf8_lossy(&output.stdout).contains("HTTP and gRPC interleaved in 3 blocks"));
    let protocols: Vec<Protocol> = case.records().iter().map(|record| record.case.protocol).collect();
    assert_eq!(protocols, [Protocol::Http, Protocol::Grpc]);
    let histograms = fs::read_to_string(case.newest().unwrap().join("histograms.hlog")).unwrap();
    assert_eq!(histograms.matches("Tag=http-b1-p1-c1,").count(), 3);
    assert!(Path::new(&case.newest().unwrap()).join("scenario.toml").is_file());
}

#[test]
fn an_answer_from_the_response_cache_is_flagged() {
    let case = Case::new(&scenario("cached", ECHO, "[matrix]\n[load]\niterations = 20"));
    let output = case.run(&["--strict"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    for record in case.records() {
        assert!(record.status == Status::Ok && record.flags.has(Flag::ResponseCache), "{record:?}");
        assert_eq!((record.server_requests, record.server_cache_hits), (Some(20), Some(20)), "{record:?}");
    }
    assert!(text(&output).contains("response cache answered instead of the model"), "{}", text(&output));
}

#[test]
fn every_request_is_counted_by_the_server_and_split_into_parts() {
    let case = Case::new(&scenario("sleepy", ECHO, "[matrix]\nprocesses = [1, 2]\n[load]\niterations = 20"));
    let output = case.run(&[]);
    assert!(output.status.success(), "{}", text(&output));
    for record in case.records() {
        assert_eq!(record.server_requests, Some(record.requests), "{record:?}");
        assert!(record.compute_infer_ms >= Some(20.0) && record.queue_ms.is_some(), "{record:?}");
    }
}

#[test]
fn the_server_s_metrics_are_sampled_while_a_case_is_measured() {
    let metrics = std::env::var("TRITON_METRICS").unwrap();
    let case = Case::new(&scenario("sleepy", ECHO, "[matrix]\nprotocols = [\"grpc\"]\n[load]\nduration_s = 4"));
    let output = case.run(&["--metrics", &metrics]);
    assert!(output.status.success(), "{}", text(&output));
    let rows = fs::read_to_string(case.newest().unwrap().join("metrics.csv")).unwrap();
    assert!(rows.starts_with("time,case,metric,labels,value\n") && rows.contains(",grpc-b1-p1-c1,nv_"), "{rows}");
    let read = case.manifest().metrics;
    let MetricsRead::Of(read) = &read else { panic!("{read:?}") };
    assert!(read.len() == 1 && read[0].address == Some(metrics) && read[0].samples > 0, "{read:?}");
}

#[test]
fn the_real_triton_and_the_embedded_server_are_compared_by_twins_of_a_model() {
    let server = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run scripts/test"));
    let transport = fs::read_to_string("scenarios/transport.toml").unwrap();
    let table = format!("[server.triton]\nhttp = {:?}\ngrpc = {:?}\n", server("TRITON_HTTP"), server("TRITON_GRPC"));
    let scenario = transport.replace("[matrix]\n", &format!("{table}[matrix]\nservers = [\"triton\", \"embedded\"]\n"));
    let case = Case::new(&scenario);
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .arg(case.folder.path().join("case.toml"))
        .arg("--results")
        .arg(case.results())
        .args(["--iterations", "20", "--set", "shapes=2500,37500"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let records = case.records();
    let tags: Vec<String> = records.iter().map(|record| record.case.tag()).collect();
    let expected = ["triton-http-b1-s2500-p1-c1", "embedded-http-b1-s2500-p1-c1"];
    assert!(tags.len() == 8 && tags[..2] == expected, "{tags:?}");
    assert!(records.iter().all(|record| record.status == Status::Ok && record.requests == 20), "{records:?}");
    let names: Vec<&str> = records.iter().map(|record| record.server.as_str()).collect();
    assert!(names[0] == "triton" && names[1].starts_with("embedded ("), "{names:?}");
    let manifest = case.manifest();
    let counts = manifest.counts.unwrap();
    assert!(counts.agrees() && counts.measured == 8 * 20, "{counts:?}");
    assert_eq!(manifest.compare.as_deref(), Some("server_key"));
}
