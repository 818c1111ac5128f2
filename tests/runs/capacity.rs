//! Searches for the highest load within bounds, against models whose service time is known.

use std::collections::HashSet;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use runner::record::{BLOCKS, BlockRecord, COMPARISONS, RECORDS, Record, Status, read};

use crate::case::{Case, signal, text};

const SERVICE: &str = "parameters { key: \"service_time\" value { string_value: \"constant 10ms\" } }";

fn scenario(more: &str) -> String {
    format!("title = \"Capacity\"\n[model]\nname = \"echo\"\n[matrix]\n{more}")
}

/// The row of the only case, and all blocks.
fn searched(case: &Case, options: &[&str]) -> (Record, Vec<BlockRecord>, String) {
    let output = case.command(options).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let rows = case.records();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    (row.clone(), read(&case.newest().unwrap().join(BLOCKS)).unwrap(), text(&output))
}

#[test]
fn a_capacity_is_at_most_what_the_server_can_serve_and_every_try_is_on_file() {
    let case = Case::new(SERVICE, &scenario("protocols = [\"http\"]\n[load]\nprecision = \"25%\""));
    let output = case
        .command(&["--capacity", "p50<20ms,errors<1%", "--max-seconds", "30"])
        .output()
        .unwrap();
    let (rows, told) = (case.records(), text(&output));
    let [row] = &rows[..] else { panic!("{rows:?}") };
    // a machine that is busy elsewhere may not let it know
    match row.status {
        Status::Ok => {
            let ends = [row.capacity_low_per_s, row.capacity_per_s, row.capacity_high_per_s];
            assert!(ends.iter().any(Option::is_some) && ends.iter().flatten().is_sorted(), "{row:?}");
            // one request after the other, 10 ms each
            assert!(ends[0].is_none_or(|low| 0.0 < low && low <= 100.0), "{row:?}");
        }
        _ => assert!(row.reason.contains("is not known after"), "{row:?}"),
    }
    let blocks: Vec<BlockRecord> = read(&case.newest().unwrap().join(BLOCKS)).unwrap();
    assert_eq!(row.capacity_bound, "p50_ms <= 20, errors <= 0.01");
    assert_eq!((row.mean_ms, row.requests_per_s, row.case.rate), (None, None, None));
    assert_eq!((row.blocks as usize, blocks[0].case.rate), (blocks.len(), Some(1.0)));
    assert_eq!(row.requests, blocks.iter().map(|block| block.requests).sum::<u64>());
    for block in &blocks {
        let held = block.bound_requests.unwrap();
        assert!(block.case.rate.is_some() && held <= block.requests + block.errors, "{block:?}");
        assert!(block.bound_broken.of("p50_ms") <= held && block.bound_broken.of("errors") == 0, "{block:?}");
    }
    assert!(told.contains("| Capacity (requests/s) |") && told.contains("p50 within 20 ms"), "{told}");
    let html = fs::read_to_string(case.newest().unwrap().join("report.html")).unwrap();
    assert!(html.contains("Every load that was tried") && html.contains("bound, 20 ms"));
}

#[test]
fn a_range_without_the_capacity_says_on_which_side_it_is() {
    // no answer takes 20 s, and none 1 ms
    for (bound, range, expected) in
        [("p50_ms = 20000", "from = 4\nto = 16", (Some(16.0), None)), ("p99_ms = 1", "from = 5", (None, Some(5.0)))]
    {
        let more =
            format!("protocols = [\"grpc\"]\n[capacity]\nbound = {{{bound}}}\n{range}\nbudget_s = 30\nblock_s = 1");
        let case = Case::new(SERVICE, &scenario(&more));
        // latencies are over loads beyond it, and no reason to end with 99
        let (row, _, told) = searched(&case, &["--assert", "p95_ms < 0.001", "--assert", "capacity_per_s > 4"]);
        assert_eq!((row.capacity_low_per_s, row.capacity_high_per_s), expected);
        assert_eq!(row.capacity_per_s, None);
        assert!(told.contains("that was tried") && told.contains("not judged: p95_ms"), "{told}");
        if expected.1.is_some() {
            let broken = case.command(&["--assert", "capacity_per_s > 10"]).output().unwrap();
            assert_eq!(broken.status.code(), Some(99), "{}", text(&broken));
        }
    }
}

