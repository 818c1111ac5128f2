//! The body of an HTTP inference answer: JSON, then the raw tensors of the binary extension. As in Triton, floats may
//! be NaN, Infinity and -Infinity, and BYTES elements are unchanged, whether text or not.

use bytes::Bytes;
use serde::Serialize;

use crate::embedded::error::Error;
use crate::embedded::execute::infer::{Answer, Tensor, texts};
use crate::embedded::front::json::Binary;
use crate::tensor::Datatype;

/// An answer's body.
pub struct Body {
    /// JSON, then raw tensors.
    pub bytes: Bytes,
    /// Length of the JSON, if raw tensors follow.
    pub json_length: Option<usize>,
}

/// Writes the body of an answer; `id` is the request's, and may be empty.
///
/// # Errors
/// JSON cannot hold an output, and it was not requested as raw bytes.
pub fn body(model: &str, version: u64, id: &str, answer: Answer, binary: &Binary) -> Result<Body, Error> {
    let mut json = vec![b'{'];
    if !id.is_empty() {
        member(&mut json, "id", id)?;
    }
    member(&mut json, "model_name", model)?;
    member(&mut json, "model_version", &version.to_string())?;
    json.extend_from_slice(b"\"outputs\":[");
    let mut raw = Vec::new();
    for (index, tensor) in answer.outputs.into_iter().enumerate() {
        json.extend_from_slice(if index == 0 { b"{" } else { b",{" });
        member(&mut json, "name", &tensor.name)?;
        member(&mut json, "datatype", tensor.datatype.name())?;
        member(&mut json, "shape", &tensor.shape)?;
        if binary.holds(&tensor.name) {
            json.extend_from_slice(
                format!("\"parameters\":{{\"binary_data_size\":{}}}}}", tensor.data.len()).as_bytes(),
            );
            raw.push(tensor.data);
        } else {
            json.extend_from_slice(b"\"data\":[");
            values(&mut json, &tensor)?;
            json.extend_from_slice(b"]}");
        }
    }
    json.extend_from_slice(b"]}");
    let json_length = (!raw.is_empty()).then_some(json.len());
    json.reserve_exact(raw.iter().map(Bytes::len).sum());
    raw.iter().for_each(|data| json.extend_from_slice(data));
    Ok(Body { bytes: json.into(), json_length })
}

/// Writes a member of an object, and a comma after it.
fn member(json: &mut Vec<u8>, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    json.extend_from_slice(format!("\"{key}\":").as_bytes());
    put(json, value)?;
    json.push(b',');
    Ok(())
}

fn put(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
    serde_json::to_writer(json, value).map_err(|error| Error::internal(error.to_string()))
}

/// Writes the elements of a tensor, separated by commas.
fn values(json: &mut Vec<u8>, tensor: &Tensor) -> Result<(), Error> {
    fn each<const SIZE: usize, T: Serialize>(
        json: &mut Vec<u8>,
        data: &[u8],
        read: impl Fn([u8; SIZE]) -> T,
    ) -> Result<(), Error> {
        data.as_chunks().0.iter().enumerate().try_for_each(|(index, chunk)| {
            separate(json, index);
            put(json, &read(*chunk))
        })
    }
    let data = &tensor.data;
    match tensor.datatype {
        Datatype::Bool => each(json, data, |[byte]| byte != 0),
        Datatype::Uint8 => each(json, data, |[byte]| byte),
        Datatype::Uint16 => each(json, data, u16::from_le_bytes),
        Datatype::Uint32 => each(json, data, u32::from_le_bytes),
        Datatype::Uint64 => each(json, data, u64::from_le_bytes),
        Datatype::Int8 => each(json, data, i8::from_le_bytes),
        Datatype::Int16 => each(json, data, i16::from_le_bytes),
        Datatype::Int32 => each(json, data, i32::from_le_bytes),
        Datatype::Int64 => each(json, data, i64::from_le_bytes),
        Datatype::Fp32 => floats(json, data, |bytes| f32::from_le_bytes(bytes).into()),
        Datatype::Fp64 => floats(json, data, f64::from_le_bytes),
        Datatype::Bytes => texts(data).enumerate().try_for_each(|(index, text)| {
            separate(json, index);
            quote(json, &text.map_err(Error::internal)?);
            Ok(())
        }),
        Datatype::Fp16 | Datatype::Bf16 => Err(Error::invalid(format!(
            "sending {} data via JSON is not supported. Please use the binary data format for output {}",
            tensor.datatype, tensor.name
        ))),
    }
}

