//! Whether a scenario and a server's model agree, before anything is measured. Pure: gets what was read, asks nobody.

use crate::protocol::control::{ModelConfig, ModelMetadata, TensorMetadata};
use crate::protocol::verify::shapes_agree;
use crate::scenario::Scenario;

/// Checks names, types, shapes and the batch limit.
///
/// # Errors
/// Everything that does not agree, a line each, with what the server offers.
pub fn agree(
    scenario: &Scenario,
    metadata: &ModelMetadata,
    config: Option<&ModelConfig>,
) -> Result<Vec<TensorMetadata>, Vec<String>> {
    let mut wrong = Vec::new();
    for input in &scenario.inputs {
        let Some(offered) = metadata.inputs.iter().find(|offered| offered.name == input.name) else {
            wrong.push(format!(
                "input \"{}\": the model has no such input, it has {}",
                input.name,
                list(&metadata.inputs)
            ));
            continue;
        };
        if offered.datatype != input.datatype.name() {
            wrong.push(format!(
                "input \"{}\": datatype is {}, the model takes {}",
                input.name, input.datatype, offered.datatype
            ));
        }
        let item: Vec<i64> = input.shape.iter().map(|size| *size as i64).collect();
        if let Some(problem) = shape_problem(scenario, &item, &offered.shape) {
            wrong.push(format!("input \"{}\": {problem}", input.name));
        }
    }
    let optional = |name: &String| config.is_some_and(|config| config.optional_inputs.contains(name));
    for offered in &metadata.inputs {
        if !scenario.inputs.iter().any(|input| input.name == offered.name) && !optional(&offered.name) {
            wrong.push(format!(
                "input \"{}\": the model needs it ({}), add an [[input]]",
                offered.name,
                describe(offered)
            ));
        }
    }
    let mut expected = Vec::new();
    for name in &scenario.outputs {
        match metadata.outputs.iter().find(|offered| offered.name == *name) {
            Some(offered) => expected.push(offered.clone()),
            None => wrong
                .push(format!("output \"{name}\": the model has no such output, it has {}", list(&metadata.outputs))),
        }
    }
    if let Some(limit) = config.map(|config| config.max_batch_size).filter(|limit| *limit > 0)
        && scenario.model.batching
    {
        let above: Vec<String> =
            scenario.matrix.batch_sizes.iter().filter(|size| i64::from(**size) > limit).map(u32::to_string).collect();
        if !above.is_empty() {
            wrong.push(format!("batch_sizes {}: the model takes at most {limit} (max_batch_size)", above.join(", ")));
        }
    }
    if wrong.is_empty() { Ok(expected) } else { Err(wrong) }
}

/// The outputs of a case: where the model has a batch dimension, it is the case's.
pub fn expected_for(outputs: &[TensorMetadata], batching: bool, batch_size: u32) -> Vec<TensorMetadata> {
    let mut outputs = outputs.to_vec();
    for output in outputs.iter_mut().filter(|_| batching) {
        if let Some(first) = output.shape.first_mut() {
            *first = batch_size.into();
        }
    }
    outputs
}

fn shape_problem(scenario: &Scenario, item: &[i64], offered: &[i64]) -> Option<String> {
    if !scenario.model.batching {
        return (!shapes_agree(item, offered))
            .then(|| format!("shape is {item:?} (batching = false), the model takes {offered:?}"));
    }
    let fits = |batch: u32| {
        let sent: Vec<i64> = std::iter::once(i64::from(batch)).chain(item.iter().copied()).collect();
        shapes_agree(&sent, offered)
    };
    if scenario.matrix.batch_sizes.iter().all(|batch| fits(*batch)) {
        return None;
    }
    if shapes_agree(item, offered) {
        return Some(format!(
            "the model has no batch dimension, it takes {offered:?}: say `batching = false` in [model]"
        ));
    }
    if offered.first() != Some(&-1) && fits(offered.first().copied().unwrap_or(0).try_into().unwrap_or(0)) {
        return Some(format!("the model takes batches of {} only", offered[0]));
    }
    Some(format!("shape is {item:?} after the batch dimension, the model takes {offered:?} with it"))
}

fn list(tensors: &[TensorMetadata]) -> String {
    tensors.iter().map(|tensor| format!("\"{}\" {}", tensor.name, describe(tensor))).collect::<Vec<_>>().join(", ")
}

fn describe(tensor: &TensorMetadata) -> String {
    format!("{} {:?}", tensor.datatype, tensor.shape)
}
