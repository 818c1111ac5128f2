//! Configurations: those accepted, those refused with their messages, and seeded random corruption.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};

use super::*;
use crate::embedded::execute::loopback::Loopback;

#[path = "../../../tests/embedded/mutate.rs"]
#[allow(dead_code)]
mod mutate;

const TENSORS: &str = "input [ { name: \"x\" data_type: TYPE_FP32 dims: [ 2, 3, -1 ] reshape: { shape: [ 6, -1 ] } } ]
    output [ { name: \"y\" data_type: TYPE_FP32 dims: [ 1 ] reshape: { shape: [ ] } } ]";

fn read(text: &str) -> Result<Config> {
    Config::checked(proto::from_text(text.as_bytes())?, "m")
}

#[test]
fn reshape_gives_the_model_its_own_shapes() {
    let config = read(&format!("backend: \"loopback\" max_batch_size: 8 {TENSORS}")).unwrap();
    let (input, output) = (&config.inputs[0], &config.outputs[0]);
    assert_eq!((input.shape(true), input.model_shape(true)), (vec![-1, 2, 3, -1], vec![-1, 6, -1]));
    assert_eq!((output.shape(true), output.model_shape(true)), (vec![-1, 1], vec![-1]));
    assert_eq!(input.to_model(vec![4, 2, 3, 7], true), [4, 6, 7]);
    assert_eq!(output.to_client(vec![4], true), [4, 1]);
    // a shape that the model got wrong is not corrected
    assert_eq!(output.to_client(vec![4, 1], true), [4, 1]);
}

#[test]
fn wrong_configurations_are_told_by_field() {
    let wrong = |rest: &str, tensors: &str| format!("{:#}", read(&format!("{rest} {tensors}")).unwrap_err());
    let loopback = "backend: \"loopback\"";
    for (rest, words) in [
        ("platform: \"ensemble\"", "it is an ensemble (ensemble_scheduling"),
        ("ensemble_scheduling { step { model_name: \"a\" model_version: -1 } }", "it is an ensemble"),
        ("backend: \"python\" sequence_batching { }", "it is a model of sequences (sequence_batching)"),
        ("backend: \"python\" model_transaction_policy { decoupled: true }", "model_transaction_policy is decoupled"),
        ("backend: \"python\" max_batch_size: 1", "backend \"python\" is not one of this server's"),
        (
            &format!("{loopback} max_batch_size: 8 dynamic_batching {{ preferred_batch_size: [ 9 ] }}"),
            "preferred_batch_size 9",
        ),
        // the output's reshape
        (
            &format!("{loopback} max_batch_size: 0"),
            "output: \"y\": an empty reshape needs a max_batch_size of 1 or more",
        ),
    ] {
        let error = wrong(rest, TENSORS);
        assert!(error.contains(words), "{rest}: {error}");
    }
    for (from, to, words) in [
        (
            "[ 6, -1 ]",
            "[ -1, 6 ]",
            "input: \"x\": dims are [2, 3, -1] and reshape is [-1, 6]: expected as many elements",
        ),
        ("[ 6, -1 ]", "[ 36 ]", "and as many sides of -1"),
        ("[ 6, -1 ]", "[ 0, -1 ]", "reshape has 0; expected sizes from 1"),
    ] {
        let error = wrong(&format!("{loopback} max_batch_size: 8"), &TENSORS.replace(from, to));
        assert!(error.contains(words), "{to}: {error}");
    }
}

#[test]
fn a_model_without_batches_may_ask_for_dynamic_batching() {
    let config = read(&format!(
        "backend: \"loopback\" dynamic_batching {{ }} {}",
        TENSORS.replace("reshape: { shape: [ ] }", "")
    ))
    .unwrap();
    assert_eq!(config.batching, None);
    assert!(config.notices.iter().any(|notice| notice.contains("max_batch_size is 0")), "{:?}", config.notices);
    let Some(SchedulingChoice::DynamicBatching(dynamic)) = config.answer.scheduling_choice else {
        panic!()
    };
    assert!(dynamic.preferred_batch_size.is_empty());
}

/// The configurations of this repository.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![TENSORS.as_bytes().to_vec()];
    for pattern in ["model_repository", "tests/model_repository"] {
        for model in std::fs::read_dir(pattern).unwrap() {
            let model = model.unwrap().path();
            for file in ["config.pbtxt", "configs/cpu.pbtxt", "configs/loopback.pbtxt"] {
                seeds.extend(std::fs::read(model.join(file)));
            }
        }
    }
    assert!(seeds.len() > 8);
    seeds
}

/// Tokens of the format, and ones that users might write.
const WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"<",
    b">",
    b":",
    b",",
    b";",
    b"-",
    b"\"",
    b"'",
    b"#",
    b"\\",
    b"\r",
    b"\n",
    b"\0",
    b"\"\\x",
    b"\"\\U0010ffff\"",
    b"\"\\377\"",
    b"input",
    b"output",
    b"dims",
    b"reshape { shape: [ -1 ] }",
    b"max_batch_size: 2147483647",
    b"dynamic_batching",
    b"parameters { key: \"x\" value { string_value: \"y\" } }",
    b"9223372036854775807",
    b"-9223372036854775809",
    b"0x7f",
    b"08",
    b"1e999",
    b"inf",
    b"nan",
    b".",
    b"1e+",
    b"TYPE_FP32",
    b"TYPE_STRING",
    b"kind: KIND_GPU",
    b"count: 1000000000",
    b"\xe2\x80\x9c",
    b"\xc2\xa0",
    b"\xef\xbc\x8c",
    b"\xff\xfe",
    b"\xe2\x80",
    b"${x}",
    b"[[[[[[[[",
    b"{{{{{{{{",
    b"input { input {",
];

