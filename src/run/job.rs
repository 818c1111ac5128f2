//! Turns a point of the matrix into the job of a case's workers. The only place that gives axes their meaning.

use std::time::Duration;

use super::budget;
use crate::hosts::{Fleet, Host};
use crate::matrix::Point;
use crate::plan::{Group, Round};
use crate::preflight::Outputs;
use crate::scenario::{Load, Scenario, Spread, StopRule};
use crate::tensor::{Expect, Reference, Tensors};
use crate::worker::message::{Arrivals, Block, Draw, Job};
use crate::worker::seat::Seat;

/// The job of a case's workers.
pub fn job(scenario: &Scenario, outputs: &Outputs, case: &Point, tensors: Tensors) -> Job {
    // MLPerf's TEST01: answers while measuring are those of a pass over all distinct requests before it
    let checks = scenario.mlperf.is_some_and(|rules| rules.checks);
    let mut outputs = outputs.of_batch(case.batch_size);
    for output in outputs.iter_mut().filter(|_| checks) {
        let same = Expect { reference: Reference::SameAsFirst, rtol: 0.0, atol: 0.0 };
        output.expect.get_or_insert(same);
    }
    Job {
        protocol: case.protocol,
        address: scenario.server.address(case.protocol).clone(),
        model: scenario.model.clone(),
        inputs: scenario.inputs_of(case),
        outputs,
        batch_size: case.batch_size,
        concurrency: case.concurrency,
        connections: case.connections,
        encode: case.encode,
        tensors,
        parameters: scenario.parameters.clone(),
        distinct: case.distinct,
        request_ids: scenario.load.request_ids,
        verify_every: scenario.load.verify_every,
        verify_all: checks,
        open_loop: case.rate.is_some(),
        arrival: scenario.load.arrival.clone(),
        warmup: scenario.load.warmup,
        warmup_cap_ms: budget::of_warmup(&scenario.load).map(|cap| cap.as_millis() as u64),
        timeout_ms: scenario.load.timeout.as_millis() as u64,
    }
}

/// Where each worker of a case is: on so many hosts as the case asks for, else on all, and without hosts on this machine.
pub fn seats(fleet: &Fleet, scenario: &Scenario, case: &Point) -> Vec<Seat> {
    if fleet.is_empty() {
        return Seat::here(case.processes);
    }
    let seat = |(host, share): (&Host, u32)| -> Vec<Seat> {
        let of = |number| host.seat(number as usize);
        (0..share).map(of).map(|(link, files)| Seat::On { link, files }).collect()
    };
    fleet.hosts.iter().zip(shares_of(fleet, scenario, case)).flat_map(seat).collect()
}

/// How many processes of a case each host has; none has any beyond those that the case asks for.
pub fn shares_of(fleet: &Fleet, scenario: &Scenario, case: &Point) -> Vec<u32> {
    let hosts = case.hosts.map_or(fleet.hosts.len(), |hosts| hosts as usize).min(fleet.hosts.len());
    let cores = |host: &Host| host.environment().cores.unwrap_or(1) as u32;
    let cores: Vec<u32> = fleet.hosts[..hosts].iter().map(cores).collect();
    // where hosts are an axis, none of them is idle
    shares(&cores, case.processes, u32::from(case.hosts.is_some()), scenario.hosts.spread)
}

/// How many of so many processes each host gets, of which its cores are given; at least `least` if there are enough.
fn shares(cores: &[u32], processes: u32, least: u32, spread: Spread) -> Vec<u32> {
    let mut shares = vec![0; cores.len()];
    let mut left = processes;
    let mut fill_up = |share: &mut u32, to: u32| {
        let more = to.saturating_sub(*share).min(left);
        *share += more;
        left -= more;
    };
    shares.iter_mut().for_each(|share| fill_up(share, least));
    if spread == Spread::Fill {
        shares.iter_mut().zip(cores).for_each(|(share, cores)| fill_up(share, *cores));
    }
    // what is left, one after the other
    (0..cores.len()).cycle().take(left as usize).for_each(|place| shares[place] += 1);
    shares
}

/// A round whose blocks may take at most `limit`. If time alone ends a case, its blocks take all of it.
pub fn within(round: &Round, limit: Option<Duration>, load: &Load) -> Round {
    let Some(limit) = limit else { return round.clone() };
    let least = round
        .stop
        .least
        .map(|least| if load.is_open_ended() { limit } else { least.min(limit) });
    Round { stop: StopRule { least, most: Some(limit), ..round.stop }, ..round.clone() }
}

/// One block of the job of a case's workers.
pub fn block(scenario: &Scenario, case: &Point, round: &Round, number: u32) -> Block {
    let seed = scenario.load.seed;
    let arrivals = |rate| Arrivals { rate, seed, block: number, process: 0, processes: case.processes };
    let think_time = Duration::from_secs_f64(case.think_time_ms.unwrap_or_default() / 1e3);
    let order = Draw { seed, block: number, process: 0 };
    Block {
        stop: round.stop,
        arrivals: case.rate.map(arrivals),
        order,
        think_time,
        judge: None,
        start_ns: 0,
    }
}

/// Requests planned for all processes; `None` if time alone ends the case.
pub fn planned(scenario: &Scenario, group: &Group, case: &Point) -> Option<u64> {
    let requests = group.rounds.iter().map(|round| asked_for(scenario, case, round)).sum();
    (requests > 0 && scenario.load.has_length()).then_some(requests)
}

/// Requests planned for all processes in one round.
pub fn asked_for(scenario: &Scenario, case: &Point, round: &Round) -> u64 {
    if let Some(requests) = scenario.load.arrival.requests() {
        return requests;
    }
    let block = block(scenario, case, round, 0);
    let requests = block.arrivals.map_or(block.stop.requests, |arrivals| block.arrivals_count(&arrivals));
    requests * u64::from(case.processes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_spread_evenly_or_fill_the_cores_of_hosts() {
        let cores = [4, 2, 8];
        let even = |processes| shares(&cores, processes, 0, Spread::Even);
        assert_eq!((even(1), even(3), even(8)), (vec![1, 0, 0], vec![1, 1, 1], vec![3, 3, 2]));
        let fill = |processes| shares(&cores, processes, 0, Spread::Fill);
        assert_eq!((fill(3), fill(5), fill(14)), (vec![3, 0, 0], vec![4, 1, 0], vec![4, 2, 8]));
        // beyond all cores
        assert_eq!(fill(16), [5, 3, 8]);
        // where the number of hosts is asked for, each has one
        assert_eq!(shares(&cores, 4, 1, Spread::Fill), [2, 1, 1]);
        assert_eq!(shares(&cores, 7, 1, Spread::Fill), [4, 2, 1]);
        assert_eq!(shares(&cores, 7, 1, Spread::Even), [3, 2, 2]);
        assert_eq!(shares(&[2], 5, 1, Spread::Even), [5]);
    }
}
