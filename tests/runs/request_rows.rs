//! The file of single requests: what it holds agrees exactly with the rows and histograms of the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use runner::matrix::Protocol;
use runner::record::{
    BLOCKS, BlockRecord, Columns, HISTOGRAMS, Micros, RECORDS, REQUESTS, RESUME, Record, RequestRow, Status, read,
    rounded,
};
use runner::recorder::Distribution;

use crate::case::{Case, SCENARIO, signal, text};
use crate::resume::{check_whole, resume, slow_case, under_way};

/// A scenario of one batch size, with these lines for the matrix and the load.
fn case(parameters: &str, matrix: &str, load: &str) -> Case {
    let scenario = SCENARIO
        .replace("batch_sizes = [1, 4]\n    processes = [1, 2]", matrix)
        .replace("shape = [3]\n", "shape = [3]\ndata = {random = {seed = 1}}\n")
        .replace("iterations = 50\n", &format!("{load}\n"));
    Case::new(parameters, &scenario)
}

/// The records and requests of the newest run, after whether their counts agree, case by case and block by block.
fn agreeing(run: &Path) -> (Vec<Record>, Vec<RequestRow>) {
    let records: Vec<Record> = read(&run.join(RECORDS)).unwrap();
    let blocks: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();
    let requests: Vec<RequestRow> = read(&run.join(REQUESTS)).unwrap();
    let mut counts: BTreeMap<(String, u32), (u64, u64)> = BTreeMap::new();
    for row in &requests {
        let (good, all) = counts.entry((row.case.clone(), row.block)).or_default();
        (*good, *all) = (*good + u64::from(row.status == "ok"), *all + 1);
    }
    for block in &blocks {
        let (good, all) = counts.remove(&(block.case.tag(), block.block)).unwrap_or_default();
        assert_eq!((good, all), (block.requests, block.requests + block.errors), "{block:?}");
    }
    assert!(counts.is_empty(), "blocks that were not measured: {counts:?}");
    for record in &records {
        let tag = record.case.tag();
        let of_case = || requests.iter().filter(|row| row.case == tag);
        let all = of_case().count() as u64;
        assert_eq!((all, record.requests_logged), (record.requests + record.errors, Some(all)), "{record:?}");
        let of_kind = |kind: &str| of_case().filter(|row| row.status == kind).count() as u64;
        let kinds: BTreeSet<&str> = of_case().map(|row| row.status.as_str()).collect();
        for kind in kinds.into_iter().filter(|kind| *kind != "ok") {
            assert_eq!(of_kind(kind), record.error_kinds.of(kind), "{kind}: {record:?}");
        }
        assert_eq!(of_kind("ok"), record.requests, "{record:?}");
    }
    // of each block and process, every number once, in order
    let mut numbers: BTreeMap<(&str, u32, u32), u64> = BTreeMap::new();
    for row in &requests {
        let next = numbers.entry((&row.case, row.block, row.process)).or_default();
        assert_eq!(row.request, *next, "{row:?}");
        *next += 1;
    }
    (records, requests)
}

/// That no stamp of a request is before the one that precedes it.
fn check_order(row: &RequestRow) {
    let stamps = [row.due_us, Some(row.start_us), row.sent_us, row.head_us, Some(row.done_us)];
    assert!(stamps.iter().flatten().is_sorted(), "{row:?}");
}

/// The distribution of a time over some requests.
fn distribution<'a>(rows: impl Iterator<Item = &'a RequestRow>, time: impl Fn(&RequestRow) -> u64) -> Distribution {
    let mut distribution = Distribution::default();
    rows.for_each(|row| distribution.record(time(row)));
    distribution
}

fn between(from: Micros, to: Micros) -> u64 {
    to.0 - from.0
}

/// That the latency columns of a record follow from its requests.
fn check_latencies(record: &Record, requests: &[RequestRow]) {
    let tag = record.case.tag();
    let rows = || requests.iter().filter(|row| row.case == tag);
    let answered = || rows().filter(|row| row.status == "ok");
    let latency = distribution(answered(), |row| between(row.due_us.unwrap_or(row.start_us), row.done_us));
    let columns = Columns(&latency);
    let recomputed = [columns.mean(), columns.stddev(), columns.min(), columns.max()]
        .into_iter()
        .chain([0.5, 0.95].map(|q| columns.quantile(q)));
    let told = [record.mean_ms, record.stddev_ms, record.min_ms, record.max_ms, record.p50_ms, record.p95_ms];
    assert_eq!(recomputed.collect::<Vec<_>>(), told, "{tag}");
    if record.case.rate.is_none() {
        return assert!(rows().all(|row| row.due_us.is_none()), "{tag}");
    }
    let service = distribution(answered(), |row| between(row.start_us, row.done_us));
    // of those without a good answer too
    let lateness = distribution(rows(), |row| between(row.due_us.unwrap(), row.start_us));
    for (distribution, mean, p99) in [
        (service, record.service_mean_ms, record.service_p99_ms),
        (lateness, record.lateness_mean_ms, record.lateness_p99_ms),
    ] {
        let columns = Columns(&distribution);
        assert_eq!((columns.mean(), columns.quantile(0.99)), (mean, p99), "{tag}");
    }
}

