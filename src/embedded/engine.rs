//! ONNX models, executed by rten. Knows nothing of queues, protocols or time-outs.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rten::{DataType, Dimension, Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView, ValueType};
use rten_tensor::prelude::*;

use super::backend::{Backend, Clock, scatter};
use super::config::{Config, Description};
use super::error::Error;
use super::infer::{Admitted, Answer, Delivery};
use super::lock;
use crate::tensor::Datatype;

/// Triton's ONNX Runtime backend knows a parameter of that name.
const THREADS_KEY: &str = "intra_op_thread_count";

/// The threads of all models that do not ask for their own: as many as the process may use.
///
/// # Errors
/// The number of cores cannot be read.
pub fn all_cores() -> Result<Arc<ThreadPool>> {
    let cores = std::thread::available_parallelism().context("the number of cores cannot be read")?;
    Ok(Arc::new(ThreadPool::with_num_threads(cores.get())))
}

/// An ONNX model, loaded once for all of its instances.
pub struct Engine {
    config: Arc<Config>,
    model: Model,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    threads: Threads,
}

enum Threads {
    /// One pool for all models.
    Shared(Arc<ThreadPool>),
    /// One pool of so many threads an instance; those that are not in use.
    Own(usize, Mutex<Vec<Arc<ThreadPool>>>),
}

impl Engine {
    /// Loads the model in `path`.
    ///
    /// # Errors
    /// No such file, not an ONNX model, an operator that rten lacks, or tensors that are not those of the configuration.
    pub fn load(path: &Path, config: Arc<Config>, all_cores: &Arc<ThreadPool>) -> Result<Self> {
        ensure!(
            path.is_file(),
            "the version's folder has no {}: get one with runner models fetch, or synth",
            config.file
        );
        fields(path).with_context(|| format!("{} cannot be loaded", config.file))?;
        let model =
            Model::load_file(path).map_err(|error| anyhow::anyhow!("{} cannot be loaded: {error}", config.file))?;
        let ids = |tensors: &[Description], known: &[NodeId], what: &str| {
            let found = tensors.iter().map(|tensor| {
                let id = model.find_node(&tensor.name).filter(|id| known.contains(id));
                let id = id.with_context(|| {
                    let names = known.iter().filter_map(|id| model.node_info(*id)?.name().map(str::to_owned));
                    let names = names.collect::<Vec<_>>().join(", ");
                    format!("{what} \"{}\": the model has no such {what}; it has {names}", tensor.name)
                })?;
                agrees(&model, id, tensor, config.max_batch_size > 0)
                    .with_context(|| format!("{what} \"{}\"", tensor.name))?;
                Ok(id)
            });
            found.collect::<Result<Vec<_>>>()
        };
        let inputs = ids(&config.inputs, model.input_ids(), "input")?;
        let outputs = ids(&config.outputs, model.output_ids(), "output")?;
        ensure!(
            inputs.len() == model.input_ids().len(),
            "the model has {} inputs, the configuration {}: name all of them",
            model.input_ids().len(),
            inputs.len()
        );
        let threads = match config.parameter(THREADS_KEY) {
            None | Some("0") => Threads::Shared(all_cores.clone()),
            Some(text) => {
                let count = text.parse().ok().filter(|count| (1..=1024).contains(count));
                let count =
                    count.with_context(|| format!("parameter {THREADS_KEY} is \"{text}\": expected 0 to 1024"))?;
                let pools = (0..config.instances).map(|_| Arc::new(ThreadPool::with_num_threads(count)));
                Threads::Own(count, Mutex::new(pools.collect()))
            }
        };
        Ok(Engine { config, model, inputs, outputs, threads })
    }

