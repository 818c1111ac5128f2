//! Many different requests, and answers whose content is checked, against a model that gives its input back.

use std::fs;
use std::process::Command;

use runner::matrix::Protocol;
use runner::record::{RECORDS, Record, Status, read_manifest};

use super::case::{Case, SCENARIO, text};

/// An `.npy` array of rows of three 32-bit floats.
fn npy(rows: &[[f32; 3]]) -> Vec<u8> {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 3), }}", rows.len()).into_bytes();
    header.resize(117, b' ');
    header.push(b'\n');
    let values = rows.iter().flatten().flat_map(|value| value.to_le_bytes());
    [b"\x93NUMPY\x01\0\x76\0", &header[..]].concat().into_iter().chain(values).collect()
}

const ROWS: [[f32; 3]; 3] = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]];

/// A case whose input has these lines, and whose output and load these.
fn case(input: &str, output: &str, load: &str) -> Case {
    let scenario = SCENARIO
        .replace("shape = [3]\n", &format!("shape = [3]\n{input}\n"))
        .replace("name = \"y\"\n", &format!("name = \"y\"\n{output}\n"))
        .replace("processes = [1, 2]", "processes = [1]")
        .replace("warmup = 3\n", &format!("warmup = 3\n{load}\n"));
    let case = Case::new("", &scenario);
    fs::write(case.path("rows.npy"), npy(&ROWS)).unwrap();
    case
}

fn rows(case: &Case, options: &[&str]) -> Vec<Record> {
    let output = case.command(options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    case.records()
}

#[test]
fn all_items_of_a_file_are_sent_and_their_answers_compared() {
    let data = "data = {file = \"rows.npy\"}";
    let case = case(data, "expect = {file = \"rows.npy\"}", "verify_every = 1\nrequest_ids = true");
    for row in rows(&case, &[]) {
        assert_eq!((row.status, row.requests), (Status::Ok, 50), "{row:?}");
        assert_eq!((row.distinct_requests, row.answers_verified), (Some(3), Some(50)), "{row:?}");
    }
    // fewer than the file has, as an axis
    let rows = rows(&case, &["--distinct", "1,2", "--batch-sizes", "1"]);
    let distinct: Vec<_> = rows.iter().map(|row| (row.case.distinct, row.distinct_requests)).collect();
    for (asked, sent) in [(1, 1), (2, 2)] {
        assert_eq!(distinct.iter().filter(|found| **found == (Some(asked), Some(sent))).count(), 2, "{distinct:?}");
    }
    let output = case.command(&["--verify"]).output().unwrap();
    assert!(output.status.success() && text(&output).contains("ok, all 3 distinct requests"), "{}", text(&output));
    let output = case.command(&["--distinct", "4", "--batch-sizes", "1"]).output().unwrap();
    let words = "distinct: the data of the inputs makes 3 different requests of batch 1, not 4: lower it";
    assert!(output.status.code() == Some(2) && text(&output).contains(words), "{}", text(&output));
}

#[test]
fn a_value_that_is_not_the_expected_one_is_named_before_anything_is_measured() {
    let data = "data = {file = \"rows.npy\"}";
    let expect = |tolerances: &str| format!("expect = {{file = \"golden.npy\"{tolerances}}}");
    let golden = |case: &Case, index: usize, value: f32| {
        let mut rows = ROWS;
        rows[index][1] = value;
        fs::write(case.path("golden.npy"), npy(&rows)).unwrap();
    };
    let first = case(data, &expect(""), "");
    golden(&first, 0, 2.5);
    let output = first.command(&["--batch-sizes", "1"]).output().unwrap();
    assert!(!output.status.success(), "{}", text(&output));
    for row in first.records() {
        assert_eq!((row.status, row.requests), (Status::Failed, 0), "{row:?}");
        let words =
            "the output \"y\" differs in one element at [0, 1]: it is 2, expected 2.5, in the answer to request 1 of 3";
        assert!(row.reason.contains(words), "{}", row.reason);
    }
    // that of a later request is found by --verify, and close enough is good
    let later = case(data, &expect(", rtol = 0.1"), "");
    golden(&later, 2, 8.0001);
    assert!(later.command(&["--verify"]).output().unwrap().status.success());
    fs::write(later.path("golden.npy"), npy(&ROWS[..2])).unwrap();
    let output = later.command(&["--verify"]).output().unwrap();
    assert!(text(&output).contains("it has 2 items for the 3 of the inputs: give one for each"), "{}", text(&output));
    golden(&later, 2, 18.0);
    let output = later.command(&["--verify"]).output().unwrap();
    let words = "1 of 3 answers are not good: the output \"y\" differs in one element at [0, 1]: it is 8, expected 18";
    assert!(!output.status.success() && text(&output).contains(words), "{}", text(&output));
}

#[test]
fn requests_are_those_of_a_perf_analyzer_file() {
    let data = "data = {file = \"data.json\"}";
    let case = case(data, "expect = {file = \"data.json\"}", "verify_every = 1");
    let json = r#"{"data": [{"x": [1, 2, 3]}, {"x": {"content": [[0.5], [1e3], [-1]], "shape": [3]}}, {"x": {"b64": "AACAPwAAgD8AAIA/"}}],
        "validation_data": [{"y": [1, 2, 3]}, {"y": [0.5, 1000, -1]}, {"y": [1, 1, 1]}]}"#;
    fs::write(case.path("data.json"), json).unwrap();
    for row in rows(&case, &[]) {
        assert_eq!(
            (row.status, row.distinct_requests, row.answers_verified),
            (Status::Ok, Some(3), Some(50)),
            "{row:?}"
        );
    }
}

#[test]
fn random_requests_differ_and_every_answer_is_like_the_first_to_its_request() {
    let data = "data = {random = {seed = 3}}";
    let case = case(data, "expect = {same_as_first = true}", "verify_every = 2\ndistinct = 8");
    let rows = rows(&case, &["--set", "encode=once,each-request", "--batch-sizes", "4"]);
    assert_eq!(rows.iter().filter(|row| row.case.protocol == Protocol::Grpc).count(), 2);
    for row in rows {
        assert_eq!((row.status, row.distinct_requests, row.requests), (Status::Ok, Some(8), 50), "{row:?}");
        // the first answer to each request is compared with nothing
        assert!(row.answers_verified.is_some_and(|verified| (10..30).contains(&verified)), "{row:?}");
    }
}

#[test]
fn a_run_goes_on_only_with_the_data_that_it_began_with() {
    let case = case("data = {file = \"rows.npy\"}", "", "");
    let output = case.command(&["--quiet"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = case.newest().unwrap();
    let manifest = read_manifest(&run).unwrap();
    assert_eq!(manifest.data.keys().collect::<Vec<_>>(), ["rows.npy"]);
    // as if its last group had not been measured
    let file = run.join("run.json");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("\"complete\"", "\"interrupted\"")).unwrap();
    let rows = fs::read_to_string(run.join(RECORDS)).unwrap();
    let kept: Vec<&str> = rows.lines().take(3).collect();
    fs::write(run.join(RECORDS), kept.join("\n") + "\n").unwrap();
    let resume = || Command::new(env!("CARGO_BIN_EXE_runner")).arg("--resume").arg(&run).output().unwrap();
    fs::write(case.path("rows.npy"), npy(&[[0.0; 3]; 3])).unwrap();
    let output = resume();
    assert!(text(&output).contains("the data: rows.npy has other content"), "{}", text(&output));
    fs::write(case.path("rows.npy"), npy(&ROWS)).unwrap();
    assert_eq!(resume().status.code(), Some(0));
}
