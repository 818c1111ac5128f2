//! Reports from the files of runs, and the command line around them.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use runner::matrix::Protocol;
use runner::record::{BLOCKS, BlockRecord, RECORDS, Record, append, read, read_manifest};
use runner::report::markdown::section;
use runner::report::{Run, Style};

fn runner(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap()
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_committed_documents_are_what_the_committed_results_give() {
    let documents = ["README.md", "results/REFERENCE.md"];
    let shown = documents.map(|document| fs::read_to_string(document).unwrap()).concat();
    documents.iter().for_each(|document| regenerated(document, &shown));
}

/// Makes a document again from the runs that `shown` names.
fn regenerated(document: &str, shown: &str) {
    let before = fs::read_to_string(document).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // runs of one's own lie beside the ones that it shows, and may be newer
    for rows in shown.lines().filter_map(|line| line.strip_prefix("- Rows: `")?.split('`').next()) {
        let run = Path::new(rows).parent().unwrap();
        fs::create_dir_all(folder.path().join(run)).unwrap();
        let files = fs::read_dir(run).unwrap().map(|file| file.unwrap().path());
        // pictures are drawn again
        for file in files.filter(|file| file.extension().is_none_or(|extension| extension != "svg")) {
            fs::copy(&file, folder.path().join(&file)).unwrap();
        }
    }
    // everything between the markers is taken out, so that nothing can be right by standing still
    let mut inside = false;
    let emptied: String = before
        .split_inclusive('\n')
        .filter(|line| {
            inside &= !line.starts_with("<!-- END: runner");
            let keep = !inside;
            inside |= line.starts_with("<!-- BEGIN: runner");
            keep
        })
        .collect();
    assert!(emptied.len() < before.len());
    let copy = folder.path().join(document);
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::write(&copy, emptied).unwrap();
    for _ in 0..2 {
        let output = runner(folder.path(), &["report", "--splice", document]);
        assert!(output.status.success(), "{}", words(&output));
        assert_eq!(fs::read_to_string(&copy).unwrap(), before);
    }
    let shown = before.lines().filter_map(|line| line.split("src=\"").nth(1)?.split('"').next());
    for picture in shown.filter(|path| path.starts_with("results/")) {
        assert_eq!(fs::read(folder.path().join(picture)).unwrap(), fs::read(picture).unwrap(), "{picture}");
    }
}

#[test]
fn what_is_said_of_compared_numbers_is_in_a_file_too() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for run in ["results/scrfd/2026-11-25T113021Z", "results/arcface/2026-11-25T113749Z"] {
        let output = runner(root, &["report", "--section", "comparisons", run]);
        assert!(output.status.success(), "{}", words(&output));
        let committed = fs::read_to_string(root.join(run).join("comparisons.csv")).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), committed);
        // and the table's ratios are the file's
        let table = String::from_utf8(runner(root, &["report", run]).stdout).unwrap();
        let of_mean = committed.lines().filter(|line| line.contains(",mean_ms,"));
        for columns in of_mean.map(|line| line.split(',').collect::<Vec<_>>()) {
            let [ratio, low, high] = [5, 6, 7].map(|column| columns[column].parse::<f64>().unwrap());
            assert!(table.contains(&format!("| {ratio:.3} ({low:.3} to {high:.3}) |")), "{columns:?}: {table}");
        }
    }
}

#[test]
fn a_run_without_histograms_is_compared_by_its_blocks_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let run = Path::new("results/arcface/2026-11-25T113749Z");
    let copy = folder.path().join("older");
    fs::create_dir(&copy).unwrap();
    for file in ["run.json", "records.csv", "blocks.csv"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(run).join(file), copy.join(file)).unwrap();
    }
    let rows =
        String::from_utf8(runner(folder.path(), &["report", "--section", "comparisons", "older"]).stdout).unwrap();
    let of = |metric: &str| rows.lines().filter(|line| line.contains(metric)).collect::<Vec<_>>();
    assert!(of(",mean_ms,").iter().all(|line| line.ends_with(",pooled")), "{rows}");
    assert!(of(",p95_ms,").iter().any(|line| line.ends_with(",blocks")), "{rows}");
    // a log that is cut off is not taken for the whole
    let log = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(run).join("histograms.hlog")).unwrap();
    fs::write(copy.join("histograms.hlog"), &log[..log.len() / 4]).unwrap();
    let torn = runner(folder.path(), &["report", "--section", "comparisons", "older"]).stdout;
    assert_eq!(String::from_utf8(torn).unwrap(), rows);
    let told = String::from_utf8(runner(folder.path(), &["report", "older"]).stdout).unwrap();
    assert!(told.contains("lack the blocks' histograms"), "{told}");
}

