//! Checks that a scenario and a server's model agree, before measuring starts. Pure: works on descriptions already
//! read. Undescribed properties cannot disagree.

mod complete;
mod draft;

pub use complete::complete;
pub use draft::{Draft, Shapes};

use crate::matrix::{AxisId, Point, Value};
use crate::protocol::control::description::{ModelConfig, ModelMetadata, TensorMetadata};
use crate::protocol::verify::{Expected, shapes_agree};
use crate::scenario::{Input, Output, Scenario};
use crate::tensor::Datatype;

/// Most tensors and differences that are listed individually.
const LISTED_MAX: usize = 20;

/// The outputs that a scenario requests from a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// As the model describes them, in the scenario's order.
    pub tensors: Vec<Expected>,
    /// Whether a first dimension of any size is the batch. Only the server's configuration shows it: a model that
    /// batches by itself may return any number of rows for a batch.
    pub batched: bool,
}

impl Outputs {
    /// The expected outputs of requests of one batch size.
    pub fn of_batch(&self, batch_size: u32) -> Vec<Expected> {
        let mut tensors = self.tensors.clone();
        for shape in tensors.iter_mut().filter(|_| self.batched).filter_map(|tensor| tensor.shape.as_mut()) {
            if let Some(first) = shape.first_mut().filter(|first| **first == -1) {
                *first = batch_size.into();
            }
        }
        tensors
    }
}

/// Checks names, types, shapes and the batch limit.
///
/// # Errors
/// All disagreements, a line each, with what the server offers.
pub fn agree(
    scenario: &Scenario,
    metadata: &ModelMetadata,
    config: Option<&ModelConfig>,
) -> Result<Outputs, Vec<String>> {
    if let Some(reason) = config.and_then(not_one_answer_a_request) {
        return Err(vec![reason.to_owned()]);
    }
    let mut wrong = Vec::new();
    if !metadata.inputs.is_empty() {
        for inputs in sent(scenario) {
            inputs_agree(scenario, &inputs, metadata, config, &mut wrong);
        }
    }
    // reports an error of several shapes only once
    let mut said = std::collections::BTreeSet::new();
    wrong.retain(|line| said.insert(line.clone()));
    let mut tensors = Vec::new();
    for Output { name, expect } in &scenario.outputs {
        let expected = Expected { name: name.clone(), datatype: None, shape: None, expect: expect.clone() };
        match metadata.outputs.iter().find(|offered| offered.name == *name) {
            Some(TensorMetadata { datatype, shape, .. }) => {
                tensors.push(Expected { datatype: datatype.clone(), shape: shape.clone(), ..expected });
            }
            None if metadata.outputs.is_empty() => tensors.push(expected),
            None => wrong
                .push(format!("output \"{name}\": the model has no such output, it has {}", list(&metadata.outputs))),
        }
    }
    let limit = config.map_or(0, |config| config.max_batch_size);
    if limit > 0 && scenario.model.batching {
        let above: Vec<String> = scenario
            .matrix
            .batch_sizes()
            .iter()
            .filter(|size| i64::from(**size) > limit)
            .map(u32::to_string)
            .collect();
        if !above.is_empty() {
            wrong.push(format!("batch_sizes {}: the model takes at most {limit} (max_batch_size)", above.join(", ")));
        }
    }
    let batched = limit > 0 && scenario.model.batching;
    if wrong.len() > LISTED_MAX {
        let more = wrong.len() - LISTED_MAX;
        wrong.truncate(LISTED_MAX);
        wrong.push(format!("and {more} more"));
    }
    if wrong.is_empty() { Ok(Outputs { tensors, batched }) } else { Err(wrong) }
}

