//! Tests of schedules: their distributions, without any time passing.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::scenario::StopRule;
use crate::scenario::arrival::ArrivalFile;
use crate::worker::message::Draw;

const POISSON: ArrivalProcess = ArrivalProcess::Steady(Distances::Exponential);
const CONSTANT: ArrivalProcess = ArrivalProcess::Steady(Distances::Constant);

fn gamma_of(shape: f64) -> ArrivalProcess {
    ArrivalProcess::Steady(Distances::Gamma { shape })
}

fn arrivals(rate: f64, process: u32, processes: u32) -> Arrivals {
    Arrivals { rate, seed: 7, block: 3, process, processes }
}

fn block(count: u64, most: Option<Duration>) -> Block {
    let stop = StopRule { requests: count, least: None, most };
    Block {
        stop,
        arrivals: None,
        order: Draw::default(),
        think_time: Duration::ZERO,
        judge: None,
        start_ns: 0,
    }
}

/// The schedule of one of some processes, of `count` requests each.
fn of_process(arrival: &ArrivalProcess, arrivals: &Arrivals, count: u64) -> Schedule {
    let arrival = arrival.of_process(arrivals.process, arrivals.processes);
    Schedule::new(&arrival, &block(count, None), arrivals)
}

fn schedule(arrival: &ArrivalProcess, rate: f64, count: u64) -> Vec<u64> {
    of_process(arrival, &arrivals(rate, 0, 1), count).collect()
}

/// The schedules of all processes, in order.
fn merged(arrival: &ArrivalProcess, rate: f64, processes: u32, count: u64) -> Vec<u64> {
    let of = |process| of_process(arrival, &arrivals(rate, process, processes), count);
    let mut all: Vec<u64> = (0..processes).flat_map(of).collect();
    all.sort_unstable();
    all
}

fn distances(instants: &[u64]) -> Vec<f64> {
    instants.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect()
}

/// The largest distance between the distribution of some numbers and another.
fn kolmogorov_smirnov(mut numbers: Vec<f64>, distribution: impl Fn(f64) -> f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let count = numbers.len() as f64;
    let distance = |(index, number): (usize, &f64)| {
        let share = distribution(*number);
        (share - index as f64 / count).abs().max((share - (index + 1) as f64 / count).abs())
    };
    numbers.iter().enumerate().map(distance).fold(0.0, f64::max)
}

fn exponential_of(mean: f64) -> impl Fn(f64) -> f64 {
    move |distance| 1.0 - (-distance / mean).exp()
}

/// Critical value of the test at 0.1 % for so many numbers: several are tested here.
fn critical(count: usize) -> f64 {
    1.949 / (count as f64).sqrt()
}

/// The same at 5 %.
fn often_critical(count: usize) -> f64 {
    1.358 / (count as f64).sqrt()
}

/// The variance of distances over their squared mean.
fn dispersion(distances: &[f64]) -> f64 {
    let count = distances.len() as f64;
    let mean = distances.iter().sum::<f64>() / count;
    distances.iter().map(|distance| (distance - mean).powi(2)).sum::<f64>() / count / (mean * mean)
}

#[test]
fn poisson_distances_are_exponential_and_the_rate_is_kept() {
    let instants = schedule(&POISSON, 2000.0, 60_000);
    let distance = kolmogorov_smirnov(distances(&instants), exponential_of(500_000.0));
    assert!(distance < critical(instants.len() - 1), "{distance}");
    let rate = instants.len() as f64 / (*instants.last().unwrap() as f64 / 1e9);
    assert!((rate / 2000.0 - 1.0).abs() < 0.001, "{rate}");
    // and the test can fail
    let constant = schedule(&CONSTANT, 2000.0, 60_000);
    assert!(kolmogorov_smirnov(distances(&constant), exponential_of(500_000.0)) > 0.3);
}