fn floats<const SIZE: usize>(json: &mut Vec<u8>, data: &[u8], read: impl Fn([u8; SIZE]) -> f64) -> Result<(), Error> {
    data.as_chunks().0.iter().enumerate().try_for_each(|(index, chunk)| {
        separate(json, index);
        match read(*chunk) {
            number if number.is_nan() => json.extend_from_slice(b"NaN"),
            f64::INFINITY => json.extend_from_slice(b"Infinity"),
            f64::NEG_INFINITY => json.extend_from_slice(b"-Infinity"),
            number => put(json, &number)?,
        }
        Ok(())
    })
}

fn separate(json: &mut Vec<u8>, index: usize) {
    if index > 0 {
        json.push(b',');
    }
}

/// Writes bytes in quotes. Non-ASCII bytes stay as they are: whether they are text is up to the model.
fn quote(json: &mut Vec<u8>, text: &[u8]) {
    json.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => json.extend_from_slice(&[b'\\', *byte]),
            b'\n' => json.extend_from_slice(b"\\n"),
            b'\r' => json.extend_from_slice(b"\\r"),
            b'\t' => json.extend_from_slice(b"\\t"),
            0x08 => json.extend_from_slice(b"\\b"),
            0x0c => json.extend_from_slice(b"\\f"),
            0..0x20 => json.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            _ => json.push(*byte),
        }
    }
    json.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::execute::infer::Delivery;

    fn written(datatype: Datatype, shape: &[usize], data: &[u8], id: &str) -> Vec<u8> {
        let data = Bytes::copy_from_slice(data);
        let outputs = vec![Tensor { name: "y\"".to_owned(), datatype, shape: shape.to_vec(), data }];
        let answer = Answer { outputs, delivery: Delivery::Whole };
        body("m", 3, id, answer, &Binary::default()).unwrap().bytes.to_vec()
    }

    #[test]
    fn floats_that_are_no_numbers_are_written_as_triton_does() {
        let floats = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.1, -0.0, 3.0];
        let data: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
        let json = String::from_utf8(written(Datatype::Fp32, &[2, 3], &data, "7")).unwrap();
        assert_eq!(
            json,
            "{\"id\":\"7\",\"model_name\":\"m\",\"model_version\":\"3\",\"outputs\":[{\"name\":\"y\\\"\",\"datatype\":\"FP32\",\
             \"shape\":[2,3],\"data\":[NaN,Infinity,-Infinity,0.10000000149011612,-0.0,3.0]}]}"
        );
        let data: Vec<u8> = [f64::NAN, 0.5].iter().flat_map(|float| float.to_le_bytes()).collect();
        assert!(
            String::from_utf8(written(Datatype::Fp64, &[2], &data, ""))
                .unwrap()
                .ends_with("[NaN,0.5]}]}")
        );
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let text = b"a\xff\xfe\"\\\n\x01\x1f\xc3\xa4";
        let data = [&(text.len() as u32).to_le_bytes()[..], text, &[0; 4]].concat();
        let json = written(Datatype::Bytes, &[2], &data, "");
        assert!(
            json.ends_with(b"\"data\":[\"a\xff\xfe\\\"\\\\\\n\\u0001\\u001F\xc3\xa4\",\"\"]}]}"),
            "{}",
            json.escape_ascii()
        );
    }
}
