//! Connections that break, stand still or end while requests are on them.

use std::time::Duration;

use runner::record::{Flag, Status};

use super::run::{BLOCK, Fault, REQUESTS, SCENARIO, one_of, run_at, server_of, three_of};
use super::server::{Act, Server, good};
use super::table::{Line, tell, words};

const RAW: &str = "raw server";

/// Words that steer a terminal, as a server might say them.
const STEERING: &str = "\u{1b}[2J\u{1b}[31mout of cheese\u{7}";

#[test]
fn a_reset_connection_is_an_error_of_its_request_alone() {
    for row in three_of(&Fault {
        key: ("connections", "reset"),
        fault: "the connection is reset (RST)",
        by: RAW,
        test: "a_reset_connection_is_an_error_of_its_request_alone",
        act: Act::Reset,
        kinds: ["transport"; 2],
        words: ["reset"; 2],
    }) {
        assert_eq!(row.reconnects, Some(3), "{row:?}");
    }
}

#[test]
fn a_connection_that_is_closed_instead_of_answered_is_an_error() {
    three_of(&Fault {
        key: ("connections", "closed"),
        fault: "the connection is closed instead of answered",
        by: RAW,
        test: "a_connection_that_is_closed_instead_of_answered_is_an_error",
        act: Act::Noise(Vec::new()),
        kinds: ["transport"; 2],
        words: ["closed before the answer's end", ""],
    });
}

#[test]
fn a_truncated_answer_is_an_error() {
    three_of(&Fault {
        key: ("connections", "truncated"),
        fault: "the connection is closed within an answer",
        by: RAW,
        test: "a_truncated_answer_is_an_error",
        act: Act::Half,
        kinds: ["transport"; 2],
        words: ["closed before the answer's end", ""],
    });
}

#[test]
fn a_connection_that_is_half_closed_within_an_answer_is_an_error() {
    three_of(&Fault {
        key: ("connections", "half-closed"),
        fault: "the server closes its direction alone, within an answer",
        by: RAW,
        test: "a_connection_that_is_half_closed_within_an_answer_is_an_error",
        act: Act::HalfClose,
        kinds: ["transport"; 2],
        words: ["closed before the answer's end", ""],
    });
}

#[test]
fn an_answer_that_stalls_is_a_timeout_whose_time_is_apart() {
    for row in one_of(&Fault {
        key: ("connections", "stalled"),
        fault: "the server stops within an answer; the connection stays open",
        by: RAW,
        test: "an_answer_that_stalls_is_a_timeout_whose_time_is_apart",
        act: Act::Stall,
        kinds: ["timeout"; 2],
        words: ["no answer within 3 s"; 2],
    }) {
        // an answer after the timeout is none: what latencies hold is shorter
        assert!(row.errors_s >= Some(3.0) && row.max_ms < Some(3000.0), "{row:?}");
    }
}

#[test]
fn an_answer_that_drips_too_slowly_is_a_timeout() {
    one_of(&Fault {
        key: ("connections", "dripping"),
        fault: "the answer drips, a byte at a time, longer than `timeout_s`",
        by: RAW,
        test: "an_answer_that_drips_too_slowly_is_a_timeout",
        act: Act::Drip(Duration::from_millis(200)),
        kinds: ["timeout"; 2],
        words: ["no answer within 3 s"; 2],
    });
}

/// Requests that none of the program's own errors may cost: rows without an error.
fn no_error(act: Act, line: &Line<'_>) -> Vec<runner::record::Record> {
    let server = server_of(&[25, 28, 31], act);
    let done = run_at(SCENARIO, &server.http, &server.grpc, &[]);
    let rows = done.rows();
    for row in &rows {
        assert_eq!((row.status, row.requests, row.errors), (Status::Ok, REQUESTS, 0), "{row:?}");
        assert_eq!((row.reason.as_str(), row.errors_s), ("", Some(0.0)), "{row:?}");
    }
    tell(&Line { told: rows.iter().map(words).collect(), ..*line });
    rows
}

#[test]
fn an_answer_that_drips_in_time_is_good() {
    no_error(
        Act::Drip(Duration::from_millis(1)),
        &Line {
            key: ("connections", "dripping in time"),
            fault: "the answer drips, and is whole in time",
            by: RAW,
            told: Vec::new(),
            test: "an_answer_that_drips_in_time_is_good",
        },
    );
}

#[test]
fn a_connection_that_ends_in_order_costs_no_request() {
    let line = Line {
        key: ("connections", "end in order"),
        fault: "the connection ends in order after an answer (`Connection: close`; GOAWAY without an error)",
        by: RAW,
        told: Vec::new(),
        test: "a_connection_that_ends_in_order_costs_no_request",
    };
    for row in no_error(Act::Last, &line) {
        assert!(row.reconnects >= Some(2) && row.flags.has(Flag::Reconnects), "{row:?}");
    }
}

#[test]
fn a_connection_that_the_server_ends_with_an_error_says_so() {
    three_of(&Fault {
        key: ("connections", "GOAWAY"),
        fault: "the server ends the connection with an error (GOAWAY; over HTTP/1.1 it just closes)",
        by: RAW,
        test: "a_connection_that_the_server_ends_with_an_error_says_so",
        act: Act::End,
        kinds: ["transport"; 2],
        words: ["closed before the answer's end", "GOAWAY, ENHANCE_YOUR_CALM"],
    });
}