/// The scenario's inputs and outputs that the metadata does not describe, as text; `None` if all are described.
pub fn undescribed(scenario: &Scenario, metadata: &ModelMetadata) -> Option<String> {
    let told = |tensors: &[TensorMetadata], name: &str| {
        let tensor = tensors.iter().find(|tensor| tensor.name == name);
        tensor.is_some_and(|tensor| tensor.datatype.is_some() && tensor.shape.is_some())
    };
    let inputs = scenario
        .inputs
        .iter()
        .map(|input| &input.name)
        .filter(|name| !told(&metadata.inputs, name));
    let outputs = scenario.outputs.iter().map(|output| &output.name);
    let outputs = outputs.filter(|name| !told(&metadata.outputs, name));
    let open: Vec<String> = inputs.chain(outputs).map(|name| format!("\"{name}\"")).collect();
    (!open.is_empty()).then(|| format!("type and shape of {}", open.join(", ")))
}

/// The reason why a model does not give one answer per request, if so.
fn not_one_answer_a_request(config: &ModelConfig) -> Option<&'static str> {
    if config.decoupled {
        return Some(
            "model_transaction_policy: the model is decoupled, it answers a request any number of times over a stream, \
             which is not measured yet: choose a model that is not",
        );
    }
    config.sequences.then_some(
        "sequence_batching: the model takes requests that belong to sequences, which are not sent yet: choose a model \
         without",
    )
}

/// The inputs in each of the shapes of the matrix.
fn sent(scenario: &Scenario) -> Vec<Vec<Input>> {
    let with = |shapes: &Value| {
        let mut point = Point::default();
        point.set(AxisId::Shapes, shapes);
        scenario.inputs_of(&point)
    };
    match &scenario.matrix.values(AxisId::Shapes)[..] {
        [] => vec![scenario.inputs.clone()],
        shapes => shapes.iter().map(with).collect(),
    }
}

fn inputs_agree(
    scenario: &Scenario,
    inputs: &[Input],
    metadata: &ModelMetadata,
    config: Option<&ModelConfig>,
    wrong: &mut Vec<String>,
) {
    for input in inputs {
        let Some(offered) = metadata.inputs.iter().find(|offered| offered.name == input.name) else {
            let list = list(&metadata.inputs);
            wrong.push(format!("input \"{}\": the model has no such input, it has {list}", input.name));
            continue;
        };
        if let Some(datatype) = offered.datatype.as_ref().filter(|name| **name != input.datatype.name()) {
            wrong.push(format!("input \"{}\": datatype is {}, the model takes {datatype}", input.name, input.datatype));
        }
        let item: Vec<i64> = input.shape.iter().map(|size| *size as i64).collect();
        if let Some(problem) = offered.shape.as_ref().and_then(|shape| shape_problem(scenario, &item, shape)) {
            wrong.push(format!("input \"{}\": {problem}", input.name));
        }
    }
    for offered in needed(metadata, config) {
        if !inputs.iter().any(|input| input.name == offered.name) {
            wrong.push(format!(
                "input \"{}\": the model needs it ({}), add an [[input]]",
                offered.name,
                describe(offered)
            ));
        }
    }
}

/// The inputs that a request needs.
fn needed<'a>(
    metadata: &'a ModelMetadata,
    config: Option<&'a ModelConfig>,
) -> impl Iterator<Item = &'a TensorMetadata> {
    let optional = config.map_or(&[][..], |config| &config.optional_inputs);
    metadata.inputs.iter().filter(|input| !optional.contains(&input.name))
}

/// The sizes of a shape; `None` if one of them is free.
fn fixed(shape: &[i64]) -> Option<Vec<usize>> {
    shape.iter().map(|size| usize::try_from(*size).ok().filter(|size| *size > 0)).collect()
}

