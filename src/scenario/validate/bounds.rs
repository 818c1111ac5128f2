//! Bounds that a load has to keep.

use toml::Spanned;

use super::super::error::Document;
use super::super::tree::Table;
use super::Checked;
use crate::capacity::Bound;

/// The bounds that a table gives, at least one.
pub(super) fn bounds(document: &Document<'_>, table: &Table<'_>) -> Checked<Vec<Bound>> {
    let given = Bound::KEYS.iter().filter_map(|key| Some((*key, table.number(key)?)));
    let bound = |(key, most): (&str, Spanned<f64>)| {
        let read = Bound::of_key(key, *most.get_ref());
        read.map_err(|(expected, help)| {
            document.error(most.span(), format!("found {}, expected {expected}", document.shown(most.span())), help)
        })
    };
    let bounds: Vec<Bound> = given.map(bound).collect::<Checked<_>>()?;
    match bounds.is_empty() {
        true => {
            let help = "give what has to be kept, such as {p99_ms = 50, errors = 0.001}";
            Err(document.error(table.span(), "there is no bound, expected at least one", help))
        }
        false => Ok(bounds),
    }
}
