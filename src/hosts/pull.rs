//! Hosts that connect to the leader: it listens, they find it, and both prove that they share a secret. The streams are not
//! encrypted. Must not know what goes over them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::io::{BufReader, BufStream, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::link::{Link, Stream};
use super::rank::Rank;
use super::token::{self, Token};
use crate::process;

/// How long the tasks of a job wait for each other: some may still fetch their image, or wait for their machine.
const MEETING: Duration = Duration::from_secs(600);
/// Pause between two attempts to find the leader.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one attempt to connect may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long hosts that are just being let in are waited for when the meeting is given up.
const LATE: Duration = Duration::from_secs(1);
/// Longest file by which tasks find their leader.
const MEETING_MAX: u64 = 64 * 1024;
/// Longest name of a job in a file's name.
const NAME_MAX: usize = 150;
/// Connections that have not proved anything yet.
const STRANGERS: usize = 256;

/// Where a leader is, as its tasks find it in a file that only their user can read.
#[derive(Debug, Serialize, Deserialize)]
struct Meeting {
    addresses: Vec<IpAddr>,
    port: u16,
    token: String,
}

/// A stream that has proved that it knows the token.
type Proved = BufStream<TcpStream>;

/// Listens for hosts.
pub struct Listener {
    listener: TcpListener,
    token: Token,
    /// The file by which tasks find the leader; it goes with the listener.
    meeting: Option<PathBuf>,
    /// How long hosts are waited for; without, until somebody ends it.
    patience: Option<Duration>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.meeting {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// Listens at an address, such as `0.0.0.0:7700`.
    ///
    /// # Errors
    /// The address cannot be used.
    pub async fn at(address: &str, token: Token) -> Result<Self> {
        let listener = TcpListener::bind(address).await;
        let listener = listener
            .with_context(|| format!("--listen {address}: cannot be used: give ADDRESS:PORT of this machine"))?;
        Ok(Listener { listener, token, meeting: None, patience: None })
    }

    /// Listens at a port of all of this machine's addresses for the other tasks of a job, which know it.
    ///
    /// # Errors
    /// The port cannot be used.
    pub async fn at_port(port: u16, token: Token) -> Result<Self> {
        let listener = everywhere(port)
            .await
            .with_context(|| format!("RUNNER_LEADER: port {port} cannot be used here"))?;
        Ok(Listener { listener, token, meeting: None, patience: Some(MEETING) })
    }

    /// Listens for the other tasks of a job, and tells them where in a file. On the loopback interface alone if all of them are
    /// on this machine.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn for_tasks(rank: &Rank) -> Result<Self> {
        let token = Token::new()?;
        let (listener, addresses) = match rank.one_machine {
            true => {
                let here = Ipv4Addr::LOCALHOST;
                (TcpListener::bind((here, 0)).await.context("no port to listen at")?, vec![IpAddr::V4(here)])
            }
            false => (everywhere(0).await.context("no port to listen at")?, own_addresses()),
        };
        ensure!(
            !addresses.is_empty(),
            "this machine has no address that other machines reach: set RUNNER_LEADER=HOST:PORT and RUNNER_TOKEN for all tasks"
        );
        let port = listener.local_addr()?.port();
        let path = meeting_file(rank).await?;
        let folder = path.parent().context("no folder")?;
        let failed = || {
            format!(
                "{} cannot be written: name a folder that all tasks share with RUNNER_RENDEZVOUS, or see RUNNER_LEADER",
                path.display()
            )
        };
        private_folder(folder).with_context(failed)?;
        // readable for its owner alone from the start, and whole from the start
        let file = tempfile::Builder::new().prefix(".leader-").tempfile_in(folder).with_context(failed)?;
        serde_json::to_writer(&file, &Meeting { addresses, port, token: token.text().to_owned() })
            .with_context(failed)?;
        file.persist(&path).map_err(|error| error.error).with_context(failed)?;
        Ok(Listener { listener, token, meeting: Some(path), patience: Some(MEETING) })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Waits until so many hosts have connected and greeted. `None` when `stop` came first; those that were there have ended.
    ///
    /// # Errors
    /// They have not in time, or one of them is another version of the program.
    pub async fn accept(&self, count: usize, stop: impl Future<Output = ()>) -> Result<Option<Vec<Link>>> {
        let mut links = Vec::new();
        let (sender, mut arrivals) = mpsc::channel(1);
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let meeting = async {
            tokio::pin!(stop);
            loop {
                // one that is gone again does not count
                links.retain(|link: &Link| link.lost().is_none());
                if links.len() >= count {
                    return Ok(true);
                }
                tokio::select! {
                    () = &mut stop => return Ok(false),
                    accepted = self.listener.accept() => {
                        // one that is gone already is nobody
                        let Ok((stream, from)) = accepted else { continue };
                        let Ok(permit) = strangers.clone().try_acquire_owned() else { continue };
                        let (token, sender) = (self.token.clone(), sender.clone());
                        tokio::spawn(async move {
                            let link = meet(stream, &token).await;
                            drop(permit);
                            let _ = sender.send((from, link)).await;
                        });
                    }
                    Some((from, link)) = arrivals.recv() => match link {
                        Ok(link) => links.push(link),
                        Err(Stranger::Unknown) => {}
                        Err(Stranger::Unlike(error)) => return Err(error.context(format!("the host at {from} cannot be used"))),
                    },
                }
            }
        };
        let met = match self.patience {
            Some(patience) => timeout(patience, meeting).await,
            None => Ok(meeting.await),
        };
        let met = met.unwrap_or_else(|_| {
            let seconds = self.patience.unwrap_or_default().as_secs();
            Err(anyhow!(
                "{} of {count} others connected within {seconds} s. Is this task meant to measure alone? RUNNER_RANK=0 RUNNER_SIZE=1 \
                 says so",
                links.len()
            ))
        });
        match met {
            Ok(true) => Ok(Some(links)),
            unmet => {
                // those that are just being let in are told goodbye too
                drop(sender);
                while let Ok(Some((_, link))) = timeout(LATE, arrivals.recv()).await {
                    links.extend(link.ok());
                }
                join_all(links.iter().map(Link::close)).await;
                unmet.map(|_| None)
            }
        }
    }
}

/// Listens at all addresses, of both kinds where the machine has both.
async fn everywhere(port: u16) -> std::io::Result<TcpListener> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
        Ok(listener) => Ok(listener),
        Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
    }
}

