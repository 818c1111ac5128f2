//! One error of a scenario file: where it is, what was found, what was expected and how to mend it.
//! Knows TOML's spans and serde's messages; must not know what any key means.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// An error in a scenario file.
#[derive(Debug)]
pub struct ScenarioError(Box<Details>);

#[derive(Debug)]
struct Details {
    file: PathBuf,
    place: Option<Place>,
    /// Dotted path of the key, such as `matrix.batch_sizes[1]`.
    key: String,
    problem: String,
    help: String,
}

/// One-based line and column, and the line's text.
#[derive(Debug)]
struct Place {
    line: usize,
    column: usize,
    text: String,
    width: usize,
}

impl std::error::Error for ScenarioError {}

impl fmt::Display for ScenarioError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { file, place, key, problem, help } = &*self.0;
        write!(out, "{}", file.display())?;
        if let Some(place) = place {
            write!(out, ":{}:{}", place.line, place.column)?;
        }
        write!(out, ": ")?;
        if !key.is_empty() {
            write!(out, "{key}: ")?;
        }
        writeln!(out, "{problem}")?;
        if let Some(place) = place {
            let margin = place.line.to_string().len();
            let indent: String =
                place.text.chars().take(place.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            writeln!(out, "{:margin$} |", "")?;
            writeln!(out, "{} | {}", place.line, place.text)?;
            writeln!(out, "{:margin$} | {indent}{}", "", "^".repeat(place.width))?;
        }
        write!(out, "  help: {help}")
    }
}

/// A scenario file's name and text, from which errors are made.
pub struct Document<'a> {
    /// The path as the user gave it.
    pub file: PathBuf,
    /// The whole text.
    pub text: &'a str,
}

impl Document<'_> {
    /// An error at `span`; the key is the innermost one that the span lies in.
    pub fn error(&self, span: Range<usize>, problem: impl Into<String>, help: impl Into<String>) -> ScenarioError {
        let key = DeTable::parse(self.text).map_or(String::new(), |table| key_at(&table, &span));
        ScenarioError(Box::new(Details {
            file: self.file.clone(),
            place: Some(self.place(span)),
            key,
            problem: problem.into(),
            help: help.into(),
        }))
    }

    /// `found VALUE, expected WHAT` at a value.
    pub fn unexpected<T>(&self, value: &Spanned<T>, expected: &str, help: impl Into<String>) -> ScenarioError {
        let found = self.text.get(value.span()).unwrap_or_default();
        let first = found.lines().next().unwrap_or_default();
        self.error(value.span(), format!("found {}, expected {expected}", shortened(first)), help)
    }

    /// serde's or the parser's error, in the words of this format.
    pub fn of_toml(&self, error: &toml::de::Error) -> ScenarioError {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        if message.starts_with("unknown field") || message.starts_with("unknown variant") {
            let what = if message.starts_with("unknown field") { "key" } else { "value" };
            let (found, known) = (quoted.first().copied().unwrap_or_default(), quoted.get(1..).unwrap_or_default());
            let list = known.join(", ");
            let help = match nearest(found, known) {
                Some(near) => format!("did you mean `{near}`? The {what}s known here are: {list}"),
                None => format!("remove it, or use one of the {what}s known here: {list}"),
            };
            return self.error(span, format!("unknown {what} `{found}`"), help);
        }
        if message.starts_with("missing field") {
            let field = quoted.first().copied().unwrap_or_default();
            return self.error(
                span,
                format!("the key `{field}` is missing"),
                format!("add `{field}`: see scenarios/README.md"),
            );
        }
        if message.starts_with("duplicate key") {
            return self.error(span, "the key is given twice", "keep one of the two");
        }
        if let Some((found, expected)) =
            message.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
        {
            let expected = plain_type(expected);
            return self.error(span, format!("found {found}, expected {expected}"), format!("write {expected} here"));
        }
        self.error(span, message.replace('\n', ", "), "this is not valid TOML here: check quotes, brackets and commas")
    }

    fn place(&self, span: Range<usize>) -> Place {
        let start = (0..=span.start.min(self.text.len())).rev().find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let text = self.text[line_start..].lines().next().unwrap_or_default().to_owned();
        let column = before[line_start..].chars().count() + 1;
        let end = self
            .text
            .get(start..span.end)
            .map_or(1, |spanned| spanned.lines().next().unwrap_or_default().chars().count());
        Place { line: before.matches('\n').count() + 1, column, text, width: end.max(1) }
    }
}

/// An error of a file that has no text to point into.
pub fn unreadable(file: PathBuf, problem: String, help: &str) -> ScenarioError {
    ScenarioError(Box::new(Details { file, place: None, key: String::new(), problem, help: help.to_owned() }))
}

/// The known name that a typo most likely meant.
pub fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let similarity = |name: &str| strsim::jaro_winkler(&found.to_lowercase(), &name.to_lowercase());
    let best = known.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > 0.8).then_some(best)
}

fn plain_type(expected: &str) -> String {
    match expected {
        "i64" => "a whole number".to_owned(),
        "f64" => "a number".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "a boolean" => "true or false".to_owned(),
        _ if expected.starts_with("struct") || expected.contains("map") => "a table".to_owned(),
        _ if expected.contains("enum") || expected.contains("variant") => {
            "\"zeros\", {random = {seed = 7}} or {file = \"face.npy\"}".to_owned()
        }
        other => other.to_owned(),
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 60 { text.to_owned() } else { text.chars().take(57).chain("...".chars()).collect() }
}

fn key_at(table: &Spanned<DeTable<'_>>, span: &Range<usize>) -> String {
    let mut path = String::new();
    walk_table(table.get_ref(), span, &mut path);
    path
}

fn walk_table(table: &DeTable<'_>, span: &Range<usize>, path: &mut String) {
    for (key, value) in table {
        let here = within(&key.span(), span) || within(&value.span(), span) || holds(value.get_ref(), span);
        if here {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(key.get_ref());
            return walk_value(value.get_ref(), span, path);
        }
    }
}

fn walk_value(value: &DeValue<'_>, span: &Range<usize>, path: &mut String) {
    match value {
        DeValue::Table(table) => walk_table(table, span, path),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if within(&item.span(), span) || holds(item.get_ref(), span) {
                    path.push_str(&format!("[{index}]"));
                    return walk_value(item.get_ref(), span, path);
                }
            }
        }
        _ => {}
    }
}

/// A `[table]`'s own span is its header, so what it holds is asked too.
fn holds(value: &DeValue<'_>, span: &Range<usize>) -> bool {
    match value {
        DeValue::Table(table) => table.iter().any(|(key, value)| {
            within(&key.span(), span) || within(&value.span(), span) || holds(value.get_ref(), span)
        }),
        DeValue::Array(items) => items.iter().any(|item| within(&item.span(), span) || holds(item.get_ref(), span)),
        _ => false,
    }
}

fn within(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end && !outer.is_empty()
}
