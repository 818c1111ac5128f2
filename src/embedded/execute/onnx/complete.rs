//! Completes a configuration from the model file, by the rules of Triton's ONNX Runtime backend.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::signature::{Port, Signature};
use crate::proto::model_config::SchedulingChoice;
use crate::proto::{DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelOutput, ModelTensorReshape};
use crate::tensor::Datatype;

/// The default name of a model's file.
pub const FILE: &str = "model.onnx";
/// `default-max-batch-size` of Triton.
const MAX_BATCH_SIZE: i32 = 4;

/// Whether a model without any configuration can be completed.
pub fn possible(folder: &Path) -> bool {
    newest(folder, FILE).is_some()
}

/// Fills in inputs, outputs and the batch size of the model in `folder`. Changes nothing if both inputs and outputs
/// are given, the backend is another one, or the file does not exist.
///
/// # Errors
/// The file cannot be read, does not declare enough, or contradicts the configuration.
pub fn complete(message: &mut ModelConfig, folder: &Path) -> Result<()> {
    let onnx = matches!(
        (message.backend.as_str(), message.platform.as_str()),
        ("onnxruntime", _) | ("", "onnxruntime_onnx" | "")
    );
    if !onnx || !(message.input.is_empty() || message.output.is_empty()) {
        return Ok(());
    }
    let name = if message.default_model_filename.is_empty() {
        FILE
    } else {
        &message.default_model_filename
    };
    let Some(file) = newest(folder, name) else { return Ok(()) };
    let signature = super::signature(&file).with_context(|| format!("it is completed from {name}"))?;
    batch(message, &signature)?;
    let batched = message.max_batch_size > 0;
    if message.input.is_empty() {
        message.input = signature.inputs.iter().map(|port| input(port, batched)).collect::<Result<_>>()?;
    }
    if message.output.is_empty() {
        message.output = signature.outputs.iter().map(|port| output(port, batched)).collect::<Result<_>>()?;
    }
    Ok(())
}

/// The model's file in the newest version that has one.
fn newest(folder: &Path, file: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(folder).ok()?.flatten();
    let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok());
    let mut versions: Vec<u64> = versions.filter(|version| *version > 0).collect();
    versions.sort_unstable();
    versions
        .iter()
        .rev()
        .map(|version| folder.join(version.to_string()).join(file))
        .find(|path| path.is_file())
}

/// A model supports batching if all its tensors leave their first dimension free.
fn batch(message: &mut ModelConfig, signature: &Signature) -> Result<()> {
    let mut ports = signature.inputs.iter().chain(&signature.outputs);
    let batches = ports.all(|port| port.shape.as_ref().is_none_or(|shape| shape.first() == Some(&-1)));
    ensure!(
        batches || message.max_batch_size == 0,
        "max_batch_size is {}, but the model's tensors do not all leave their first dimension free: make it 0",
        message.max_batch_size
    );
    if batches && message.max_batch_size == 0 {
        message.max_batch_size = MAX_BATCH_SIZE;
    }
    if batches && message.max_batch_size > 1 && message.scheduling_choice.is_none() {
        message.scheduling_choice = Some(SchedulingChoice::DynamicBatching(ModelDynamicBatching::default()));
    }
    Ok(())
}

fn input(port: &Port, batched: bool) -> Result<ModelInput> {
    let (data_type, (dims, reshape)) = (data_type(port)?, dims(port, batched)?);
    Ok(ModelInput {
        name: port.name.clone(),
        data_type: data_type.into(),
        dims,
        reshape,
        ..Default::default()
    })
}

fn output(port: &Port, batched: bool) -> Result<ModelOutput> {
    let (data_type, (dims, reshape)) = (data_type(port)?, dims(port, batched)?);
    Ok(ModelOutput {
        name: port.name.clone(),
        data_type: data_type.into(),
        dims,
        reshape,
        ..Default::default()
    })
}

/// The dims without the batch dimension; a scalar has shape `[1]`, which the model sees as an empty shape.
fn dims(port: &Port, batched: bool) -> Result<(Vec<i64>, Option<ModelTensorReshape>)> {
    let Some(shape) = &port.shape else {
        bail!("\"{}\": the model file does not say its shape: write inputs and outputs into config.pbtxt", port.name);
    };
    match &shape[usize::from(batched)..] {
        [] => Ok((vec![1], batched.then(ModelTensorReshape::default))),
        dims => Ok((dims.to_vec(), None)),
    }
}

fn data_type(port: &Port) -> Result<DataType> {
    let datatype = port
        .element
        .datatype()
        .with_context(|| format!("\"{}\" is {}", port.name, port.element))?;
    Ok(match datatype {
        Datatype::Bool => DataType::TypeBool,
        Datatype::Uint8 => DataType::TypeUint8,
        Datatype::Uint16 => DataType::TypeUint16,
        Datatype::Uint32 => DataType::TypeUint32,
        Datatype::Uint64 => DataType::TypeUint64,
        Datatype::Int8 => DataType::TypeInt8,
        Datatype::Int16 => DataType::TypeInt16,
        Datatype::Int32 => DataType::TypeInt32,
        Datatype::Int64 => DataType::TypeInt64,
        Datatype::Fp16 => DataType::TypeFp16,
        Datatype::Fp32 => DataType::TypeFp32,
        Datatype::Fp64 => DataType::TypeFp64,
        Datatype::Bytes => DataType::TypeString,
        Datatype::Bf16 => DataType::TypeBf16,
    })
}
