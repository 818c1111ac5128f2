//! The values of a scenario file's tables, each with its place. [`super::schema`] has checked their kinds: a value of
//! another kind counts as missing. Must not know limits or defaults.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A table of the file; a missing one has no values.
#[derive(Clone)]
pub struct Table<'a> {
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
}

impl<'a> Table<'a> {
    /// The whole file.
    pub fn of(file: &'a Spanned<DeTable<'a>>) -> Self {
        Table { table: Some(file.get_ref()), span: file.span() }
    }

    /// Its place: its header, or its braces.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// A value of any kind.
    pub fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table?.get(key)
    }

    /// A string.
    pub fn text(&self, key: &str) -> Option<Spanned<String>> {
        text(self.value(key)?)
    }

    /// An integer.
    pub fn whole(&self, key: &str) -> Option<Spanned<i64>> {
        whole(self.value(key)?)
    }

    /// An integer or a float.
    pub fn number(&self, key: &str) -> Option<Spanned<f64>> {
        number(self.value(key)?)
    }

    /// A boolean.
    pub fn flag(&self, key: &str) -> Option<bool> {
        match self.value(key)?.get_ref() {
            DeValue::Boolean(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A table within this one.
    pub fn table(&self, key: &str) -> Table<'a> {
        self.value(key).map_or(Table { table: None, span: self.span() }, inner)
    }

    /// All of its keys and values.
    pub fn entries(&self) -> impl Iterator<Item = (String, &'a Spanned<DeValue<'a>>)> + use<'a> {
        self.table
            .into_iter()
            .flat_map(|table| table.iter())
            .map(|(name, value)| (name.get_ref().to_string(), value))
    }

    /// The tables within this one, except lists of tables, with their names and places, in the file's order.
    pub fn inner(&self) -> Vec<(String, Range<usize>)> {
        let entries = self.table.into_iter().flat_map(|table| table.iter());
        let is_table = |(_, value): &(_, &Spanned<DeValue<'_>>)| matches!(value.get_ref(), DeValue::Table(_));
        let mut inner: Vec<_> = entries
            .filter(is_table)
            .map(|(name, value)| (name.get_ref().to_string(), value.span()))
            .collect();
        inner.sort_by_key(|(_, span)| span.start);
        inner
    }

    /// The tables of a list.
    pub fn tables(&self, key: &str) -> Vec<Table<'a>> {
        self.items(key).iter().map(|item| inner(item)).collect()
    }

    /// The values of a list, or a single value as if in a list.
    pub fn items(&self, key: &str) -> &'a [Spanned<DeValue<'a>>] {
        match self.value(key) {
            Some(value) => match value.get_ref() {
                DeValue::Array(items) => items,
                _ => std::slice::from_ref(value),
            },
            None => &[],
        }
    }

    /// The strings of a table whose keys are names, by name.
    pub fn names(&self) -> Vec<(String, String)> {
        let entries = self.table.into_iter().flat_map(|table| table.iter());
        let mut names: Vec<(String, String)> = entries
            .filter_map(|(name, value)| Some((name.get_ref().to_string(), text(value)?.into_inner())))
            .collect();
        names.sort();
        names
    }
}

fn inner<'a>(value: &'a Spanned<DeValue<'a>>) -> Table<'a> {
    let table = match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    };
    Table { table, span: value.span() }
}

/// A value's string, if it is one.
pub fn text(value: &Spanned<DeValue<'_>>) -> Option<Spanned<String>> {
    match value.get_ref() {
        DeValue::String(text) => Some(Spanned::new(value.span(), text.to_string())),
        _ => None,
    }
}

/// A value's integer, if it is one.
pub fn whole(value: &Spanned<DeValue<'_>>) -> Option<Spanned<i64>> {
    match value.get_ref() {
        DeValue::Integer(number) => {
            Some(Spanned::new(value.span(), i64::from_str_radix(number.as_str(), number.radix()).ok()?))
        }
        _ => None,
    }
}

/// A value's integer or float, if it is one.
pub fn number(value: &Spanned<DeValue<'_>>) -> Option<Spanned<f64>> {
    match value.get_ref() {
        DeValue::Float(number) => Some(Spanned::new(value.span(), number.as_str().parse().ok()?)),
        _ => whole(value).map(|number| Spanned::new(value.span(), *number.get_ref() as f64)),
    }
}
