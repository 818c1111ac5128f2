//! The plan of a scenario, and what is found before anything is measured.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use super::{print, say};
use crate::capacity;
use crate::matrix::{AxisId, Point};
use crate::plan::{Group, Plan};
use crate::record::rounded;
use crate::report::words;
use crate::scenario::{Capacity, Scenario, Warmup};

/// Most rounds of a group whose order is printed.
const ORDERS_MAX: usize = 20;

/// `--list`: the plan of a scenario.
///
/// # Errors
/// As [`print()`].
pub fn plan(scenario: &Scenario, plan: &Plan) -> Result<()> {
    let load = &scenario.load;
    let mut out = String::new();
    let models: Vec<&str> = scenario.asked_models().collect();
    let _ = writeln!(out, "{} ({}), model {}", scenario.title, scenario.file.display(), models.join(", "));
    let Warmup { requests, least, steady } = load.warmup;
    let (warmup, until) = words::warmup_words(requests, least.map(|least| least.as_secs_f64()), steady);
    let _ = writeln!(
        out,
        "{} in {}; {}, {} before them to warm up{until}; timeout {} s, seed {}",
        words::counted(plan.cases().count() as u64, "case"),
        words::counted(plan.groups.len() as u64, "group"),
        length(scenario, plan),
        warmup,
        load.timeout.as_secs_f64(),
        load.seed,
    );
    if let Some(Capacity { over, bounds, range: (from, to), .. }) = &scenario.capacity {
        let bounds = capacity::words(bounds);
        let _ = writeln!(out, "searched: the highest {over} from {from} to {to} with {bounds}");
    }
    if load.cold_starts > 0 {
        let times = if load.cold_starts == 1 {
            "once".to_owned()
        } else {
            format!("{} times", load.cold_starts)
        };
        let _ = writeln!(
            out,
            "before a case its model is unloaded and loaded again, {times}; once for cases that start alike"
        );
    }
    let detail = load.arrival.detail();
    if !detail.is_empty() {
        let _ = writeln!(out, "{}", words::loop_words(Some(load.arrival.word()), &detail));
    }
    let compared = scenario.matrix.compared();
    for (index, group) in plan.groups.iter().enumerate() {
        let first = &group.cases[0];
        let sizes: Option<Vec<u64>> = group.cases.iter().map(|case| scenario.request_bytes(case)).collect();
        let bytes = match sizes {
            Some(sizes) => {
                let [smallest, largest] = [sizes.iter().min(), sizes.iter().max()].map(|it| size(*it.unwrap_or(&0)));
                let bytes = if smallest == largest { smallest } else { format!("{smallest} to {largest}") };
                format!("{bytes} of input")
            }
            None => "the described inputs".to_owned(),
        };
        let load = first.load_but(Some(compared));
        let _ = writeln!(out, "group {}: {load}, {bytes} a request", index + 1);

        for case in &group.cases {
            let requests = match requests_of(scenario, group, case) {
                0 => "requests".to_owned(),
                requests => format!("{requests} requests"),
            };
            let server = scenario.server_of(case);
            let address = match server.is_embedded {
                true => "the embedded server".to_owned(),
                false => server.address(case.protocol).to_string(),
            };
            let _ = writeln!(out, "  {:4}  {requests} to {address}", spelled(case, compared));
        }
        let orders = group.rounds.iter().take(ORDERS_MAX).map(|round| {
            round
                .order
                .iter()
                .map(|case| spelled(&group.cases[*case], compared))
                .collect::<Vec<_>>()
                .join(" ")
        });
        let more = if group.rounds.len() > ORDERS_MAX { " | .." } else { "" };
        let _ = writeln!(out, "  order of blocks: {}{more}", orders.collect::<Vec<_>>().join(" | "));
    }
    print(&out)
}

/// How long a case is measured, in words.
fn length(scenario: &Scenario, plan: &Plan) -> String {
    let load = &scenario.load;
    match &scenario.capacity {
        Some(Capacity { budget, .. }) => {
            let known = 100.0 * load.precision.unwrap_or_default();
            format!(
                "at most {} s a case, until its capacity is known within {} %",
                budget.as_secs_f64(),
                rounded(known)
            )
        }
        None => {
            let least = load.stop.least.map(|least| least.as_secs_f64());
            let length = words::length_words(load.stop.requests, least, load.precision);
            let blocks = plan.groups.iter().map(|group| group.rounds.len()).max().unwrap_or(0);
            format!("{length} in {}{blocks} blocks", if load.stop.most.is_some() { "at most " } else { "" })
        }
    }
}

/// Requests of all processes in a case; 0 where their number is not known.
fn requests_of(scenario: &Scenario, group: &Group, case: &Point) -> u64 {
    let of_block = scenario.load.arrival.requests().filter(|_| scenario.load.has_length());
    match of_block {
        Some(requests) => requests * group.rounds.len() as u64,
        None => group.iterations() * u64::from(case.processes),
    }
}

/// `--list --json`: the plans of scenarios, as JSON.
///
/// # Errors
/// As [`print()`].
pub fn plans_json(scenarios: &[(Plan, Scenario)]) -> Result<()> {
    let of_group = |(number, group): (usize, &Group), scenario: &Scenario| -> Vec<Value> {
        let case = |case: &Point| {
            let requests = requests_of(scenario, group, case);
            json!({
                "case": case.tag(),
                "words": case.phrase(),
                "group": number + 1,
                "blocks": group.rounds.len(),
                "requests": (requests > 0).then_some(requests),
                "request_bytes": scenario.request_bytes(case),
            })
        };
        group.cases.iter().map(case).collect()
    };
    let of_scenario = |(plan, scenario): &(Plan, Scenario)| {
        let cases = plan.groups.iter().enumerate().flat_map(|group| of_group(group, scenario));
        json!({
            "scenario": scenario.name,
            "file": scenario.file.display().to_string(),
            "title": scenario.title,
            "compare": scenario.matrix.compared().axis().column,
            "cases": cases.collect::<Vec<_>>(),
        })
    };
    let plans: Vec<Value> = scenarios.iter().map(of_scenario).collect();
    print(&(serde_json::to_string_pretty(&json!({"plans": plans}))? + "\n"))
}

/// `--verify --json`: one JSON object a line and case.
///
/// # Errors
/// As [`print()`].
pub fn verified_json(scenario: &Scenario, case: &Point, words: &str) -> Result<()> {
    let object = json!({"scenario": scenario.name, "case": case.tag(), "ok": words == "ok", "words": words});
    print(&format!("{object}\n"))
}

/// `--verify`: one line a case.
///
/// # Errors
/// As [`print()`].
pub fn verified(scenario: &Scenario, case: &Point, words: &str) -> Result<()> {
    print(&format!("{}  {:4}  {}: {words}\n", scenario.name, spelled(case, AxisId::Protocol), case.load()))
}

/// `--calibrate`: the client's maximum throughput in a case.
pub fn ceiling(scenario: &Scenario, case: &Point, requests_per_s: f64) {
    let variant = case.variant();
    say(&format!("{}: {}, {variant}: client ceiling {requests_per_s:.1} requests/s", scenario.name, case.load()));
}

/// What distinguishes a group's cases, as files spell it: `grpc`, or `grpc-b` for one of two equal variants.
fn spelled(case: &Point, compared: AxisId) -> String {
    let shown = AxisId::ALL.iter().filter(|id| id.axis().is_variant || **id == compared);
    shown.map(|id| (id.axis().tag)(case)).collect()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}
