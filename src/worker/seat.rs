//! A worker as its parent sees it: a process of this machine, or one on another host. What it says is read with a bound on time
//! and length; one that dies is told, and one that hangs is killed.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::value::to_raw_value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::message::{FromWorker, Job, ToWorker};
use crate::hosts::Places;
use crate::hosts::link::Link;
use crate::hosts::message::LINE_MAX;
use crate::hosts::remote::{Heard, RemoteWorker};
use crate::process::Process;
use crate::protocol::{Fault, FaultKind};

/// The reason why a case cannot go on.
#[derive(Clone, Debug)]
pub enum PoolError {
    /// The user asked to stop.
    Interrupted,
    /// A worker could not do its job.
    Failed(Fault),
}

impl From<anyhow::Error> for PoolError {
    fn from(error: anyhow::Error) -> Self {
        PoolError::Failed(Fault::new(FaultKind::Transport, format!("{error:#}")))
    }
}

/// The longest message of a worker, in bytes: many times what its histograms take.
const MESSAGE_MAX: u64 = LINE_MAX;

/// A worker on another host may be silent for so much longer: if its host is, that is noticed first, and says more.
const FIRST: Duration = Duration::from_secs(5);

/// Where a worker is to be.
#[derive(Clone)]
pub enum Seat {
    /// On this machine.
    Here,
    /// On another host.
    On {
        /// The host.
        link: Arc<Link>,
        /// Data files, where they are here and there.
        files: Arc<Places>,
    },
}

impl Seat {
    /// So many workers on this machine.
    pub fn here(processes: u32) -> Vec<Seat> {
        vec![Seat::Here; processes as usize]
    }

    /// The name of the host, if that is another.
    pub fn host(&self) -> Option<&str> {
        match self {
            Seat::Here => None,
            Seat::On { link, .. } => Some(link.name()),
        }
    }

    /// A job as a worker here does it.
    pub(super) fn job(&self, job: &Job) -> Job {
        match self {
            Seat::Here => job.clone(),
            Seat::On { files, .. } => {
                let mut job = job.clone().with_files(files);
                // which of a name's addresses answers is each host's own to find out
                job.address.peer = None;
                job
            }
        }
    }
}

/// A worker.
pub(super) enum Worker {
    Here(Box<Process>),
    There(RemoteWorker),
}

impl Worker {
    pub fn start(seat: &Seat) -> Result<Self> {
        match seat {
            Seat::Here => Ok(Worker::Here(Box::new(Process::start(&[OsStr::new("worker")])?))),
            Seat::On { link, .. } => Ok(Worker::There(RemoteWorker::start(link))),
        }
    }

    /// The host it is on, if that is another.
    pub fn link(&self) -> Option<&Arc<Link>> {
        match self {
            Worker::Here(_) => None,
            Worker::There(worker) => Some(worker.link()),
        }
    }

    /// The name of that host.
    pub fn host(&self) -> Option<&str> {
        self.link().map(|link| link.name())
    }

    pub async fn send(&mut self, message: &ToWorker) -> Result<()> {
        match self {
            Worker::Here(process) => {
                let mut line = serde_json::to_vec(message)?;
                line.push(b'\n');
                // a worker that died is reported when its messages end, with the reason
                let _ = process.input.write_all(&line).await;
            }
            Worker::There(worker) => worker.tell(to_raw_value(message)?),
        }
        Ok(())
    }

    /// Waits for a message. A worker that is silent for too long, or says what is none, is killed.
    pub async fn receive(&mut self, silence: Duration, stop: &watch::Receiver<bool>) -> Result<FromWorker, PoolError> {
        let mut stop = stop.clone();
        tokio::select! {
            received = self.next(silence) => received.map_err(PoolError::Failed),
            _ = stop.wait_for(|stop| *stop) => Err(PoolError::Interrupted),
        }
    }

    async fn next(&mut self, silence: Duration) -> Result<FromWorker, Fault> {
        match self {
            Worker::Here(process) => next_of(process, silence).await,
            Worker::There(worker) => {
                let silence = silence + FIRST;
                match timeout(silence, worker.hear()).await {
                    Ok(Heard::Said(message)) => {
                        serde_json::from_str(message.get()).map_err(|error| unreadable(&error.to_string()))
                    }
                    Ok(Heard::Ended(how)) => {
                        let how = if how.is_empty() { "ended" } else { &how };
                        Err(Fault::new(FaultKind::Transport, format!("a worker process {how}")))
                    }
                    Ok(Heard::Lost(words)) => Err(Fault::new(FaultKind::Transport, words)),
                    Err(_) => Err(silent(silence)),
                }
            }
        }
    }

