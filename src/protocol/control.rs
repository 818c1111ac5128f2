//! What a server says of itself: readiness, metadata, model configuration, statistics, over either protocol.
//! gRPC messages become the JSON that the HTTP endpoints give, so one reader serves both.

use std::time::Duration;

use prost::{Message, Name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tonic::transport::Channel;

use super::grpc::{channel, of_status};
use super::http::{client, error_of, url};
use super::statistics::{AllStatistics, Statistics};
use super::{Fault, FaultKind};
use crate::proto;
use crate::proto::grpc_inference_service_client::GrpcInferenceServiceClient;
use crate::text;

/// Longest wait for any answer of the control plane.
const PATIENCE: Duration = Duration::from_secs(10);

/// Metadata and statistics of many models may be larger than tonic's 4 MiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Extensions that are kept of what a server lists.
const EXTENSIONS_MAX: usize = 64;
/// Longest label of weights that is kept, in characters.
const LABEL_MAX: usize = 200;

/// The control plane of one server over one protocol.
pub enum Control {
    /// Over HTTP.
    Http {
        /// Keeps its connection.
        client: reqwest::Client,
        /// `host:port`.
        address: String,
    },
    /// Over gRPC.
    Grpc(GrpcInferenceServiceClient<Channel>),
}

/// A server's name, version and protocol extensions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ServerMetadata {
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub extensions: Vec<String>,
}

impl ServerMetadata {
    /// Fit to be shown: all of it is words.
    fn shown(self) -> Self {
        let extensions = self.extensions.iter().take(EXTENSIONS_MAX).map(|name| text::name(name)).collect();
        ServerMetadata { name: text::name(&self.name), version: text::name(&self.version), extensions }
    }
}

/// A model's tensors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ModelMetadata {
    pub name: String,
    #[serde(default)]
    pub versions: Vec<String>,
    #[serde(default)]
    pub platform: String,
    pub inputs: Vec<TensorMetadata>,
    pub outputs: Vec<TensorMetadata>,
}

/// A tensor of a model; a dimension of -1 is of any size. With a batch dimension where the model has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TensorMetadata {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
}

/// The parts of Triton's model configuration that are read; `json` is the whole of it.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// As the server gave it.
    pub json: Value,
    /// Largest batch; 0 is a model without batching by the server.
    pub max_batch_size: i64,
    /// Inputs that may be left out.
    pub optional_inputs: Vec<String>,
    /// What the configuration's parameter `weights` says of the weights.
    pub weights: Option<String>,
}

