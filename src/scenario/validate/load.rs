//! How much is asked in a case, how, and when it ends.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;

use super::super::error::Document;
use super::super::{Arrival, Encode, Load, wire};
use super::{Checked, SEED, meant, number, whole};

pub(in super::super) const ITERATIONS: RangeInclusive<i64> = 1..=1_000_000_000;
pub(in super::super) const WARMUP: RangeInclusive<i64> = 0..=1_000_000;
/// A week.
pub(in super::super) const DURATION_S: RangeInclusive<f64> = 0.01..=604_800.0;
const BLOCKS: RangeInclusive<i64> = 1..=1000;
const TIMEOUT_S: RangeInclusive<f64> = 0.001..=86_400.0;
/// Requests of a process in a case, where nothing else ends it.
const ITERATIONS_DEFAULT: u64 = 1000;

pub(super) fn load(document: &Document<'_>, wire: &wire::Load) -> Checked<Load> {
    let count = |value: &Option<Spanned<i64>>, range: RangeInclusive<i64>, help: &str| {
        value.as_ref().map(|value| whole(document, value, range, help).map(i64::unsigned_abs)).transpose()
    };
    let seconds = |value: &Option<Spanned<f64>>, range: RangeInclusive<f64>, help: &str| {
        let seconds = value.as_ref().map(|value| number(document, value, &range, help)).transpose()?;
        Ok(seconds.map(Duration::from_secs_f64))
    };
    let iterations = count(&wire.iterations, ITERATIONS, "give the requests of one process in one case, such as 1000")?;
    let duration = seconds(&wire.duration_s, DURATION_S, "give the seconds that a case is measured, such as 30")?;
    let cap = seconds(
        &wire.max_seconds_per_case,
        DURATION_S,
        "give the seconds after which a case ends whatever is left of it, such as 600",
    )?;
    if let (Some(duration), Some(cap), Some(wire)) = (duration, cap, &wire.max_seconds_per_case)
        && cap < duration
    {
        let help = "raise it, or lower duration_s";
        return Err(document.unexpected(wire, &format!("at least duration_s, {}", duration.as_secs_f64()), help));
    }
    let arrival = one_of(document, wire.arrival.as_ref(), &Arrival::ALL, "requests arrive in one of these ways")?;
    if let (None, Some(arrival)) = (&wire.rate, &wire.arrival) {
        let help = "add `rate` to [load], in requests per second, or leave `arrival` out: without a rate every request \
                    waits for the one before it";
        return Err(document.error(arrival.span(), "there is no rate at which requests could arrive", help));
    }
    let encode = one_of(document, wire.encode.as_ref(), &Encode::ALL, "a request is encoded at one of these times")?;
    Ok(Load {
        iterations: iterations.unwrap_or(if duration.is_some() { 0 } else { ITERATIONS_DEFAULT }),
        duration,
        cap,
        quick: false,
        warmup: count(
            &wire.warmup,
            WARMUP,
            "give the requests before anything is measured, such as 10, or 0 for none",
        )?
        .unwrap_or(10),
        blocks: count(&wire.blocks, BLOCKS, "give the blocks over which a case is spread, such as 10")?.unwrap_or(10)
            as u32,
        timeout: seconds(&wire.timeout_s, TIMEOUT_S, "give the seconds that one request may take, such as 30")?
            .unwrap_or(Duration::from_secs(30)),
        seed: count(&wire.seed, SEED, "any whole number from 0 is a seed, such as 7")?.unwrap_or(1),
        arrival: arrival.unwrap_or_default(),
        encode: encode.unwrap_or_default(),
        aa: false,
    })
}

/// A word of a short list.
fn one_of<T: Copy>(
    document: &Document<'_>,
    value: Option<&Spanned<String>>,
    all: &[(&'static str, T)],
    otherwise: &str,
) -> Checked<Option<T>> {
    let Some(value) = value else { return Ok(None) };
    match all.iter().find(|(name, _)| name == value.get_ref()) {
        Some((_, known)) => Ok(Some(*known)),
        None => {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            let expected = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
            Err(document.unexpected(value, &expected, meant(value.get_ref(), &names, otherwise)))
        }
    }
}
