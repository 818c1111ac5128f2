//! The exact output of reports: every mark, of runs whose numbers are chosen for it. `UPDATE_GOLDEN=1` writes the
//! golden files again; read them before committing.

use std::fs;
use std::path::{Path, PathBuf};

use runner::matrix::{Arm, AxisId, Point, Protocol};
use runner::record::{self, BLOCKS, BlockRecord, MANIFEST, RECORDS, Record, Status};
use runner::report::markdown::section;
use runner::report::{Run, Style};
use runner::report::{comparisons, html};

/// A committed run, whose manifest the made-up runs use.
const COMMITTED: &str = "results/scrfd/2026-11-25T113021Z";
const BLOCKS_A_CASE: u32 = 10;

/// A case whose numbers are made up.
struct Case {
    point: Point,
    mean_ms: f64,
    /// How far its blocks differ from that, as a fraction of it.
    spread: f64,
    requests: u64,
    status: Status,
}

fn case(point: Point, mean_ms: f64) -> Case {
    Case { point, mean_ms, spread: 1e-4, requests: 1000, status: Status::Ok }
}

fn of(protocol: Protocol, batch_size: u32) -> Point {
    Point { protocol, batch_size, ..Point::default() }
}

impl Case {
    /// The rows of the case and of its blocks. Seven and ten have no common factor, so all blocks differ.
    fn rows(&self) -> (Record, Vec<BlockRecord>) {
        let measured = self.status == Status::Ok;
        let number = |value: f64| measured.then_some(value);
        let rate = 1e3 / self.mean_ms;
        let record = Record {
            case: self.point.clone(),
            model: "made_up".to_owned(),
            status: self.status,
            reason: if measured { String::new() } else { "the worker ended".to_owned() },
            requests: if measured { self.requests } else { 0 },
            mean_ms: number(self.mean_ms),
            p95_ms: number(2.0 * self.mean_ms),
            p99_ms: number(3.0 * self.mean_ms),
            effective_requests: number(self.requests as f64),
            requests_per_s: number(rate),
            inferences_per_s: number(rate * f64::from(self.point.batch_size)),
            blocks: if measured { BLOCKS_A_CASE } else { 0 },
            ..Record::default()
        };
        let block = |block: u32| {
            let place = f64::from((block * 7 + self.mean_ms as u32) % BLOCKS_A_CASE) - 4.5;
            let mean_ms = self.mean_ms * (1.0 + self.spread * place / 4.5);
            let requests = self.requests / u64::from(BLOCKS_A_CASE);
            BlockRecord {
                case: self.point.clone(),
                block,
                requests,
                mean_ms: Some(mean_ms),
                p95_ms: Some(2.0 * mean_ms),
                duration_s: mean_ms * requests as f64 / 1e3,
                requests_per_s: Some(1e3 / mean_ms),
                ..BlockRecord::default()
            }
        };
        (record, if measured { (0..BLOCKS_A_CASE).map(block).collect() } else { Vec::new() })
    }
}

/// A run of some cases, in a folder that a report may name.
fn run(folder: &Path, compare: AxisId, cases: &[Case]) -> Run {
    fs::create_dir_all(folder).unwrap();
    for case in cases {
        let (record, blocks) = case.rows();
        record::append(&folder.join(RECORDS), &record).unwrap();
        record::append_all(&folder.join(BLOCKS), &blocks).unwrap();
    }
    let mut manifest = record::read_manifest(Path::new(COMMITTED)).unwrap();
    "Made Up".clone_into(&mut manifest.title);
    manifest.cases = cases.len();
    manifest.compare = Some(compare.axis().column.to_owned());
    manifest.counts = None;
    record::write_json(&folder.join(MANIFEST), &manifest).unwrap();
    Run::open(folder).unwrap()
}

/// Compares a run's report with the golden file.
fn check(name: &str, compare: AxisId, cases: &[Case]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join(name), compare, cases);
    let place = folder.path().display().to_string();
    let text = section(&run, Style::default()) + "\n" + &comparisons::text(&run).unwrap();
    let text = text.replace(&place, "results");
    let golden = PathBuf::from(format!("tests/tables/{name}.md"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&golden).unwrap_or_default(), "{name}");
    text
}

#[test]
fn best_equal_undecided_too_few_and_failed() {
    use Protocol::{Grpc, Http};
    let cases = [
        case(of(Http, 1), 10.0),
        case(of(Grpc, 1), 5.0),
        case(of(Http, 2), 20.0),
        case(of(Grpc, 2), 20.02),
        Case { spread: 0.3, ..case(of(Http, 4), 40.0) },
        Case { spread: 0.2, ..case(of(Grpc, 4), 41.0) },
        Case { requests: 100, ..case(of(Http, 8), 81.0) },
        Case { requests: 100, ..case(of(Grpc, 8), 60.0) },
        case(of(Http, 16), 160.0),
        Case { status: Status::Failed, ..case(of(Grpc, 16), 1.0) },
    ];
    let text = check("marks", AxisId::Protocol, &cases);
    for row in [
        "| 1 | gRPC | **5.000** | **10.00** |",
        "| 2 | HTTP | 20.00 | 40.00 |",
        "| 4 | gRPC | 41.00 | 82.00 |",
        "| 8 | gRPC | **60.00** | 120.0 |",
        "| 16 | gRPC | failed | failed |",
    ] {
        assert!(text.contains(row), "{row}");
    }
}

