//! Drafts a scenario from what a server tells of its model: whole, commented, for people to change. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::{datatype, fixed, needed};
use crate::matrix::Protocol;
use crate::protocol::control::description::{ModelConfig, ModelMetadata, ServerMetadata, TensorMetadata};
use crate::scenario::{EMBEDDED, Model, Server};
use crate::text;

/// Batch sizes of a draft, as far as the model takes them.
const BATCH_SIZES: [i64; 3] = [1, 4, 8];
/// Where comments begin, if the line before them is shorter.
const COMMENTS_AT: usize = 28;
/// Longest list of batch sizes or versions in a comment.
const LISTED_MAX: usize = 10;

/// What a draft is made of.
pub struct Draft<'a> {
    /// Who describes the model.
    pub server: &'a ServerMetadata,
    /// Its description.
    pub metadata: &'a ModelMetadata,
    /// The model's configuration, if the server gives it.
    pub config: Option<&'a ModelConfig>,
    /// The model's name and version, as asked for.
    pub model: &'a Model,
    /// The server's addresses, unless they are the default ones.
    pub addresses: Option<&'a Server>,
    /// The protocols that it answers.
    pub protocols: &'a [Protocol],
}

/// Shapes without the batch dimension, by the input's name.
pub type Shapes = BTreeMap<String, Vec<usize>>;

