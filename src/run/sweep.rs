//! A sweep over a load ends where a bound is broken: higher loads of the same case are skipped. Must not know how cases are measured.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;

use crate::capacity::{self, Bound};
use crate::matrix::{AxisId, Point};
use crate::plan::{Group, Round};
use crate::record::{self, BLOCKS, BlockRecord, Record, Status};
use crate::scenario::Scenario;

/// The bounds of a sweep, and where they were broken.
pub struct Sweep {
    bounds: Vec<Bound>,
    axis: AxisId,
    /// The lowest load that broke a bound, and how, by the case's tag without its load.
    broken: HashMap<String, (f64, String)>,
}

impl Sweep {
    /// The sweep of a scenario.
    pub fn new(scenario: &Scenario) -> Self {
        Sweep {
            bounds: scenario.load.sweep_until.clone(),
            axis: scenario.swept(),
            broken: HashMap::new(),
        }
    }

    fn place(&self, case: &Point) -> String {
        case.without(self.axis).tag()
    }

    /// Notes cases that were measured, and the blocks of a run.
    ///
    /// # Errors
    /// The blocks cannot be read.
    pub fn note<'a>(&mut self, rows: impl IntoIterator<Item = &'a Record>, run: &Path) -> Result<()> {
        if self.bounds.is_empty() {
            return Ok(());
        }
        let blocks = record::read_if_any::<BlockRecord>(&run.join(BLOCKS))?.rows;
        for row in rows {
            let tag = row.case.tag();
            let of_case: Vec<&BlockRecord> = blocks.iter().filter(|block| block.case.tag() == tag).collect();
            self.note_case(row, &of_case);
        }
        Ok(())
    }

    fn note_case(&mut self, record: &Record, blocks: &[&BlockRecord]) {
        let how = match record.status {
            Status::Ok | Status::Errors => self.bounds.iter().find_map(|bound| broken(bound, blocks)),
            // it may be the load that the server did not survive
            Status::Failed => Some("the case failed".to_owned()),
            Status::Skipped | Status::Interrupted | Status::NotRun => None,
        };
        let Some(how) = how else { return };
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
        (case.load_on(self.axis) > *load).then(|| format!("{at} {how} (sweep_until)"))
    }
}

/// How a case's blocks break a bound beyond chance, if they do.
fn broken(bound: &Bound, blocks: &[&BlockRecord]) -> Option<String> {
    let held = |block: &&BlockRecord| (block.bound_requests.unwrap_or(0), block.bound_broken.of(&bound.key()));
    let counts: Vec<(u64, u64)> = blocks.iter().map(held).collect();
    let (all, bad) = counts.iter().fold((0, 0), |sum, block| (sum.0 + block.0, sum.1 + block.1));
    let percent = 100.0 * bad as f64 / all.max(1) as f64;
    capacity::is_broken(bound, counts).then(|| format!("{percent:.2} % of the requests broke {}", bound.words()))
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
    use crate::record::ErrorKinds;
    use crate::scenario::StopRule;

    fn case(concurrency: u32) -> Point {
        Point { concurrency, connections: concurrency, ..Point::default() }
    }

    /// Blocks of 100 requests of which so many took longer than a bound of p99, and so many failed.
    fn noted(sweep: &mut Sweep, concurrency: u32, late: &[u64], failed: u64) {
        let record = Record { case: case(concurrency), status: Status::Ok, ..Record::default() };
        let block = |late: &u64| BlockRecord {
            case: case(concurrency),
            bound_requests: Some(100),
            bound_broken: ErrorKinds::new(
                &[("p99_ms".to_owned(), late + failed), ("errors".to_owned(), failed)]
                    .into_iter()
                    .collect(),
            ),
            ..BlockRecord::default()
        };
        let blocks: Vec<BlockRecord> = late.iter().map(block).collect();
        sweep.note_case(&record, &blocks.iter().collect::<Vec<_>>());
    }

    fn sweep() -> Sweep {
        Sweep {
            bounds: bounds("p99<50ms,errors<2%").unwrap(),
            axis: AxisId::Concurrency,
            broken: HashMap::new(),
        }
    }

    #[test]
    fn loads_above_one_that_breaks_a_bound_beyond_chance_are_skipped() {
        let mut sweep = sweep();
        // a few slow requests, or a single slow block, may be chance
        noted(&mut sweep, 8, &[0, 2, 0, 1, 0, 3, 0, 1, 2, 2], 0);
        noted(&mut sweep, 8, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 90], 0);
        noted(&mut sweep, 8, &[100], 0);
        assert_eq!(sweep.skips(&case(16)), None);
        noted(&mut sweep, 16, &[5, 9, 4, 8, 6, 7, 5, 4, 9, 3], 0);
        noted(&mut sweep, 4, &[0; 10], 0);
        let words = "with 16 in flight 6.00 % of the requests broke p99 within 50 ms (sweep_until)";
        assert_eq!(sweep.skips(&case(32)).as_deref(), Some(words));
        assert_eq!(sweep.skips(&case(8)), None);
        assert_eq!(sweep.skips(&Point { batch_size: 4, ..case(32) }), None);
    }

    #[test]
    fn failures_break_every_bound_and_a_case_that_failed_ends_its_sweep() {
        let mut shed = sweep();
        noted(&mut shed, 2, &[0; 10], 50);
        assert!(shed.skips(&case(4)).unwrap().contains("50.00 % of the requests broke p99"));
        let mut dead = sweep();
        for (concurrency, status) in [(1, Status::NotRun), (2, Status::Interrupted), (8, Status::Failed)] {
            dead.note_case(&Record { case: case(concurrency), status, ..Record::default() }, &[]);
        }
        assert_eq!(dead.skips(&case(4)), None);
        assert_eq!(dead.skips(&case(16)).as_deref(), Some("with 8 in flight the case failed (sweep_until)"));
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