/// Whoever connected and is no host of this run.
enum Stranger {
    /// It does not know the token.
    Unknown,
    /// It does, and cannot be used.
    Unlike(anyhow::Error),
}

async fn meet(stream: TcpStream, token: &Token) -> Result<Link, Stranger> {
    let _ = stream.set_nodelay(true);
    let mut stream = BufStream::new(stream);
    token::lead(&mut stream, token).await.map_err(|_| Stranger::Unknown)?;
    let (input, output) = split(stream);
    let stream = Stream { input: Box::new(BufReader::new(input)), output: Box::new(output), carrier: None };
    Link::open(None, stream).await.map_err(Stranger::Unlike)
}

/// Connects to a leader that listens at `host:port`, and waits for one that does not listen yet, or has no name yet: as long as the
/// tasks of a job wait for each other, or without end.
///
/// # Errors
/// There is none in that time.
pub async fn connect(
    leader: &str,
    token: &Token,
    is_task: bool,
) -> Result<(BufReader<ReadHalf<Proved>>, WriteHalf<Proved>)> {
    let mut last = anyhow!("it was not tried");
    let attempts = async {
        loop {
            match once(leader, token).await {
                Ok(stream) => return stream,
                Err(error) => last = error,
            }
            sleep(PAUSE).await;
        }
    };
    if !is_task {
        return Ok(attempts.await);
    }
    let met = timeout(MEETING, attempts).await;
    met.map_err(|_| last.context(format!("no leader at {leader} within {} s", MEETING.as_secs())))
}

/// Finds the leader of a job's tasks by its file, and connects to it.
///
/// # Errors
/// There is none.
pub async fn find(rank: &Rank) -> Result<(BufReader<ReadHalf<Proved>>, WriteHalf<Proved>)> {
    let path = meeting_file(rank).await?;
    let mut last = anyhow!("{} is not there", path.display());
    let attempts = async {
        loop {
            // read again each time: it may be what a job before left behind
            match read_meeting(&path) {
                Ok(Some((addresses, port, token))) => {
                    for address in addresses {
                        match once(&SocketAddr::new(address, port).to_string(), &token).await {
                            Ok(stream) => return stream,
                            Err(error) => last = error,
                        }
                    }
                }
                Ok(None) => {}
                Err(error) => last = error,
            }
            sleep(PAUSE).await;
        }
    };
    let met = timeout(MEETING, attempts).await;
    met.map_err(|_| {
        last.context(format!(
            "task {} of {} ({}) found no leader within {} s: the tasks need a folder that they share ({}; RUNNER_RENDEZVOUS \
             names another), or RUNNER_LEADER=HOST:PORT and RUNNER_TOKEN",
            rank.rank,
            rank.size,
            rank.launcher,
            MEETING.as_secs(),
            path.parent().unwrap_or(&path).display()
        ))
    })
}

