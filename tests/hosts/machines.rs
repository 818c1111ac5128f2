//! Hosts that are all this machine, and what tests see of their processes.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::{self, JoinHandle, sleep};
use std::time::Duration;

use runner::record::{BLOCKS, HOSTS, HostRecord, read};

use crate::case::Case;

/// The program, which stands at the same place on all hosts.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_runner");

/// A case whose hosts are reached by a stand-in for ssh.
pub struct Lab {
    pub case: Case,
}

impl Lab {
    /// With these hosts, and with `lines` in their table, which may name another program.
    pub fn new(parameters: &str, scenario: &str, names: &[&str], lines: &str) -> Self {
        let lab = Lab { case: Case::new(parameters, scenario) };
        let program = if lines.contains("program = ") {
            String::new()
        } else {
            format!("program = {PROGRAM:?}\n")
        };
        let ssh = lab.case.path("ssh");
        let table = format!("[hosts]\nnames = {names:?}\nssh = [{ssh:?}]\n{program}{lines}\n");
        fs::write(lab.case.path("echo.toml"), format!("{scenario}{table}")).unwrap();
        lab.ssh("");
        lab
    }

    /// Has the stand-in do this first; `$host` is the host's name. It notes its process, which becomes that of the line.
    pub fn ssh(&self, first: &str) {
        let notes = self.case.path("pid");
        let script =
            format!("#!/bin/sh\nhost=$1\necho $$ >> '{}'-\"$host\"\n{first}\nexec sh -c \"$2\"\n", notes.display());
        write_program(&self.case.path("ssh"), &script);
    }

    /// The processes that the stand-in became on a host.
    pub fn started(&self, host: &str) -> Vec<u32> {
        let notes = fs::read_to_string(self.case.path(&format!("pid-{host}"))).unwrap_or_default();
        notes.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The program that starts workers on a host.
    pub fn agent(&self, host: &str) -> u32 {
        *self.started(host).last().expect("the host was not reached")
    }

    pub fn run(&self, options: &[&str]) -> Output {
        self.case.command(options).output().unwrap()
    }

    /// The same by another file of the program.
    pub fn run_as(&self, program: &Path, options: &[&str]) -> Output {
        Command::new(program).args(self.case.command(options).get_args()).output().unwrap()
    }

    pub fn host_rows(&self) -> Vec<HostRecord> {
        read(&self.case.newest().expect("no run").join(HOSTS)).unwrap()
    }
}

/// A leader that waits for hosts which connect.
pub struct Leader {
    pub run: Child,
    /// Where it listens.
    pub address: String,
    errors: JoinHandle<Vec<u8>>,
}

impl Leader {
    /// Of so many hosts, once it listens.
    pub fn start(case: &Case, hosts: usize, token: &str, options: &[&str]) -> Self {
        let mut command = case.command(options);
        command.args(["--listen", "127.0.0.1:0", "--wait-for", &hosts.to_string()]);
        Leader::of(command, hosts, token)
    }

    /// By a command that has it listen.
    pub fn of(mut command: Command, hosts: usize, token: &str) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut run = command.env("RUNNER_TOKEN", token).spawn().unwrap();
        let mut errors = BufReader::new(run.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix(&format!("waiting for {hosts} hosts at "))
            .and_then(|rest| rest.split_once(": "));
        let address = address.unwrap_or_else(|| panic!("{line}")).0.to_owned();
        let errors = thread::spawn(move || {
            let mut all = line.into_bytes();
            errors.read_to_end(&mut all).unwrap();
            all
        });
        Leader { run, address, errors }
    }

    /// What it printed, once it has ended.
    pub fn output(self) -> Output {
        let Leader { run, errors, .. } = self;
        let output = output_of(run);
        Output { stderr: errors.join().unwrap(), ..output }
    }
}

/// A machine of this name that connects to a leader.
pub fn host(name: &str, leader: &str, token: &str) -> Child {
    let mut command = Command::new(PROGRAM);
    command
        .args(["worker", "--connect", leader])
        .env("RUNNER_TOKEN", token)
        .env("SLURMD_NODENAME", name);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Writes a script that can be started. Another thread may start a process meanwhile, which has the file open for writing until it
/// is the other program: so it is another process that writes.
pub fn write_program(path: &Path, text: &str) {
    let draft = path.with_extension("draft");
    fs::write(&draft, text).unwrap();
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).unwrap();
    let status = Command::new("cp").arg("-p").args([&draft, path]).status();
    assert!(status.unwrap().success());
}

/// Waits until something is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let found = (0..6000).find_map(|_| {
        sleep(Duration::from_millis(10));
        look()
    });
    found.unwrap_or_else(|| panic!("{what}: not within a minute"))
}

/// Waits until some blocks are on disk, and returns the run's folder.
pub fn under_way(case: &Case, blocks: usize) -> PathBuf {
    wait_for("blocks", || {
        let run = case.newest()?;
        let written = fs::read_to_string(run.join(BLOCKS)).ok()?;
        (written.lines().count() > blocks).then_some(run)
    })
}

/// The process identifiers of a process's children.
pub fn children_of(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Those of all processes that come from it.
pub fn descendants_of(pid: u32) -> Vec<u32> {
    let mut found = children_of(pid);
    let mut next = 0;
    while next < found.len() {
        found.extend(children_of(found[next]));
        next += 1;
    }
    found
}

/// Whether a process is there; one that ended and that its parent has not asked for is not.
pub fn is_there(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

/// Waits until none of these processes is there.
pub fn all_end(pids: &[u32]) {
    wait_for("the end of all processes", || (!pids.iter().any(|pid| is_there(*pid))).then_some(()));
}

/// What a process that ends within a minute printed.
pub fn output_of(child: Child) -> Output {
    let pid = child.id();
    let (say, said) = mpsc::channel();
    thread::spawn(move || say.send(child.wait_with_output().unwrap()));
    said.recv_timeout(Duration::from_secs(60))
        .unwrap_or_else(|_| panic!("process {pid} does not end: {}", words_of(pid)))
}

/// The words by which a process was started.
pub fn words_of(pid: u32) -> String {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&words).replace('\0', " ")
}
