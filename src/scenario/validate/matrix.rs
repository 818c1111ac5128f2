//! The axes of the run matrix, and what is left out of it.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::super::error::{Document, Errors};
use super::super::matrix::CASES_MAX;
use super::super::{Exclude, Matrix, Protocol, wire};
use super::{Checked, known, number, whole};

pub(in super::super) const BATCH_SIZES: RangeInclusive<i64> = 1..=65_536;
pub(in super::super) const PROCESSES: RangeInclusive<i64> = 1..=256;
/// Also of connections: none can be idle for good.
pub(in super::super) const CONCURRENCY: RangeInclusive<i64> = 1..=1024;
pub(in super::super) const RATE: RangeInclusive<f64> = 0.001..=1_000_000.0;

/// `load` has the rates, which are an axis too. `None` once there is an error; those of all axes are kept.
pub(super) fn matrix(
    document: &Document<'_>,
    wire: &Spanned<wire::Matrix>,
    load: &wire::Load,
    errors: &mut Errors,
) -> Option<Matrix> {
    let axes = wire.get_ref();
    let every = Protocol::ALL.map(|(_, protocol)| protocol);
    let rates = errors.keep(rates(document, load.rate.as_ref()));
    let protocols = errors.keep(protocols(document, axes.protocols.as_ref(), &every));
    let batch_sizes = errors.keep(numbers(document, axes.batch_sizes.as_ref(), BATCH_SIZES, &[1]));
    let processes = errors.keep(numbers(document, axes.processes.as_ref(), PROCESSES, &[1]));
    let concurrency = errors.keep(numbers(document, axes.concurrency.as_ref(), CONCURRENCY, &[]));
    let connections = errors.keep(numbers(document, axes.connections.as_ref(), CONCURRENCY, &[]));
    let mut matrix = Matrix {
        protocols: protocols?,
        batch_sizes: batch_sizes?,
        processes: processes?,
        concurrency: concurrency?,
        connections: connections?,
        rates: rates?,
        exclude: Vec::new(),
    };
    let all = matrix.all_cases();
    if all > CASES_MAX {
        let problem = format!("the lists give {all} cases, expected at most {CASES_MAX}");
        let help = "shorten the lists, or make several scenarios of them; exclude does not count here";
        errors.push(document.error(wire.span(), problem, help));
        return None;
    }
    errors.keep(leave_out(document, &axes.exclude, &mut matrix))?;
    match (matrix.impossible(), &axes.connections) {
        (Some((problem, help)), Some(connections)) => {
            errors.push(document.error(connections.span(), problem, help));
            None
        }
        _ => Some(matrix),
    }
}

/// Reads what is left out; something has to stay.
fn leave_out(document: &Document<'_>, all: &[Spanned<wire::Exclude>], matrix: &mut Matrix) -> Checked<()> {
    let mut left = matrix.points();
    for spanned in all {
        let wire = spanned.get_ref();
        let whole_axis = |given: &Option<wire::Axis<i64>>, axis: &[u32], range: RangeInclusive<i64>| {
            excluded(document, given, axis, |given| numbers(document, given, range.clone(), &[]))
        };
        let exclude = Exclude {
            protocols: excluded(document, &wire.protocols, &matrix.protocols, |axis| protocols(document, axis, &[]))?,
            batch_sizes: whole_axis(&wire.batch_sizes, &matrix.batch_sizes, BATCH_SIZES)?,
            processes: whole_axis(&wire.processes, &matrix.processes, PROCESSES)?,
            concurrency: whole_axis(&wire.concurrency, &matrix.in_flight(), CONCURRENCY)?,
            connections: whole_axis(&wire.connections, &matrix.connections, CONCURRENCY)?,
            rates: excluded(document, &wire.rate, &matrix.rates, |axis| self::rates(document, axis))?,
        };
        for point in &mut left {
            let stays = |protocol: &Protocol| !exclude.hits(*protocol, point);
            point.protocols = point.protocols.iter().copied().filter(stays).collect();
        }
        left.retain(|point| !point.protocols.is_empty());
        matrix.exclude.push(exclude);
        if left.is_empty() {
            let problem = "excludes every case that is left, expected some to measure";
            let help = "leave some of the matrix to measure; an empty exclude leaves nothing";
            return Err(document.error(spanned.span(), problem, help));
        }
    }
    Ok(())
}

/// One axis of an `exclude`: its values have to be on the matrix's axis, or they would exclude nothing.
fn excluded<W, T: PartialEq + ToString>(
    document: &Document<'_>,
    wire: &Option<wire::Axis<W>>,
    axis: &[T],
    read: impl Fn(Option<&wire::Axis<W>>) -> Checked<Vec<T>>,
) -> Checked<Vec<T>> {
    let values = read(wire.as_ref())?;
    if let (Some(spanned), Some(stray)) = (wire, values.iter().position(|value| !axis.contains(value))) {
        let help = "name values that the [matrix] has on that axis, or remove this one";
        let list: Vec<String> = axis.iter().map(T::to_string).collect();
        let expected = match &list[..] {
            [] => "an axis that the file gives".to_owned(),
            list => format!("a value of the matrix: {}", list.join(", ")),
        };
        return Err(document.unexpected(&spanned.get_ref()[stray], &expected, help));
    }
    Ok(values)
}

fn protocols(
    document: &Document<'_>,
    axis: Option<&wire::Axis<String>>,
    default: &[Protocol],
) -> Checked<Vec<Protocol>> {
    let find = |word: &str| Protocol::ALL.iter().find(|(name, _)| *name == word).map(|(_, protocol)| *protocol);
    let read = |value: &Spanned<String>| known(document, value, find);
    axis_values(document, axis, default, read)
}

fn numbers(
    document: &Document<'_>,
    axis: Option<&wire::Axis<i64>>,
    range: RangeInclusive<i64>,
    default: &[u32],
) -> Checked<Vec<u32>> {
    let read = |value: &Spanned<i64>| {
        whole(document, value, range.clone(), "change it, or leave the value out").map(|number| number as u32)
    };
    axis_values(document, axis, default, read)
}

fn rates(document: &Document<'_>, axis: Option<&wire::Axis<f64>>) -> Checked<Vec<f64>> {
    let help = "give requests per second, over all processes together, such as 50";
    axis_values(document, axis, &[], |value| number(document, value, &RATE, help))
}

fn axis_values<W, T: Clone + PartialEq>(
    document: &Document<'_>,
    axis: Option<&wire::Axis<W>>,
    default: &[T],
    read: impl Fn(&Spanned<W>) -> Checked<T>,
) -> Checked<Vec<T>> {
    let Some(axis) = axis else { return Ok(default.to_vec()) };
    if axis.get_ref().is_empty() {
        return Err(document.unexpected(
            axis,
            "at least one value",
            "fill the list, or leave the key out for its default",
        ));
    }
    let length = axis.get_ref().len();
    if length > CASES_MAX {
        let problem = format!("the list has {length} values, expected at most {CASES_MAX}");
        return Err(document.error(axis.span(), problem, "shorten it, or make several scenarios of it"));
    }
    let mut values = Vec::new();
    for spanned in axis.get_ref() {
        let value = read(spanned)?;
        if values.contains(&value) {
            return Err(document.unexpected(spanned, "each value once", "remove the repetition"));
        }
        values.push(value);
    }
    Ok(values)
}
