//! `runner serve`: the embedded server as a separate process, until it is told to end.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::embedded::{Options, Server};
use crate::process;
use crate::report::terminal::{print, say};

/// The line of JSON on standard output with which a server that serves a program, not a person, reports ready.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// `host:port` of HTTP.
    pub http: String,
    /// `host:port` of gRPC.
    pub grpc: String,
    /// Why models are unavailable, in words, each with its name.
    pub unavailable: Vec<String>,
}

/// Serves until Ctrl-C, or until standard input ends if `until_input_ends`.
///
/// # Errors
/// The repository does not exist, or a port cannot be had.
pub async fn serve(options: Options, until_input_ends: bool) -> Result<()> {
    let server = Server::start(options).await?;
    let mut unavailable = Vec::new();
    for model in &server.models {
        match &model.outcome {
            Ok(notices) => {
                say(&format!("{}: ready", model.name));
                notices.iter().for_each(|notice| say(&format!("{}: {notice}", model.name)));
            }
            Err(words) => {
                say(&format!("{}: not available: {words}", model.name));
                unavailable.push(words.clone());
            }
        }
    }
    let ready = Ready { http: server.http()?.to_string(), grpc: server.grpc()?.to_string(), unavailable };
    if until_input_ends {
        print(&format!("{}\n", serde_json::to_string(&ready)?))?;
    } else {
        say(&format!("HTTP on {}, gRPC on {}; Ctrl-C ends the server", ready.http, ready.grpc));
    }
    // the server of a run ends when the run does, whatever its launcher tells all processes
    let _outlived = until_input_ends.then(process::outlive_signals);
    let stop = async {
        let input = async {
            // standard input ends with the process at its other end, however that ended
            let mut rest = Vec::new();
            let _ = tokio::io::stdin().read_to_end(&mut rest).await;
        };
        tokio::select! {
            () = input, if until_input_ends => {}
            _ = tokio::signal::ctrl_c(), if !until_input_ends => {}
        }
    };
    server.run(stop).await;
    Ok(())
}
