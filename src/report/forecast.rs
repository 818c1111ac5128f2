//! How long measuring would have to take for ratios to be as precise as asked for. Estimates from what was measured: the
//! width of an interval falls with the square root of the time.

use super::run::Run;
use super::verdicts::Compared;
use crate::record::Record;
use crate::statistics::Interval;

/// Fewest rounds of a precise ratio.
const ROUNDS: f64 = 6.0;
/// A normal deviate is within ± this with 95 % probability.
const Z95: f64 = 1.96;
/// Precisions to propose, coarsest first.
const PROPOSED: [f64; 6] = [0.2, 0.1, 0.05, 0.03, 0.02, 0.01];

/// How far the ratio may be off, as a part of it.
fn reach(Interval { value, low, high }: Interval) -> f64 {
    (high / value - 1.0).max(value / low - 1.0)
}

/// The seconds for which each of two compared cases would have to be measured. `None` if nothing is known of how much
/// its latencies vary.
pub fn seconds(run: &Run, cell: &Compared<'_>, precision: f64) -> Option<f64> {
    let both = [cell.pair.base, cell.pair.other];
    let measured = |row: &Record| run.blocks.of(row).iter().map(|block| block.duration_s).sum::<f64>();
    match cell.ratio {
        Some(ratio) => {
            let seconds = both.into_iter().map(measured).fold(0.0, f64::max);
            let least = ROUNDS / ratio.blocks.max(1) as f64;
            Some(seconds * (reach(ratio.interval) / precision).powi(2).max(least))
        }
        None => {
            let requests = 2.0 * (Z95 * variation(run)? / precision).powi(2);
            let each = |row: &Record| {
                let in_flight = f64::from(row.case.processes * row.case.concurrency);
                Some(row.mean_ms? / 1e3 * (requests / in_flight).max(ROUNDS))
            };
            both.into_iter().filter_map(each).reduce(f64::max)
        }
    }
}

/// How much latencies vary in a run: the standard deviation as a part of the mean, the median of its cases.
fn variation(run: &Run) -> Option<f64> {
    let of = |row: &Record| Some(row.stddev_ms? / row.mean_ms.filter(|mean| *mean > 0.0)?);
    let mut known: Vec<f64> = run.records.iter().filter(|row| row.requests > 2).filter_map(of).collect();
    known.sort_by(f64::total_cmp);
    known.get(known.len() / 2).copied()
}

