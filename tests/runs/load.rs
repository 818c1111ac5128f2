//! What the keys of `[load]` and their options do.

use std::io::{Read, Write};
use std::net::TcpStream;

use runner::matrix::Encode;
use runner::record::{Flag, Record, Status, read_manifest};

use crate::case::{Case, SCENARIO, text};

/// The rows of a run of one process and batch size 1 with this `[load]`, and with more of the matrix; and what it printed.
fn rows(parameters: &str, matrix: &str, load: &str, options: &[&str]) -> (Vec<Record>, String) {
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", matrix);
    let scenario = scenario.replace("iterations = 50", load);
    let case = Case::new(parameters, &scenario);
    let output = case.command(options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let run = case.newest().unwrap();
    let counts = read_manifest(&run).unwrap().counts.unwrap();
    assert!(counts.agrees(), "{counts:?}");
    (case.records(), text(&output))
}

#[test]
fn an_open_loop_tells_response_and_service_time() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 1ms\" } }";
    let load = "iterations = 40\nrate = [200, 400]\narrival = \"poisson\"\nblocks = 2";
    let (records, printed) = rows(slow, "processes = [2]", load, &[]);
    assert_eq!(records.len(), 4);
    for record in &records {
        assert_eq!((record.requests, record.requests_planned), (80, Some(80)), "{record:?}");
        assert!(record.requests_per_s <= record.case.rate, "{record:?}");
        assert_eq!((record.case.concurrency, record.case.connections), (64, 64), "{record:?}");
        assert!(
            record.case.rate.is_some() && record.held_back.is_some() && record.lateness_max_ms.is_some(),
            "{record:?}"
        );
        assert!(record.service_mean_ms <= record.mean_ms && record.service_mean_ms >= Some(1.0), "{record:?}");
    }
    assert!(printed.contains("200 requests/s, at most 64 in flight in each process:"), "{printed}");
    assert!(printed.contains("| Response Mean (ms) |") && printed.contains("Poisson arrivals"), "{printed}");
}

#[test]
fn what_exceeds_the_bound_waits_and_its_waiting_counts() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 5ms\" } }";
    let (records, printed) = rows(slow, "concurrency = [1]", "iterations = 30\nrate = [10000]\nblocks = 1", &[]);
    for record in &records {
        assert_eq!(record.requests, 30, "{record:?}");
        assert!(record.held_back > Some(20), "{record:?}");
        // the last one waits for all before it
        assert!(record.max_ms > Some(100.0) && record.lateness_max_ms > Some(100.0), "{record:?}");
        assert!(printed.contains("requests were sent late because 1 were in flight"), "{printed}");
    }
}

#[test]
fn requests_may_share_connections_as_streams() {
    let (records, printed) =
        rows("", "protocols = [\"grpc\"]\nconcurrency = [8]\nconnections = [2]", "iterations = 200", &[]);
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((record.requests, record.case.connections, record.send_mean_ms), (200, 2, None), "{record:?}");
    assert!(record.bytes_sent > 0 && printed.contains("8 in flight over 2 connections"), "{printed}");
}

#[test]
fn requests_may_be_encoded_one_by_one() {
    let (records, printed) = rows("", "", "iterations = 50\nencode = \"each-request\"", &[]);
    assert!(
        records
            .iter()
            .all(|record| record.case.encode == Encode::EachRequest && record.requests == 50),
        "{records:?}"
    );
    assert!(printed.contains("encoded one by one"), "{printed}");
}

