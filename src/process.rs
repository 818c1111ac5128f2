//! Processes of this same program (workers, the embedded server), and other programs: those that describe the machine, and
//! the user's ssh. Only this module starts processes. Must not know the messages to them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::text;

/// Configurations with the label of the weights, which `models` writes.
const CONFIGURATIONS: &str = "labelled";
/// How long a process may take to end.
const ENDING: Duration = Duration::from_secs(5);
/// Longest part of a process's standard error that is kept.
const STDERR_MAX: usize = 16 * 1024;
/// How long the end of its standard error is waited for once it has ended: what it started may go on and keep it open, as ssh
/// does that shares its connection.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A child that ends when its input does, whatever becomes of its parent.
pub struct Process {
    /// Its standard input.
    pub input: ChildStdin,
    /// Its standard output.
    pub output: BufReader<ChildStdout>,
    /// How it ends.
    pub ending: Ending,
}

/// How a child ends. Dropped, it is killed.
pub struct Ending {
    child: Child,
    stderr: Option<Words>,
}

/// What a process says on its standard error, and the task that reads it.
struct Words {
    so_far: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Words {
    fn read(mut stderr: ChildStderr) -> Self {
        let so_far = Arc::<Mutex<Vec<u8>>>::default();
        let words = so_far.clone();
        let reading = tokio::spawn(async move {
            let mut piece = [0; 1024];
            // to its end: a process would block if nobody read its output
            while let Ok(length @ 1..) = stderr.read(&mut piece).await {
                let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                let room = STDERR_MAX - words.len();
                words.extend_from_slice(&piece[..length.min(room)]);
            }
        });
        Words { so_far, reading }
    }

    async fn text(mut self) -> String {
        let _ = timeout(LAST_WORDS, &mut self.reading).await;
        String::from_utf8_lossy(&self.so_far.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Process {
    /// Starts this program with other arguments.
    ///
    /// # Errors
    /// The system starts no process.
    pub fn start(arguments: &[&OsStr]) -> Result<Self> {
        let mut command = Command::new(own_file()?);
        command.args(arguments);
        Process::spawn(command)
    }

    /// Starts this program's own server, which serves some models of a repository at free ports of the loopback interface until its
    /// input ends. Returns it with the line of JSON that it prints once it is ready.
    ///
    /// # Errors
    /// It does not start, or is not ready within `limit`.
    pub async fn serve(repository: &Path, models: &[impl AsRef<OsStr>], limit: Duration) -> Result<(Self, String)> {
        let fixed =
            ["serve", "--until-input-ends", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--model-config-name"];
        let mut arguments: Vec<&OsStr> = fixed.into_iter().chain([CONFIGURATIONS]).map(OsStr::new).collect();
        arguments.extend([OsStr::new("--model-repository"), repository.as_os_str()]);
        for model in models {
            arguments.extend([OsStr::new("--load-model"), model.as_ref()]);
        }
        let mut process = Process::start(&arguments)?;
        let mut line = String::new();
        match timeout(limit, process.output.read_line(&mut line)).await {
            Ok(Ok(length)) if length > 0 => Ok((process, line)),
            Ok(_) => bail!("the embedded server ended {}", process.ending.description().await),
            Err(_) => bail!("the embedded server was not ready within {} s", limit.as_secs()),
        }
    }

    /// Starts another program that ends when its input does.
    ///
    /// # Errors
    /// The command is empty, or the program is not there.
    pub fn of(command: &[String]) -> Result<Self> {
        let (program, arguments) = command.split_first().context("the command is empty")?;
        let mut command = Command::new(program);
        command.args(arguments);
        Process::spawn(command).with_context(|| format!("{program} cannot be started"))
    }

    /// Starts a command whose process ends when its input does.
    ///
    /// # Errors
    /// The system starts no process.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C in a terminal reaches the parent alone, which ends the run in order
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().context("the system starts no process")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take().map(Words::read);
        Ok(Process {
            input: input.context("the process has no input")?,
            output: BufReader::new(output.context("the process has no output")?),
            ending: Ending { child, stderr },
        })
    }

    /// Lets it end in order and waits for it; kills it if it does not end.
    pub async fn stop(self) {
        let Process { input, ending, .. } = self;
        drop(input);
        ending.wait().await;
    }

    /// Lets it read `input`, and returns what it prints once it has ended well.
    ///
    /// # Errors
    /// It did not end well, or not within `limit`: its words.
    pub async fn exchange(self, input: &[u8], limit: Duration) -> Result<String> {
        let Process { input: mut pipe, mut output, mut ending } = self;
        let told = async {
            // what it does not read, it does not need
            let _ = pipe.write_all(input).await;
            drop(pipe);
            let mut told = Vec::new();
            (&mut output).take(TOLD_MAX).read_to_end(&mut told).await?;
            Ok::<_, std::io::Error>(told)
        };
        let told = timeout(limit, told)
            .await
            .with_context(|| format!("no answer within {} s", limit.as_secs()))??;
        let is_well = timeout(ENDING, ending.child.wait()).await;
        ensure!(
            is_well.is_ok_and(|status| status.is_ok_and(|status| status.success())),
            "{}",
            ending.description().await
        );
        Ok(String::from_utf8_lossy(&told).into_owned())
    }
}

impl Ending {
    /// Waits until it has ended; kills it if it does not end.
    pub async fn wait(mut self) {
        if timeout(ENDING, self.child.wait()).await.is_err() {
            self.kill().await;
        }
    }

    /// Its identifier, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        let _ = self.child.kill().await;
    }

    /// Describes how a process that fell silent ended, with its standard error, fit to be shown.
    pub async fn description(&mut self) -> String {
        let status = match timeout(ENDING, self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => {
                self.kill().await;
                "closed its output".to_owned()
            }
        };
        let words = match self.stderr.take() {
            Some(words) => words.text().await,
            None => String::new(),
        };
        let words = reason(&words);
        format!("({status}){}{words}", if words.is_empty() { "" } else { ": " })
    }
}

/// Why a process ended, from its standard error: a panic's message, without its backtrace for developers.
fn reason(stderr: &str) -> String {
    let lines = stderr.lines().map(str::trim).take_while(|line| !line.starts_with("stack backtrace"));
    text::message(&lines.filter(|line| !line.starts_with("note:")).collect::<Vec<_>>().join(" "))
}

/// A repository of one model with this configuration, for [`Process::serve`].
///
/// # Errors
/// It cannot be written.
pub fn repository_of(model: &str, config: &str) -> Result<TempDir> {
    let failed = "cannot make a folder for a model: is the disk full?";
    let repository = tempfile::tempdir().context(failed)?;
    let folder = repository.path().join(model);
    std::fs::create_dir_all(folder.join("1")).context(failed)?;
    std::fs::write(folder.join("config.pbtxt"), config).context(failed)?;
    Ok(repository)
}

/// Signals that end a program, kept from ending this one.
pub struct Outlived {
    #[cfg(unix)]
    _signals: Vec<tokio::signal::unix::Signal>,
}

/// Keeps signals that end a program from ending this one, whose life is that of its input: a launcher that stops a job tells every
/// process of it, and a worker must not end before its parent has heard of it. Needs a runtime.
pub fn outlive_signals() -> Outlived {
    Outlived {
        #[cfg(unix)]
        _signals: {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            // whoever listens is not ended
            kinds.into_iter().filter_map(|kind| signal(kind).ok()).collect()
        },
    }
}

/// This program's file.
///
/// # Errors
/// The system does not tell.
pub fn own_file() -> Result<std::path::PathBuf> {
    std::env::current_exe().context("the program's own file cannot be found")
}

/// How long another program may take to answer.
const TELLING: Duration = Duration::from_secs(3);
/// Longest output of it that is read.
const TOLD_MAX: u64 = 64 * 1024;

/// Runs another program and returns its output; `None` if it does not exist, fails, prints more than is read, or
/// takes too long.
pub async fn output(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().ok()?;
    let stdout = child.stdout.take()?;
    let told = async {
        let mut text = Vec::new();
        stdout.take(TOLD_MAX).read_to_end(&mut text).await.ok()?;
        let status = child.wait().await.ok()?;
        status.success().then(|| String::from_utf8_lossy(&text).into_owned())
    };
    timeout(TELLING, told).await.ok()?
}

/// Keeps this process's memory from ever being written to a file when it crashes: headers that hold a secret are in it, and
/// the environment that they come from. Children start without the second of the two, and have to ask for it themselves.
pub fn forbid_core_dumps() {
    #[cfg(unix)]
    {
        use nix::sys::resource::{Resource, setrlimit};
        // lowering a limit is always allowed
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    }
    // the limit does not hold where the system hands dumps to another program, as systemd and Ubuntu do
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Restarts the program as the same process, with a cap on the mmap threshold of glibc's allocator. Returns if that
/// is done or impossible: the server then needs more memory, and is otherwise the same.
///
/// Memory above the threshold returns to the system as soon as it is free. Left alone, glibc raises the threshold to
/// the size of a model's largest activations, whose holes then stay with each thread that executes.
pub fn cap_mmap_threshold() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use std::env;
        use std::os::unix::process::CommandExt;

        const THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
        const BYTES: &str = "1048576";

        // glibc reads it when a process begins; what the user has set stays
        if env::var_os(THRESHOLD).is_some() {
            return;
        }
        let mut arguments = env::args_os();
        if let (Ok(program), Some(name)) = (env::current_exe(), arguments.next()) {
            let _ = std::process::Command::new(program)
                .arg0(name)
                .args(arguments)
                .env(THRESHOLD, BYTES)
                .exec();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn what_another_program_prints_is_read_if_it_ends_well() {
        let output = async |script: &str| output(&["sh", "-c", script]).await;
        assert_eq!(output("echo a; echo b >&2").await.as_deref(), Some("a\n"));
        assert_eq!(output("echo a; exit 3").await, None);
        assert_eq!(output("head -c 1000000 /dev/zero").await, None);
        assert_eq!(super::output(&["no-such-program"]).await, None);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn the_last_words_are_told_though_another_process_keeps_them_open() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat <&0 >/dev/null & echo no route >&2; exit 255"]);
        let Process { input, mut ending, .. } = Process::spawn(command).unwrap();
        assert_eq!(ending.description().await, "(exit status: 255): no route");
        // that process ends with this
        drop(input);
    }

    #[test]
    fn a_panic_is_told_without_its_backtrace() {
        let stderr =
            "\nthread 'main' panicked at src/a.rs:1:\n\x1b[31mno \u{202e}way\nstack backtrace:\n   0: a\n   1: b\n";
        assert_eq!(reason(stderr), "thread 'main' panicked at src/a.rs:1: \u{FFFD}[31mno \u{FFFD}way");
        assert_eq!(reason("note: run with `RUST_BACKTRACE=1`\n"), "");
        assert!(reason(&"x".repeat(16_000)).chars().count() <= text::MESSAGE_MAX);
    }
}
