//! How many failures a case may have, and what its row says of several kinds of them.

use runner::record::Status;

use super::run::{BLOCK, REQUESTS, SCENARIO, run_at, server_of};
use super::server::{Act, Server, good};
use super::table::{Line, tell, words};

const RAW: &str = "raw server";

/// Runs with a line more in `[load]`, against a server that refuses one request of the second block.
fn one_failure(line: &str) -> (Vec<runner::record::Record>, super::run::Done) {
    let server = server_of(&[28], Act::Refuse(500, 13, "no more cheese".to_owned()));
    let done = run_at(&format!("{SCENARIO}{line}\n"), &server.http, &server.grpc, &[]);
    (done.rows(), done)
}

#[test]
fn a_case_that_lets_none_fail_ends_with_its_block() {
    let (rows, done) = one_failure("on_error = \"stop\"");
    for row in &rows {
        assert_eq!((row.status, row.requests, row.errors), (Status::Failed, 2 * BLOCK - 1, 1), "{row:?}");
        assert_eq!(done.blocks(row), [(BLOCK, 0), (BLOCK - 1, 1)], "{row:?}");
    }
    tell(&Line {
        key: ("limits", "on_error"),
        fault: "one failure, with `on_error = \"stop\"`",
        by: RAW,
        told: rows.iter().map(words).collect(),
        test: "a_case_that_lets_none_fail_ends_with_its_block",
    });
}

#[test]
fn a_case_ends_when_too_large_a_share_failed() {
    let (rows, done) = one_failure("max_error_share = 0.02");
    for row in &rows {
        assert_eq!((row.status, row.requests, row.errors), (Status::Failed, 2 * BLOCK - 1, 1), "{row:?}");
        assert_eq!(done.blocks(row), [(BLOCK, 0), (BLOCK - 1, 1)], "{row:?}");
    }
    tell(&Line {
        key: ("limits", "max_error_share"),
        fault: "one failure of 40 requests, with `max_error_share = 0.02`",
        by: RAW,
        told: rows.iter().map(words).collect(),
        test: "a_case_ends_when_too_large_a_share_failed",
    });
    let (rows, _) = one_failure("max_error_share = 0.03");
    assert!(rows.iter().all(|row| row.status == Status::Errors && row.requests == REQUESTS - 1), "{rows:?}");
}

#[test]
fn the_first_failure_of_every_kind_is_told() {
    let server = Server::start(&[-1, 3], true, |n| match n {
        25 | 31 => Act::Refuse(500, 13, format!("no more cheese, said for request {n}")),
        28 => Act::Reset,
        34 => Act::Refuse(503, 14, "closed".to_owned()),
        _ => Act::Answer(good()),
    });
    let done = run_at(SCENARIO, &server.http, &server.grpc, &[]);
    let rows = done.rows();
    for row in &rows {
        assert_eq!(row.error_kinds.to_string(), "server=2 transport=1 unavailable=1", "{row:?}");
        assert!(row.reason.contains("for request 25; transport: ") && !row.reason.contains("31"), "{row:?}");
    }
    tell(&Line {
        key: ("limits", "several kinds"),
        fault: "failures of several kinds",
        by: RAW,
        told: rows.iter().map(words).collect(),
        test: "the_first_failure_of_every_kind_is_told",
    });
}
