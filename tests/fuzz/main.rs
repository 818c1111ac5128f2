//! Every target of `targets.rs` over its corpus in `fuzz/corpus`, and over damage to it: the same in every run, whatever the
//! machine. `scripts/fuzz` goes further; what it finds stands in the corpus from then on.

// a part of it is enough here
#[allow(dead_code)]
#[path = "../embedded/mutate.rs"]
mod mutate;
mod targets;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use mutate::Drawn;
use rand::{RngExt, SeedableRng};
use targets::TARGETS;

/// The longest input, as in `scripts/fuzz`.
const LONGEST: usize = 16 * 1024;

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// Damage to an input: to its bytes, to a line of JSON in it, or by another input's end.
fn damaged(drawn: &mut Drawn, inputs: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
    let mut input = mutate::one(drawn, inputs).1.clone();
    match drawn.random_range(0..4) {
        0 => {
            let mut lines: Vec<Vec<u8>> = input.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let place = drawn.random_range(0..lines.len());
            match serde_json::from_slice::<serde_json::Value>(&lines[place]) {
                Ok(mut json) if json.is_object() || json.is_array() => {
                    mutate::json(drawn, &mut json);
                    lines[place] = json.to_string().into_bytes();
                }
                // a line that is there twice, or not at all
                _ if drawn.random() => lines.insert(place, lines[place].clone()),
                _ => drop(lines.remove(place)),
            }
            input = lines.join(&b'\n');
        }
        1 => {
            let other = &mutate::one(drawn, inputs).1;
            input.truncate(drawn.random_range(0..=input.len()));
            input.extend(&other[drawn.random_range(0..=other.len())..]);
        }
        _ => mutate::bytes(drawn, &mut input),
    }
    input.truncate(LONGEST);
    input
}

fn keeps_its_promises(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    let inputs = corpus(target);
    for (file, input) in &inputs {
        let outcome = catch_unwind(|| run(input));
        assert!(outcome.is_ok(), "{}: see above", file.display());
    }
    let mut drawn = Drawn::seed_from_u64(1);
    for case in 0..mutate::cases() / 2 {
        let input = damaged(&mut drawn, &inputs);
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        if outcome.is_err() {
            let file = std::env::temp_dir().join(format!("fuzz-{target}-{case}"));
            std::fs::write(&file, &input).unwrap();
            panic!("case {case}: see above; the input is in {}", file.display());
        }
    }
}

macro_rules! tests {
    ($($name:ident: $target:literal,)+) => {
        $(
            #[test]
            fn $name() {
                keeps_its_promises($target);
            }
        )+

        /// The targets above.
        const TESTED: &[&str] = &[$($target),+];
    };
}

tests! {
    damaged_scenarios_are_scenarios_or_errors_with_their_place: "scenario",
    damaged_arrivals_are_instants_in_order_or_an_error: "arrivals",
    damaged_documents_keep_what_is_outside_their_markers: "splice",
    damaged_messages_of_workers_are_messages_or_errors: "worker_message",
    damaged_messages_of_hosts_are_messages_or_lose_the_host: "host_message",
    damaged_blocks_of_a_run_that_goes_on_are_blocks_or_the_end: "kept_blocks",
    damaged_facts_of_a_run_are_facts_or_errors: "manifest",
    damaged_answers_over_http_are_the_same_however_they_arrive: "http_answer",
    damaged_json_of_answers_is_read_or_an_error: "json_answer",
    damaged_answers_over_grpc_are_the_same_however_they_arrive: "grpc_answer",
    damaged_configurations_are_configurations_or_errors_with_their_place: "model_config",
    damaged_metrics_are_numbers_and_text_fit_to_be_shown: "metrics",
    damaged_tables_are_rows_or_errors: "csv",
    damaged_logs_of_histograms_are_histograms_or_none: "histogram_log",
    damaged_data_files_are_items_of_their_shape_or_an_error: "tensor_file",
    damaged_input_data_is_items_of_its_shape_or_an_error: "input_data",
}

#[test]
fn every_target_is_a_program_has_a_corpus_and_a_test() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, TESTED.iter().map(|name| (*name).to_owned()).collect());
    let of_folder = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(Path::new("fuzz").join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(names, of_folder("targets"));
    assert_eq!(names, of_folder("corpus"));
    let manifest = std::fs::read_to_string("fuzz/Cargo.toml").unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"targets/{name}.rs\"")), "{name}");
        let program = std::fs::read_to_string(format!("fuzz/targets/{name}.rs")).unwrap();
        assert!(program.contains(&format!("target!({name})")), "{name}");
        let files = corpus(&name);
        let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(!files.is_empty() && bytes <= 64 * 1024, "{name}: {bytes} bytes");
    }
}
