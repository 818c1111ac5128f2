//! The axes of the run matrix, and its exclusions.

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::super::error::{Document, Errors};
use super::super::mlperf::Mlperf;
use super::super::tree::{self, Table};
use super::{Checked, mlperf};
use crate::matrix::{AxisId, CASES_MAX, Home, Limit, Matrix, Selection, Shapes, Value, range};

/// `load` has the rates, which are an axis too; `mean_rate` is that of requests that arrive at no
/// given rate. `None` once there is an error; the errors of all axes are kept.
pub(super) fn matrix(
    document: &Document<'_>,
    matrix: &Table<'_>,
    load: &Table<'_>,
    (rules, mean_rate): (Option<&Mlperf>, Option<f64>),
    errors: &mut Errors,
) -> Option<Matrix> {
    let mut read = Matrix::default();
    let mut whole = true;
    for id in AxisId::ALL {
        let table = match id.axis().home {
            Home::Matrix => matrix,
            Home::Load => load,
            Home::Option => continue,
        };
        match errors.keep(values(document, table, *id)) {
            Some(values) => read.set(*id, values),
            None => whole = false,
        }
    }
    if !whole {
        return None;
    }
    if let Some(rules) = rules {
        mlperf::fill(document, [matrix, load], rules, &mut read, errors)?;
    }
    if let Some(rate) = mean_rate {
        read.set(AxisId::Rate, vec![Value::Number(rate)]);
    }

    let all = read.all_cases();
    if all > CASES_MAX {
        let problem = format!("the lists give {all} cases, expected at most {CASES_MAX}");
        let help = "shorten the lists, or make several scenarios of them; exclude does not count here";
        errors.push(document.error(matrix.span(), problem, help));
        return None;
    }

    errors.keep(compared(document, matrix, &mut read))?;
    errors.keep(leave_out(document, matrix, &mut read))?;
    let Some((axis, problem, help)) = read.impossible() else { return Some(read) };
    let given = [matrix, load].into_iter().find_map(|table| table.value(axis.axis().key));
    let span = given.map_or(matrix.span(), Spanned::span);
    errors.push(document.error(span, problem, help));
    None
}

/// Reads the compared axis, and its baseline value.
fn compared(document: &Document<'_>, table: &Table<'_>, matrix: &mut Matrix) -> Checked<()> {
    if let Some(name) = table.text("compare") {
        let id = AxisId::settable_named(name.get_ref());
        let id = id.map_err(|(expected, help)| document.unexpected(&name, &expected, help))?;
        if matrix.values(id).len() < 2 {
            let problem = format!("the axis {} has one value, expected several to compare", name.get_ref());
            let help = format!("give it several, such as {}, or compare another axis", id.axis().example);
            return Err(document.error(name.span(), problem, help));
        }
        matrix.compare(Some(id));
    }
    let Some(given) = table.value("baseline") else { return Ok(()) };
    let id = matrix.compared();
    let axis = id.axis();
    let baseline = value(document, given, axis.limit, axis.remedy)?;
    if !matrix.baseline(id, &baseline) {
        let list: Vec<String> = matrix.values(id).iter().map(Value::to_string).collect();
        let expected = format!("a value of the compared axis {}: {}", axis.key, list.join(", "));
        return Err(document.unexpected(given, &expected, "name one of these, or leave it out for the first"));
    }
    Ok(())
}

/// Reads the exclusions; something has to stay.
fn leave_out(document: &Document<'_>, table: &Table<'_>, matrix: &mut Matrix) -> Checked<()> {
    for excluded in table.tables("exclude") {
        matrix.leave_out(selection(document, &excluded, matrix)?);
        if matrix.points().next().is_none() {
            let problem = "excludes every case that is left, expected some to measure";
            let help = "leave some of the matrix to measure; an empty exclude leaves nothing";
            return Err(document.error(excluded.span(), problem, help));
        }
    }
    Ok(())
}

