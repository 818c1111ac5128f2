//! Runs that searched for capacities, whose numbers are chosen: beside each other, over time, and what is said of compared cases.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use runner::record::{self, BLOCKS, MANIFEST, Manifest, RECORDS, Record};

const COMMITTED: &str = "results/scrfd_batching/2026-12-01T035308Z";

/// A capacity and the ends of its interval.
type Capacity = [Option<f64>; 3];

fn known(value: f64, low: f64, high: f64) -> Capacity {
    [value, low, high].map(Some)
}

fn at_least(low: f64) -> Capacity {
    [None, Some(low), None]
}

fn below(high: f64) -> Capacity {
    [None, None, Some(high)]
}

/// A copy of the committed run with other capacities of its two cases.
fn run(folder: &Path, name: &str, capacities: [Capacity; 2], change: impl Fn(&mut Manifest)) -> PathBuf {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    let path = folder.join(name);
    fs::create_dir_all(&path).unwrap();
    let rows: Vec<Record> = record::read(&committed.join(RECORDS)).unwrap();
    for (mut row, capacity) in rows.into_iter().zip(capacities) {
        [row.capacity_per_s, row.capacity_low_per_s, row.capacity_high_per_s] = capacity;
        record::append(&path.join(RECORDS), &row).unwrap();
    }
    fs::copy(committed.join(BLOCKS), path.join(BLOCKS)).unwrap();
    let mut manifest = record::read_manifest(&committed).unwrap();
    change(&mut manifest);
    record::write_json(&path.join(MANIFEST), &manifest).unwrap();
    path
}

/// The exit code, and all that was printed.
fn runner(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
}

fn bounds(bounds: &[&str]) -> impl Fn(&mut Manifest) {
    move |manifest| manifest.capacity.as_mut().unwrap().bounds = bounds.iter().map(ToString::to_string).collect()
}