#[test]
fn of_many_seeds_as_many_are_unlikely_as_chance_has_it() {
    let half = |distance: f64| statrs::function::erf::erf((distance / 1e6 / 2.0).sqrt());
    let rejected = |arrival: &ArrivalProcess, distribution: &dyn Fn(f64) -> f64| {
        let of = |seed| of_process(arrival, &Arrivals { seed, ..arrivals(1000.0, 0, 1) }, 2000).collect::<Vec<u64>>();
        let is_rejected = |seed: &u64| {
            let distances = distances(&of(*seed));
            let critical = often_critical(distances.len());
            kolmogorov_smirnov(distances, distribution) > critical
        };
        let uniform = |seed: &u64| {
            let places = of(*seed).iter().map(|instant| *instant as f64 / 2e9).collect();
            kolmogorov_smirnov(places, |share| share) > often_critical(2000)
        };
        [(0..200_u64).filter(is_rejected).count(), (0..200_u64).filter(uniform).count()]
    };
    // 10 of 200 are expected, and more than 20 in one of 1000 such tests; knowing the mean makes distances rather too alike
    let [distances, places] = rejected(&POISSON, &exponential_of(1e6));
    assert!(distances <= 20 && (2..=20).contains(&places), "{distances} {places}");
    let [distances, _] = rejected(&gamma_of(0.5), &half);
    assert!(distances <= 20, "{distances}");
    // and the test can fail
    let [distances, _] = rejected(&gamma_of(0.6), &half);
    assert!(distances > 20, "{distances}");
}

#[test]
fn processes_together_are_poisson_too() {
    let all = merged(&POISSON, 3000.0, 3, 10_000);
    let distance = kolmogorov_smirnov(distances(&all), exponential_of(1e9 / 3000.0));
    assert!(distance < critical(all.len() - 1), "{distance}");
}

#[test]
fn processes_take_turns_at_equal_distances() {
    let all = merged(&CONSTANT, 100.0, 4, 25);
    assert_eq!(all, (0..100).map(|n| n * 10_000_000).collect::<Vec<u64>>());
}

#[test]
fn the_same_seed_gives_the_same_schedule_and_others_give_others() {
    let on_off = ArrivalProcess::OnOff { on_s: 0.1, off_s: 0.4 };
    let stages = ArrivalProcess::Stages {
        stages: vec![Stage { duration_s: 2.0, target: 100.0 }],
        distances: Distances::Exponential,
    };
    for arrival in [POISSON, gamma_of(0.5), gamma_of(4.0), on_off, stages] {
        let base = arrivals(50.0, 0, 2);
        let of = |arrivals| of_process(&arrival, &arrivals, 100).collect::<Vec<u64>>();
        assert_eq!(of(base), of(base));
        for other in [Arrivals { seed: 8, ..base }, Arrivals { block: 4, ..base }, Arrivals { process: 1, ..base }] {
            assert_ne!(of(base), of(other), "{arrival:?}");
        }
    }
}

#[test]
fn gamma_distances_have_the_variance_of_their_shape_and_the_rate_is_kept() {
    for shape in [0.1, 0.5, 1.0, 4.0, 100.0] {
        let instants = schedule(&gamma_of(shape), 1000.0, 100_000);
        let found = dispersion(&distances(&instants)) * shape;
        // four standard errors of a variance, by its fourth moment: kurtosis 3 + 6 / shape
        let error = 4.0 * ((2.0 + 6.0 / shape) / instants.len() as f64).sqrt();
        assert!((found - 1.0).abs() < error, "shape {shape}: {found}, within {error}");
        let rate = instants.len() as f64 / (*instants.last().unwrap() as f64 / 1e9);
        assert!((rate / 1000.0 - 1.0).abs() < 0.001, "shape {shape}: {rate}");
    }
    // shape 1 is Poisson
    let instants = schedule(&gamma_of(1.0), 2000.0, 60_000);
    let distance = kolmogorov_smirnov(distances(&instants), exponential_of(500_000.0));
    assert!(distance < critical(instants.len() - 1), "{distance}");
    // half a squared normal deviate is gamma of shape 0.5; and the test can fail
    let chi = |distance: f64| statrs::function::erf::erf((distance / 500_000.0 / 2.0).sqrt());
    let instants = schedule(&gamma_of(0.5), 2000.0, 60_000);
    let distance = kolmogorov_smirnov(distances(&instants), chi);
    assert!(distance < critical(instants.len() - 1), "{distance}");
    let instants = schedule(&gamma_of(0.6), 2000.0, 60_000);
    assert!(kolmogorov_smirnov(distances(&instants), chi) > 0.02);
}

