//! Statistics over many requests: histograms, exact sums, error counts. Memory does not grow with their number, and
//! merging loses nothing. Knows no other module.

mod encoded;
mod snapshot;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

pub use encoded::decoded;
pub use snapshot::{PartSnapshot, RecorderSnapshot};

/// Upper bound of the histogram, one hour in nanoseconds; the same bounds everywhere make merging lossless.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of a bucket.
const DIGITS: u8 = 3;

/// Durations in nanoseconds: a histogram, with exact count, sums and extremes.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    histogram: Histogram<u64>,
    sum_ns: u128,
    sum_of_squares: u128,
    min_ns: u64,
    max_ns: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, HIGHEST_NS, DIGITS);
        Distribution {
            histogram: histogram.expect("constant bounds are valid"),
            sum_ns: 0,
            sum_of_squares: 0,
            min_ns: u64::MAX,
            max_ns: 0,
        }
    }
}

impl Distribution {
    fn clear(&mut self) {
        self.histogram.reset();
        (self.sum_ns, self.sum_of_squares, self.min_ns, self.max_ns) = (0, 0, u64::MAX, 0);
    }

    /// Counts one duration.
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns);
        self.sum_ns += u128::from(ns);
        self.sum_of_squares += u128::from(ns) * u128::from(ns);
        self.min_ns = self.min_ns.min(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    /// Adds another's contents, as if everything had been recorded here.
    pub fn merge(&mut self, other: &Distribution) {
        self.histogram.add(&other.histogram).expect("all distributions have the same bounds");
        self.sum_ns += other.sum_ns;
        self.sum_of_squares = self.sum_of_squares.saturating_add(other.sum_of_squares);
        self.min_ns = self.min_ns.min(other.min_ns);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Exact mean in nanoseconds; `None` if empty.
    pub fn mean_ns(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum_ns as f64 / self.count() as f64)
    }

    /// Exact sample standard deviation in nanoseconds; `None` with fewer than two.
    pub fn stddev_ns(&self) -> Option<f64> {
        let count = u128::from(self.count());
        if count < 2 {
            return None;
        }
        // n * sum(x^2) - sum(x)^2 in integers: no cancellation
        let scaled = count
            .checked_mul(self.sum_of_squares)?
            .checked_sub(self.sum_ns.checked_mul(self.sum_ns)?)?;
        Some((scaled as f64 / (count as f64 * (count - 1) as f64)).sqrt())
    }

    /// Exact smallest in nanoseconds.
    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.min_ns)
    }

    /// Exact largest in nanoseconds.
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    /// The quantile `q` in nanoseconds, to three significant digits.
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        (self.count() > 0).then(|| self.histogram.value_at_quantile(q).clamp(self.min_ns, self.max_ns))
    }

    /// Each duration in nanoseconds and how often it was seen, shortest first, to three significant digits, rounded up but to no more
    /// than the largest.
    pub fn counts(&self) -> impl Iterator<Item = (u64, u64)> {
        let recorded = self.histogram.iter_recorded();
        recorded.map(|step| (step.value_iterated_to().min(self.max_ns), step.count_at_value()))
    }

    /// The histogram, for a standard log.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }
}

/// The times of an answered request, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTiming {
    /// Time to the answer's last byte: from the request's start in a closed loop, from its due time in an open one.
    pub latency: u64,
    /// The same from the request's start, in an open loop.
    pub service: Option<u64>,
    /// Phases of the time from the request's start; `None` if several requests share a connection.
    pub split: Option<Phases>,
}

/// The phases of a request, which add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// The client's time until the last byte was handed to the system.
    pub send: u64,
    /// The rest of the time until the answer's head: the server takes more of the request, and answers.
    pub wait: u64,
    /// From there to the answer's last byte.
    pub receive: u64,
}

/// Sums of batches of 1, 2, 4 .. consecutive latencies, which show how strongly latencies are correlated. Memory
/// grows with the logarithm of their number. Merging adds the complete batches of several sequences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sequence {
    levels: Vec<Level>,
}

/// All batches of one length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Level {
    count: u64,
    /// Mean of the batches' sums in nanoseconds. A float, since it serves a variance, which tolerates the rounding.
    mean: f64,
    /// Sum of squared distances from that mean.
    squares: f64,
    /// The sum of a batch whose second half is still missing.
    half: Option<f64>,
}

