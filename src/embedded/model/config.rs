//! `config.pbtxt`: parsed in full, checked where this server uses it, completed with the defaults that clients see.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::embedded::execute::batching::{Batching, batching, instances};
use crate::embedded::execute::onnx;
use crate::proto::model_config::SchedulingChoice;
use crate::proto::model_optimization_policy::PinnedMemoryBuffer;
use crate::proto::model_version_policy::{Latest, PolicyChoice};
use crate::proto::{self, DataType, ModelConfig, ModelTensorReshape, ModelVersionPolicy};
use crate::tensor::Datatype;

/// Largest configuration file; anything larger is something else.
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// A model's checked configuration; `answer` is the full message that clients receive.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model's name, which is also its folder's name.
    pub name: String,
    /// Largest batch; 0 means no batch dimension.
    pub max_batch_size: usize,
    /// In the configuration's order.
    pub inputs: Vec<Description>,
    /// In the configuration's order.
    pub outputs: Vec<Description>,
    /// How many batches are executed at once.
    pub instances: usize,
    /// How requests are batched; `None` executes each one alone.
    pub batching: Option<Batching>,
    /// The backend that executes the model.
    pub backend: BackendKind,
    /// Name of the model's file in its version's folder.
    pub file: String,
    /// Settings that this server cannot honour, as messages for its log.
    pub notices: Vec<String>,
    /// The completed configuration that ModelConfig returns.
    pub answer: ModelConfig,
}

/// A tensor of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub datatype: Datatype,
    /// The client's shape without the batch dimension; -1 is any size.
    pub dims: Vec<i64>,
    /// The model's shape, if it differs.
    pub reshape: Option<Vec<i64>>,
    /// Whether a request may leave it out.
    pub optional: bool,
}

/// The kind of backend that executes a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// An ONNX file.
    Onnx,
    /// Nothing is computed.
    Loopback,
}

impl Description {
    /// The client's shape, with the batch dimension if the model has one.
    pub fn shape(&self, batched: bool) -> Vec<i64> {
        with_batch(&self.dims, batched)
    }

    /// The model's shape, without the batch dimension.
    pub fn model_dims(&self) -> &[i64] {
        self.reshape.as_ref().unwrap_or(&self.dims)
    }

    /// The model's shape, with the batch dimension if the model has one.
    pub fn model_shape(&self, batched: bool) -> Vec<i64> {
        with_batch(self.model_dims(), batched)
    }

    /// Converts a tensor's shape from the client's to the model's.
    pub fn to_model(&self, shape: Vec<usize>, batched: bool) -> Vec<usize> {
        match &self.reshape {
            Some(reshape) => reshaped(shape, batched, &self.dims, reshape),
            None => shape,
        }
    }

    /// Converts a tensor's shape from the model's to the client's.
    pub fn to_client(&self, shape: Vec<usize>, batched: bool) -> Vec<usize> {
        match &self.reshape {
            Some(reshape) => reshaped(shape, batched, reshape, &self.dims),
            None => shape,
        }
    }
}

fn with_batch(dims: &[i64], batched: bool) -> Vec<i64> {
    if batched { [&[-1], dims].concat() } else { dims.to_vec() }
}

/// Converts a shape from the dims `from` to the dims `to`: free sizes keep their order, and the batch size stays. A
/// shape that does not match `from` is returned unchanged.
fn reshaped(shape: Vec<usize>, batched: bool, from: &[i64], to: &[i64]) -> Vec<usize> {
    let batch = usize::from(batched);
    if shape.len() != from.len() + batch {
        return shape;
    }
    let mut free = from.iter().zip(&shape[batch..]).filter(|(side, _)| **side < 0).map(|(_, size)| *size);
    let sides: Option<Vec<usize>> = to.iter().map(|side| usize::try_from(*side).ok().or_else(|| free.next())).collect();
    sides.map_or(shape.clone(), |sides| [&shape[..batch], &sides].concat())
}

/// Name of the configuration in `configs/` that only this server reads.
const OWN: &str = "embedded";

