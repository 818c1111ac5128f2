//! ONNX files for the engine: read, checked against what the engine is known to compute correctly, rewritten to fit
//! it, and loaded. Knows nothing of requests.

mod complete;
mod elements;
mod file;
mod graph;
mod guard;
mod limits;
mod prepare;
mod rewrite;
mod signature;
mod table;
#[cfg(test)]
mod tests;
mod types;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use prost::Message;
use rten::{NodeId, ShapeInferenceMode};

use crate::proto::onnx::ModelProto;
pub use complete::{complete, possible};
pub use elements::Element;
use guard::Found;

pub use guard::LIMIT as GUARD_LIMIT;
pub use signature::{Port, Signature};

/// The inputs and outputs of the file in `path`.
///
/// # Errors
/// It cannot be read, or has inputs or outputs that the protocol cannot express.
pub fn signature(path: &Path) -> Result<Signature> {
    Signature::of(file::read(path)?.graph.as_ref().context("it holds no graph")?)
}

/// A model loaded into the engine.
pub struct Loaded {
    /// The engine's model.
    pub model: rten::Model,
    /// Its inputs and outputs, as declared by the file.
    pub signature: Signature,
    /// Outputs that guard integers: scalars that must stay below [`GUARD_LIMIT`].
    pub guards: Vec<NodeId>,
}

/// Loads the file in `path` into the engine.
///
/// # Errors
/// It cannot be read, or holds something that the engine does not have or gets wrong.
pub fn load(path: &Path) -> Result<Loaded> {
    let model = file::read(path)?;
    let signature = Signature::of(model.graph.as_ref().context("it holds no graph")?)?;
    for (port, what) in signature
        .inputs
        .iter()
        .map(|port| (port, "input"))
        .chain(signature.outputs.iter().map(|port| (port, "output")))
    {
        let element = port.element;
        ensure!(
            element.held().is_some(),
            "{what} \"{}\" is {element}, a type that the engine does not have",
            port.name
        );
    }
    let (model, found) = match in_engine(model, path, ShapeInferenceMode::On) {
        // read again: the first copy is gone, with its weights
        Err(Refusal::Engine(_)) => in_engine(file::read(path)?, path, ShapeInferenceMode::Off),
        loaded => loaded,
    }
    .map_err(|refusal| match refusal {
        Refusal::File(error) | Refusal::Engine(error) => error,
    })?;
    let guards = found
        .guards
        .iter()
        .map(|name| model.find_node(name).with_context(|| format!("{name} was lost")));
    let guards = guards.collect::<Result<_>>()?;
    Ok(Loaded { model, signature, guards })
}

/// Why a model is not loaded.
enum Refusal {
    File(anyhow::Error),
    /// The engine refused it, or panicked: its shape inference may be the cause.
    Engine(anyhow::Error),
}

fn in_engine(mut model: ModelProto, path: &Path, shapes: ShapeInferenceMode) -> Result<(rten::Model, Found), Refusal> {
    let mut prepared = || -> Result<_> {
        file::bring_in(&mut model, path.parent().context("it is in no folder")?)?;
        let found = prepare::prepare(&mut model)?;
        Ok(found)
    };
    let found = prepared().map_err(Refusal::File)?;
    let bytes = model.encode_to_vec();
    drop(model);
    let load = AssertUnwindSafe(|| rten::ModelOptions::with_all_ops().shape_inference(shapes).load(bytes));
    match catch_unwind(load) {
        Ok(Ok(model)) => Ok((model, found)),
        Ok(Err(error)) => Err(Refusal::Engine(anyhow!("{error}"))),
        Err(_) => Err(Refusal::Engine(anyhow!("the engine failed in a way that it does not expect"))),
    }
}