/// A tensor's type, if the server tells one of the protocol's.
fn datatype(tensor: &TensorMetadata) -> Option<Datatype> {
    tensor.datatype.as_deref()?.parse().ok()
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
    if scenario.matrix.batch_sizes().into_iter().all(fits) {
        return None;
    }
    if shapes_agree(item, offered) {
        return Some(format!(
            "the model has no batch dimension, it takes {offered:?}: say `batching = false` in [model]"
        ));
    }
    if let Some(only) = offered
        .first()
        .and_then(|first| u32::try_from(*first).ok())
        .filter(|first| fits(*first))
    {
        return Some(format!("the model takes batches of {only} only"));
    }
    Some(format!("shape is {item:?} after the batch dimension, the model takes {offered:?} with it"))
}

fn list(tensors: &[TensorMetadata]) -> String {
    let shown = tensors
        .iter()
        .take(LISTED_MAX)
        .map(|tensor| format!("\"{}\" {}", tensor.name, describe(tensor)));
    let mut list = shown.collect::<Vec<_>>().join(", ");
    if tensors.len() > LISTED_MAX {
        list.push_str(&format!(" and {} more", tensors.len() - LISTED_MAX));
    }
    list
}

fn describe(tensor: &TensorMetadata) -> String {
    let datatype = tensor.datatype.as_deref().unwrap_or("of an unknown type");
    match &tensor.shape {
        Some(shape) => format!("{datatype} {shape:?}"),
        None => format!("{datatype}, of an unknown shape"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn scenario(batching: bool) -> Scenario {
        let text = format!(
            "title = \"t\"\n[model]\nname = \"m\"\nbatching = {batching}\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\n\
             shape = [4]\n[[output]]\nname = \"y\"\n[matrix]\n{}",
            if batching { "batch_sizes = [1, 2]" } else { "" }
        );
        Scenario::parse(Path::new("t.toml"), text.as_bytes()).unwrap()
    }

    pub(super) fn metadata(json: serde_json::Value) -> ModelMetadata {
        serde_json::from_value(json).unwrap()
    }

    pub(super) fn config(json: serde_json::Value) -> ModelConfig {
        ModelConfig::of(json).unwrap()
    }

    fn with_output(shape: &[i64]) -> ModelMetadata {
        metadata(json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": shape}]}))
    }

    fn expected(shape: &[i64], config: Option<&ModelConfig>) -> Option<Vec<i64>> {
        agree(&scenario(true), &with_output(shape), config).unwrap().of_batch(2)[0]
            .shape
            .clone()
    }

    #[test]
    fn the_first_dimension_is_the_batch_only_where_the_configuration_says_so() {
        let (batched, unbatched) = (config(json!({"max_batch_size": 8})), config(json!({"max_batch_size": 0})));
        assert_eq!(expected(&[-1, 7], Some(&batched)), Some(vec![2, 7]));
        // any number of rows for two images: [12, 7] and [0, 7] are right
        assert_eq!(expected(&[-1, 7], Some(&unbatched)), Some(vec![-1, 7]));
        assert_eq!(expected(&[-1, 7], None), Some(vec![-1, 7]));
        assert_eq!(expected(&[12800, 1], Some(&unbatched)), Some(vec![12800, 1]));
        assert_eq!(expected(&[12800, 1], None), Some(vec![12800, 1]));
    }

    #[test]
    fn what_is_not_described_cannot_disagree_and_is_said() {
        let unknown = vec![Expected { name: "y".to_owned(), datatype: None, shape: None, expect: None }];
        for (described, open) in [
            (json!({}), Some("type and shape of \"x\", \"y\"")),
            (
                json!({"inputs": [{"name": "x", "datatype": "INVALID", "shape": []}], "outputs": [{"name": "y"}]}),
                Some("type and shape of \"x\", \"y\""),
            ),
            (json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]}), Some("type and shape of \"y\"")),
            (
                json!({"inputs": [{"name": "x", "datatype": "FP32"}], "outputs": [{"name": "y"}]}),
                Some("type and shape of \"x\", \"y\""),
            ),
        ] {
            let metadata = metadata(described);
            assert_eq!(agree(&scenario(true), &metadata, None).unwrap().tensors, unknown);
            assert_eq!(undescribed(&scenario(true), &metadata).as_deref(), open);
        }
        assert_eq!(undescribed(&scenario(true), &with_output(&[-1, 7])), None);
    }

    #[test]
    fn what_disagrees_is_said_with_what_the_model_has() {
        let wrong = |batching, metadata: serde_json::Value, config: Option<ModelConfig>| {
            agree(&scenario(batching), &self::metadata(metadata), config.as_ref())
                .unwrap_err()
                .join("\n")
        };
        let x = json!({"name": "x", "datatype": "FP32", "shape": [-1, 4]});
        let y = json!({"name": "y", "datatype": "FP32", "shape": [-1, 4]});
        let words = wrong(true, json!({"inputs": [{"name": "a", "datatype": "FP16"}], "outputs": [x]}), None);
        for part in [
            "no such input, it has \"a\" FP16, of an unknown shape",
            "input \"a\": the model needs it",
            "no such output, it has \"x\" FP32 [-1, 4]",
        ] {
            assert!(words.contains(part), "{part}: {words}");
        }
        let words = wrong(true, json!({"inputs": [{"name": "x", "datatype": "INT8", "shape": [4]}]}), None);
        assert!(
            words.contains("datatype is FP32, the model takes INT8") && words.contains("no batch dimension"),
            "{words}"
        );
        assert!(wrong(false, json!({"inputs": [x], "outputs": [y]}), None).contains("(batching = false)"));
        let fixed =
            |shape: &[i64]| json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": shape}], "outputs": [y]});
        assert!(wrong(true, fixed(&[8, 4]), None).contains("the model takes batches of 8 only"));
        assert!(wrong(true, fixed(&[1, 4]), None).contains("the model takes batches of 1 only"));
        for other in [&[-1, 5], &[8, 5]] {
            let words = wrong(true, fixed(other), None);
            assert!(words.contains(&format!("the model takes {other:?} with it")), "{words}");
        }
        let small = Some(config(json!({"max_batch_size": 1})));
        assert!(
            wrong(true, json!({"inputs": [x], "outputs": [y]}), small)
                .contains("batch_sizes 2: the model takes at most 1")
        );
    }

    #[test]
    fn many_differences_are_counted() {
        for (needed, listed, last) in
            [(LISTED_MAX, LISTED_MAX, "needs it"), (LISTED_MAX + 3, LISTED_MAX + 1, "and 3 more")]
        {
            let input = |number: usize| json!({"name": format!("i{number}"), "datatype": "FP32", "shape": [-1, 1]});
            let mut inputs: Vec<serde_json::Value> = (0..needed).map(input).collect();
            inputs.push(json!({"name": "x", "datatype": "FP32", "shape": [-1, 4]}));
            let wrong = agree(&scenario(true), &metadata(json!({"inputs": inputs})), None).unwrap_err();
            assert!(wrong.len() == listed && wrong[listed - 1].contains(last), "{wrong:?}");
        }
        let offers = |count: usize| {
            let outputs: Vec<_> = (0..count).map(|number| json!({"name": format!("o{number}")})).collect();
            agree(&scenario(true), &metadata(json!({"outputs": outputs})), None)
                .unwrap_err()
                .join("\n")
        };
        assert!(offers(LISTED_MAX + 3).ends_with(" and 3 more") && !offers(LISTED_MAX).contains("more"));
    }

    #[test]
    fn decoupled_models_and_sequences_are_refused_once() {
        for (config, words) in [
            (json!({"model_transaction_policy": {"decoupled": true}}), "decoupled"),
            (json!({"sequence_batching": {"oldest": {}}}), "sequence_batching"),
        ] {
            let wrong = agree(&scenario(true), &with_output(&[7]), Some(&self::config(config))).unwrap_err();
            assert!(wrong.len() == 1 && wrong[0].contains(words), "{wrong:?}");
        }
    }
}
