//! The embedded server: the protocol over HTTP and gRPC, ONNX models executed by rten, and loopback models whose
//! behaviour is known. Must not know the client: both share only the messages and the tensors.
//!
//! A request goes one way: `connection` -> `http` or `grpc` -> `repository` -> `infer` (does it fit?) -> `scheduler`
//! (queue, batch) -> `backend` (`engine` or `loopback`), and its answer back.

mod error;
mod execute;
mod front;
mod model;
mod observe;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::task::JoinSet;

use crate::proto;
use error::Error;
use front::connection::HttpVersion;
use front::message::Messages;
use model::repository::Repository;
use observe::request_log::RequestLog;

/// Largest request, in bytes; the protocol's messages end at 2 GiB.
const REQUEST_BYTES_MAX: usize = i32::MAX as usize;
/// Connections that may wait to be accepted: thousands of clients begin at once. The system may allow fewer.
const BACKLOG: u32 = 4096;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the models.
    pub model_repository: PathBuf,
    /// Name of configurations in the models' `configs/` that are preferred to `config.pbtxt`.
    pub model_config_name: Option<String>,
    /// The models to load; empty means all that are there.
    pub load_models: Vec<String>,
    /// `host:port` of HTTP; port 0 is one that the system picks.
    pub http: String,
    /// `host:port` of gRPC; port 0 is one that the system picks.
    pub grpc: String,
    /// Where the truth about every request is written.
    pub request_log: Option<PathBuf>,
    /// What requests may hold at once, in bytes; `None` is half of what the process may use, at most 4 GiB.
    pub request_memory: Option<usize>,
}

/// A server whose ports are open.
pub struct Server {
    repository: Arc<Repository>,
    log: Option<RequestLog>,
    http: TcpListener,
    grpc: TcpListener,
    /// What was loaded, and what was not, in words.
    pub models: Vec<Loaded>,
}

/// How loading a model went.
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// What cannot be as its configuration says, or why it is not there.
    pub outcome: Result<Vec<String>, String>,
}

impl Server {
    /// Loads the models and opens the ports.
    ///
    /// # Errors
    /// No such repository, a port that is not to be had, a request log that cannot be written. A model that cannot be
    /// loaded is no error: it is listed as unavailable.
    pub async fn start(options: Options) -> Result<Self> {
        front::memory::set_limit(options.request_memory);
        let log = options.request_log.as_deref().map(RequestLog::create).transpose()?;
        let variant = options.model_config_name.as_deref();
        let repository = Arc::new(Repository::open(&options.model_repository, variant, log.clone())?);
        // before the models: a port that is taken is told at once
        let http = open(&options.http).await?;
        let grpc = open(&options.grpc).await?;
        let names = if options.load_models.is_empty() { repository.names()? } else { options.load_models };
        let mut models = Vec::new();
        for name in names {
            let outcome = load(repository.clone(), name.clone(), None).await.map_err(|error| error.message);
            models.push(Loaded { name, outcome });
        }
        Ok(Server { repository, log, http, grpc, models })
    }

    /// The address of HTTP.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn http(&self) -> Result<SocketAddr> {
        Ok(self.http.local_addr()?)
    }

    /// The address of gRPC.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn grpc(&self) -> Result<SocketAddr> {
        Ok(self.grpc.local_addr()?)
    }

    /// Serves until `stop` is there.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (mut http, mut grpc) = (JoinSet::new(), JoinSet::new());
        let router = front::http::router(self.repository.clone());
        let service = Messages(front::grpc::service(self.repository));
        tokio::select! {
            () = front::connection::serve(self.http, HttpVersion::Http1, router, &mut http) => {}
            () = front::connection::serve(self.grpc, HttpVersion::Http2, service, &mut grpc) => {}
            () = stop => {}
        }
        // a client may know its answer before the connection that sent it has told the log
        http.shutdown().await;
        grpc.shutdown().await;
        if let Some(log) = &self.log {
            log.finish();
        }
    }
}

/// Listens on the first of a name's addresses that is to be had.
async fn open(address: &str) -> Result<TcpListener> {
    let failed = || format!("{address} cannot be listened on: is the address this machine's, and the port free?");
    let mut outcome = Err(std::io::ErrorKind::AddrNotAvailable.into());
    for address in lookup_host(address).await.with_context(failed)? {
        outcome = listen(address);
        if outcome.is_ok() {
            break;
        }
    }
    outcome.with_context(failed)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // a port is free again as soon as its server has ended
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Loads a model aside from the threads that serve.
async fn load(models: Arc<Repository>, name: String, config: Option<String>) -> Result<Vec<String>, Error> {
    let loaded = tokio::task::spawn_blocking(move || models.load(&name, config.as_deref())).await;
    loaded.unwrap_or_else(|_| Err(Error::internal("loading the model failed in an unexpected way")))
}

/// What is said of a parameter of a load that is not its configuration.
fn load_parameter(key: &str) -> String {
    format!("unrecognized load parameter '{key}': this server takes 'config' only")
}

/// Never Triton's: whoever reads a result must see what was measured.
fn server_metadata() -> proto::ServerMetadataResponse {
    proto::ServerMetadataResponse {
        name: format!("embedded (rten {})", env!("RTEN_VERSION")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: ["model_repository", "model_configuration", "binary_tensor_data", "parameters", "statistics"]
            .map(str::to_owned)
            .into(),
    }
}

/// What a thread that panicked held is still of use.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn thousands_of_connections_may_wait_to_be_accepted() {
        let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        let allowed = allowed.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        // this process has to hold the other ends
        let (open, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        let wanted = allowed.min(BACKLOG as usize).min((open as usize).saturating_sub(200));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(super::open("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let patience = std::time::Duration::from_secs(20);
        // nobody accepts: a connection beyond what may wait is not established
        let waiting: Vec<_> = (0..wanted).map(|_| TcpStream::connect_timeout(&address, patience)).collect();
        assert!(waiting.iter().all(Result::is_ok), "{wanted} connections");
    }
}