#[test]
fn every_request_has_a_row_that_agrees_with_all_other_numbers() {
    let matrix = "batch_sizes = [1]\nprocesses = [1, 3]\nconcurrency = [4]";
    for load in ["iterations = 60", "iterations = 60\nrate = [600]\narrival = \"poisson\""] {
        let case = case("", matrix, &format!("{load}\nblocks = 3\ndistinct = 5"));
        let output = case.command(&["--requests"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let (records, requests) = agreeing(&case.newest().unwrap());
        assert_eq!(records.len(), 4, "{records:?}");
        for record in &records {
            assert_eq!(record.status, Status::Ok, "{record:?}");
            check_latencies(record, &requests);
            let tag = record.case.tag();
            let rows: Vec<&RequestRow> = requests.iter().filter(|row| row.case == tag).collect();
            rows.iter().for_each(|row| check_order(row));
            assert!(rows.iter().all(|row| row.sent_us.is_some() && row.head_us.is_some()), "{tag}");
            let distinct: BTreeSet<_> = rows.iter().map(|row| row.distinct).collect();
            assert_eq!(distinct, (0..5).map(Some).collect(), "{tag}");
            let connections: BTreeSet<u32> = rows.iter().map(|row| row.connection).collect();
            assert!(connections.iter().all(|connection| *connection < record.case.connections), "{tag}");
            // all that went over a connection of HTTP/1.1 went over it for a request
            let sent: u64 = rows.iter().map(|row| row.bytes_sent).sum();
            let received: u64 = rows.iter().map(|row| row.bytes_received).sum();
            match record.case.protocol {
                Protocol::Http => assert_eq!((sent, received), (record.bytes_sent, record.bytes_received), "{tag}"),
                Protocol::Grpc => assert!(sent <= record.bytes_sent && received <= record.bytes_received, "{tag}"),
            }
            assert!(rows.iter().all(|row| row.bytes_sent > 12 && row.bytes_received > 12), "{tag}");
            let ends: BTreeSet<u32> = rows.iter().map(|row| row.process).collect();
            assert_eq!(ends, (0..record.case.processes).collect(), "{tag}");
        }
    }
}

#[test]
fn requests_that_share_a_connection_tell_their_own_bytes() {
    let matrix = "batch_sizes = [1]\nprotocols = [\"grpc\"]\nconcurrency = [8]\nconnections = [2]";
    let case = case("", matrix, "iterations = 80");
    let output = case.command(&["--requests"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let (records, requests) = agreeing(&case.newest().unwrap());
    check_latencies(&records[0], &requests);
    requests.iter().for_each(check_order);
    let connections: BTreeSet<u32> = requests.iter().map(|row| row.connection).collect();
    assert_eq!(connections, BTreeSet::from([0, 1]));
    assert!(requests.iter().all(|row| row.sent_us.is_none() && row.head_us.is_some()));
    // the body: a message with its prefix, the same for all as their content is
    let bytes: BTreeSet<(u64, u64)> = requests.iter().map(|row| (row.bytes_sent, row.bytes_received)).collect();
    assert_eq!(bytes.len(), 1, "{bytes:?}");
    let (sent, received) = bytes.into_iter().next().unwrap();
    assert!(sent > 12 && received > 12 && sent * 80 < records[0].bytes_sent, "{sent}, {received}");
}

#[test]
fn requests_without_a_good_answer_have_rows_with_their_kind() {
    let failing = "parameters { key: \"error_share\" value { string_value: \"0.2\" } }";
    for load in ["iterations = 60", "iterations = 60\nrate = [600]"] {
        let case =
            case(failing, "batch_sizes = [1]\nprocesses = [2]\nconcurrency = [2]", &format!("{load}\nblocks = 2"));
        let output = case.command(&["--requests"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        let (records, requests) = agreeing(&case.newest().unwrap());
        for record in &records {
            assert!(record.status == Status::Errors && record.errors > 0, "{record:?}");
            check_latencies(record, &requests);
            let tag = record.case.tag();
            let failed: Vec<&RequestRow> =
                requests.iter().filter(|row| row.case == tag && row.status != "ok").collect();
            // what failed requests took, from their start
            let took: u64 = failed.iter().map(|row| between(row.start_us, row.done_us)).sum();
            assert_eq!(record.errors_s, Some(rounded(took as f64 / 1e9)), "{tag}");
        }
        requests.iter().for_each(check_order);
    }
}

#[test]
fn requests_for_which_no_connection_could_be_made_have_rows() {
    let slow = "parameters { key: \"service_time\" value { string_value: \"constant 2ms\" } }";
    let case = case(slow, "batch_sizes = [1]\nprotocols = [\"http\"]", "iterations = 2000\nblocks = 10");
    // a long one: processes stay from block to block
    let scenario = fs::read_to_string(case.path("echo.toml")).unwrap();
    fs::write(case.path("echo.toml"), scenario.replace("warmup = 3", "warmup = 60")).unwrap();
    let (mut server, http, grpc) = case.other_server();
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command
        .arg(case.path("echo.toml"))
        .args(["--http", &http, "--grpc", &grpc, "--requests", "--quiet", "--results"]);
    let child = command.arg(case.path("results")).stdout(Stdio::null()).spawn().unwrap();
    let run = under_way(&case, 2);
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(1));
    let (records, requests) = agreeing(&run);
    let refused: Vec<&RequestRow> = requests.iter().filter(|row| row.status == "connect").collect();
    assert!(records[0].status == Status::Failed && refused.len() >= 10, "{records:?}");
    requests.iter().for_each(check_order);
    assert!(refused.iter().all(|row| row.sent_us.is_none() && row.head_us.is_none()), "{refused:?}");
    // the first finds out that its connection is closed, and those after it have none
    assert_eq!(refused.iter().filter(|row| row.distinct.is_some()).count(), 1, "{refused:?}");
}

#[test]
fn nobody_who_does_not_ask_for_it_gets_the_file() {
    let case = case("", "batch_sizes = [1]", "iterations = 10");
    let output = case.command(&[]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(!case.newest().unwrap().join(REQUESTS).exists());
    assert!(case.records().iter().all(|record| record.requests_logged.is_none()));
    let output = case.command(&["--requests", "--list"]).output().unwrap();
    assert!(output.status.code() == Some(2) && text(&output).contains("cannot be used with"), "{}", text(&output));
}

#[test]
fn a_run_that_goes_on_has_each_request_once() {
    for name in ["-INT", "-KILL"] {
        let case = slow_case();
        let child = case.command(&["--quiet", "--requests"]).spawn().unwrap();
        // in the second of four groups
        let run = under_way(&case, 25);
        signal(name, child.id());
        child.wait_with_output().unwrap();
        let before = fs::read(run.join(REQUESTS)).unwrap();
        if name == "-KILL" {
            // as a crash of the machine leaves them: each file ends within its last line
            for name in [RECORDS, BLOCKS, HISTOGRAMS, RESUME, REQUESTS] {
                let bytes = fs::read(run.join(name)).unwrap();
                fs::write(run.join(name), &bytes[..bytes.len() - 7]).unwrap();
            }
        }
        // it is asked for by the run's own command line
        let output = resume(&run, &["--quiet"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output));
        check_whole(&run);
        let (records, requests) = agreeing(&run);
        assert_eq!(records.iter().map(|record| record.requests).sum::<u64>(), requests.len() as u64, "{name}");
        records.iter().for_each(|record| check_latencies(record, &requests));
        let first: Vec<u8> = before.split_inclusive(|byte| *byte == b'\n').take(1000).flatten().copied().collect();
        // a torn row has its group measured again
        let stays = fs::read(run.join(REQUESTS)).unwrap().starts_with(&first);
        assert!(stays || name == "-KILL", "{name}: what was measured stays");
    }
}

#[test]
fn rows_of_a_block_that_did_not_count_are_taken_out() {
    let case = slow_case();
    let child = case.command(&["--quiet", "--requests"]).spawn().unwrap();
    let run = under_way(&case, 25);
    signal("-KILL", child.id());
    child.wait_with_output().unwrap();
    // as if it had been killed after the rows of a block and before the block itself was on disk, and within the next one's
    let requests = fs::read_to_string(run.join(REQUESTS)).unwrap();
    let tag = read::<BlockRecord>(&run.join(BLOCKS)).unwrap().last().unwrap().case.tag();
    let more: String = (0..10)
        .map(|number| format!("{tag},99,0,{number},,1.000,1.500,,2.000,ok,1,1,0,0\n"))
        .collect();
    fs::write(run.join(REQUESTS), format!("{requests}{more}{tag},99,1,0,,1.0")).unwrap();
    let output = resume(&run, &["--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    check_whole(&run);
    agreeing(&run);
}
