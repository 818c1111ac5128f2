//! `config.pbtxt`: read whole, checked where this server uses it, completed as a server answers it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::proto::model_config::SchedulingChoice;
use crate::proto::model_instance_group::Kind;
use crate::proto::model_version_policy::{Latest, PolicyChoice};
use crate::proto::{self, DataType, ModelConfig, ModelDynamicBatching, ModelInstanceGroup, ModelVersionPolicy};
use crate::tensor::Datatype;

/// Instances of one model: each is a thread.
const INSTANCES_MAX: usize = 1024;

/// A model's configuration, checked; `answer` is all of it, as a client is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The model's name, which is that of its folder.
    pub name: String,
    /// Largest batch; 0 is a model without a batch dimension.
    pub max_batch_size: usize,
    /// In the configuration's order.
    pub inputs: Vec<Description>,
    /// In the configuration's order.
    pub outputs: Vec<Description>,
    /// How many batches are executed at once.
    pub instances: usize,
    /// How requests are put together; `None` executes each on its own.
    pub batching: Option<Batching>,
    /// What executes it.
    pub backend: BackendKind,
    /// Name of the model's file in its version's folder.
    pub file: String,
    /// What cannot be as the configuration says, in words for the server's log.
    pub notices: Vec<String>,
    /// Completed, as ModelConfig answers it.
    pub answer: ModelConfig,
}

/// A tensor of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Type of its elements.
    pub datatype: Datatype,
    /// Without the batch dimension; -1 is of any size.
    pub dims: Vec<i64>,
    /// Whether a request may leave it out.
    pub optional: bool,
}

/// How the dynamic batcher puts requests together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batching {
    /// Sizes that are executed as soon as they are reached, in increasing order.
    pub preferred: Vec<usize>,
    /// How long the oldest request may wait for others, in microseconds.
    pub max_queue_delay_us: u64,
}

/// What executes a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// An ONNX file.
    Onnx,
    /// Nothing is computed.
    Loopback,
}

impl Description {
    /// With the batch dimension, where the model has one.
    pub fn shape(&self, batched: bool) -> Vec<i64> {
        if batched { [&[-1], &self.dims[..]].concat() } else { self.dims.clone() }
    }
}

impl Config {
    /// Reads the configuration of the model in `folder`: that called `variant` in `configs/`, where there is one.
    ///
    /// # Errors
    /// No such file, not valid, or something that this server cannot do; the message names the file and the field.
    pub fn read(folder: &Path, name: &str, variant: Option<&str>) -> Result<Self> {
        let own = variant.map(|variant| folder.join("configs").join(format!("{variant}.pbtxt")));
        let path = own.filter(|path| path.is_file()).unwrap_or_else(|| folder.join("config.pbtxt"));
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", shown(&path)))?;
        let message: ModelConfig = proto::from_text(&text).with_context(|| shown(&path))?;
        Self::checked(message, name).with_context(|| shown(&path))
    }

