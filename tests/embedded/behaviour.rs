//! How requests are put together, executed and counted, over both protocols.

use std::thread;

use runner::proto::{ModelStatisticsRequest, ModelStatisticsResponse};
use serde_json::{Value, json};

use crate::server::{Models, Server, echo, parameter};

/// Longer than any test: a batch that waits so long is executed for another reason.
const NEVER_US: u64 = 600_000_000;

/// Sends a request for each shape at once and checks that each gets its own values back.
fn at_once(server: &Server, shapes: &[[usize; 2]]) {
    thread::scope(|scope| {
        for (index, shape) in shapes.iter().enumerate() {
            scope.spawn(move || {
                let data: Vec<f32> = (0..shape[0] * shape[1]).map(|at| (index * 100 + at) as f32).collect();
                let (status, answer) = server.infer("m", shape, &data);
                assert_eq!(status, 200, "{answer}");
                assert_eq!(answer["outputs"][0]["shape"], json!(shape));
                assert_eq!(answer["outputs"][0]["data"], json!(data));
            });
        }
    });
}

/// The sizes of executed batches, and how often each.
fn batches(statistics: &Value) -> Vec<(u64, u64)> {
    let rows = statistics["batch_stats"].as_array().unwrap().iter();
    rows.map(|row| (row["batch_size"].as_u64().unwrap(), row["compute_infer"]["count"].as_u64().unwrap()))
        .collect()
}

fn count(statistics: &Value, what: &str) -> u64 {
    statistics["inference_stats"][what]["count"].as_u64().unwrap()
}

/// Checks what holds for any model that answered every request.
fn adds_up(statistics: &Value) {
    let items: u64 = batches(statistics).iter().map(|(size, count)| size * count).sum();
    let executions: u64 = batches(statistics).iter().map(|(_, count)| count).sum();
    assert_eq!((&statistics["inference_count"], &statistics["execution_count"]), (&json!(items), &json!(executions)));
    let parts = ["queue", "compute_input", "compute_infer", "compute_output"];
    let ns = |part: &str| statistics["inference_stats"][part]["ns"].as_u64().unwrap();
    assert!(parts.iter().map(|part| ns(part)).sum::<u64>() <= ns("success"), "{statistics}");
    for part in parts {
        assert_eq!(count(statistics, part), count(statistics, "success"), "{part}");
    }
}

#[test]
fn requests_are_executed_in_batches_of_a_preferred_size() {
    let batching =
        format!("dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: {NEVER_US} }}");
    let server = Models::of_echo(&batching).serve_all();
    at_once(&server, &[[1, 3]; 12]);
    let statistics = server.statistics("m");
    assert_eq!(batches(&statistics), [(4, 3)]);
    assert_eq!(count(&statistics, "success"), 12);
    adds_up(&statistics);
    // requests of several items, in any order
    at_once(&server, &[[2, 3], [2, 3]]);
    let statistics = server.statistics("m");
    assert_eq!((batches(&statistics), count(&statistics, "success")), (vec![(4, 4)], 14));
    adds_up(&statistics);
    server.end_well();
}

#[test]
fn a_batch_is_full_at_the_largest_size_and_incomplete_after_the_delay() {
    let waiting = format!("dynamic_batching {{ max_queue_delay_microseconds: {NEVER_US} }}");
    let server = Models::of_echo(&waiting).serve_all();
    at_once(&server, &[[1, 2]; 16]);
    assert_eq!(batches(&server.statistics("m")), [(8, 2)]);
    server.end_well();

    let server = Models::of_echo("dynamic_batching { max_queue_delay_microseconds: 20000 }").serve_all();
    at_once(&server, &[[1, 2]; 3]);
    let statistics = server.statistics("m");
    assert_eq!((&statistics["inference_count"], count(&statistics, "success")), (&json!(3), 3));
    adds_up(&statistics);
    server.end_well();
}

#[test]
fn without_dynamic_batching_each_request_is_executed_on_its_own() {
    let server = Models::of_echo("").serve_all();
    at_once(&server, &[[1, 3], [1, 3], [2, 3], [1, 3], [3, 1], [2, 3]]);
    let statistics = server.statistics("m");
    assert_eq!(batches(&statistics), [(1, 3), (2, 2), (3, 1)]);
    assert_eq!((count(&statistics, "success"), &statistics["execution_count"]), (6, &json!(6)));
    adds_up(&statistics);
    server.end_well();
}

#[test]
fn requests_of_other_shapes_are_not_one_batch() {
    let server = Models::of_echo("dynamic_batching { max_queue_delay_microseconds: 20000 }").serve_all();
    let shapes: Vec<_> = (0..24).map(|index| [1, 3 + index % 3]).collect();
    // each gets its own values in its own shape
    at_once(&server, &shapes);
    let statistics = server.statistics("m");
    assert_eq!(statistics["inference_count"], 24);
    assert!(statistics["execution_count"].as_u64().unwrap() >= 3, "{statistics}");
    adds_up(&statistics);
    server.end_well();
}

#[test]
fn texts_of_any_length_come_back_to_their_own_request() {
    let models = Models::new();
    let config = echo(
        "m",
        &format!("dynamic_batching {{ preferred_batch_size: [ 4 ] max_queue_delay_microseconds: {NEVER_US} }}"),
    );
    models.write("m", &config.replace("TYPE_FP32", "TYPE_STRING"));
    let server = models.serve_all();
    thread::scope(|scope| {
        for index in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let data = json!(["x".repeat(index), "y".repeat(index * 7)]);
                let input = json!({"name": "value", "datatype": "BYTES", "shape": [1, 2], "data": data});
                let (status, answer) = server.post("/v2/models/m/infer", &json!({"inputs": [input]}));
                assert_eq!((status, &answer["outputs"][0]["data"]), (200, &data));
            });
        }
    });
    assert_eq!(batches(&server.statistics("m")), [(4, 2)]);
    server.end_well();
}

#[test]
fn statistics_are_the_same_over_both_protocols_and_count_failures_apart() {
    let models = Models::of_echo("");
    models.write("bad", &echo("bad", &parameter("error_share", "1")));
    let server = models.serve_all();
    at_once(&server, &[[1, 3]; 5]);
    assert_eq!(server.infer("bad", &[1, 1], &[0.0]).0, 500);
    // never executed, so not counted
    assert_eq!(server.infer("m", &[9, 1], &[0.0; 9]).0, 400);
    let over_http = server.get("/v2/models/stats");
    let over_grpc: ModelStatisticsResponse =
        server.grpc().call("ModelStatistics", &ModelStatisticsRequest::default()).unwrap();
    assert_eq!(over_http, runner::proto::to_json(&over_grpc).unwrap());
    let bad = server.statistics("bad");
    assert_eq!((count(&bad, "fail"), count(&bad, "success")), (1, 0));
    assert_eq!(bad["inference_count"], 0);
    assert_eq!(count(&server.statistics("m"), "fail"), 0);
    server.end_well();
}
