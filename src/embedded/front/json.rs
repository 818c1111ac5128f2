//! The body of an HTTP inference request: JSON, followed by the raw tensors of the binary extension.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::embedded::error::Error;
use crate::embedded::execute::infer::{Request, Tensor, named, no_sequences, offered};
use crate::embedded::model::config::Config;
use crate::tensor::{Datatype, element_count};

/// The outputs of an answer that follow its JSON as raw bytes.
#[derive(Debug, Default)]
pub struct Binary {
    all: bool,
    outputs: Vec<(String, bool)>,
}

impl Binary {
    /// Whether an output is sent as raw bytes.
    pub fn holds(&self, output: &str) -> bool {
        self.outputs.iter().find(|(name, _)| name == output).map_or(self.all, |(_, raw)| *raw)
    }
}

/// Reads the body of a request; `json_length` is the value of the header `Inference-Header-Content-Length`.
///
/// # Errors
/// The JSON is not a request, or raw data is not as long as declared; the message is in Triton's wording.
pub fn request(body: &Bytes, json_length: Option<usize>, config: &Config) -> Result<(Request, Binary), Error> {
    let json_length = json_length.unwrap_or(body.len());
    if json_length == 0 {
        let request = Request { inputs: vec![only_raw(body, config)?], ..Request::default() };
        return Ok((request, Binary { all: true, outputs: Vec::new() }));
    }
    if json_length > body.len() {
        let words = format!("inference header size should be in range (0, {}), got: {json_length}", body.len());
        return Err(Error::invalid(words));
    }
    let json = &body[..json_length];
    let read: serde_json::Result<Value> = match serde_json::from_slice(json) {
        Err(error) => with_quoted_words(json).map_or(Err(error), |json| serde_json::from_slice(&json)),
        read => read,
    };
    let root = read.map_err(|error| Error::internal(format!("failed to parse the request JSON buffer: {error}")))?;
    let mut raw = json_length..body.len();
    parameters(root.get("parameters"))?;
    let items = array(&root, "inputs")?;
    items.iter().try_for_each(one_source)?;
    let mut inputs = Vec::with_capacity(items.len());
    for item in items {
        inputs.push(input(item, body, &mut raw, &config.name)?);
    }
    if !raw.is_empty() {
        return Err(Error::invalid(format!("unexpected additional input data for model '{}'", config.name)));
    }
    let mut binary = Binary {
        all: flag(root.get("parameters"), "binary_data_output")?.unwrap_or(false),
        outputs: Vec::new(),
    };
    let mut outputs = Vec::new();
    if root.get("outputs").is_some() {
        for item in array(&root, "outputs")? {
            let name = text(item, "name")?;
            let parameters = item.get("parameters");
            offered(|key| parameters.is_some_and(|given| given.get(key).is_some()))?;
            let raw = flag(parameters, "binary_data")?.unwrap_or(binary.all);
            binary.outputs.push((name.clone(), raw));
            outputs.push(name);
        }
    }
    let id = if root.get("id").is_some() { text(&root, "id")? } else { String::new() };
    no_sequence(root.get("parameters"))?;
    Ok((Request { id, inputs, outputs }, binary))
}

/// Floats that JSON cannot express, as Triton accepts them; of two with a common beginning, the longer is first.
const WORDS: [(&str, f64); 3] = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("Inf", f64::INFINITY)];
/// Prefix of such a word once it is a string; no client writes it.
const MARK: &str = "\\u0000";

/// Turns such words outside of strings into strings; `None` if there are none.
fn with_quoted_words(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let (mut rest, mut in_text, mut any) = (json, false, false);
    while let Some(first) = rest.first() {
        let unsigned = rest.strip_prefix(b"-").unwrap_or(rest);
        let word = WORDS.iter().find(|(word, _)| !in_text && unsigned.starts_with(word.as_bytes()));
        let length = match (word, first) {
            (Some((word, _)), _) => rest.len() - unsigned.len() + word.len(),
            (None, b'\\') if in_text => rest.len().min(2),
            (None, _) => 1,
        };
        let (piece, behind) = rest.split_at(length);
        if word.is_some() {
            any = true;
            out.extend([b"\"", MARK.as_bytes(), piece, b"\""].concat());
        } else {
            out.extend_from_slice(piece);
        }
        in_text ^= piece == b"\"";
        rest = behind;
    }
    any.then_some(out)
}

/// A JSON float, or one of the words that stand for one.
fn float(data: &Value) -> Option<f64> {
    data.as_f64().or_else(|| {
        let word = data.as_str()?.strip_prefix('\0')?;
        let (sign, word) = word.strip_prefix('-').map_or((1.0, word), |word| (-1.0, word));
        WORDS.iter().find(|(known, _)| *known == word).map(|(_, float)| sign * float)
    })
}

