//! `runner compare`: two runs of a scenario that were measured at different times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use runner::record::{self, BLOCKS, BlockRecord, MANIFEST, RECORDS, Record};

const COMMITTED: &str = "results/scrfd/2026-11-25T113021Z";

/// A copy of the committed run, whose latencies are multiplied; blocks differ a little by chance of `seed`.
fn run(folder: &Path, name: &str, times: f64, seed: u32, change: impl Fn(&mut Record)) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).unwrap();
    let scaled = |value: Option<f64>| value.map(|value| value * times);
    for mut row in record::read::<Record>(&Path::new(COMMITTED).join(RECORDS)).unwrap() {
        (row.mean_ms, row.p50_ms, row.p95_ms) = (scaled(row.mean_ms), scaled(row.p50_ms), scaled(row.p95_ms));
        row.requests_per_s = row.requests_per_s.map(|rate| rate / times);
        change(&mut row);
        for block in 0..10 {
            let noise = 1.0 + 0.004 * (f64::from((block * 7 + seed * 13 + row.case.batch_size) % 10) - 4.5) / 4.5;
            let of = |value: Option<f64>| value.map(|value| value * noise);
            let row = BlockRecord {
                case: row.case.clone(),
                block,
                requests: 100,
                mean_ms: of(row.mean_ms),
                p50_ms: of(row.p50_ms),
                p95_ms: of(row.p95_ms),
                requests_per_s: row.requests_per_s.map(|rate| rate / noise),
                ..BlockRecord::default()
            };
            record::append(&path.join(BLOCKS), &row).unwrap();
        }
        record::append(&path.join(RECORDS), &row).unwrap();
    }
    record::write_json(&path.join(MANIFEST), &record::read_manifest(Path::new(COMMITTED)).unwrap()).unwrap();
    path
}