#[test]
fn processes_together_are_the_one_schedule_that_a_single_one_would_have() {
    let stages = |distances| ArrivalProcess::Stages {
        stages: vec![Stage { duration_s: 0.0, target: 100.0 }, Stage { duration_s: 3.1, target: 50.0 }],
        distances,
    };
    let due_ns: Arc<[u64]> = (0..601).map(|number| number * number * 1000).collect();
    let file = ArrivalFile { path: PathBuf::new(), words: String::new(), due_ns, length_ns: 400_000_000 };
    for arrival in [
        CONSTANT,
        gamma_of(0.3),
        stages(Distances::Constant),
        stages(Distances::Gamma { shape: 3.0 }),
        ArrivalProcess::File(file),
    ] {
        for processes in [1, 2, 3, 7] {
            let all = merged(&arrival, 200.0, processes, 420 / u64::from(processes));
            assert_eq!(all, merged(&arrival, 200.0, 1, 420), "{arrival:?} {processes}");
        }
    }
    // drawn by each process alone: as many, and from the same distribution
    let all = merged(&stages(Distances::Exponential), 200.0, 3, 0);
    assert_eq!(all.len(), merged(&stages(Distances::Constant), 200.0, 1, 0).len());
}

#[test]
fn arrivals_are_independent_while_on_and_none_comes_while_off() {
    let (on_s, off_s, rate) = (0.5, 1.5, 1000.0);
    let arrival = ArrivalProcess::OnOff { on_s, off_s };
    for processes in [1, 3] {
        let all = merged(&arrival, rate, processes, 30_000 / u64::from(processes));
        assert_eq!(all.len(), 30_000);
        let phase = |instant: &u64| instant % 2_000_000_000;
        assert!(all.iter().all(|instant| phase(instant) < 500_000_000), "{processes}");
        // 30 s are 15 periods: without what is off, a Poisson process of four times the rate
        assert_eq!(all.last().unwrap() / 2_000_000_000, 14);
        let on: Vec<u64> = all
            .iter()
            .map(|instant| instant / 2_000_000_000 * 500_000_000 + phase(instant))
            .collect();
        let distance = kolmogorov_smirnov(distances(&on), exponential_of(250_000.0));
        assert!(distance < critical(on.len() - 1), "{distance}");
        let uniform = kolmogorov_smirnov(on.iter().map(|instant| *instant as f64 / 7.5e9).collect(), |share| share);
        assert!(uniform < critical(on.len()), "{uniform}");
    }
    // the rate over a block is exact, whatever part of a period it ends in
    let cut = of_process(&arrival, &arrivals(rate, 0, 1), 2500);
    assert_eq!((cut.requests(), cut.length_ns()), (2500, 2_500_000_000));
}

#[test]
fn stages_arrive_as_the_area_below_their_rates_says() {
    let list = vec![
        Stage { duration_s: 0.0, target: 100.0 },
        Stage { duration_s: 10.0, target: 100.0 },
        Stage { duration_s: 20.0, target: 300.0 },
        Stage { duration_s: 0.0, target: 0.0 },
        Stage { duration_s: 5.0, target: 0.0 },
        Stage { duration_s: 0.0, target: 50.0 },
        Stage { duration_s: 5.0, target: 50.0 },
    ];
    let ramps = ramps(&list);
    for distances in [Distances::Constant, Distances::Exponential, Distances::Gamma { shape: 0.5 }] {
        let arrival = ArrivalProcess::Stages { stages: list.clone(), distances };
        let schedule = of_process(&arrival, &arrivals(1.0, 0, 1), 0);
        assert_eq!(schedule.length_ns(), 40_000_000_000);
        let all: Vec<u64> = schedule.collect();
        assert_eq!(all.len(), 1000 + 4000 + 250, "{distances:?}");
        assert!(all.is_sorted() && all.iter().all(|instant| !(30_000_000_000..35_000_000_000).contains(instant)));
        let area = requests_until(&ramps, 40.0);
        let shares: Vec<f64> = all.iter().map(|instant| requests_until(&ramps, *instant as f64 / 1e9) / area).collect();
        let off = kolmogorov_smirnov(shares, |share| share);
        let most = match distances {
            Distances::Constant => 1.01 / all.len() as f64,
            Distances::Exponential => critical(all.len()),
            // as many independent ones, by the variance of their number
            Distances::Gamma { shape } => critical((all.len() as f64 * shape) as usize),
        };
        assert!(off < most, "{distances:?}: {off}");
    }
    // equal distances while the rate stays
    let arrival = ArrivalProcess::Stages { stages: list, distances: Distances::Constant };
    let all = schedule(&arrival, 1.0, 0);
    assert_eq!(all[..3], [5_000_000, 15_000_000, 25_000_000]);
    assert!(distances(&all[5001..]).iter().all(|distance| (distance - 2e7).abs() < 2.0));
}

