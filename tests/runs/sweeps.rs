//! Sweeps that end where a bound is broken, and answers within a time.

use std::fs;

use runner::record::{BLOCKS, BlockRecord, RECORDS, Record, Status, read};

use crate::case::{CONFIG, Case, signal, text};
use crate::resume::{resume, under_way};

fn service(time: &str) -> String {
    let instances = "instance_group [ { count: 4 kind: KIND_CPU } ]";
    format!("{instances} parameters {{ key: \"service_time\" value {{ string_value: \"constant {time}\" }} }}")
}

fn scenario(matrix: &str, load: &str) -> String {
    format!(
        "title = \"Sweep\"\n[model]\nname = \"echo\"\n[matrix]\nprotocols = [\"http\"]\n{matrix}\n[load]\nwarmup = 1\n{load}"
    )
}

#[test]
fn loads_beyond_one_that_breaks_a_bound_are_skipped_and_rows_say_how() {
    // no answer takes 1 ms, and none 20 s
    for (most_ms, statuses, share) in
        [(1, [Status::Ok, Status::Skipped, Status::Skipped], 0.0), (20_000, [Status::Ok; 3], 1.0)]
    {
        let load =
            format!("iterations = 20\nsweep_until = {{p99_ms = {most_ms}, errors = 0.5}}\ngoodput_ms = {most_ms}");
        let case = Case::new(&service("5ms"), &scenario("concurrency = \"1..4\"", &load));
        let output = case.command(&[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let rows = case.records();
        assert_eq!(rows.iter().map(|row| row.status).collect::<Vec<_>>(), statuses, "{rows:?}");
        let first = &rows[0];
        assert_eq!((first.goodput_share, first.goodput_ms), (Some(share), Some(f64::from(most_ms))));
        let rate = first.requests_per_s.unwrap() * share;
        assert!((first.goodput_per_s.unwrap() - rate).abs() < 0.01, "{first:?}");
        let blocks: Vec<BlockRecord> = read(&case.newest().unwrap().join(BLOCKS)).unwrap();
        for block in &blocks {
            let late = if share == 0.0 { block.requests } else { 0 };
            assert_eq!((block.bound_requests, block.bound_broken.of("p99_ms")), (Some(block.requests), late));
        }
        for row in rows.iter().filter(|row| row.status == Status::Skipped) {
            let words = "with 1 in flight 100.00 % of the requests broke p99 within 1 ms (sweep_until)";
            assert_eq!((row.reason.as_str(), row.mean_ms), (words, None));
        }
        assert!(text(&output).contains("Goodput (requests/s)"), "{}", text(&output));
    }
}

#[test]
fn a_case_that_fails_ends_its_sweep() {
    let load = "iterations = 20\nmax_error_share = 0.1\nsweep_until = {p99_ms = 20000}";
    let failing = "parameters { key: \"error_share\" value { string_value: \"0.6\" } }";
    let case = Case::new(failing, &scenario("concurrency = \"1..4\"", load));
    let output = case.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let rows = case.records();
    assert_eq!(
        rows.iter().map(|row| row.status).collect::<Vec<_>>(),
        [Status::Failed, Status::Skipped, Status::Skipped]
    );
    assert_eq!(rows[1].reason, "with 1 in flight the case failed (sweep_until)");
    // the model is mended: what was skipped because of it is no more
    let config = case.path("models/echo/config.pbtxt");
    fs::write(&config, fs::read_to_string(&config).unwrap().replace("\"0.6\"", "\"0\"")).unwrap();
    let output = resume(&case.newest().unwrap(), &["--quiet", "--resume-anyway"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(case.records().iter().map(|row| row.status).collect::<Vec<_>>(), [Status::Ok; 3]);
}

#[test]
fn a_group_of_which_a_sweep_skips_a_part_goes_on_where_it_was() {
    let load = "iterations = 12\nblocks = 12\nsweep_until = {p99_ms = 400}";
    let case = Case::new(&service("200ms"), &scenario("models = [\"echo\", \"slow\"]\nconcurrency = [1, 2]", load));
    fs::create_dir_all(case.path("models/slow")).unwrap();
    fs::write(case.path("models/slow/config.pbtxt"), format!("{CONFIG}{}", service("500ms"))).unwrap();
    let child = case.command(&["--quiet"]).spawn().unwrap();
    // some blocks of the only case that is left of the second group
    let run = under_way(&case, 2 * 12 + 4);
    signal("-KILL", child.id());
    child.wait_with_output().unwrap();
    let before: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();
    let output = resume(&run, &["--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let after: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();
    let kept = before.len() - 1;
    assert_eq!((&after[..kept], after.len()), (&before[..kept], 3 * 12), "what was measured stays");
    let rows: Vec<Record> = read(&run.join(RECORDS)).unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.case.model.as_deref().unwrap(), row.case.concurrency, row.status))
        .collect();
    let expected =
        [("echo", 1, Status::Ok), ("slow", 1, Status::Ok), ("echo", 2, Status::Ok), ("slow", 2, Status::Skipped)];
    assert_eq!(found, expected, "{rows:?}");
}
