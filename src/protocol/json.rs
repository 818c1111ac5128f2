//! Tensors as JSON: requests for servers without the binary tensor extension, and the JSON of any answer over HTTP.
//! Must not know connections.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::protocol::{Fault, FaultKind, InputTensor};
use crate::tensor::Datatype;

/// The JSON part of an answer. Optional fields of the protocol may be missing or `null`.
pub(in crate::protocol) struct Answer {
    pub id: Option<String>,
    pub outputs: Vec<Output>,
}

/// A tensor in an answer.
#[allow(missing_docs)]
pub(in crate::protocol) struct Output {
    pub name: String,
    pub datatype: String,
    pub shape: Vec<i64>,
    pub parameters: Option<Parameters>,
    /// The number of its elements, and their text.
    pub data: Option<(usize, Bytes)>,
}

/// The relevant parameters of a tensor.
#[derive(Deserialize)]
#[allow(missing_docs)]
pub(in crate::protocol) struct Parameters {
    #[serde(default)]
    pub binary_data_size: Option<usize>,
}

/// An answer whose tensors' elements are text still.
#[derive(Deserialize)]
struct RawAnswer<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(borrow)]
    outputs: Vec<RawOutput<'a>>,
}

#[derive(Deserialize)]
struct RawOutput<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Option<Parameters>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Number of elements in a tensor's `data`, flat or nested.
struct Count(usize);

/// Reads the JSON of an answer.
///
/// # Errors
/// It is not valid JSON: kind `Answer`.
pub(in crate::protocol) fn read(bytes: &Bytes) -> Result<Answer, Fault> {
    let replaced = without_special_floats(bytes);
    read_of(bytes, &replaced)
        .map_err(|error| Fault::new(FaultKind::Answer, format!("the answer's JSON cannot be read: {error}")))
}

/// Reads an answer from text without special floats; elements are those of the original, at the same places.
fn read_of(original: &Bytes, text: &[u8]) -> serde_json::Result<Answer> {
    let RawAnswer { id, outputs } = serde_json::from_slice(text)?;
    let output = |RawOutput { name, datatype, shape, parameters, data }: RawOutput<'_>| {
        let elements = |data: &RawValue| {
            let Count(count) = serde_json::from_str(data.get())?;
            let begin = data.get().as_ptr().addr() - text.as_ptr().addr();
            Ok((count, original.slice(begin..begin + data.get().len())))
        };
        let data = data.map(elements).transpose()?;
        Ok(Output { name, datatype, shape, parameters, data })
    };
    Ok(Answer { id, outputs: outputs.into_iter().map(output).collect::<serde_json::Result<_>>()? })
}

/// Replaces `NaN` and `Infinity`, which Python's JSON has and JSON does not, by numbers of the same length.
pub(in crate::protocol) fn without_special_floats(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut replaced = Cow::Borrowed(bytes);
    let (mut at, mut in_string) = (0, false);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let special = if in_string {
            None
        } else {
            [&b"NaN"[..], b"Infinity"].into_iter().find(|w| rest.starts_with(w))
        };
        if let Some(word) = special {
            replaced.to_mut()[at..at + word.len()].fill(b'1');
            at += word.len();
            continue;
        }
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            _ => {}
        }
        at += 1;
    }
    replaced
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Count(0))
    }
}

/// Numbers, booleans and strings are one element each.
macro_rules! one_element {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<Count, E> {
            Ok(Count(1))
        })*
    };
}

