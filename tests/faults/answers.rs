//! Answers that are no answers, others than asked for, or errors.

use runner::record::Status;

use super::run::{Fault, SCENARIO, run_at, three_of};
use super::server::{Act, Answer, Server, good};
use super::table::{Line, tell, words};

const RAW: &str = "raw server";

/// An answer that differs from the good one.
fn other(name: &'static str, fault: &str, test: &str, answer: Answer, words: &str) {
    let act = Act::Answer(answer);
    three_of(&Fault {
        key: ("answers", name),
        fault,
        by: RAW,
        test,
        act,
        kinds: ["answer"; 2],
        words: [words; 2],
    });
}

#[test]
fn an_answer_that_cannot_be_read_is_an_error() {
    other(
        "malformed",
        "bytes that describe nothing, framed as an answer",
        "an_answer_that_cannot_be_read_is_an_error",
        Answer { garbage: true, ..good() },
        "cannot be read",
    );
}

#[test]
fn an_output_of_another_name_is_an_error() {
    let answer = Answer { name: "z", ..good() };
    other(
        "wrong name",
        "an output of another name",
        "an_output_of_another_name_is_an_error",
        answer,
        "\"y\" is missing",
    );
}

#[test]
fn an_output_of_another_type_is_an_error() {
    let answer = Answer { datatype: "INT32", ..good() };
    other(
        "wrong type",
        "another data type",
        "an_output_of_another_type_is_an_error",
        answer,
        "is INT32, expected FP32",
    );
}

#[test]
fn an_output_of_another_shape_is_an_error() {
    let answer = Answer { shape: vec![3, 1], ..good() };
    other("wrong shape", "another shape", "an_output_of_another_shape_is_an_error", answer, "has shape [3, 1]");
}

#[test]
fn an_output_of_another_size_is_an_error() {
    let answer = Answer { raw: vec![0; 16], ..good() };
    other(
        "wrong size",
        "more bytes than the shape has room for",
        "an_output_of_another_size_is_an_error",
        answer,
        "holds 16 bytes, its shape asks for 12",
    );
}

