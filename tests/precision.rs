//! Measuring until the interval is narrow enough: how often it then holds the truth, and how often equal cases are
//! called different. Of simulated runs with seeds: nothing depends on timing.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use runner::statistics::{DELTA, Interval, Ratio, Sum, Verdict, is_precise, ratio, ratio_of_means, verdicts};

const RUNS: u64 = 1000;
const REQUESTS: usize = 40;
const ROUNDS_MAX: usize = 60;

/// A server's latencies: correlated from one request to the next, with a heavy tail, drifting, and a little different
/// in each block, as new processes are.
struct Server {
    generator: ChaCha8Rng,
    drift: f64,
    noise: f64,
}

impl Server {
    fn new(seed: u64) -> Self {
        Server { generator: ChaCha8Rng::seed_from_u64(seed), drift: 0.0, noise: 0.0 }
    }

    fn normal(&mut self) -> f64 {
        let [radius, angle]: [f64; 2] = [self.generator.random(), self.generator.random()];
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// The sum of a block's latencies, of a case that takes `level` on average.
    fn block(&mut self, level: f64) -> Sum {
        let of_block = 0.01 * self.normal();
        let mut sum = 0.0;
        for _ in 0..REQUESTS {
            self.noise = 0.7 * self.noise + 0.7_f64.mul_add(-0.7, 1.0).sqrt() * self.normal();
            // Pareto with a tail index of 2.5: finite variance, no finite kurtosis
            let tail = (1.0 - self.generator.random::<f64>()).powf(-1.0 / 2.5);
            let spike = if self.generator.random_bool(0.05) { 0.5 * tail } else { 0.0 };
            sum += level * (of_block + self.drift + 0.05 * self.noise).exp() * (1.0 + spike);
        }
        Sum { sum, over: REQUESTS as f64 }
    }

    /// The rounds of two cases, whose true ratio is `truth`, until the ratio is known within `precision`.
    fn measure(&mut self, truth: f64, precision: f64) -> (Vec<[Sum; 2]>, Option<Interval>) {
        let mut blocks = Vec::new();
        loop {
            self.drift += 0.005 * self.normal();
            // balanced orders
            let base_first = blocks.len().is_multiple_of(2);
            let first = self.block(if base_first { 1.0 } else { truth });
            let second = self.block(if base_first { truth } else { 1.0 });
            blocks.push(if base_first { [first, second] } else { [second, first] });
            if is_precise(&blocks, precision) || blocks.len() == ROUNDS_MAX {
                let interval = ratio_of_means(None, &blocks);
                return (blocks, interval);
            }
        }
    }
}

/// The verdict on a run, as tables give it.
fn verdict(blocks: &[[Sum; 2]], interval: Option<Interval>) -> Verdict {
    let mean = |side: Sum| side.sum / side.over;
    let by_blocks = ratio(&blocks.iter().map(|[base, other]| (mean(*other), mean(*base))).collect::<Vec<_>>());
    let judged = by_blocks.zip(interval).map(|(ratio, interval)| Ratio { interval, ..ratio });
    verdicts(&[judged], DELTA)[0].1
}

/// In how many of the runs the interval holds the truth, in how many a difference is seen, and the rounds on average.
fn runs(truth: f64, precision: f64) -> (u64, u64, f64) {
    let (mut covered, mut different, mut rounds) = (0, 0, 0);
    for seed in 0..RUNS {
        let (blocks, interval) = Server::new(seed).measure(truth, precision);
        covered += u64::from(interval.is_some_and(|it| it.low <= truth && truth <= it.high));
        different += u64::from(matches!(verdict(&blocks, interval), Verdict::Faster | Verdict::Slower));
        rounds += blocks.len();
    }
    (covered, different, rounds as f64 / RUNS as f64)
}

#[test]
fn the_interval_holds_the_truth_whenever_measuring_ends() {
    for precision in [0.05, 0.03, 0.02] {
        let (covered, different, rounds) = runs(1.0, precision);
        println!(
            "within {precision}: covered {covered}, called different {different}, {rounds:.1} rounds of {RUNS} runs"
        );
        assert!(covered >= 930 && different <= 50, "{precision}: {covered}, {different}");
    }
}
