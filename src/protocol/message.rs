//! A gRPC answer as bytes: which of them describe its tensors, and decoding. Must not know connections.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint, skip_field};

use crate::proto::ModelInferResponse;
use crate::protocol::{Answer, Elements, Fault, FaultKind, OutputTensor, Payload};

/// Compression flag and length in front of a message.
pub(in crate::protocol) const FRAME_PREFIX: usize = 5;

/// Number of the field `raw_output_contents`.
const RAW_CONTENTS: u32 = 6;

/// The bytes of a framed answer that every good answer with the same shapes shares: all but the raw contents.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Bytes of the whole frame.
    length: usize,
    /// Their offsets and contents, in order.
    fixed: Vec<(usize, Bytes)>,
}

/// The length that an answer's first bytes announce, whatever pieces they come in.
#[derive(Default)]
pub(in crate::protocol) struct Announced {
    prefix: [u8; FRAME_PREFIX],
    /// Bytes of the prefix that are known.
    known: usize,
}

impl Announced {
    /// Takes the next bytes of the answer; returns the message's length, 0 until it is known.
    pub(in crate::protocol) fn feed(&mut self, data: &[u8]) -> usize {
        let part = data.len().min(FRAME_PREFIX - self.known);
        self.prefix[self.known..self.known + part].copy_from_slice(&data[..part]);
        self.known += part;
        let [_, length @ ..] = self.prefix;
        if self.known == FRAME_PREFIX { u32::from_be_bytes(length) as usize } else { 0 }
    }
}

/// Compares one answer with a pattern, chunk by chunk.
pub struct Comparison<'a> {
    pattern: &'a Pattern,
    /// Bytes compared so far.
    at: usize,
    /// Index of the piece to compare next.
    next: usize,
    alike: bool,
}

impl Pattern {
    /// The pattern of a framed answer; `None` if it is not one.
    pub(in crate::protocol) fn of(framed: &Bytes) -> Option<Self> {
        let mut rest = framed.clone();
        rest.try_get_u8().ok()?;
        rest.try_get_u32().ok()?;
        let at = |rest: &Bytes| framed.len() - rest.len();
        let mut fixed = Vec::new();
        let mut begin = 0;
        while rest.has_remaining() {
            let (field, kind) = decode_key(&mut rest).ok()?;
            if field == RAW_CONTENTS && kind == WireType::LengthDelimited {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                fixed.push((begin, framed.slice(begin..at(&rest))));
                rest.try_advance(length)?;
                begin = at(&rest);
            } else {
                skip_field(kind, field, &mut rest, Default::default()).ok()?;
            }
        }
        fixed.push((begin, framed.slice(begin..)));
        // copied, so that the contents can be freed
        let fixed = fixed.into_iter().map(|(at, bytes)| (at, Bytes::copy_from_slice(&bytes))).collect();
        Some(Pattern { length: framed.len(), fixed })
    }

    /// Begins to compare an answer.
    pub fn compare(&self) -> Comparison<'_> {
        Comparison { pattern: self, at: 0, next: 0, alike: true }
    }
}

/// `Buf::advance` that does not panic.
trait TryAdvance {
    fn try_advance(&mut self, count: usize) -> Option<()>;
}

impl TryAdvance for Bytes {
    fn try_advance(&mut self, count: usize) -> Option<()> {
        (count <= self.len()).then(|| self.advance(count))
    }
}

impl Comparison<'_> {
    /// Compares the next bytes of the answer.
    pub fn feed(&mut self, data: &[u8]) {
        let end = self.at + data.len();
        while self.alike
            && let Some((begin, bytes)) = self.pattern.fixed.get(self.next)
            && *begin < end
        {
            let last = begin + bytes.len();
            let (from, to) = (self.at.max(*begin), end.min(last));
            self.alike = from >= to || data[from - self.at..to - self.at] == bytes[from - begin..to - begin];
            if !self.alike || end < last {
                break;
            }
            self.next += 1;
        }
        self.at = end;
    }

    /// Whether the description, which comes first, was compared and is the same: then the rest need not be kept.
    pub fn described_alike(&self) -> bool {
        self.alike && self.next > 0
    }

    /// Whether the answer's description was the same, but something after it differs.
    pub fn sizes_differ(&self) -> bool {
        self.next > 0 && !self.is_same()
    }

    /// Whether the whole answer was the same.
    pub fn is_same(&self) -> bool {
        self.alike && self.at == self.pattern.length
    }
}