#[test]
fn a_request_that_is_given_up_leaves_its_connection() {
    let rows = three_of(&Fault {
        key: ("connections", "RST_STREAM"),
        fault: "the server gives up the request alone (RST_STREAM; HTTP/1.1 can only reset the connection)",
        by: RAW,
        test: "a_request_that_is_given_up_leaves_its_connection",
        act: Act::GiveUp,
        kinds: ["transport"; 2],
        words: ["reset", "RST_STREAM, INTERNAL_ERROR"],
    });
    assert_eq!([rows[0].reconnects, rows[1].reconnects], [Some(3), Some(0)]);
}

#[test]
fn a_server_that_restarts_within_a_block_is_waited_for() {
    // away for long enough that the request after it is refused, and back before anybody gives up
    let server = server_of(&[28], Act::Restart(Duration::from_millis(500)));
    let done = run_at(SCENARIO, &server.http, &server.grpc, &[]);
    let rows = done.rows();
    for row in &rows {
        assert_eq!((row.status, row.requests + row.errors), (Status::Errors, REQUESTS), "{row:?}");
        let [lost, refused] = ["transport", "connect"].map(|kind| row.error_kinds.of(kind));
        assert!(lost == 1 && refused >= 1 && lost + refused == row.errors, "{row:?}");
        // whoever was refused made no connection, and none of the requests after it waited for one
        assert_eq!(row.reconnects, Some(1), "{row:?}");
        let blocks = done.blocks(row);
        assert_eq!([blocks[0], blocks[2]], [(BLOCK, 0), (BLOCK, 0)], "{row:?}");
        assert_eq!(blocks[1].0 + blocks[1].1, BLOCK);
    }
    tell(&Line {
        key: ("connections", "restart"),
        fault: "the server restarts within a block: its connections end, its port refuses, then it is back",
        by: RAW,
        told: rows.iter().map(words).collect(),
        test: "a_server_that_restarts_within_a_block_is_waited_for",
    });
}

#[test]
fn a_server_that_is_gone_for_good_ends_its_case_and_keeps_the_blocks_before() {
    let server = server_of(&[28], Act::Restart(Duration::from_secs(3600)));
    let mut told = Vec::new();
    for protocol in ["http", "grpc"] {
        let done = run_at(SCENARIO, &server.http, &server.grpc, &["--protocols", protocol]);
        let row = done.rows().remove(0);
        assert_eq!(row.status, Status::Failed, "{row:?}");
        // what was measured before is there, in the rows of both files and on the terminal
        assert!(row.requests >= BLOCK && row.mean_ms.is_some() && row.errors > 0, "{row:?}");
        assert_eq!(done.blocks(&row)[0], (BLOCK, 0), "{row:?}");
        assert!(done.text().contains("requests)"), "{}", done.text());
        told.push(words(&row));
    }
    tell(&Line {
        key: ("connections", "refused"),
        fault: "the server goes away within a block: its port refuses from then on",
        by: RAW,
        told,
        test: "a_server_that_is_gone_for_good_ends_its_case_and_keeps_the_blocks_before",
    });
}

#[test]
fn requests_that_share_a_connection_or_come_when_they_are_due_fail_and_go_on_alike() {
    let matrix = |more: &str| SCENARIO.replace("batch_sizes = [1]", &format!("batch_sizes = [1]\n    {more}"));
    let shared = "protocols = [\"grpc\"]\n    concurrency = [4]\n    connections = [1]";
    for (scenario, cases) in [
        (matrix(shared), 1),
        (matrix(shared) + "    rate = [500]\n", 1),
        (matrix("concurrency = [4]") + "    rate = [500]\n", 2),
    ] {
        // every process sends many more requests than this before it ends
        let server = Server::start(&[-1, 3], true, |n| if n % 12 == 8 { Act::Reset } else { Act::Answer(good()) });
        let done = run_at(&scenario, &server.http, &server.grpc, &[]);
        let rows = done.rows();
        assert_eq!(rows.len(), cases, "{}", done.text());
        for row in &rows {
            // what else was on a connection that broke failed with it
            assert_eq!((row.status, row.requests + row.errors), (Status::Errors, REQUESTS), "{row:?}");
            assert!((1..=24).contains(&row.errors) && row.error_kinds.of("transport") == row.errors, "{row:?}");
            assert!(row.reconnects >= Some(1), "{row:?}");
        }
    }
}

#[test]
fn words_that_steer_a_terminal_are_cleaned() {
    let words = STEERING.to_owned();
    let server = Server::start(&[-1, 3], true, move |n| match n {
        25 => Act::Refuse(500, 13, words.clone()),
        _ => Act::Answer(good()),
    });
    let done = run_at(SCENARIO, &server.http, &server.grpc, &[]);
    for row in done.rows() {
        assert!(row.reason.ends_with("\u{FFFD}[2J\u{FFFD}[31mout of cheese\u{FFFD}"), "{row:?}");
    }
    assert!(done.text().contains("out of cheese") && !done.text().contains('\u{7}'), "{:?}", done.text());
}