async fn once(address: &str, token: &Token) -> Result<(BufReader<ReadHalf<Proved>>, WriteHalf<Proved>)> {
    let failed = || format!("{address} cannot be reached");
    let stream = timeout(CONNECTING, TcpStream::connect(address))
        .await
        .with_context(failed)?
        .with_context(failed)?;
    stream.set_nodelay(true)?;
    let mut stream = BufStream::new(stream);
    token::follow(&mut stream, token)
        .await
        .with_context(|| format!("the leader at {address} cannot be used"))?;
    let (input, output) = split(stream);
    Ok((BufReader::new(input), output))
}

fn read_meeting(path: &Path) -> Result<Option<(Vec<IpAddr>, u16, Token)>> {
    let failed = || format!("{} cannot be read", path.display());
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.with_context(failed)?,
    };
    let mut text = Vec::new();
    private(&file, path)?;
    (&mut file).take(MEETING_MAX).read_to_end(&mut text).with_context(failed)?;
    let told = || path.display().to_string();
    let Meeting { addresses, port, token } = serde_json::from_slice(&text).with_context(told)?;
    Ok(Some((addresses, port, Token::given(&token, &told())?)))
}

/// Checks that a file is this user's alone: in a folder that many share, somebody else could lead our tasks.
#[cfg(unix)]
fn private(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let known = file.metadata().with_context(|| format!("{} cannot be read", path.display()))?;
    ensure!(
        known.uid() == nix::unistd::geteuid().as_raw() && known.mode() & 0o077 == 0,
        "{} is not this user's alone: it is not trusted. Remove it, or name another folder with RUNNER_RENDEZVOUS",
        path.display()
    );
    Ok(())
}

#[cfg(not(unix))]
fn private(_: &File, _: &Path) -> Result<()> {
    Ok(())
}

/// The file by which the tasks of a job find their leader.
async fn meeting_file(rank: &Rank) -> Result<PathBuf> {
    let job = match rank.job.is_empty() {
        false => Some(rank.job.clone()),
        true => job_of_pmi().await,
    };
    let job = job.with_context(|| {
        format!(
            "{} does not tell its job's name: set RUNNER_JOB to one that no other job of yours has, or RUNNER_LEADER=HOST:PORT, at \
             which task 0 listens, and RUNNER_TOKEN",
            rank.launcher
        )
    })?;
    let path = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    let state = || path("XDG_STATE_HOME").or_else(|| Some(path("HOME")?.join(".local/state")));
    let folder = path("RUNNER_RENDEZVOUS").or_else(|| Some(state()?.join("runner")));
    let folder = folder.context("there is no home: name a folder that all tasks share with RUNNER_RENDEZVOUS")?;
    let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' };
    let job: String = format!("{}-{job}", rank.launcher).chars().map(plain).take(NAME_MAX).collect();
    Ok(folder.join(format!("leader-{}", job.to_lowercase())))
}

/// The name of a job by PMI, version 1: MPICH's mpiexec has it behind a descriptor that it leaves open. A shell asks: what a number
/// names is nothing that safe code can open. Only bash takes numbers of two digits.
async fn job_of_pmi() -> Option<String> {
    const ASK: &str = "ask() { printf '%s\\n' \"$1\" >&\"$PMI_FD\" && IFS= read -r -t 2 line <&\"$PMI_FD\"; }\n\
        [ -n \"$PMI_FD\" ] && ask 'cmd=init pmi_version=1 pmi_subversion=1' && ask cmd=get_my_kvsname && name=$line && \
        ask cmd=finalize && printf '%s\\n' \"$name\"";
    let told = process::output(&["bash", "-c", ASK]).await?;
    let name = told.trim().split("kvsname=").nth(1)?.split(' ').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Makes a folder for its owner alone, unless it is there.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// This machine's addresses, by which others may reach it.
#[cfg(unix)]
fn own_addresses() -> Vec<IpAddr> {
    let of = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(of);
    // one of a link is of no use without the link's name
    let is_far = |address: &IpAddr| match address {
        IpAddr::V4(address) => !address.is_loopback() && !address.is_link_local(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    };
    all.filter(is_far).collect()
}

#[cfg(not(unix))]
fn own_addresses() -> Vec<IpAddr> {
    Vec::new()
}