impl Control {
    /// Over HTTP at `host:port`.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn http(address: &str) -> Result<Self, Fault> {
        Ok(Control::Http { client: client(PATIENCE)?, address: address.to_owned() })
    }

    /// Over gRPC at `host:port`.
    ///
    /// # Errors
    /// The address cannot be part of an URI.
    pub fn grpc(address: &str) -> Result<Self, Fault> {
        let client = GrpcInferenceServiceClient::new(channel(address, PATIENCE)?);
        Ok(Control::Grpc(client.max_decoding_message_size(ANSWER_BYTES_MAX)))
    }

    /// Whether the server and the model are ready.
    ///
    /// # Errors
    /// The server cannot be reached, or says that it or the model is not ready.
    pub async fn ready(&mut self, model: &str, version: Option<&str>) -> Result<(), Fault> {
        let not_ready = |what: String| Fault::new(FaultKind::Server, format!("{what} is not ready"));
        match self {
            Control::Http { client, address } => {
                get(client, address, &["health", "ready"]).await.map_err(|fault| match fault.kind {
                    FaultKind::Server | FaultKind::Unsupported => not_ready("the server".to_owned()),
                    _ => fault,
                })?;
                let path = [&model_path(model, version)[..], &["ready"]].concat();
                get(client, address, &path).await.map(drop).map_err(|fault| match fault.kind {
                    FaultKind::Server | FaultKind::Unsupported => not_ready(format!("the model \"{model}\"")),
                    _ => fault,
                })
            }
            Control::Grpc(client) => {
                let answer = patiently(client.server_ready(proto::ServerReadyRequest {})).await?;
                if !answer.ready {
                    return Err(not_ready("the server".to_owned()));
                }
                let (name, version) = (model.to_owned(), version.unwrap_or_default().to_owned());
                let answer = patiently(client.model_ready(proto::ModelReadyRequest { name, version })).await?;
                if answer.ready { Ok(()) } else { Err(not_ready(format!("the model \"{model}\""))) }
            }
        }
    }

    /// The server's name and version.
    ///
    /// # Errors
    /// No answer, or one that cannot be read.
    pub async fn server_metadata(&mut self) -> Result<ServerMetadata, Fault> {
        let json = match self {
            Control::Http { client, address } => get(client, address, &[]).await?,
            Control::Grpc(client) => {
                to_json(&patiently(client.server_metadata(proto::ServerMetadataRequest {})).await?)?
            }
        };
        read(json).map(ServerMetadata::shown)
    }

    /// The model's tensors.
    ///
    /// # Errors
    /// No answer, or one that cannot be read; kind `Unsupported` when the server has no such model.
    pub async fn model_metadata(&mut self, model: &str, version: Option<&str>) -> Result<ModelMetadata, Fault> {
        let json = match self {
            Control::Http { client, address } => get(client, address, &model_path(model, version)).await?,
            Control::Grpc(client) => {
                let (name, version) = (model.to_owned(), version.unwrap_or_default().to_owned());
                to_json(&patiently(client.model_metadata(proto::ModelMetadataRequest { name, version })).await?)?
            }
        };
        read(json)
    }

    /// The model's configuration.
    ///
    /// # Errors
    /// As [`Control::model_metadata`]; kind `Unsupported` also when the server has no such extension.
    pub async fn model_config(&mut self, model: &str, version: Option<&str>) -> Result<ModelConfig, Fault> {
        let json = match self {
            Control::Http { client, address } => {
                get(client, address, &[&model_path(model, version)[..], &["config"]].concat()).await?
            }
            Control::Grpc(client) => {
                let (name, version) = (model.to_owned(), version.unwrap_or_default().to_owned());
                let answer = patiently(client.model_config(proto::ModelConfigRequest { name, version })).await?;
                to_json(&answer.config.unwrap_or_default())?
            }
        };
        let string = |value: &Value| value.as_str().map(str::to_owned);
        let inputs = json["input"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(ModelConfig {
            max_batch_size: json["max_batch_size"].as_i64().unwrap_or(0),
            optional_inputs: inputs
                .iter()
                .filter(|input| input["optional"].as_bool() == Some(true))
                .filter_map(|input| string(&input["name"]))
                .collect(),
            weights: string(&json["parameters"]["weights"]["string_value"])
                .map(|weights| text::line(&weights, LABEL_MAX)),
            json,
        })
    }

    /// The model's statistics, summed over its versions.
    ///
    /// # Errors
    /// As [`Control::model_config`].
    pub async fn statistics(&mut self, model: &str, version: Option<&str>) -> Result<Statistics, Fault> {
        let json = match self {
            Control::Http { client, address } => {
                get(client, address, &[&model_path(model, version)[..], &["stats"]].concat()).await?
            }
            Control::Grpc(client) => {
                let (name, version) = (model.to_owned(), version.unwrap_or_default().to_owned());
                to_json(&patiently(client.model_statistics(proto::ModelStatisticsRequest { name, version })).await?)?
            }
        };
        read(json).map(|all: AllStatistics| all.sum())
    }
}

fn model_path<'a>(model: &'a str, version: Option<&'a str>) -> Vec<&'a str> {
    let mut path = vec!["models", model];
    if let Some(version) = version {
        path.extend(["versions", version]);
    }
    path
}

/// JSON of a GET; `Null` for an empty answer, such as that of the health endpoints.
async fn get(client: &reqwest::Client, address: &str, path: &[&str]) -> Result<Value, Fault> {
    let request = reqwest::Request::new(reqwest::Method::GET, url(address, path)?);
    let exchange = async {
        let response = client.execute(request).await.map_err(|error| Fault::of_transport(&error))?;
        if !response.status().is_success() {
            return Err(error_of(response).await);
        }
        response.bytes().await.map_err(|error| Fault::of_transport(&error))
    };
    let body = tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| too_late())??;
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| Fault::new(FaultKind::Answer, format!("not JSON: {error}")))
}

async fn patiently<T>(call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> Result<T, Fault> {
    let answer = tokio::time::timeout(PATIENCE, call).await.map_err(|_| too_late())?;
    answer.map(tonic::Response::into_inner).map_err(|status| of_status(&status))
}

fn too_late() -> Fault {
    Fault::new(FaultKind::Timeout, format!("no answer within {} s", PATIENCE.as_secs()))
}

fn to_json<M: Message + Name>(message: &M) -> Result<Value, Fault> {
    proto::to_json(message).map_err(|error| Fault::new(FaultKind::Answer, format!("{error:#}")))
}

fn read<T: DeserializeOwned>(json: Value) -> Result<T, Fault> {
    serde_json::from_value(json)
        .map_err(|error| Fault::new(FaultKind::Answer, format!("the server's answer cannot be read: {error}")))
}
