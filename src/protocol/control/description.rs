//! Servers' descriptions of themselves and their models, from JSON or gRPC messages. Servers differ: a value that is
//! `null`, missing or not the protocol's counts as not given. Pure: asks nobody.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::proto;
use crate::protocol::json::without_special_floats;
use crate::protocol::{Fault, FaultKind};
use crate::tensor::Datatype;
use crate::text;

/// Maximum number of a server's extensions that is kept.
const EXTENSIONS_MAX: usize = 64;
/// Longest label of weights that is kept, in characters.
const LABEL_MAX: usize = 200;

/// A server's name, version and protocol extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ServerMetadata {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub version: String,
    #[serde(deserialize_with = "or_default")]
    pub extensions: Vec<String>,
}

/// A model's tensors; empty if the server describes none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct ModelMetadata {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    #[serde(deserialize_with = "or_default")]
    pub versions: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub platform: String,
    #[serde(deserialize_with = "or_default")]
    pub inputs: Vec<TensorMetadata>,
    #[serde(deserialize_with = "or_default")]
    pub outputs: Vec<TensorMetadata>,
}

/// A tensor of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct TensorMetadata {
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// `None` if the server gives none, or none of the protocol's, such as `INVALID`.
    #[serde(deserialize_with = "known_datatype", skip_serializing_if = "Option::is_none")]
    pub datatype: Option<String>,
    /// With a batch dimension if the model has one; a dimension of -1 has any size. `None` if the server gives none:
    /// servers that do not know the shape write an empty one.
    #[serde(deserialize_with = "known_shape", skip_serializing_if = "Option::is_none")]
    pub shape: Option<Vec<i64>>,
}

/// The fields of Triton's model configuration that are read; `json` is the whole configuration.
#[derive(Clone, Debug, Default)]
pub struct ModelConfig {
    /// As given by the server.
    pub json: Value,
    /// Largest batch; 0 means that the server does not batch the model.
    pub max_batch_size: i64,
    /// Inputs that may be left out.
    pub optional_inputs: Vec<String>,
    /// The description of the weights in the configuration's parameter `weights`.
    pub weights: Option<String>,
    /// Whether the model may answer a request any number of times.
    pub decoupled: bool,
    /// Whether requests belong to sequences.
    pub sequences: bool,
}

impl ServerMetadata {
    /// Cleaned for display.
    pub(in crate::protocol) fn shown(self) -> Self {
        let extensions = self.extensions.iter().take(EXTENSIONS_MAX).map(|name| text::name(name)).collect();
        ServerMetadata { name: text::name(&self.name), version: text::name(&self.version), extensions }
    }
}

impl ModelMetadata {
    /// Whether any tensor is described.
    pub fn describes(&self) -> bool {
        !self.inputs.is_empty() || !self.outputs.is_empty()
    }
}

impl ModelConfig {
    /// Reads the fields from a configuration.
    ///
    /// # Errors
    /// It is not a JSON object, as every configuration is.
    pub fn of(json: Value) -> Result<Self, Fault> {
        if !json.is_object() {
            return Err(Fault::new(FaultKind::Answer, "the model's configuration is no JSON object"));
        }
        let string = |value: &Value| value.as_str().map(str::to_owned);
        let inputs = json["input"].as_array().map_or(&[][..], Vec::as_slice);
        let optional = inputs.iter().filter(|input| input["optional"].as_bool() == Some(true));
        Ok(ModelConfig {
            max_batch_size: json["max_batch_size"].as_i64().unwrap_or(0),
            optional_inputs: optional.filter_map(|input| string(&input["name"])).collect(),
            weights: string(&json["parameters"]["weights"]["string_value"])
                .map(|weights| text::line(&weights, LABEL_MAX)),
            decoupled: json["model_transaction_policy"]["decoupled"].as_bool() == Some(true),
            sequences: json["sequence_batching"].is_object(),
            json,
        })
    }
}

impl From<proto::ServerMetadataResponse> for ServerMetadata {
    fn from(message: proto::ServerMetadataResponse) -> Self {
        let proto::ServerMetadataResponse { name, version, extensions } = message;
        ServerMetadata { name, version, extensions }
    }
}

impl From<proto::ModelMetadataResponse> for ModelMetadata {
    fn from(message: proto::ModelMetadataResponse) -> Self {
        let tensor = |tensor: proto::model_metadata_response::TensorMetadata| TensorMetadata {
            name: tensor.name,
            datatype: Some(tensor.datatype).filter(|name| is_known(name)),
            shape: Some(tensor.shape).filter(|shape| !shape.is_empty()),
        };
        ModelMetadata {
            name: message.name,
            versions: message.versions,
            platform: message.platform,
            inputs: message.inputs.into_iter().map(tensor).collect(),
            outputs: message.outputs.into_iter().map(tensor).collect(),
        }
    }
}