impl Sequence {
    fn record(&mut self, ns: u64) {
        let mut sum = ns as f64;
        for place in 0.. {
            if place == self.levels.len() {
                self.levels.push(Level::default());
            }
            let level = &mut self.levels[place];
            level.add(sum);
            match level.half.take() {
                Some(first) => sum += first,
                None => {
                    level.half = Some(sum);
                    return;
                }
            }
        }
    }

    fn merge(&mut self, other: &Sequence) {
        if self.levels.len() < other.levels.len() {
            self.levels.resize_with(other.levels.len(), Level::default);
        }
        for (mine, theirs) in self.levels.iter_mut().zip(&other.levels) {
            mine.merge(theirs);
        }
        // the next sequence does not continue this one
        self.levels.iter_mut().for_each(|level| level.half = None);
    }

    /// Whether these can be the batches of so many latencies.
    fn is_of(&self, latencies: u64) -> bool {
        let mut levels = self.levels.iter().zip(0_u32..);
        levels.all(|(level, power)| {
            level.count <= latencies.checked_shr(power).unwrap_or(0) && level.squares >= 0.0 && power < u64::BITS
        })
    }

    /// Length and number of batches, and the sample variance of their means in square nanoseconds.
    pub fn batches(&self) -> impl Iterator<Item = (u64, u64, f64)> {
        self.levels
            .iter()
            .zip(0_u32..)
            .filter(|(level, _)| level.count > 1)
            .map(|(level, power)| {
                let length = 2_f64.powi(power as i32);
                (1 << power, level.count, level.squares / (level.count - 1) as f64 / (length * length))
            })
    }
}

impl Level {
    /// Welford's and Chan's algorithm: sums of squares would cancel.
    fn add(&mut self, sum: f64) {
        self.count += 1;
        let distance = sum - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (sum - self.mean);
    }

    fn merge(&mut self, other: &Level) {
        if other.count == 0 {
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.mean += distance * theirs / (mine + theirs);
        self.squares += other.squares + distance * distance * mine * theirs / (mine + theirs);
        self.count += other.count;
    }
}

/// Latencies, their phases, and errors by kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recorder {
    /// See [`RequestTiming::latency`].
    pub latency: Distribution,
    /// See [`RequestTiming::service`]; empty in a closed loop.
    pub service: Distribution,
    /// How late requests of an open loop were sent, answered or not; empty in a closed loop.
    pub lateness: Distribution,
    /// See [`Phases::send`].
    pub send: Distribution,
    /// See [`Phases::wait`].
    pub wait: Distribution,
    /// See [`Phases::receive`].
    pub receive: Distribution,
    /// The latencies in order.
    pub sequence: Sequence,
    errors: BTreeMap<String, u64>,
}

/// The latencies of some of the requests, and how many of them had no good answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// See [`RequestTiming::latency`].
    pub latency: Distribution,
    /// Requests without a good answer.
    pub errors: u64,
}

impl Part {
    /// So many empty parts, in the memory of those that there are.
    pub fn clear_all(parts: &mut Vec<Part>, count: usize) {
        parts.resize_with(count, Part::default);
        for part in parts {
            part.latency.clear();
            part.errors = 0;
        }
    }

    /// Counts a request, by its latency if it was answered.
    pub fn record(&mut self, latency: Option<u64>) {
        match latency {
            Some(ns) => self.latency.record(ns),
            None => self.errors += 1,
        }
    }

    /// Adds parts of other requests, one by one.
    pub fn merge_all(mine: &mut Vec<Part>, others: &[Part]) {
        if mine.len() < others.len() {
            mine.resize_with(others.len(), Part::default);
        }
        for (mine, other) in mine.iter_mut().zip(others) {
            mine.latency.merge(&other.latency);
            mine.errors = mine.errors.saturating_add(other.errors);
        }
    }
}

impl Recorder {
    /// Forgets everything but keeps the memory, so that recording never waits for the system to provide it.
    pub fn clear(&mut self) {
        self.distributions_mut().into_iter().for_each(Distribution::clear);
        self.sequence.levels.clear();
        self.errors.clear();
    }

    /// Counts one answered request.
    pub fn record(&mut self, parts: RequestTiming) {
        self.latency.record(parts.latency);
        self.sequence.record(parts.latency);
        if let Some(service) = parts.service {
            self.service.record(service);
        }
        if let Some(split) = parts.split {
            self.send.record(split.send);
            self.wait.record(split.wait);
            self.receive.record(split.receive);
        }
    }

