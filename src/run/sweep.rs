//! A sweep over a load ends where a bound is broken: higher loads of the same case are skipped. Must not know how cases are measured.

use std::collections::HashMap;

use crate::capacity::Bound;
use crate::matrix::{AxisId, Point};
use crate::plan::{Group, Round};
use crate::record::{Record, Status};

/// The bounds of a sweep, and where they were broken.
pub struct Sweep {
    bounds: Vec<Bound>,
    axis: AxisId,
    /// The lowest load that broke a bound, and how, by the case's tag without its load.
    broken: HashMap<String, (f64, String)>,
}

impl Sweep {
    /// A sweep over the rates, if there are any, else over requests in flight.
    pub fn new(bounds: &[Bound], is_open: bool) -> Self {
        let axis = if is_open { AxisId::Rate } else { AxisId::Concurrency };
        Sweep { bounds: bounds.to_vec(), axis, broken: HashMap::new() }
    }

    fn place(&self, case: &Point) -> String {
        case.without(self.axis).tag()
    }

    /// Notes a measured case.
    pub fn note(&mut self, record: &Record) {
        let is_measured = matches!(record.status, Status::Ok | Status::Errors);
        let Some(how) = self.bounds.iter().find_map(|bound| broken(bound, record)).filter(|_| is_measured) else {
            return;
        };
        let load = record.case.load_on(self.axis);
        let place = self.place(&record.case);
        let known = self.broken.get(&place).is_some_and(|(lower, _)| *lower <= load);
        if !known {
            self.broken.insert(place, (load, how));
        }
    }

    /// Why a case is skipped, if it is.
    pub fn skips(&self, case: &Point) -> Option<String> {
        let (load, how) = self.broken.get(&self.place(case))?;
        let at = match self.axis {
            AxisId::Rate => format!("at {load} requests/s"),
            _ => format!("with {load} in flight"),
        };
        (case.load_on(self.axis) > *load).then(|| format!("{at} {how} already (sweep_until)"))
    }
}

/// How a case breaks a bound, beyond chance where its interval is known.
fn broken(bound: &Bound, record: &Record) -> Option<String> {
    let Some(limit) = bound.limit() else {
        let share = record.errors as f64 / (record.errors + record.requests).max(1) as f64;
        return (share > bound.level()).then(|| format!("{:.2} % of the requests failed", 100.0 * share));
    };
    let limit_ms = limit.as_secs_f64() * 1e3;
    let (value, low) = match bound.key().as_str() {
        "p50_ms" => (record.p50_ms, record.p50_low_ms),
        "p90_ms" => (record.p90_ms, None),
        "p95_ms" => (record.p95_ms, record.p95_low_ms),
        _ => (record.p99_ms, record.p99_low_ms),
    };
    let value = value.filter(|value| low.unwrap_or(*value) > limit_ms)?;
    Some(format!("{} was {value:.1} ms, above {limit_ms}", bound.key().trim_end_matches("_ms")))
}

/// A group without some of its cases; `None` if none is left.
pub fn without(group: &Group, is_left_out: impl Fn(&Point) -> bool) -> Option<Group> {
    let kept: Vec<usize> = (0..group.cases.len()).filter(|place| !is_left_out(&group.cases[*place])).collect();
    let place_of = |case: &usize| kept.iter().position(|place| place == case);
    let round = |round: &Round| Round { order: round.order.iter().filter_map(place_of).collect(), ..round.clone() };
    (!kept.is_empty()).then(|| Group {
        cases: kept.iter().map(|place| group.cases[*place].clone()).collect(),
        rounds: group.rounds.iter().map(round).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::bounds;
    use crate::scenario::StopRule;

    fn row(concurrency: u32, p99_ms: f64, p99_low_ms: f64) -> Record {
        let case = Point { concurrency, connections: concurrency, ..Point::default() };
        let (p99_ms, p99_low_ms) = (Some(p99_ms), Some(p99_low_ms));
        Record { case, status: Status::Ok, requests: 100, p99_ms, p99_low_ms, ..Record::default() }
    }

    #[test]
    fn loads_above_one_that_breaks_a_bound_beyond_chance_are_skipped() {
        let mut sweep = Sweep::new(&bounds("p99<50ms,errors<1%").unwrap(), false);
        sweep.note(&row(8, 60.0, 49.0));
        assert_eq!(sweep.skips(&row(16, 0.0, 0.0).case), None);
        sweep.note(&row(16, 70.0, 51.0));
        sweep.note(&row(4, 10.0, 9.0));
        let words = "with 16 in flight p99 was 70.0 ms, above 50 already (sweep_until)";
        assert_eq!(sweep.skips(&row(32, 0.0, 0.0).case).as_deref(), Some(words));
        assert_eq!(sweep.skips(&row(8, 0.0, 0.0).case), None);
        let other = Point { batch_size: 4, ..row(32, 0.0, 0.0).case };
        assert_eq!(sweep.skips(&other), None);
        sweep.note(&Record { errors: 2, ..row(2, 1.0, 1.0) });
        assert!(sweep.skips(&row(4, 0.0, 0.0).case).unwrap().contains("% of the requests failed"));
    }

    #[test]
    fn the_rest_of_a_group_keeps_its_order() {
        let cases: Vec<Point> = [1, 2, 4].map(|size| Point { batch_size: size, ..Point::default() }).to_vec();
        let rounds = vec![Round { stop: StopRule::default(), order: vec![2, 0, 1] }];
        let group = Group { cases, rounds };
        let rest = without(&group, |case| case.batch_size == 2).unwrap();
        assert_eq!((rest.cases.len(), &rest.rounds[0].order[..]), (2, &[1, 0][..]));
        assert_eq!(without(&group, |_| true), None);
    }
}
