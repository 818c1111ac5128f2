//! The process: how it starts, how it ends, and the log of its requests.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::thread;

use crate::server::{Models, Server, parameter, refused};

#[test]
fn it_ends_with_its_input_and_its_ports_are_closed() {
    let mut server = Models::of_echo("").serve_all();
    assert_eq!(server.infer("m", &[1, 1], &[0.0]).0, 200);
    // a connection that is open does not keep it
    let _open = TcpStream::connect(&server.http).unwrap();
    let (status, errors) = server.end();
    assert!(status.success(), "{status}: {errors}");
    for address in [&server.http, &server.grpc] {
        assert!(TcpStream::connect(address).is_err(), "{address} is still open");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let models = Models::of_echo("");
    for option in ["--http", "--grpc"] {
        let output = refused(&models.path(), &[option, &address]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(&address) && output.stdout.is_empty(), "{errors}");
    }
}

#[test]
fn a_repository_or_log_that_cannot_be_is_named() {
    let models = Models::of_echo("");
    let nowhere = models.path().join("nowhere");
    let cases = [
        (nowhere.clone(), vec![]),
        (models.path(), vec!["--request-log", nowhere.to_str().unwrap(), "--model-config-name", "../x"]),
    ];
    for (repository, options) in cases {
        let options: Vec<_> = options.into_iter().map(|option| option.replace("nowhere", "nowhere/log.csv")).collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = refused(&repository, &options);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains("nowhere"), "{errors}");
    }
}

#[test]
fn only_models_that_are_named_are_loaded() {
    let models = Models::of_echo("");
    models.write("other", &crate::server::echo("other", ""));
    let server = models.serve(&["--load-model", "other", "--load-model", "nothing"]);
    assert_eq!(server.unavailable.len(), 1, "{:?}", server.unavailable);
    assert!(server.unavailable[0].contains("'nothing'"), "{:?}", server.unavailable);
    assert_eq!(server.infer("other", &[1, 1], &[0.0]).0, 200);
    assert_eq!(server.infer("m", &[1, 1], &[0.0]).0, 404);
    server.end_well();
}

type Row = BTreeMap<String, String>;

fn ns(row: &Row, column: &str) -> u64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} of {row:?}"))
}

/// When an execution began and ended, since the first request.
fn executed(row: &Row) -> (u64, u64) {
    let begin = ns(row, "admitted_ns") + ns(row, "queue_ns");
    (
        begin,
        begin
            + ["compute_input_ns", "compute_infer_ns", "compute_output_ns"]
                .map(|part| ns(row, part))
                .iter()
                .sum::<u64>(),
    )
}

/// Sends `requests` at once to a model with more configuration, and reads the log when the server has ended.
fn logged(rest: &str, requests: usize) -> Vec<Row> {
    let models = Models::of_echo(rest);
    let log = models.path().join("log.csv");
    let mut server: Server = models.serve(&["--request-log", log.to_str().unwrap()]);
    thread::scope(|scope| {
        for index in 0..requests {
            let server = &server;
            scope.spawn(move || server.infer("m", &[1 + index % 3, 1], &vec![0.0; 1 + index % 3]));
        }
    });
    let statistics = server.statistics("m");
    // never admitted, so not in the log
    assert_eq!(server.infer("m", &[9, 1], &[0.0; 9]).0, 400);
    assert!(server.end().0.success());
    let mut rows: Vec<Row> = csv::Reader::from_path(&log).unwrap().deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!(rows.len(), requests);
    for row in &rows {
        let (begin, end) = executed(row);
        let parts = end - begin + ns(row, "queue_ns");
        assert!(parts <= ns(row, "total_ns"), "{row:?}");
        assert_eq!(row["model"], "m");
    }
    let sum =
        |column: &str, ok: &str| -> u64 { rows.iter().filter(|row| row["ok"] == ok).map(|row| ns(row, column)).sum() };
    let stats = &statistics["inference_stats"];
    assert_eq!(stats["success"]["ns"], sum("total_ns", "true"));
    assert_eq!(stats["fail"]["ns"], sum("total_ns", "false"));
    assert_eq!(stats["queue"]["ns"], sum("queue_ns", "true"));
    assert_eq!(stats["compute_infer"]["ns"], sum("compute_infer_ns", "true"));
    assert_eq!(statistics["inference_count"], sum("items", "true"));
    rows.sort_by_key(executed);
    rows
}

#[test]
fn the_log_has_a_row_a_request_that_adds_up_to_the_statistics() {
    let rows = logged(&parameter("error_share", "0.3"), 30);
    assert!(rows.iter().any(|row| row["ok"] == "false") && rows.iter().any(|row| row["ok"] == "true"));
}

#[test]
fn one_instance_executes_one_after_the_other() {
    let rows = logged(&parameter("service_time", "constant 5ms"), 10);
    assert!(rows.windows(2).all(|pair| executed(&pair[0]).1 <= executed(&pair[1]).0), "{rows:?}");
}

#[test]
fn two_instances_execute_at_once() {
    // far longer than it takes to send two requests
    let rows = logged(&("instance_group [ { count: 2 } ]".to_owned() + &parameter("service_time", "constant 1s")), 2);
    assert!(executed(&rows[1]).0 < executed(&rows[0]).1, "{rows:?}");
}