/// The input of a request without JSON, Triton's raw binary request: the model's only input, with a batch of one and
/// a shape that follows from the model's and the number of bytes.
fn only_raw(body: &Bytes, config: &Config) -> Result<Tensor, Error> {
    let refuse = |words: String| Error::invalid(named("") + &words);
    let [only] = &config.inputs[..] else {
        return Err(refuse(format!(
            "Raw request must only have 1 input (found 1) to be deduced but got {} inputs in '{}' model configuration",
            config.inputs.len(),
            config.name
        )));
    };
    let (name, datatype) = (only.name.clone(), only.datatype);
    let known = only
        .dims
        .iter()
        .filter(|side| **side >= 0)
        .map(|side| *side as usize)
        .collect::<Vec<_>>();
    if known.len() + 1 < only.dims.len() {
        return Err(refuse(format!(
            "The shape of the raw input '{name}' can not be deduced because there are more than one variable-sized dimension"
        )));
    }
    // the only element of a BYTES tensor has no length prefix here
    let (elements, data) = match datatype.size() {
        Some(size) => (body.len() / size, body.clone()),
        None => {
            let length = u32::try_from(body.len()).map_err(|_| refuse(format!("input '{name}' is too long")))?;
            (1, Bytes::from([&length.to_le_bytes()[..], body].concat()))
        }
    };
    let free = elements / element_count(&known).unwrap_or(0).max(1);
    let sides = only.dims.iter().map(|side| usize::try_from(*side).unwrap_or(free));
    let shape = (config.max_batch_size > 0).then_some(1).into_iter().chain(sides).collect();
    Ok(Tensor { name, datatype, shape, data })
}

/// Checks that an input gives its data in exactly one way; Triton does so before anything else.
fn one_source(item: &Value) -> Result<(), Error> {
    let parameter = |key| item.get("parameters").is_some_and(|parameters| parameters.get(key).is_some());
    let sources = [
        ("'data'", item.get("data").is_some()),
        ("'binary_data_size'", parameter("binary_data_size")),
        ("'shared_memory_region'", parameter("shared_memory_region")),
    ];
    let set: Vec<_> = sources.iter().filter(|(_, given)| *given).map(|(source, _)| *source).collect();
    if set.len() == 1 {
        return Ok(());
    }
    let what = if set.is_empty() {
        "no field is set".to_owned()
    } else {
        format!("set {}", set.join(" "))
    };
    Err(Error::invalid(format!(
        "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', \
         'shared_memory_region' in 'parameters'. But {what}"
    )))
}

fn input(item: &Value, body: &Bytes, raw: &mut Range<usize>, model: &str) -> Result<Tensor, Error> {
    let name = text(item, "name")?;
    let datatype = text(item, "datatype")?;
    let mut shape = Vec::new();
    for side in array(item, "shape")? {
        let side = side.as_u64().and_then(|side| usize::try_from(side).ok());
        shape.push(
            side.ok_or_else(|| unreadable("shape", "attempt to access JSON non-unsigned-integer as unsigned-integer"))?,
        );
    }
    let datatype: Datatype = datatype
        .parse()
        .map_err(|()| Error::invalid(format!("invalid datatype for input {name}")))?;
    let parameters = item.get("parameters");
    offered(|key| parameters.is_some_and(|given| given.get(key).is_some()))?;
    let binary_size = parameters.and_then(|parameters| parameters.get("binary_data_size"));
    let data = match binary_size {
        Some(size) => {
            let size = size.as_u64().and_then(|size| usize::try_from(size).ok()).ok_or_else(|| {
                unreadable("binary_data_size", "attempt to access JSON non-unsigned-integer as unsigned-integer")
            })?;
            if size > raw.len() {
                return Err(Error::invalid(format!(
                    "unexpected size for input '{name}', expecting {} additional bytes for model '{model}'",
                    size - raw.len()
                )));
            }
            let share = raw.start..raw.start + size;
            raw.start = share.end;
            body.slice(share)
        }
        None => typed(&name, datatype, &shape, member(item, "data")?)?,
    };
    Ok(Tensor { name, datatype, shape, data })
}

/// The bytes of a JSON tensor, flat or nested.
fn typed(name: &str, datatype: Datatype, shape: &[usize], data: &Value) -> Result<Bytes, Error> {
    if matches!(datatype, Datatype::Fp16 | Datatype::Bf16) {
        return Err(Error::invalid(format!(
            "receiving {datatype} data via JSON is not supported. Please use the binary data format for input {name}"
        )));
    }
    if !data.is_array() {
        return Err(unreadable("data", "attempt to access JSON non-array as array"));
    }
    let mut bytes = BytesMut::new();
    let mut count = 0;
    put(&mut bytes, &mut count, datatype, data)?;
    if element_count(shape) != Some(count) {
        return Err(unreadable("data", "Shape does not match true shape of 'data' field"));
    }
    Ok(bytes.freeze())
}