fn damaged(drawn: &mut mutate::Drawn, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut text = mutate::one(drawn, seeds).clone();
    for _ in 0..drawn.random_range(1..4) {
        let at = drawn.random_range(0..=text.len());
        match drawn.random_range(0..5) {
            0 => mutate::bytes(drawn, &mut text),
            1 => drop(text.splice(at..at, mutate::one(drawn, WORDS).iter().copied())),
            2 => {
                // repeat a part many times
                let end = text.len().min(at + drawn.random_range(1..40));
                let part = text[at..end].repeat(drawn.random_range(1..20));
                drop(text.splice(at..at, part));
            }
            3 => {
                let other = mutate::one(drawn, seeds);
                let from = drawn.random_range(0..other.len());
                let part = other[from..other.len().min(from + 80)].to_vec();
                drop(text.splice(at..at, part));
            }
            _ => {
                let end = text.len().min(at + drawn.random_range(1..60));
                text.drain(at..end);
            }
        }
    }
    text
}

/// Every step between a configuration and a served model.
fn load(message: ModelConfig) -> bool {
    let Ok(config) = Config::checked(message, "m") else { return false };
    proto::to_json(&config.answer).expect("a configuration is answered as JSON");
    config.versions(vec![3, 1, 2]);
    config.backend != BackendKind::Loopback || Loopback::new(Arc::new(config)).is_ok()
}

#[test]
fn damaged_texts_are_read_or_refused_with_their_place() {
    const SEED: u64 = 20_251_125;
    let (seeds, cases) = (seeds(), mutate::cases());
    let (mut read, mut loaded, mut refused) = (0, 0, 0);
    for number in 0..cases {
        let text = damaged(&mut mutate::Drawn::seed_from_u64(SEED + number), &seeds);
        match proto::from_text::<ModelConfig>(&text) {
            Ok(mut message) => {
                read += 1;
                let again: ModelConfig = proto::from_json(&proto::to_json(&message).unwrap().to_string()).unwrap();
                assert_eq!(again, message, "seed {SEED}, case {number}");
                message.name.clear();
                loaded += u64::from(load(message));
            }
            Err(error) => {
                refused += 1;
                let error = format!("{error:#}");
                let short =
                    error.starts_with("line ") && error.chars().count() < 1500 && !error.contains(char::is_control);
                assert!(short, "seed {SEED}, case {number}: {error:?}");
            }
        }
    }
    println!("{read} read, {loaded} of them loaded, {refused} refused, {} MiB at most", peak_mib());
    assert!(loaded > cases / 100 && refused > cases / 4, "{read} read, {loaded} loaded, {refused} refused");
    assert!(peak_mib() < 256, "{} MiB", peak_mib());
}

#[test]
fn damaged_json_is_read_or_refused() {
    const SEED: u64 = 20_251_126;
    let seeds: Vec<serde_json::Value> = seeds()
        .iter()
        .map(|text| proto::to_json(&proto::from_text::<ModelConfig>(text).unwrap()).unwrap())
        .collect();
    let (mut loaded, mut refused) = (0, 0);
    let cases = mutate::cases();
    for number in 0..cases {
        let drawn = &mut mutate::Drawn::seed_from_u64(SEED + number);
        let mut json = mutate::one(drawn, &seeds).clone();
        json["name"] = "m".into();
        mutate::json(drawn, &mut json);
        let text = if drawn.random_range(0..8) == 0 {
            mutate::text(drawn, &json.to_string())
        } else {
            json.to_string()
        };
        match Config::of_json(&text, "m") {
            Ok(message) => loaded += u64::from(load(message)),
            Err(_) => refused += 1,
        }
    }
    println!("{loaded} loaded, {refused} refused, {} MiB at most", peak_mib());
    assert!(loaded > cases / 100 && refused > cases / 4, "{loaded} loaded, {refused} refused");
    assert!(peak_mib() < 256, "{} MiB", peak_mib());
}

/// Peak memory of this process in MiB; 0 if the system does not report it.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024
}
