//! Damage to bytes and JSON, drawn from a seed.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

pub type Drawn = ChaCha8Rng;

/// The number of cases of a test; MALFORMED_CASES sets another one, such as a million.
pub fn cases() -> u64 {
    std::env::var("MALFORMED_CASES").map_or(5000, |text| text.parse().expect("MALFORMED_CASES is a number"))
}

/// One of several.
pub fn one<'a, T>(drawn: &mut Drawn, of: &'a [T]) -> &'a T {
    &of[drawn.random_range(0..of.len())]
}

/// Any bytes.
pub fn garbage(drawn: &mut Drawn, longest: usize) -> Vec<u8> {
    let length = drawn.random_range(1..=longest);
    (0..length).map(|_| drawn.random()).collect()
}

/// Flips bits, cuts off, inserts or deletes.
pub fn bytes(drawn: &mut Drawn, bytes: &mut Vec<u8>) {
    for _ in 0..drawn.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = drawn.random_range(0..bytes.len());
        match drawn.random_range(0..5) {
            0 | 1 => bytes[at] ^= 1 << drawn.random_range(0..8),
            2 => bytes.truncate(at),
            3 => {
                let inserted = garbage(drawn, 8);
                bytes.splice(at..at, inserted);
            }
            _ => {
                let end = bytes.len().min(at + drawn.random_range(1..8));
                bytes.drain(at..end);
            }
        }
    }
}

/// Removes, retypes or repeats a member or an element somewhere in JSON.
pub fn json(drawn: &mut Drawn, root: &mut Value) {
    let mut places = Vec::new();
    pointers(root, String::new(), &mut places);
    let place = one(drawn, &places).clone();
    let (parent, key) = place.rsplit_once('/').unwrap_or(("", ""));
    let action = drawn.random_range(0..4);
    let parent = root.pointer_mut(parent).expect("a place that was found");
    match (action, parent) {
        (0, Value::Object(members)) => drop(members.shift_remove(key)),
        (0, Value::Array(elements)) => drop(elements.remove(key.parse().unwrap())),
        (1, Value::Array(elements)) => {
            let again = elements[key.parse::<usize>().unwrap()].clone();
            elements.extend(vec![again; drawn.random_range(1..50)]);
        }
        (1, Value::Object(members)) => {
            let value = other(drawn);
            let name = one(drawn, &["data", "parameters", "shape", "binary_data_size", "sequence_id", "", "\u{0}"]);
            members.insert((*name).to_owned(), value);
        }
        _ => *root.pointer_mut(&place).expect("a place that was found") = other(drawn),
    }
}

fn pointers(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            let place = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            pointers(value, place, places);
        }),
        Value::Array(elements) => {
            elements
                .iter()
                .enumerate()
                .for_each(|(index, value)| pointers(value, format!("{at}/{index}"), places));
        }
        _ => {}
    }
    if !at.is_empty() {
        places.push(at);
    }
}

/// A value that is most likely of the wrong type or size.
fn other(drawn: &mut Drawn) -> Value {
    let values = [
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(1_u64 << 62),
        json!(4_294_967_296_u64),
        json!(""),
        json!("x".repeat(10_000)),
        json!("\u{0}\u{1f600}\u{fffd}"),
        json!([]),
        json!({}),
        json!([[[[[[]]]]]]),
        json!([1, "x", null, {}, []]),
        json!({"name": {}, "data": [], "shape": "x"}),
        json!(vec![u64::MAX; 100]),
    ];
    one(drawn, &values).clone()
}

/// JSON as text, with numbers or nesting that no value holds, or with a duplicate member.
pub fn text(drawn: &mut Drawn, json: &str) -> String {
    let deep = drawn.random_range(1..200_000);
    match drawn.random_range(0..6) {
        0 => {
            let number =
                one(drawn, &["1e999", "-1e999", "9".repeat(400).as_str(), "-0", "1e-999", "0x10", "NaN", "+1", "01"])
                    .to_string();
            let digits: Vec<usize> = json.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
            let at = *one(drawn, &digits);
            format!("{}{number}{}", &json[..at], &json[at + 1..])
        }
        1 => "[".repeat(deep),
        2 => r#"{"inputs":"#.repeat(deep),
        3 => json.replacen("\"data\":", &format!("\"data\":{},\"x\":", "[".repeat(deep) + &"]".repeat(deep)), 1),
        4 => {
            let member = one(drawn, &["name", "shape", "datatype", "inputs", "parameters", "data"]);
            json.replacen(&format!("\"{member}\":"), &format!("\"{member}\":[],\"{member}\":"), 1)
        }
        _ => format!("{json}{}", one(drawn, &["{}", "\0", ",", "]]]]", " \t\r\n"])),
    }
}
