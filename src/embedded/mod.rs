//! The embedded server: the protocol over HTTP and gRPC, ONNX models executed by rten, and loopback models of known
//! behaviour. Must not know the client: both share only the messages and the tensors.
//!
//! A request takes one path, and its answer the same path back: `connection` -> `http` or `grpc` -> `repository` ->
//! `infer` (does it fit?) -> `scheduler` (queue, batch) -> `backend` (`engine` or `loopback`).

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
pub use model::config::Config;
use model::repository::Repository;
use observe::request_log::RequestLog;

/// Largest request, in bytes; the protocol's messages end at 2 GiB.
const REQUEST_BYTES_MAX: usize = i32::MAX as usize;
/// Connections that may wait to be accepted: thousands of clients may start at once. The system may allow fewer.
const BACKLOG: u32 = 4096;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the models.
    pub model_repository: PathBuf,
    /// Name of configurations in the models' `configs/` that are preferred to `config.pbtxt`.
    pub model_config_name: Option<String>,
    /// The models to load; empty means all in the repository.
    pub load_models: Vec<String>,
    /// `host:port` for HTTP; with port 0 the system picks one.
    pub http: String,
    /// `host:port` for gRPC; with port 0 the system picks one.
    pub grpc: String,
    /// File for the ground truth about every request.
    pub request_log: Option<PathBuf>,
    /// Memory that all requests together may hold, in bytes; `None` is half of what the process may use, at most 4
    /// GiB.
    pub request_memory: Option<usize>,
}

/// A server whose ports are open.
pub struct Server {
    repository: Arc<Repository>,
    log: Option<RequestLog>,
    http: TcpListener,
    grpc: TcpListener,
    /// The outcome of loading each model.
    pub models: Vec<Loaded>,
}

/// The outcome of loading a model.
pub struct Loaded {
    /// Its name.
    pub name: String,
    /// The settings that cannot be honoured, or the reason why the load failed.
    pub outcome: Result<Vec<String>, String>,
}

impl Server {
    /// Loads the models and opens the ports.
    ///
    /// # Errors
    /// The repository does not exist, a port is not available, or the request log cannot be written. A model that
    /// cannot be loaded is not an error: it is listed as unavailable.
    pub async fn start(options: Options) -> Result<Self> {
        front::memory::set_limit(options.request_memory);
        let log = options.request_log.as_deref().map(RequestLog::create).transpose()?;
        let variant = options.model_config_name.as_deref();
        let repository = Arc::new(Repository::open(&options.model_repository, variant, log.clone())?);
        // before the models, so that a port in use is reported at once
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

    /// The HTTP address.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn http(&self) -> Result<SocketAddr> {
        Ok(self.http.local_addr()?)
    }

    /// The gRPC address.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn grpc(&self) -> Result<SocketAddr> {
        Ok(self.grpc.local_addr()?)
    }

    /// Serves until `stop` completes.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (mut http, mut grpc) = (JoinSet::new(), JoinSet::new());
        let router = front::http::router(self.repository.clone());
        let service = Messages(front::grpc::service(self.repository));
        tokio::select! {
            () = front::connection::serve(self.http, HttpVersion::Http1, router, &mut http) => {}
            () = front::connection::serve(self.grpc, HttpVersion::Http2, service, &mut grpc) => {}
            () = stop => {}
        }
        // a client may have its answer before the connection that sent it has logged it
        http.shutdown().await;
        grpc.shutdown().await;
        if let Some(log) = &self.log {
            log.finish();
        }
    }
}

/// Listens on the first available address of a name.
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
    // makes a port available as soon as its server has ended
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Loads a model outside of the threads that serve requests.
async fn load(models: Arc<Repository>, name: String, config: Option<String>) -> Result<Vec<String>, Error> {
    let loaded = tokio::task::spawn_blocking(move || models.load(&name, config.as_deref())).await;
    loaded.unwrap_or_else(|_| Err(Error::internal("loading the model failed in an unexpected way")))
}

/// The message for a load parameter other than the configuration.
fn load_parameter(key: &str) -> String {
    format!("unrecognized load parameter '{key}': this server takes 'config' only")
}

/// Never Triton's name: a reader of a result must see which server was measured.
fn server_metadata() -> proto::ServerMetadataResponse {
    proto::ServerMetadataResponse {
        name: format!("embedded (rten {})", env!("RTEN_VERSION")),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: ["model_repository", "model_configuration", "binary_tensor_data", "parameters", "statistics"]
            .map(str::to_owned)
            .into(),
    }
}

/// Ignores poisoning: what a panicked thread held is still usable.
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
        // this process also holds the other ends
        let (open, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        let wanted = allowed.min(BACKLOG as usize).min((open as usize).saturating_sub(200));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(super::open("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let patience = std::time::Duration::from_secs(20);
        // nobody accepts: connections beyond the backlog are not established
        let waiting: Vec<_> = (0..wanted).map(|_| TcpStream::connect_timeout(&address, patience)).collect();
        assert!(waiting.iter().all(Result::is_ok), "{wanted} connections");
    }
}