#[test]
fn a_longest_time_cuts_stages_and_files_and_leaves_one_request() {
    let stages = vec![Stage { duration_s: 10.0, target: 100.0 }];
    let arrival = ArrivalProcess::Stages { stages, distances: Distances::Constant };
    let within = |arrival: &ArrivalProcess, most_ms: u64| {
        let schedule = Schedule::new(arrival, &block(0, Some(Duration::from_millis(most_ms))), &arrivals(1.0, 0, 1));
        (schedule.requests(), schedule.length_ns(), schedule.last().unwrap())
    };
    let (count, length_ns, last) = within(&arrival, 5000);
    assert_eq!((count, length_ns), (125, 5_000_000_000));
    assert!(last < 5_000_000_000, "{last}");
    assert_eq!(within(&arrival, 20_000).0, 500);
    assert_eq!(within(&arrival, 1).0, 1);
    let due_ns: Arc<[u64]> = [1_000_000_000, 2_000_000_000, 3_000_000_000].into();
    let file = ArrivalFile { path: PathBuf::new(), words: String::new(), due_ns, length_ns: 3_000_000_000 };
    let arrival = ArrivalProcess::File(file);
    assert_eq!(within(&arrival, 2500), (2, 2_500_000_000, 2_000_000_000));
    assert_eq!(within(&arrival, 3001), (3, 3_000_000_000, 3_000_000_000));
    assert_eq!(within(&arrival, 10), (1, 10_000_000, 1_000_000_000));
}

proptest! {
    #[test]
    fn instants_are_in_order_and_within_their_time(
        rate in 0.001..1e6_f64,
        count in 0_u64..500,
        processes in 1_u32..5,
        kind in 0_usize..6,
        shape in 0.01..1000.0_f64,
        on_s in 0.001..1e3_f64,
        off_s in 0.0..1e3_f64,
    ) {
        let stages = vec![Stage { duration_s: on_s, target: rate }, Stage { duration_s: off_s, target: 0.0 }];
        let staged = ArrivalProcess::Stages { stages, distances: Distances::Gamma { shape } };
        let on_off = ArrivalProcess::OnOff { on_s, off_s };
        // not more than a test has time for
        let kind = if kind == 5 && rate * (on_s + off_s) > 1e5 { 0 } else { kind };
        let arrival = [CONSTANT, POISSON, gamma_of(shape), gamma_of(1.0), on_off, staged][kind].clone();
        let process = processes - 1;
        let schedule = of_process(&arrival, &arrivals(rate, process, processes), count);
        let (scheduled, length_ns) = (schedule.requests(), schedule.length_ns());
        let instants: Vec<u64> = schedule.collect();
        prop_assert_eq!(instants.len() as u64, scheduled);
        if kind != 5 {
            prop_assert_eq!(scheduled, count.max(1));
        }
        prop_assert!(instants.is_sorted());
        prop_assert!(instants.iter().all(|instant| *instant as f64 <= length_ns as f64 * (1.0 + 1e-9) + 1.0), "{:?} {}", instants, length_ns);
    }
}
