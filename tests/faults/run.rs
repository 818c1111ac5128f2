//! Runs of the program against a server that follows a script, and what they leave.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use runner::record::{BLOCKS, BlockRecord, RECORDS, REQUESTS as REQUEST_ROWS, Record, RequestRow, Status, read};

use super::server::{Act, Server, good};
use super::table::{Line, tell, words};

/// Blocks of 20 requests; each begins with a new process, whose first request is not timed.
pub const SCENARIO: &str = r#"title = "Faults"
    [model]
    name = "m"
    [[input]]
    name = "x"
    datatype = "FP32"
    shape = [3]
    [[output]]
    name = "y"
    [matrix]
    batch_sizes = [1]
    [load]
    iterations = 60
    warmup = 0
    blocks = 3
    timeout_s = 20
"#;

/// Requests of a block of a case.
pub const BLOCK: u64 = 20;
/// Requests of a case.
pub const REQUESTS: u64 = 3 * BLOCK;

/// A finished run, and its folder.
pub struct Done {
    pub output: Output,
    folder: tempfile::TempDir,
}

impl Done {
    /// The run's folder, if it made one.
    pub fn run(&self) -> Option<PathBuf> {
        let runs = std::fs::read_dir(self.folder.path().join("results/faults")).ok()?;
        runs.map(|run| run.unwrap().path()).max()
    }

    /// All that it printed.
    pub fn text(&self) -> String {
        let [out, errors] = [&self.output.stdout, &self.output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        format!("{out}\n{errors}")
    }

    /// The rows of its cases, HTTP's first.
    pub fn rows(&self) -> Vec<Record> {
        read(&self.run().unwrap_or_else(|| panic!("{}", self.text())).join(RECORDS)).unwrap()
    }

    /// The requests of a case with this status that have a row of their own (`--requests`).
    pub fn logged(&self, case: &Record, status: &str) -> u64 {
        let rows: Vec<RequestRow> = read(&self.run().unwrap().join(REQUEST_ROWS)).unwrap();
        let tag = case.case.tag();
        rows.iter().filter(|row| row.case == tag && row.status == status).count() as u64
    }

    /// What the blocks of a case answered and what failed in them.
    pub fn blocks(&self, case: &Record) -> Vec<(u64, u64)> {
        let rows: Vec<BlockRecord> = read(&self.run().unwrap().join(BLOCKS)).unwrap();
        rows.iter()
            .filter(|row| row.is_of(case))
            .map(|row| (row.requests, row.errors))
            .collect()
    }
}

/// Runs a scenario at these addresses.
pub fn run_at(scenario: &str, http: &str, grpc: &str, options: &[&str]) -> Done {
    run_with(Command::new(env!("CARGO_BIN_EXE_runner")), scenario, http, grpc, options)
}

/// The same by a command that starts the program with the arguments it gets; `$RESULTS` is the folder of results.
pub fn run_with(mut command: Command, scenario: &str, http: &str, grpc: &str, options: &[&str]) -> Done {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    std::fs::create_dir(&results).unwrap();
    let file = folder.path().join("faults.toml");
    // in the file, where what belongs to an address stands beside it
    let server = format!("    [server]\n    http = {http:?}\n    grpc = {grpc:?}\n");
    let scenario = match scenario.split_once("    [server]\n") {
        Some((before, rest)) => format!("{before}{server}{rest}"),
        None => scenario.replacen("    [model]", &format!("{server}    [model]"), 1),
    };
    std::fs::write(&file, scenario).unwrap();
    command.arg(&file);
    if !options.contains(&"--results") {
        command.arg("--results").arg(&results);
    }
    command.args(options).env("RESULTS", &results).stdin(Stdio::null());
    Done { output: command.output().unwrap(), folder }
}

/// A server whose requests with these numbers meet a fault; 0 and every 21st is that which a new process has checked.
pub fn server_of(numbers: &'static [u64], act: Act) -> Server {
    Server::start(&[-1, 3], true, move |n| if numbers.contains(&n) { act.clone() } else { Act::Answer(good()) })
}

/// A fault that some requests of the second block meet.
pub struct Fault<'a> {
    pub key: (&'static str, &'static str),
    pub fault: &'a str,
    pub by: &'a str,
    pub test: &'a str,
    pub act: Act,
    /// The kinds of its errors, over HTTP and gRPC.
    pub kinds: [&'a str; 2],
    /// What the rows' reasons contain.
    pub words: [&'a str; 2],
}

/// The requests that meet it: none of them is followed by another one, so that nothing waits.
const THREE: &[u64] = &[25, 28, 31];
/// One of them, where it takes its time.
const ONE: &[u64] = &[28];

/// Checks that a fault is counted in the rows of both protocols, and that all around it is measured.
pub fn three_of(fault: &Fault<'_>) -> Vec<Record> {
    some_of(fault, THREE, SCENARIO)
}

/// The same of one request alone, with a short timeout.
pub fn one_of(fault: &Fault<'_>) -> Vec<Record> {
    some_of(fault, ONE, &SCENARIO.replace("timeout_s = 20", "timeout_s = 3"))
}

fn some_of(fault: &Fault<'_>, numbers: &'static [u64], scenario: &str) -> Vec<Record> {
    let server = server_of(numbers, fault.act.clone());
    let done = run_at(scenario, &server.http, &server.grpc, &["--requests"]);
    let rows = done.rows();
    assert_eq!(rows.len(), 2, "{}", done.text());
    assert_eq!(done.output.status.code(), Some(1), "{}", done.text());
    let failed = numbers.len() as u64;
    for ((row, kind), words) in rows.iter().zip(fault.kinds).zip(fault.words) {
        let case = row.case.protocol;
        assert_eq!(row.status, Status::Errors, "{case}: {row:?}");
        assert_eq!((row.requests, row.errors), (REQUESTS - failed, failed), "{case}: {row:?}");
        assert_eq!(row.error_kinds.to_string(), format!("{kind}={failed}"), "{case}: {row:?}");
        assert!(row.reason.contains(words), "{case}: {} lacks {words}", row.reason);
        assert!(!row.reason.chars().any(char::is_control), "{case}: {:?}", row.reason);
        let blocks = done.blocks(row);
        assert_eq!(blocks, [(BLOCK, 0), (BLOCK - failed, failed), (BLOCK, 0)], "{case}");
        assert!(row.errors_s.is_some_and(|seconds| seconds > 0.0), "{case}: {row:?}");
        assert_eq!((done.logged(row, "ok"), done.logged(row, kind)), (row.requests, failed), "{case}");
    }
    let told = rows.iter().map(words).collect();
    let Fault { key, fault, by, test, .. } = *fault;
    tell(&Line { key, fault, by, told, test });
    rows
}
