//! How requests arrive: drawn at a rate, along a course of stages, or as a file says.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::super::ArrivalProcess;
use super::super::arrival::{ArrivalFile, Distances, Stage};
use super::super::arrival_file::{self, Part};
use super::super::error::Document;
use super::super::tree::Table;
use super::super::words::known;
use super::{Checked, DURATION_S, existing, needed, number, whole};
use crate::matrix::Arrival;

const GAMMA_SHAPE: RangeInclusive<f64> = 0.01..=1000.0;
/// Seconds on, off, or of a stage: a day.
const PHASE_S: RangeInclusive<f64> = 0.0..=86_400.0;
const ON_S: RangeInclusive<f64> = 0.001..=86_400.0;
/// As of a rate, or none at all.
const TARGET: RangeInclusive<f64> = 0.0..=1_000_000.0;
/// Least requests a second, as of a rate.
const RATE_MIN: f64 = 0.001;
const STAGES_MAX: usize = 100;
const NAME_CHARS: RangeInclusive<usize> = 1..=40;
/// Requests of all stages.
const REQUESTS: RangeInclusive<u64> = 2..=1_000_000_000;
const SPEED: RangeInclusive<f64> = 0.001..=1000.0;
const BLOCK: RangeInclusive<i64> = 0..=i64::MAX;

/// Reads `arrival`, `stages` and `arrivals` of `[load]`; `is_searched` where the rate is.
pub(super) fn arrival(document: &Document<'_>, load: &Table<'_>, is_searched: bool) -> Checked<ArrivalProcess> {
    if load.value("arrivals").is_some() {
        alone(document, load, "arrivals", "the file says when requests arrive", &["rate", "arrival", "stages"])?;
        alone(document, load, "arrivals", LENGTH, &LENGTHS)?;
        return of_file(document, &load.table("arrivals"));
    }
    if let Some(list) = load.value("stages") {
        alone(document, load, "stages", "the stages say the rate", &["rate"])?;
        alone(document, load, "stages", LENGTH, &LENGTHS)?;
        return stages(document, load, list);
    }
    let Some(given) = load.value("arrival") else { return Ok(ArrivalProcess::default()) };
    if load.value("rate").is_none() && !is_searched {
        let help = "add `rate` to [load], in requests per second, or leave `arrival` out: without a rate every request \
                    waits for the one before it";
        return Err(document.error(given.span(), "there is no rate at which requests could arrive", help));
    }
    let table = load.table("arrival").table("on_off");
    let (Some(on), Some(off)) = (table.number("on_s"), table.number("off_s")) else {
        return distances(document, load).map(ArrivalProcess::Steady);
    };
    let help = "give the seconds in which requests arrive, and those in which none does, such as 1 and 4";
    Ok(ArrivalProcess::OnOff {
        on_s: number(document, &on, &ON_S, help)?,
        off_s: number(document, &off, &PHASE_S, help)?,
    })
}

const LENGTH: &str = "they say how long a block is, and each block is all of them";
const LENGTHS: [&str; 2] = ["iterations", "duration_s"];

/// Checks that a key has none beside it that says something else.
fn alone(document: &Document<'_>, load: &Table<'_>, key: &str, why: &str, others: &[&str]) -> Checked<()> {
    match others.iter().find_map(|other| Some((other, load.value(other)?))) {
        Some((other, given)) => {
            let problem = format!("found {other} beside {key}");
            Err(document.error(given.span(), problem, format!("leave {other} out, or {key}: {why}")))
        }
        None => Ok(()),
    }
}

/// How the distances of `arrival` are distributed.
fn distances(document: &Document<'_>, load: &Table<'_>) -> Checked<Distances> {
    if let Some(shape) = load.table("arrival").table("gamma").number("shape") {
        let help = "give the shape of gamma distributed distances: less than 1 for bursts, such as 0.5, more than 1 for regularity";
        return Ok(Distances::Gamma { shape: number(document, &shape, &GAMMA_SHAPE, help)? });
    }
    let word = load.text("arrival").map(|word| known(document, &word)).transpose()?;
    Ok(match word {
        Some(Arrival::Poisson) => Distances::Exponential,
        _ => Distances::Constant,
    })
}