#[test]
fn one_process_and_three_are_columns() {
    let with = |protocol, processes| Point { processes, ..of(protocol, 8) };
    let cases = [
        case(with(Protocol::Http, 1), 10.0),
        case(with(Protocol::Grpc, 1), 9.0),
        case(with(Protocol::Http, 3), 31.0),
        case(with(Protocol::Grpc, 3), 33.0),
    ];
    let text = check("processes", AxisId::Protocol, &cases);
    let head = "| Batch Size | Protocol | Mean Latency (ms) | P95 Latency (ms) | Concurrent (3 processes) Mean (ms) \
                | Concurrent (3 processes) P95 (ms) |\n|---:|---|---:|---:|---:|---:|\n";
    assert!(text.contains(head), "{text}");
}

#[test]
fn an_open_loop_has_response_times() {
    let with = |protocol| Point { rate: Some(50.0), concurrency: 64, connections: 64, ..of(protocol, 1) };
    let cases = [case(with(Protocol::Http), 10.0), case(with(Protocol::Grpc), 12.0)];
    let text = check("open_loop", AxisId::Protocol, &cases);
    assert!(text.contains("50 requests/s, at most 64 in flight in each process:"), "{text}");
}

#[test]
fn of_three_values_the_best_is_faster_than_both_others() {
    let with = |concurrency| Point { concurrency, connections: concurrency, ..of(Protocol::Grpc, 1) };
    let cases = [case(with(1), 10.0), case(with(2), 8.0), case(with(4), 8.01)];
    let text = check("three_values", AxisId::Concurrency, &cases);
    assert!(text.contains("| 1 | gRPC | 2 | 8.000 | 16.00 |"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let cases = [case(with(1), 10.0), case(with(2), 8.0), case(with(4), 7.0)];
    let better = section(&run(folder.path(), AxisId::Concurrency, &cases), Style::default());
    assert!(better.contains("| 1 | gRPC | 4 | **7.000** | **14.00** |"), "{better}");
    assert!(better.contains("| 1 | gRPC | 2 | 8.000 | 16.00 |"), "{better}");
}

#[test]
fn a_heading_says_what_its_table_has_in_common_and_not_what_it_compares() {
    let with =
        |rate, concurrency| Point { rate: Some(rate), concurrency, connections: concurrency, ..of(Protocol::Grpc, 1) };
    let cases =
        [case(with(50.0, 8), 10.0), case(with(50.0, 64), 9.0), case(with(100.0, 8), 20.0), case(with(100.0, 64), 12.0)];
    let text = check("two_rates", AxisId::Concurrency, &cases);
    for heading in ["\n50 requests/s:\n", "\n100 requests/s:\n"] {
        assert!(text.contains(heading), "{text}");
    }
}

#[test]
fn a_case_that_is_compared_with_nothing_is_not_best() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [case(of(Protocol::Http, 1), 10.0), case(of(Protocol::Http, 2), 20.0)];
    let text = section(&run(folder.path(), AxisId::Protocol, &cases), Style::default());
    assert!(text.contains("| 1 | HTTP | 10.00 | 20.00 |") && !text.contains("**1"), "{text}");
}

#[test]
fn two_equal_variants_count_what_is_wrong() {
    let with = |arm| Point { arm: Some(arm), ..of(Protocol::Http, 1) };
    let text = check("equal_variants", AxisId::Arm, &[case(with(Arm::A), 10.0), case(with(Arm::B), 9.0)]);
    assert!(text.contains("of 2 compared numbers 2 are called different, which is wrong"), "{text}");
}

/// Two protocols, twenty batch sizes, ten process counts, five numbers in flight.
fn two_thousand() -> Vec<Case> {
    let mut cases = Vec::new();
    for concurrency in [1, 2, 4, 8, 16] {
        for processes in 1..=10 {
            for batch_size in 1..=20 {
                for protocol in [Protocol::Http, Protocol::Grpc] {
                    let off = if protocol == Protocol::Http { 1.0 } else { 0.9 };
                    let point = Point { processes, concurrency, connections: concurrency, ..of(protocol, batch_size) };
                    cases.push(case(point, off * f64::from(batch_size * processes) + f64::from(concurrency)));
                }
            }
        }
    }
    cases
}

#[test]
fn a_large_run_is_one_file_of_bounded_size_that_has_every_case() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(&folder.path().join("large"), AxisId::Protocol, &two_thousand());
    let document = html::document(std::slice::from_ref(&run));
    assert!(document.len() < 3_000_000, "{}", document.len());
    assert_eq!(run.records.len(), 2000);
    for record in &run.records {
        assert!(document.contains(&format!(">{}</th>", record.case.tag())), "{}", record.case.tag());
    }
    assert!(document.contains("of 1000") && document.matches("<svg").count() < 80);
    // `RUNNER_KEEP_REPORT=FILE` keeps it, to be looked at in a browser
    if let Some(file) = std::env::var_os("RUNNER_KEEP_REPORT") {
        fs::write(file, document).unwrap();
    }
}

#[test]
fn text_from_outside_is_text_in_html() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [case(of(Protocol::Http, 1), 10.0), case(of(Protocol::Grpc, 1), 5.0)];
    let path = folder.path().join("hostile");
    run(&path, AxisId::Protocol, &cases);
    let evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\u{1b}[31m\"'&";
    let mut manifest = record::read_manifest(&path).unwrap();
    for field in [&mut manifest.title, &mut manifest.server, &mut manifest.server_version, &mut manifest.model] {
        evil.clone_into(field);
    }
    manifest.targets.clear();
    manifest.client.cpu = Some(evil.to_owned());
    record::write_json(&path.join(MANIFEST), &manifest).unwrap();
    fs::write(path.join("scenario.toml"), evil).unwrap();
    let document = html::document(&[Run::open(&path).unwrap()]);
    let own = document.matches("<script>").count();
    assert_eq!((own, document.matches("<img").count()), (1, 0), "{document}");
    assert!(!document.contains('\u{1b}') && document.contains("&lt;script&gt;"));
    assert!(!document.contains("<link") && !document.contains("@import") && !document.contains("href=\"http"));
}
