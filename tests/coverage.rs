//! The coverage of a shown ratio's interval, and how often equal cases are called different: on simulated runs with
//! known ground truth, through the same code as every report.

use std::path::PathBuf;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runner::matrix::{Point, Protocol};
use runner::record::latencies::Latencies;
use runner::record::{BlockRecord, Record, Status, read_manifest};
use runner::report::comparisons::{Comparison, rows};
use runner::report::{Blocks, Run};
use runner::statistics::{group_of, groups};

/// The least coverage of the interval, which is nominally 95 %.
const COVERAGE: f64 = 0.93;
const WRONG_AT_MOST: f64 = 0.05;

/// How latencies arise: their logarithms follow an autoregressive process, whose mean changes from round to round
/// (the machine), and from block to block of one case (its processes).
#[derive(Clone, Copy)]
struct Model {
    blocks: usize,
    /// Requests of a block; or as many as fit into N milliseconds.
    length: Length,
    correlation: f64,
    deviation: f64,
    of_round: f64,
    of_block: f64,
    /// The other case's latencies over the base's.
    ratio: f64,
}

#[derive(Clone, Copy)]
enum Length {
    Requests(usize),
    Milliseconds(f64),
}

struct Simulation(ChaCha8Rng);

impl Simulation {
    fn normal(&mut self) -> f64 {
        let (radius, angle): (f64, f64) = (self.0.random(), self.0.random());
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    fn latencies(&mut self, model: &Model, round: f64, factor: f64) -> Vec<f64> {
        let level = (round + model.of_block * self.normal()).exp() * factor;
        let (mut state, mut sum, mut latencies) = (self.normal(), 0.0, Vec::new());
        loop {
            let done = match model.length {
                Length::Requests(requests) => latencies.len() == requests,
                Length::Milliseconds(most) => sum >= most,
            };
            if done {
                return latencies;
            }
            state = model.correlation * state + (1.0 - model.correlation.powi(2)).sqrt() * self.normal();
            let latency = 10.0 * level * (model.deviation * state).exp();
            sum += latency;
            latencies.push(latency);
        }
    }

    /// A run with the rows of `pairs` pairs of cases.
    fn run(&mut self, model: &Model, pairs: u32, manifest: &Run) -> Run {
        let mut run = manifest.clone();
        for batch_size in 1..=pairs {
            let mut round = 0.0;
            let rounds: Vec<f64> = (0..model.blocks)
                .map(|_| {
                    round += model.of_round * self.normal();
                    round
                })
                .collect();
            for (protocol, factor) in [(Protocol::Http, 1.0), (Protocol::Grpc, model.ratio)] {
                let case = Point { protocol, batch_size, ..Point::default() };
                self.case(model, case, &rounds, factor, &mut run);
            }
        }
        run
    }

    fn case(&mut self, model: &Model, case: Point, rounds: &[f64], factor: f64, run: &mut Run) {
        let mut kept = Latencies::new(rounds.len(), groups(rounds.len()));
        let mut all = Vec::new();
        for (place, round) in rounds.iter().enumerate() {
            let mut latencies = self.latencies(model, *round, factor);
            for latency in &mut latencies {
                // what a histogram of three digits makes of it
                *latency = (*latency * 1e3).round() / 1e3;
                kept.add(group_of(place, rounds.len()), (*latency * 1e6) as u64, 1);
            }
            all.extend_from_slice(&latencies);
            let seconds = latencies.iter().sum::<f64>() / 1e3;
            run.blocks.push(BlockRecord {
                case: case.clone(),
                block: place as u32,
                requests: latencies.len() as u64,
                mean_ms: Some(1e3 * seconds / latencies.len() as f64),
                duration_s: seconds,
                requests_per_s: Some(latencies.len() as f64 / seconds),
                p95_ms: Some(percentile(&mut latencies)),
                ..BlockRecord::default()
            });
        }
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let correlated = (1.0 + model.correlation) / (1.0 - model.correlation);
        run.records.push(Record {
            case,
            status: Status::Ok,
            requests: all.len() as u64,
            effective_requests: Some(all.len() as f64 / correlated),
            mean_ms: Some(mean),
            inferences_per_s: Some(1e3 / mean),
            p95_ms: Some(percentile(&mut all)),
            ..Record::default()
        });
        run.latencies.push(Some(kept));
    }
}

fn percentile(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((0.95 * values.len() as f64).ceil() as usize).max(1) - 1]
}

