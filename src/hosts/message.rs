//! Messages between the leader and a host, as JSON lines over a stream. What workers say is passed on as it is. Must not know
//! what the stream is, or what workers say.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::rank::Rank;
use crate::environment::Environment;

/// The longest line, in bytes: a worker's longest message.
pub const LINE_MAX: u64 = 64 * 1024 * 1024;

/// From the leader to a host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToHost {
    /// Say what your clock shows. Also a sign of life, once a second.
    Ping(u64),
    /// Start a worker process of this number.
    Start(u32),
    /// Pass a message on to a worker.
    Tell {
        /// Its number.
        worker: u32,
        /// A line of JSON.
        message: Box<RawValue>,
    },
    /// Let a worker end, and say when it has.
    End(u32),
    /// Answer a question.
    Ask {
        /// Its number, which the answer has too: of a question that was given up nobody waits for the answer.
        number: u64,
        /// The question.
        question: Question,
    },
    /// End, and all workers with you.
    Bye,
}

/// What the leader asks of a host.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Look for files of this content.
    Look(Vec<Wanted>),
    /// Keep the next piece of a file that was not there.
    Keep {
        /// Its SHA-256, in hexadecimal.
        sha256: String,
        /// Bytes, in base64.
        bytes: String,
        /// Whether the file ends here.
        is_last: bool,
    },
    /// Run the embedded server with one model of this configuration, in the text format of protocol buffers.
    Serve(String),
    /// End that server.
    EndServer,
}

/// A file that workers will read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its path on the leader's machine, where a host that shares its disk finds it too.
    pub path: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// From a host to the leader.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum FromHost {
    /// The first message.
    Hello(Hello),
    /// The answer to a ping.
    Pong {
        /// The ping's number.
        number: u64,
        /// The host's shared clock, in nanoseconds.
        clock_ns: u64,
    },
    /// A worker's message.
    Said {
        /// Its number.
        worker: u32,
        /// A line of JSON.
        message: Box<RawValue>,
    },
    /// A worker has ended, or cannot be started.
    Ended {
        /// Its number.
        worker: u32,
        /// How, in words.
        how: String,
    },
    /// The answer to a question.
    Reply {
        /// The question's number.
        number: u64,
        /// The answer, or why there is none.
        answer: Result<Reply, String>,
    },
}

/// An answer to the leader.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Where each file is; `None` for one that is not there.
    Found(Vec<Option<String>>),
    /// A piece is kept; where the file is, once it is whole.
    Kept(Option<String>),
    /// The embedded server is ready: its own line.
    Serving(Box<RawValue>),
    /// It has ended.
    ServerEnded,
}

/// What a host says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The program's version. This and the revision are read before anything else.
    pub version: String,
    /// Its commit.
    pub revision: String,
    /// The number of the task that it is, where a launcher started it.
    pub rank: u32,
    /// What the host calls itself.
    pub name: String,
    /// The same for all that share a loopback interface.
    pub machine: String,
    /// The host's machine.
    pub environment: Environment,
}

/// What every version of the program says of itself first.
#[derive(Deserialize)]
pub struct AnyHello {
    /// See [`Hello`].
    pub hello: Version,
}

/// Which program it is.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// The program's version.
    pub version: String,
    /// Its commit.
    pub revision: String,
}

impl Version {
    /// This program.
    pub fn own() -> Self {
        Version {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: env!("RUNNER_GIT_REVISION").to_owned(),
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.version, self.revision)
    }
}

impl Hello {
    /// What this machine says of itself.
    pub async fn own() -> Self {
        let Version { version, revision } = Version::own();
        let rank = Rank::own().ok().flatten().map_or(0, |rank| rank.rank);
        Hello {
            version,
            revision,
            rank,
            name: name(),
            machine: machine(),
            environment: Environment::read(None).await,
        }
    }
}

/// The name of this host: what it is told to be called, what a cluster's launcher calls it, or its own.
fn name() -> String {
    let told = |variable: &str| std::env::var(variable).ok().filter(|name| !name.is_empty());
    told("RUNNER_HOST")
        .or_else(|| told("SLURMD_NODENAME"))
        .or_else(sysinfo::System::host_name)
        .map_or_else(|| "unnamed".to_owned(), |name| crate::text::name(&name))
}

/// The same for all processes that share this one's loopback interface; where the system does not tell, the host's name.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let space = std::fs::read_link("/proc/self/ns/net").ok();
    match (read("/proc/sys/kernel/random/boot_id"), space) {
        (Some(boot), Some(space)) => format!("{} {}", boot.trim(), space.display()),
        _ => name(),
    }
}

/// A message as a line.
///
/// # Errors
/// None known.
pub fn line(message: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_say_passes_unchanged() {
        let said = r#"{"done":{"x":1.50,"y":"\u00e9"}}"#;
        let message = FromHost::Said { worker: 7, message: RawValue::from_string(said.to_owned()).unwrap() };
        let line = String::from_utf8(line(&message).unwrap()).unwrap();
        let FromHost::Said { worker: 7, message } = serde_json::from_str(&line).unwrap() else {
            panic!("{line}")
        };
        assert_eq!(message.get(), said);
    }

    #[test]
    fn another_version_s_greeting_is_read() {
        let text = r#"{"hello":{"version":"9.0.0","revision":"abc","name":7,"more":[]}}"#;
        let AnyHello { hello } = serde_json::from_str(text).unwrap();
        assert_eq!(hello.to_string(), "9.0.0 (abc)");
        assert!(serde_json::from_str::<FromHost>(text).is_err());
    }
}