#[test]
fn requests_in_flight_are_searched_too() {
    let more = "protocols = [\"http\"]\n[capacity]\nbound = {p50_ms = 20000}\nover = \"concurrency\"\nto = 4\nbudget_s = 30\nblock_s = 0.5";
    let case = Case::new(SERVICE, &scenario(more));
    let (row, blocks, _) = searched(&case, &[]);
    let tried: Vec<u32> = blocks.iter().map(|block| block.case.concurrency).collect();
    // the most is tried until it is sure
    assert!(tried.starts_with(&[1, 2, 4]) && tried[3..].iter().all(|count| *count == 4), "{tried:?}");
    assert_eq!((row.capacity_per_s, row.capacity_concurrency, row.case.concurrency), (None, None, 1));
    assert!(row.capacity_low_per_s.is_some_and(|rate| rate > 0.0 && rate <= 101.0), "{row:?}");
}

#[test]
fn a_capacity_in_requests_in_flight_has_a_throughput_with_an_interval() {
    // one request after the other, 10 ms each: two in flight take 20 ms
    let more = "protocols = [\"http\"]\n[capacity]\nbound = {p50_ms = 25}\nover = \"concurrency\"\nto = 8\nbudget_s = 30\nblock_s = 0.5";
    let case = Case::new(SERVICE, &scenario(more));
    case.command(&[]).output().unwrap();
    let rows = case.records();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    // a machine that is busy elsewhere may not let it know
    match (row.status, row.capacity_concurrency) {
        (Status::Ok, Some(most)) => {
            let ends = [row.capacity_low_per_s, row.capacity_per_s, row.capacity_high_per_s].map(Option::unwrap);
            assert!(most <= 2 && ends.is_sorted() && ends[1] <= 101.0, "{row:?}");
        }
        (Status::Ok, None) => assert!(row.capacity_per_s.is_none(), "{row:?}"),
        _ => assert!(row.reason.contains("is not known after"), "{row:?}"),
    }
}

#[test]
fn compared_cases_are_searched_side_by_side_and_a_search_goes_on_where_it_was() {
    let more = "[capacity]\nbound = {p99_ms = 1}\nfrom = 5\nbudget_s = 60\nblock_s = 1";
    let case = Case::new(SERVICE, &scenario(more));
    let child = case.command(&["--quiet"]).spawn().unwrap();
    let run = (0..6000).find_map(|_| {
        sleep(Duration::from_millis(10));
        let run = case.newest()?;
        let written = fs::read_to_string(run.join(BLOCKS)).ok()?;
        (written.lines().count() > 6).then_some(run)
    });
    let run = run.expect("no block within a minute");
    signal("-KILL", child.id());
    child.wait_with_output().unwrap();
    let before: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();

    let mut resume = Command::new(env!("CARGO_BIN_EXE_runner"));
    let output = resume.arg("--resume").arg(&run).arg("--quiet").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let after: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();
    assert_eq!(after[..before.len() - 1], before[..before.len() - 1], "what was measured stays");
    let rows: Vec<Record> = read(&run.join(RECORDS)).unwrap();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        // eight tries say that even the lowest rate breaks the bound
        assert_eq!((row.status, row.capacity_high_per_s, row.blocks), (Status::Ok, Some(5.0), 8), "{row:?}");
    }
    let named = after.iter().map(|block| (block.case.tag(), block.block)).collect::<HashSet<_>>();
    assert_eq!((named.len(), after.len()), (16, 16));
    let pairs = fs::read_to_string(run.join(COMPARISONS)).unwrap();
    assert!(pairs.contains("capacity_per_s"), "{pairs}");
}
