//! Input data as JSON: the files of perf_analyzer's `--input-data`. A list of entries, each with every tensor of one
//! request of batch 1 by its name: a list of elements, `{"content": [..], "shape": [..]}` or `{"b64": "..", "shape": [..]}`.
//! Entries may be in lists, which are streams: as perf_analyzer does for models without sequences, the first is taken.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use half::{bf16, f16};
use serde::de::{DeserializeSeed, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::item::{Item, byte_elements};
use super::{Datatype, element_count};

/// The lists of such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `data`: the inputs of requests.
    Data,
    /// `validation_data`: the outputs of their answers.
    ValidationData,
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow, default)]
    data: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    validation_data: Option<Vec<&'a RawValue>>,
}

/// The remedy for a file of another form.
const FORM: &str = "write {\"data\":[{\"NAME\":[..]}]}, as for perf_analyzer";

type Entry<'a> = BTreeMap<String, &'a RawValue>;

/// A tensor that is not a mere list of elements.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(default)]
    b64: Option<String>,
    #[serde(default)]
    shape: Option<Vec<usize>>,
}

/// The items of the tensor `name` in one of the lists of a file; those without a shape of their own have `shape`.
///
/// # Errors
/// It is not such a file, or an item does not fit the tensor.
pub fn read(content: &[u8], list: List, name: &str, datatype: Datatype, shape: &[usize]) -> Result<Vec<Item>> {
    // serde would take a list for the fields in their order
    let is_object = content.trim_ascii_start().starts_with(b"{");
    let file = is_object.then(|| serde_json::from_slice::<File<'_>>(content)).transpose();
    let file = file.map_err(|error| anyhow!("is not JSON with lists of entries, {error}: {FORM}"))?;
    let file = file.with_context(|| format!("is no JSON object: {FORM}"))?;
    let (key, entries) = match list {
        List::Data => ("data", file.data),
        List::ValidationData => ("validation_data", file.validation_data),
    };
    let entries = entries.with_context(|| format!("has no list \"{key}\": add it, with an entry for each request"))?;
    let entries = match entries.first() {
        Some(stream) if stream.get().starts_with('[') => {
            let stream: serde_json::Result<Vec<&RawValue>> = serde_json::from_str(stream.get());
            stream.map_err(|error| anyhow!("has in \"{key}\" what is no stream: {error}: {FORM}"))?
        }
        _ => entries,
    };
    let mut items = Vec::new();
    for entry in entries {
        let entry: serde_json::Result<Entry<'_>> = serde_json::from_str(entry.get());
        let entry =
            entry.map_err(|error| anyhow!("has in \"{key}\" what is no entry: {error}: write {{\"{name}\":[..]}}"))?;
        let place = items.len();
        let value = entry.get(name).with_context(|| {
            let others: Vec<&str> = entry.keys().map(String::as_str).collect();
            format!("has no \"{name}\" in entry {place} of \"{key}\", but {}: name it there", others.join(", "))
        })?;
        let item = item(value.get(), datatype, shape);
        items.push(item.map_err(|error| anyhow!("has in entry {place} of \"{key}\" as \"{name}\" {error:#}"))?);
    }
    ensure!(!items.is_empty(), "has no entries in \"{key}\": add one for each request");
    Ok(items)
}

fn item(text: &str, datatype: Datatype, shape: &[usize]) -> Result<Item> {
    if text.starts_with('[') {
        return Ok(Item { bytes: elements(text, datatype, shape)?, shape: None });
    }
    let described: Described<'_> = serde_json::from_str(text)
        .map_err(|error| anyhow!("no elements ({error}): write [..], {{\"content\":[..]}} or {{\"b64\":\"..\"}}"))?;
    let own = described.shape.filter(|own| own != shape);
    let of = own.as_deref().unwrap_or(shape);
    let bytes = match (described.content, described.b64) {
        (Some(content), None) => elements(content.get(), datatype, of)?,
        (None, Some(text)) => decoded(&text, datatype, of)?,
        _ => bail!("neither \"content\" nor \"b64\", or both: write one of them"),
    };
    Ok(Item { bytes, shape: own })
}

/// Elements in base64, as they are sent.
fn decoded(text: &str, datatype: Datatype, shape: &[usize]) -> Result<Bytes> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|error| anyhow!("what is not base64 ({error}): encode it again"))?;
    let count = match datatype.size() {
        Some(size) => Some(bytes.len() / size).filter(|_| bytes.len().is_multiple_of(size)),
        None => byte_elements(&bytes),
    };
    ensure!(
        count.is_some() && count == element_count(shape),
        "{} bytes of base64, which are not the {datatype} elements of shape {shape:?}: give as many",
        bytes.len()
    );
    Ok(bytes.into())
}

