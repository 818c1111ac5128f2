//! The JSON Schema of scenario files, from the table of keys: editors complete and check a scenario by it. It allows all that the program
//! takes; limits that depend on other keys are the program's alone.

use serde_json::{Map, Value, json};

use super::keys::{DATA, FORMAT, HEADER, Key, Kind};
use crate::matrix::{AxisId, Limit};

/// A required key that the axis of shapes makes optional.
const TOLD_BY_AXIS: &str = "shape";

/// The schema.
pub fn json_schema() -> Value {
    let mut schema = object(FORMAT, None);
    let head = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A scenario of runner"});
    if let (Some(schema), Value::Object(head)) = (schema.as_object_mut(), head) {
        let body = std::mem::replace(schema, head);
        schema.extend(body);
    }
    schema
}

/// A table with its keys; and if `named` are given, with tables of any other name that have those.
fn object(keys: &[Key], named: Option<&[Key]>) -> Value {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    // where a table may hold named tables, these may give the keys instead: nothing in it is required
    let is_required = |key: &&Key| {
        key.required && named.is_none() && !matches!(key.kind, Kind::Named(..)) && key.name != TOLD_BY_AXIS
    };
    let required: Vec<&str> = keys.iter().filter(is_required).map(|key| key.name).collect();
    let others = named.map_or(Value::Bool(false), |named| object(named, None));
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": others});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(key: &Key) -> Value {
    let axis = AxisId::ALL.iter().map(|id| id.axis()).find(|axis| axis.key == key.name);
    let mut schema = of_kind(key.kind, axis.map(|axis| axis.limit));
    schema["description"] = match axis {
        Some(axis) => json!(format!("{} Such as `{}`.", axis.meaning, key.example)),
        None => json!(format!("Such as `{}`.", key.example)),
    };
    schema
}

fn of_kind(kind: Kind, limit: Option<Limit>) -> Value {
    let list = |item: Value| json!({"type": "array", "items": item});
    let range = || json!({"type": "string", "pattern": "\\.\\."});
    let sizes = || list(json!({"type": "integer", "minimum": 1}));
    match kind {
        Kind::Text => json!({"type": "string"}),
        Kind::Word(words) => json!({"enum": words.names}),
        // no number of the format is negative
        Kind::Whole => json!({"type": "integer", "minimum": 0}),
        Kind::Number => json!({"type": "number", "minimum": 0}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Value => json!({"type": ["string", "number"]}),
        Kind::Texts => list(json!({"type": "string"})),
        Kind::Shape => json!({"anyOf": [sizes(), {"type": "object", "additionalProperties": sizes()}]}),
        Kind::Shapes => list(of_kind(Kind::Shape, None)),
        Kind::Words(words) => list(of_kind(Kind::Word(words), None)),
        Kind::WordOrWords(words) => {
            json!({"anyOf": [of_kind(Kind::Word(words), None), of_kind(Kind::Words(words), None)]})
        }
        Kind::Wholes => match limit {
            Some(Limit::Whole(least, most)) => list(json!({"type": "integer", "minimum": least, "maximum": most})),
            _ => sizes(),
        },
        Kind::WholesOrRange => json!({"anyOf": [of_kind(Kind::Wholes, limit), range()]}),
        Kind::WholeOrWholes => {
            let list = of_kind(Kind::Wholes, limit);
            json!({"anyOf": [list["items"], list, range()]})
        }
        Kind::NumbersOrRange => {
            let numbers = match limit {
                Some(Limit::Number(least, most)) => list(json!({"type": "number", "minimum": least, "maximum": most})),
                _ => list(json!({"type": "number"})),
            };
            json!({"anyOf": [numbers, range()]})
        }
        Kind::WordOrTable(words, keys) => {
            let one_of_its_keys = keys().iter().map(|key| object(&[Key { required: true, ..*key }], None));
            let all: Vec<Value> = std::iter::once(of_kind(Kind::Word(words), None)).chain(one_of_its_keys).collect();
            json!({"anyOf": all})
        }
        Kind::Data => {
            let one_of_its_keys = DATA.iter().map(|key| object(&[Key { required: true, ..*key }], None));
            let all: Vec<Value> = std::iter::once(json!({"const": "zeros"})).chain(one_of_its_keys).collect();
            json!({"anyOf": all})
        }
        Kind::Table(keys) => object(keys(), None),
        Kind::Named(keys, named) => object(keys(), Some(named())),
        Kind::Tables(keys) => list(object(keys(), None)),
        Kind::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Kind::Headers => {
            json!({"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, object(HEADER, None)]}})
        }
        Kind::Parameters => json!({"type": "object", "additionalProperties": of_kind(Kind::Scalar, None)}),
        Kind::Names => json!({"type": "object", "additionalProperties": {"type": "string"}}),
    }
}