fn put(bytes: &mut BytesMut, count: &mut usize, datatype: Datatype, data: &Value) -> Result<(), Error> {
    if let Value::Array(items) = data {
        return items.iter().try_for_each(|item| put(bytes, count, datatype, item));
    }
    *count += 1;
    let wrong = |kind: &str| {
        let wanted = if kind == "number" { "double" } else { kind };
        unreadable("data", &format!("attempt to access JSON non-{kind} as {wanted}"))
    };
    let signed = || data.as_i64().ok_or_else(|| wrong("signed-integer"));
    let unsigned = || data.as_u64().ok_or_else(|| wrong("unsigned-integer"));
    let float = || float(data).ok_or_else(|| wrong("number"));
    let beyond = |_| unreadable("data", &format!("{data} is beyond {datatype}"));
    match datatype {
        Datatype::Bool => bytes.put_u8(u8::from(data.as_bool().ok_or_else(|| wrong("boolean"))?)),
        Datatype::Uint8 => bytes.put_u8(unsigned()?.try_into().map_err(beyond)?),
        Datatype::Uint16 => bytes.put_u16_le(unsigned()?.try_into().map_err(beyond)?),
        Datatype::Uint32 => bytes.put_u32_le(unsigned()?.try_into().map_err(beyond)?),
        Datatype::Uint64 => bytes.put_u64_le(unsigned()?),
        Datatype::Int8 => bytes.put_i8(signed()?.try_into().map_err(beyond)?),
        Datatype::Int16 => bytes.put_i16_le(signed()?.try_into().map_err(beyond)?),
        Datatype::Int32 => bytes.put_i32_le(signed()?.try_into().map_err(beyond)?),
        Datatype::Int64 => bytes.put_i64_le(signed()?),
        Datatype::Fp32 => bytes.put_f32_le(float()? as f32),
        Datatype::Fp64 => bytes.put_f64_le(float()?),
        Datatype::Bytes => {
            let text = data.as_str().ok_or_else(|| wrong("string"))?;
            bytes.put_u32_le(u32::try_from(text.len()).map_err(beyond)?);
            bytes.put_slice(text.as_bytes());
        }
        Datatype::Fp16 | Datatype::Bf16 => return Err(wrong("binary data")),
    }
    Ok(())
}

/// Checks the types of a request's parameters; unknown ones are ignored.
fn parameters(given: Option<&Value>) -> Result<(), Error> {
    let Some(given) = given else { return Ok(()) };
    let object = given
        .as_object()
        .ok_or_else(|| Error::internal("failed to get request params.: attempt to get members for non-object"))?;
    for (key, value) in object {
        let words = match key.as_str() {
            "priority" | "timeout" if !value.is_u64() => {
                "attempt to access JSON non-unsigned-integer as unsigned-integer"
            }
            "sequence_id" if !value.is_u64() && !value.is_string() => "attempt to access JSON non-string as string",
            "sequence_start" | "sequence_end" if !value.is_boolean() => "attempt to access JSON non-boolean as boolean",
            _ if !value.is_array() && !value.is_object() && !value.is_null() => continue,
            _ => {
                return Err(Error::invalid(format!(
                    "parameter '{key}' has invalid type. It should be either 'int', 'bool', or 'string'."
                )));
            }
        };
        return Err(unreadable(key, words));
    }
    Ok(())
}

fn no_sequence(parameters: Option<&Value>) -> Result<(), Error> {
    let id = parameters.and_then(|parameters| parameters.get("sequence_id"));
    match id {
        Some(id) if *id != json!(0) && *id != json!("") => Err(no_sequences()),
        _ => Ok(()),
    }
}

fn array<'a>(object: &'a Value, key: &str) -> Result<&'a [Value], Error> {
    let member = member(object, key)?;
    member
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| unreadable(key, "attempt to access JSON non-array as array"))
}

fn text(object: &Value, key: &str) -> Result<String, Error> {
    let member = member(object, key)?;
    member
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| unreadable(key, "attempt to access JSON non-string as string"))
}

fn flag(parameters: Option<&Value>, key: &str) -> Result<Option<bool>, Error> {
    match parameters.and_then(|parameters| parameters.get(key)) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(unreadable(key, "attempt to access JSON non-boolean as boolean")),
    }
}

fn member<'a>(object: &'a Value, key: &str) -> Result<&'a Value, Error> {
    let words = || format!("attempt to access non-existing object member '{key}'");
    object.get(key).ok_or_else(|| unreadable(key, &words()))
}

fn unreadable(key: &str, words: &str) -> Error {
    Error::internal(format!("Unable to parse '{key}': {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_without_numbers_are_taken_as_triton_takes_them() {
        let json = br#"{"a": "NaN \"Inf", "data": [NaN, -Infinity, Inf, 1.5]}"#;
        assert!(serde_json::from_slice::<Value>(json).is_err());
        let read: Value = serde_json::from_slice(&with_quoted_words(json).unwrap()).unwrap();
        assert_eq!(read["a"], "NaN \"Inf");
        let bytes = typed("x", Datatype::Fp64, &[4], &read["data"]).unwrap();
        let floats: Vec<f64> = bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        assert!(floats[0].is_nan() && floats[1..] == [f64::NEG_INFINITY, f64::INFINITY, 1.5], "{floats:?}");
        assert!(typed("x", Datatype::Int32, &[4], &read["data"]).is_err());
        assert_eq!(with_quoted_words(b"{\"a\": \"Inf\"}"), None);
    }
}
