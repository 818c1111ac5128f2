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
fn block(rate: f64, seconds: f64, bound: f64, service: Service, drawn: &mut ChaCha8Rng) -> (u64, u64) {
    let (mut at, mut free, mut requests, mut bad) = (0.0, 0.0_f64, 0, 0);
    loop {
        at += exponential(drawn) / rate;
        if at > seconds {
            return (requests, bad);
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

/// A search within a range, for a bound in seconds that a share of requests may break.
fn search(from: f64, to: f64, bound: f64, level: f64) -> Search {
    let name = if level == 0.05 { "p95" } else { "p99" };
    let bounds = bounds(&format!("{name}<{bound}s")).unwrap();
    assert_eq!(bounds[0].level(), level);
    Search::new((from, to), &bounds, false, (None, Duration::from_secs(60)))
}

/// A search with so many blocks of some seconds.
fn searched(service: Service, bound: f64, level: f64, blocks: usize, seconds: f64, seed: u64) -> Search {
    let mut drawn = ChaCha8Rng::seed_from_u64(seed);
    let mut search = search(20.0, 2000.0, bound, level);
    for _ in 0..blocks {
        let Some(rate) = search.next() else { break };
        let (requests, bad) = block(rate, seconds, bound, service, &mut drawn);
        search.add(rate, requests, &[bad]);
    }
    search
}

#[test]
fn the_formula_is_that_of_the_queue() {
    let mut drawn = ChaCha8Rng::seed_from_u64(3);
    for (service, bound) in [(Service::Constant, 0.012), (Service::Exponential, 0.03)] {
        let rate = truth(service, bound, 0.05);
        let found = block(rate, 20_000.0, bound, service, &mut drawn);
        let share = found.1 as f64 / found.0 as f64;
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
            let Capacity::Between { low, high, .. } = search.capacity() else { continue };
            known += 1;
            covered += u64::from(low <= truth && truth <= high);
            width += (high - low) / 2.0 / truth;
        }
        let width = width / known as f64;
        println!("{truth:.1}/s: {covered} of {known} cover it, known within {:.1} %", 100.0 * width);
        assert!(known == RUNS && covered >= 93, "{covered} of {known} cover {truth}");
        assert!(width < 0.07, "{width}");
    }
}

#[test]
fn few_requests_give_a_wide_interval_that_covers_the_capacity() {
    const RUNS: u64 = 100;
    // a server of 75 ms that is asked for a quarter of an hour, and bounds of 1 s, in units of this one
    const BUDGET: f64 = 24.0;
    let (bound, level) = (0.0267, 0.01);
    let truth = truth(Service::Constant, bound, level);
    let (mut covered, mut width) = (0, 0.0);
    for seed in 2000..2000 + RUNS {
        let mut drawn = ChaCha8Rng::seed_from_u64(seed);
        let mut search = search(100.0, 1e6, bound, level);
        search.budget = Duration::from_secs_f64(BUDGET);
        let mut spent = 0.0;
        while let Some(rate) = search.next().filter(|_| spent < BUDGET) {
            let seconds = search.length(Some(rate)).as_secs_f64();
            let (requests, bad) = block(rate, seconds, bound, Service::Constant, &mut drawn);
            search.add(rate, requests, &[bad]);
            spent += seconds;
        }
        let Capacity::Between { low, high, .. } = search.capacity() else {
            panic!("{seed}: {:?}", search.capacity())
        };
        covered += u64::from(low <= truth && truth <= high);
        width += (high - low) / 2.0 / truth / RUNS as f64;
    }
    println!("{truth:.1}/s: {covered} of {RUNS} cover it, known within {:.1} %", 100.0 * width);
    assert!(covered >= 93 && width < 0.3, "{covered} cover {truth}, {width}");
}

#[test]
fn stopping_once_it_is_known_well_enough_keeps_the_coverage() {
    const RUNS: u64 = 100;
    for (service, bound, level, precision) in
        [(Service::Constant, 0.012, 0.05, 0.03), (Service::Exponential, 0.03, 0.05, 0.05)]
    {
        let truth = truth(service, bound, level);
        let (mut covered, mut known, mut blocks) = (0, 0, 0);
        for seed in 1000..1000 + RUNS {
            let mut drawn = ChaCha8Rng::seed_from_u64(seed);
            let mut search = search(1.0, 1e6, bound, level);
            while search.tries() < 120 && !search.is_known(precision) {
                let Some(rate) = search.next() else { break };
                let seconds = search.length(Some(rate)).as_secs_f64();
                let (requests, bad) = block(rate, seconds, bound, service, &mut drawn);
                search.add(rate, requests, &[bad]);
            }
            blocks += search.tries();
            let Capacity::Between { low, high, .. } = search.capacity() else { continue };
            known += 1;
            covered += u64::from(low <= truth && truth <= high);
        }
        println!("{truth:.1}/s: {covered} of {known} cover it, after {} blocks", blocks as u64 / RUNS);
        assert!(known == RUNS && covered >= 93, "{covered} of {known} cover {truth}");
    }
}

#[test]
fn a_range_that_does_not_have_the_capacity_is_told() {
    let mut drawn = ChaCha8Rng::seed_from_u64(5);
    let mut tried = |from: f64, to: f64| {
        let mut search = search(from, to, 0.012, 0.05);
        while let Some(rate) = search.next().filter(|_| search.tries() < 50) {
            let (requests, bad) = block(rate, 4.0, 0.012, Service::Constant, &mut drawn);
            search.add(rate, requests, &[bad]);
        }
        search
    };
    assert_eq!(tried(20.0, 100.0).capacity(), Capacity::Above(100.0));
    let below = tried(700.0, 2000.0);
    assert_eq!((below.capacity(), below.tries()), (Capacity::Below(700.0), 8));
    assert_eq!(search(1.0, 2.0, 0.05, 0.01).capacity(), Capacity::Unknown);
    assert!(tried(20.0, 2000.0).capacity().precision().unwrap() < 0.06);
}

#[test]
fn a_server_without_late_requests_until_it_breaks_down_has_a_bracket_and_no_false_interval() {
    // all or nothing: no line says where between two rates it breaks
    let mut search = search(10.0, 1000.0, 0.05, 0.01);
    for _ in 0..30 {
        let Some(rate) = search.next() else { break };
        search.add(rate, 1000, &[if rate > 300.0 { 1000 } else { 0 }]);
    }
    match search.capacity() {
        Capacity::Between { low, high, .. } => assert!(low <= 301.0 && high >= 299.0, "{low} {high}"),
        capacity => assert_eq!(capacity, Capacity::Unknown),
    }
}

#[test]
fn where_nearly_all_is_good_or_bad_the_capacity_is_between() {
    // as measured: arrivals at constant distances, a model of 2.1 ms
    let mut search = search(1.0, 1e6, 0.012, 0.05);
    let good = [362.0, 430.5, 461.9, 465.7, 465.9, 468.1, 469.5, 471.1].map(|rate| (rate, 0));
    let bad = [(476.8, 561), (476.8, 560), (492.0, 706), (512.0, 754), (498.4, 726), (499.9, 731), (503.3, 742)];
    for (rate, bad) in good.into_iter().chain(bad) {
        search.add(rate, (1.5 * rate) as u64, &[bad]);
    }
    let Capacity::Between { value, low, high, .. } = search.capacity() else {
        panic!("{:?}", search.capacity())
    };
    assert!((471.0..477.0).contains(&value) && low > 450.0 && high < 485.0, "{value} {low} {high}");
}

#[test]
fn of_several_bounds_the_one_that_breaks_first_is_the_capacity() {
    let bounds = bounds("p95<12ms,p99<20ms,errors<1%").unwrap();
    let mut search = Search::new((20.0, 2000.0), &bounds, false, (None, Duration::from_secs(60)));
    let mut drawn = ChaCha8Rng::seed_from_u64(11);
    for _ in 0..60 {
        let Some(rate) = search.next() else { break };
        let seed = drawn.random();
        // the same arrivals, held against both
        let of = |bound| block(rate, 4.0, bound, Service::Constant, &mut ChaCha8Rng::seed_from_u64(seed));
        let ((requests, late), (_, later)) = (of(0.012), of(0.02));
        search.add(rate, requests, &[late, later, 0]);
    }
    let [of_p95, of_p99] = [(0.012, 0.05), (0.02, 0.01)].map(|(bound, level)| truth(Service::Constant, bound, level));
    let Capacity::Between { low, high, .. } = search.capacity() else {
        panic!("{:?}", search.capacity())
    };
    let least = of_p95.min(of_p99);
    assert!((0.99 * low..=1.01 * high).contains(&least), "{low} {high} {of_p95} {of_p99}");
}

#[test]
fn a_bound_that_only_an_overload_breaks_does_not_widen_the_interval() {
    let bounds = bounds("p99<50ms,errors<1%").unwrap();
    let mut search = Search::new((1.0, 1e6), &bounds, false, (None, Duration::from_secs(60)));
    for _ in 0..40 {
        let Some(rate) = search.next() else { break };
        // 1 % is late at 1100 a second; requests fail far beyond that alone
        let late = (100.0 * (rate / 1100.0_f64).powi(12)).min(10_000.0) as u64;
        search.add(rate, 10_000, &[late, if rate > 1400.0 { 2000 } else { 0 }]);
    }
    let found = search.capacity();
    let Capacity::Between { low, high, .. } = found else { panic!("{found:?}") };
    assert!(low > 1050.0 && high < 1150.0 && !found.is_assumed() && search.is_known(0.03), "{found:?}");
}

#[test]
fn requests_in_flight_are_whole_numbers() {
    let bounds = bounds("p99<50ms").unwrap();
    for kept in [1.0, 2.0, 3.0, 5.0, 40.0] {
        let mut search = Search::new((1.0, 64.0), &bounds, true, (None, Duration::from_secs(60)));
        for _ in 0..40 {
            let Some(rate) = search.next() else { break };
            assert_eq!(rate.fract(), 0.0);
            // the share grows with the load, and is 1 % between two whole numbers
            search.add(rate, 10_000, &[(100.0 * (rate / (kept + 0.5)).powi(12)).min(10_000.0) as u64]);
        }
        let Capacity::Between { value, low, high, .. } = search.capacity() else {
            panic!("{kept}: {:?}", search.capacity())
        };
        assert!(low <= kept && kept <= high, "{kept}: {value} {low} {high}");
        assert!(value.fract() == 0.0 && (value - kept).abs() <= 1.0, "{kept}: {value}");
    }
}

#[test]
fn blocks_are_as_long_as_bounds_need_and_the_budget_allows() {
    let search = |text: &str, budget| {
        Search::new((1.0, 1e6), &bounds(text).unwrap(), false, (None, Duration::from_secs(budget)))
    };
    // far from the edge
    assert_eq!(search("p99<50ms", 600).length(Some(5.0)), Duration::from_secs(1));
    assert_eq!(search("p99<50ms", 600).length(Some(1.0)), Duration::from_secs(5));
    assert_eq!(search("p99<1s", 600).length(Some(1.0)), Duration::from_secs(10));
    assert_eq!(search("p99<1s", 30).length(Some(1.0)), Duration::from_secs(2));
    let mut near = search("p99<50ms", 600);
    near.add(100.0, 1000, &[0]);
    near.add(110.0, 1000, &[100]);
    assert_eq!(near.length(Some(100.0)), Duration::from_secs(25));
    assert_eq!(near.length(Some(1000.0)), Duration::from_secs(4));
    assert_eq!(near.length(Some(10.0)), Duration::from_secs(40));
    assert_eq!(near.hopeless(1000.0), [200]);
    assert_eq!(near.hopeless(10.0), [20]);
}

#[test]
fn late_requests_of_the_first_block_do_not_end_the_search() {
    let (service, bound, level) = (Service::Exponential, 0.05, 0.01);
    let truth = truth(service, bound, level);
    for late in [1, 2, 4] {
        let mut drawn = ChaCha8Rng::seed_from_u64(late);
        let mut search = search(1.0, 1e6, bound, level);
        search.add(1.0, 4, &[late]);
        while search.tries() < 80 {
            let rate = search.next().unwrap_or_else(|| panic!("{late}: {:?}", search.capacity()));
            let (requests, bad) = block(rate, 8.0, bound, service, &mut drawn);
            search.add(rate, requests, &[bad]);
        }
        let Capacity::Between { value, .. } = search.capacity() else {
            panic!("{late}: {:?}", search.capacity())
        };
        assert!((value / truth - 1.0).abs() < 0.15, "{late}: {value} instead of {truth}");
    }
}

#[test]
fn the_highest_rate_is_kept_once_enough_requests_say_so() {
    let mut search = search(100.0, 200.0, 0.05, 0.01);
    search.add(100.0, 100, &[0]);
    // one request of 100 may be late
    let mut tried = 0;
    while let Some(rate) = search.next() {
        assert_eq!((rate, search.capacity()), (200.0, Capacity::Unknown));
        search.add(rate, 100, &[0]);
        tried += 1;
    }
    assert_eq!((search.capacity(), tried), (Capacity::Above(200.0), 7));
}

#[test]
fn a_rare_kind_of_error_that_does_not_happen_makes_no_block_longer() {
    let search = |text: &str, bad: &[u64]| {
        let bounds = bounds(text).unwrap();
        let mut search = Search::new((1.0, 1e6), &bounds, false, (None, Duration::from_secs(600)));
        search.add(100.0, 1000, &vec![0; bad.len()]);
        search.add(110.0, 1000, bad);
        search.length(Some(400.0))
    };
    let alone = search("p99<50ms", &[100]);
    assert_eq!(search("p99<50ms,errors<0.1%", &[100, 0]), alone);
    assert!(search("p99<50ms,errors<0.1%", &[0, 100]) > alone);
}
