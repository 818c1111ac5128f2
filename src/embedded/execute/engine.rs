//! ONNX models, executed by rten. Knows nothing of queues, protocols or time-outs.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};
use rten_tensor::prelude::*;

use crate::embedded::error::Error;
use crate::embedded::execute::backend::{Backend, Clock, scatter};
use crate::embedded::execute::infer::{Answer, Delivery, ValidatedRequest};
use crate::embedded::execute::onnx::{self, Element, GUARD_LIMIT, Loaded, Port};
use crate::embedded::execute::values::{self, Place};
use crate::embedded::lock;
use crate::embedded::model::config::{Config, Description};

/// Triton's ONNX Runtime backend has a parameter of the same name.
const THREADS_KEY: &str = "intra_op_thread_count";

/// The thread pool of all models that do not ask for their own: as many threads as the process may use.
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
    inputs: Vec<Place>,
    outputs: Vec<Place>,
    /// Extra outputs that show whether integers stayed within the engine's 32 bits.
    guards: Vec<NodeId>,
    threads: Threads,
    /// Deviations from the file, as messages for the server's log.
    pub notices: Vec<String>,
}

enum Threads {
    /// One pool for all models.
    Shared(Arc<ThreadPool>),
    /// One pool of N threads per instance; the list holds the idle pools.
    Own(usize, Mutex<Vec<Arc<ThreadPool>>>),
}

impl Engine {
    /// Loads the model in `path`.
    ///
    /// # Errors
    /// The file does not exist, is not an ONNX model, needs something that the engine lacks or gets wrong, or has
    /// other tensors than the configuration.
    pub fn load(path: &Path, config: Arc<Config>, all_cores: &Arc<ThreadPool>) -> Result<Self> {
        ensure!(
            path.is_file(),
            "the version's folder has no {}: get one with runner models fetch, or synth",
            config.file
        );
        let loaded = onnx::load(path).with_context(|| format!("{} cannot be loaded", config.file))?;
        let Loaded { model, signature, guards } = loaded;
        let double = signature
            .inputs
            .iter()
            .chain(&signature.outputs)
            .filter(|port| port.element == Element::DOUBLE);
        let notices = double.map(|port| format!("\"{}\" is FP64: computed in single precision here", port.name));
        let notices = notices.collect();
        let batched = config.max_batch_size > 0;
        let inputs = places(&model, &config.inputs, &signature.inputs, batched, "input")?;
        let outputs = places(&model, &config.outputs, &signature.outputs, batched, "output")?;
        ensure!(
            inputs.len() == signature.inputs.len(),
            "the model has {} inputs, the configuration {}: name all of them",
            signature.inputs.len(),
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
        Ok(Engine { config, model, inputs, outputs, guards, threads, notices })
    }

    fn run(&self, requests: &[ValidatedRequest], clock: &mut Clock) -> Result<Vec<Answer>, Error> {
        let mut inputs: Vec<(NodeId, ValueOrView)> = Vec::with_capacity(self.inputs.len());
        for (place, tensor) in self.inputs.iter().zip(&self.config.inputs) {
            if let Some(value) = values::input(requests, tensor, place.number)? {
                inputs.push((place.id, ValueOrView::Value(value)));
            }
        }
        clock.input_done();
        // only requested outputs are computed
        let wanted: Vec<usize> = (0..self.outputs.len())
            .filter(|output| requests.iter().any(|request| request.outputs.contains(output)))
            .collect();
        let nodes = wanted.iter().map(|output| self.outputs[*output].id);
        let nodes: Vec<NodeId> = nodes.chain(self.guards.iter().copied()).collect();
        let values = self.threads.with(|threads| {
            let options = RunOptions::default().with_thread_pool(Some(threads));
            self.model.run(inputs, &nodes, Some(options))
        });
        let mut values = values.map_err(|error| Error::internal(format!("rten: {error}")))?;
        within(values.drain(wanted.len()..))?;
        clock.infer_done();
        let items = requests.iter().map(|request| request.batch).sum();
        let mut answers: Vec<Answer> = requests
            .iter()
            .map(|_| Answer { outputs: Vec::new(), delivery: Delivery::Whole })
            .collect();
        for (output, value) in wanted.into_iter().zip(values) {
            let (described, batched) = (&self.config.outputs[output], self.config.max_batch_size > 0);
            let (shape, data) = values::output(value, described, items, batched, &self.outputs[output])?;
            let shares = scatter(requests, &self.config, output, &shape, &data);
            for (answer, share) in answers.iter_mut().zip(shares) {
                answer.outputs.extend(share);
            }
        }
        Ok(answers)
    }
}

impl Backend for Engine {
    fn execute(&self, requests: &[ValidatedRequest], clock: &mut Clock) -> Vec<Result<Answer, Error>> {
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
                // a pool is missing if an execution panicked
                let threads = free().pop().unwrap_or_else(|| Arc::new(ThreadPool::with_num_threads(*count)));
                let result = run(threads.clone());
                free().push(threads);
                result
            }
        }
    }
}

/// Finds the configuration's tensors in the model.
fn places(model: &Model, tensors: &[Description], ports: &[Port], batched: bool, what: &str) -> Result<Vec<Place>> {
    let found = tensors.iter().map(|tensor| {
        let port = ports.iter().find(|port| port.name == tensor.name);
        let port = port.with_context(|| {
            let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
            format!("{what} \"{}\": the model has no such {what}; it has {}", tensor.name, names.join(", "))
        })?;
        port.agrees(tensor, batched).with_context(|| format!("{what} \"{}\"", tensor.name))?;
        let id = model
            .find_node(&tensor.name)
            .with_context(|| format!("{what} \"{}\" was lost", tensor.name))?;
        let restated = port.shape.as_ref().is_none_or(|shape| *shape == tensor.model_shape(batched));
        let number = port.is_number(tensor, batched);
        Ok(Place { id, number, restated: restated || number })
    });
    found.collect()
}

/// Checks by the guards that integers stayed within the engine's 32 bits.
fn within(guards: impl Iterator<Item = Value>) -> Result<(), Error> {
    for guard in guards {
        let largest = match guard {
            Value::FloatTensor(tensor) => tensor.item().copied().unwrap_or(f32::NAN),
            _ => f32::NAN,
        };
        if largest.is_nan() || largest >= GUARD_LIMIT {
            let words = format!("an INT64 of the model grew to {largest:e}, beyond the engine's 32 bits");
            return Err(Error::unsupported(words));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rten_tensor::Tensor;

    use super::*;

    #[test]
    fn integers_that_grow_beyond_32_bits_are_an_error() {
        let guard = |value: f32| within([Value::from(Tensor::from(value))].into_iter());
        assert!(guard(0.0).is_ok());
        assert!(guard(f32::NEG_INFINITY).is_ok(), "of no numbers the largest");
        assert!(guard(2_147_400_000.0).is_ok());
        for value in [2_147_483_648.0, 1e10, f32::INFINITY, f32::NAN] {
            assert!(guard(value).unwrap_err().message.contains("beyond the engine's 32 bits"), "{value}");
        }
    }
}