/// The points that a table selects by the axes it names.
pub(super) fn selection(document: &Document<'_>, table: &Table<'_>, matrix: &Matrix) -> Checked<Selection> {
    let mut selection = Selection::new();
    for id in AxisId::ALL {
        let values = values(document, table, *id)?;
        on_the_axis(document, table, *id, &values, &matrix.values(*id))?;
        if !values.is_empty() {
            selection.push((*id, values));
        }
    }
    Ok(selection)
}

/// Checks that a selected value is on the matrix's axis: otherwise it would select nothing.
fn on_the_axis(
    document: &Document<'_>,
    table: &Table<'_>,
    id: AxisId,
    values: &[Value],
    axis: &[Value],
) -> Checked<()> {
    let Some(stray) = values.iter().position(|value| !axis.contains(value)) else {
        return Ok(());
    };
    let list: Vec<String> = axis.iter().map(Value::to_string).collect();
    let expected = match &list[..] {
        [] => "an axis that the file gives".to_owned(),
        list => format!("a value of the matrix: {}", list.join(", ")),
    };
    let help = "name values that the [matrix] has on that axis, or remove this one";
    // all values of a range share one place in the file
    let items = table.items(id.axis().key);
    let place = items.get(stray).or(items.first());
    Err(place.map_or_else(
        || document.error(table.span(), format!("expected {expected}"), help),
        |place| document.unexpected(place, &expected, help),
    ))
}

/// The values that a table gives on an axis; empty without the key.
fn values(document: &Document<'_>, table: &Table<'_>, id: AxisId) -> Checked<Vec<Value>> {
    let axis = id.axis();
    let Some(list) = table.value(axis.key) else { return Ok(Vec::new()) };
    let items = table.items(axis.key);
    if items.is_empty() {
        let help = "fill the list, or leave the key out for its default";
        return Err(document.unexpected(list, "at least one value", help));
    }
    if items.len() > CASES_MAX {
        let problem = format!("the list has {} values, expected at most {CASES_MAX}", items.len());
        return Err(document.error(list.span(), problem, "shorten it, or make several scenarios of it"));
    }

    if let (DeValue::String(text), Limit::Whole(..) | Limit::Number(..)) = (list.get_ref(), axis.limit) {
        let read = range::read(text, axis.limit, axis.remedy);
        return read.map_err(|(expected, help)| document.unexpected(list, &expected, help));
    }

    let mut values = Vec::new();
    for item in items {
        let value = value(document, item, axis.limit, axis.remedy)?;
        if values.contains(&value) {
            return Err(document.unexpected(item, "each value once", "remove the repetition"));
        }
        values.push(value);
    }
    Ok(values)
}

fn value(document: &Document<'_>, item: &Spanned<DeValue<'_>>, limit: Limit, remedy: &str) -> Checked<Value> {
    let read = match limit {
        Limit::Shapes => return shapes(document, item).map(Value::Shapes),
        Limit::Words(_) | Limit::Names => tree::text(item).map(|word| limit.read(word.get_ref(), remedy)),
        Limit::Whole(..) => tree::whole(item).map(|number| limit.whole(*number.get_ref(), remedy)),
        Limit::Number(..) => tree::number(item).map(|number| limit.number(*number.get_ref(), remedy)),
    };
    let read = read.unwrap_or_else(|| limit.read("", remedy));
    read.map_err(|(expected, help)| document.unexpected(item, &expected, help))
}

/// Shapes of the only input, or of several by their names.
fn shapes(document: &Document<'_>, item: &Spanned<DeValue<'_>>) -> Checked<Shapes> {
    let sizes = |value: &Spanned<DeValue<'_>>| -> Checked<Vec<usize>> {
        let items = match value.get_ref() {
            DeValue::Array(items) => &items[..],
            _ => &[],
        };
        items.iter().filter_map(tree::whole).map(|size| super::size(document, &size)).collect()
    };
    match item.get_ref() {
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| name.span().start);
            let shape = |(name, value): &(&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                Ok((name.get_ref().to_string(), sizes(value)?))
            };
            entries.iter().map(shape).collect::<Checked<_>>().map(Shapes::new)
        }
        _ => Ok(Shapes::new(vec![(String::new(), sizes(item)?)])),
    }
}