/// Reads JSON as servers write it: Python's `NaN`, `Infinity` and `-Infinity`, which are not JSON, count as numbers.
///
/// # Errors
/// It is not JSON, or nested too deeply.
pub fn read<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Fault> {
    let read = serde_json::from_slice(body).or_else(|error| match without_special_floats(body) {
        Cow::Owned(replaced) => serde_json::from_slice(&replaced),
        Cow::Borrowed(_) => Err(error),
    });
    read.map_err(|error| Fault::new(FaultKind::Answer, format!("the server's answer cannot be read: {error}")))
}

fn is_known(datatype: &str) -> bool {
    datatype.parse::<Datatype>().is_ok()
}

fn or_default<'a, D: Deserializer<'a>, T: Deserialize<'a> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn known_datatype<'a, D: Deserializer<'a>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.filter(|name| is_known(name)))
}

/// Gateways that translate gRPC write 64-bit numbers as strings.
fn known_shape<'a, D: Deserializer<'a>>(from: D) -> Result<Option<Vec<i64>>, D::Error> {
    let size = |size: &Value| size.as_i64().or_else(|| size.as_str()?.parse().ok());
    let shape = Option::<Vec<Value>>::deserialize(from)?;
    Ok(shape
        .and_then(|shape| shape.iter().map(size).collect())
        .filter(|shape: &Vec<i64>| !shape.is_empty()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_null_or_left_out_is_not_told() {
        let nulls = r#"{"name": "m", "versions": null, "platform": null, "inputs": null}"#;
        let expected = ModelMetadata { name: "m".to_owned(), ..ModelMetadata::default() };
        assert_eq!(read::<ModelMetadata>(nulls.as_bytes()).unwrap(), expected);
        assert!(!expected.describes());
        let server = read::<ServerMetadata>(br#"{"name": "s", "version": null, "extensions": null}"#).unwrap();
        assert_eq!((server.name.as_str(), server.version.as_str()), ("s", ""));
        assert_eq!(read::<ServerMetadata>(b"{}").unwrap(), ServerMetadata::default());
    }

    #[test]
    fn a_tensor_is_described_as_far_as_the_protocol_knows_it() {
        let tensor = |text: &str| {
            let tensor = read::<TensorMetadata>(text.as_bytes()).unwrap();
            (tensor.datatype.unwrap_or_default(), tensor.shape)
        };
        let whole = ("FP32".to_owned(), Some(vec![-1, 4]));
        assert_eq!(tensor(r#"{"name": "x", "datatype": "FP32", "shape": [-1, 4]}"#), whole);
        assert_eq!(tensor(r#"{"name": "x", "datatype": "FP32", "shape": ["-1", "4"]}"#), whole);
        for unknown in [
            r#"{"name": "x", "datatype": "INVALID", "shape": []}"#,
            r#"{"name": "x", "datatype": null, "shape": null}"#,
            r#"{"name": "x", "datatype": "float32", "shape": ["a"]}"#,
            r#"{"name": "x"}"#,
        ] {
            assert_eq!(tensor(unknown), (String::new(), None), "{unknown}");
        }
    }

    #[test]
    fn numbers_that_json_lacks_are_numbers_and_text_stays() {
        let found =
            read::<Value>(br#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \" Infinity", "d": 1}"#).unwrap();
        assert!(found["a"].is_number() && found["b"][0].is_number() && found["c"] == "NaN \" Infinity", "{found}");
        for wrong in ["{\"a\": NaN", "<html>Infinity</html>", "", "\"NaN"] {
            assert_eq!(read::<Value>(wrong.as_bytes()).unwrap_err().kind, FaultKind::Answer, "{wrong}");
        }
    }

    #[test]
    fn deep_json_is_an_error() {
        for deep in ["[".repeat(1 << 22), r#"{"inputs":"#.repeat(1 << 18), format!("{}NaN", "[".repeat(1 << 20))] {
            assert_eq!(read::<Value>(deep.as_bytes()).unwrap_err().kind, FaultKind::Answer);
            assert!(read::<ModelMetadata>(deep.as_bytes()).is_err());
        }
    }

    #[test]
    fn a_configuration_tells_what_cannot_be_measured() {
        let of = |json: Value| ModelConfig::of(json).map(|config| (config.decoupled, config.sequences));
        assert_eq!(of(json!({"max_batch_size": null})).unwrap(), (false, false));
        let none = json!({"model_transaction_policy": {"decoupled": false}, "sequence_batching": null});
        assert_eq!(of(none).unwrap(), (false, false));
        assert_eq!(of(json!({"model_transaction_policy": {"decoupled": true}})).unwrap(), (true, false));
        assert_eq!(of(json!({"sequence_batching": {"direct": {}}})).unwrap(), (false, true));
        assert!(of(json!([])).is_err());
    }
}
