//! `runner serve`: the embedded server's options.
#![allow(missing_docs)]

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::run::Outcome;
use crate::{embedded, process, run};

#[derive(Args, Debug)]
pub struct Arguments {
    /// Folder of the models
    #[arg(long, value_name = "DIR", default_value = super::MODEL_REPOSITORY)]
    pub model_repository: PathBuf,
    /// Prefer configs/NAME.pbtxt of a model to its config.pbtxt
    #[arg(long, value_name = "NAME")]
    pub model_config_name: Option<String>,
    /// Load this model alone; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    pub load_model: Vec<String>,
    /// Address of HTTP; port 0 is one that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    pub http: String,
    /// Address of gRPC; port 0 is one that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8001")]
    pub grpc: String,
    /// Write how long every request took, as the server saw it
    #[arg(long, value_name = "FILE")]
    pub request_log: Option<PathBuf>,
    /// Memory that requests may hold at once [default: half of what the process may use, at most 4096]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub request_memory: Option<u32>,
    /// End when standard input does, as the server of a run does
    #[arg(long, hide = true)]
    pub until_input_ends: bool,
}

/// Serves until it is told to end.
///
/// # Errors
/// The server cannot be started.
pub fn serve(arguments: Arguments) -> Result<Outcome> {
    process::cap_mmap_threshold();
    let until_input_ends = arguments.until_input_ends;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run::serve::serve(arguments.into(), until_input_ends))?;
    // do not wait for threads that read standard input or execute a model
    runtime.shutdown_background();
    Ok(Outcome::Complete)
}

impl From<Arguments> for embedded::Options {
    fn from(arguments: Arguments) -> Self {
        embedded::Options {
            model_repository: arguments.model_repository,
            model_config_name: arguments.model_config_name,
            load_models: arguments.load_model,
            http: arguments.http,
            grpc: arguments.grpc,
            request_log: arguments.request_log,
            request_memory: arguments.request_memory.map(|mib| (mib as usize).saturating_mul(1 << 20)),
        }
    }
}
