//! A model of known behaviour that computes nothing: the ground truth that measurements are compared with.
//!
//! Its `config.pbtxt` sets `backend: "loopback"` and the parameters that `PARAMETERS` lists. Times have a unit:
//! `250us`, `4ms`, `1s`. Every execution, of one request or a batch, draws one service time.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::embedded::REQUEST_BYTES_MAX;
use crate::embedded::error::Error;
use crate::embedded::execute::backend::{Backend, Clock, scatter};
use crate::embedded::execute::infer::{Answer, Delivery, Tensor, ValidatedRequest};
use crate::embedded::execute::remembered::{Remembered, change};
use crate::embedded::lock;
use crate::embedded::model::config::{Config, Description};
use crate::tensor::element_count;

/// The parameters and their values.
pub const PARAMETERS: &[(&str, &str)] = &[
    ("service_time", "constant 2ms | uniform 1ms 3ms | exponential 2ms | bimodal 1ms 10ms 0.1 | pareto 1ms 2.5"),
    ("seed", "of everything that is drawn, a whole number; 1 if not given"),
    ("repeat_time", "service time of the same inputs as the ones before, such as 1ms: as from a cache"),
    ("warm_up", "50ms for 20 executions; what the first ones take beyond the service time"),
    ("wrong_values_after", "executions after which answers hold other values, a whole number"),
    ("stalls", "1s every 10s | 500ms at 2s, 1s at 7s; since the first request"),
    ("error_share", "share of requests that are answered with an error, 0 to 1"),
    ("wrong_shape_share", "share of answers whose outputs have one dimension too many"),
    ("reset_share", "share of requests whose connection is reset instead of an answer"),
    ("truncated_share", "share of answers that break off in the middle"),
    ("slow_share", "share of answers that are handed over in pieces"),
    ("slow_answer", "how long a slow answer takes, 100ms if not given"),
    ("copy.<output>", "the input that an output repeats; others are zeros"),
];

/// A parameter about other models' files, which means nothing here.
const WEIGHTS: &str = "weights";

/// A wait spins on the clock for its last part, because threads wake late.
const WATCHED: Duration = Duration::from_micros(120);

/// Longest service time, stall or slow answer.
const TIME_MAX: Duration = Duration::from_secs(3600);

/// Shortest gap between periodic stalls: each is stepped over individually.
const BETWEEN_STALLS: Duration = Duration::from_millis(1);

/// A loopback model.
pub struct Loopback {
    config: Arc<Config>,
    service_time: ServiceTime,
    /// What the first executions take beyond that, and how many are left.
    warm_up: (Duration, AtomicU64),
    remembered: Remembered,
    stalls: Stalls,
    shares: Vec<(f64, Fault)>,
    /// For each output, the input that it repeats.
    copies: Vec<Option<String>>,
    drawn: Mutex<ChaCha8Rng>,
    first: OnceLock<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ServiceTime {
    Constant(Duration),
    Uniform(Duration, Duration),
    Exponential(Duration),
    /// The second time with this probability, else the first.
    Bimodal(Duration, Duration, f64),
    /// Smallest time and tail index.
    Pareto(Duration, f64),
}

#[derive(Clone, Debug, PartialEq)]
enum Stalls {
    /// Begin and length, in increasing order.
    At(Vec<(Duration, Duration)>),
    /// Length and period; the first begins after one period.
    Every(Duration, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Error,
    WrongShape,
    Delivery(Delivery),
}

impl Loopback {
    /// Reads the parameters.
    ///
    /// # Errors
    /// An unknown parameter or a wrong value; the message names the key, the value and what was expected.
    pub fn new(config: Arc<Config>) -> Result<Self> {
        let known =
            |key: &str| key == WEIGHTS || key.starts_with("copy.") || PARAMETERS.iter().any(|(name, _)| *name == key);
        if let Some(key) = config.answer.parameters.keys().find(|key| !known(key)) {
            let names = PARAMETERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            bail!("parameter \"{key}\" is not one of a loopback model's: {names}");
        }
        let slow_answer = parsed(&config, "slow_answer", time)?.unwrap_or(Duration::from_millis(100));
        let kinds = [
            ("error_share", Fault::Error),
            ("wrong_shape_share", Fault::WrongShape),
            ("reset_share", Fault::Delivery(Delivery::Reset)),
            ("truncated_share", Fault::Delivery(Delivery::Truncated)),
            ("slow_share", Fault::Delivery(Delivery::Slow(slow_answer))),
        ];
        let mut shares = Vec::new();
        for (key, fault) in kinds {
            if let Some(share) = parsed(&config, key, share)? {
                shares.push((share, fault));
            }
        }
        let sum: f64 = shares.iter().map(|(share, _)| share).sum();
        ensure!(sum <= 1.0, "the shares of faults add up to {sum}: expected at most 1");
        for output in &config.outputs {
            // a failed allocation would end the server, not the request
            let bytes = zeros_of(output).1.and_then(|bytes| bytes.checked_mul(config.max_batch_size.max(1)));
            ensure!(
                bytes.is_some_and(|bytes| bytes <= REQUEST_BYTES_MAX),
                "output \"{}\": dims and max_batch_size give more than the {REQUEST_BYTES_MAX} bytes of a message",
                output.name
            );
        }
        let copies = (0..config.outputs.len()).map(|output| copied(&config, output)).collect::<Result<_>>()?;
        for key in config.answer.parameters.keys().filter_map(|key| key.strip_prefix("copy.")) {
            ensure!(config.outputs.iter().any(|output| output.name == key), "parameter \"copy.{key}\": no such output");
        }
        let seed = parsed(&config, "seed", |text| text.parse().ok())?.unwrap_or(1);
        let service_time = parsed(&config, "service_time", ServiceTime::parse)?;
        let stalls = parsed(&config, "stalls", Stalls::parse)?;
        let (beyond, executions) = parsed(&config, "warm_up", warm_up)?.unwrap_or_default();
        let right = parsed(&config, "wrong_values_after", |text| text.parse().ok())?;
        let remembered = Remembered::new(parsed(&config, "repeat_time", time)?, right);
        Ok(Loopback {
            service_time: service_time.unwrap_or(ServiceTime::Constant(Duration::ZERO)),
            warm_up: (beyond, AtomicU64::new(executions)),
            remembered,
            stalls: stalls.unwrap_or(Stalls::At(Vec::new())),
            shares,
            copies,
            drawn: Mutex::new(ChaCha8Rng::seed_from_u64(seed)),
            first: OnceLock::new(),
            config,
        })
    }

