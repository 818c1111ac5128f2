//! Scenario -> Plan, pure: groups of cases that differ only in the compared axis, and their blocks' seeded order.

use std::time::Duration;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::matrix::Point;
use crate::scenario::{Capacity, Load, Scenario, StopRule};

/// Most blocks of a search for the capacity, far more than any takes.
const TRIES_MAX: u32 = 500;

/// Cases that differ only in the compared axis: a reader compares them, so they are measured interleaved.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// In the order of the axis's values.
    pub cases: Vec<Point>,
    /// In each round every case runs one block.
    pub rounds: Vec<Round>,
}

impl Group {
    /// Minimum number of requests of each process in each case, over all rounds.
    pub fn iterations(&self) -> u64 {
        self.rounds.iter().map(|round| round.stop.requests).sum()
    }
}

/// One block of every case of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// When each block ends; requests are per process.
    pub stop: StopRule,
    /// Indices into the group's cases, in running order.
    pub order: Vec<usize>,
}

/// All measurements, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The groups, in the order of the scenario's axes.
    pub groups: Vec<Group>,
}

impl Plan {
    /// Expands a scenario's matrix. The same scenario gives the same plan on every machine.
    pub fn expand(scenario: &Scenario) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(scenario.load.seed);
        let group = |cases: Vec<Point>| {
            // all cases of a group have the same number of blocks
            if let Some(capacity) = &scenario.capacity {
                return Group { rounds: tries(capacity, cases.len(), &mut generator), cases };
            }
            let blocks = cases
                .iter()
                .map(|case| blocks(&scenario.load, case.rate, case.processes))
                .min()
                .unwrap_or(1);
            let rounds = rounds(&scenario.load, blocks, cases.len(), &mut generator);
            Group { cases, rounds }
        };
        Plan { groups: scenario.matrix.groups().into_iter().map(group).collect() }
    }

    /// Pairs of cases that are compared.
    pub fn pairs(&self) -> usize {
        self.groups.iter().map(|group| group.cases.len() * (group.cases.len() - 1) / 2).sum()
    }

    /// All cases, group by group.
    pub fn cases(&self) -> impl Iterator<Item = &Point> {
        self.groups.iter().flat_map(|group| &group.cases)
    }
}

/// The number of blocks of a case: no more than its requests, if their number is known. A block of an open loop has
/// at least two requests, as a single one does not show whether a server keeps up, and all phases of what arrives.
fn blocks(load: &Load, rate: Option<f64>, processes: u32) -> u64 {
    let of_time = |time: Duration, rate: f64| (time.as_secs_f64() * rate / f64::from(processes)) as u64;
    let requests = match (rate, load.stop.least) {
        // each block is all that arrives
        _ if load.arrival.length().is_some() => u64::MAX,
        (None, Some(_)) => u64::MAX,
        (None, None) => load.stop.requests,
        (Some(rate), duration) => {
            let asked = load.stop.requests.max(duration.map_or(0, |duration| of_time(duration, rate)));
            asked.min(load.stop.most.map_or(u64::MAX, |cap| of_time(cap, rate))) / 2
        }
    };
    let periods = load.arrival.period().zip(rate).map_or(u64::MAX, |(period, rate)| {
        let asked = (load.stop.requests as f64 * f64::from(processes) / rate).max(seconds(load.stop.least, 0.0));
        (asked.min(seconds(load.stop.most, f64::INFINITY)) / period.as_secs_f64() + 1e-9) as u64
    });
    u64::from(load.blocks).min(requests).min(periods).max(1)
}

fn seconds(time: Option<Duration>, otherwise: f64) -> f64 {
    time.map_or(otherwise, |time| time.as_secs_f64())
}

/// The rounds of a search, which ends by itself; of each only the order is fixed.
fn tries(capacity: &Capacity, cases: usize, generator: &mut ChaCha8Rng) -> Vec<Round> {
    let mut orders = Orders::new(cases);
    let stop = StopRule { requests: 0, least: Some(capacity.budget / TRIES_MAX), most: None };
    (0..TRIES_MAX).map(|_| Round { stop, order: orders.next(generator) }).collect()
}