/// Elements as JSON, however nested.
fn elements(text: &str, datatype: Datatype, shape: &[usize]) -> Result<Bytes> {
    let mut bytes = BytesMut::new();
    let mut count = 0;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    Elements { datatype, bytes: &mut bytes, count: &mut count }
        .deserialize(&mut deserializer)
        .map_err(|error| anyhow!("what is no element of {datatype}: {error}: change it"))?;
    let expected = element_count(shape);
    ensure!(
        expected == Some(count),
        "{count} elements, expected the {} of shape {shape:?}: give as many, or its \"shape\"",
        { expected.unwrap_or(usize::MAX) }
    );
    Ok(bytes.freeze())
}

/// Elements as JSON, however nested, as raw bytes; `None` if they are no elements of the type. Takes `NaN` and `Infinity`, which
/// Python's JSON has.
pub fn elements_of_json(text: &str, datatype: Datatype) -> Option<Bytes> {
    let (mut bytes, mut count) = (BytesMut::new(), 0);
    let is_float = matches!(datatype, Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64);
    if is_float {
        let separates = |letter: char| letter.is_ascii_whitespace() || matches!(letter, '[' | ']' | ',');
        for number in text.split(separates).filter(|number| !number.is_empty()) {
            let elements = Elements { datatype, bytes: &mut bytes, count: &mut count };
            elements.number::<serde_json::Error>(number.parse().ok()?).ok()?;
        }
    } else {
        let elements = Elements { datatype, bytes: &mut bytes, count: &mut count };
        elements.deserialize(&mut serde_json::Deserializer::from_str(text)).ok()?;
    }
    Some(bytes.freeze())
}