    fn answer(&self, requests: &[ValidatedRequest], faults: &[Option<Fault>]) -> Vec<Result<Answer, Error>> {
        let mut answers: Vec<_> = faults
            .iter()
            .map(|fault| match fault {
                Some(Fault::Error) => {
                    Err(Error::internal(format!("the model '{}' was asked to fail", self.config.name)))
                }
                Some(Fault::Delivery(delivery)) => Ok(Answer { outputs: Vec::new(), delivery: *delivery }),
                Some(Fault::WrongShape) | None => Ok(Answer { outputs: Vec::new(), delivery: Delivery::Whole }),
            })
            .collect();
        let items: usize = requests.iter().map(|request| request.batch).sum();
        for (output, copy) in self.copies.iter().enumerate() {
            let repeated = copy.as_deref().and_then(|name| self.repeated(requests, output, name));
            let shares = repeated.unwrap_or_else(|| {
                let (shape, data) = self.zeros(output, items);
                scatter(requests, &self.config, output, &shape, &data)
            });
            for (answer, share) in answers.iter_mut().zip(shares) {
                if let (Ok(answer), Some(share)) = (answer, share) {
                    answer.outputs.push(share);
                }
            }
        }
        for (answer, fault) in answers.iter_mut().zip(faults) {
            if let (Ok(answer), Some(Fault::WrongShape)) = (answer, fault) {
                answer.outputs.iter_mut().for_each(|output| output.shape.push(1));
            }
        }
        answers
    }

    /// Each request's own input as its output; `None` if the input is left out. Not split from a batch, because BYTES
    /// items may differ in length.
    fn repeated(&self, requests: &[ValidatedRequest], output: usize, name: &str) -> Option<Vec<Option<Tensor>>> {
        let copies = requests.iter().map(|request| {
            let input = request.inputs.iter().find(|input| input.name == name)?;
            let copy = || Tensor { name: self.config.outputs[output].name.clone(), ..input.clone() };
            Some(request.outputs.contains(&output).then(copy))
        });
        copies.collect()
    }

