//! The load of a case: how much, how, and until when.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::super::error::{Document, Errors};
use super::super::tree::Table;
use super::super::words::known;
use super::super::{ArrivalProcess, Load, OnError, StopRule, WARMUP_PART, Warmup};
use super::arrival::stage_names;
use super::{Checked, SEED, bounds, number, whole};
use crate::matrix::Refusal;
use crate::spelling::Spelled;

pub(in super::super) const ITERATIONS: RangeInclusive<i64> = 1..=1_000_000_000;
pub(in super::super) const WARMUP: RangeInclusive<i64> = 0..=1_000_000;
const COLD_STARTS: RangeInclusive<i64> = 0..=1000;
/// A week.
pub(in super::super) const DURATION_S: RangeInclusive<f64> = 0.01..=604_800.0;
const BLOCKS: RangeInclusive<i64> = 1..=1000;
const PRECISION_HELP: &str = "give how far each ratio of means may be off, such as \"2%\"";
/// Precisions, and what is steady.
const PERCENT: RangeInclusive<f64> = 0.1..=50.0;
/// The longest time of a case that is measured until it is precise, unless the scenario has one.
const PRECISE_CAP: Duration = Duration::from_secs(600);
/// What its blocks share to begin with, unless the scenario says.
const PRECISE_LENGTH: Duration = Duration::from_secs(10);
const GOODPUT_MS: RangeInclusive<f64> = 0.001..=3_600_000.0;
const SHARE: RangeInclusive<f64> = 0.0..=1.0;
const TIMEOUT_S: RangeInclusive<f64> = 0.001..=86_400.0;
/// Requests of a process in a case, if nothing else ends it.
const ITERATIONS_DEFAULT: u64 = 1000;

/// Of so many answers the content of one is checked, unless the scenario says.
const VERIFY_EVERY_DEFAULT: u64 = 100;

/// `None` once there is an error; the errors of all keys are kept.
pub(super) fn load(
    document: &Document<'_>,
    table: &Table<'_>,
    (arrival, is_searched): (Option<&ArrivalProcess>, bool),
    errors: &mut Errors,
) -> Option<Load> {
    let read = |key, range: RangeInclusive<i64>, help: &str| {
        table
            .whole(key)
            .map(|value| whole(document, &value, range, help).map(i64::unsigned_abs))
            .transpose()
    };
    let iterations = read("iterations", ITERATIONS, "give the requests of one process in one case, such as 1000");
    let iterations = errors.keep(iterations);
    let warmup = "give the requests before anything is measured, such as 10, or 0 for none";
    let warmup = errors.keep(read("warmup", WARMUP, warmup));
    let blocks = errors.keep(read("blocks", BLOCKS, "give the blocks over which a case is spread, such as 10"));
    let seed = errors.keep(read("seed", SEED, "any integer from 0 is a seed, such as 7"));
    let verify_every = "give how many answers there are for one whose content is checked, such as 100, or 1 for all";
    let verify_every = errors.keep(read("verify_every", ITERATIONS, verify_every));
    let cold_starts = "give how often a model is unloaded and loaded again before it is measured, such as 5";
    let cold_starts = errors.keep(read("cold_starts", COLD_STARTS, cold_starts));
    let stage_names = errors.keep(stage_names(document, table));
    let precision = errors.keep(percentage(document, table, "precision", PRECISION_HELP));
    let steady = "give how far mean latencies may be apart when measuring begins, such as \"5%\"";
    let steady = errors.keep(percentage(document, table, "warmup_until", steady));
    let times = times(document, table, errors);
    let goodput = "give the milliseconds within which an answer is good, such as 50";
    let goodput = table
        .number("goodput_ms")
        .map(|value| number(document, &value, &GOODPUT_MS, goodput))
        .transpose();
    let goodput = errors.keep(goodput);
    let sweep_until = match table.value("sweep_until") {
        Some(_) => errors.keep(bounds::bounds(document, &table.table("sweep_until"))),
        None => Some(Vec::new()),
    };
    let max_error_share = errors.keep(max_error_share(document, table));
    let Times { duration, cap, timeout, warmup: warmup_least } = times?;
    let mut load = Load {
        stop: StopRule {
            requests: iterations?.unwrap_or(if duration.is_some() { 0 } else { ITERATIONS_DEFAULT }),
            least: duration,
            most: cap,
        },
        quick: false,
        precision: None,
        warmup: Warmup { requests: warmup?.unwrap_or(10), least: warmup_least, steady: steady? },
        cold_starts: cold_starts?.unwrap_or(0) as u32,
        blocks: blocks?.unwrap_or(10) as u32,
        timeout: timeout.unwrap_or(Duration::from_secs(30)),
        goodput: goodput?.map(|ms| Duration::from_secs_f64(ms / 1e3)),
        sweep_until: sweep_until?,
        max_error_share: max_error_share?,
        seed: seed?.unwrap_or(1),
        arrival: arrival?.clone(),
        stage_names: stage_names?,
        is_arrival_given: table.value("arrival").is_some(),
        request_ids: table.flag("request_ids").unwrap_or(false),
        verify_every: verify_every?.unwrap_or(VERIFY_EVERY_DEFAULT),
    };
    if let Some(length) = load.arrival.length() {
        (load.stop.requests, load.stop.least) = (0, Some(length * load.blocks));
    }
    match precision? {
        // the budget of a search is its longest time
        Some(precision) if is_searched => load.precision = Some(precision),
        Some(precision) => load.until_precise(precision, iterations.flatten().is_some()),
        None => {}
    }
    Some(load)
}