    fn run(&self, requests: &[Admitted], clock: &mut Clock) -> Result<Vec<Answer>, Error> {
        let mut inputs: Vec<(NodeId, ValueOrView)> = Vec::with_capacity(self.inputs.len());
        for (id, tensor) in self.inputs.iter().zip(&self.config.inputs) {
            if let Some(value) = input(requests, tensor)? {
                inputs.push((*id, ValueOrView::Value(value)));
            }
        }
        clock.input_done();
        // what nobody asked for is not computed
        let wanted: Vec<usize> = (0..self.outputs.len())
            .filter(|output| requests.iter().any(|request| request.outputs.contains(output)))
            .collect();
        let nodes: Vec<NodeId> = wanted.iter().map(|output| self.outputs[*output]).collect();
        let values = self.threads.with(|threads| {
            let options = RunOptions::default().with_thread_pool(Some(threads));
            self.model.run(inputs, &nodes, Some(options))
        });
        let values = values.map_err(|error| Error::internal(format!("rten: {error}")))?;
        clock.infer_done();
        let items = requests.iter().map(|request| request.batch).sum();
        let mut answers: Vec<Answer> =
            requests.iter().map(|_| Answer { outputs: Vec::new(), delivery: Delivery::Whole }).collect();
        for (output, value) in wanted.into_iter().zip(values) {
            let (shape, data) = output_of(value, &self.config.outputs[output], items, self.config.max_batch_size > 0)?;
            let shares = scatter(requests, &self.config, output, &shape, &data);
            for (answer, share) in answers.iter_mut().zip(shares) {
                answer.outputs.extend(share);
            }
        }
        Ok(answers)
    }
}