/// A run without rows.
fn empty() -> Run {
    let path = PathBuf::from("results/scrfd/2026-11-25T113021Z");
    let manifest = read_manifest(&path).unwrap();
    Run {
        path,
        compared: manifest.compared(&[]),
        manifest,
        records: Vec::new(),
        blocks: Blocks::default(),
        hosts: Vec::new(),
        stages: Vec::new(),
        cold_starts: Vec::new(),
        latencies: Vec::new(),
        asked: Vec::new(),
        torn: Vec::new(),
    }
}

/// With `effective` independent requests in all.
fn model(blocks: usize, effective: usize, correlation: f64) -> Model {
    let requests = (effective as f64 * (1.0 + correlation) / (1.0 - correlation) / blocks as f64).ceil() as usize;
    let length = Length::Requests(requests);
    Model { blocks, length, correlation, deviation: 0.2, of_round: 0.03, of_block: 0.01, ratio: 1.05 }
}

#[test]
fn the_interval_of_a_shown_ratio_holds_the_true_one() {
    let empty = empty();
    let timed = Model { length: Length::Milliseconds(1000.0), of_block: 0.05, ..model(10, 400, 0.5) };
    let models = [
        ("independent", Model { of_round: 0.0, of_block: 0.0, ..model(10, 250, 0.0) }),
        ("correlated", model(10, 250, 0.5)),
        ("strongly correlated", Model { of_block: 0.05, ..model(10, 250, 0.8) }),
        ("blocks of a time", timed),
        ("few blocks", model(6, 300, 0.5)),
        ("three blocks", model(3, 300, 0.5)),
        ("many blocks", model(20, 300, 0.3)),
        // the slowest blocks alone make the percentile
        ("drift", Model { deviation: 0.01, of_round: 0.05, of_block: 0.003, ..model(10, 400, 0.3) }),
    ];
    for (name, model) in models {
        let mut simulation = Simulation(ChaCha8Rng::seed_from_u64(7));
        let runs = 300;
        let mut held = [0; 3];
        for _ in 0..runs {
            let found = rows(&simulation.run(&model, 1, &empty));
            assert_eq!(found.len(), 3);
            for (held, row) in held.iter_mut().zip(&found) {
                let truth = if row.metric == "inferences_per_s" { 1.0 / model.ratio } else { model.ratio };
                *held += u32::from(row.ratio_low.unwrap() <= truth && truth <= row.ratio_high.unwrap());
                assert_eq!(row.interval, "pooled");
                let shown = row.other_value.unwrap() / row.baseline_value.unwrap();
                assert!((row.ratio.unwrap() / shown - 1.0).abs() < 1e-5, "{row:?}");
            }
        }
        let [mean, p95, rate] = held.map(|held| f64::from(held) / f64::from(runs));
        eprintln!("{name}: mean {mean:.3}, p95 {p95:.3}, throughput {rate:.3}");
        assert!([mean, p95, rate].iter().all(|held| *held >= COVERAGE), "{name}: {mean}, {p95}, {rate}");
    }
}

#[test]
fn equal_cases_are_seldom_called_different_and_a_difference_is_seen() {
    let empty = empty();
    let is_different = |row: &&Comparison| ["faster", "slower"].contains(&row.verdict.as_str());
    let base = Model { deviation: 0.1, ..model(10, 300, 0.5) };
    for model in [base, Model { of_block: 0.05, ..base }, Model { length: Length::Milliseconds(500.0), ..base }] {
        let mut simulation = Simulation(ChaCha8Rng::seed_from_u64(8));
        let (mut wrong, mut tables) = (0, 0);
        for _ in 0..100 {
            let found = rows(&simulation.run(&Model { ratio: 1.0, ..model }, 6, &empty));
            wrong += u32::from(found.iter().any(|row| is_different(&row)));
            tables += 1;
        }
        eprintln!("{wrong} of {tables} tables call equal cases different");
        assert!(f64::from(wrong) <= WRONG_AT_MOST * f64::from(tables), "{wrong} of {tables}");
    }
    let mut simulation = Simulation(ChaCha8Rng::seed_from_u64(9));
    let seen = rows(&simulation.run(&Model { ratio: 1.1, ..base }, 6, &empty));
    let judged = seen.iter().filter(|row| row.metric == "mean_ms");
    assert!(judged.clone().count() == 6 && judged.clone().all(|row| row.verdict == "slower"), "{seen:?}");
}
