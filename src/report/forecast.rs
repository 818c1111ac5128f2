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
    use super::*;

    #[test]
    fn a_rough_time_has_few_digits() {
        let cases =
            [(0.4, "1 s"), (8.2, "9 s"), (41.0, "45 s"), (100.0, "2 min"), (1500.0, "25 min"), (20_000.0, "6 h")];
        for (seconds, expected) in cases {
            assert_eq!(roughly(seconds), expected);
        }
    }
}
