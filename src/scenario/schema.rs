//! The check of a parsed file against its keys, before anything is read, so that all readers find the right kind. Must not know
//! limits or defaults.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Document, Errors, ScenarioError, dotted};
use super::keys::{DATA, FORMAT, HEADER, Key, Kind, optional};
use crate::matrix::AxisId;
use crate::matrix::range::is_range;
use crate::spelling::nearest;

/// Keys of other formats, and their names here.
const ALIASES: &[(&str, &str)] = &[
    ("dims", "shape"),
    ("type", "datatype"),
    ("data_type", "datatype"),
    ("dtype", "datatype"),
    ("batch_size", "batch_sizes"),
];

/// Checks names, kinds and words of everything in a parsed file.
///
/// # Errors
/// Every error found.
pub fn check(document: &Document<'_>, file: &Spanned<DeTable<'_>>) -> Result<(), ScenarioError> {
    let end = document.text.trim_end().len();
    let matrix = file.get_ref().get("matrix").map(|matrix| matrix.get_ref());
    let has = |id: AxisId| matches!(matrix, Some(DeValue::Table(matrix)) if matrix.contains_key(id.axis().key));
    let names_models = has(AxisId::Model);
    let elsewhere = [names_models.then_some("model"), has(AxisId::Shapes).then_some("shape")]
        .into_iter()
        .flatten();
    let told = elsewhere.collect();
    let mut walk = Walk { document, errors: Errors::default(), told, names_models };
    walk.table(file.get_ref(), FORMAT, None, "", end..end);
    walk.errors.or(())
}

struct Walk<'a> {
    document: &'a Document<'a>,
    errors: Errors,
    /// Keys that an error already mentioned: that they are missing elsewhere follows from it.
    told: Vec<&'static str>,
    /// Whether the matrix names the models: then `[model]` is not required to.
    names_models: bool,
}

