//! The elements of outputs that a server did not send as raw bytes. Must not know connections.

use bytes::Bytes;

use crate::proto::InferTensorContents;
use crate::protocol::{Fault, FaultKind, OutputTensor, Payload};
use crate::tensor::{Datatype, elements_of_json};

/// Elements in JSON or in typed contents.
#[derive(Debug)]
pub enum Elements {
    /// As JSON over HTTP, flat or nested.
    Json {
        /// How many there are.
        count: usize,
        /// The list as the server wrote it.
        text: Bytes,
    },
    /// As typed contents over gRPC.
    Typed(Box<InferTensorContents>),
}

impl Default for Elements {
    fn default() -> Self {
        Elements::Typed(Box::default())
    }
}

impl Elements {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Elements::Json { count, .. } => *count,
            // only one of the typed lists is filled
            Elements::Typed(contents) => [
                contents.bool_contents.len(),
                contents.int_contents.len(),
                contents.int64_contents.len(),
                contents.uint_contents.len(),
                contents.uint64_contents.len(),
                contents.fp32_contents.len(),
                contents.fp64_contents.len(),
                contents.bytes_contents.len(),
            ]
            .into_iter()
            .sum(),
        }
    }

    /// The elements as raw bytes; `None` if they are no elements of that type.
    fn raw(&self, datatype: Datatype) -> Option<Bytes> {
        match self {
            Elements::Json { text, .. } => elements_of_json(std::str::from_utf8(text).ok()?, datatype),
            Elements::Typed(contents) => typed(contents, datatype).map(Bytes::from),
        }
    }
}

impl OutputTensor {
    /// The tensor's content as raw bytes, little-endian and row-major, with its type.
    ///
    /// # Errors
    /// It was not kept, or is not of its type: kind `Answer`.
    pub fn content(&self) -> Result<(Datatype, Bytes), Fault> {
        let bad = |words: &str| Fault::new(FaultKind::Answer, format!("the output \"{}\" {words}", self.name));
        let datatype = self
            .datatype
            .parse()
            .map_err(|_| bad(&format!("is {}, whose content cannot be compared", self.datatype)))?;
        let content = match &self.payload {
            Payload::Raw(raw) => raw.clone(),
            Payload::Size(_) => return Err(bad("was not kept")),
            Payload::Elements(elements) => elements
                .raw(datatype)
                .ok_or_else(|| bad(&format!("has elements that are no {datatype}")))?,
        };
        Ok((datatype, content))
    }
}

fn typed(contents: &InferTensorContents, datatype: Datatype) -> Option<Vec<u8>> {
    let InferTensorContents { int_contents, uint_contents, .. } = contents;
    macro_rules! narrowed {
        ($from:expr, $to:ty) => {
            $from.iter().map(|value| <$to>::try_from(*value).ok()).collect::<Option<Vec<_>>>()?
        };
    }
    macro_rules! bytes {
        ($values:expr) => {
            $values.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
    }
    Some(match datatype {
        Datatype::Bool => contents.bool_contents.iter().map(|value| u8::from(*value)).collect(),
        Datatype::Int8 => bytes!(narrowed!(int_contents, i8)),
        Datatype::Int16 => bytes!(narrowed!(int_contents, i16)),
        Datatype::Int32 => bytes!(int_contents),
        Datatype::Int64 => bytes!(contents.int64_contents),
        Datatype::Uint8 => narrowed!(uint_contents, u8),
        Datatype::Uint16 => bytes!(narrowed!(uint_contents, u16)),
        Datatype::Uint32 => bytes!(uint_contents),
        Datatype::Uint64 => bytes!(contents.uint64_contents),
        Datatype::Fp32 => bytes!(contents.fp32_contents),
        Datatype::Fp64 => bytes!(contents.fp64_contents),
        // have no typed contents
        Datatype::Fp16 | Datatype::Bf16 => return None,
        Datatype::Bytes => {
            let text = |text: &Vec<u8>| [&(text.len() as u32).to_le_bytes()[..], text].concat();
            contents.bytes_contents.iter().flat_map(text).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(datatype: &str, elements: Elements) -> Result<Bytes, Fault> {
        let payload = Payload::Elements(elements);
        OutputTensor { name: "y".into(), datatype: datatype.into(), shape: vec![1], payload }
            .content()
            .map(|(_, bytes)| bytes)
    }

    fn json(text: &'static str) -> Elements {
        Elements::Json { count: 0, text: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn elements_become_the_bytes_that_others_send_raw() {
        let floats = [1.5_f32, f32::INFINITY, -2.0].map(f32::to_le_bytes).concat();
        assert_eq!(content("FP32", json("[1.5,[Infinity,-2]]")).unwrap(), floats);
        let typed = InferTensorContents { fp32_contents: vec![1.5, f32::INFINITY, -2.0], ..Default::default() };
        assert_eq!(content("FP32", Elements::Typed(Box::new(typed))).unwrap(), floats);
        assert_eq!(content("INT16", json("[-2, 3]")).unwrap(), [-2_i16, 3].map(i16::to_le_bytes).concat());
        let typed = InferTensorContents { int_contents: vec![-2, 3], ..Default::default() };
        assert_eq!(
            content("INT16", Elements::Typed(Box::new(typed))).unwrap(),
            [-2_i16, 3].map(i16::to_le_bytes).concat()
        );
        assert_eq!(content("BYTES", json(r#"[["a"],[""]]"#)).unwrap(), &b"\x01\0\0\0a\0\0\0\0"[..]);
        assert_eq!(content("BOOL", json("[true,false]")).unwrap(), &[1, 0][..]);
        for (datatype, elements) in [
            ("INT8", Elements::Typed(Box::new(InferTensorContents { int_contents: vec![300], ..Default::default() }))),
            ("FP16", Elements::Typed(Box::default())),
            ("INT32", json("[1.5]")),
            ("TEXT", json("[1]")),
        ] {
            assert_eq!(content(datatype, elements).unwrap_err().kind, FaultKind::Answer, "{datatype}");
        }
        assert!(f32::from_le_bytes(content("FP32", json("[NaN]")).unwrap()[..].try_into().unwrap()).is_nan());
    }
}
