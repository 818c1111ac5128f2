//! Checks that an answer matches the request: names, types, shapes and sizes. Values are the model's responsibility.

use serde::{Deserialize, Serialize};

use crate::protocol::{Answer, Fault, FaultKind, OutputTensor, Payload};
use crate::tensor::{Datatype, Expect, byte_elements};

/// The expected output of an answer; undescribed properties are not checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// The output's name.
    pub name: String,
    /// Its type in the protocol's spelling; `None` if the server does not describe it.
    pub datatype: Option<String>,
    /// Its shape, with -1 for a free dimension; `None` if the server does not describe it.
    pub shape: Option<Vec<i64>>,
    /// What its content should be, if that is to be checked.
    pub expect: Option<Expect>,
}

/// Whether two shapes are compatible; -1 on either side matches any size.
pub fn shapes_agree(one: &[i64], other: &[i64]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a == b || *a == -1 || *b == -1)
}

/// Checks an answer against its expected outputs.
///
/// # Errors
/// The first difference: kind `Answer`.
pub fn verify(answer: &Answer, expected: &[Expected]) -> Result<(), Fault> {
    for wanted in expected {
        let found = answer.outputs.iter().find(|output| output.name == wanted.name);
        let found = found.ok_or_else(|| {
            let names: Vec<&str> = answer.outputs.iter().map(|output| output.name.as_str()).collect();
            bad(format!("the output \"{}\" is missing; the answer has {}", wanted.name, names.join(", ")))
        })?;
        verify_tensor(found, wanted)?;
    }
    Ok(())
}

/// Whether shapes and types alone determine the size of every output: sizes of BYTES elements vary with the values.
pub fn has_fixed_sizes(answer: &Answer) -> bool {
    let size = |output: &OutputTensor| output.datatype.parse().ok().and_then(Datatype::size);
    answer.outputs.iter().all(|output| size(output).is_some())
}

fn verify_tensor(found: &OutputTensor, wanted: &Expected) -> Result<(), Fault> {
    let name = &wanted.name;
    if let Some(datatype) = wanted.datatype.as_ref().filter(|datatype| **datatype != found.datatype) {
        return Err(bad(format!("the output \"{name}\" is {}, expected {datatype}", found.datatype)));
    }
    let described = wanted.shape.as_ref().unwrap_or(&found.shape);
    if !shapes_agree(&found.shape, described) || found.shape.iter().any(|dimension| *dimension < 0) {
        return Err(bad(format!("the output \"{name}\" has shape {:?}, expected {described:?}", found.shape)));
    }
    let elements = found
        .shape
        .iter()
        .try_fold(1_usize, |count, size| count.checked_mul(usize::try_from(*size).ok()?));
    let elements = elements.ok_or_else(|| bad(format!("the output \"{name}\" has an impossible shape")))?;
    let size = found.datatype.parse::<Datatype>().ok().and_then(Datatype::size);
    match (&found.payload, size) {
        (Payload::Elements(found), _) if found.count() != elements => {
            Err(bad(format!("the output \"{name}\" holds {} elements, its shape asks for {elements}", found.count())))
        }
        (Payload::Raw(raw), Some(size)) if Some(raw.len()) != elements.checked_mul(size) => Err(bad(format!(
            "the output \"{name}\" holds {} bytes, its shape asks for {}",
            raw.len(),
            elements.saturating_mul(size)
        ))),
        (Payload::Size(held), Some(size)) if Some(*held) != elements.checked_mul(size) => Err(bad(format!(
            "the output \"{name}\" holds {held} bytes, its shape asks for {}",
            elements.saturating_mul(size)
        ))),
        (Payload::Raw(raw), None) if byte_elements(raw) != Some(elements) => {
            Err(bad(format!("the output \"{name}\" does not hold {elements} BYTES elements")))
        }
        _ => Ok(()),
    }
}

fn bad(message: String) -> Fault {
    Fault::new(FaultKind::Answer, message)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answer(datatype: &str, shape: &[i64], raw: &'static [u8]) -> Answer {
        let payload = Payload::Raw(Bytes::from_static(raw));
        let output = OutputTensor { name: "y".into(), datatype: datatype.into(), shape: shape.to_vec(), payload };
        Answer { id: String::new(), outputs: vec![output] }
    }

    fn expected(datatype: &str, shape: &[i64]) -> [Expected; 1] {
        [Expected {
            name: "y".into(),
            datatype: Some(datatype.into()),
            shape: Some(shape.to_vec()),
            expect: None,
        }]
    }

    #[test]
    fn good_answers_pass() {
        verify(&answer("FP16", &[2, 1], b"abcd"), &expected("FP16", &[2, -1])).unwrap();
        verify(&answer("BYTES", &[2], b"\x01\0\0\0a\0\0\0\0"), &expected("BYTES", &[2])).unwrap();
        let undescribed = [Expected { name: "y".into(), datatype: None, shape: None, expect: None }];
        verify(&answer("FP16", &[2, 1], b"abcd"), &undescribed).unwrap();
        assert!(verify(&answer("FP16", &[2, 1], b"abc"), &undescribed).is_err());
    }

    #[test]
    fn every_difference_is_said() {
        for (answer, expected, words) in [
            (answer("FP16", &[2], b"abcd"), expected("FP32", &[2]), "is FP16"),
            (answer("FP16", &[2], b"abcd"), expected("FP16", &[3]), "has shape [2]"),
            (answer("FP16", &[-1], b"abcd"), expected("FP16", &[-1]), "has shape [-1]"),
            (answer("FP16", &[2], b"abc"), expected("FP16", &[2]), "holds 3 bytes"),
            (answer("BYTES", &[1], b"\x09\0\0\0a"), expected("BYTES", &[1]), "does not hold 1 BYTES"),
            (answer("BYTES", &[2], b"\x01\0\0\0a"), expected("BYTES", &[2]), "does not hold 2 BYTES"),
        ] {
            let fault = verify(&answer, &expected).unwrap_err();
            assert!(fault.message.contains(words), "{} lacks {words}", fault.message);
        }
        let other = [Expected { name: "z".into(), ..expected("FP16", &[2])[0].clone() }];
        assert!(verify(&answer("FP16", &[2], b"abcd"), &other).unwrap_err().message.contains("missing"));
    }
}