#[test]
fn a_document_with_broken_markers_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let document = folder.path().join("doc.md");
    let text = "<!-- BEGIN: runner report scrfd -->\nkept\n";
    fs::write(&document, text).unwrap();
    let output = runner(folder.path(), &["report", "--splice", "doc.md"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(fs::read_to_string(&document).unwrap() == text);
}

#[test]
fn a_run_tells_what_it_was_measured_on_and_with() {
    let (root, run) = (Path::new(env!("CARGO_MANIFEST_DIR")), "results/scrfd/2026-11-25T113021Z");
    for (section, expected) in [
        (
            "environment",
            &["### Environment Profile", "| CPU Cores |", "`nproc`", "| Load Average before the Run |"][..],
        ),
        ("docker", &["### Docker Environment", "| Server Version |"]),
        ("model", &["### Model Configuration: scrfd", r"input.1: FP32 \[3, 640, 640\]", "| Dynamic Batching |"]),
        ("parameters", &["### Benchmark Parameters: SCRFD Model", "| Batch Sizes | 1, 4, 8 |", "| Seed | 1 |"]),
        ("results", &["### SCRFD Model", "| Network, Front End (ms) |"]),
    ] {
        let output = runner(root, &["report", "--section", section, run]);
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        for line in expected {
            assert!(printed.contains(line), "{section}: {printed}{}", words(&output));
        }
    }
    let plain = String::from_utf8(runner(root, &["report", run]).stdout).unwrap();
    let with_ends = String::from_utf8(runner(root, &["report", "--intervals", run]).stdout).unwrap();
    assert!(with_ends.matches(" to ").count() > plain.matches(" to ").count(), "{with_ends}");
}

#[test]
fn what_a_marker_asks_for_in_vain_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (marker, expected) in [
        ("--section weather scrfd", "section \"weather\": there are results, environment"),
        ("--interval scrfd", "the option --interval: it may have"),
    ] {
        let text = format!("<!-- BEGIN: runner report {marker} -->\n<!-- END: runner report -->\n");
        fs::write(folder.path().join("doc.md"), text).unwrap();
        let output = runner(folder.path(), &["report", "--splice", "doc.md"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(words(&output).contains(expected), "{}", words(&output));
    }
}

#[test]
fn what_cannot_be_reported_says_why() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, expected) in [
        (&["report", "scrfd"][..], "there are no results in"),
        (&["report", "../x"], "is not a run's folder"),
        (&["report", "--splice", "none.md"], "cannot read none.md"),
        (&["scenarios/none.toml"], "the scenario file does not exist"),
        (&["models", "synth", "none"], "scrfd and arcface are built in"),
    ] {
        let output = runner(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(words(&output).contains(expected), "{arguments:?}: {}", words(&output));
    }
}

#[test]
fn the_plan_is_printed_and_nothing_is_sent() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = runner(root, &["scenarios/scrfd.toml", "--list", "--http", "127.0.0.1:1", "--grpc", "127.0.0.1:1"]);
    assert!(output.status.success(), "{}", words(&output));
    let plan = String::from_utf8(output.stdout).unwrap();
    assert!(plan.starts_with("SCRFD Model") && plan.contains("12 cases in 6 groups"), "{plan}");
}

#[test]
fn a_server_that_is_not_there_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/scrfd.toml");
    let options = ["--http", "127.0.0.1:1", "--grpc", "127.0.0.1:1"];
    let output = runner(folder.path(), &[&[scenario.to_str().unwrap()][..], &options].concat());
    assert_eq!(output.status.code(), Some(1));
    let error = words(&output);
    assert!(error.contains("127.0.0.1:1 (http) cannot be used") && error.contains("is the server up"), "{error}");
    assert!(!folder.path().join("results").exists());
}

/// The exact content of the tables: with three batch sizes, gRPC is faster, the same, and slower.
#[test]
fn the_faster_one_is_bold() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/scrfd/2026-11-25T113021Z");
    let folder = tempfile::tempdir().unwrap();
    let mean = |protocol, batch_size: u32| match (protocol, batch_size) {
        (Protocol::Grpc, 1) => 5.0,
        (Protocol::Grpc, 8) => 20.0,
        _ => 10.0,
    };
    for row in read::<Record>(&committed.join(RECORDS))
        .unwrap()
        .into_iter()
        .filter(|row| row.case.processes == 1)
    {
        let mean = mean(row.case.protocol, row.case.batch_size);
        let numbers = Record { mean_ms: Some(mean), p95_ms: Some(2.0 * mean), effective_requests: Some(1000.0), ..row };
        append(&folder.path().join(RECORDS), &numbers).unwrap();
    }
    for row in read::<BlockRecord>(&committed.join(BLOCKS))
        .unwrap()
        .into_iter()
        .filter(|row| row.case.processes == 1)
    {
        // blocks differ a little
        let mean = mean(row.case.protocol, row.case.batch_size) * (1.0 + f64::from(row.block * 3 % 10) / 1e4);
        let numbers = BlockRecord { mean_ms: Some(mean), p95_ms: Some(2.0 * mean), ..row };
        append(&folder.path().join(BLOCKS), &numbers).unwrap();
    }
    let mut manifest = read_manifest(&committed).unwrap();
    manifest.cases = 6;
    runner::record::write_json(&folder.path().join("run.json"), &manifest).unwrap();
    let text = section(&Run::open(folder.path()).unwrap(), Style::default());
    let table: Vec<&str> = text.lines().skip_while(|line| !line.starts_with('|')).take(8).collect();
    assert_eq!(
        table,
        [
            "| Batch Size | Protocol | Mean Latency (ms) | P95 Latency (ms) |",
            "|---:|---|---:|---:|",
            "| 1 | HTTP | 10.00 | 20.00 |",
            "| 1 | gRPC | **5.000** | **10.00** |",
            "| 4 | HTTP | 10.00 | 20.00 |",
            "| 4 | gRPC | 10.00 | 20.00 |",
            "| 8 | HTTP | **10.00** | **20.00** |",
            "| 8 | gRPC | 20.00 | 40.00 |",
        ],
        "{text}"
    );
}