impl Draft<'_> {
    /// Whether tensors have a leading batch dimension. Where the server does not give its configuration, a first
    /// dimension of any size that all inputs have is taken for it.
    fn is_batched(&self) -> bool {
        let first = |tensor: &TensorMetadata| tensor.shape.as_ref().and_then(|shape| shape.first()) == Some(&-1);
        self.config
            .map_or_else(|| self.metadata.inputs.iter().all(first), |config| config.max_batch_size > 0)
    }

    /// An input's shape without the batch dimension; `None` if the server does not tell it.
    fn item<'a>(&self, input: &'a TensorMetadata) -> Option<&'a [i64]> {
        let shape = input.shape.as_deref()?;
        Some(if self.is_batched() { shape.get(1..)? } else { shape })
    }

    /// The needed inputs whose shape neither the server nor `shapes` tells, each with what is known of it.
    pub fn open(&self, shapes: &Shapes) -> Vec<(String, Option<Vec<i64>>)> {
        let is_open = |item: Option<&[i64]>| item.and_then(fixed).is_none();
        needed(self.metadata, self.config)
            .map(|input| (input.name.clone(), self.item(input)))
            .filter(|(name, item)| is_open(*item) && !shapes.contains_key(name))
            .map(|(name, item)| (name, item.map(<[i64]>::to_vec)))
            .collect()
    }

    /// The scenario's text.
    ///
    /// # Errors
    /// What the server does not describe well enough, a line each.
    pub fn text(&self, shapes: &Shapes) -> Result<String, Vec<String>> {
        let mut out = String::new();
        let mut wrong = Vec::new();
        let ServerMetadata { name, version, .. } = self.server;
        let model = text::name(&self.model.name);
        let server = text::line(&format!("{name} {version}"), text::NAME_MAX);
        let _ = writeln!(out, "# \"{model}\" as {server} describes it. Every key: scenarios/README.md");
        let _ = writeln!(out, "# --list prints what is measured, --verify sends one checked request a case.");
        let _ = writeln!(out, "title = {}", quoted(&self.model.name));
        self.write_server(&mut out);
        self.write_model(&mut out);
        for input in needed(self.metadata, self.config) {
            if let Err(problem) = self.write_input(&mut out, input, shapes.get(&input.name)) {
                wrong.push(format!("input \"{}\": {problem}", input.name));
            }
        }
        if self.metadata.inputs.is_empty() {
            wrong.push("it describes no inputs".to_owned());
        }
        for (index, output) in self.metadata.outputs.iter().enumerate() {
            let described = described(output);
            out.push_str("\n[[output]]\n");
            let help = if index == 0 { "; outputs that are left out are not sent back" } else { "" };
            line(&mut out, &format!("name = {}", quoted(&output.name)), &format!("{described}{help}"));
        }
        if self.metadata.outputs.is_empty() {
            wrong.push("it describes no outputs".to_owned());
        }
        self.write_matrix(&mut out);
        out.push_str("\n[load]\n");
        line(&mut out, "duration_s = 10", "seconds a case; or iterations = 1000, requests of each process");
        line(&mut out, "# precision = \"2%\"", "go on until every compared ratio is known that well");
        line(&mut out, "# rate = [50, 100]", "an open loop: requests a second, whatever the answers take");
        if wrong.is_empty() { Ok(out) } else { Err(wrong) }
    }

    fn write_server(&self, out: &mut String) {
        let Some(Server { http, grpc, metrics, is_embedded, .. }) = self.addresses else {
            return;
        };
        // the matrix names the embedded server: it needs no table
        if *is_embedded {
            return;
        }
        out.push_str("\n[server]\n");
        for (protocol, key, address) in [(Protocol::Http, "http", http), (Protocol::Grpc, "grpc", grpc)] {
            if self.protocols.contains(&protocol) {
                let _ = writeln!(out, "{key} = {}", quoted(&address.to_string()));
            }
        }
        if let Some(metrics) = metrics {
            let _ = writeln!(out, "metrics = {}", quoted(&metrics.to_string()));
        }
    }

    fn write_model(&self, out: &mut String) {
        out.push_str("\n[model]\n");
        let Model { name, version, .. } = self.model;
        line(out, &format!("name = {}", quoted(name)), &text::name(&self.metadata.platform));
        let versions: Vec<String> = self
            .metadata
            .versions
            .iter()
            .take(LISTED_MAX)
            .map(|version| text::name(version))
            .collect();
        match version {
            Some(version) => line(out, &format!("version = {}", quoted(version)), ""),
            None if versions.len() > 1 => {
                let newest = versions.last().map_or("", String::as_str);
                line(
                    out,
                    &format!("# version = {}", quoted(newest)),
                    &format!("the server has {}", versions.join(", ")),
                );
            }
            None => {}
        }
        if !self.is_batched() {
            line(out, "batching = false", "tensors have no batch dimension");
        }
    }

    fn write_input(&self, out: &mut String, input: &TensorMetadata, given: Option<&Vec<usize>>) -> Result<(), String> {
        let datatype = datatype(input).ok_or("the server does not tell its type")?;
        let told = self.item(input);
        let shape = given.cloned().or_else(|| fixed(told?));
        let shape = shape.ok_or("its shape is not known")?;
        out.push_str("\n[[input]]\n");
        let _ = writeln!(out, "name = {}", quoted(&input.name));
        let _ = writeln!(out, "datatype = {}", quoted(datatype.name()));
        let mut help = if self.is_batched() { "without the batch dimension".to_owned() } else { String::new() };
        if let Some(told) = told.filter(|told| told.contains(&-1)) {
            let comma = if help.is_empty() { "" } else { "; " };
            let _ = write!(help, "{comma}the model takes {told:?}");
        }
        line(out, &format!("shape = {shape:?}"), &help);
        line(out, "data = \"zeros\"", "or {random = {seed = 7}}, or {file = \"input.npy\"}");
        Ok(())
    }

    fn write_matrix(&self, out: &mut String) {
        out.push_str("\n[matrix]\n");
        if self.addresses.is_some_and(|server| server.is_embedded) {
            line(out, &format!("servers = [{}]", quoted(EMBEDDED)), "the program's own server");
        }
        let protocols: Vec<String> = self.protocols.iter().map(|protocol| quoted(protocol.name())).collect();
        let missing: Vec<&str> = [Protocol::Http, Protocol::Grpc]
            .iter()
            .filter(|protocol| !self.protocols.contains(protocol))
            .map(|protocol| protocol.name())
            .collect();
        let help = if missing.is_empty() {
            String::new()
        } else {
            format!("no answer over {}", missing.join(", "))
        };
        line(out, &format!("protocols = [{}]", protocols.join(", ")), &help);
        let most = self.config.map_or(1, |config| config.max_batch_size);
        if self.is_batched() && most > 1 {
            let mut sizes: Vec<i64> = BATCH_SIZES.into_iter().filter(|size| *size <= most).collect();
            if sizes.len() == 1 {
                sizes.push(most);
            }
            line(out, &format!("batch_sizes = {sizes:?}"), &self.batching(most));
        }
        line(out, "processes = [1]", "client processes, such as [1, 3]");
        line(out, "concurrency = [1]", "requests in flight in each, such as [1, 4, 16]");
    }

    /// What the configuration says of batches.
    fn batching(&self, most: i64) -> String {
        let joins = self.config.is_some_and(|config| config.json["dynamic_batching"].is_object());
        let instances = self.config.map_or(0, |config| instances(&config.json));
        let joined = if joins { ", joined by dynamic batching" } else { "" };
        let of = if instances > 1 { format!(", {instances} instances") } else { String::new() };
        format!("the model takes at most {most}{joined}{of}")
    }
}