    /// Lets it end in order, and waits for it.
    pub async fn stop(self) {
        match self {
            Worker::Here(process) => process.stop().await,
            Worker::There(worker) => worker.stop().await,
        }
    }

    /// An error with the name of the worker, if there are several.
    pub fn named(&self, error: PoolError, index: usize, processes: u32) -> PoolError {
        let host = self.host().map_or(String::new(), |host| format!(" on host {host}"));
        // a host that is lost has lost them all, and the words have its name
        let is_lost = self.link().is_some_and(|link| link.lost().is_some());
        match error {
            PoolError::Failed(fault) if is_lost => PoolError::Failed(fault),
            PoolError::Failed(fault) if processes > 1 || !host.is_empty() => {
                let message = format!("process {} of {processes}{host}: {}", index + 1, fault.message);
                PoolError::Failed(Fault { message, ..fault })
            }
            other => other,
        }
    }
}

fn silent(silence: Duration) -> Fault {
    let words = format!("a worker said nothing for {} s and was killed", silence.as_secs());
    Fault::new(FaultKind::Timeout, words)
}

fn unreadable(cause: &str) -> Fault {
    let words = format!("a worker said something that cannot be read, and was killed: {cause}");
    Fault::new(FaultKind::Transport, words)
}

/// The next message of a process.
async fn next_of(process: &mut Process, silence: Duration) -> Result<FromWorker, Fault> {
    let mut line = String::new();
    let read = timeout(silence, (&mut process.output).take(MESSAGE_MAX).read_line(&mut line)).await;
    let fault = match read {
        Ok(Ok(length)) if length > 0 => match serde_json::from_str(&line) {
            Ok(message) => return Ok(message),
            // its process may have ended within a message, and says why
            Err(_) if !line.ends_with('\n') && (length as u64) < MESSAGE_MAX => return Err(ended(process).await),
            Err(error) => unreadable(&error.to_string()),
        },
        Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => unreadable("it is no text"),
        Ok(_) => return Err(ended(process).await),
        Err(_) => silent(silence),
    };
    process.ending.kill().await;
    Err(fault)
}

/// The error for a worker whose output ended.
async fn ended(process: &mut Process) -> Fault {
    let words = format!("a worker process died {}", process.ending.description().await);
    Fault::new(FaultKind::Transport, words)
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use tokio::process::Command;

    use super::*;

    /// What the parent makes of a worker that does this, and its process identifier.
    async fn heard(script: &str, silence: Duration) -> (String, u32) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let process = Process::spawn(command).unwrap();
        let id = process.ending.id().unwrap();
        let mut worker = Worker::Here(Box::new(process));
        let (_keep, stop) = watch::channel(false);
        match worker.receive(silence, &stop).await {
            Err(PoolError::Failed(fault)) => (fault.message, id),
            other => panic!("{script}: {other:?}"),
        }
    }

    fn is_there(id: u32) -> bool {
        std::fs::exists(format!("/proc/{id}")).unwrap()
    }

    #[tokio::test]
    async fn what_is_no_message_of_a_worker_is_told_and_the_worker_killed() {
        const LONG: Duration = Duration::from_secs(120);
        for (script, words) in [
            ("printf '\\033[2Jgarbage\\n'; cat", "a worker said something that cannot be read, and was killed: "),
            (
                "printf '\\377\\376\\n'; cat",
                "a worker said something that cannot be read, and was killed: it is no text",
            ),
            // without end
            ("cat /dev/zero", "a worker said something that cannot be read, and was killed: "),
            (
                "printf '{\"rea'; echo 'out of memory' >&2; exit 3",
                "a worker process died (exit status: 3): out of memory",
            ),
            ("exit 0", "a worker process died (exit status: 0)"),
        ] {
            let (told, id) = heard(script, LONG).await;
            assert!(told.starts_with(words) && !told.contains('\x1b'), "{script}: {told}");
            assert!(!is_there(id), "{script}");
        }
    }

    #[tokio::test]
    async fn a_worker_that_says_nothing_is_killed() {
        let (told, id) = heard("cat", Duration::from_secs(1)).await;
        assert_eq!(told, "a worker said nothing for 1 s and was killed");
        assert!(!is_there(id));
    }
}
