//! The control plane: asks a server about itself over either protocol; every answer is bounded in time and size.
//! Decoding answers is the task of [`crate::protocol::control::description`]; no conclusions are drawn here.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_ENCODING, LOCATION};
use prost::{Message, Name};
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::time::timeout;

use crate::address::Address;
use crate::proto;
use crate::protocol::control::bounded::{too_large, too_late, whole};
use crate::protocol::control::description::{ModelConfig, ModelMetadata, ServerMetadata, read};
use crate::protocol::control::statistics::{AllStatistics, Statistics};
use crate::protocol::control::unary::Unary;
use crate::protocol::infer::http::{compressed, words_of};
use crate::protocol::web::{base_of, client, url};
use crate::protocol::{CONNECT_TIMEOUT, Fault, FaultKind, words};

/// Largest configuration read over gRPC: as JSON, with every field it leaves out, it takes a thousand times the
/// memory.
const CONFIG_BYTES_MAX: usize = 512 * 1024;
/// Bytes read of an answer that is not a success.
const REFUSAL_BYTES_MAX: usize = 8 * 1024;

/// The control plane of one server over one protocol.
pub struct Control {
    link: Link,
    limit: Duration,
}

enum Link {
    /// Keeps its connection open.
    Http {
        client: reqwest::Client,
        address: String,
    },
    Grpc(Box<Unary>),
}

