//! The parameters of every request.

use toml::de::DeValue;

use super::super::error::Document;
use super::super::tree::Table;
use super::Checked;
use crate::tensor::{Parameter, Parameters};

/// Names that the program itself gives, or that only make sense in requests that belong together.
const REFUSED: [(&str, &str); 6] = [
    ("binary_data_output", "answers are asked for in binary where the server gives them: remove it"),
    ("binary_data_size", "the program tells how large tensors are: remove it"),
    ("sequence_id", "requests that belong together are not sent yet: remove it"),
    ("sequence_start", "requests that belong together are not sent yet: remove it"),
    ("sequence_end", "requests that belong together are not sent yet: remove it"),
    ("triton_enable_empty_final_response", "decoupled models are not asked yet: remove it"),
];

/// The table `[parameters]`.
pub(super) fn parameters(document: &Document<'_>, table: &Table<'_>) -> Checked<Parameters> {
    let mut parameters = Parameters::new();
    for (name, value) in table.entries() {
        if let Some((_, help)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            return Err(document.error(value.span(), format!("{name} cannot be set for a whole run"), *help));
        }
        let parameter = match value.get_ref() {
            DeValue::Boolean(flag) => Parameter::Flag(*flag),
            DeValue::String(text) => Parameter::Text(text.to_string()),
            DeValue::Integer(whole) => match i64::from_str_radix(whole.as_str(), whole.radix()) {
                Ok(whole) => Parameter::Whole(whole),
                // the check of kinds told it
                Err(_) => continue,
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) if number.is_finite() => Parameter::Number(number),
                _ => {
                    return Err(document.unexpected(
                        value,
                        "a finite number",
                        "write a number that JSON has, such as 0.5",
                    ));
                }
            },
            _ => continue,
        };
        parameters.insert(name, parameter);
    }
    Ok(parameters)
}