impl Config {
    /// Reads the configuration of the model in `folder`: `configs/<variant>.pbtxt` if it exists; else
    /// `configs/embedded.pbtxt`, for models that Triton executes in another way; else `config.pbtxt`.
    ///
    /// # Errors
    /// The file is missing or invalid, or asks for something that this server cannot do; the message names the file
    /// and the field.
    pub fn read(folder: &Path, name: &str, variant: Option<&str>) -> Result<Self> {
        let preferred = variant.into_iter().chain([OWN]).map(|variant| format!("configs/{variant}.pbtxt"));
        let found = preferred.map(|file| folder.join(file)).find(|path| path.is_file());
        let path = found.unwrap_or_else(|| folder.join("config.pbtxt"));
        let shown = || shown(&path, folder, name);
        let mut text = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut text));
        match read {
            // the whole configuration comes from the model file
            Err(error) if error.kind() == ErrorKind::NotFound && onnx::possible(folder) => {}
            read => read.map(drop).with_context(|| format!("cannot read {}", shown()))?,
        }
        ensure!(text.len() as u64 <= CONFIG_BYTES_MAX, "{} has more than {CONFIG_BYTES_MAX} bytes", shown());
        let mut message: ModelConfig = proto::from_text(&text).with_context(shown)?;
        onnx::complete(&mut message, folder).with_context(shown)?;
        Self::checked(message, name).with_context(shown)
    }

    /// Parses the JSON configuration that a client sent with its request to load the model.
    ///
    /// # Errors
    /// The text is not JSON, not a configuration, or the configuration of another model.
    pub fn of_json(json: &str, name: &str) -> Result<ModelConfig> {
        let mut message = proto::from_json(json).context("the configuration is not valid JSON of one")?;
        named(&mut message, name)?;
        Ok(message)
    }

    /// Checks and completes a configuration.
    ///
    /// # Errors
    /// The configuration is invalid or asks for something that this server cannot do; the message names the field.
    pub fn checked(mut message: ModelConfig, name: &str) -> Result<Self> {
        let mut notices = Vec::new();
        named(&mut message, name)?;
        let max_batch_size = usize::try_from(message.max_batch_size)
            .with_context(|| format!("max_batch_size is {}: expected 0 or more", message.max_batch_size))?;
        offered(&message)?;
        let backend = backend(&mut message)?;
        let batched = max_batch_size > 0;
        let (inputs, outputs) = (inputs(&message, batched)?, outputs(&message, batched)?);
        if message.response_cache.is_some_and(|cache| cache.enable) {
            notices.push("response_cache: there is no cache here; every request is executed".to_owned());
        }
        let batching = batching(&message, max_batch_size, &mut notices)?;
        let instances = instances(&mut message, name, &mut notices)?;
        for (given, field) in [
            (!message.model_warmup.is_empty(), "model_warmup"),
            (!message.batch_input.is_empty() || !message.batch_output.is_empty(), "batch_input and batch_output"),
            (message.optimization.is_some(), "optimization"),
            (message.model_repository_agents.is_some(), "model_repository_agents"),
        ] {
            if given {
                notices.push(format!("{field}: not used here"));
            }
        }
        complete(&mut message);
        let file = match (message.default_model_filename.as_str(), backend) {
            ("", _) => "model.onnx".to_owned(),
            (given, _) => given.to_owned(),
        };
        ensure!(plain(&file), "default_model_filename is \"{file}\": expected a file's name, without folders");
        if backend == BackendKind::Onnx {
            file.clone_into(&mut message.default_model_filename);
        }
        Ok(Config {
            name: name.to_owned(),
            max_batch_size,
            inputs,
            outputs,
            instances,
            batching,
            backend,
            file,
            notices,
            answer: message,
        })
    }

    /// The versions to serve out of those that exist, oldest first.
    pub fn versions(&self, mut there: Vec<u64>) -> Vec<u64> {
        there.sort_unstable();
        let policy = self.answer.version_policy.as_ref().and_then(|policy| policy.policy_choice.as_ref());
        match policy {
            Some(PolicyChoice::All(_)) => there,
            Some(PolicyChoice::Specific(specific)) => there
                .into_iter()
                .filter(|version| specific.versions.contains(&(*version as i64)))
                .collect(),
            Some(PolicyChoice::Latest(latest)) => {
                there.split_off(there.len().saturating_sub(latest.num_versions.max(1) as usize))
            }
            None => there.split_off(there.len().saturating_sub(1)),
        }
    }

    /// The value of a parameter.
    pub fn parameter(&self, key: &str) -> Option<&str> {
        self.answer.parameters.get(key).map(|parameter| parameter.string_value.as_str())
    }
}