    /// Checks a configuration that a client sent with its request to load the model, as JSON.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn of_json(json: &str, name: &str) -> Result<Self> {
        let message: ModelConfig = proto::from_json(json).context("the configuration is not valid JSON of one")?;
        Self::checked(message, name)
    }

    fn checked(mut message: ModelConfig, name: &str) -> Result<Self> {
        let mut notices = Vec::new();
        if message.name.is_empty() {
            name.clone_into(&mut message.name);
        }
        ensure!(message.name == name, "name is \"{}\", but the model's folder is \"{name}\": make them equal", message.name);
        let max_batch_size = usize::try_from(message.max_batch_size)
            .with_context(|| format!("max_batch_size is {}: expected 0 or more", message.max_batch_size))?;
        let backend = backend(&mut message)?;
        let (inputs, outputs) = (inputs(&message)?, outputs(&message)?);
        if message.response_cache.is_some_and(|cache| cache.enable) {
            notices.push("response_cache: there is no cache here; every request is executed".to_owned());
        }
        ensure!(
            !message.model_transaction_policy.is_some_and(|policy| policy.decoupled),
            "model_transaction_policy is decoupled, which this server does not offer: one request has one answer here"
        );
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
        message.version_policy.get_or_insert_with(|| ModelVersionPolicy {
            policy_choice: Some(PolicyChoice::Latest(Latest { num_versions: 1 })),
        });
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

    /// The versions to serve of those that are there, oldest first.
    pub fn versions(&self, mut there: Vec<u64>) -> Vec<u64> {
        there.sort_unstable();
        let policy = self.answer.version_policy.as_ref().and_then(|policy| policy.policy_choice.as_ref());
        match policy {
            Some(PolicyChoice::All(_)) => there,
            Some(PolicyChoice::Specific(specific)) => {
                there.into_iter().filter(|version| specific.versions.contains(&(*version as i64))).collect()
            }
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

/// Whether a name from outside is a file or folder name, and leads nowhere else.
pub fn plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0', ':'])
}

fn shown(path: &Path) -> String {
    // the repository's own part of it: an answer to a client need not tell where the server keeps its files
    let parts: Vec<_> = path.iter().rev().take(3).collect();
    parts.into_iter().rev().collect::<PathBuf>().display().to_string()
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

fn inputs(message: &ModelConfig) -> Result<Vec<Description>> {
    let tensors = message.input.iter().map(|input| {
        ensure!(!input.is_shape_tensor, "input \"{}\": is_shape_tensor is for TensorRT only", input.name);
        ensure!(input.reshape.is_none(), "input \"{}\": reshape is not offered here", input.name);
        description(&input.name, input.data_type, &input.dims, input.optional).context("input")
    });
    distinct(tensors.collect::<Result<_>>()?, "input")
}

fn outputs(message: &ModelConfig) -> Result<Vec<Description>> {
    let tensors = message.output.iter().map(|output| {
        ensure!(!output.is_shape_tensor, "output \"{}\": is_shape_tensor is for TensorRT only", output.name);
        ensure!(output.reshape.is_none(), "output \"{}\": reshape is not offered here", output.name);
        description(&output.name, output.data_type, &output.dims, false).context("output")
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
    Ok(Description { name: name.to_owned(), datatype, dims: dims.to_vec(), optional })
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

fn batching(message: &ModelConfig, max_batch_size: usize, notices: &mut Vec<String>) -> Result<Option<Batching>> {
    let dynamic = match &message.scheduling_choice {
        None => return Ok(None),
        Some(SchedulingChoice::DynamicBatching(dynamic)) => dynamic,
        Some(SchedulingChoice::SequenceBatching(_)) => bail!("sequence_batching is not offered by this server"),
        Some(SchedulingChoice::EnsembleScheduling(_)) => bail!("ensemble_scheduling is not offered by this server"),
    };
    ensure!(max_batch_size > 0, "dynamic_batching needs a max_batch_size of 1 or more");
    let mut preferred = Vec::new();
    for size in &dynamic.preferred_batch_size {
        match usize::try_from(*size) {
            Ok(size) if (1..=max_batch_size).contains(&size) => preferred.push(size),
            _ => bail!("preferred_batch_size {size}: expected 1 to max_batch_size, which is {max_batch_size}"),
        }
    }
    preferred.sort_unstable();
    preferred.dedup();
    let ModelDynamicBatching { preserve_ordering, priority_levels, default_queue_policy, priority_queue_policy, .. } =
        dynamic;
    for (given, field) in [
        (*preserve_ordering, "preserve_ordering"),
        (*priority_levels > 0 || !priority_queue_policy.is_empty(), "priority_levels"),
        (default_queue_policy.is_some(), "default_queue_policy"),
    ] {
        if given {
            notices.push(format!("dynamic_batching {field}: not used here; requests are taken as they come"));
        }
    }
    Ok(Some(Batching { preferred, max_queue_delay_us: dynamic.max_queue_delay_microseconds }))
}

/// The number of instances; the groups become what they are here: on the CPU.
fn instances(message: &mut ModelConfig, name: &str, notices: &mut Vec<String>) -> Result<usize> {
    if message.instance_group.is_empty() {
        message.instance_group.push(ModelInstanceGroup::default());
    }
    let mut instances = 0;
    for (index, group) in message.instance_group.iter_mut().enumerate() {
        if group.name.is_empty() {
            group.name = format!("{name}_{index}");
        }
        if group.count == 0 {
            group.count = 1;
        }
        if group.kind() == Kind::Gpu {
            notices.push(format!("instance_group {}: KIND_GPU; instances are on the CPU here", group.name));
            group.gpus.clear();
        }
        group.set_kind(Kind::Cpu);
        let count = usize::try_from(group.count)
            .with_context(|| format!("instance_group {}: count is {}: expected 1 or more", group.name, group.count))?;
        instances += count;
    }
    ensure!(
        instances <= INSTANCES_MAX,
        "instance_group: {instances} instances, which are threads here: expected at most {INSTANCES_MAX}"
    );
    Ok(instances)
}