impl<'de> Visitor<'de> for Count {
    type Value = Count;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a tensor's elements")
    }

    one_element!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<Count, E> {
        Ok(Count(1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Count, A::Error> {
        let mut count = 0_usize;
        while let Some(Count(more)) = items.next_element()? {
            count = count.checked_add(more).ok_or_else(|| A::Error::custom("too many elements"))?;
        }
        Ok(Count(count))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut entries: A) -> Result<Count, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Err(A::Error::custom("an object among a tensor's elements"))
    }
}

/// An input's elements as a flat JSON array.
///
/// # Errors
/// JSON cannot express an element.
pub(in crate::protocol) fn array(input: &InputTensor) -> Result<serde_json::Value, Fault> {
    let bytes = &input.bytes[..];
    let floats = |values: Vec<f64>| {
        let numbers = values.into_iter().map(|value| {
            serde_json::Number::from_f64(value)
                .map(serde_json::Value::Number)
                .ok_or_else(|| inexpressible(input, value))
        });
        numbers.collect::<Result<Vec<_>, _>>()
    };
    let elements: Vec<serde_json::Value> = match input.datatype {
        Datatype::Bool => bytes.iter().map(|byte| (*byte != 0).into()).collect(),
        Datatype::Uint8 => bytes.iter().map(|byte| (*byte).into()).collect(),
        Datatype::Int8 => elements(bytes, i8::from_le_bytes),
        Datatype::Uint16 => elements(bytes, u16::from_le_bytes),
        Datatype::Int16 => elements(bytes, i16::from_le_bytes),
        Datatype::Uint32 => elements(bytes, u32::from_le_bytes),
        Datatype::Int32 => elements(bytes, i32::from_le_bytes),
        Datatype::Uint64 => elements(bytes, u64::from_le_bytes),
        Datatype::Int64 => elements(bytes, i64::from_le_bytes),
        Datatype::Fp16 => floats(elements(bytes, |raw| f16::from_le_bytes(raw).to_f64()))?,
        Datatype::Bf16 => floats(elements(bytes, |raw| bf16::from_le_bytes(raw).to_f64()))?,
        // the shortest text of the 32-bit number, not of its 64-bit conversion
        Datatype::Fp32 => floats(elements(bytes, |raw| shortest(f32::from_le_bytes(raw))))?,
        Datatype::Fp64 => floats(elements(bytes, f64::from_le_bytes))?,
        Datatype::Bytes => texts(input)?,
    };
    Ok(serde_json::Value::Array(elements))
}

fn elements<T, E: From<T>, const SIZE: usize>(bytes: &[u8], read: impl Fn([u8; SIZE]) -> T) -> Vec<E> {
    bytes.as_chunks().0.iter().map(|chunk| read(*chunk).into()).collect()
}

fn shortest(value: f32) -> f64 {
    if value.is_finite() {
        value.to_string().parse().unwrap_or(f64::from(value))
    } else {
        f64::from(value)
    }
}

fn texts(input: &InputTensor) -> Result<Vec<serde_json::Value>, Fault> {
    let mut rest = &input.bytes[..];
    let mut texts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (text, after) = after
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| inexpressible(input, "an element that is cut short"))?;
        let text = std::str::from_utf8(text).map_err(|_| inexpressible(input, "bytes that are no UTF-8"))?;
        texts.push(text.into());
        rest = after;
    }
    Ok(texts)
}

fn inexpressible(input: &InputTensor, what: impl fmt::Display) -> Fault {
    let message = format!("input \"{}\" cannot be sent as JSON, which the server needs: it has {what}", input.name);
    Fault::new(FaultKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: Datatype, bytes: &[u8]) -> InputTensor {
        InputTensor { name: "x".to_owned(), datatype, shape: vec![1], bytes: Bytes::copy_from_slice(bytes) }
    }

    fn text(datatype: Datatype, bytes: &[u8]) -> String {
        array(&input(datatype, bytes)).unwrap().to_string()
    }

    #[test]
    fn elements_become_numbers_and_texts() {
        assert_eq!(text(Datatype::Fp32, &[0.1_f32.to_le_bytes(), 3.0_f32.to_le_bytes()].concat()), "[0.1,3.0]");
        assert_eq!(text(Datatype::Fp16, &f16::from_f32(0.5).to_le_bytes()), "[0.5]");
        assert_eq!(text(Datatype::Int64, &i64::MIN.to_le_bytes()), "[-9223372036854775808]");
        assert_eq!(text(Datatype::Uint64, &u64::MAX.to_le_bytes()), "[18446744073709551615]");
        assert_eq!(text(Datatype::Bool, &[1, 0]), "[true,false]");
        assert_eq!(text(Datatype::Bytes, b"\x01\0\0\0a\0\0\0\0"), r#"["a",""]"#);
        for (datatype, bytes) in [
            (Datatype::Fp32, &f32::NAN.to_le_bytes()[..]),
            (Datatype::Bytes, b"\x01\0\0\0\xff"),
            (Datatype::Bytes, b"\x09\0\0\0a"),
        ] {
            let fault = array(&input(datatype, bytes)).unwrap_err();
            assert!(fault.message.contains("cannot be sent as JSON"), "{fault}");
        }
    }

    #[test]
    fn what_is_optional_may_be_null_and_elements_are_counted_however_nested() {
        let output = |data: &str| {
            let text = format!(
                r#"{{"id":null,"parameters":null,"outputs":[{{"name":"a \"NaN","datatype":"FP32","shape":[2],"parameters":null,"data":{data}}}]}}"#
            );
            read(&Bytes::from(text)).map(|answer| answer.outputs[0].data.as_ref().map_or(0, |(count, _)| *count))
        };
        for (data, count) in [
            ("[1,2]", 2),
            ("[[1],[2,3]]", 3),
            ("[NaN,-Infinity,Infinity]", 3),
            (r#"["NaN","x\"y"]"#, 2),
            ("[true,null]", 2),
            ("null", 0),
            ("[]", 0),
        ] {
            assert_eq!(output(data).unwrap(), count, "{data}");
        }
        for wrong in ["[{}]", "[nan]", "[1", &"[".repeat(10_000)] {
            assert_eq!(output(wrong).unwrap_err().kind, FaultKind::Answer, "{wrong}");
        }
    }
}