fn compare(base: &Path, new: &Path, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .arg("compare")
        .arg(base)
        .arg(new)
        .args(options)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_change_is_found_with_its_sign_and_a_gate_breaks_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let base = run(folder.path(), "base", 1.0, 1, |_| {});
    let same = run(folder.path(), "same", 1.0, 2, |_| {});
    let slower = run(folder.path(), "slower", 1.06, 3, |_| {});

    let output = compare(&base, &same, &["--fail-if", "p95 > 0%", "--fail-if", "throughput < -0%"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    assert!(printed(&output).contains("no difference of more than"), "{}", printed(&output));

    let output = compare(&base, &slower, &["--fail-if", "p95 > 5%"]);
    assert_eq!(output.status.code(), Some(99), "{}", printed(&output));
    assert!(
        printed(&output).contains("- **Broken**: p95 > 5%: HTTP, batch 1, 1 process: p95 6"),
        "{}",
        printed(&output)
    );
    // both numbers, and what throughput says
    let first = printed(&output)
        .lines()
        .find(|line| line.starts_with("| HTTP, batch 1, 1 process |"))
        .unwrap()
        .to_owned();
    assert!(first.starts_with("| HTTP, batch 1, 1 process | 187.9 → 199.2 | 202.5 → 214.7 | "), "{first}");
    assert!(first.ends_with(" | -5.7 % (-5.9 to -5.4 %) |"), "{first}");
    let output = compare(&base, &slower, &["--fail-if", "p95 > 7%", "--fail-if", "throughput > 1%"]);
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
    let output = compare(&slower, &base, &["--fail-if", "mean < -5%", "--json"]);
    assert_eq!(output.status.code(), Some(99), "{}", printed(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let change = &json["changes"][0];
    assert_eq!(
        (&change["metric"], &change["verdict"], &change["breaks"][0]),
        (&"mean".into(), &"faster".into(), &"mean < -5%".into())
    );
    let [low, ratio, high] = ["ratio_low", "ratio", "ratio_high"].map(|name| change[name].as_f64().unwrap());
    assert!(low < 1.0 / 1.06 + 0.003 && low < ratio && ratio < high && high < 1.0, "{change}");
}

#[test]
fn what_differs_beside_the_numbers_is_told_and_unlike_loads_are_not_compared() {
    let folder = tempfile::tempdir().unwrap();
    let base = run(folder.path(), "base", 1.0, 1, |_| {});
    let new = run(folder.path(), "new", 1.0, 2, |row| {
        // larger requests in one case, and a case that the base lacks
        match row.case.batch_size {
            4 => row.bytes_sent *= 2,
            8 => row.case.batch_size = 16,
            _ => {}
        }
    });
    fs::write(base.join("scenario.toml"), "title = \"a\"\nseed = 1\n").unwrap();
    fs::write(new.join("scenario.toml"), "title = \"a\"\nseed = 2\n").unwrap();
    let mut manifest = record::read_manifest(&new).unwrap();
    "2.99 <b>*new*</b>".clone_into(&mut manifest.server_version);
    record::write_json(&new.join(MANIFEST), &manifest).unwrap();
    let html = folder.path().join("compare.html");
    let output = compare(&base.join(RECORDS), &new, &["--html", html.to_str().unwrap()]);
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    for expected in [
        "- Only in the base: HTTP, batch 8",
        "- Only in the new run: HTTP, batch 16",
        "- Not compared: gRPC, batch 4, 1 process: a request had",
        "- Differs: server: triton 2.51.0 → triton 2.99 \\<b\\>\\*new\\*\\</b\\>",
        "- Differs: scenario: seed = 1 → seed = 2",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    let html = fs::read_to_string(html).unwrap();
    assert!(html.contains("<table>") && html.contains("&lt;b&gt;") && !html.contains("<b>"), "{html}");
}

#[test]
fn what_cannot_be_compared_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let base = run(folder.path(), "base", 1.0, 1, |_| {});
    let unlike = run(folder.path(), "unlike", 1.0, 1, |row| row.bytes_sent *= 2);
    let other = Path::new("results/arcface/2026-11-25T113749Z");
    for (new, options, expected) in [
        (folder.path(), &[][..], "is not a run's folder"),
        (other, &[], "of different scenarios, scrfd and arcface"),
        (&unlike, &[], "no case of the two runs can be compared: HTTP, batch 1, 1 process: a request had"),
        (
            &base,
            &["--fail-if", "p99 > 5%"],
            "\"p99\" is no number that is compared: there are mean, p50, p95, throughput, capacity",
        ),
        (&base, &["--fail-if", "p95 > 5"], "\"5\" is no change in percent: write it as 5%"),
        (&base, &["--fail-if", "p95"], "such as \"p95 > 5%\""),
    ] {
        let output = compare(&base, new, options);
        assert_eq!(output.status.code(), Some(2), "{expected}: {}", printed(&output));
        assert!(printed(&output).contains(expected), "{expected}: {}", printed(&output));
    }
}

/// Twenty runs of a scenario, a day apart, whose first case takes `shift` times as long from the tenth on.
fn twenty_runs(shift: f64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join(COMMITTED);
    let records: Vec<Record> = record::read(&committed.join(RECORDS)).unwrap();
    for day in 1..=20_u32 {
        let run = folder.path().join(format!("results/scrfd/2026-03-{day:02}T120000Z"));
        fs::create_dir_all(&run).unwrap();
        let mut manifest = record::read_manifest(&committed).unwrap();
        manifest.started = format!("2026-03-{day:02}T12:00:00Z").parse().unwrap();
        manifest.server_version = if day < 10 { "2.50.0" } else { "2.51.0" }.to_owned();
        record::write_json(&run.join(MANIFEST), &manifest).unwrap();
        for (index, row) in records.iter().enumerate() {
            let mut row = row.clone();
            // up to 1 % from run to run, in another order for each case
            let place = (day as usize * 7 + index * 5) % 20;
            let noise = 1.0 + 0.01 * (place as f64 - 9.5) / 9.5;
            let shift = if index == 0 && day >= 10 { shift } else { 1.0 };
            row.mean_ms = row.mean_ms.map(|mean| mean * noise * shift);
            record::append(&run.join(RECORDS), &row).unwrap();
        }
    }
    folder
}

fn history(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    let Output { status, stdout, stderr } =
        command.current_dir(folder).arg("history").args(arguments).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn history_finds_a_planted_change_and_no_other() {
    let runs = twenty_runs(1.05);
    let (code, shown) = history(runs.path(), &["scrfd"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("### SCRFD Model: mean of 20 runs\n\n- **HTTP, batch 1, 1 process**: +5."), "{shown}");
    assert!(shown.contains(" since 2026-03-10T12:00:00.000Z ("), "{shown}");
    assert!(shown.contains("new with it: server triton 2.50.0 → triton 2.51.0.\n"), "{shown}");
    assert_eq!(shown.matches("- **").count(), 1, "{shown}");
    let (_, json) = history(runs.path(), &["scrfd", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((json["runs"].as_array().unwrap().len(), json["metric"].as_str()), (20, Some("mean")));
    let shift = &json["cases"][0]["shifts"][0];
    assert!((shift["ratio"].as_f64().unwrap() - 1.05).abs() < 0.01, "{shift}");
    // throughput was not touched
    let (_, shown) = history(runs.path(), &["scrfd", "--metric", "throughput", "--html", "history.html"]);
    assert!(shown.contains("- No change beyond chance in any of 12 cases.\n"), "{shown}");
    assert!(
        fs::read_to_string(runs.path().join("history.html"))
            .unwrap()
            .contains("throughput of 20 runs")
    );
}

#[test]
fn history_tells_of_runs_that_are_not_like_the_others() {
    let runs = twenty_runs(1.0);
    let (_, shown) = history(runs.path(), &["scrfd"]);
    assert!(shown.contains("- No change beyond chance in any of 12 cases.\n"), "{shown}");
    // fifteen are of another machine, and one is quick
    for (day, change) in (1..=16).map(|day| (day, if day == 16 { "quick" } else { "machine" })) {
        let run = runs.path().join(format!("results/scrfd/2026-03-{day:02}T120000Z"));
        let mut manifest = record::read_manifest(&run).unwrap();
        match change {
            "quick" => manifest.overridden.push("--quick".to_owned()),
            _ => manifest.client.cpu = Some("another".to_owned()),
        }
        record::write_json(&run.join(MANIFEST), &manifest).unwrap();
    }
    let (_, shown) = history(runs.path(), &["scrfd"]);
    assert!(
        shown.contains("mean of 4 runs\n\n- Too few runs to tell a change from chance: it takes 9 at least"),
        "{shown}"
    );
    assert!(
        shown.contains("2026-03-16T120000Z is left out: its length is another one (quick instead of full).\n"),
        "{shown}"
    );
    assert!(shown.contains("- 11 more are left out.\n"), "{shown}");
    let (code, shown) = history(runs.path(), &["arcface"]);
    assert!(code == Some(2) && shown.contains("there are no results in results/arcface"), "{shown}");
}
