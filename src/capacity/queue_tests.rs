//! Queues whose capacity is known in closed form, simulated request by request.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// How long requests are served.
#[derive(Clone, Copy)]
enum Service {
    /// Always as long.
    Constant,
    /// Exponentially distributed.
    Exponential,
}

/// Mean service time in seconds.
const MEAN: f64 = 0.002;

fn exponential(drawn: &mut ChaCha8Rng) -> f64 {
    -(1.0 - drawn.random::<f64>()).ln()
}

/// A block of Poisson arrivals at a queue with one server, empty at first; of its first part nothing is counted.
fn block(rate: f64, seconds: f64, bound: f64, service: Service, drawn: &mut ChaCha8Rng) -> Try {
    let (mut at, mut free, mut requests, mut bad) = (0.0, 0.0_f64, 0, 0);
    loop {
        at += exponential(drawn) / rate;
        if at > seconds {
            return Try { rate, requests, bad };
        }
        free = free.max(at)
            + match service {
                Service::Constant => MEAN,
                Service::Exponential => MEAN * exponential(drawn),
            };
        if at > 0.25 * seconds {
            requests += 1;
            bad += u64::from(free - at > bound);
        }
    }
}

/// The share of requests of an M/D/1 queue that take longer than a bound (Erlang).
fn late_of_constant(rate: f64, bound: f64) -> f64 {
    let wait = bound - MEAN;
    let load = rate * MEAN;
    let mut sum = 0.0;
    let mut factorial = 1.0;
    for served in 0..=(wait / MEAN) as i32 {
        factorial *= f64::from(served.max(1));
        let x = rate * (f64::from(served) * MEAN - wait);
        sum += x.powi(served) * (-x).exp() / factorial;
    }
    1.0 - (1.0 - load) * sum
}

/// The capacity for a share of late requests.
fn truth(service: Service, bound: f64, level: f64) -> f64 {
    match service {
        Service::Exponential => 1.0 / MEAN - (1.0 / level).ln() / bound,
        Service::Constant => {
            let (mut low, mut high) = (1.0, 0.999 / MEAN);
            for _ in 0..60 {
                let middle = (low + high) / 2.0;
                if late_of_constant(middle, bound) <= level {
                    low = middle;
                } else {
                    high = middle;
                }
            }
            low
        }
    }
}

/// A search with so many blocks of some seconds.
fn searched(service: Service, bound: f64, level: f64, blocks: usize, seconds: f64, seed: u64) -> Search {
    let mut drawn = ChaCha8Rng::seed_from_u64(seed);
    let mut search = Search::new(20.0, 2000.0, level);
    for _ in 0..blocks {
        let Some(rate) = search.next() else { break };
        search.add(block(rate, seconds, bound, service, &mut drawn));
    }
    search
}

#[test]
fn the_formula_is_that_of_the_queue() {
    let mut drawn = ChaCha8Rng::seed_from_u64(3);
    for (service, bound) in [(Service::Constant, 0.012), (Service::Exponential, 0.03)] {
        let rate = truth(service, bound, 0.05);
        let found = block(rate, 20_000.0, bound, service, &mut drawn);
        let share = found.bad as f64 / found.requests as f64;
        assert!((share / 0.05 - 1.0).abs() < 0.03, "{share}");
    }
}

#[test]
fn the_interval_covers_the_capacity_of_known_queues() {
    const RUNS: u64 = 100;
    // a smaller share of bad requests takes longer to know
    for (service, bound, level, blocks, seconds) in [
        (Service::Constant, 0.012, 0.05, 40, 4.0),
        (Service::Exponential, 0.03, 0.05, 40, 4.0),
        (Service::Constant, 0.02, 0.01, 60, 8.0),
        (Service::Exponential, 0.05, 0.01, 60, 8.0),
    ] {
        let truth = truth(service, bound, level);
        let (mut covered, mut known, mut width) = (0, 0, 0.0);
        for seed in 0..RUNS {
            let search = searched(service, bound, level, blocks, seconds, seed);
            // a search that cannot tell says so
            let Capacity::Between { low, high, .. } = search.capacity() else { continue };
            known += 1;
            covered += u64::from(low <= truth && truth <= high);
            width += (high - low) / 2.0 / truth;
        }
        let width = width / known as f64;
        println!("{truth:.1}/s: {covered} of {known} cover it, known within {:.1} %", 100.0 * width);
        assert!(known >= 90 && 100 * covered >= 93 * known, "{covered} of {known} cover {truth}");
        assert!(width < 0.06, "{width}");
    }
}

#[test]
fn a_range_that_does_not_have_the_capacity_is_told() {
    let mut drawn = ChaCha8Rng::seed_from_u64(5);
    let mut tried = |from: f64, to: f64| {
        let mut search = Search::new(from, to, 0.05);
        while let Some(rate) = search.next().filter(|_| search.tries().len() < 50) {
            search.add(block(rate, 4.0, 0.012, Service::Constant, &mut drawn));
        }
        search
    };
    assert_eq!(tried(20.0, 100.0).capacity(), Capacity::Above(100.0));
    let search = tried(700.0, 2000.0);
    assert_eq!((search.capacity(), search.tries().len()), (Capacity::Below(700.0), 8));
    assert_eq!(Search::new(1.0, 2.0, 0.01).capacity(), Capacity::Unknown);
    assert!(tried(20.0, 2000.0).precision().unwrap() < 0.06);
}

#[test]
fn a_server_without_late_requests_until_it_breaks_down_has_a_bracket_and_no_false_interval() {
    // all or nothing: no line says where between two rates it breaks
    let mut search = Search::new(10.0, 1000.0, 0.01);
    for _ in 0..30 {
        let Some(rate) = search.next() else { break };
        search.add(Try { rate, requests: 1000, bad: if rate > 300.0 { 1000 } else { 0 } });
    }
    match search.capacity() {
        Capacity::Between { low, high, .. } => assert!(low <= 301.0 && high >= 299.0, "{low} {high}"),
        capacity => assert_eq!(capacity, Capacity::Unknown),
    }
}