#[test]
fn clients_think_between_requests_and_not_within_them() {
    let (records, printed) =
        rows("", "protocols = [\"http\"]", "iterations = 21\nblocks = 1\nthink_time_ms = [0, 20]", &[]);
    let [none, some] = &records[..] else { panic!("{records:?}") };
    assert_eq!((none.requests, some.requests), (21, 21));
    assert_eq!(some.case.tag(), "http-b1-p1-c1-t20");
    // 20 pauses from the first request to the last answer
    assert!(some.requests_per_s <= Some(21.0 / 0.4), "{some:?}");
    assert!(some.min_ms < Some(20.0), "{some:?}");
    assert!(printed.contains("| Think Time (ms) |"), "{printed}");
    // no pause follows a case's last request
    let hour = "iterations = 1\nblocks = 1\nthink_time_ms = [3600000]\nmax_seconds_per_case = 1";
    assert!(rows("", "", hour, &[]).0.iter().all(|record| record.requests == 1));
}

#[test]
fn rounds_go_on_until_ratios_are_precise_or_the_time_is_over() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 5ms\" } }";
    let (records, printed) = rows(slow, "", "iterations = 20\nprecision = \"50%\"", &[]);
    for record in &records {
        let requests = 2 * u64::from(record.blocks);
        assert!(record.blocks >= 8 && record.requests == requests && record.requests_planned.is_none(), "{record:?}");
        assert!(!record.flags.has(Flag::Imprecise) && !record.flags.has(Flag::Capped), "{record:?}");
    }
    assert!(printed.contains("until each ratio of means is within 50 %"), "{printed}");
    let (records, printed) = rows(slow, "", "iterations = 20\nmax_seconds_per_case = 0.2", &["--precision", "0.1%"]);
    for record in &records {
        assert!(record.flags.has(Flag::Imprecise) && record.blocks > 1, "{record:?}");
    }
    assert!(printed.contains("ended before the ratios were as precise as asked for"), "{printed}");
}

#[test]
fn time_ends_a_case_when_it_is_asked_to() {
    let (records, _) = rows("", "", "duration_s = 0.3\nblocks = 3", &[]);
    for record in &records {
        assert!(
            record.requests > 0 && record.requests_planned.is_none() && !record.flags.has(Flag::Capped),
            "{record:?}"
        );
    }
    // a number of requests in the file does not end a quick case, and so is not what it lacks
    let (records, printed) = rows("", "", "iterations = 5", &["--quick", "--max-seconds", "0.4"]);
    for record in &records {
        assert!(record.quick && record.requests_planned.is_none() && !record.flags.has(Flag::Capped), "{record:?}");
    }
    assert_eq!(records[0].blocks, records[1].blocks);
    assert!(printed.contains(&format!("interleaved in {} blocks", records[0].blocks)), "{printed}");
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 10ms\" } }";
    for load in [
        "iterations = 100000\nmax_seconds_per_case = 0.3\nblocks = 3",
        "iterations = 100000\nrate = [50]\nmax_seconds_per_case = 0.3\nblocks = 3",
        // the second request would be due after an hour
        "iterations = 2\nrate = [0.001]\nmax_seconds_per_case = 0.3\nblocks = 1",
    ] {
        let (records, printed) = rows(slow, "", load, &[]);
        for record in &records {
            assert!(record.status == Status::Ok && record.flags.has(Flag::Capped), "{record:?}");
            assert!(record.requests > 0 && record.requests < 100, "{record:?}");
        }
        assert!(printed.contains("ended by its longest time"), "{printed}");
    }
}

#[test]
fn the_client_s_ceiling_is_measured_with_the_same_requests() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 50ms\" } }";
    let (records, printed) = rows(slow, "batch_sizes = [1, 4]", "iterations = 4", &["--calibrate"]);
    assert_eq!(printed.matches("client ceiling ").count(), 4, "{printed}");
    for record in &records {
        assert!(record.client_ceiling_per_s > record.requests_per_s, "{record:?}");
        assert!(!record.flags.has(Flag::ClientCeiling), "{record:?}");
    }
}

const TEN_MS: &str = "parameters { key: \"service_time\" value { string_value: \"constant 10ms\" } }";