/// Whether a case has the time to warm up.
pub(super) fn warms_up_in_time(document: &Document<'_>, table: &Table<'_>, load: &Load) -> Checked<()> {
    let most = load.stop.most.map(|cap| cap / WARMUP_PART);
    match (load.warmup.least, most, table.value("warmup_s")) {
        (Some(asked), Some(most), Some(given)) if asked > most => {
            let expected = format!("at most a sixth of max_seconds_per_case, {:.3}", most.as_secs_f64());
            Err(document.unexpected(given, &expected, "lower it, or raise max_seconds_per_case"))
        }
        _ => Ok(()),
    }
}

impl Load {
    /// Measures until it is precise. Blocks share ten seconds, unless the scenario gives a case another length.
    pub(in super::super) fn until_precise(&mut self, precision: f64, has_iterations: bool) {
        self.precision = Some(precision);
        let cap = *self.stop.most.get_or_insert(PRECISE_CAP);
        if self.stop.least.is_none() && !has_iterations {
            (self.stop.requests, self.stop.least) = (0, Some(PRECISE_LENGTH.min(cap)));
        }
    }
}

/// Reads a percentage, as a part.
fn percentage(document: &Document<'_>, table: &Table<'_>, key: &str, help: &str) -> Checked<Option<f64>> {
    let read =
        |text: Spanned<String>| part(text.get_ref()).map_err(|expected| document.unexpected(&text, &expected, help));
    table.text(key).map(read).transpose()
}

/// A precision such as `2%`, as a part.
///
/// # Errors
/// What was expected, and the remedy.
pub(in super::super) fn precision(text: &str) -> Result<f64, Refusal> {
    part(text).map_err(|expected| (expected, PRECISION_HELP.to_owned()))
}

/// The part that a percentage such as `2%` is, or what was expected.
fn part(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    percent
        .filter(|percent| PERCENT.contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("a percentage from {}% to {}%", PERCENT.start(), PERCENT.end()))
}

/// The share of failed requests beyond which a case ends: that of `max_error_share`, or none at all with `on_error = "stop"`.
fn max_error_share(document: &Document<'_>, table: &Table<'_>) -> Checked<Option<f64>> {
    let on_error: Option<OnError> = one_of(document, table.text("on_error"))?;
    let given = table.number("max_error_share");
    let help = "give the share of requests that may fail, such as 0.01";
    let share = given.as_ref().map(|value| number(document, value, &SHARE, help)).transpose()?;
    match (on_error, given) {
        (Some(OnError::Stop), Some(given)) => {
            let help = "keep one of the two: on_error = \"stop\" lets none fail";
            Err(document.error(given.span(), "on_error = \"stop\" beside max_error_share", help))
        }
        (Some(OnError::Stop), None) => Ok(Some(0.0)),
        (Some(OnError::Continue) | None, _) => Ok(share),
    }
}

struct Times {
    duration: Option<Duration>,
    cap: Option<Duration>,
    timeout: Option<Duration>,
    warmup: Option<Duration>,
}

fn times(document: &Document<'_>, table: &Table<'_>, errors: &mut Errors) -> Option<Times> {
    let mut read = |key, range: RangeInclusive<f64>, help: &str| {
        let seconds = table.number(key).map(|value| number(document, &value, &range, help)).transpose();
        errors.keep(seconds.map(|seconds| seconds.map(Duration::from_secs_f64)))
    };
    let duration = read("duration_s", DURATION_S, "give the seconds that a case is measured, such as 30");
    let cap = "give the seconds after which a case ends whatever is left of it, such as 600";
    let cap = read("max_seconds_per_case", DURATION_S, cap);
    let timeout = read("timeout_s", TIMEOUT_S, "give the seconds that one request may take, such as 30");
    let warmup = "give the seconds that each process sends requests before anything is measured, such as 5";
    let warmup = read("warmup_s", DURATION_S, warmup);
    let times = Times { duration: duration?, cap: cap?, timeout: timeout?, warmup: warmup? };
    if let (Some(duration), Some(cap), Some(given)) = (times.duration, times.cap, table.value("max_seconds_per_case"))
        && cap < duration
    {
        let expected = format!("at least duration_s, {}", duration.as_secs_f64());
        errors.push(document.unexpected(given, &expected, "raise it, or lower duration_s"));
        return None;
    }
    Some(times)
}

/// A word of a list; the format check already ensured that it is known.
pub(super) fn one_of<T: Spelled>(document: &Document<'_>, word: Option<Spanned<String>>) -> Checked<Option<T>> {
    word.map(|word| known(document, &word)).transpose()
}