fn stages(document: &Document<'_>, load: &Table<'_>, list: &Spanned<DeValue<'_>>) -> Checked<ArrivalProcess> {
    if let Some(on_off) = load.table("arrival").value("on_off") {
        let help = "leave on_off out, or write on and off as stages";
        return Err(document.error(on_off.span(), "found on_off beside stages", help));
    }
    let tables = load.tables("stages");
    if tables.is_empty() || tables.len() > STAGES_MAX {
        let help = "give one at least, such as stages = [{duration_s = 30, target = 200}]";
        return Err(document.error(
            list.span(),
            format!("found {} stages, expected 1 to {STAGES_MAX}", tables.len()),
            help,
        ));
    }
    let stage = |table: &Table<'_>| {
        let read = |key, range, help| {
            let value = table.number(key).unwrap_or_else(|| Spanned::new(table.span(), f64::NAN));
            number(document, &value, range, help)
        };
        Ok(Stage {
            duration_s: read(
                "duration_s",
                &PHASE_S,
                "give the seconds that the stage takes, such as 30, or 0 for a step",
            )?,
            target: read("target", &TARGET, "give the requests per second at the stage's end, such as 200")?,
        })
    };
    let stages = tables.iter().map(stage).collect::<Checked<Vec<Stage>>>()?;
    let arrival = ArrivalProcess::Stages { stages, distances: distances(document, load)? };
    let (requests, seconds) = (arrival.requests().unwrap_or(0), arrival.length().unwrap_or_default().as_secs_f64());
    if !REQUESTS.contains(&requests) || !DURATION_S.contains(&seconds) || arrival.mean_rate() < Some(RATE_MIN) {
        let problem = format!(
            "the stages have {requests} requests in {seconds} s, expected {} to {} in at most {} s, and {RATE_MIN} a second on average",
            REQUESTS.start(),
            REQUESTS.end(),
            DURATION_S.end()
        );
        return Err(document.error(list.span(), problem, "change their durations or targets"));
    }
    Ok(arrival)
}

/// The names of the stages that take time; empty where a stage has none.
pub fn stage_names(document: &Document<'_>, load: &Table<'_>) -> Checked<Vec<String>> {
    let name = |table: &Table<'_>| {
        let takes_time = table.number("duration_s").is_none_or(|value| *value.get_ref() > 0.0);
        match table.text("name") {
            None => Ok(takes_time.then(String::new)),
            Some(name) if !takes_time => {
                Err(document.error(name.span(), "a step, of 0 seconds, has a name", "name the stage after it"))
            }
            Some(name)
                if NAME_CHARS.contains(&name.get_ref().chars().count())
                    && !name.get_ref().contains(char::is_control) =>
            {
                Ok(Some(name.into_inner()))
            }
            Some(name) => {
                let expected = format!("{} to {} characters", NAME_CHARS.start(), NAME_CHARS.end());
                Err(document.unexpected(&name, &expected, "give a short name, such as \"peak\""))
            }
        }
    };
    let names = load.tables("stages").iter().map(name).collect::<Checked<Vec<Option<String>>>>()?;
    Ok(names.into_iter().flatten().collect())
}

fn of_file(document: &Document<'_>, table: &Table<'_>) -> Checked<ArrivalProcess> {
    let file = needed(document, table, "file")?;
    let path = existing(document, &file, "a file that says when requests arrived")?;
    let block = table
        .whole("block")
        .map(|block| whole(document, &block, BLOCK, "give the number of a block, such as 0"));
    let part = Part {
        case: table.text("case").map(Spanned::into_inner),
        block: block.transpose()?.map(i64::unsigned_abs),
    };
    let help = "give how many times as fast requests arrive, such as 2.0, or leave it out for 1";
    let speed = table.number("speed").map_or(Ok(1.0), |speed| number(document, &speed, &SPEED, help))?;
    let arrived = arrival_file::read(&path, &part, speed).map_err(|(problem, help)| {
        document.error(file.span(), format!("the file {} {problem}", document.shown(file.span())), help)
    })?;
    let Part { case, block } = arrived.part;
    let words = [
        Some(file.get_ref().clone()),
        case.map(|case| format!("case {case}")),
        block.map(|block| format!("block {block}")),
        (speed != 1.0).then(|| format!("{speed} times as fast")),
        Some(format!("{} arrivals", arrived.due_ns.len())),
    ];
    Ok(ArrivalProcess::File(ArrivalFile {
        path,
        words: words.into_iter().flatten().collect::<Vec<_>>().join(", "),
        due_ns: arrived.due_ns.into(),
        length_ns: arrived.length_ns,
    }))
}