impl Backend for Engine {
    fn execute(&self, requests: &[Admitted], clock: &mut Clock) -> Vec<Result<Answer, Error>> {
        match self.run(requests, clock) {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl Threads {
    fn with<T>(&self, run: impl FnOnce(Arc<ThreadPool>) -> T) -> T {
        match self {
            Threads::Shared(threads) => run(threads.clone()),
            Threads::Own(count, free) => {
                let free = || lock(free);
                // one is missing where an execution panicked
                let threads = free().pop().unwrap_or_else(|| Arc::new(ThreadPool::with_num_threads(*count)));
                let result = run(threads.clone());
                free().push(threads);
                result
            }
        }
    }
}

/// Whether the file is a protobuf message as far as its outermost fields show. rten's reader never returns from a number
/// of more than ten bytes, which a damaged file may hold.
fn fields(path: &Path) -> Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    while !file.fill_buf()?.is_empty() {
        let skipped = match varint(&mut file)? & 7 {
            0 => varint(&mut file).map(|_| 0)?,
            1 => 8,
            2 => varint(&mut file)?,
            5 => 4,
            kind => bail!("it is not an ONNX file: it has a field of the unknown kind {kind}"),
        };
        file.seek_relative(i64::try_from(skipped).context("it is not an ONNX file: a field is too long")?)?;
    }
    Ok(())
}

fn varint(file: &mut impl Read) -> Result<u64> {
    let mut value = 0;
    for index in 0..10 {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        value |= u64::from(byte[0] & 0x7f) << (7 * index);
        if byte[0] < 0x80 {
            return Ok(value);
        }
    }
    bail!("it is not an ONNX file: a number in it has no end")
}

/// What rten holds elements of the type as.
fn held_as(datatype: Datatype) -> Option<DataType> {
    match datatype {
        Datatype::Fp32 => Some(DataType::Float),
        // ONNX's 64-bit integers and booleans are 32-bit integers in rten
        Datatype::Int32 | Datatype::Int64 | Datatype::Bool => Some(DataType::Int32),
        Datatype::Int8 => Some(DataType::Int8),
        Datatype::Uint8 => Some(DataType::UInt8),
        _ => None,
    }
}

/// Whether the model's tensor can be what the configuration says.
fn agrees(model: &Model, id: NodeId, tensor: &Description, batched: bool) -> Result<()> {
    let Some(expected) = held_as(tensor.datatype) else {
        bail!("{} is a type that this server's ONNX engine does not have", tensor.datatype);
    };
    let Some(node) = model.node_info(id) else { return Ok(()) };
    if let Some(found) = node.dtype() {
        ensure!(
            found == ValueType::Tensor(expected),
            "the configuration says {}, but the model has {found:?}: correct data_type",
            tensor.datatype
        );
    }
    let Some(shape) = node.shape() else { return Ok(()) };
    let expected = tensor.model_shape(batched);
    let fits = shape.len() == expected.len()
        && shape.iter().zip(&expected).all(|(found, expected)| match found {
            Dimension::Fixed(size) => *expected == *size as i64,
            Dimension::Symbolic(_) => true,
        });
    if !fits {
        let found = shape.iter().map(|dimension| match dimension {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Symbolic(_) => "-1".to_owned(),
        });
        let found = found.collect::<Vec<_>>().join(",");
        bail!(
            "the configuration says {expected:?}{}, but the model has [{found}]: correct dims or max_batch_size",
            if batched { ", batch dimension included" } else { "" }
        );
    }
    Ok(())
}

/// The batch's input as rten takes it; `None` where it is left out.
fn input(requests: &[Admitted], tensor: &Description) -> Result<Option<Value>, Error> {
    let mut parts = Vec::with_capacity(requests.len());
    for request in requests {
        match request.inputs.iter().find(|input| input.name == tensor.name) {
            Some(input) => parts.push(input),
            None => return Ok(None),
        }
    }
    let mut shape = parts[0].shape.clone();
    if parts.len() > 1 {
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    }
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part.data[..]).collect();
    let value = match tensor.datatype {
        Datatype::Fp32 => value(&shape, elements(&parts, f32::from_le_bytes)),
        Datatype::Int32 => value(&shape, elements(&parts, i32::from_le_bytes)),
        Datatype::Int64 => {
            let wide: Vec<i64> = elements(&parts, i64::from_le_bytes);
            let narrow = wide.into_iter().map(|element| {
                i32::try_from(element).map_err(|_| {
                    let words = format!("input '{}' has {element}, beyond the engine's 32 bits", tensor.name);
                    Error::invalid(words)
                })
            });
            value(&shape, narrow.collect::<Result<Vec<i32>, _>>()?)
        }
        Datatype::Bool => value(&shape, elements(&parts, |[byte]: [u8; 1]| i32::from(byte != 0))),
        Datatype::Int8 => value(&shape, elements(&parts, i8::from_le_bytes)),
        Datatype::Uint8 => value(&shape, parts.concat()),
        other => return Err(Error::internal(format!("{other} reached the engine"))),
    };
    Ok(Some(value))
}

fn value<T>(shape: &[usize], data: Vec<T>) -> Value
where
    Value: From<rten_tensor::Tensor<T>>,
{
    Value::from(rten_tensor::Tensor::from_data(shape, data))
}

/// Little-endian elements of all parts, one after the other.
fn elements<T, const SIZE: usize>(parts: &[&[u8]], read: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut elements = Vec::with_capacity(bytes / SIZE);
    for part in parts {
        elements.extend(part.as_chunks().0.iter().map(|chunk| read(*chunk)));
    }
    elements
}

/// The shape of one item and the bytes of all of an output.
fn output_of(value: Value, tensor: &Description, items: usize, batched: bool) -> Result<(Vec<usize>, Bytes), Error> {
    let shape: Vec<usize> = match &value {
        Value::FloatTensor(tensor) => tensor.shape().to_vec(),
        Value::Int32Tensor(tensor) => tensor.shape().to_vec(),
        Value::Int8Tensor(tensor) => tensor.shape().to_vec(),
        Value::UInt8Tensor(tensor) => tensor.shape().to_vec(),
        _ => return Err(Error::internal(format!("output '{}' is not a tensor", tensor.name))),
    };
    let expected = tensor.model_shape(batched);
    let fits = shape.len() == expected.len()
        && shape.iter().zip(&expected).all(|(found, expected)| *expected < 0 || *expected as usize == *found)
        && (!batched || shape[0] == items);
    if !fits {
        return Err(Error::internal(format!(
            "the model gave output '{}' the shape {shape:?} for a batch of {items}, but its configuration says {expected:?}",
            tensor.name
        )));
    }
    let data = match (value, tensor.datatype) {
        (Value::FloatTensor(values), _) => bytes(values.into_data(), f32::to_le_bytes),
        (Value::Int32Tensor(values), Datatype::Int64) => {
            bytes(values.into_data(), |value| i64::from(value).to_le_bytes())
        }
        (Value::Int32Tensor(values), Datatype::Bool) => bytes(values.into_data(), |value| [u8::from(value != 0)]),
        (Value::Int32Tensor(values), _) => bytes(values.into_data(), i32::to_le_bytes),
        (Value::Int8Tensor(values), _) => bytes(values.into_data(), i8::to_le_bytes),
        (Value::UInt8Tensor(values), _) => Bytes::from(values.into_data()),
        _ => return Err(Error::internal(format!("output '{}' has a type without bytes", tensor.name))),
    };
    Ok((shape[usize::from(batched)..].to_vec(), data))
}

fn bytes<T: Copy, const SIZE: usize>(values: Vec<T>, write: impl Fn(T) -> [u8; SIZE]) -> Bytes {
    let mut bytes = vec![0; values.len() * SIZE];
    for (chunk, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *chunk = write(value);
    }
    Bytes::from(bytes)
}
