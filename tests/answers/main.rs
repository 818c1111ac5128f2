//! Which answers count as good, and which as errors: the same over both protocols.

mod fuzz;
// a part of it is enough here
#[allow(dead_code)]
#[path = "../embedded/mutate.rs"]
mod mutate;
mod server;

use std::process::Command;

use runner::matrix::Protocol;
use runner::record::{Flag, Record, Status, read};
use runner::tensor::Tensors;
use server::{Act, Answer, Server, good};

const SCENARIO: &str = r#"title = "Answers"
    [model]
    name = "m"
    [[input]]
    name = "x"
    datatype = "FP32"
    shape = [3]
    [[output]]
    name = "y"
    [matrix]
    batch_sizes = [1]
    [load]
    iterations = 100
    warmup = 0
    blocks = 4
    timeout_s = 20
"#;

/// Requests of a case.
const REQUESTS: u64 = 100;

/// The rows of a run against a server, HTTP's first.
fn rows(server: &Server, options: &[&str]) -> Vec<Record> {
    rows_of(SCENARIO, server, options)
}

fn rows_of(text: &str, server: &Server, options: &[&str]) -> Vec<Record> {
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("answers.toml");
    std::fs::write(&scenario, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command
        .arg(&scenario)
        .args(["--http", &server.http, "--grpc", &server.grpc, "--results"]);
    let output = command.arg(folder.path().join("results")).args(options).output().unwrap();
    let run = std::fs::read_dir(folder.path().join("results/answers")).map(|mut runs| runs.next().unwrap().unwrap());
    let run = run.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    read(&run.path().join("records.csv")).unwrap()
}

/// Checks the rows of both protocols: good answers and errors of one kind, and the words of one.
fn both(server: &Server, errors: u64, kind: &str, words: [&str; 2]) -> Vec<Record> {
    let rows = rows(server, &[]);
    assert_eq!(rows.len(), 2);
    for (row, words) in rows.iter().zip(words) {
        let status = if errors > 0 { Status::Errors } else { Status::Ok };
        assert_eq!((row.status, row.requests, row.errors), (status, REQUESTS - errors, errors), "{row:?}");
        assert!(row.reason.contains(words), "{} {} lacks {words}", row.case.protocol, row.reason);
        if errors > 0 {
            assert_eq!(row.error_kinds.to_string(), format!("{kind}={errors}"));
        }
        let checked = row.answers_compared.unwrap() + row.answers_read.unwrap();
        assert_eq!(checked, row.requests, "{row:?}");
    }
    rows
}

/// Every tenth answer of a case is `other`, but no connection's first one, which is always checked.
fn every_tenth(other: Answer) -> Server {
    Server::start(&[-1, 3], true, move |n| Act::Answer(if n % 10 == 5 { other.clone() } else { good() }))
}

#[test]
fn wrong_answers_are_errors_over_both_protocols() {
    for (other, words) in [
        (Answer { shape: vec![3, 1], ..good() }, ["has shape [3, 1], expected [-1, 3]"; 2]),
        (Answer { name: "z", ..good() }, ["\"y\" is missing"; 2]),
        (Answer { datatype: "INT32", ..good() }, ["is INT32, expected FP32"; 2]),
        (Answer { raw: vec![0; 16], ..good() }, ["holds 16 bytes, its shape asks for 12"; 2]),
        (Answer { compressed: true, ..good() }, ["is compressed"; 2]),
        (Answer { garbage: true, ..good() }, ["cannot be read"; 2]),
    ] {
        let server = every_tenth(other.clone());
        let rows = rows(&server, &["--iterations", "80"]);
        for (row, words) in rows.iter().zip(words) {
            let wrong = row.errors + row.errors_preparing.unwrap();
            // each of the four blocks begins with new processes and one more request, and a wrong one is asked again
            assert!((8..=9).contains(&wrong), "{other:?}: {row:?}");
            assert_eq!(
                (row.requests + row.errors, row.answers_compared),
                (80, Some(row.requests)),
                "{other:?}: {row:?}"
            );
            assert!(row.status == Status::Errors && row.reason.contains(words), "{other:?}: {row:?}");
        }
    }
}

#[test]
fn right_answers_are_good_however_they_differ() {
    // values
    let server = Server::start(&[-1, 3], true, |n| Act::Answer(Answer { raw: vec![n as u8; 12], ..good() }));
    for row in both(&server, 0, "", ["", ""]) {
        assert_eq!(row.answers_compared, Some(REQUESTS));
    }
    // the version of two replicas
    let version = |n| if n % 2 == 0 { "9" } else { "10" };
    both(
        &Server::start(&[-1, 3], true, move |n| Act::Answer(Answer { version: version(n), ..good() })),
        0,
        "",
        ["", ""],
    );
    // rows of a dimension that the description leaves free
    let boxes = |n: u64| Answer { shape: vec![1, n as i64 % 3, 3], raw: vec![0; 12 * (n as usize % 3)], ..good() };
    both(&Server::start(&[-1, -1, 3], true, move |n| Act::Answer(boxes(n))), 0, "", ["", ""]);
    // numbers of other lengths in JSON, and typed contents
    let typed = |n: u64| Answer { typed: Some(vec![0.5, n as f32, 1e-9]), ..good() };
    both(&Server::start(&[-1, 3], true, move |n| Act::Answer(typed(n))), 0, "", ["", ""]);
}

#[test]
fn lost_connections_are_errors_and_the_case_goes_on() {
    let server = Server::start(&[-1, 3], true, |n| if n % 10 < 2 { Act::Reset } else { Act::Answer(good()) });
    for row in rows(&server, &[]) {
        assert_eq!((row.status, row.requests + row.errors), (Status::Errors, REQUESTS), "{row:?}");
        let lost = row.errors + row.errors_preparing.unwrap();
        assert!((20..=40).contains(&lost) && row.error_kinds.of("transport") == row.errors, "{row:?}");
    }
}

#[test]
fn a_connection_that_is_stuck_is_replaced_over_both_protocols() {
    let server = Server::start(&[-1, 3], true, |n| if n == 50 { Act::Mute } else { Act::Answer(good()) });
    for row in rows_of(&SCENARIO.replace("timeout_s = 20", "timeout_s = 3"), &server, &[]) {
        assert_eq!((row.requests, row.errors, row.error_kinds.of("timeout")), (REQUESTS - 1, 1, 1), "{row:?}");
    }
}

#[test]
fn a_connection_that_the_server_ends_in_order_costs_no_request() {
    let server = Server::start(&[-1, 3], true, |n| if n % 10 == 9 { Act::Last } else { Act::Answer(good()) });
    for row in both(&server, 0, "", ["", ""]) {
        assert!(row.reconnects.unwrap() >= 5 && row.flags.has(Flag::Reconnects), "{row:?}");
    }
}

#[test]
fn a_server_behind_a_path_is_asked_there_over_both_protocols() {
    let server = Server::start_behind("/models/triton-1", &[-1, 3], true, |_| Act::Answer(good()));
    both(&server, 0, "", ["", ""]);
}

#[test]
fn an_answer_without_the_id_of_its_request_is_an_error() {
    let server = Server::start(&[-1, 3], true, |_| Act::Answer(good()));
    for row in rows_of(&format!("{SCENARIO}    request_ids = true\n"), &server, &[]) {
        assert_eq!((row.status, row.requests), (Status::Failed, 0), "{row:?}");
        assert!(row.reason.contains("the answer has the id \"\", the request has \"1\""), "{}", row.reason);
    }
}

#[test]
fn an_answer_that_is_unlike_the_first_is_an_error_of_its_value() {
    // each of the four blocks begins with new processes, whose first answer is like all others
    let server = Server::start(&[-1, 3], true, |n| {
        Act::Answer(if n % 10 == 5 { Answer { raw: vec![0x40; 12], ..good() } } else { good() })
    });
    let text = SCENARIO.replace("name = \"y\"", "name = \"y\"\n    expect = {same_as_first = true}");
    for row in rows_of(&format!("{text}    verify_every = 1\n"), &server, &["--iterations", "80"]) {
        let wrong = row.errors + row.errors_preparing.unwrap();
        assert!((8..=9).contains(&wrong) && row.error_kinds.of("value") == row.errors, "{row:?}");
        assert_eq!((row.status, row.answers_verified), (Status::Errors, Some(row.requests)), "{row:?}");
        let words = "the output \"y\" differs in 3 elements, worst at [0, 0]: it is 3.0039215, expected 0";
        assert!(row.reason.contains(words), "{}", row.reason);
    }
}

#[test]
fn tensors_are_json_where_the_server_takes_no_others_over_http() {
    let typed = Answer { typed: Some(vec![1.0; 3]), ..good() };
    let server = Server::start(&[-1, 3], false, move |_| Act::Answer(typed.clone()));
    let rows = both(&server, 0, "", ["", ""]);
    let how: Vec<_> = rows.iter().map(|row| (row.case.protocol, row.tensors)).collect();
    assert_eq!(how, [(Protocol::Http, Some(Tensors::Json)), (Protocol::Grpc, Some(Tensors::Binary))]);
}
