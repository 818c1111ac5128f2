//! Whether the inputs' data gives as many different requests as the scenario wants to send.

use super::Input;
use crate::matrix::{AxisId, Matrix, Refusal, Value};
use crate::tensor::{Source, distinct_batches};

/// Checks every number of distinct requests in every batch size.
///
/// # Errors
/// The data gives fewer: the problem and the remedy.
pub(super) fn check(inputs: &[Input], matrix: &Matrix) -> Result<(), Refusal> {
    let given = matrix.given(AxisId::Distinct);
    if given.is_empty() {
        return Ok(());
    }
    // what cannot be read is told elsewhere
    let Ok(items) = inputs.iter().map(Input::items).collect::<Result<Vec<_>, _>>() else {
        return Ok(());
    };
    for batch in matrix.batch_sizes() {
        let Some(most) = distinct_batches(&items, batch as usize) else { continue };
        let beyond = |value: &&Value| matches!(value, Value::Whole(wanted) if most < u64::from(*wanted));
        if let Some(wanted) = given.iter().find(beyond) {
            let problem = match most {
                1 => format!("the data of the inputs makes one request of batch {batch}, not {wanted}"),
                _ => format!("the data of the inputs makes {most} different requests of batch {batch}, not {wanted}"),
            };
            let is_file = inputs.iter().any(|input| matches!(input.data, Source::File(_)));
            let help = match is_file {
                true => "lower it, or leave it out for as many as the data makes",
                false => "give an input different data, such as data = {random = {seed = 7}}",
            };
            return Err((problem, help.to_owned()));
        }
    }
    Ok(())
}
