//! Parameters of a request, as the protocol has them. Must not know what they mean to a server.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters of a request, by name.
pub type Parameters = BTreeMap<String, Parameter>;

/// The value of a request's parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Parameter {
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl fmt::Display for Parameter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Parameter::Flag(flag) => flag.fmt(formatter),
            Parameter::Whole(whole) => whole.fmt(formatter),
            Parameter::Number(number) => number.fmt(formatter),
            Parameter::Text(text) => write!(formatter, "\"{text}\""),
        }
    }
}