#[test]
fn the_latency_is_split_by_the_server_s_own_statistics() {
    let (records, printed) = rows(TEN_MS, "batch_sizes = [1, 4]", "iterations = 20", &[]);
    for record in &records {
        let parts = [
            record.client_ms,
            record.network_ms,
            record.queue_ms,
            record.compute_input_ms,
            record.compute_infer_ms,
            record.compute_output_ms,
        ];
        let [sum, mean] = [parts.iter().copied().sum::<Option<f64>>(), record.mean_ms].map(Option::unwrap);
        assert!((sum / mean - 1.0).abs() < 1e-6, "{record:?}");
        // on a busy machine the server may begin before the client has seen that its last byte is gone
        assert!(record.compute_infer_ms > Some(9.9) && record.network_ms > Some(-5.0), "{record:?}");
        assert_eq!(record.server_requests, Some(record.requests), "{record:?}");
        assert_eq!(record.avg_batch, Some(f64::from(record.case.batch_size)), "{record:?}");
        assert!(!record.flags.has(Flag::ServerCounts) && !record.flags.has(Flag::OtherTraffic), "{record:?}");
    }
    assert!(printed.contains("| gRPC / HTTP Mean |"), "{printed}");
}

#[test]
fn a_case_may_be_compared_with_itself() {
    let (records, printed) = rows(TEN_MS, "protocols = [\"grpc\"]", "iterations = 20", &["--aa"]);
    assert_eq!(records.len(), 2);
    assert!(records[0].case.arm.is_some() && records[0].case.arm != records[1].case.arm, "{records:?}");
    assert!(printed.contains("| gRPC A |") && printed.contains("A and B are the same"), "{printed}");
    assert!(!printed.contains("| **"), "{printed}");
}

#[test]
fn others_that_ask_the_model_are_seen_and_may_be_a_failure() {
    let case = Case::new(TEN_MS, &SCENARIO.replace("iterations = 50", "iterations = 100"));
    let mut running = case.command(&["--strict", "--protocols", "grpc"]).spawn().unwrap();
    let address = case.manifest_of_running().http;
    let body = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}"#;
    while running.try_wait().unwrap().is_none() {
        let Ok(mut stream) = TcpStream::connect(&address) else { continue };
        let length = body.len();
        let head =
            format!("POST /v2/models/echo/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}");
        let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let records = case.records();
    for record in &records {
        assert!(record.status == Status::Ok && record.flags.has(Flag::OtherTraffic), "{record:?}");
        assert!(record.server_requests > Some(record.requests), "{record:?}");
    }
    assert!(text(&output).contains("others asked the model meanwhile"), "{}", text(&output));
}

#[test]
fn parameters_go_with_every_request_and_are_told() {
    let case = Case::new("", &format!("{SCENARIO}[parameters]\npriority = 1\nuser = \"a\"\n"));
    let output = case.command(&["--quiet"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(case.records().iter().all(|row| row.status == Status::Ok && row.errors == 0));
    assert!(text(&output).contains("Parameters of every request: `priority = 1, user = \"a\"`."), "{}", text(&output));
}

#[test]
fn a_case_may_end_where_too_many_requests_fail() {
    let faulty = "parameters { key: \"error_share\" value { string_value: \"0.3\" } }";
    for (key, blocks, reason) in [
        ("on_error = \"stop\"", 1, "more than the 0 that may (max_error_share): HTTP "),
        ("max_error_share = 0.1", 1, "more than the 0.1 that may (max_error_share): HTTP "),
        ("max_error_share = 0.9", 10, "HTTP "),
        ("on_error = \"continue\"", 10, "HTTP "),
    ] {
        let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", "protocols = [\"http\"]");
        let case = Case::new(faulty, &scenario.replace("iterations = 50", &format!("iterations = 300\n{key}")));
        let output = case.command(&["--quiet"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{key}: {}", text(&output));
        let row = &case.records()[0];
        let status = if blocks == 1 { Status::Failed } else { Status::Errors };
        assert_eq!((row.status, row.blocks), (status, blocks), "{key}: {row:?}");
        assert!(row.reason.contains(reason) && row.requests > 10 && row.errors > 2, "{key}: {row:?}");
    }
}
