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
        printed(&output).contains("- **Broken**: p95 > 5%: HTTP batch 1, 1 process: p95 6"),
        "{}",
        printed(&output)
    );
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
        "- Only in the base: HTTP batch 8",
        "- Only in the new run: HTTP batch 16",
        "- Not compared: gRPC batch 4, 1 process: a request had",
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
        (&unlike, &[], "no case of the two runs can be compared: HTTP batch 1, 1 process: a request had"),
        (
            &base,
            &["--fail-if", "p99 > 5%"],
            "\"p99\" is no number that is compared: there are mean, p50, p95, throughput",
        ),
        (&base, &["--fail-if", "p95 > 5"], "\"5\" is no change in percent: write it as 5%"),
        (&base, &["--fail-if", "p95"], "such as \"p95 > 5%\""),
    ] {
        let output = compare(&base, new, options);
        assert_eq!(output.status.code(), Some(2), "{expected}: {}", printed(&output));
        assert!(printed(&output).contains(expected), "{expected}: {}", printed(&output));
    }
}
