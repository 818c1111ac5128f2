//! The search for the capacity: bounds, range and time.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::super::capacity::{BLOCKS_LEAST, Capacity, Over};
use super::super::error::{Document, Errors};
use super::super::tree::{self, Table};
use super::load::DURATION_S;
use super::{Checked, bounds, load, number};
use crate::matrix::{AxisId, Value};

/// Keys of `[load]` that have no meaning beside a search.
const ENDS: [&str; 3] = ["iterations", "duration_s", "blocks"];
/// Keys of `[load]` that give the rate, as it changes.
const COURSES: [&str; 2] = ["stages", "arrivals"];

/// `None` without the table, or once there is an error; all are kept.
pub(super) fn capacity(
    document: &Document<'_>,
    table: &Table<'_>,
    (matrix, load): (&Table<'_>, &Table<'_>),
    errors: &mut Errors,
) -> Option<Capacity> {
    let over: Option<Over> = errors.keep(load::one_of(document, table.text("over")))?;
    let over = over.unwrap_or_default();
    let bounds = errors.keep(bounds::bounds(document, &table.table("bound")))?;
    let range = errors.keep(range(document, table, over))?;
    let mut seconds = |key: &str| {
        let help = "give the seconds, such as 120";
        let read = table.number(key).map(|value| number(document, &value, &DURATION_S, help)).transpose();
        errors.keep(read.map(|seconds| seconds.map(Duration::from_secs_f64)))
    };
    let (budget, block) = (seconds("budget_s")?, seconds("block_s")?);
    errors.keep(has_meaning(document, (matrix, load), over))?;
    let defaults = Capacity::within(bounds, over);
    let budget = budget.unwrap_or(defaults.budget);
    if let (Some(block), Some(given)) = (block, table.value("block_s"))
        && block * BLOCKS_LEAST > budget
    {
        let expected = format!("at most an eighth of budget_s, {}", (budget / BLOCKS_LEAST).as_secs_f64());
        errors.push(document.unexpected(given, &expected, "lower it, or raise budget_s: a search takes many blocks"));
        return None;
    }
    Some(Capacity { range, budget, block, ..defaults })
}

/// The loads to try, within the axis's limits.
fn range(document: &Document<'_>, table: &Table<'_>, over: Over) -> Checked<(f64, f64)> {
    let axis = over.axis().axis();
    let end = |key: &str, default: f64| {
        let Some(given) = table.value(key) else { return Ok(default) };
        let value = axis.limit.read(&shown(given), axis.remedy);
        match value {
            Ok(Value::Number(value)) => Ok(value),
            Ok(Value::Whole(value)) => Ok(f64::from(value)),
            Ok(_) => Ok(default),
            Err((expected, help)) => Err(document.unexpected(given, &expected, help)),
        }
    };
    let (least, most) = over.range();
    let (from, to) = (end("from", least)?, end("to", most)?);
    match table.value("to").or(table.value("from")) {
        Some(given) if from >= to => {
            let help = "give the smallest load to try as from, and the largest as to";
            Err(document.error(given.span(), format!("the search goes from {from} to {to}, expected a range"), help))
        }
        _ => Ok((from, to)),
    }
}

/// A number as it is read by an axis's limit.
fn shown(value: &Spanned<DeValue<'_>>) -> String {
    match (tree::whole(value), tree::number(value)) {
        (Some(whole), _) => whole.get_ref().to_string(),
        (None, Some(number)) => number.get_ref().to_string(),
        (None, None) => String::new(),
    }
}

/// Whether nothing else says what the search finds out, or when it ends.
fn has_meaning(document: &Document<'_>, (matrix, load): (&Table<'_>, &Table<'_>), over: Over) -> Checked<()> {
    let searched = over.axis().axis().key;
    if let Some(given) = [matrix, load].iter().find_map(|table| table.value(searched)) {
        let problem = format!("{searched} is given, and [capacity] searches for it");
        return Err(document.error(given.span(), problem, "leave one of the two out"));
    }
    let other = match over {
        Over::Rate => AxisId::ThinkTime.axis().key,
        Over::Concurrency => AxisId::Rate.axis().key,
    };
    if let Some(given) = load.value(other) {
        let problem = format!("{other} is given, and [capacity] searches over {}", searched);
        return Err(document.error(given.span(), problem, "leave one of the two out, or change over"));
    }
    if let Some((key, given)) = COURSES.iter().find_map(|key| Some((key, load.value(key)?))) {
        let problem = format!("{key} says the rate, and [capacity] searches for one");
        return Err(document.error(given.span(), problem, "leave one of the two out"));
    }
    match ENDS.iter().find_map(|key| load.value(key)) {
        Some(given) => {
            let help = "leave it out: budget_s of [capacity] is the longest time of a case, precision of [load] what is enough";
            Err(document.error(given.span(), "a search for the capacity ends by itself", help))
        }
        None => Ok(()),
    }
}
