//! The leader's side of the stream to a host: its clock, its workers, its answers, and whether it is still there. Must not know
//! what workers say, or how the stream came about.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::files::PIECE;
use super::lines::{self, Lines};
use super::message::{AnyHello, FromHost, Hello, Question, Reply, ToHost, Version, Wanted};
use super::offset::Offset;
use super::state::{Numbered, State, UNDER_WAY};
use crate::clock;
use crate::process::Ending;
use crate::text;

/// How long a host may take to greet.
const GREETING: Duration = Duration::from_secs(30);
/// A host that says nothing for this long is lost: it answers a ping every second.
const SILENCE: Duration = Duration::from_secs(20);
/// Pause between two signs of life.
const PULSE: Duration = Duration::from_secs(1);
/// Round trips by which a clock is compared before and after a block.
const TRIPS: u64 = 5;
/// How long an answer may take that is not a worker's.
const ANSWER: Duration = Duration::from_secs(90);
/// How long a host may take to end.
const ENDING: Duration = Duration::from_secs(10);
/// Bytes that a remote shell may print before the greeting.
const CHATTER_MAX: usize = 64 * 1024;

/// A stream to a host, before anything is known of it.
pub struct Stream {
    /// What the host says.
    pub input: Box<dyn AsyncBufRead + Send + Unpin>,
    /// What it is told.
    pub output: Box<dyn AsyncWrite + Send + Unpin>,
    /// The process that carries the stream, if one does.
    pub carrier: Option<Ending>,
}

/// A host that greeted.
pub struct Link {
    /// What it said of itself.
    pub hello: Hello,
    pub(super) state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

impl Link {
    /// Waits for the host's greeting. Without a name it is called what it calls itself.
    ///
    /// # Errors
    /// There is none, or it is another version of the program.
    pub async fn open(name: Option<&str>, stream: Stream) -> Result<Link> {
        let Stream { input, output, mut carrier } = stream;
        let mut lines = Lines::new(input);
        let greeting = match timeout(GREETING, greeting(&mut lines)).await {
            Ok(Greeting::Of(line)) => line,
            Ok(Greeting::None) => match &mut carrier {
                Some(carrier) => bail!("the connection ended {}", carrier.description().await),
                None => bail!("the connection ended before a greeting"),
            },
            Ok(Greeting::Chatter) => {
                bail!(
                    "it said more than {} KiB, and no greeting of the program: is its shell quiet?",
                    CHATTER_MAX / 1024
                )
            }
            Err(_) => bail!("no greeting within {} s", GREETING.as_secs()),
        };
        let AnyHello { hello: version } = serde_json::from_slice(&greeting).context("the greeting cannot be read")?;
        let own = Version::own();
        ensure!(
            version == own,
            "it runs version {} of the program, and this is {own}: install the same there, or let --ship copy it",
            text::name(&version.to_string())
        );
        let FromHost::Hello(hello) = serde_json::from_slice(&greeting).context("the greeting cannot be read")? else {
            bail!("the greeting cannot be read")
        };

        let (say, said) = mpsc::unbounded_channel();
        let (reply, replies) = mpsc::channel(UNDER_WAY);
        let state = Arc::new(State {
            name: name.map_or_else(OnceLock::new, |name| OnceLock::from(name.to_owned())),
            own_name: text::name(&hello.name),
            say,
            known: Mutex::default(),
            answered: watch::Sender::new(0),
            lost: watch::Sender::new(None),
            replies: tokio::sync::Mutex::new(replies),
        });
        let writer = tokio::spawn(async move {
            // a stream that takes no more is noticed by what is not heard
            let _ = lines::write_all(said, output).await;
        });
        let reader = read(state.clone(), lines, reply, carrier);
        // a stream that broke may never take what is written
        let unwritten = writer.abort_handle();
        let reader = tokio::spawn(async move {
            reader.await;
            unwritten.abort();
        });
        let pulse = tokio::spawn(pulse(state.clone()));
        let link = Link { hello, state, tasks: vec![writer, reader, pulse] };
        link.compare_clocks().await?;
        Ok(link)
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        self.state.name()
    }

    /// Calls it by a name that no other host has, unless it has one already.
    pub fn call(&self, name: &str) {
        let _ = self.state.name.set(name.to_owned());
    }

    /// Why the host is lost; `None` while it is there.
    pub fn lost(&self) -> Option<String> {
        self.state.lost.borrow().clone()
    }

    /// Compares the clocks now, by a few round trips. The offset is that of these alone.
    ///
    /// # Errors
    /// The host is lost.
    pub async fn compare_clocks(&self) -> Result<Offset> {
        let since = clock::shared_ns();
        let mut last = 0;
        for _ in 0..TRIPS {
            last = self.state.ping();
        }
        let mut answered = self.state.answered.subscribe();
        let mut lost = self.state.lost.subscribe();
        tokio::select! {
            _ = answered.wait_for(|answered| *answered >= last) => {}
            _ = lost.wait_for(Option::is_some) => {}
            // that it is lost is noticed first
            () = sleep(SILENCE + PULSE) => {}
        }
        let offset = self.state.known().trips.offset(since, clock::shared_ns());
        offset.ok_or_else(|| self.state.lost_error())
    }

    /// Its shortest round trip, in nanoseconds.
    pub fn round_trip_ns(&self) -> u64 {
        self.state.known().trips.shortest_ns().unwrap_or(0)
    }

