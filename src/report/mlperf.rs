//! What a run's cases are by MLPerf's rules. Must not know how tables are drawn.

use super::run::Run;
use super::table::Table;
use super::words::{NOTHING, distinct, format_ms};
use crate::mlperf::{Compliance, DISCLAIMER, TestScenario, Validity};
use crate::record::Record;

/// A case by the rules, in words.
pub struct Said {
    /// Whether it counts, and no test failed.
    pub is_good: bool,
    /// `VALID: HTTP batch 1, 1 process, 90th percentile .. 2.105 ms`, and what it rests on.
    pub words: String,
}

/// What the rules are, and that no result here is a submission; `None` if the run's load does not follow them.
pub fn heading(run: &Run) -> Option<String> {
    let scenarios = distinct(ruled(run), |record| record.mlperf).into_iter().flatten();
    let scenarios = scenarios.map(TestScenario::name).collect::<Vec<_>>().join(", ");
    (!scenarios.is_empty()).then(|| format!("MLPerf {scenarios}. {DISCLAIMER}."))
}

/// Each case in words.
pub fn said(run: &Run) -> Vec<Said> {
    ruled(run).map(of_case).collect()
}

/// Whether a compliance test failed.
pub fn is_failed(run: &Run) -> bool {
    run.records.iter().any(Record::fails_a_test)
}

/// A row a case; `None` if the run's load does not follow the rules.
pub fn table(run: &Run) -> Option<Table> {
    let mut table = Table::default();
    let has_tests = ruled(run).any(|record| record.mlperf_test01.is_some());
    table.words("Case");
    table.words("Result");
    table.words("Metric");
    table.words("Rests on");
    if has_tests {
        table.words("TEST01");
        table.words("TEST04");
    }
    table.words("Why Not");
    for record in ruled(run) {
        let result = record.mlperf_result.map_or(NOTHING, Validity::name);
        let mut cells = vec![record.case.phrase().into(), result.into()];
        cells.push(metric(record).unwrap_or(NOTHING.to_owned()).into());
        cells.push(rests_on(record).unwrap_or(NOTHING.to_owned()).into());
        if has_tests {
            let tests = [record.mlperf_test01, record.mlperf_test04];
            cells.extend(tests.map(|test| test.map_or(NOTHING, Compliance::name).into()));
        }
        cells.push(record.mlperf_reason.clone().into());
        table.row(cells);
    }
    (!table.rows().is_empty()).then_some(table)
}

fn ruled(run: &Run) -> impl Iterator<Item = &Record> {
    run.records.iter().filter(|record| record.mlperf.is_some())
}

fn of_case(record: &Record) -> Said {
    let result = record.mlperf_result.map_or(NOTHING, Validity::name);
    let mut words = vec![format!("{result}: {}", record.case.phrase())];
    words.extend(metric(record));
    words.extend(rests_on(record));
    for (name, test) in [("TEST01", record.mlperf_test01), ("TEST04", record.mlperf_test04)] {
        words.extend(test.map(|test| format!("{name} {test}")));
    }
    let why = if record.mlperf_reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", record.mlperf_reason)
    };
    let is_good = record.mlperf_result == Some(Validity::Valid) && !record.fails_a_test();
    Said { is_good, words: format!("{}{why}.", words.join(", ")) }
}

/// The metric with its name and unit.
fn metric(record: &Record) -> Option<String> {
    let (name, unit) = record.mlperf?.metric();
    Some(format!("{name} {} {unit}", format_ms(record.mlperf_metric?)))
}

/// What the metric, or that it counts, rests on.
fn rests_on(record: &Record) -> Option<String> {
    let requests = record.requests;
    match (record.mlperf?, record.mlperf_over, record.mlperf_over_allowed) {
        (TestScenario::Server, Some(over), allowed) => {
            let bound = record.mlperf_latency_ms.map_or(String::new(), |ms| format!(" than {ms} ms"));
            let may = allowed.map_or("too few to tell".to_owned(), |allowed| format!("{allowed} may"));
            Some(format!("{over} of {requests} requests took longer{bound}, {may}"))
        }
        (TestScenario::SingleStream | TestScenario::MultiStream, _, Some(rank)) if rank > 0 => {
            Some(format!("number {rank} from above of {requests} latencies"))
        }
        (TestScenario::Offline, ..) => Some(format!("{} samples", requests * u64::from(record.case.batch_size))),
        _ => None,
    }
}