impl Walk<'_> {
    /// `place` is where a missing key is reported: the table's header, or the end of the file.
    fn table(&mut self, table: &DeTable<'_>, keys: &[Key], named: Option<&[Key]>, path: &str, place: Range<usize>) {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            match keys.iter().find(|key| key.name == name.get_ref().as_ref()) {
                Some(key) => self.value(value, key, &dotted(path, key.name)),
                None => match (named, value.get_ref()) {
                    (Some(named), DeValue::Table(inner)) => {
                        self.table(inner, named, None, &dotted(path, name.get_ref()), value.span());
                    }
                    _ => self.unknown(name.get_ref(), name.span(), keys, path),
                },
            }
        }
        // keys set in named tables are not required in the shared one
        let has_tables = || table.iter().any(|(_, value)| matches!(value.get_ref(), DeValue::Table(_)));
        let is_named = named.is_some_and(|_| self.names_models || has_tables());
        for key in keys.iter().filter(|key| key.required && !is_named && !table.contains_key(key.name)) {
            if !self.told.contains(&key.name) {
                self.missing(key, path, place.clone());
            }
        }
    }

    fn missing(&mut self, key: &Key, path: &str, place: Range<usize>) {
        let what = if matches!(key.kind, Kind::Table(_) | Kind::Named(..) | Kind::Tables(_)) {
            "table"
        } else {
            "key"
        };
        let help = match key.kind {
            Kind::Table(_) | Kind::Named(..) | Kind::Tables(_) => format!("add {}", header(key)),
            _ if path.is_empty() => format!("begin the file with it, such as {}", key.example),
            _ => format!("add it, such as {}", key.example),
        };
        let place = if what == "key" && path.is_empty() { 0..0 } else { place };
        let problem = format!("the {what} is missing, expected {}", expected(key.kind, key.name));
        self.errors.push(self.document.error_of(dotted(path, key.name), place, problem, help));
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, key: &Key, path: &str) {
        match (key.kind, value.get_ref()) {
            (Kind::Text | Kind::Value | Kind::Scalar, DeValue::String(_))
            | (Kind::Scalar, DeValue::Boolean(_) | DeValue::Float(_))
            | (Kind::Value, DeValue::Integer(_) | DeValue::Float(_))
            | (Kind::Flag, DeValue::Boolean(_))
            | (Kind::Number, DeValue::Integer(_) | DeValue::Float(_)) => {}
            (Kind::WordOrTable(_, keys), DeValue::String(word)) if keys().iter().any(|key| key.name == word) => {
                let key = keys().iter().find(|key| key.name == word).unwrap_or(key);
                self.wrong(value, key, path);
            }
            (Kind::Word(words) | Kind::WordOrWords(words) | Kind::WordOrTable(words, _), DeValue::String(word)) => {
                if let Err((expected, help)) = words.read(word) {
                    let problem = format!("found {}, expected {expected}", self.document.shown(value.span()));
                    self.errors.push(self.document.error_of(path.to_owned(), value.span(), problem, help));
                }
            }
            (Kind::Whole | Kind::Scalar, DeValue::Integer(number)) => {
                if i64::from_str_radix(number.as_str(), number.radix()).is_ok() {
                    return;
                }
                let problem = format!("found {}, expected a smaller integer", self.document.shown(value.span()));
                let help = format!("no number here may have more than 18 digits, such as {}", key.example);
                self.errors.push(self.document.error_of(path.to_owned(), value.span(), problem, help));
            }
            (Kind::Words(words) | Kind::WordOrWords(words), DeValue::Array(items)) => {
                self.items(items.iter(), Kind::Word(words), key, path);
            }
            // what it says is read with the axis's limits
            (Kind::WholesOrRange | Kind::WholeOrWholes | Kind::NumbersOrRange, DeValue::String(text))
                if is_range(text) => {}
            (Kind::WholeOrWholes, DeValue::Integer(_)) => self.value(value, &Key { kind: Kind::Whole, ..*key }, path),
            (Kind::Shapes, DeValue::Array(items)) => self.items(items.iter(), Kind::Shape, key, path),
            (Kind::Shape, DeValue::Array(items)) => self.items(items.iter(), Kind::Whole, key, path),
            (Kind::Shape, DeValue::Table(table)) if !table.is_empty() => {
                let sizes = Key { kind: Kind::Wholes, ..*key };
                table
                    .iter()
                    .for_each(|(name, value)| self.value(value, &sizes, &dotted(path, name.get_ref())));
            }
            (Kind::Texts, DeValue::Array(items)) => self.items(items.iter(), Kind::Text, key, path),
            (Kind::Wholes | Kind::WholesOrRange | Kind::WholeOrWholes, DeValue::Array(items)) => {
                self.items(items.iter(), Kind::Whole, key, path)
            }
            (Kind::NumbersOrRange, DeValue::Array(items)) => self.items(items.iter(), Kind::Number, key, path),
            (Kind::Tables(_), DeValue::Array(items)) => self.items(items.iter(), key.kind, key, path),
            (Kind::Table(keys), DeValue::Table(table)) => self.table(table, keys(), None, path, value.span()),
            (Kind::Named(keys, named), DeValue::Table(table)) => {
                self.table(table, keys(), Some(named()), path, value.span());
            }
            (Kind::Headers, DeValue::Table(table)) => {
                for (name, value) in table.iter() {
                    let path = dotted(path, name.get_ref());
                    match value.get_ref() {
                        DeValue::Table(table) => self.table(table, HEADER, None, &path, value.span()),
                        _ => self.value(value, &optional("", Kind::Text, "team = \"vision\""), &path),
                    }
                }
            }
            (Kind::Names | Kind::Parameters, DeValue::Table(table)) => {
                let item = match key.kind {
                    Kind::Names => optional("", Kind::Text, "448 = \"score_8\""),
                    _ => optional("", Kind::Scalar, "priority = 1"),
                };
                table
                    .iter()
                    .for_each(|(name, value)| self.value(value, &item, &dotted(path, name.get_ref())));
            }
            (Kind::WordOrTable(_, keys), DeValue::Table(table)) if table.len() == 1 => {
                self.table(table, keys(), None, path, value.span());
            }
            (Kind::Data, DeValue::String(word)) if word == "zeros" => {}
            (Kind::Data, DeValue::Table(table))
                if table.len() > 1 && table.iter().all(|(name, _)| is_data(name.get_ref())) =>
            {
                self.wrong(value, key, path);
            }
            (Kind::Data, DeValue::Table(table)) if !table.is_empty() => {
                self.table(table, DATA, None, path, value.span())
            }
            _ => self.wrong(value, key, path),
        }
    }

    fn items<'a>(&mut self, items: impl Iterator<Item = &'a Spanned<DeValue<'a>>>, kind: Kind, key: &Key, path: &str) {
        for (index, item) in items.enumerate() {
            let path = format!("{path}[{index}]");
            match (kind, item.get_ref()) {
                (Kind::Tables(keys), DeValue::Table(table)) => self.table(table, keys(), None, &path, item.span()),
                (Kind::Tables(_), _) => {
                    let problem = format!("found {}, expected a table", self.found(item));
                    let help = format!("write it as {}", key.example);
                    self.errors.push(self.document.error_of(path, item.span(), problem, help));
                }
                _ => self.value(item, &Key { kind, ..*key }, &path),
            }
        }
    }

    fn wrong(&mut self, value: &Spanned<DeValue<'_>>, key: &Key, path: &str) {
        let header = self.document.text[value.span()].starts_with('[') && matches!(value.get_ref(), DeValue::Table(_));
        let help = match (key.kind, value.get_ref()) {
            (Kind::Tables(_), DeValue::Table(_)) if header => format!("write {} with two brackets", key.example),
            (Kind::Table(_) | Kind::Named(..), DeValue::Array(_)) => {
                format!("there is one {0}: write {0} with one bracket", key.example)
            }
            (Kind::Table(_) | Kind::Named(..), _) if !key.example.starts_with('[') => format!("write {}", key.example),
            (Kind::Table(_) | Kind::Named(..), _) => {
                format!("write {} on its own line and its keys below it", key.example)
            }
            (Kind::Data, DeValue::String(word)) => match nearest(word, &["zeros", "random", "file"]) {
                Some("random") => format!("write {}", DATA[0].example),
                Some("file") => format!("write {}", DATA[1].example),
                Some(_) => "did you mean \"zeros\"?".to_owned(),
                None => format!("for a file's content write {}", DATA[1].example),
            },
            (Kind::Data | Kind::WordOrTable(..), DeValue::Table(table)) if table.len() > 1 => {
                "keep one of the two".to_owned()
            }
            (Kind::Whole, DeValue::Float(_)) => {
                format!("write it without point and exponent, such as {}", key.example)
            }
            _ => format!("write it as {}", key.example),
        };
        let problem = format!("found {}, expected {}", self.found(value), expected(key.kind, key.name));
        self.errors.push(self.document.error_of(path.to_owned(), value.span(), problem, help));
    }

    /// The value as written, with its kind.
    fn found(&self, value: &Spanned<DeValue<'_>>) -> String {
        let kind = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a datetime",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        format!("{} ({kind})", self.document.shown(value.span()))
    }

    fn unknown(&mut self, found: &str, span: Range<usize>, keys: &[Key], path: &str) {
        let names: Vec<&'static str> = keys.iter().map(|key| key.name).collect();
        let alias = ALIASES.iter().find(|(name, _)| *name == found).map(|(_, known)| *known);
        let near = alias.filter(|known| names.contains(known)).or_else(|| nearest(found, &names));
        let table = FORMAT
            .iter()
            .find(|key| key.name == found && matches!(key.kind, Kind::Table(_) | Kind::Named(..) | Kind::Tables(_)));
        let help = match (elsewhere(found, FORMAT, ""), near) {
            _ if table.is_some() => format!("write {}", table.map_or(String::new(), header)),
            (_, Some(near)) => format!("did you mean `{near}`?"),
            (Some(other), None) if other.is_empty() => {
                format!("`{found}` belongs above the first [table]: move it there")
            }
            (Some(other), None) => format!("`{found}` belongs to [{other}]: move it there"),
            (None, None) => "remove it: scenarios/README.md explains every key".to_owned(),
        };
        self.told.extend(near.into_iter().chain(table.map(|key| key.name)));
        let problem =
            format!("unknown key `{}`, expected one of {}", self.document.shown(span.clone()), names.join(", "));
        self.errors.push(self.document.error_of(dotted(path, found), span, problem, help));
    }
}