/// Whether an untrusted name is a plain file or folder name that cannot lead elsewhere.
pub fn plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0', ':'])
}

fn named(message: &mut ModelConfig, name: &str) -> Result<()> {
    if message.name.is_empty() {
        name.clone_into(&mut message.name);
    }
    ensure!(
        message.name == name,
        "name is \"{}\", but the model's folder is \"{name}\": make them equal",
        message.name
    );
    Ok(())
}

/// Fills in Triton's defaults: clients read them as if they had been written.
fn complete(message: &mut ModelConfig) {
    message
        .version_policy
        .get_or_insert(ModelVersionPolicy { policy_choice: Some(PolicyChoice::Latest(Latest { num_versions: 1 })) });
    let optimization = message.optimization.get_or_insert_default();
    optimization.input_pinned_memory.get_or_insert(PinnedMemoryBuffer { enable: true });
    optimization.output_pinned_memory.get_or_insert(PinnedMemoryBuffer { enable: true });
    if let Some(SchedulingChoice::DynamicBatching(dynamic)) = &mut message.scheduling_choice
        && dynamic.preferred_batch_size.is_empty()
        && message.max_batch_size > 0
    {
        dynamic.preferred_batch_size.push(message.max_batch_size);
    }
}

/// The file's path within the repository: a client must not learn where the server keeps its files.
fn shown(path: &Path, folder: &Path, name: &str) -> String {
    format!("{name}/{}", path.strip_prefix(folder).unwrap_or(path).display())
}

/// Refuses the kinds of model that this server does not support, naming each.
fn offered(message: &ModelConfig) -> Result<()> {
    let ensemble = matches!(message.scheduling_choice, Some(SchedulingChoice::EnsembleScheduling(_)));
    ensure!(
        !ensemble && message.platform != "ensemble",
        "it is an ensemble (ensemble_scheduling, platform \"ensemble\"), which this server does not offer: it serves the \
         ensemble's models one by one"
    );
    ensure!(
        !matches!(message.scheduling_choice, Some(SchedulingChoice::SequenceBatching(_))),
        "it is a model of sequences (sequence_batching), which this server does not offer: every request stands alone here"
    );
    ensure!(
        !message.model_transaction_policy.is_some_and(|policy| policy.decoupled),
        "model_transaction_policy is decoupled, which this server does not offer: one request has one answer here"
    );
    Ok(())
}

fn backend(message: &mut ModelConfig) -> Result<BackendKind> {
    match (message.backend.as_str(), message.platform.as_str()) {
        ("loopback", _) => Ok(BackendKind::Loopback),
        ("onnxruntime", _) | ("", "onnxruntime_onnx" | "") => {
            "onnxruntime".clone_into(&mut message.backend);
            "onnxruntime_onnx".clone_into(&mut message.platform);
            Ok(BackendKind::Onnx)
        }
        (backend, platform) => bail!(
            "backend \"{backend}\"{} is not one of this server's: it has onnxruntime (ONNX files, executed by rten) and \
             loopback (nothing is computed)",
            if platform.is_empty() { String::new() } else { format!(", platform \"{platform}\"") }
        ),
    }
}

fn inputs(message: &ModelConfig, batched: bool) -> Result<Vec<Description>> {
    let tensors = message.input.iter().map(|input| {
        ensure!(!input.is_shape_tensor, "input \"{}\": is_shape_tensor is for TensorRT only", input.name);
        let mut tensor = description(&input.name, input.data_type, &input.dims, input.optional).context("input")?;
        tensor.reshape = reshape(&tensor, input.reshape.as_ref(), batched).context("input")?;
        Ok(tensor)
    });
    distinct(tensors.collect::<Result<_>>()?, "input")
}

