//! Completes a scenario that leaves its tensors out, from what the server tells of its model. Pure.

use super::{datatype, fixed, needed};
use crate::matrix::{AxisId, Describer, Value};
use crate::protocol::control::description::{ModelConfig, ModelMetadata, TensorMetadata};
use crate::scenario::{Input, Output, Scenario};
use crate::tensor::Source;

/// Completes a scenario without inputs or outputs from the model's metadata: zeros for required inputs, and all
/// outputs. The configuration then decides whether there is a batch dimension, if the server gives it.
///
/// # Errors
/// Everything that the server does not describe well enough, a line each, with the remedy.
pub fn complete(
    scenario: &mut Scenario,
    metadata: &ModelMetadata,
    config: Option<&ModelConfig>,
) -> Result<Describer, Vec<String>> {
    if !scenario.inputs.is_empty() && !scenario.outputs.is_empty() {
        return Ok(Describer::Scenario);
    }
    let mut wrong = Vec::new();
    if scenario.inputs.is_empty() {
        if let Some(config) = config {
            scenario.model.batching &= config.max_batch_size > 0;
        }
        let several: Vec<String> = scenario
            .matrix
            .batch_sizes()
            .iter()
            .filter(|size| **size != 1)
            .map(u32::to_string)
            .collect();
        if !scenario.model.batching && !several.is_empty() {
            wrong.push(format!("batch_sizes {}: the model does not batch (max_batch_size 0)", several.join(", ")));
        }
        for offered in needed(metadata, config) {
            match described_input(scenario, offered) {
                Ok(input) => scenario.inputs.push(input),
                Err(problem) => wrong.push(format!("input \"{}\": {problem}", offered.name)),
            }
        }
        if metadata.inputs.is_empty() {
            wrong.push("the scenario has no [[input]], and the server describes none: add one".to_owned());
        }
        if wrong.is_empty() {
            wrong.extend(scenario.check_requests().err());
        }
    }
    if scenario.outputs.is_empty() {
        let output = |output: &TensorMetadata| Output { name: output.name.clone(), expect: None };
        scenario.outputs = metadata.outputs.iter().map(output).collect();
        if scenario.outputs.is_empty() {
            wrong.push("the scenario has no [[output]], and the server describes none: add one".to_owned());
        }
    }
    if wrong.is_empty() { Ok(Describer::Server) } else { Err(wrong) }
}

/// An input as the server describes it, filled with zeros; the scenario's axis of shapes gives its free dimensions.
fn described_input(scenario: &Scenario, offered: &TensorMetadata) -> Result<Input, String> {
    let (Some(datatype), Some(shape)) = (datatype(offered), &offered.shape) else {
        return Err("the server does not tell its type and shape: add an [[input]]".to_owned());
    };
    let item = match (scenario.model.batching, shape.split_first()) {
        (true, Some((_, item))) => item,
        _ => &shape[..],
    };
    let of_axis = scenario.matrix.given(AxisId::Shapes).first().and_then(|value| match value {
        Value::Shapes(shapes) => shapes.of(&offered.name).map(<[usize]>::to_vec),
        _ => None,
    });
    let shape = of_axis.or_else(|| fixed(item)).ok_or_else(|| {
        format!("its shape {item:?} has free dimensions: give them in [matrix], such as shapes = [[..]], or add an [[input]]")
    })?;
    Ok(Input { name: offered.name.clone(), datatype, shape, data: Source::Zeros })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::preflight::agree;
    use crate::preflight::tests::{config, metadata};

    fn without_tensors(rest: &str) -> Scenario {
        let text = format!("title = \"t\"\n[model]\nname = \"m\"\n[matrix]\n{rest}");
        Scenario::parse(Path::new("t.toml"), text.as_bytes()).unwrap()
    }

    #[test]
    fn what_the_scenario_leaves_out_the_server_describes() {
        let described = metadata(json!({
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}, {"name": "o", "datatype": "INT8", "shape": [-1, 1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}, {"name": "z"}]}));
        let batched = config(json!({"max_batch_size": 8, "input": [{"name": "o", "optional": true}]}));
        let mut scenario = without_tensors("batch_sizes = [1, 8]");
        assert_eq!(complete(&mut scenario, &described, Some(&batched)), Ok(Describer::Server));
        assert_eq!(
            (
                scenario.inputs.len(),
                &scenario.inputs[0].shape[..],
                &scenario.outputs.iter().map(|output| &output.name[..]).collect::<Vec<_>>()[..]
            ),
            (1, &[4][..], &["y", "z"][..])
        );
        assert!(agree(&scenario, &described, Some(&batched)).is_ok());
        // the inputs of the file are kept where it leaves out the outputs alone
        let input = "batch_sizes = [8]\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [3]\n";
        let mut scenario = without_tensors(input);
        assert_eq!(complete(&mut scenario, &described, Some(&batched)), Ok(Describer::Server));
        assert_eq!((&scenario.inputs[0].shape[..], scenario.outputs.len()), (&[3][..], 2));
        // a scenario's own tensors are kept
        assert_eq!(complete(&mut with_tensors(), &described, None), Ok(Describer::Scenario));
    }

    #[test]
    fn what_the_server_does_not_describe_well_enough_is_asked_for() {
        let wrong = |rest: &str, described: serde_json::Value, max_batch_size: i64| {
            let config = config(json!({"max_batch_size": max_batch_size}));
            complete(&mut without_tensors(rest), &metadata(described), Some(&config))
                .unwrap_err()
                .join("; ")
        };
        let free =
            json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, -1]}], "outputs": [{"name": "y"}]});
        assert!(
            wrong("", free.clone(), 8)
                .contains("input \"x\": its shape [3, -1] has free dimensions: give them in [matrix]")
        );
        assert!(wrong("shapes = [{z = [3]}]", free.clone(), 8).contains("free dimensions"));
        assert!(
            wrong("shapes = [[3, 7], [3, 65536]]\nbatch_sizes = [65536]", free, 65536)
                .contains("shapes 3x65536: a request")
        );
        let empty =
            json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 0]}], "outputs": [{"name": "y"}]});
        assert!(wrong("", empty, 8).contains("its shape [0] has free dimensions"));
        let unknown = json!({"inputs": [{"name": "x"}], "outputs": []});
        let words = wrong("", unknown, 8);
        assert!(words.contains("does not tell its type and shape") && words.contains("no [[output]]"), "{words}");
        assert!(wrong("", json!({}), 8).contains("no [[input]], and the server describes none"));
        let fixed = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [3]}], "outputs": [{"name": "y"}]});
        assert!(wrong("batch_sizes = [1, 4]", fixed, 0).contains("batch_sizes 4: the model does not batch"));
    }

    fn with_tensors() -> Scenario {
        let tensors = "[[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [4]\n[[output]]\nname = \"y\"\n";
        without_tensors(&format!("batch_sizes = [1, 8]\n{tensors}"))
    }
}