#[test]
fn bytes_of_another_protocol_are_an_error() {
    // a frame of data that belongs to no stream; no HTTP/1.1 either
    let frame = vec![0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    three_of(&Fault {
        key: ("answers", "bytes of another protocol"),
        fault: "bytes that are no HTTP, and no frame that HTTP/2 allows",
        by: RAW,
        test: "bytes_of_another_protocol_are_an_error",
        act: Act::Noise(frame),
        kinds: ["transport"; 2],
        words: ["the answer is not HTTP/1.1", "PROTOCOL_ERROR"],
    });
}

#[test]
fn an_answer_that_is_too_long_is_not_waited_for() {
    three_of(&Fault {
        key: ("answers", "oversized"),
        fault: "an answer that announces 600 MiB (`Content-Length`; the length in front of a message)",
        by: RAW,
        test: "an_answer_that_is_too_long_is_not_waited_for",
        act: Act::Huge,
        kinds: ["answer"; 2],
        words: ["longer than 512 MiB"; 2],
    });
}

/// Words of a server with characters that steer a terminal, and as rows have them.
const SAID: [&str; 2] = ["\u{1b}[31mno more cheese\u{7}", "\u{FFFD}[31mno more cheese\u{FFFD}"];

#[test]
fn an_error_is_told_in_the_server_s_words() {
    three_of(&Fault {
        key: ("answers", "error"),
        fault: "an error, with characters that steer a terminal in its words (HTTP 500, gRPC INTERNAL)",
        by: RAW,
        test: "an_error_is_told_in_the_server_s_words",
        act: Act::Refuse(500, 13, SAID[0].to_owned()),
        kinds: ["server"; 2],
        words: [SAID[1]; 2],
    });
}

#[test]
fn a_server_that_cannot_answer_now_says_so() {
    three_of(&Fault {
        key: ("answers", "overload"),
        fault: "an overload (HTTP 503, gRPC UNAVAILABLE)",
        by: RAW,
        test: "a_server_that_cannot_answer_now_says_so",
        act: Act::Refuse(503, 14, "queue is full".to_owned()),
        kinds: ["unavailable"; 2],
        words: ["HTTP 503: queue is full", "gRPC Unavailable: queue is full"],
    });
}

#[test]
fn the_page_of_a_proxy_is_no_answer() {
    three_of(&Fault {
        key: ("answers", "page of a proxy"),
        fault: "the page of a proxy, with HTTP 502 over both protocols",
        by: RAW,
        test: "the_page_of_a_proxy_is_no_answer",
        act: Act::Page(502),
        kinds: ["unavailable"; 2],
        words: ["HTTP 502: an HTML page", "HTTP 502 with text/html"],
    });
}

/// One request of a case for each of these refusals, all within the second block; the row of the protocol.
fn refused(protocol: &str, refusals: Vec<(u16, u16)>) -> (runner::record::Record, String) {
    let count = refusals.len() as u64;
    // two good answers after each, so that no failure follows another
    let scenario = SCENARIO.replace("iterations = 60", &format!("iterations = {}", 9 * count));
    let act = move |n: u64| {
        let place = n
            .checked_sub(3 * count + 2)
            .filter(|place| place % 3 == 1)
            .map(|place| place as usize / 3);
        match place.and_then(|place| refusals.get(place)) {
            Some((status, code)) => Act::Refuse(*status, *code, format!("words with {}", status + code)),
            None => Act::Answer(good()),
        }
    };
    let server = Server::start(&[-1, 3], true, act);
    let done = run_at(&scenario, &server.http, &server.grpc, &["--protocols", protocol]);
    let row = done.rows().remove(0);
    assert_eq!(row.status, Status::Errors, "{row:?}");
    assert_eq!((row.requests, row.errors), (8 * count, count), "{row:?}");
    assert_eq!(done.blocks(&row), [(3 * count, 0), (2 * count, count), (3 * count, 0)], "{row:?}");
    (row, done.text())
}

#[test]
fn every_class_of_http_status_is_an_error_of_its_kind() {
    for (name, status, kind) in [
        ("status 3xx", 302, "server"),
        ("status 4xx", 400, "server"),
        ("status 404", 404, "unsupported"),
        ("status 429", 429, "unavailable"),
        ("status 5xx", 500, "server"),
        ("status 504", 504, "unavailable"),
    ] {
        let (row, _) = refused("http", vec![(status, 0); 3]);
        assert_eq!(row.error_kinds.to_string(), format!("{kind}=3"), "{status}: {row:?}");
        assert_eq!(row.reason, format!("HTTP {status}: words with {status}"));
        tell(&Line {
            key: ("answers", name),
            fault: &format!("HTTP {status}"),
            by: RAW,
            told: vec![words(&row), "–".to_owned()],
            test: "every_class_of_http_status_is_an_error_of_its_kind",
        });
    }
}

#[test]
fn every_code_of_grpc_is_an_error_of_its_kind() {
    let (row, _) = refused("grpc", (1..=16).map(|code| (0, code)).collect());
    let kinds = "server=13 timeout=1 unavailable=1 unsupported=1";
    assert_eq!(row.error_kinds.to_string(), kinds, "{row:?}");
    // the first of each kind, by its name, in the order in which they came
    for words in [
        "server: gRPC Cancelled: words with 1; ",
        "timeout: gRPC DeadlineExceeded: words with 4; ",
        "unsupported: gRPC Unimplemented: words with 12; ",
        "unavailable: gRPC Unavailable: words with 14",
    ] {
        assert!(row.reason.contains(words), "{words}: {}", row.reason);
    }
    tell(&Line {
        key: ("answers", "gRPC codes"),
        fault: "each of the codes 1 to 16 of gRPC, one after the other",
        by: RAW,
        told: vec!["–".to_owned(), words(&row)],
        test: "every_code_of_grpc_is_an_error_of_its_kind",
    });
    // codes of one kind are told by their names
    for (code, name) in
        [(1, "Cancelled"), (2, "Unknown"), (3, "InvalidArgument"), (5, "NotFound"), (16, "Unauthenticated")]
    {
        let (row, _) = refused("grpc", vec![(0, code); 2]);
        assert_eq!(row.reason, format!("gRPC {name}: words with {code}"));
    }
}