/// Spreads iterations and time over the blocks as evenly as integers allow; no block is empty. Where rounds go on until
/// all is precise, the blocks of further ones are as long.
fn rounds(load: &Load, blocks: u64, cases: usize, generator: &mut ChaCha8Rng) -> Vec<Round> {
    let mut orders = Orders::new(cases);
    (0..load.rounds_max(blocks))
        .map(|round| Round { stop: load.block(round % blocks, blocks), order: orders.next(generator) })
        .collect()
}

/// The orders of rounds by Williams' designs: over a whole design, each case is equally often in each place, and
/// follows each other case equally often. The assignment of cases is drawn for each design. Source: E. J. Williams,
/// Experimental designs balanced for the estimation of residual effects of treatments, 1949.
struct Orders {
    /// The case behind each number of the design.
    cases: Vec<usize>,
    /// The remaining rows of the design, last first.
    rows: Vec<Vec<usize>>,
    last: Vec<usize>,
}

impl Orders {
    fn new(cases: usize) -> Self {
        let all: Vec<usize> = (0..cases).collect();
        Orders { cases: all.clone(), rows: Vec::new(), last: all }
    }

    fn next(&mut self, generator: &mut ChaCha8Rng) -> Vec<usize> {
        if self.rows.is_empty() {
            self.cases.clone_from(&self.last);
            self.cases.shuffle(generator);
            self.rows = design(self.cases.len());
            self.rows.reverse();
        }
        let row = self.rows.pop().unwrap_or_default();
        self.last = row.into_iter().map(|number| self.cases[number]).collect();
        self.last.clone()
    }
}