#[test]
fn two_runs_are_compared_by_their_capacities_and_by_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let same = known(400.0, 390.0, 410.0);
    run(folder, "base", [same, same], |_| {});
    let new = run(folder, "new", [known(500.0, 480.0, 520.0), same], |_| {});
    // of the requests beyond a capacity many fail, and not all of their bytes are sent
    let mut rows: Vec<Record> = record::read(&new.join(RECORDS)).unwrap();
    (rows[0].requests, rows[0].errors) = (rows[0].requests - 3000, 4000);
    fs::remove_file(new.join(RECORDS)).unwrap();
    rows.iter().for_each(|row| record::append(&new.join(RECORDS), row).unwrap());

    let (code, shown) = runner(folder, &["compare", "base", "new", "--fail-if", "capacity < -5%"]);
    assert_eq!(code, Some(0), "{shown}");
    let more = "400.0 (390.0 to 410.0) → 500.0 (480.0 to 520.0) | **25 % more requests a second (19 to 31 %)** |";
    assert!(shown.contains(more), "{shown}");
    assert!(shown.contains("- Compared is the highest rate with p99 within 1000 ms; latencies"), "{shown}");
    assert!(!shown.contains("Mean") && !shown.contains("P95") && !shown.contains("Not compared"), "{shown}");
    for (base, new, gate, expected) in [
        ("base", "new", "capacity > 20%", 99),
        ("base", "new", "capacity > 30%", 0),
        ("new", "base", "capacity < -5%", 99),
        ("new", "base", "capacity < -25%", 0),
        ("base", "base", "capacity < -0%", 0),
    ] {
        let (code, shown) = runner(folder, &["compare", base, new, "--fail-if", gate]);
        assert_eq!(code, Some(expected), "{gate}: {shown}");
    }
    let (_, shown) = runner(folder, &["compare", "new", "base", "--fail-if", "capacity < -5%"]);
    assert!(shown.contains(": capacity 20 % fewer requests a second (16 to 24 %).\n"), "{shown}");
    let (_, json) = runner(folder, &["compare", "base", "new", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let changes = json["changes"].as_array().unwrap();
    assert_eq!(changes.iter().map(|change| change["metric"].as_str().unwrap()).collect::<Vec<_>>(), ["capacity"; 2]);
    assert_eq!((&changes[0]["verdict"], &changes[0]["ratio"]), (&"faster".into(), &1.25.into()));
    assert_eq!(changes[0]["new_ends"], serde_json::json!([480.0, 520.0]));
}

#[test]
fn an_end_beyond_the_other_interval_decides_and_says_that_it_is_no_test() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let base = known(400.0, 390.0, 410.0);
    run(folder, "base", [base, base], |_| {});
    run(folder, "apart", [below(100.0), at_least(1000.0)], |_| {});
    run(folder, "unclear", [below(395.0), at_least(410.0)], |_| {});

    let (code, shown) = runner(folder, &["compare", "base", "apart", "--fail-if", "capacity < -5%"]);
    assert_eq!(code, Some(99), "{shown}");
    for expected in [
        "lower by at least a factor of 3.9, by the ends of the searches alone: base 400.0 (390.0 to 410.0) requests/s, new below 100.0 requests/s",
        "higher by at least a factor of 2.43, by the ends of the searches alone: base 400.0",
        " | 400.0 (390.0 to 410.0) → at least 1000 | **higher",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert_eq!(runner(folder, &["compare", "base", "apart", "--fail-if", "capacity < -80%"]).0, Some(0));
    let (code, shown) = runner(folder, &["compare", "base", "unclear", "--fail-if", "capacity < -0%"]);
    assert!(code == Some(0) && shown.matches("no answer: base 400.0 (390.0 to 410.0)").count() == 2, "{shown}");

    // and so between the cases of a run
    let (_, shown) = runner(folder, &["report", "apart"]);
    assert!(shown.contains("higher by at least a factor of 10"), "{shown}");
    let (_, rows) = runner(folder, &["report", "--section", "comparisons", "apart"]);
    assert!(rows.ends_with(",capacity_per_s,,,,10.0,,,,faster,,ends\n"), "{rows}");
    let (_, json) = runner(folder, &["report", "--json", "apart"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let answer = &json["runs"][0]["answers"][0];
    assert_eq!((&answer["verdict"], &answer["ratio_low"]), (&"faster".into(), &10.0.into()));
    assert!(answer["ratio"].is_null() && answer["ratio_high"].is_null(), "{answer}");
}

#[test]
fn what_is_not_the_same_search_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let both = [known(400.0, 390.0, 410.0); 2];
    run(folder, "base", both, bounds(&["p99_ms <= 50", "errors <= 0.01"]));
    run(folder, "other_order", both, bounds(&["errors <= 0.01", "p99_ms <= 50"]));
    run(folder, "other_bound", both, bounds(&["p99_ms <= 100"]));
    run(folder, "plain", both, |manifest| manifest.capacity = None);
    for (new, gate, expected) in [
        ("other_bound", "capacity < -5%", "cannot be compared, search both times within the same bounds"),
        (
            "plain",
            "capacity < -5%",
            "the base run searched for capacities, and the new one did not: compare two that did",
        ),
        ("base", "p95 > 5%", "--fail-if \"p95 > 5%\": p95 is asked for, and the runs searched for capacities"),
    ] {
        let (code, shown) = runner(folder, &["compare", "base", new, "--fail-if", gate]);
        assert!(code == Some(2) && shown.contains(expected), "{expected}: {shown}");
    }
    let (code, shown) = runner(folder, &["compare", "plain", "plain", "--fail-if", "capacity < -5%"]);
    assert!(code == Some(2) && shown.contains("the runs searched for none: measure with [capacity]"), "{shown}");
    assert_eq!(runner(folder, &["compare", "base", "other_order"]).0, Some(0));
}

#[test]
fn answers_have_the_ratio_that_comparisons_have() {
    let folder = tempfile::tempdir().unwrap();
    let path = run(folder.path(), "run", [known(400.0, 390.0, 410.0), known(500.0, 480.0, 520.0)], |_| {});
    let (_, json) = runner(folder.path(), &["report", "--json", path.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (answer, row) = (&json["runs"][0]["answers"][0], &json["runs"][0]["comparisons"][0]);
    assert_eq!((&answer["verdict"], &answer["ratio"]), (&"faster".into(), &1.25.into()));
    for name in ["ratio", "ratio_low", "ratio_high"] {
        let [answer, row] = [answer, row].map(|it| it[name].as_f64().unwrap());
        assert!((answer - row).abs() < 1e-5, "{name}: {answer} {row}");
    }
}

#[test]
fn a_history_of_searches_is_that_of_their_capacities() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for day in 1..=20_u32 {
        // up to 1 % from run to run
        let noise = 1.0 + 0.01 * (f64::from(day * 7 % 20) - 9.5) / 9.5;
        let capacity = |value: f64| known(value, 0.95 * value, 1.05 * value);
        let first = capacity(noise * if day < 10 { 400.0 } else { 480.0 });
        let second = if day == 18 { at_least(1000.0) } else { capacity(200.0 * noise) };
        let name = format!("results/scrfd_batching/2026-03-{day:02}T120000Z");
        run(folder, &name, [first, second], |manifest| {
            manifest.started = format!("2026-03-{day:02}T12:00:00Z").parse().unwrap();
            if day == 1 {
                bounds(&["p99_ms <= 100"])(manifest);
            }
        });
    }
    let (code, shown) = runner(folder, &["history", "scrfd_batching"]);
    assert_eq!(code, Some(0), "{shown}");
    for expected in [
        ": capacity of 19 runs\n",
        " since 2026-03-10T12:00:00.000Z (",
        " requests/s)",
        " | at least 1000 | ",
        "- Capacities over the rate with p99\\_ms \\<= 1000, in requests/s, with their 95 % intervals.\n",
        "- Where a search found one side alone (at least, below), the run is left out where changes are looked for.\n",
        "its capacity is another one (rate with p99\\_ms \\<= 100 instead of rate with p99\\_ms \\<= 1000).\n",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert_eq!(shown.matches("- **").count(), 1, "{shown}");
    // day 20: 7 * 20 % 20 is 0, and so 1 % less than 480
    assert!(shown.contains(" | 475.2 (451.4 to 499.0) | "), "{shown}");
    let (_, json) = runner(folder, &["history", "scrfd_batching", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["metric"], json["cases"][1]["ends"][16][0].as_f64()), (&"capacity".into(), Some(1000.0)));
    assert!(json["cases"][1]["values"][16].is_null());
    let (code, shown) = runner(folder, &["history", "scrfd_batching", "--metric", "p95"]);
    assert!(code == Some(2) && shown.contains("p95 is asked for, and the runs searched for capacities"), "{shown}");
    // a run that searched for nothing is of another series, whichever is asked for
    let plain = |manifest: &mut Manifest| manifest.capacity = None;
    run(folder, "results/scrfd_batching/2026-03-21T120000Z", [known(1.0, 1.0, 1.0); 2], plain);
    let (_, shown) = runner(folder, &["history", "scrfd_batching", "--metric", "capacity"]);
    assert!(shown.contains(": capacity of 19 runs\n"), "{shown}");
    let (_, shown) = runner(folder, &["history", "scrfd_batching"]);
    assert!(shown.contains(": mean of 1 run\n"), "{shown}");
}
