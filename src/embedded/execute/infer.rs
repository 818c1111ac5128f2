//! An inference request and its answer, whatever their protocol, and the check of a request against its model.

use std::time::Duration;

use bytes::Bytes;

use crate::embedded::error::{Code, Error};
use crate::embedded::model::config::{Config, Description};
use crate::tensor::{Datatype, element_count};

/// Tensor parameters of extensions that this server does not have.
const NOT_OFFERED: [(&str, &str); 2] =
    [("shared_memory_region", "shared memory"), ("classification", "classification of outputs")];

/// A tensor: little-endian, row-major; BYTES elements carry their own length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The model's name for it.
    pub name: String,
    /// Type of its elements.
    pub datatype: Datatype,
    /// Includes the batch dimension if the model has one.
    pub shape: Vec<usize>,
    /// Its bytes.
    pub data: Bytes,
}

/// An inference request.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The client's name for the request; may be empty.
    pub id: String,
    /// Inputs in the client's order.
    pub inputs: Vec<Tensor>,
    /// Names of the requested outputs; empty means all.
    pub outputs: Vec<String>,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In the model's order, or in the request's if it names outputs.
    pub outputs: Vec<Tensor>,
    /// How to send it to the client.
    pub delivery: Delivery,
}

/// How to send an answer: a loopback model can imitate misbehaving servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// At once and whole.
    Whole,
    /// In pieces, spread over this time.
    Slow(Duration),
    /// Half of it; then the connection ends.
    Truncated,
    /// Not at all: the connection is reset.
    Reset,
}

/// A request that fits its model.
#[derive(Clone, Debug)]
pub struct ValidatedRequest {
    /// Inputs in the model's order and shapes; an optional one may be missing.
    pub inputs: Vec<Tensor>,
    /// Indices of the requested outputs among the model's, without duplicates.
    pub outputs: Vec<usize>,
    /// Items in the request; 1 for a model without batching.
    pub batch: usize,
}

impl Request {
    /// Checks a request against its model.
    ///
    /// # Errors
    /// The request does not fit; the message is in Triton's wording.
    pub fn admit(self, config: &Config) -> Result<ValidatedRequest, Error> {
        let (model, named) = (&config.name, named(&self.id));
        let refuse = |words: String| Error::invalid(format!("{named}{words}"));
        let mut outputs = Vec::new();
        for name in &self.outputs {
            let index = config.outputs.iter().position(|output| output.name == *name);
            let index = index
                .ok_or_else(|| Error::invalid(format!("unexpected inference output '{name}' for model '{model}'")))?;
            if !outputs.contains(&index) {
                outputs.push(index);
            }
        }
        if outputs.is_empty() {
            outputs = (0..config.outputs.len()).collect();
        }
        for (index, input) in self.inputs.iter().enumerate() {
            if !config.inputs.iter().any(|known| known.name == input.name) {
                let words = format!("unexpected inference input '{}' for model '{model}'", input.name);
                return Err(Error::invalid(words));
            }
            if self.inputs[..index].iter().any(|other| other.name == input.name) {
                return Err(refuse(format!("input '{}' already exists in request", input.name)));
            }
        }
        let missing: Vec<&str> = config
            .inputs
            .iter()
            .filter(|known| !known.optional && !self.inputs.iter().any(|input| input.name == known.name))
            .map(|known| known.name.as_str())
            .collect();
        if !missing.is_empty() {
            let got: Vec<&str> = self.inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(refuse(format!(
                "expected {} inputs but got {} inputs for model '{model}'. Got input(s) [{}], but missing required \
                 input(s) [{}]. Please provide all required input(s).",
                config.inputs.len(),
                got.len(),
                quoted(&got),
                quoted(&missing)
            )));
        }
        let mut batch = None;
        let mut given = self.inputs;
        let mut inputs = Vec::with_capacity(given.len());
        for known in &config.inputs {
            let Some(at) = given.iter().position(|input| input.name == known.name) else {
                continue;
            };
            let mut input = given.swap_remove(at);
            fits(&input, known, config).map_err(&refuse)?;
            if config.max_batch_size > 0 {
                let items = input.shape[0];
                if items > config.max_batch_size {
                    let words =
                        format!("inference request batch-size must be <= {} for '{model}'", config.max_batch_size);
                    return Err(refuse(words));
                }
                if *batch.get_or_insert(items) != items {
                    let words = format!("input '{}' batch size does not match other inputs for '{model}'", input.name);
                    return Err(refuse(words));
                }
            }
            input.shape = known.to_model(input.shape, config.max_batch_size > 0);
            inputs.push(input);
        }
        match batch {
            Some(0) => Err(refuse(format!("inference request batch-size must be >= 1 for '{model}'"))),
            _ => Ok(ValidatedRequest { inputs, outputs, batch: batch.unwrap_or(1) }),
        }
    }
}