impl Control {
    /// Over HTTP, with a timeout for each answer.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn http(address: &Address, limit: Duration) -> Result<Self, Fault> {
        Ok(Control {
            link: Link::Http { client: client(address, CONNECT_TIMEOUT)?, address: base_of(address) },
            limit,
        })
    }

    /// Over gRPC, with a timeout for each answer.
    pub fn grpc(address: &Address, limit: Duration) -> Self {
        Control { link: Link::Grpc(Box::new(Unary::new(address))), limit }
    }

    /// Changes the timeout.
    pub fn within(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// Checks that the server is ready.
    ///
    /// # Errors
    /// The server is unreachable or not ready; kind `Unsupported` if it does not report readiness.
    pub async fn server_ready(&mut self) -> Result<(), Fault> {
        match &mut self.link {
            Link::Http { client, address } => get(client, address, &["health", "ready"], self.limit).await.map(drop),
            Link::Grpc(unary) => {
                let asked = proto::ServerReadyRequest {};
                let answer: proto::ServerReadyResponse = unary.call("ServerReady", &asked, self.limit).await?;
                if answer.ready { Ok(()) } else { Err(not_ready("the server")) }
            }
        }
    }

    /// Checks that the model is ready.
    ///
    /// # Errors
    /// As [`Control::server_ready`].
    pub async fn model_ready(&mut self, model: &str, version: Option<&str>) -> Result<(), Fault> {
        match &mut self.link {
            Link::Http { client, address } => {
                let path = [&model_path(model, version)[..], &["ready"]].concat();
                get(client, address, &path, self.limit).await.map(drop)
            }
            Link::Grpc(unary) => {
                let (name, version) = named(model, version);
                let asked = proto::ModelReadyRequest { name, version };
                let answer: proto::ModelReadyResponse = unary.call("ModelReady", &asked, self.limit).await?;
                if answer.ready { Ok(()) } else { Err(not_ready("the model")) }
            }
        }
    }

    /// The server's name and version.
    ///
    /// # Errors
    /// No answer, or an unreadable one; kind `Unsupported` if the server does not offer the call.
    pub async fn server_metadata(&mut self) -> Result<ServerMetadata, Fault> {
        match &mut self.link {
            Link::Http { client, address } => {
                read(&get(client, address, &[], self.limit).await?).map(ServerMetadata::shown)
            }
            Link::Grpc(unary) => {
                let asked = proto::ServerMetadataRequest {};
                let answer: proto::ServerMetadataResponse = unary.call("ServerMetadata", &asked, self.limit).await?;
                Ok(ServerMetadata::from(answer).shown())
            }
        }
    }

    /// The model's tensors.
    ///
    /// # Errors
    /// As [`Control::server_metadata`].
    pub async fn model_metadata(&mut self, model: &str, version: Option<&str>) -> Result<ModelMetadata, Fault> {
        match &mut self.link {
            Link::Http { client, address } => {
                read(&get(client, address, &model_path(model, version), self.limit).await?)
            }
            Link::Grpc(unary) => {
                let (name, version) = named(model, version);
                let asked = proto::ModelMetadataRequest { name, version };
                let answer: proto::ModelMetadataResponse = unary.call("ModelMetadata", &asked, self.limit).await?;
                Ok(answer.into())
            }
        }
    }

    /// The model's configuration.
    ///
    /// # Errors
    /// As [`Control::server_metadata`].
    pub async fn model_config(&mut self, model: &str, version: Option<&str>) -> Result<ModelConfig, Fault> {
        let config = match &mut self.link {
            Link::Http { client, address } => {
                let path = [&model_path(model, version)[..], &["config"]].concat();
                read(&get(client, address, &path, self.limit).await?)?
            }
            Link::Grpc(unary) => {
                let (name, version) = named(model, version);
                let asked = proto::ModelConfigRequest { name, version };
                let answer: proto::ModelConfigResponse = unary.call("ModelConfig", &asked, self.limit).await?;
                if answer.encoded_len() > CONFIG_BYTES_MAX {
                    return Err(too_large("ModelConfig", CONFIG_BYTES_MAX));
                }
                // as the HTTP endpoint gives it, so that one reader serves both
                to_json(&answer.config.unwrap_or_default())?
            }
        };
        ModelConfig::of(config)
    }

    /// Has the server load a model, or load it again; its answer comes when that is done.
    ///
    /// # Errors
    /// The server refuses, as one does that decides itself which models it has; kind `Unsupported` if it has no such call.
    pub async fn load(&mut self, model: &str) -> Result<(), Fault> {
        match &mut self.link {
            Link::Http { client, address } => {
                let path = ["repository", "models", model, "load"];
                ask(client, address, Method::POST, &path, self.limit).await.map(drop)
            }
            Link::Grpc(unary) => {
                let asked = proto::RepositoryModelLoadRequest { model_name: model.to_owned(), ..Default::default() };
                let _: proto::RepositoryModelLoadResponse =
                    unary.call("RepositoryModelLoad", &asked, self.limit).await?;
                Ok(())
            }
        }
    }

    /// Has the server unload a model; its answer may come before that is done.
    ///
    /// # Errors
    /// As [`Control::load`].
    pub async fn unload(&mut self, model: &str) -> Result<(), Fault> {
        match &mut self.link {
            Link::Http { client, address } => {
                let path = ["repository", "models", model, "unload"];
                ask(client, address, Method::POST, &path, self.limit).await.map(drop)
            }
            Link::Grpc(unary) => {
                let asked = proto::RepositoryModelUnloadRequest { model_name: model.to_owned(), ..Default::default() };
                let _: proto::RepositoryModelUnloadResponse =
                    unary.call("RepositoryModelUnload", &asked, self.limit).await?;
                Ok(())
            }
        }
    }

    /// The model's statistics, summed over its versions.
    ///
    /// # Errors
    /// As [`Control::server_metadata`].
    pub async fn statistics(&mut self, model: &str, version: Option<&str>) -> Result<Statistics, Fault> {
        match &mut self.link {
            Link::Http { client, address } => {
                let path = [&model_path(model, version)[..], &["stats"]].concat();
                read(&get(client, address, &path, self.limit).await?).map(|all: AllStatistics| all.sum())
            }
            Link::Grpc(unary) => {
                let (name, version) = named(model, version);
                let asked = proto::ModelStatisticsRequest { name, version };
                let answer: proto::ModelStatisticsResponse = unary.call("ModelStatistics", &asked, self.limit).await?;
                Ok((&answer).into())
            }
        }
    }
}