    /// The shape of one item and the bytes of the whole batch.
    fn zeros(&self, output: usize, items: usize) -> (Vec<usize>, Bytes) {
        let (shape, bytes) = zeros_of(&self.config.outputs[output]);
        (shape, Bytes::from(vec![0; bytes.unwrap_or(0) * items]))
    }
}

impl Backend for Loopback {
    fn execute(&self, requests: &[ValidatedRequest], clock: &mut Clock) -> Vec<Result<Answer, Error>> {
        clock.input_done();
        let first = *self.first.get_or_init(|| clock.started());
        let (service_time, faults) = {
            let mut drawn = lock(&self.drawn);
            let service_time = self.service_time.draw(&mut drawn);
            let faults: Vec<_> = requests.iter().map(|_| self.fault(&mut drawn)).collect();
            (service_time, faults)
        };
        let service_time = self.remembered.repeat_time(requests).unwrap_or(service_time);
        let is_cold = self.warm_up.1.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        let service_time = if is_cold { service_time + self.warm_up.0 } else { service_time };
        let end = self.stalls.end(clock.started().duration_since(first), service_time);
        wait_until(first + end);
        clock.infer_done();
        let mut answers = self.answer(requests, &faults);
        if self.remembered.is_wrong() {
            answers.iter_mut().flatten().flat_map(|answer| &mut answer.outputs).for_each(change);
        }
        answers
    }
}

impl Loopback {
    fn fault(&self, drawn: &mut ChaCha8Rng) -> Option<Fault> {
        if self.shares.is_empty() {
            return None;
        }
        let mut rest: f64 = drawn.random();
        for (share, fault) in &self.shares {
            if rest < *share {
                return Some(*fault);
            }
            rest -= share;
        }
        None
    }
}

impl ServiceTime {
    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match words[..] {
            ["constant", constant] => Some(ServiceTime::Constant(time(constant)?)),
            ["uniform", low, high] => {
                let (low, high) = (time(low)?, time(high)?);
                (low <= high).then_some(ServiceTime::Uniform(low, high))
            }
            ["exponential", mean] => Some(ServiceTime::Exponential(time(mean)?)),
            ["bimodal", one, other, probability] => {
                Some(ServiceTime::Bimodal(time(one)?, time(other)?, share(probability)?))
            }
            ["pareto", smallest, index] => {
                let index: f64 = index.parse().ok()?;
                (index > 0.0 && index.is_finite()).then_some(ServiceTime::Pareto(time(smallest)?, index))
            }
            _ => None,
        }
    }

    fn draw(self, drawn: &mut ChaCha8Rng) -> Duration {
        match self {
            ServiceTime::Constant(constant) => constant,
            ServiceTime::Uniform(low, high) => low + (high - low).mul_f64(drawn.random()),
            ServiceTime::Exponential(mean) => at_most(mean, -(1.0 - drawn.random::<f64>()).ln()),
            ServiceTime::Bimodal(one, other, probability) => {
                if drawn.random::<f64>() < probability {
                    other
                } else {
                    one
                }
            }
            ServiceTime::Pareto(smallest, index) => at_most(smallest, (1.0 - drawn.random::<f64>()).powf(-1.0 / index)),
        }
    }
}

/// What the first executions take beyond their service time, and how many these are.
fn warm_up(text: &str) -> Option<(Duration, u64)> {
    let (beyond, executions) = text.split_once(" for ")?;
    let executions = executions.trim().strip_suffix("executions")?.trim().parse().ok()?;
    Some((time(beyond.trim())?, executions))
}

/// `factor` times a duration, at most the longest service time.
fn at_most(duration: Duration, factor: f64) -> Duration {
    let seconds = duration.as_secs_f64() * factor;
    Duration::try_from_secs_f64(seconds).unwrap_or(TIME_MAX).min(TIME_MAX)
}

impl Stalls {
    fn parse(text: &str) -> Option<Self> {
        if let Some((length, period)) = text.split_once(" every ") {
            let (length, period) = (time(length.trim())?, time(period.trim())?);
            return (length + BETWEEN_STALLS <= period).then_some(Stalls::Every(length, period));
        }
        let mut stalls = Vec::new();
        for part in text.split(',') {
            let (length, begin) = part.split_once(" at ")?;
            stalls.push((time(begin.trim())?, time(length.trim())?));
        }
        stalls.sort_unstable();
        let apart = stalls.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0);
        apart.then_some(Stalls::At(stalls))
    }

    /// The first stall that ends after `at`: its begin and end.
    fn next(&self, at: Duration) -> Option<(Duration, Duration)> {
        match self {
            Stalls::At(stalls) => stalls
                .iter()
                .map(|(begin, length)| (*begin, *begin + *length))
                .find(|(_, end)| *end > at),
            Stalls::Every(length, period) => {
                let round = (at.as_nanos() / period.as_nanos()) as u64;
                let begin = |round| Duration::from_nanos(period.as_nanos() as u64 * round);
                let stall = |round| (begin(round), begin(round) + *length);
                let (begin, end) = stall(round.max(1));
                Some(if end > at { (begin, end) } else { stall(round + 1) })
            }
        }
    }