/// The prefix that names a request in errors.
pub fn named(id: &str) -> String {
    format!("[request id: {}] ", if id.is_empty() { "<id_unknown>" } else { id })
}

/// Checks that the tensor fits the model's input; the error is the message.
fn fits(input: &Tensor, known: &Description, config: &Config) -> Result<(), String> {
    let (name, model) = (&input.name, &config.name);
    if input.datatype != known.datatype {
        let (found, expected) = (input.datatype, known.datatype);
        return Err(format!(
            "inference input '{name}' data-type is '{found}', but model '{model}' expects '{expected}'"
        ));
    }
    let expected = known.shape(config.max_batch_size > 0);
    if config.max_batch_size > 0 && input.shape.is_empty() {
        return Err(format!("input '{name}' has no shape but model requires batch dimension for '{model}'"));
    }
    let agrees = expected.len() == input.shape.len()
        && expected
            .iter()
            .zip(&input.shape)
            .all(|(expected, found)| *expected < 0 || *expected as usize == *found);
    if !agrees {
        let note = if config.max_batch_size > 0 {
            "NOTE: Setting a non-zero max_batch_size in the model config requires a batch dimension to be prepended \
             to each input shape. If you want to specify the full shape including the batch dim in your input dims \
             config, try setting max_batch_size to zero. See the model configuration docs for more info on \
             max_batch_size."
        } else {
            ""
        };
        return Err(format!(
            "unexpected shape for input '{name}' for model '{model}'. Expected {}, got {}. {note}",
            bracketed(&expected),
            bracketed(&input.shape)
        ));
    }
    let elements = element_count(&input.shape)
        .ok_or_else(|| format!("input '{name}' for model '{model}' has more elements than can be addressed"))?;
    match input.datatype.size() {
        Some(size) => {
            let bytes = elements
                .checked_mul(size)
                .ok_or_else(|| format!("input '{name}' for model '{model}' has more bytes than can be addressed"))?;
            if bytes != input.data.len() {
                return Err(format!(
                    "input byte size mismatch for input '{name}' for model '{model}'. Expected {bytes}, got {}",
                    input.data.len()
                ));
            }
        }
        None => {
            // counted, not collected: a body of zeros has very many elements
            let mut found = 0;
            for element in texts(&input.data) {
                element.map_err(|words| format!("{words} for input '{name}', model '{model}'"))?;
                found += 1;
            }
            if found != elements {
                return Err(format!(
                    "unexpected number of string elements {found} for inference input '{name}', expecting {elements}"
                ));
            }
        }
    }
    Ok(())
}

/// Iterates over the elements of a BYTES tensor; the last is an error message if a length reaches beyond the data.
pub fn texts(data: &Bytes) -> impl Iterator<Item = Result<Bytes, String>> {
    let mut rest = data.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let left = std::mem::take(&mut rest);
        let Some(prefix) = left.first_chunk() else {
            return Some(Err(format!("incomplete string length: {} bytes are left", left.len())));
        };
        let (length, data) = (u32::from_le_bytes(*prefix) as usize, left.slice(4..));
        if length > data.len() {
            return Some(Err(format!("incomplete string data: {length} bytes expected, {} are left", data.len())));
        }
        rest = data.slice(length..);
        Some(Ok(data.slice(..length)))
    })
}

/// Refuses, rather than ignores, the parameters of extensions that this server does not have. `given` reports whether
/// a tensor has a parameter.
pub fn offered(given: impl Fn(&str) -> bool) -> Result<(), Error> {
    match NOT_OFFERED.iter().find(|(key, _)| given(key)) {
        Some((_, what)) => Err(Error::unsupported(format!("{what} is not supported by this server"))),
        None => Ok(()),
    }
}

/// The error for a request that is part of a sequence.
pub fn no_sequences() -> Error {
    Error::unsupported("sequences of requests are not supported by this server")
}

/// Triton's error for a model or version that does not exist.
pub fn unknown_model(name: &str, version: &str) -> Error {
    let version = if version.is_empty() { String::new() } else { format!(" version {version}") };
    Error::new(Code::NotFound, format!("Request for unknown model: '{name}'{version} is not found"))
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",")
}

/// A shape as Triton writes it.
pub fn bracketed(shape: &[impl ToString]) -> String {
    format!("[{}]", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}