    /// Counts one request without a good answer.
    pub fn record_error(&mut self, kind: &str) {
        match self.errors.get_mut(kind) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(kind.to_owned(), 1)),
        }
    }

    /// Adds another recorder's contents, as if everything had been recorded here.
    pub fn merge(&mut self, other: &Recorder) {
        for (mine, others) in self.distributions_mut().into_iter().zip(other.distributions()) {
            mine.merge(others);
        }
        self.sequence.merge(&other.sequence);
        for (kind, count) in &other.errors {
            *self.errors.entry(kind.clone()).or_default() += count;
        }
    }

    /// Answered requests.
    pub fn count(&self) -> u64 {
        self.latency.count()
    }

    /// Requests without a good answer.
    pub fn error_count(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Requests that were answered or failed.
    pub fn settled(&self) -> u64 {
        self.count() + self.error_count()
    }

    /// Errors by kind.
    pub fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    fn distributions(&self) -> [&Distribution; 6] {
        [&self.latency, &self.service, &self.lateness, &self.send, &self.wait, &self.receive]
    }

    fn distributions_mut(&mut self) -> [&mut Distribution; 6] {
        let Recorder { latency, service, lateness, send, wait, receive, .. } = self;
        [latency, service, lateness, send, wait, receive]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn recorded(latencies: &[u64]) -> Recorder {
        let mut recorder = Recorder::default();
        for latency in latencies {
            let (send, wait) = (latency / 7, latency / 2);
            let split = Phases { send, wait, receive: latency - send - wait };
            recorder.record(RequestTiming { latency: *latency, service: Some(*latency), split: Some(split) });
            recorder.lateness.record(send);
        }
        recorder
    }

    proptest! {
        #[test]
        fn merging_is_recording_everything_in_one(parts in prop::collection::vec(prop::collection::vec(1..HIGHEST_NS, 0..50), 1..16)) {
            let mut merged = Recorder::default();
            for part in &parts {
                merged.merge(&recorded(part));
            }
            let mut whole = recorded(&parts.concat());
            // a batch does not span two sequences
            let single = |recorder: &Recorder| recorder.sequence.batches().next();
            if let (Some((_, count, variance)), Some((_, of_whole, expected))) = (single(&merged), single(&whole)) {
                prop_assert_eq!(count, of_whole);
                prop_assert!((variance - expected).abs() <= 1e-9 * expected);
            }
            merged.sequence = Sequence::default();
            whole.sequence = Sequence::default();
            prop_assert_eq!(merged, whole);
        }

        #[test]
        fn a_cleared_one_is_as_new(latencies in prop::collection::vec(1..HIGHEST_NS, 0..50)) {
            let mut recorder = recorded(&latencies);
            recorder.record_error("timeout");
            recorder.clear();
            prop_assert_eq!(&recorder, &Recorder::default());
        }

        #[test]
        fn the_wire_loses_nothing(latencies in prop::collection::vec(1..HIGHEST_NS, 0..200), errors in 0_u64..5) {
            let mut recorder = recorded(&latencies);
            (0..errors).for_each(|_| recorder.record_error("timeout"));
            let text = serde_json::to_string(&recorder.to_snapshot().unwrap()).unwrap();
            prop_assert_eq!(Recorder::from_snapshot(serde_json::from_str(&text).unwrap()).unwrap(), recorder);
        }

        #[test]
        fn mean_and_deviation_are_exact(latencies in prop::collection::vec(1..10_000_000_000_u64, 2..100)) {
            let recorder = recorded(&latencies);
            let count = latencies.len() as f64;
            let mean = latencies.iter().map(|x| *x as f64).sum::<f64>() / count;
            let variance = latencies.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / (count - 1.0);
            prop_assert!((recorder.latency.mean_ns().unwrap() - mean).abs() <= 1e-9 * mean);
            prop_assert!((recorder.latency.stddev_ns().unwrap() - variance.sqrt()).abs() <= 1e-6 * (1.0 + variance.sqrt()));
        }
    }

    #[test]
    fn quantiles_stay_within_what_was_seen() {
        let recorder = recorded(&(1..=1000).map(|n| n * 1_000_003).collect::<Vec<_>>());
        let p50 = recorder.latency.quantile_ns(0.5).unwrap() as f64;
        assert!((p50 / 500_001_500.0 - 1.0).abs() < 0.002, "{p50}");
        assert_eq!(recorder.latency.quantile_ns(1.0), recorder.latency.max_ns());
        assert_eq!(recorded(&[]).latency.quantile_ns(0.5), None);
        assert_eq!(recorded(&[5]).latency.stddev_ns(), None);
    }
}
