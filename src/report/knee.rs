//! The knee of a sweep over a load: where more load begins to cost more time than it gives throughput.

use super::run::Run;
use super::words::format_ms;
use crate::matrix::AxisId;
use crate::record::{Record, Status};

/// Fewer loads than this have no knee that is worth a name.
const LOADS_LEAST: usize = 4;
/// Most knees that are told.
const KNEES_MAX: usize = 8;

/// The knees of a run's sweeps over requests in flight or over rates, a sentence each.
pub fn told(run: &Run) -> Vec<String> {
    let sweeps = [AxisId::Concurrency, AxisId::Rate].into_iter().flat_map(|axis| sweeps(run, axis));
    sweeps.filter_map(|(axis, rows)| sentence(run, axis, &rows)).take(KNEES_MAX).collect()
}

/// The measured cases that differ in a load alone, from the lowest load on.
fn sweeps(run: &Run, axis: AxisId) -> Vec<(AxisId, Vec<&Record>)> {
    let mut sweeps: Vec<(AxisId, Vec<&Record>)> = Vec::new();
    let is_measured = |row: &&Record| row.status == Status::Ok && row.mean_ms.is_some() && row.case.get(axis).is_some();
    for row in run.records.iter().filter(is_measured) {
        let place = row.case.without(axis);
        match sweeps.iter_mut().find(|(_, rows)| rows[0].case.without(axis) == place) {
            Some((_, rows)) => rows.push(row),
            None => sweeps.push((axis, vec![row])),
        }
    }
    for (_, rows) in &mut sweeps {
        rows.sort_by(|one, other| one.case.load_on(axis).total_cmp(&other.case.load_on(axis)));
    }
    sweeps
}

/// Where throughput over latency is highest (L. Kleinrock's power, 1979).
fn sentence(run: &Run, axis: AxisId, rows: &[&Record]) -> Option<String> {
    if rows.len() < LOADS_LEAST {
        return None;
    }
    let power = |row: &&&Record| row.requests_per_s.unwrap_or(0.0) / row.mean_ms.unwrap_or(f64::INFINITY);
    let knee = rows.iter().max_by(|one, other| power(one).total_cmp(&power(other)))?;
    let most = rows
        .iter()
        .max_by(|one, other| one.requests_per_s.unwrap_or(0.0).total_cmp(&other.requests_per_s.unwrap_or(0.0)))?;
    let numbers = |row: &Record| {
        let [rate, mean] = [row.requests_per_s, row.mean_ms].map(|value| format_ms(value.unwrap_or(0.0)));
        format!("{rate} requests/s at {mean} ms")
    };
    let load = |row: &Record| match axis {
        AxisId::Rate => format!("{} requests/s", row.case.load_on(axis)),
        _ => format!("{} in flight", row.case.load_on(axis)),
    };
    let others = knee.case.load_but(Some(axis));
    let place = format!("{}, {others}", run_value(run, knee));
    Some(format!(
        "Knee of {place}: {}, where throughput over latency is highest ({}); the most is {} with {}.",
        load(knee),
        numbers(knee),
        numbers(most),
        load(most)
    ))
}

fn run_value(run: &Run, record: &Record) -> String {
    match run.value_of(record) {
        value if value.is_empty() => record.case.variant(),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::matrix::Point;

    #[test]
    fn the_knee_is_where_throughput_over_latency_is_highest() {
        let mut run = Run::open(Path::new("results/scrfd/2026-11-25T113021Z")).unwrap();
        // two instances of 10 ms: up to two in flight nobody waits
        let row = |concurrency: u32| Record {
            case: Point { concurrency, connections: concurrency, ..Point::default() },
            status: Status::Ok,
            mean_ms: Some(10.0 * f64::from(concurrency.max(2)) / 2.0),
            requests_per_s: Some(100.0 * f64::from(concurrency.min(2))),
            ..Record::default()
        };
        run.records = [8, 1, 2, 4].map(row).to_vec();
        let [told] = &told(&run)[..] else { panic!() };
        assert!(told.starts_with("Knee of HTTP, batch 1, 1 process: 2 in flight, "), "{told}");
        assert!(told.contains("(200.0 requests/s at 10.00 ms)"), "{told}");
        run.records.pop();
        assert_eq!(super::told(&run), [""; 0]);
    }
}
