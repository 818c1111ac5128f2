//! Loads that change: bursts, stages, and arrivals from a file, and what rows and reports tell of them.

use std::fs;

use runner::matrix::Arrival;
use runner::record::{BLOCKS, BlockRecord, Flag, Record, STAGES, StageRecord, read, read_manifest};

use crate::case::{Case, SCENARIO, text};

/// A case whose `[load]` and matrix are these, with files beside its scenario.
fn case(matrix: &str, load: &str, files: &[(&str, &str)]) -> Case {
    let scenario = SCENARIO.replace("batch_sizes = [1, 4]\n    processes = [1, 2]", matrix);
    let case = Case::new("", &scenario.replace("iterations = 50", load));
    for (name, content) in files {
        fs::write(case.path(name), content).unwrap();
    }
    case
}

/// The rows of its run, and what that printed.
fn rows(case: &Case, options: &[&str]) -> (Vec<Record>, String) {
    let output = case.command(options).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let counts = read_manifest(&case.newest().unwrap()).unwrap().counts.unwrap();
    assert!(counts.agrees(), "{counts:?}");
    (case.records(), text(&output))
}

fn blocks(case: &Case) -> Vec<BlockRecord> {
    read(&case.newest().unwrap().join(BLOCKS)).unwrap()
}

#[test]
fn stages_are_a_block_each_and_rows_have_their_mean_rate() {
    let load = "blocks = 2\nstages = [{duration_s = 0, target = 100}, {duration_s = 0.2, target = 300}, {duration_s = 0.1, target = 0}]";
    let case = case("processes = [1, 3]", load, &[]);
    let (records, printed) = rows(&case, &[]);
    assert_eq!(records.len(), 4);
    for record in &records {
        // 0.2 s at 200/s on average, 0.1 s at 150/s
        assert_eq!((record.requests, record.requests_planned), (110, Some(110)), "{record:?}");
        assert_eq!((record.case.rate, record.arrival), (Some(183.333), Some(Arrival::Stages)), "{record:?}");
        assert_eq!(record.arrival_detail, "to 100/s at once, to 300/s in 0.2 s, to 0/s in 0.1 s");
        assert!(!record.flags.has(Flag::Capped), "{record:?}");
    }
    assert!(blocks(&case).iter().all(|block| block.requests == 55));
    assert!(printed.contains("arrivals in stages (to 100/s at once,"), "{printed}");
    let plan = text(&case.command(&["--list"]).output().unwrap());
    assert!(
        plan.contains("arrivals in stages (to 100/s at once,") && plan.contains("  http  110 requests to "),
        "{plan}"
    );
}

#[test]
fn a_longest_time_takes_whole_profiles_and_cuts_the_only_one() {
    let load = "blocks = 10\nmax_seconds_per_case = 1\nstages = [{duration_s = 0, target = 100}, {duration_s = 0.3, target = 100}]";
    let case_of_three = case("protocols = [\"http\"]", load, &[]);
    let (records, _) = rows(&case_of_three, &[]);
    assert!(records[0].blocks <= 3 && records[0].requests <= 90, "{records:?}");
    let long = load.replace("0.3", "60");
    let (records, _) = rows(&case("protocols = [\"http\"]", &long, &[]), &[]);
    assert!(records[0].blocks == 1 && records[0].requests <= 100, "{records:?}");
    assert!(records[0].flags.has(Flag::Capped), "{records:?}");
}

#[test]
fn a_file_says_when_requests_arrive_and_processes_share_them() {
    let load = "blocks = 2\narrivals = {file = \"times.csv\", speed = 2.0}";
    let times: String = (0..41).map(|number| format!("{}\n", 100.0 + f64::from(number) * 0.01)).collect();
    let case = case("processes = [1, 2]", load, &[("times.csv", &times)]);
    let (records, printed) = rows(&case, &[]);
    assert_eq!(records.len(), 4);
    for record in &records {
        assert_eq!((record.requests, record.requests_planned), (82, Some(82)), "{record:?}");
        assert_eq!((record.case.rate, record.arrival), (Some(200.0), Some(Arrival::File)), "{record:?}");
        assert_eq!(record.arrival_detail, "times.csv, 2 times as fast, 41 arrivals");
    }
    assert!(printed.contains("arrivals from a file (times.csv, 2 times as fast, 41 arrivals)"), "{printed}");
    // what was measured with is known by its content
    let manifest = read_manifest(&case.newest().unwrap()).unwrap();
    assert_eq!(manifest.data.keys().collect::<Vec<_>>(), ["times.csv"]);
    // a rate of the command line has no place
    let output = case.command(&["--rate", "100"]).output().unwrap();
    assert!(
        text(&output).contains("--rate 100: `arrivals` in [load] says how many requests arrive"),
        "{}",
        text(&output)
    );
}

#[test]
fn each_stage_has_a_row_of_the_requests_that_were_due_in_it() {
    let stages = "[{duration_s = 0, target = 100}, {duration_s = 0.2, target = 300, name = \"up\"}, {duration_s = 0.1, target = 0}, \
                  {duration_s = 0.1, target = 0}]";
    let case = case("processes = [2]", &format!("blocks = 3\nstages = {stages}"), &[]);
    let (records, printed) = rows(&case, &[]);
    let run = case.newest().unwrap();
    let rows: Vec<StageRecord> = read(&run.join(STAGES)).unwrap();
    assert_eq!(rows.len(), 3 * records.len());
    for record in &records {
        let of: Vec<&StageRecord> = rows.iter().filter(|row| row.case == record.case).collect();
        let asked: Vec<_> = of
            .iter()
            .map(|row| (row.stage, row.stage_name.as_str(), row.rate_from, row.rate_to))
            .collect();
        assert_eq!(asked, [(0, "up", 100.0, 300.0), (1, "", 300.0, 0.0), (2, "", 0.0, 0.0)]);
        let counted: Vec<_> = of
            .iter()
            .map(|row| (row.start_s, row.duration_s, row.requests, row.requests_per_s))
            .collect();
        // three blocks of the areas below the rates
        assert_eq!(counted, [(0.0, 0.2, 120, Some(200.0)), (0.2, 0.1, 45, Some(150.0)), (0.3, 0.1, 0, Some(0.0))]);
        assert_eq!(of.iter().map(|row| row.requests).sum::<u64>(), record.requests);
        let most = of.iter().filter_map(|row| row.max_ms).fold(0.0, f64::max);
        assert_eq!(Some(most), record.max_ms);
        assert!(of[0].p50_ms.is_some() && of[2].p50_ms.is_none(), "{of:?}");
    }
    assert!(printed.contains("arrivals in stages"), "{printed}");
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("1: up") && report.contains("100 to 300"), "{report}");
}

#[test]
fn bursts_have_the_rate_that_is_asked_for() {
    for (arrival, word, detail) in [
        ("{gamma = {shape = 0.2}}", Arrival::Gamma, "shape 0.2"),
        ("{on_off = {on_s = 0.05, off_s = 0.15}}", Arrival::OnOff, "0.05 s on, 0.15 s off"),
    ] {
        let load = format!("duration_s = 0.8\nblocks = 10\nrate = [200]\narrival = {arrival}");
        let case = case("processes = [2]", &load, &[]);
        let (records, _) = rows(&case, &[]);
        for record in &records {
            assert_eq!((record.requests, record.arrival), (160, Some(word)), "{record:?}");
            assert_eq!(record.arrival_detail, detail);
            // no block is shorter than a period
            assert_eq!(record.blocks, if word == Arrival::OnOff { 4 } else { 10 });
        }
    }
}