    /// The end of work that begins at `begin` and takes `work`, if everything stands still during a stall.
    fn end(&self, begin: Duration, work: Duration) -> Duration {
        let (mut at, mut left) = (begin, work);
        while let Some((stall, over)) = self.next(at) {
            if at + left <= stall {
                break;
            }
            left -= stall.saturating_sub(at);
            at = over;
        }
        at + left
    }
}

/// The value of a parameter; `None` if it is not given.
fn parsed<T>(config: &Config, key: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
    let Some(text) = config.parameter(key) else { return Ok(None) };
    let expected = PARAMETERS.iter().find(|(name, _)| *name == key).map_or("", |(_, expected)| *expected);
    parse(text)
        .map(Some)
        .with_context(|| format!("parameter \"{key}\" is \"{text}\": expected {expected}"))
}

/// The shape of one item of zeros, and its bytes unless they overflow. A free side is 1; an empty BYTES element is
/// its length, 0.
fn zeros_of(output: &Description) -> (Vec<usize>, Option<usize>) {
    let shape: Vec<usize> = output.model_dims().iter().map(|side| usize::try_from(*side).unwrap_or(1)).collect();
    let bytes = element_count(&shape).and_then(|count| count.checked_mul(output.datatype.size().unwrap_or(4)));
    (shape, bytes)
}

/// The input that an output repeats.
fn copied(config: &Config, output: usize) -> Result<Option<String>> {
    let output = &config.outputs[output];
    let Some(name) = config.parameter(&format!("copy.{}", output.name)) else {
        return Ok(None);
    };
    let input = config.inputs.iter().find(|input| input.name == name);
    let input = input.with_context(|| format!("parameter \"copy.{}\" is \"{name}\": no such input", output.name))?;
    ensure!(
        (input.datatype, input.model_dims()) == (output.datatype, output.model_dims()),
        "parameter \"copy.{}\": the input \"{name}\" has another data_type or other dims",
        output.name
    );
    Ok(Some(name.to_owned()))
}

/// `250us`, `4ms`, `1s`.
fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| character.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        _ => return None,
    };
    let number: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(number * scale).ok().filter(|time| *time <= TIME_MAX)
}

fn share(text: &str) -> Option<f64> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share))
}

fn wait_until(end: Instant) {
    let left = end.saturating_duration_since(Instant::now());
    if left > WATCHED {
        std::thread::sleep(left - WATCHED);
    }
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn service_times_have_the_means_that_were_asked_for() {
        let mean = |text: &str| {
            let service_time = ServiceTime::parse(text).unwrap();
            let mut drawn = ChaCha8Rng::seed_from_u64(7);
            (0..200_000).map(|_| service_time.draw(&mut drawn).as_secs_f64() * 1e3).sum::<f64>() / 200_000.0
        };
        for (text, expected) in [
            ("constant 2ms", 2.0),
            ("uniform 1ms 3ms", 2.0),
            ("exponential 2ms", 2.0),
            ("bimodal 1ms 11ms 0.1", 2.0),
            ("pareto 1ms 3", 1.5),
        ] {
            assert!((mean(text) / expected - 1.0).abs() < 0.02, "{text}: {}", mean(text));
        }
        for wrong in ["", "2ms", "constant 2", "uniform 3ms 1ms", "bimodal 1ms 2ms 2", "pareto 1ms 0", "constant -1ms"]
        {
            assert_eq!(ServiceTime::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn work_stands_still_during_a_stall() {
        let at = Stalls::parse("5ms at 10ms, 2ms at 20ms").unwrap();
        assert_eq!(at.end(MS * 2, MS * 3), MS * 5);
        assert_eq!(at.end(MS * 8, MS * 4), MS * 17);
        assert_eq!(at.end(MS * 12, MS), MS * 16);
        assert_eq!(at.end(MS * 9, MS * 7), MS * 23);
        assert_eq!(at.end(MS * 30, MS), MS * 31);
        let every = Stalls::parse("1ms every 10ms").unwrap();
        assert_eq!(every.end(Duration::ZERO, MS), MS);
        assert_eq!(every.end(MS * 9, MS * 2), MS * 12);
        assert_eq!(every.end(MS * 20, MS), MS * 22);
        assert_eq!(every.end(MS * 5, MS * 20), MS * 27);
        for wrong in ["", "1s", "2s every 1s", "0s every 1us", "5ms at 1ms, 1ms at 2ms", "1s at"] {
            assert_eq!(Stalls::parse(wrong), None, "{wrong}");
        }
    }
}