fn outputs(message: &ModelConfig, batched: bool) -> Result<Vec<Description>> {
    let tensors = message.output.iter().map(|output| {
        ensure!(!output.is_shape_tensor, "output \"{}\": is_shape_tensor is for TensorRT only", output.name);
        let mut tensor = description(&output.name, output.data_type, &output.dims, false).context("output")?;
        tensor.reshape = reshape(&tensor, output.reshape.as_ref(), batched).context("output")?;
        Ok(tensor)
    });
    distinct(tensors.collect::<Result<_>>()?, "output")
}

fn distinct(tensors: Vec<Description>, what: &str) -> Result<Vec<Description>> {
    ensure!(!tensors.is_empty(), "{what}: none is given; name every {what} of the model with data_type and dims");
    for (index, tensor) in tensors.iter().enumerate() {
        let twice = tensors[..index].iter().any(|other| other.name == tensor.name);
        ensure!(!twice, "{what} \"{}\" is there twice: remove one", tensor.name);
    }
    Ok(tensors)
}

fn description(name: &str, data_type: i32, dims: &[i64], optional: bool) -> Result<Description> {
    ensure!(!name.is_empty(), "one has no name");
    let data_type = DataType::try_from(data_type).unwrap_or(DataType::TypeInvalid);
    let datatype = datatype(data_type).with_context(|| format!("\"{name}\" has no data_type, such as TYPE_FP32"))?;
    let wrong = dims.iter().find(|dimension| **dimension < -1 || **dimension == 0);
    if let Some(dimension) = wrong {
        bail!("\"{name}\": dims has {dimension}; expected sizes from 1, or -1 for any size");
    }
    ensure!(!dims.is_empty(), "\"{name}\" has no dims");
    Ok(Description { name: name.to_owned(), datatype, dims: dims.to_vec(), reshape: None, optional })
}

/// The model's dims: they hold as many elements as the client's, also between free sides.
fn reshape(tensor: &Description, given: Option<&ModelTensorReshape>, batched: bool) -> Result<Option<Vec<i64>>> {
    let Some(ModelTensorReshape { shape }) = given else { return Ok(None) };
    let (name, dims) = (&tensor.name, &tensor.dims);
    ensure!(
        batched || !shape.is_empty(),
        "\"{name}\": an empty reshape needs a max_batch_size of 1 or more: without batches nothing is left of the tensor"
    );
    if let Some(side) = shape.iter().find(|side| **side < -1 || **side == 0) {
        bail!("\"{name}\": reshape has {side}; expected sizes from 1, or -1 for any size");
    }
    let counts = |dims: &[i64]| -> Vec<Option<i64>> {
        dims.split(|side| *side < 0)
            .map(|part| part.iter().try_fold(1_i64, |count, side| count.checked_mul(*side)))
            .collect()
    };
    ensure!(
        counts(dims) == counts(shape),
        "\"{name}\": dims are {dims:?} and reshape is {shape:?}: expected as many elements in both, and as many sides of -1"
    );
    Ok(Some(shape.clone()))
}

fn datatype(data_type: DataType) -> Option<Datatype> {
    Some(match data_type {
        DataType::TypeInvalid => return None,
        DataType::TypeBool => Datatype::Bool,
        DataType::TypeUint8 => Datatype::Uint8,
        DataType::TypeUint16 => Datatype::Uint16,
        DataType::TypeUint32 => Datatype::Uint32,
        DataType::TypeUint64 => Datatype::Uint64,
        DataType::TypeInt8 => Datatype::Int8,
        DataType::TypeInt16 => Datatype::Int16,
        DataType::TypeInt32 => Datatype::Int32,
        DataType::TypeInt64 => Datatype::Int64,
        DataType::TypeFp16 => Datatype::Fp16,
        DataType::TypeFp32 => Datatype::Fp32,
        DataType::TypeFp64 => Datatype::Fp64,
        DataType::TypeString => Datatype::Bytes,
        DataType::TypeBf16 => Datatype::Bf16,
    })
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
