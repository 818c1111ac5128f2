//! A host's side: starts worker processes here for a leader elsewhere, and passes their messages on. Ends, and its workers with
//! it, when the leader is gone or says nothing more. Must not know what workers say.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::files::Files;
use super::lines::{self, Lines};
use super::message::{FromHost, Hello, Question, Reply, ToHost, line};
use crate::clock;
use crate::process::{self, Process};
use crate::text;

/// A leader that says nothing for this long is gone: it sends a sign of life every second.
const LEADER_SILENCE: Duration = Duration::from_secs(30);
/// What a host says when its leader ended without a goodbye, however the system tells it.
const GONE: &str = "the connection to the leader ended";
/// The only model of the embedded server here.
pub const MODEL: &str = "null";
/// How long the embedded server may take.
const SERVER_START: Duration = Duration::from_secs(60);

/// Works for the leader at the other end of a stream until it is gone.
///
/// # Errors
/// The leader is gone without a goodbye, or says what is no message.
pub async fn work(
    input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
    hello: Hello,
) -> Result<()> {
    let (say, said) = mpsc::unbounded_channel();
    let writer = tokio::spawn(lines::write_all(said, output));
    let mut agent = Agent { say, workers: HashMap::new(), files: Files::default(), server: None };
    agent.tell(&FromHost::Hello(hello))?;
    let mut lines = Lines::new(input);
    let ended = loop {
        // a leader that is cut off cannot say so
        match timeout(LEADER_SILENCE, lines.next()).await {
            Ok(Ok(Some(line))) => match agent.hear(&line).await {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            },
            Ok(Ok(None)) => break Err(anyhow!(GONE)),
            // one that was killed resets what it had not read
            Ok(Err(error)) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                break Err(anyhow!(GONE));
            }
            Ok(Err(error)) => break Err(error).context("the leader cannot be heard"),
            Err(_) => break Err(anyhow!("the leader said nothing for {} s", LEADER_SILENCE.as_secs())),
        }
    };
    // nobody listens any more
    writer.abort();
    agent.end().await;
    ended
}

struct Agent {
    say: mpsc::UnboundedSender<Vec<u8>>,
    workers: HashMap<u32, Started>,
    files: Files,
    server: Option<Server>,
}

/// A worker, and the way to it.
struct Started {
    tell: mpsc::UnboundedSender<Box<RawValue>>,
    task: JoinHandle<()>,
}

/// The embedded server, and its repository.
struct Server {
    process: Process,
    _repository: tempfile::TempDir,
}

impl Agent {
    fn tell(&self, message: &FromHost) -> Result<()> {
        self.say.send(line(message)?).ok().context(GONE)
    }

    /// Does what the leader says; false once it said goodbye.
    async fn hear(&mut self, line: &[u8]) -> Result<bool> {
        let message: ToHost = serde_json::from_slice(line).context("the leader said what is no message")?;
        let (number, answer) = match message {
            ToHost::Ping(number) => {
                let clock_ns = clock::shared_ns();
                self.tell(&FromHost::Pong { number, clock_ns })?;
                return Ok(true);
            }
            ToHost::Start(worker) => {
                let (tell, told) = mpsc::unbounded_channel();
                let task = tokio::spawn(keep(worker, told, self.say.clone()));
                self.workers.insert(worker, Started { tell, task });
                return Ok(true);
            }
            ToHost::Tell { worker, message } => {
                // one that ended has said so
                if let Some(started) = self.workers.get(&worker) {
                    let _ = started.tell.send(message);
                }
                return Ok(true);
            }
            ToHost::End(worker) => {
                self.workers.remove(&worker);
                return Ok(true);
            }
            ToHost::Bye => return Ok(false),
            ToHost::Ask { number, question } => (number, self.answer(question).await),
        };
        let answer = answer.map_err(|error| text::message(&format!("{error:#}")));
        self.tell(&FromHost::Reply { number, answer })?;
        Ok(true)
    }

    async fn answer(&mut self, question: Question) -> Result<Reply> {
        match question {
            Question::Look(wanted) => Ok(Reply::Found(self.files.look(&wanted))),
            Question::Keep { sha256, bytes, is_last } => self.files.add(&sha256, &bytes, is_last).map(Reply::Kept),
            Question::Serve(config) => self.serve(&config).await.map(Reply::Serving),
            Question::EndServer => {
                if let Some(server) = self.server.take() {
                    server.process.stop().await;
                }
                Ok(Reply::ServerEnded)
            }
        }
    }

    async fn serve(&mut self, config: &str) -> Result<Box<RawValue>> {
        let repository = process::repository_of(MODEL, config)?;
        let (process, line) = Process::serve(repository.path(), &[MODEL], SERVER_START).await?;
        self.server = Some(Server { process, _repository: repository });
        Ok(RawValue::from_string(line.trim().to_owned())?)
    }

    /// Ends everything that was started.
    async fn end(self) {
        let Agent { workers, server, say, .. } = self;
        drop(say);
        let tasks: Vec<_> = workers.into_values().map(|started| started.task).collect();
        for task in tasks {
            let _ = task.await;
        }
        if let Some(server) = server {
            server.process.stop().await;
        }
    }
}

/// Keeps a worker process until nobody has anything to tell it any more, and passes on what it says.
async fn keep(worker: u32, mut told: mpsc::UnboundedReceiver<Box<RawValue>>, say: mpsc::UnboundedSender<Vec<u8>>) {
    let how = match Process::start(&[OsStr::new("worker")]) {
        Ok(process) => pass_on(worker, process, &mut told, &say).await,
        Err(error) => format!("cannot be started: {error:#}"),
    };
    if let Ok(line) = line(&FromHost::Ended { worker, how }) {
        let _ = say.send(line);
    }
}

/// Passes messages on until the worker or its task ends; how it ended.
async fn pass_on(
    worker: u32,
    process: Process,
    told: &mut mpsc::UnboundedReceiver<Box<RawValue>>,
    say: &mpsc::UnboundedSender<Vec<u8>>,
) -> String {
    let Process { mut input, output, mut ending } = process;
    let mut lines = Lines::new(output);
    loop {
        tokio::select! {
            message = told.recv() => {
                let Some(message) = message else {
                    drop(input);
                    ending.wait().await;
                    return String::new();
                };
                // one that died is told when its messages end, with the reason
                let _ = input.write_all(format!("{}\n", message.get()).as_bytes()).await;
            }
            read = lines.next() => {
                let message = match read {
                    Ok(Some(line)) => String::from_utf8(line).ok().and_then(|line| RawValue::from_string(line).ok()),
                    Ok(None) => return format!("died {}", ending.description().await),
                    Err(_) => None,
                };
                let Some(message) = message else {
                    ending.kill().await;
                    return "said something that cannot be read, and was killed".to_owned();
                };
                let Ok(line) = line(&FromHost::Said { worker, message }) else { continue };
                if say.send(line).is_err() {
                    drop(input);
                    ending.wait().await;
                    return String::new();
                }
            }
        }
    }
}