/// A precision worth asking for, and the seconds that a run of it would take. `None` if all is precise already.
pub fn proposal(run: &Run, cells: &[Compared<'_>]) -> Option<(f64, f64)> {
    let of_means = || cells.iter().filter(|cell| cell.metric == super::metric::Metric::Mean);
    let worst = of_means()
        .map(|cell| cell.ratio.map_or(1.0, |ratio| reach(ratio.interval)))
        .fold(0.0, f64::max);
    let precision = PROPOSED.into_iter().find(|precision| *precision < 0.7 * worst)?;
    let of_case = |row: &Record| {
        let own = of_means().filter(|cell| [cell.pair.base, cell.pair.other].iter().any(|it| std::ptr::eq(*it, row)));
        own.filter_map(|cell| seconds(run, cell, precision)).fold(0.0, f64::max)
    };
    let all = run.records.iter().map(of_case).sum::<f64>();
    (all > 0.0).then_some((precision, all))
}

/// `40 s`, `6 min`, `2 h`: a time that is known roughly.
pub fn roughly(seconds: f64) -> String {
    let (value, unit) = match seconds {
        short if short < 90.0 => (short, "s"),
        short if short < 5400.0 => (short / 60.0, "min"),
        long => (long / 3600.0, "h"),
    };
    // one digit where more would pretend to be known
    let step = if value < 10.0 { 1.0 } else { 10_f64.powf(value.log10().floor()) / 2.0 };
    format!("{:.0} {unit}", (value / step).ceil() * step)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::matrix::{AxisId, Point, Protocol};
    use crate::record::BlockRecord;
    use crate::report::metric::{Metric, Pair};
    use crate::statistics::Ratio;

    /// A run of one pair: means of 100 and 80 ms that vary by 10 %, from ten blocks of 2 and 3 seconds, two requests in flight.
    fn run() -> Run {
        let mut run = Run::open(Path::new("results/scrfd/2026-11-25T113021Z")).unwrap();
        let row = |protocol, mean_ms: f64| Record {
            case: Point { protocol, concurrency: 2, ..Point::default() },
            requests: 1000,
            mean_ms: Some(mean_ms),
            stddev_ms: Some(mean_ms / 10.0),
            ..Record::default()
        };
        run.records = vec![row(Protocol::Http, 100.0), row(Protocol::Grpc, 80.0)];
        let blocks = run.records.iter().zip([2.0, 3.0]).flat_map(|(row, duration_s)| {
            (0..10).map(move |_| BlockRecord { case: row.case.clone(), duration_s, ..BlockRecord::default() })
        });
        run.blocks = blocks.collect();
        run
    }

    fn cell(run: &Run, ends: Option<(f64, f64)>) -> Compared<'_> {
        let interval = |(low, high): (f64, f64)| Interval { value: (low * high).sqrt(), low, high };
        Compared {
            pair: Pair { base: &run.records[0], other: &run.records[1], is_of_baseline: true },
            compared: AxisId::Protocol,
            metric: Metric::Mean,
            ratio: ends.map(|ends| Ratio { interval: interval(ends), p: 0.5, blocks: 10 }),
            pooled: true,
            corrected: None,
            verdict: None,
        }
    }

    fn assert_near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
    }

    #[test]
    fn twice_as_precise_takes_four_times_as_long() {
        let run = run();
        // within 20 % after 30 s, the longer of the two; a ratio's ends are as far off as their factors
        let wide = cell(&run, Some((0.9 / 1.2, 0.9 * 1.2)));
        assert_near(seconds(&run, &wide, 0.2), 30.0);
        assert_near(seconds(&run, &wide, 0.1), 120.0);
        // six rounds of ten are the least
        assert_near(seconds(&run, &wide, 5.0), 18.0);
        // the farther end counts
        let skew = Compared {
            ratio: Some(Ratio { interval: Interval { value: 1.0, low: 1.0 / 1.1, high: 1.2 }, p: 0.5, blocks: 10 }),
            ..wide
        };
        assert_near(seconds(&run, &skew, 0.1), 120.0);
        let skew = Compared {
            ratio: Some(Ratio { interval: Interval { value: 1.0, low: 1.0 / 1.2, high: 1.1 }, p: 0.5, blocks: 10 }),
            ..wide
        };
        assert_near(seconds(&run, &skew, 0.1), 120.0);
    }

    #[test]
    fn without_a_ratio_the_requests_and_their_variation_tell() {
        let mut run = run();
        // 2 (1.96 * 0.1 / 0.1)^2 requests of 100 ms, two at a time, are fewer than six; of the slower of the two
        assert_near(seconds(&run, &cell(&run, None), 0.1), 0.6);
        assert_near(seconds(&run, &cell(&run, None), 0.01), 0.1 * 2.0 * 19.6 * 19.6 / 2.0);
        // the variation is the median of the cases that have one
        run.records[0].stddev_ms = Some(50.0);
        assert_near(variation(&run), 0.5);
        run.records[0].requests = 2;
        assert_near(variation(&run), 0.1);
        run.records[0].requests = 3;
        assert_near(variation(&run), 0.5);
        run.records[1].mean_ms = Some(0.0);
        assert_near(variation(&run), 0.5);
        run.records[0].stddev_ms = None;
        assert_eq!((variation(&run), seconds(&run, &cell(&run, None), 0.1)), (None, None));
    }

    #[test]
    fn a_proposal_is_the_next_precision_and_the_time_of_all_cases() {
        let run = run();
        let proposed = |ends| proposal(&run, &[cell(&run, ends)]);
        let (precision, all) = proposed(Some((0.9 / 1.2, 0.9 * 1.2))).unwrap();
        assert_eq!(precision, 0.1);
        assert_near(Some(all), 2.0 * 120.0);
        // 0.7 of what is known is no progress
        assert_eq!(proposed(Some((1.0 / 1.0715, 1.0715))).unwrap().0, 0.05);
        assert_eq!(proposed(Some((1.0 / 1.0714, 1.0714))).unwrap().0, 0.03);
        assert_eq!(proposed(Some((0.99, 1.01))), None);
        assert_eq!(proposed(None).unwrap().0, 0.2);
        let p95 = Compared { metric: Metric::P95, ..cell(&run, Some((0.5, 2.0))) };
        assert_eq!(proposal(&run, &[p95]), None);
    }

    #[test]
    fn a_rough_time_has_few_digits() {
        let cases = [
            (0.4, "1 s"),
            (8.2, "9 s"),
            (41.0, "45 s"),
            (89.9, "90 s"),
            (90.0, "2 min"),
            (1500.0, "25 min"),
            (5399.0, "90 min"),
            (5400.0, "2 h"),
            (9.5, "10 s"),
            (10.0, "10 s"),
            (10.1, "15 s"),
            (20_000.0, "6 h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(roughly(seconds), expected);
        }
    }
}
