//! The rules of MLPerf's LoadGen in a scenario file, and what contradicts them.

use std::time::Duration;

use super::super::error::{Document, Errors};
use super::super::mlperf::Mlperf;
use super::super::tree::Table;
use super::super::words::known;
use super::{Checked, needed, number};
use crate::matrix::{Arrival, AxisId, Matrix, Value};
use crate::mlperf::TestScenario;

/// Bounds of latencies, in milliseconds.
const LATENCY_MS: std::ops::RangeInclusive<f64> = 0.001..=3_600_000.0;

/// The table's rules; `None` within if there is no such table. `None` once there is an error; all errors are kept.
pub(super) fn mlperf(document: &Document<'_>, file: &Table<'_>, errors: &mut Errors) -> Option<Option<Mlperf>> {
    if file.value("mlperf").is_none() {
        return Some(None);
    }
    let (table, load) = (file.table("mlperf"), file.table("load"));
    let word = errors.keep(needed(document, &table, "scenario"))?;
    let scenario: TestScenario = errors.keep(known(document, &word))?;
    let latency = errors.keep(latency(document, &table, scenario));
    for (key, help) in [
        (
            "iterations",
            "leave it out: the rules say how many requests there are at least, and duration_s shortens a run",
        ),
        ("precision", "leave it out: the rules say how long a run lasts at least"),
    ] {
        if let Some(given) = load.value(key) {
            errors.push(document.error(given.span(), contradicts(key, scenario), help));
        }
    }
    let is_poisson = load.text("arrival").is_some_and(|word| word.get_ref() == Arrival::Poisson.name());
    if let (TestScenario::Server, Some(given), false) = (scenario, load.value("arrival"), is_poisson) {
        errors.push(document.unexpected(given, "\"poisson\", as MLPerf's server has it", "leave it out"));
    }
    for key in ["stages", "arrivals"] {
        if let Some(given) = load.value(key) {
            errors.push(document.error(
                given.span(),
                contradicts(key, scenario),
                "leave it out, or leave out [mlperf]",
            ));
        }
    }
    if scenario == TestScenario::Server && load.value(AxisId::Rate.axis().key).is_none() {
        let help = "add rate = [100] to [load], in requests per second: several are tried one after the other";
        errors.push(document.error(word.span(), "MLPerf's server needs a rate at which queries arrive", help));
    }
    if scenario == TestScenario::MultiStream && has_unbatched(file) {
        let help = "measure a model that takes batches: the eight samples of a query are sent as one request";
        errors.push(document.error(
            word.span(),
            "the model has batching = false, multi-stream needs batches of 8",
            help,
        ));
    }
    Some(Some(Mlperf { scenario, latency: latency?, checks: false }))
}

fn contradicts(key: &str, scenario: TestScenario) -> String {
    format!("{key} has no place beside MLPerf's {scenario}")
}

fn latency(document: &Document<'_>, table: &Table<'_>, scenario: TestScenario) -> Checked<Duration> {
    let help = "give the milliseconds that a query may take, such as latency_ms = 50";
    match (scenario, table.number("latency_ms")) {
        (TestScenario::Server, Some(given)) => {
            number(document, &given, &LATENCY_MS, help).map(|ms| Duration::from_secs_f64(ms / 1e3))
        }
        (TestScenario::Server, None) => {
            Err(document.error(table.span(), "the key latency_ms is missing: MLPerf's server has a bound", help))
        }
        (_, None) => Ok(Duration::ZERO),
        (_, Some(given)) => Err(document.error(
            given.span(),
            contradicts("latency_ms", scenario),
            "leave it out: only server has a bound",
        )),
    }
}

fn has_unbatched(file: &Table<'_>) -> bool {
    let model = file.table("model");
    let named = model.inner().into_iter().map(|(name, _)| model.table(&name).flag("batching"));
    named.chain([model.flag("batching")]).any(|batching| batching == Some(false))
}

/// Sets the axes that the rules set. `None` once the file says otherwise; all errors are kept.
pub(super) fn fill(
    document: &Document<'_>,
    tables: [&Table<'_>; 2],
    rules: &Mlperf,
    matrix: &mut Matrix,
    errors: &mut Errors,
) -> Option<()> {
    let mut agrees = Some(());
    for id in AxisId::ALL {
        let key = id.axis().key;
        let Some(given) = tables.into_iter().find_map(|table| table.value(key)) else {
            continue;
        };
        let scenario = rules.scenario;
        if rules.excludes(*id) {
            errors.push(document.error(
                given.span(),
                contradicts(key, scenario),
                "leave it out, or leave out [mlperf]",
            ));
            agrees = None;
        }
        if let Some(value) = rules.value_of(*id).filter(|value| *matrix.given(*id) != [Value::Whole(*value)]) {
            let expected = format!("[{value}], as MLPerf's {scenario} has it");
            errors.push(document.unexpected(given, &expected, "leave it out, or leave out [mlperf]"));
            agrees = None;
        }
    }
    rules.fill(matrix);
    agrees
}