/// The error of an answer that begins like the verified one, but whose contents have other sizes.
pub(in crate::protocol) fn other_sizes() -> Fault {
    bad("the answer's contents have other sizes than its shapes ask for".to_owned())
}

/// Decodes a framed answer.
///
/// # Errors
/// It is compressed, truncated or not an answer.
pub(in crate::protocol) fn read(framed: Bytes) -> Result<Answer, Fault> {
    let message = ModelInferResponse::decode(unframed(framed)?)
        .map_err(|error| bad(format!("the answer's message cannot be read: {error}")))?;
    if message.raw_output_contents.len() > message.outputs.len() {
        let (raw, outputs) = (message.raw_output_contents.len(), message.outputs.len());
        return Err(bad(format!("the answer has {raw} raw contents for {outputs} outputs")));
    }
    let mut raw = message.raw_output_contents.into_iter();
    let mut outputs = Vec::new();
    for output in message.outputs {
        let payload = match (raw.next(), output.contents) {
            (Some(bytes), _) => Payload::Raw(bytes),
            (None, Some(contents)) => Payload::Elements(Elements::Typed(Box::new(contents))),
            // a tensor without elements needs no contents
            (None, None) if output.shape.contains(&0) => Payload::Elements(Elements::default()),
            (None, None) => return Err(bad(format!("the output \"{}\" has no contents", output.name))),
        };
        outputs.push(OutputTensor { name: output.name, datatype: output.datatype, shape: output.shape, payload });
    }
    Ok(Answer { id: message.id, outputs })
}

/// Removes the frame from a message.
///
/// # Errors
/// It is compressed or truncated.
pub(in crate::protocol) fn unframed(mut framed: Bytes) -> Result<Bytes, Fault> {
    if framed.len() < FRAME_PREFIX {
        return Err(bad("the answer holds no message".to_owned()));
    }
    match framed.get_u8() {
        0 => {}
        1 => return Err(bad("the answer is compressed, which was not asked for".to_owned())),
        flag => return Err(bad(format!("the answer's compression flag is {flag}, which gRPC does not have"))),
    }
    let length = framed.get_u32() as usize;
    if length != framed.len() {
        return Err(bad(format!("the answer should hold {length} bytes, it holds {}", framed.len())));
    }
    Ok(framed)
}

/// Joins the chunks of an answer.
pub(in crate::protocol) fn joined(chunks: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(chunks) {
        Ok([whole]) => whole,
        Err(chunks) => {
            let mut joined = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
            chunks.iter().for_each(|chunk| joined.extend_from_slice(chunk));
            joined.freeze()
        }
    }
}