/// Instances of a model, over all of its groups.
fn instances(config: &Value) -> u64 {
    let groups = config["instance_group"].as_array().map_or(&[][..], Vec::as_slice);
    groups.iter().filter_map(|group| group["count"].as_u64()).fold(0, u64::saturating_add)
}

/// A tensor's type and shape, as far as they are told.
fn described(tensor: &TensorMetadata) -> String {
    let datatype = tensor.datatype.as_deref().unwrap_or("of an unknown type");
    match &tensor.shape {
        Some(shape) => format!("{datatype} {shape:?}"),
        None => datatype.to_owned(),
    }
}

/// A line with a comment, if there is one.
fn line(out: &mut String, code: &str, comment: &str) {
    let _ = match comment {
        "" => writeln!(out, "{code}"),
        _ => writeln!(out, "{code:<width$}# {comment}", width = COMMENTS_AT.max(code.chars().count() + 1)),
    };
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::preflight::agree;
    use crate::preflight::tests::{config, metadata};
    use crate::scenario::Scenario;

    const BOTH: &[Protocol] = &[Protocol::Http, Protocol::Grpc];

    struct Told {
        metadata: ModelMetadata,
        config: Option<ModelConfig>,
        model: Model,
        shapes: Shapes,
        server: ServerMetadata,
    }

    fn told(described: Value, configured: Option<Value>) -> Told {
        Told {
            metadata: metadata(described),
            config: configured.map(config),
            model: Model { name: "m".to_owned(), version: None, batching: true },
            shapes: Shapes::new(),
            server: ServerMetadata { name: "triton".to_owned(), version: "2.0".to_owned(), extensions: Vec::new() },
        }
    }

    impl Told {
        fn draft<'a>(&'a self, addresses: Option<&'a Server>, protocols: &'a [Protocol]) -> Draft<'a> {
            Draft {
                server: &self.server,
                metadata: &self.metadata,
                config: self.config.as_ref(),
                model: &self.model,
                addresses,
                protocols,
            }
        }

        /// The draft, which has to be a scenario that fits the model.
        fn scenario(&self, addresses: Option<&Server>, protocols: &[Protocol]) -> (String, Scenario) {
            let text = self.draft(addresses, protocols).text(&self.shapes).unwrap();
            let scenario =
                Scenario::parse(Path::new("m.toml"), text.as_bytes()).unwrap_or_else(|e| panic!("{e}\n{text}"));
            agree(&scenario, &self.metadata, self.config.as_ref()).unwrap_or_else(|e| panic!("{e:?}\n{text}"));
            (text, scenario)
        }
    }

    fn batched() -> Value {
        json!({"platform": "onnxruntime_onnx", "versions": ["1", "2"],
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 4]}, {"name": "o", "datatype": "INT8", "shape": [-1, 1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}, {"name": "z \"z\""}]})
    }

    #[test]
    fn a_described_model_makes_a_whole_scenario() {
        let configured = json!({"max_batch_size": 8, "input": [{"name": "o", "optional": true}], "dynamic_batching": {},
            "instance_group": [{"count": 2}, {"count": 1}]});
        let (text, scenario) = told(batched(), Some(configured)).scenario(None, BOTH);
        assert_eq!((&scenario.inputs[0].shape[..], scenario.inputs.len()), (&[3, 4][..], 1));
        assert_eq!(scenario.outputs[1].name, "z \"z\"");
        assert_eq!(scenario.matrix.batch_sizes(), [1, 4, 8]);
        for part in [
            "# \"m\" as triton 2.0 describes it.",
            "name = \"m\"                  # onnxruntime_onnx\n# version = \"2\"             # the server has 1, 2\n",
            "batch_sizes = [1, 4, 8]     # the model takes at most 8, joined by dynamic batching, 3 instances\n",
            "# FP32 [-1, 2]; outputs that are left out are not sent back\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("[server]") && !text.contains("batching = false"), "{text}");
    }

    #[test]
    fn batches_are_those_that_the_model_takes() {
        for (most, sizes) in [(0, &[1][..]), (1, &[1]), (2, &[1, 2]), (4, &[1, 4]), (7, &[1, 4]), (64, &[1, 4, 8])] {
            let one = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": if most > 0 { vec![-1, 4] } else { vec![4] }}],
                "outputs": [{"name": "y"}]});
            let (text, scenario) = told(one, Some(json!({"max_batch_size": most}))).scenario(None, BOTH);
            assert_eq!((scenario.matrix.batch_sizes(), scenario.model.batching), (sizes.to_vec(), most > 0), "{text}");
        }
        // no configuration: a first dimension of any size that all inputs have is the batch
        let (_, scenario) = told(batched(), None).scenario(None, BOTH);
        assert_eq!(
            (&scenario.inputs[0].shape[..], scenario.inputs.len(), scenario.model.batching),
            (&[3, 4][..], 2, true)
        );
        let fixed = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [7]}], "outputs": [{"name": "y"}]});
        assert!(!told(fixed, None).scenario(None, BOTH).1.model.batching);
    }

    #[test]
    fn free_dimensions_are_asked_for_and_taken() {
        let free = json!({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, -1]}, {"name": "u", "datatype": "INT8"}],
            "outputs": [{"name": "y"}]});
        let mut told = told(free, Some(json!({"max_batch_size": 2})));
        let open = [("x".to_owned(), Some(vec![3, -1])), ("u".to_owned(), None)];
        assert_eq!(told.draft(None, BOTH).open(&told.shapes), open);
        let wrong = told.draft(None, BOTH).text(&told.shapes).unwrap_err().join("; ");
        assert_eq!(wrong, "input \"x\": its shape is not known; input \"u\": its shape is not known");
        told.shapes = Shapes::from([("x".to_owned(), vec![3, 5]), ("u".to_owned(), vec![9])]);
        let (text, scenario) = told.scenario(None, BOTH);
        assert_eq!((&scenario.inputs[0].shape[..], &scenario.inputs[1].shape[..]), (&[3, 5][..], &[9][..]));
        assert!(text.contains("# without the batch dimension; the model takes [3, -1]\n"), "{text}");
        assert!(told.draft(None, BOTH).open(&told.shapes).is_empty());
    }

    #[test]
    fn servers_are_named_as_scenarios_name_them() {
        let told = told(batched(), Some(json!({"max_batch_size": 8})));
        let address = |text: &str| crate::address::Address::parse(text).unwrap();
        let server = Server {
            http: address("box:80"),
            grpc: address("box:81"),
            metrics: Some(address("box:82")),
            encrypted: [None, None],
            is_embedded: false,
        };
        let (_, scenario) = told.scenario(Some(&server), BOTH);
        assert_eq!(scenario.server, server);
        let (text, scenario) = told.scenario(Some(&server), &[Protocol::Grpc]);
        assert_eq!((scenario.matrix.protocols(), scenario.server.grpc), (vec![Protocol::Grpc], server.grpc));
        assert!(text.contains("# no answer over http\n") && !text.contains("box:80"), "{text}");
        let (_, scenario) = told.scenario(Some(&Server::embedded()), BOTH);
        assert!(scenario.servers[0].1.is_embedded && &*scenario.servers[0].0 == EMBEDDED);
    }

    #[test]
    fn what_is_not_described_is_told() {
        let wrong =
            |described: Value| told(described, None).draft(None, BOTH).text(&Shapes::new()).unwrap_err().join("; ");
        assert_eq!(wrong(json!({})), "it describes no inputs; it describes no outputs");
        let untyped = json!({"inputs": [{"name": "x", "shape": [3]}], "outputs": [{"name": "y"}]});
        assert_eq!(wrong(untyped), "input \"x\": the server does not tell its type");
    }
}
