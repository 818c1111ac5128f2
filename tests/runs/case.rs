//! A folder with a repository of one model, a scenario that asks it, and the runs' results.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

use runner::record::{Manifest, RECORDS, Record, read, read_manifest};

pub const CONFIG: &str = r#"
    backend: "loopback"
    max_batch_size: 4
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
    parameters { key: "copy.y" value { string_value: "x" } }
"#;

pub const SCENARIO: &str = r#"title = "Echo"
    [model]
    name = "echo"
    [[input]]
    name = "x"
    datatype = "FP32"
    shape = [3]
    [[output]]
    name = "y"
    [matrix]
    batch_sizes = [1, 4]
    processes = [1, 2]
    [load]
    iterations = 50
    warmup = 3
"#;

/// A folder with a repository, a scenario and results.
pub struct Case(tempfile::TempDir);

impl Case {
    pub fn new(parameters: &str, scenario: &str) -> Self {
        let case = Case(tempfile::tempdir().unwrap());
        fs::create_dir_all(case.path("models/echo")).unwrap();
        fs::write(case.path("models/echo/config.pbtxt"), format!("{CONFIG}{parameters}")).unwrap();
        fs::write(case.path("echo.toml"), scenario).unwrap();
        case
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command.arg(self.path("echo.toml")).args(["--server", "embedded", "--model-repository"]);
        command
            .arg(self.path("models"))
            .arg("--results")
            .arg(self.path("results"))
            .args(options);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A server of the same models, with its HTTP and gRPC addresses; it ends when its input does.
    pub fn other_server(&self) -> (Child, String, String) {
        let mut server = Command::new(env!("CARGO_BIN_EXE_runner"))
            .args([
                "serve",
                "--until-input-ends",
                "--http",
                "127.0.0.1:0",
                "--grpc",
                "127.0.0.1:0",
                "--model-repository",
            ])
            .arg(self.path("models"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let address = |protocol: &str| ready[protocol].as_str().unwrap().to_owned();
        (server, address("http"), address("grpc"))
    }

    pub fn newest(&self) -> Option<PathBuf> {
        let runs = fs::read_dir(self.path("results/echo")).ok()?;
        runs.map(|run| run.unwrap().path()).max()
    }

    /// What a report tells of the newest run in one of its sections.
    pub fn section(&self, name: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        let output = command
            .args(["report", "--section", name])
            .arg(self.newest().unwrap())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn records(&self) -> Vec<Record> {
        read(&self.newest().expect("no run").join(RECORDS)).unwrap()
    }

    /// Waits until the run has written a manifest.
    pub fn manifest_of_running(&self) -> Manifest {
        let found = (0..1200).find_map(|_| {
            sleep(Duration::from_millis(50));
            read_manifest(&self.newest()?).ok()
        });
        found.expect("no manifest within a minute")
    }
}

/// All that a run printed.
pub fn text(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Sends a process a signal, such as `-INT`.
#[cfg(unix)]
pub fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}