/// Writes elements as bytes while they are read.
struct Elements<'a> {
    datatype: Datatype,
    bytes: &'a mut BytesMut,
    count: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Elements<'_> {
    fn whole<E: Error>(self, value: i128) -> Result<(), E> {
        let out_of_range = || E::custom(format!("{value} is out of its range"));
        macro_rules! put {
            ($type:ty) => {
                self.bytes
                    .put_slice(&<$type>::try_from(value).map_err(|_| out_of_range())?.to_le_bytes())
            };
        }
        match self.datatype {
            Datatype::Bool if !(0..=1).contains(&value) => return Err(out_of_range()),
            Datatype::Bool | Datatype::Uint8 => put!(u8),
            Datatype::Uint16 => put!(u16),
            Datatype::Uint32 => put!(u32),
            Datatype::Uint64 => put!(u64),
            Datatype::Int8 => put!(i8),
            Datatype::Int16 => put!(i16),
            Datatype::Int32 => put!(i32),
            Datatype::Int64 => put!(i64),
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => return self.number(value as f64),
            Datatype::Bytes => return Err(E::custom("a number is no text")),
        }
        *self.count += 1;
        Ok(())
    }

    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        match self.datatype {
            Datatype::Fp16 => self.bytes.put_slice(&f16::from_f64(value).to_le_bytes()),
            Datatype::Bf16 => self.bytes.put_slice(&bf16::from_f64(value).to_le_bytes()),
            Datatype::Fp32 => self.bytes.put_f32_le(value as f32),
            Datatype::Fp64 => self.bytes.put_f64_le(value),
            _ => return Err(E::custom(format!("{value} is not whole, or no number is one"))),
        }
        *self.count += 1;
        Ok(())
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "elements of {}", self.datatype)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.datatype {
            Datatype::Bool => self.whole(value.into()),
            _ => Err(E::custom(format!("{value} is a truth value"))),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.whole(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.whole(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        if self.datatype != Datatype::Bytes {
            return Err(E::custom(format!("{value:?} is text")));
        }
        let length = u32::try_from(value.len()).map_err(|_| E::custom("a text is too long"))?;
        self.bytes.put_u32_le(length);
        self.bytes.put_slice(value.as_bytes());
        *self.count += 1;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Elements { datatype, bytes, count } = self;
        while items.next_element_seed(Elements { datatype, bytes, count })?.is_some() {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(content: &str, datatype: Datatype, shape: &[usize]) -> Result<Vec<Item>> {
        read(content.as_bytes(), List::Data, "x", datatype, shape)
    }

    #[test]
    fn entries_are_items_however_they_are_written() {
        let content = r#"{"data": [{"x": [[1], [2]]}, {"y": [], "x": {"content": [1.5, 2, 3], "shape": [3]}}, {"x": {"b64": "AACAPwAAAEA="}}],
            "comment": 1}"#;
        let items = read_one(content, Datatype::Fp32, &[2, 1]).unwrap();
        let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(items[0], Item { bytes: floats(&[1.0, 2.0]).into(), shape: None });
        assert_eq!(items[1], Item { bytes: floats(&[1.5, 2.0, 3.0]).into(), shape: Some(vec![3]) });
        assert_eq!(items[2], Item { bytes: floats(&[1.0, 2.0]).into(), shape: None });
        let stream =
            read_one(r#"{"data": [[{"x": ["a"]}, {"x": [""]}], [{"x": ["b"]}]]}"#, Datatype::Bytes, &[1]).unwrap();
        assert_eq!(stream.len(), 2);
        assert_eq!((&stream[0].bytes[..], &stream[1].bytes[..]), (&b"\x01\0\0\0a"[..], &b"\0\0\0\0"[..]));
    }

    #[test]
    fn what_is_no_entry_is_told() {
        for (content, datatype, words) in [
            ("[1]", Datatype::Fp32, "is no JSON object"),
            ("{", Datatype::Fp32, "is not JSON"),
            (r#"{"validation_data": []}"#, Datatype::Fp32, "has no list \"data\""),
            (r#"{"data": []}"#, Datatype::Fp32, "has no entries in \"data\""),
            (r#"{"data": [1]}"#, Datatype::Fp32, "what is no entry"),
            (r#"{"data": [[1]]}"#, Datatype::Fp32, "what is no entry"),
            (r#"{"data": [{"y": [1]}]}"#, Datatype::Fp32, "has no \"x\" in entry 0 of \"data\", but y"),
            (
                r#"{"data": [{"x": [1]}, {"x": [1, 2]}]}"#,
                Datatype::Fp32,
                "has in entry 1 of \"data\" as \"x\" 2 elements",
            ),
            (r#"{"data": [{"x": {"b64": "AA=="}}]}"#, Datatype::Fp32, "1 bytes of base64"),
            (r#"{"data": [{"x": {"b64": "?"}}]}"#, Datatype::Fp32, "what is not base64"),
            (r#"{"data": [{"x": {"b64": "AA==", "content": [1]}}]}"#, Datatype::Fp32, "or both"),
            (r#"{"data": [{"x": 1}]}"#, Datatype::Fp32, "no elements"),
            (r#"{"data": [{"x": [300]}]}"#, Datatype::Uint8, "300 is out of its range"),
            (r#"{"data": [{"x": [2]}]}"#, Datatype::Bool, "2 is out of its range"),
            (r#"{"data": [{"x": [1.5]}]}"#, Datatype::Int64, "1.5 is not whole"),
            (r#"{"data": [{"x": [1]}]}"#, Datatype::Bytes, "a number is no text"),
            (r#"{"data": [{"x": [null]}]}"#, Datatype::Fp32, "what is no element of FP32"),
        ] {
            let error = read_one(content, datatype, &[1]).unwrap_err();
            assert!(format!("{error:#}").contains(words), "{content}: {error:#}");
        }
        assert!(read_one(&format!(r#"{{"data": [{{"x": {}}}]}}"#, "[".repeat(100_000)), Datatype::Fp32, &[1]).is_err());
    }
}