fn bad(message: String) -> Fault {
    Fault::new(FaultKind::Answer, message)
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;
    use crate::proto::InferTensorContents;
    use crate::proto::model_infer_response::InferOutputTensor;

    #[test]
    fn the_announced_length_is_known_with_its_last_byte() {
        for pieces in 1..7 {
            let mut announced = Announced::default();
            let lengths: Vec<usize> =
                [0, 0xff, 2, 3, 4, 9, 9].chunks(pieces).map(|piece| announced.feed(piece)).collect();
            let before = FRAME_PREFIX.div_ceil(pieces) - 1;
            assert!(lengths[..before].iter().all(|length| *length == 0), "{pieces}: {lengths:?}");
            assert!(lengths[before..].iter().all(|length| *length == 0xff02_0304), "{pieces}: {lengths:?}");
        }
    }

    fn frame(message: &ModelInferResponse) -> Bytes {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(message.encoded_len() as u32);
        message.encode(&mut framed).unwrap();
        framed.freeze()
    }

    fn output(name: &str, elements: i64) -> InferOutputTensor {
        InferOutputTensor { name: name.to_owned(), shape: vec![elements], ..Default::default() }
    }

    fn answer(contents: [&'static [u8]; 2]) -> ModelInferResponse {
        let outputs = vec![output("y", contents[0].len() as i64), output("z", contents[1].len() as i64)];
        ModelInferResponse {
            model_name: "m".to_owned(),
            outputs,
            raw_output_contents: contents.map(Bytes::from_static).to_vec(),
            ..Default::default()
        }
    }

    #[test]
    fn raw_and_typed_answers_are_read_and_damage_is_said() {
        let mut message = ModelInferResponse { outputs: vec![output("y", 2)], ..Default::default() };
        assert!(read(frame(&message)).unwrap_err().message.contains("no contents"));
        message.raw_output_contents = vec![Bytes::from_static(b"12")];
        assert!(matches!(&read(frame(&message)).unwrap().outputs[0].payload, Payload::Raw(raw) if raw.len() == 2));
        message.raw_output_contents.clear();
        let contents = InferTensorContents { fp32_contents: vec![1.0, 2.0], ..Default::default() };
        message.outputs = vec![InferOutputTensor { contents: Some(contents), ..output("y", 2) }, output("z", 0)];
        let read_back = read(frame(&message)).unwrap();
        assert!(matches!(&read_back.outputs[0].payload, Payload::Elements(elements) if elements.count() == 2));
        assert!(matches!(&read_back.outputs[1].payload, Payload::Elements(elements) if elements.count() == 0));

        let framed = frame(&answer([b"ab", b"c"]));
        for (damaged, words) in [
            (framed.slice(..framed.len() - 1), "should hold"),
            (framed.slice(..3), "no message"),
            (Bytes::from([&[1], &framed[1..]].concat()), "compressed"),
            (Bytes::from([&[7], &framed[1..]].concat()), "flag is 7"),
            (Bytes::from([&framed[..5], &vec![0xff; framed.len() - 5]].concat()), "cannot be read"),
            (frame(&ModelInferResponse { outputs: vec![], ..answer([b"ab", b"c"]) }), "2 raw contents for 0 outputs"),
        ] {
            let fault = read(damaged).unwrap_err();
            assert!(fault.message.contains(words), "{fault}");
        }
    }

    fn same(pattern: &Pattern, framed: &[u8], chunk: usize) -> bool {
        let mut comparison = pattern.compare();
        framed.chunks(chunk).for_each(|data| comparison.feed(data));
        comparison.is_same()
    }

    #[test]
    fn answers_with_other_values_are_the_same_and_with_any_other_byte_are_not() {
        let verified = frame(&answer([b"abcd", b"ef"]));
        let pattern = Pattern::of(&verified).unwrap();
        let contents = [b"abcd".len(), b"ef".len()].iter().sum::<usize>();
        assert_eq!(pattern.fixed.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), verified.len() - contents);
        for chunk in [1, 2, 3, 7, 1000] {
            assert!(same(&pattern, &frame(&answer([b"1234", b"56"])), chunk));
            // another description has to be read; the same description with other sizes is always wrong
            let mut comparison = pattern.compare();
            frame(&answer([b"123", b"456"])).chunks(chunk).for_each(|data| comparison.feed(data));
            assert!(!comparison.is_same() && !comparison.sizes_differ());
            let mut moved = verified.to_vec();
            moved[verified.len() - 3] = 1;
            let mut comparison = pattern.compare();
            moved.chunks(chunk).for_each(|data| comparison.feed(data));
            assert!(comparison.sizes_differ());
            assert!(!same(&pattern, &verified[..verified.len() - 1], chunk));
            assert!(!same(&pattern, &[&verified[..], b"x"].concat(), chunk));
            for place in 0..verified.len() {
                let mut other = verified.to_vec();
                other[place] ^= 1;
                let is_content = b"abcdef".contains(&verified[place]) && place + 10 > verified.len();
                assert_eq!(same(&pattern, &other, chunk), is_content, "byte {place} of {}", verified.len());
            }
        }
        // as soon as the description matches, nothing need be kept
        let description = pattern.fixed[0].1.len();
        let mut comparison = pattern.compare();
        comparison.feed(&verified[..description - 1]);
        assert!(!comparison.described_alike());
        comparison.feed(&verified[description - 1..description]);
        assert!(comparison.described_alike() && !comparison.is_same());
    }

    #[test]
    fn damaged_answers_have_no_pattern() {
        for damaged in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x02\x32\x09", b"\0\0\0\0\x01\xff"] {
            assert_eq!(Pattern::of(&Bytes::from_static(damaged)), None);
        }
    }
}
