//! The embedded server: the protocol over HTTP and gRPC, ONNX models executed by rten, and loopback models whose
//! behaviour is known. Must not know the client: both share only the messages and the tensors.
//!
//! A request goes one way: `connection` -> `http` or `grpc` -> `repository` -> `infer` (does it fit?) -> `scheduler`
//! (queue, batch) -> `backend` (`engine` or `loopback`), and its answer back.

mod backend;
mod buffers;
mod config;
mod connection;
mod engine;
mod error;
mod grpc;
mod http;
mod infer;
mod json;
mod loopback;
mod message;
mod repository;
mod request_log;
mod scheduler;
mod statistics;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::proto;
use connection::Wire;
use error::Error;
use message::Messages;
use repository::Repository;
use request_log::RequestLog;

/// Largest request, in bytes; the protocol's messages end at 2 GiB.
const REQUEST_BYTES_MAX: usize = i32::MAX as usize;

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
        let router = http::router(self.repository.clone());
        let service = Messages(grpc::service(self.repository));
        tokio::select! {
            () = connection::serve(self.http, Wire::Http1, router, &mut http) => {}
            () = connection::serve(self.grpc, Wire::Http2, service, &mut grpc) => {}
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

async fn open(address: &str) -> Result<TcpListener> {
    let failed = || format!("{address} cannot be listened on: is the address this machine's, and the port free?");
    TcpListener::bind(address).await.with_context(failed)
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
