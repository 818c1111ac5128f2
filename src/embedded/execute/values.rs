//! Converts tensors of the protocol to values of the engine, and back.

use bytes::Bytes;
use half::f16;
use rten::{NodeId, Value};
use rten_tensor::prelude::*;

use crate::embedded::error::Error;
use crate::embedded::execute::infer::{ValidatedRequest, bracketed};
use crate::embedded::model::config::Description;
use crate::tensor::Datatype;

/// A configured tensor's place in the model.
pub struct Place {
    /// The engine's name for it.
    pub id: NodeId,
    /// A scalar, which clients see with the shape `[1]`.
    pub number: bool,
    /// The configured shape only repeats the file's. Some files are wrong there, and Triton answers with the actual
    /// shape.
    pub restated: bool,
}

/// The batch's input as rten takes it; `None` if it is left out. `number` marks a scalar, which clients see with the
/// shape `[1]`.
pub fn input(requests: &[ValidatedRequest], tensor: &Description, number: bool) -> Result<Option<Value>, Error> {
    let mut parts = Vec::with_capacity(requests.len());
    for request in requests {
        match request.inputs.iter().find(|input| input.name == tensor.name) {
            Some(input) => parts.push(input),
            None => return Ok(None),
        }
    }
    let mut shape = parts[0].shape.clone();
    if parts.len() > 1 {
        shape[0] = parts.iter().map(|part| part.shape[0]).sum();
    }
    if number {
        shape.pop();
    }
    let parts: Vec<&[u8]> = parts.iter().map(|part| &part.data[..]).collect();
    let value = match tensor.datatype {
        Datatype::Fp32 => value(&shape, elements(&parts, f32::from_le_bytes)),
        Datatype::Fp16 => value(&shape, elements(&parts, |bytes| f16::from_le_bytes(bytes).to_f32())),
        Datatype::Fp64 => value(&shape, narrow(elements(&parts, f64::from_le_bytes), tensor, single)?),
        Datatype::Int32 => value(&shape, elements(&parts, i32::from_le_bytes)),
        Datatype::Int64 => {
            value(&shape, narrow(elements(&parts, i64::from_le_bytes), tensor, |wide| i32::try_from(wide).ok())?)
        }
        Datatype::Bool => value(&shape, elements(&parts, |[byte]: [u8; 1]| i32::from(byte != 0))),
        Datatype::Int8 => value(&shape, elements(&parts, i8::from_le_bytes)),
        Datatype::Uint8 => value(&shape, parts.concat()),
        other => return Err(Error::internal(format!("{other} reached the engine"))),
    };
    Ok(Some(value))
}

fn value<T>(shape: &[usize], data: Vec<T>) -> Value
where
    Value: From<rten_tensor::Tensor<T>>,
{
    Value::from(rten_tensor::Tensor::from_data(shape, data))
}

/// Little-endian elements of all parts, one after the other.
fn elements<T, const SIZE: usize>(parts: &[&[u8]], read: impl Fn([u8; SIZE]) -> T) -> Vec<T> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let mut elements = Vec::with_capacity(bytes / SIZE);
    for part in parts {
        elements.extend(part.as_chunks().0.iter().map(|chunk| read(*chunk)));
    }
    elements
}

/// Converts 64-bit elements to the engine's 32 bits.
fn narrow<W: Copy + ToString, T>(
    wide: Vec<W>,
    tensor: &Description,
    convert: impl Fn(W) -> Option<T>,
) -> Result<Vec<T>, Error> {
    let narrow = wide.into_iter().map(|element| {
        convert(element).ok_or_else(|| {
            let words = format!("input '{}' has {}, beyond the engine's 32 bits", tensor.name, element.to_string());
            Error::invalid(words)
        })
    });
    narrow.collect()
}

/// Rounds a number to single precision; `None` if it is out of range.
fn single(wide: f64) -> Option<f32> {
    let narrow = wide as f32;
    (narrow.is_finite() || !wide.is_finite()).then_some(narrow)
}

/// The shape of one item and the bytes of a whole output. `place` is the output's place in the model.
pub fn output(
    value: Value,
    tensor: &Description,
    items: usize,
    batched: bool,
    place: &Place,
) -> Result<(Vec<usize>, Bytes), Error> {
    let mut shape: Vec<usize> = match &value {
        Value::FloatTensor(tensor) => tensor.shape().to_vec(),
        Value::Int32Tensor(tensor) => tensor.shape().to_vec(),
        Value::Int8Tensor(tensor) => tensor.shape().to_vec(),
        Value::UInt8Tensor(tensor) => tensor.shape().to_vec(),
        _ => return Err(Error::internal(format!("output '{}' is not a tensor", tensor.name))),
    };
    if place.number && shape.is_empty() {
        shape.push(1);
    }
    let expected = tensor.model_shape(batched);
    let fits = shape.len() == expected.len()
        && shape
            .iter()
            .zip(&expected)
            .all(|(found, expected)| *expected < 0 || *expected as usize == *found)
        && (!batched || shape[0] == items);
    if !fits && (batched || !place.restated) {
        return Err(Error::internal(format!(
            "the model gave output '{}' the shape {} for a batch of {items}, but its configuration says {}",
            tensor.name,
            bracketed(&shape),
            bracketed(&expected)
        )));
    }
    let data = match (value, tensor.datatype) {
        (Value::FloatTensor(values), Datatype::Fp32) => bytes(values.into_data(), f32::to_le_bytes),
        (Value::FloatTensor(values), Datatype::Fp16) => {
            bytes(values.into_data(), |value| f16::from_f32(value).to_le_bytes())
        }
        (Value::FloatTensor(values), Datatype::Fp64) => {
            bytes(values.into_data(), |value| f64::from(value).to_le_bytes())
        }
        (Value::Int32Tensor(values), Datatype::Int64) => {
            bytes(values.into_data(), |value| i64::from(value).to_le_bytes())
        }
        (Value::Int32Tensor(values), Datatype::Bool) => bytes(values.into_data(), |value| [u8::from(value != 0)]),
        (Value::Int32Tensor(values), Datatype::Int32) => bytes(values.into_data(), i32::to_le_bytes),
        (Value::Int8Tensor(values), Datatype::Int8) => bytes(values.into_data(), i8::to_le_bytes),
        (Value::UInt8Tensor(values), Datatype::Uint8) => Bytes::from(values.into_data()),
        (_, datatype) => {
            return Err(Error::internal(format!(
                "the engine gave output '{}' a type that is not {datatype}",
                tensor.name
            )));
        }
    };
    Ok((shape[usize::from(batched)..].to_vec(), data))
}

fn bytes<T: Copy, const SIZE: usize>(values: Vec<T>, write: impl Fn(T) -> [u8; SIZE]) -> Bytes {
    let mut bytes = vec![0; values.len() * SIZE];
    for (chunk, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *chunk = write(value);
    }
    Bytes::from(bytes)
}
