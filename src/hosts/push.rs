//! Hosts that this machine reaches by ssh: the user's own client and configuration carry the stream. Must not know what goes
//! over it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::files::hex;
use super::link::{Link, Stream};
use crate::process::{self, Process};
use crate::text;

/// The name of this machine among hosts, which needs no ssh.
pub const THIS_MACHINE: &str = "localhost";
/// How long a host may take to tell its architecture.
const TELLING: Duration = Duration::from_secs(30);
/// How long the program may take to be copied.
const COPYING: Duration = Duration::from_secs(600);

/// How hosts are reached.
#[derive(Clone, Debug)]
pub struct Push {
    /// The command; a host's name and one more argument, a line for its shell, follow.
    pub ssh: Vec<String>,
    /// The program's path on the hosts.
    pub program: String,
    /// Whether to copy this program to the hosts first.
    pub ship: bool,
}

impl Push {
    /// Starts the program on a host, and waits for its greeting.
    ///
    /// # Errors
    /// The host cannot be reached, or the program is not there.
    pub async fn open(&self, host: &str, own: &OnceCell<Own>) -> Result<Link> {
        let reached = async {
            if host == THIS_MACHINE {
                return here(Some(host)).await;
            }
            let program = match self.ship {
                true => quoted(&self.copied(host, own.get_or_try_init(Own::read).await?).await?),
                false => quoted(&self.program),
            };
            Link::open(Some(host), over(self.run(host, &format!("exec {program} worker --host"))?)).await
        };
        let hint = || match self.ship || host == THIS_MACHINE {
            true => format!("host {host} cannot be used"),
            false => format!(
                "host {host} cannot be used (the program is expected there as {}: program in [hosts] names another path, and \
                 --ship copies this one)",
                self.program
            ),
        };
        reached.await.with_context(hint)
    }

    /// Runs a line on a host by a POSIX shell, whatever the user's own is there.
    fn run(&self, host: &str, line: &str) -> Result<Process> {
        let mut command = self.ssh.clone();
        command.extend([host.to_owned(), format!("exec sh -c {}", quoted(line))]);
        Process::of(&command)
    }

    /// Copies this program to a host, unless the same one is there. Returns its path there.
    async fn copied(&self, host: &str, own: &Own) -> Result<String> {
        let file = format!("runner-{}", &own.sha256[..32]);
        let look = format!(
            "d=\"${{XDG_CACHE_HOME:-$HOME/.cache}}/runner\"; uname -sm; printf '%s\\n' \"$d/{file}\"; test -x \"$d/{file}\" && echo there"
        );
        // the last command's status says whether it is there
        let told = self.run(host, &format!("{look}; true"))?.exchange(&[], TELLING).await?;
        let mut lines = told.lines().map(str::trim);
        // a shell may greet first
        let kind = lines.by_ref().find(|line| *line == own.kind || looks_like_a_kind(line));
        let Some(kind) = kind else {
            bail!("it does not tell its architecture: {}", text::message(&told))
        };
        ensure!(kind == own.kind, "--ship: it is {}, and this program is for {}", text::name(kind), own.kind);
        let path = lines.next().context("it does not tell where the program may go")?.to_owned();
        if lines.next() == Some("there") {
            return Ok(path);
        }
        let program = std::fs::read(&own.path).context("the program's own file cannot be read")?;
        let place = quoted(&path);
        // whole or not at all, whoever copies at the same time, and however the connection ends
        let copy = format!(
            "umask 077; p={place}; t=\"$p.$$\"; mkdir -p \"${{p%/*}}\" && cat > \"$t\" && [ \"$(wc -c < \"$t\")\" -eq {} ] \
             && chmod 700 \"$t\" && mv \"$t\" \"$p\" || {{ rm -f \"$t\"; exit 1; }}",
            program.len()
        );
        self.run(host, &copy)?
            .exchange(&program, COPYING)
            .await
            .with_context(|| format!("--ship: the program cannot be copied to {}", text::name(&path)))?;
        Ok(path)
    }
}

/// Starts the program on this machine as on any other host. Without a name it is called what it calls itself.
///
/// # Errors
/// It cannot be started.
pub async fn here(name: Option<&str>) -> Result<Link> {
    Link::open(name, over(Process::start(&["worker", "--host"].map(std::ffi::OsStr::new))?)).await
}

fn over(process: Process) -> Stream {
    let Process { input, output, ending } = process;
    Stream { input: Box::new(output), output: Box::new(input), carrier: Some(ending) }
}

/// This program's file.
pub struct Own {
    path: std::path::PathBuf,
    sha256: String,
    /// System and architecture, as `uname -sm` says them.
    kind: String,
}

impl Own {
    async fn read() -> Result<Own> {
        let path = process::own_file()?;
        let bytes = std::fs::read(&path).context("the program's own file cannot be read")?;
        let sha256 = hex(&Sha256::digest(&bytes));
        let kind = process::output(&["uname", "-sm"]).await.context("this machine has no `uname`")?;
        Ok(Own { path, sha256, kind: kind.trim().to_owned() })
    }
}

/// `Linux x86_64`.
fn looks_like_a_kind(line: &str) -> bool {
    let mut words = line.split(' ');
    let systems = ["Linux", "Darwin", "FreeBSD", "OpenBSD", "NetBSD", "SunOS"];
    words.next().is_some_and(|system| systems.contains(&system)) && words.count() == 1
}

/// A path as one word of a shell's line; a leading `~/` stays the user's home.
fn quoted(path: &str) -> String {
    match path.strip_prefix("~/") {
        Some(rest) => format!("~/{}", quoted(rest)),
        None => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_whatever_is_in_it() {
        assert_eq!(quoted("runner"), "'runner'");
        assert_eq!(quoted("~/my bin/runner"), "~/'my bin/runner'");
        assert_eq!(quoted("a'; rm -rf /"), "'a'\\''; rm -rf /'");
    }

    #[test]
    fn architectures_are_told_from_greetings() {
        assert!(looks_like_a_kind("Linux x86_64") && looks_like_a_kind("Darwin arm64"));
        assert!(!looks_like_a_kind("Welcome to Linux") && !looks_like_a_kind("Linux host 6.1 #1"));
    }
}
