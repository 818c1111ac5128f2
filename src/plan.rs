//! Scenario -> Plan, pure: groups of cases that differ in protocol alone, and the seeded order of their blocks.

use std::time::Duration;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use serde::{Deserialize, Serialize};

use crate::scenario::{Load, Point, Protocol, Scenario};

/// One point of the run matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Case {
    pub protocol: Protocol,
    /// Which of two equal cases it is (`--aa`).
    pub arm: Option<Arm>,
    /// Items a request.
    pub batch_size: u32,
    /// Operating-system processes.
    pub processes: u32,
    /// Requests in flight in one process; with a rate, at most so many.
    pub concurrency: u32,
    /// Connections of one process.
    pub connections: u32,
    /// Requests a second of all processes together; `None` in the closed loop.
    pub rate: Option<f64>,
}

/// One of two cases that differ in nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Arm {
    A,
    B,
}

impl Arm {
    /// The spelling of results.
    pub fn name(self) -> &'static str {
        match self {
            Arm::A => "a",
            Arm::B => "b",
        }
    }
}

/// Cases that differ in protocol alone (with `--aa`, in nothing): what a reader compares, and so what is measured interleaved.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// In the scenario's order of protocols.
    pub cases: Vec<Case>,
    /// In each round every case runs one block.
    pub rounds: Vec<Round>,
}

impl Group {
    /// Requests of each process in each case, over all rounds, at least.
    pub fn iterations(&self) -> u64 {
        self.rounds.iter().map(|round| round.iterations).sum()
    }
}

/// One block of every case of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// Requests of each process, at least; 0 where `duration` alone ends the block.
    pub iterations: u64,
    /// How long the block lasts, at least.
    pub duration: Option<Duration>,
    /// How long it lasts at most.
    pub cap: Option<Duration>,
    /// Indices into the group's cases, in the order in which they run.
    pub order: Vec<usize>,
}

/// Everything that is to be measured, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The groups, in the order of the scenario's axes: batch size, processes, concurrency, connections, rate.
    pub groups: Vec<Group>,
}

impl Plan {
    /// Expands a scenario's matrix. The same scenario gives the same plan on every machine.
    pub fn expand(scenario: &Scenario) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(scenario.load.seed);
        let mut groups = Vec::new();
        for Point { batch_size, processes, concurrency, connections, rate, protocols } in scenario.matrix.points() {
            let case = |protocol, arm| Case { protocol, arm, batch_size, processes, concurrency, connections, rate };
            let compared: Vec<Vec<Case>> = match scenario.load.aa {
                true => protocols.iter().map(|it| [Arm::A, Arm::B].map(|arm| case(*it, Some(arm))).into()).collect(),
                false => vec![protocols.iter().map(|it| case(*it, None)).collect()],
            };
            for cases in compared {
                let blocks = blocks(&scenario.load, rate, processes);
                let rounds = rounds(&scenario.load, blocks, cases.len(), &mut generator);
                groups.push(Group { cases, rounds });
            }
        }
        Plan { groups }
    }

    /// All cases, group by group.
    pub fn cases(&self) -> impl Iterator<Item = &Case> {
        self.groups.iter().flat_map(|group| &group.cases)
    }
}

/// Over how many blocks a case is spread: no more than it has requests, where their number is known. A block of an open loop
/// has two at least, as a single one does not tell a server that keeps up from one that does not.
fn blocks(load: &Load, rate: Option<f64>, processes: u32) -> u64 {
    let of_time = |time: Duration, rate: f64| (time.as_secs_f64() * rate / f64::from(processes)) as u64;
    let requests = match (rate, load.duration) {
        (None, Some(_)) => u64::MAX,
        (None, None) => load.iterations,
        (Some(rate), duration) => {
            let asked = load.iterations.max(duration.map_or(0, |duration| of_time(duration, rate)));
            asked.min(load.cap.map_or(u64::MAX, |cap| of_time(cap, rate))) / 2
        }
    };
    u64::from(load.blocks).min(requests).max(1)
}

/// Spreads iterations and time over the blocks as evenly as whole numbers allow; no block is empty. The order of every
/// second round is the one before it turned round, so that each case is as often early as late.
fn rounds(load: &Load, blocks: u64, cases: usize, generator: &mut ChaCha8Rng) -> Vec<Round> {
    let iterations = load.iterations;
    let share = |time: Option<Duration>| time.map(|time| time / blocks as u32);
    let mut order: Vec<usize> = (0..cases).collect();
    (0..blocks)
        .map(|block| {
            match block % 2 {
                0 => order.shuffle(generator),
                _ => order.reverse(),
            }
            Round {
                iterations: iterations / blocks + u64::from(block < iterations % blocks),
                duration: share(load.duration),
                cap: share(load.cap),
                order: order.clone(),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scenario(iterations: u64, blocks: u32, seed: u64) -> Scenario {
        let mut scenario = Scenario::load(std::path::Path::new("scenarios/scrfd.toml")).unwrap();
        scenario.load.iterations = iterations;
        scenario.load.blocks = blocks;
        scenario.load.seed = seed;
        scenario
    }

    #[test]
    fn a_group_holds_what_differs_in_protocol_alone() {
        let plan = Plan::expand(&scenario(1000, 10, 1));
        assert_eq!((plan.groups.len(), plan.cases().count()), (6, 12));
        for group in &plan.groups {
            assert_eq!(group.cases.len(), 2);
            let (http, grpc) = (group.cases[0], group.cases[1]);
            assert_eq!((http.protocol, grpc.protocol), (Protocol::Http, Protocol::Grpc));
            assert_eq!(Case { protocol: Protocol::Http, ..grpc }, http);
        }
    }

    #[test]
    fn each_protocol_is_compared_with_itself_if_that_is_asked_for() {
        let mut scenario = scenario(1000, 10, 1);
        scenario.load.aa = true;
        let plan = Plan::expand(&scenario);
        assert_eq!((plan.groups.len(), plan.cases().count()), (12, 24));
        for group in &plan.groups {
            let [a, b] = group.cases[..] else { panic!("{group:?}") };
            assert_eq!((a.arm, b.arm), (Some(Arm::A), Some(Arm::B)));
            assert_eq!(Case { arm: a.arm, ..b }, a);
        }
    }

    #[test]
    fn blocks_of_an_open_loop_have_requests_enough_to_tell_its_rate() {
        let load = |iterations, duration_s: Option<f64>, cap_s: Option<f64>| Load {
            iterations,
            duration: duration_s.map(Duration::from_secs_f64),
            cap: cap_s.map(Duration::from_secs_f64),
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

    proptest! {
        #[test]
        fn every_iteration_is_planned_once_and_orders_are_balanced(iterations in 1_u64..5000, blocks in 1_u32..50, seed: u64) {
            let scenario = scenario(iterations, blocks, seed);
            let plan = Plan::expand(&scenario);
            prop_assert_eq!(&plan, &Plan::expand(&scenario));
            for group in &plan.groups {
                prop_assert_eq!(group.iterations(), iterations);
                let sizes = group.rounds.iter().map(|round| round.iterations);
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
