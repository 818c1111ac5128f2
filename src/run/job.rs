//! Turns a point of the matrix into the job of a case's workers. The only place that gives axes their meaning.

use std::time::Duration;

use super::budget;
use crate::hosts::{Fleet, Host};
use crate::matrix::Point;
use crate::plan::{Group, Round};
use crate::preflight::Outputs;
use crate::scenario::{Load, Scenario, Spread, StopRule};
use crate::tensor::Tensors;
use crate::worker::message::{Arrivals, Block, Draw, Job};
use crate::worker::seat::Seat;

/// The job of a case's workers.
pub fn job(scenario: &Scenario, outputs: &Outputs, case: &Point, tensors: Tensors) -> Job {
    Job {
        protocol: case.protocol,
        address: scenario.server.address(case.protocol).clone(),
        model: scenario.model.clone(),
        inputs: scenario.inputs_of(case),
        outputs: outputs.of_batch(case.batch_size),
        batch_size: case.batch_size,
        concurrency: case.concurrency,
        connections: case.connections,
        encode: case.encode,
        tensors,
        parameters: scenario.parameters.clone(),
        distinct: case.distinct,
        request_ids: scenario.load.request_ids,
        verify_every: scenario.load.verify_every,
        verify_all: false,
        open_loop: case.rate.is_some(),
        warmup: scenario.load.warmup,
        warmup_cap_ms: scenario.load.stop.most.map(|cap| budget::of_warmup(cap).as_millis() as u64),
        timeout_ms: scenario.load.timeout.as_millis() as u64,
    }
}

/// Where each worker of a case is: on so many hosts as the case asks for, else on all, and without hosts on this machine.
pub fn seats(fleet: &Fleet, scenario: &Scenario, case: &Point) -> Vec<Seat> {
    let hosts = case.hosts.map_or(fleet.hosts.len(), |hosts| hosts as usize);
    let hosts = &fleet.hosts[..hosts.min(fleet.hosts.len())];
    if hosts.is_empty() {
        return Seat::here(case.processes);
    }
    let mut seats: Vec<usize> = match scenario.hosts.spread {
        Spread::Even => Vec::new(),
        Spread::Fill => {
            let cores = |host: &Host| host.environment().cores.unwrap_or(1);
            hosts.iter().enumerate().flat_map(|(place, host)| vec![place; cores(host)]).collect()
        }
    };
    // more than that are spread evenly
    seats.extend((0..hosts.len()).cycle().take((case.processes as usize).saturating_sub(seats.len())));
    seats.truncate(case.processes as usize);
    let mut taken = vec![0; hosts.len()];
    let seat = |place: usize| {
        let host = &hosts[place];
        let (link, files) = host.seat(taken[place]);
        taken[place] += 1;
        Seat::On { link, files }
    };
    seats.into_iter().map(seat).collect()
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
    let Load { arrival, seed, .. } = scenario.load;
    let arrivals = |rate| Arrivals { rate, arrival, seed, block: number, process: 0, processes: case.processes };
    let think_time = Duration::from_secs_f64(case.think_time_ms.unwrap_or_default() / 1e3);
    let order = Draw { seed, block: number, process: 0 };
    Block { stop: round.stop, arrivals: case.rate.map(arrivals), order, think_time, start_ns: 0 }
}

/// Requests planned for all processes; `None` if time alone ends the case.
pub fn planned(scenario: &Scenario, group: &Group, case: &Point) -> Option<u64> {
    let requests = group.rounds.iter().map(|round| asked_for(scenario, case, round)).sum();
    (requests > 0 && scenario.load.has_length()).then_some(requests)
}

/// Requests planned for all processes in one round.
pub fn asked_for(scenario: &Scenario, case: &Point, round: &Round) -> u64 {
    let block = block(scenario, case, round, 0);
    let requests = block.arrivals.map_or(block.stop.requests, |arrivals| block.arrivals_count(&arrivals));
    requests * u64::from(case.processes)
}