/// A table's header and its first key, as written.
fn header(key: &Key) -> String {
    let (Kind::Table(inner) | Kind::Named(inner, _) | Kind::Tables(inner)) = key.kind else {
        return key.example.to_owned();
    };
    let is_first = |key: &&Key| key.required || key.name == AxisId::BatchSize.axis().key;
    let first = inner().iter().find(is_first).or(inner().get(1));
    format!("{} and below it its keys, such as {}", key.example, first.map_or("", |key| key.example))
}

/// A table that has the key, if any; tables nearest to the top come first.
fn elsewhere(name: &str, keys: &[Key], path: &str) -> Option<String> {
    if keys.iter().any(|key| key.name == name) {
        return Some(path.to_owned());
    }
    let inner = |key: &Key| match key.kind {
        Kind::Table(inner) | Kind::Named(inner, _) | Kind::Tables(inner) => Some((inner(), dotted(path, key.name))),
        _ => None,
    };
    let direct = keys
        .iter()
        .filter_map(inner)
        .find(|(inner, _)| inner.iter().any(|key| key.name == name));
    direct
        .map(|(_, path)| path)
        .or_else(|| keys.iter().filter_map(inner).find_map(|(inner, path)| elsewhere(name, inner, &path)))
}

fn expected(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Text | Kind::Word(_) => "a string in quotes".to_owned(),
        Kind::Value => "a string in quotes or a number".to_owned(),
        Kind::Whole => "an integer".to_owned(),
        Kind::Number => "a number".to_owned(),
        Kind::Flag => "true or false".to_owned(),
        Kind::Shapes => "an array of shapes in brackets".to_owned(),
        Kind::Shape => "an array of integers, or a table of them by input".to_owned(),
        Kind::Texts | Kind::Words(_) => "an array of strings in brackets".to_owned(),
        Kind::WordOrWords(_) => "a string in quotes, or an array of them in brackets".to_owned(),
        Kind::WordOrTable(words, keys) => {
            let keys: Vec<&str> = keys().iter().map(|key| key.name).collect();
            format!("{}, or a table with {}", words.expected, keys.join(" or "))
        }
        Kind::Wholes => "an array of integers in brackets".to_owned(),
        Kind::WholesOrRange => "an array of integers in brackets, or a range in quotes".to_owned(),
        Kind::WholeOrWholes => "an integer, or an array of them in brackets, or a range in quotes".to_owned(),
        Kind::NumbersOrRange => "an array of numbers in brackets, or a range in quotes".to_owned(),
        Kind::Data => "\"zeros\", a random seed or a file".to_owned(),
        Kind::Table(_) | Kind::Named(..) => format!("a table [{name}]"),
        Kind::Tables(_) if matches!(name, "exclude" | "stages") => "an array of tables".to_owned(),
        Kind::Tables(_) => format!("[[{name}]] tables"),
        Kind::Scalar => "a string in quotes, a number, true or false".to_owned(),
        Kind::Headers => "a table of headers".to_owned(),
        Kind::Parameters => format!("a table [{name}]"),
        Kind::Names => "a table of names".to_owned(),
    }
}

fn is_data(name: &str) -> bool {
    DATA.iter().any(|key| key.name == name)
}