    /// Makes sure that files are on the host. Returns where, in order.
    ///
    /// # Errors
    /// A file cannot be read here or written there, or the host is lost.
    pub async fn place(&self, wanted: &[Wanted]) -> Result<Vec<String>> {
        let Reply::Found(found) = self.ask(Question::Look(wanted.to_vec())).await? else {
            bail!("an answer out of turn")
        };
        let mut places = Vec::new();
        let mut sent: HashMap<&str, String> = HashMap::new();
        for (wanted, found) in wanted.iter().zip(found) {
            places.push(match (found, sent.get(wanted.sha256.as_str())) {
                (Some(place), _) => place,
                (None, Some(place)) => place.clone(),
                (None, None) => {
                    let place = self.send(wanted).await?;
                    sent.insert(&wanted.sha256, place.clone());
                    place
                }
            });
        }
        Ok(places)
    }

    async fn send(&self, wanted: &Wanted) -> Result<String> {
        let failed = || format!("{} cannot be read", wanted.path);
        let mut file = File::open(Path::new(&wanted.path)).with_context(failed)?;
        let mut left = file.metadata().with_context(failed)?.len();
        let mut piece = vec![0; PIECE];
        loop {
            let length = left.min(PIECE as u64) as usize;
            file.read_exact(&mut piece[..length]).with_context(failed)?;
            left -= length as u64;
            let bytes = STANDARD.encode(&piece[..length]);
            let piece = Question::Keep { sha256: wanted.sha256.clone(), bytes, is_last: left == 0 };
            match self.ask(piece).await? {
                Reply::Kept(Some(place)) if left == 0 => return Ok(place),
                Reply::Kept(None) if left > 0 => {}
                _ => bail!("an answer out of turn"),
            }
        }
    }

    /// Starts the embedded server there, with one model of this configuration. Returns its own line.
    ///
    /// # Errors
    /// It cannot be started, or the host is lost.
    pub async fn serve(&self, config: &str) -> Result<Box<RawValue>> {
        match self.ask(Question::Serve(config.to_owned())).await? {
            Reply::Serving(line) => Ok(line),
            _ => bail!("an answer out of turn"),
        }
    }

    /// Ends that server.
    ///
    /// # Errors
    /// The host is lost.
    pub async fn end_server(&self) -> Result<()> {
        self.ask(Question::EndServer).await.map(drop)
    }

    async fn ask(&self, question: Question) -> Result<Reply> {
        // one question at a time
        let mut replies = self.state.replies.lock().await;
        let number = self.state.next_question();
        self.state.say(&ToHost::Ask { number, question });
        let mut lost = self.state.lost.subscribe();
        let of_this = async {
            loop {
                match replies.recv().await {
                    // the answer to one that was given up
                    Some((other, _)) if other != number => {}
                    reply => return reply,
                }
            }
        };
        let reply = tokio::select! {
            reply = timeout(ANSWER, of_this) => reply,
            _ = lost.wait_for(Option::is_some) => return Err(self.state.lost_error()),
        };
        match reply {
            Ok(Some((_, answer))) => answer.map_err(|words| anyhow!("host {}: {words}", self.state.name())),
            Ok(None) => Err(self.state.lost_error()),
            Err(_) => bail!("host {}: no answer within {} s", self.state.name(), ANSWER.as_secs()),
        }
    }

    /// Lets the host end in order, and waits for it.
    pub async fn close(&self) {
        self.state.say(&ToHost::Bye);
        let mut lost = self.state.lost.subscribe();
        let _ = timeout(ENDING, lost.wait_for(Option::is_some)).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// What a host said first.
enum Greeting {
    /// The line with which the program greets.
    Of(Vec<u8>),
    /// The stream ended before.
    None,
    /// Too much else.
    Chatter,
}

/// The host's greeting. A remote shell may print something first.
async fn greeting(lines: &mut Lines<Box<dyn AsyncBufRead + Send + Unpin>>) -> Greeting {
    let mut chatter = 0;
    while let Ok(Some(line)) = lines.next().await {
        if line.starts_with(b"{\"hello\":") {
            return Greeting::Of(line);
        }
        chatter += line.len();
        if chatter > CHATTER_MAX {
            return Greeting::Chatter;
        }
    }
    Greeting::None
}

/// Reads until the host is lost.
async fn read(
    state: Arc<State>,
    mut lines: Lines<Box<dyn AsyncBufRead + Send + Unpin>>,
    reply: mpsc::Sender<Numbered>,
    mut carrier: Option<Ending>,
) {
    let words = loop {
        let line = match timeout(SILENCE, lines.next()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => break None,
            Ok(Err(error)) => break Some(format!("the connection failed: {error}")),
            Err(_) => break Some(format!("it said nothing for {} s", SILENCE.as_secs())),
        };
        let heard = serde_json::from_slice(&line).map_err(anyhow::Error::from);
        if let Err(error) = heard.and_then(|message| state.hear(message, &reply)) {
            break Some(format!("it said something that cannot be understood: {error:#}"));
        }
    };
    let words = match (words, &mut carrier) {
        (Some(words), _) => words,
        (None, Some(carrier)) => format!("the connection ended {}", carrier.description().await),
        (None, None) => "the connection ended".to_owned(),
    };
    if let Some(mut carrier) = carrier {
        carrier.kill().await;
    }
    state.lose(words);
}

/// Sends signs of life.
async fn pulse(state: Arc<State>) {
    loop {
        sleep(PULSE).await;
        // a host that does not answer is not asked for ever
        if state.known().pinged.len() < UNDER_WAY {
            state.ping();
        }
    }
}