/// Williams' design for `cases` cases: a Latin square, plus its mirror image for an odd number.
fn design(cases: usize) -> Vec<Vec<usize>> {
    // 0, 1, n - 1, 2, n - 2, ..: each pair of neighbours has a different distance
    let first = (0..cases).map(|place| if place % 2 == 1 { place.div_ceil(2) } else { cases - place / 2 });
    let first: Vec<usize> = first.collect();
    let row = |shift: usize| first.iter().map(|number| (number + shift) % cases).collect::<Vec<_>>();
    let square: Vec<Vec<usize>> = (0..cases).map(row).collect();
    let mirrored = square.iter().map(|row| row.iter().rev().copied().collect());
    let mirrored: Vec<Vec<usize>> = if cases % 2 == 1 { mirrored.collect() } else { Vec::new() };
    square.into_iter().chain(mirrored).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::matrix::AxisId;
    use crate::scenario::ArrivalProcess;
    use crate::scenario::arrival::{Distances, Stage};

    fn scenario(iterations: u64, blocks: u32, seed: u64) -> Scenario {
        let mut scenario = Scenario::load(std::path::Path::new("scenarios/scrfd.toml")).unwrap();
        scenario.load.stop.requests = iterations;
        scenario.load.blocks = blocks;
        scenario.load.seed = seed;
        scenario
    }

    #[test]
    fn a_group_holds_what_differs_in_the_compared_axis_alone() {
        let plan = Plan::expand(&scenario(1000, 10, 1));
        assert_eq!((plan.groups.len(), plan.cases().count()), (6, 12));
        for group in &plan.groups {
            let [http, grpc] = &group.cases[..] else { panic!("{group:?}") };
            assert!(http.differs_in(AxisId::Protocol, grpc), "{group:?}");
        }
        let tags: Vec<String> = plan.cases().step_by(2).map(Point::tag).collect();
        let expected = ["b1-p1", "b1-p3", "b4-p1", "b4-p3", "b8-p1", "b8-p3"].map(|tag| format!("http-{tag}-c1"));
        assert_eq!(tags, expected);
    }

    #[test]
    fn every_case_follows_every_other_equally_often() {
        for cases in 1..=7 {
            let design = design(cases);
            let mut follows = vec![vec![0; cases]; cases];
            let mut places = follows.clone();
            for row in &design {
                assert!(row.len() == cases && (0..cases).all(|case| row.contains(&case)), "{row:?}");
                row.iter().enumerate().for_each(|(place, case)| places[*case][place] += 1);
                row.windows(2).for_each(|pair| follows[pair[0]][pair[1]] += 1);
            }
            let (rows, times) = (design.len(), design.len() / cases);
            assert!(places.iter().flatten().all(|count| *count == times), "{rows} rows: {places:?}");
            let others = |(case, row): (usize, &Vec<usize>)| {
                row.iter()
                    .enumerate()
                    .all(|(other, count)| *count == if case == other { 0 } else { times })
            };
            assert!(follows.iter().enumerate().all(others), "{cases}: {follows:?}");
        }
    }

    #[test]
    fn blocks_of_an_open_loop_have_requests_enough_to_tell_its_rate() {
        let load = |iterations, duration_s: Option<f64>, cap_s: Option<f64>| Load {
            stop: StopRule {
                requests: iterations,
                least: duration_s.map(Duration::from_secs_f64),
                most: cap_s.map(Duration::from_secs_f64),
            },
            ..scenario(1, 10, 1).load
        };
        for (load, rate, processes, expected) in [
            (load(1000, None, None), None, 1, 10),
            (load(7, None, None), None, 3, 7),
            (load(0, Some(3.0), None), None, 1, 10),
            (load(1000, None, None), Some(20.0), 1, 10),
            (load(13, None, None), Some(20.0), 1, 6),
            (load(0, Some(3.0), Some(3.0)), Some(5.0), 1, 7),
            (load(0, Some(3.0), Some(3.0)), Some(5.0), 3, 2),
            (load(1000, None, Some(3.0)), Some(5.0), 1, 7),
            (load(1, None, None), Some(0.001), 1, 1),
        ] {
            assert_eq!(blocks(&load, rate, processes), expected, "{load:?} {rate:?}");
        }
    }

    #[test]
    fn blocks_have_whole_periods_and_whole_profiles() {
        let stages = |duration_s| ArrivalProcess::Stages {
            stages: vec![Stage { duration_s, target: 2.0 }],
            distances: Distances::Constant,
        };
        let of = |arrival: ArrivalProcess, iterations, cap_s: Option<f64>| {
            let most = cap_s.map(Duration::from_secs_f64);
            let least = arrival.length().map(|length| length * 10);
            let load =
                Load { stop: StopRule { requests: iterations, least, most }, arrival, ..scenario(1, 10, 1).load };
            let length = load.block(0, blocks(&load, Some(100.0), 4)).least;
            (blocks(&load, Some(100.0), 4), length.map(|length| length.as_millis()))
        };
        // 10 s of 4 processes
        let on_off = || ArrivalProcess::OnOff { on_s: 1.0, off_s: 2.0 };
        assert_eq!(of(on_off(), 250, None).0, 3);
        assert_eq!(of(on_off(), 250, Some(6.0)).0, 2);
        assert_eq!(of(on_off(), 10, None).0, 1);
        assert_eq!(of(on_off(), 2500, None).0, 10);
        // few requests are no reason for fewer blocks
        assert_eq!(of(stages(3.0), 0, None), (10, Some(3000)));
        assert_eq!(of(stages(3.0), 0, Some(10.0)), (3, Some(3000)));
        assert_eq!(of(stages(3.0), 0, Some(1.0)), (1, Some(3000)));
    }

    proptest! {
        #[test]
        fn every_iteration_is_planned_once_and_orders_are_balanced(iterations in 1_u64..5000, blocks in 1_u32..50, seed: u64) {
            let scenario = scenario(iterations, blocks, seed);
            let plan = Plan::expand(&scenario);
            prop_assert_eq!(&plan, &Plan::expand(&scenario));
            for group in &plan.groups {
                prop_assert_eq!(group.iterations(), iterations);
                let sizes = group.rounds.iter().map(|round| round.stop.requests);
                prop_assert!(sizes.clone().min() >= Some(1) && sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
                for round in &group.rounds {
                    let mut order = round.order.clone();
                    order.sort();
                    prop_assert_eq!(order, [0, 1]);
                }
                for pair in group.rounds.chunks_exact(2) {
                    let turned: Vec<usize> = pair[0].order.iter().rev().copied().collect();
                    prop_assert_eq!(&pair[1].order, &turned);
                }
            }
        }
    }
}
