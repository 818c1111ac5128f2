//! Applies the shapes of a matrix point to inputs, and checks that they fit.

use super::Input;
use crate::matrix::{Refusal, Shapes};
use crate::tensor::Source;

/// Maximum size of a protobuf message, and so of a gRPC request; the same limit holds for HTTP, for comparability.
const REQUEST_BYTES_MAX: u64 = i32::MAX as u64;

/// Bytes of the inputs of one request, saturating.
pub fn request_bytes(inputs: &[Input], batch: u32) -> u64 {
    let items = inputs.iter().fold(0_u64, |total, input| total.saturating_add(input.item_bytes()));
    items.saturating_mul(batch.into())
}

/// Checks that a request can hold its inputs.
///
/// # Errors
/// The problem, and the remedy.
pub fn request_fits(inputs: &[Input], batch: u32) -> Result<(), Refusal> {
    let bytes = request_bytes(inputs, batch);
    if bytes <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let exactly = if bytes < u64::MAX { format!("{bytes} bytes, ") } else { String::new() };
    let problem = format!("a request of batch size {batch} would hold {exactly}more than {REQUEST_BYTES_MAX} bytes");
    Err((problem, "lower the largest of batch_sizes, or the shape: a protobuf message holds no more".to_owned()))
}

/// The inputs, with the shapes that `shapes` gives.
pub fn shaped(inputs: &[Input], shapes: Option<&Shapes>) -> Vec<Input> {
    let shape = |input: &Input| shapes.and_then(|shapes| shapes.of(&input.name)).unwrap_or(&input.shape).to_vec();
    inputs.iter().map(|input| Input { shape: shape(input), ..input.clone() }).collect()
}

/// Checks that inputs fit the shapes, in requests of `batch` items. `shapeless`: inputs without any other shape.
///
/// # Errors
/// The problem, and the remedy.
pub fn check(inputs: &[Input], shapes: &Shapes, batch: u32, shapeless: &[&str]) -> Result<(), Refusal> {
    let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    let list = names.join(", ");
    for name in shapes.names() {
        if name.is_empty() && inputs.len() != 1 {
            let example = format!("{{{} = [..]}}", names.first().unwrap_or(&"x"));
            let problem = format!("one shape for {} inputs", inputs.len());
            return Err((problem, format!("name them in a table, such as {example}: the inputs are {list}")));
        }
        if !name.is_empty() && !names.contains(&name) {
            return Err((format!("\"{name}\" is no input of the model"), format!("the inputs are {list}")));
        }
    }
    if let Some(name) = shapeless.iter().find(|name| shapes.of(name).is_none()) {
        let problem = format!("the input \"{name}\" has no shape, neither its own nor one here");
        return Err((problem, "add its shape here, or `shape` to its [[input]]".to_owned()));
    }

    let inputs = shaped(inputs, Some(shapes));
    request_fits(&inputs, batch)?;
    for input in &inputs {
        if let Source::File(_) = &input.data
            && let Err(cause) = input.items()
        {
            let problem = format!("the data of the input \"{}\" does not have this shape: {cause:#}", input.name);
            return Err((problem, "leave this shape out, or generate the data".to_owned()));
        }
    }
    Ok(())
}