fn model_path<'a>(model: &'a str, version: Option<&'a str>) -> Vec<&'a str> {
    let mut path = vec!["models", model];
    if let Some(version) = version {
        path.extend(["versions", version]);
    }
    path
}

fn named(model: &str, version: Option<&str>) -> (String, String) {
    (model.to_owned(), version.unwrap_or_default().to_owned())
}

fn not_ready(what: &str) -> Fault {
    Fault::new(FaultKind::Server, format!("{what} says that it is not ready"))
}

/// Returns the body of a GET.
async fn get(client: &reqwest::Client, address: &str, path: &[&str], limit: Duration) -> Result<Vec<u8>, Fault> {
    ask(client, address, Method::GET, path, limit).await
}

/// Returns the body of an answer to a request without one.
async fn ask(
    client: &reqwest::Client,
    address: &str,
    method: Method,
    path: &[&str],
    limit: Duration,
) -> Result<Vec<u8>, Fault> {
    let url = url(address, path)?;
    let question = format!("{method} {}", url.path());
    let exchange = async {
        let request = reqwest::Request::new(method, url);
        let response = client.execute(request).await.map_err(|error| Fault::of_transport(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        whole(response, &question).await
    };
    timeout(limit, exchange).await.map_err(|_| too_late(limit))?
}

/// The reason why a request failed: the server's own message, or a description of the answer.
async fn refusal(mut response: Response) -> Fault {
    let status = response.status();
    let field = |name| {
        response
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .to_owned()
    };
    let (encoding, location) = (field(CONTENT_ENCODING), field(LOCATION));
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES_MAX - body.len())]);
        if body.len() == REFUSAL_BYTES_MAX {
            break;
        }
    }
    if !encoding.is_empty() {
        return compressed(&encoding);
    }
    if status.is_redirection() {
        let words = format!("HTTP {}: it is elsewhere, at \"{location}\"", status.as_u16());
        return Fault::new(FaultKind::Unsupported, words);
    }
    refusal_of(status, &body)
}

/// A body with an `error` is the protocol's: the endpoint exists and refuses. Any other may be a web server's.
fn refusal_of(status: StatusCode, body: &[u8]) -> Fault {
    if let Some(words) = words::of_tls_page(status, body) {
        return Fault::new(FaultKind::Connect, words);
    }
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let own = json.is_some_and(|json| json["error"].is_string());
    let kind = match FaultKind::of_status(status.as_u16()) {
        FaultKind::Unsupported if own => FaultKind::Server,
        kind => kind,
    };
    Fault::new(kind, format!("HTTP {}: {}", status.as_u16(), words_of(status, body)))
}

fn to_json<M: Message + Name>(message: &M) -> Result<Value, Fault> {
    proto::to_json(message).map_err(|error| Fault::new(FaultKind::Answer, format!("{error:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_server_s_own_where_it_speaks_the_protocol() {
        for (status, body, kind, words) in [
            (404, r#"{"error": "unknown model"}"#, FaultKind::Server, "unknown model"),
            (404, r#"{"detail": "Not Found"}"#, FaultKind::Unsupported, "Not Found"),
            (404, "<html><h1>404</h1></html>", FaultKind::Unsupported, "an HTML page"),
            (405, "", FaultKind::Unsupported, "Method Not Allowed"),
            (400, "", FaultKind::Server, "Bad Request"),
            (503, "no healthy upstream", FaultKind::Unavailable, "no healthy upstream"),
            (400, r#"{"error": 7}"#, FaultKind::Server, "7"),
            (400, "Client sent an HTTP request to an HTTPS server.", FaultKind::Connect, "\"Client sent an HTTP"),
        ] {
            let fault = refusal_of(StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(fault.kind, kind, "{fault}");
            assert!(fault.message.starts_with(&format!("HTTP {status}: {words}")), "{fault}");
        }
        assert!(refusal_of(StatusCode::BAD_GATEWAY, "x".repeat(9000).as_bytes()).message.len() < 300);
    }
}
