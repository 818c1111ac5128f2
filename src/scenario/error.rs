//! The errors of a scenario file: the place, what was found, what was expected and the remedy. Knows TOML's spans;
//! must not know what any key means. Never shows a password.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The errors in a scenario file, at least one.
#[derive(Debug)]
pub struct ScenarioError {
    first: Box<Details>,
    /// In the file's order.
    more: Vec<Details>,
}

/// Maximum number of errors shown for one file.
const SHOWN_MAX: usize = 10;

#[derive(Debug)]
struct Details {
    file: PathBuf,
    place: Option<Place>,
    /// Dotted path of the key, such as `matrix.batch_sizes[1]`.
    key: String,
    problem: String,
    help: String,
}

impl ScenarioError {
    fn one(details: Details) -> Self {
        ScenarioError { first: Box::new(details), more: Vec::new() }
    }

    /// Several errors as one, in the file's order; `None` if there are none.
    pub fn all(errors: Vec<ScenarioError>) -> Option<Self> {
        let mut details: Vec<Details> = errors
            .into_iter()
            .flat_map(|error| std::iter::once(*error.first).chain(error.more))
            .collect();
        details.sort_by_key(|details| details.place.as_ref().map(|place| (place.line, place.column)));
        let mut details = details.into_iter();
        Some(ScenarioError { first: Box::new(details.next()?), more: details.collect() })
    }

    /// One-based line of the first error; `None` if the file could not be read at all.
    pub fn line(&self) -> Option<usize> {
        self.first.place.as_ref().map(|place| place.line)
    }

    /// Dotted path of the first error's key, such as `matrix.batch_sizes[1]`; empty if no key is concerned.
    pub fn key(&self) -> &str {
        &self.first.key
    }

    /// The problem of the first error.
    pub fn problem(&self) -> &str {
        &self.first.problem
    }

    /// The remedy for the first error.
    pub fn help(&self) -> &str {
        &self.first.help
    }

    /// Number of errors.
    pub fn count(&self) -> usize {
        1 + self.more.len()
    }
}

/// Collects errors while reading goes on as far as possible.
#[derive(Default)]
pub struct Errors(Vec<ScenarioError>);

impl Errors {
    /// Returns the value, or `None` after keeping its error.
    pub fn keep<T>(&mut self, result: Result<T, ScenarioError>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }

    /// Keeps an error.
    pub fn push(&mut self, error: ScenarioError) {
        self.0.push(error);
    }

    /// Returns the value, if there was no error.
    ///
    /// # Errors
    /// All kept errors.
    pub fn or<T>(self, value: T) -> Result<T, ScenarioError> {
        ScenarioError::all(self.0).map_or(Ok(value), Err)
    }
}

/// One-based line and column, and the line's text.
#[derive(Debug)]
struct Place {
    line: usize,
    column: usize,
    text: String,
    /// Number of characters before the marked part, and in it.
    indent: usize,
    width: usize,
}

impl std::error::Error for ScenarioError {}

impl fmt::Display for ScenarioError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.first)?;
        for details in self.more.iter().take(SHOWN_MAX - 1) {
            write!(out, "\n{details}")?;
        }
        match self.count() {
            0..=SHOWN_MAX => Ok(()),
            count => write!(out, "\nand {} more errors in this file", count - SHOWN_MAX),
        }
    }
}

impl fmt::Display for Details {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details { file, place, key, problem, help } = self;
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
            let indent: String = place
                .text
                .chars()
                .take(place.indent)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            writeln!(out, "{:margin$} |", "")?;
            writeln!(out, "{} | {}", place.line, place.text.trim_end())?;
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
    /// An error at `span`; its key is the innermost one around the span.
    pub fn error(&self, span: Range<usize>, problem: impl Into<String>, help: impl Into<String>) -> ScenarioError {
        // parts that cannot be parsed are left out; the rest still gives the key
        let key = key_at(&DeTable::parse_recoverable(self.text).0, &span);
        self.error_of(key, span, problem, help)
    }

    /// An error at `span` of a known key.
    pub fn error_of(
        &self,
        key: String,
        span: Range<usize>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> ScenarioError {
        ScenarioError::one(Details {
            file: self.file.clone(),
            place: Some(self.place(span)),
            key: without_secrets(&key),
            problem: without_secrets(&problem.into()),
            help: without_secrets(&help.into()),
        })
    }

    /// `found VALUE, expected WHAT` at a value.
    pub fn unexpected<T>(&self, value: &Spanned<T>, expected: &str, help: impl Into<String>) -> ScenarioError {
        self.error(value.span(), format!("found {}, expected {expected}", self.shown(value.span())), help)
    }

    /// The text at `span`, cut to a length that suits a message.
    pub fn shown(&self, span: Range<usize>) -> String {
        let found = self.text.get(span).unwrap_or_default();
        let first = match found.split_once('\n') {
            // a password may begin on this line and end on another
            Some((_, rest)) if rest.contains('@') => HIDDEN.to_owned(),
            _ => printable(&without_secrets(found.lines().next().unwrap_or_default())),
        };
        if found.lines().nth(1).is_some() || first.chars().count() > 60 {
            return first.chars().take(57).chain("...".chars()).collect();
        }
        first
    }

    fn place(&self, span: Range<usize>) -> Place {
        let start = (0..=span.start.min(self.text.len()))
            .rev()
            .find(|at| self.text.is_char_boundary(*at))
            .unwrap_or(0);
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_text = self.text[line_start..].lines().next().unwrap_or_default();
        let column = before[line_start..].trim_start_matches('\u{FEFF}').chars().count() + 1;
        let whole = self.text.get(start..span.end).unwrap_or_default();
        let spanned = whole.lines().next().unwrap_or_default();

        // the carets mark the shown text, which may be shorter than the original
        let line_text = line_text.trim_start_matches('\u{FEFF}');
        let begin = start.saturating_sub(line_start + if line_start == 0 { self.bom() } else { 0 });
        let begin = begin.min(line_text.len());
        let secret = match whole.split_once('\n') {
            Some((_, rest)) if rest.contains('@') => Some(begin..line_text.len()),
            _ => secret_in(line_text),
        };
        let shown_at = |at: usize| match &secret {
            Some(secret) if at >= secret.end => at - secret.len() + HIDDEN.len(),
            Some(secret) => at.min(secret.start),
            None => at,
        };
        let text = without(line_text, secret.as_ref());
        let (from, to) = (shown_at(begin), shown_at((begin + spanned.len()).min(line_text.len())));
        let indent = text.get(..from).map_or(0, |part| part.chars().count());
        let width = text.get(from..to).map_or(1, |part| part.chars().count()).max(1);
        let (text, indent, width) = window(&printable(&text), indent, width);
        Place { line: before.matches('\n').count() + 1, column, text, indent, width }
    }

    fn bom(&self) -> usize {
        if self.text.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 }
    }
}

/// The replacement for a password.
const HIDDEN: &str = "***";
/// Longest source line shown whole, in characters.
const LINE_MAX: usize = 160;

/// Keys whose values are secrets, wherever they stand.
const SECRETS: [&str; 6] = ["authorization", "cookie", "api-key", "token", "secret", "password"];

/// The bytes of a line that may hold a secret: the string of a key that sounds like one; or a user name and password, from a
/// quote, slash or equals sign to the last `@`.
fn secret_in(line: &str) -> Option<Range<usize>> {
    let lower = line.to_ascii_lowercase();
    let of_key = |key: &&str| {
        let rest = lower[lower.find(*key)? + key.len()..].trim_start_matches(['"', '\'', ' ']);
        let rest = rest.strip_prefix('=')?.trim_start();
        let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        let start = line.len() - rest.len() + 1;
        let end = line.rfind(quote).filter(|end| *end > start)?;
        Some(start..end)
    };
    if let Some(secret) = SECRETS.iter().find_map(of_key) {
        return Some(secret);
    }
    let end = line.rfind('@')?;
    let from = |marks: &[char]| line[..end].find(marks).map(|at| at + 1);
    let start = from(&['"', '\'']).or_else(|| from(&['='])).unwrap_or(0);
    let start = match line[start..end].split_once("://") {
        Some((scheme, _)) if scheme.chars().all(char::is_alphanumeric) => start + scheme.len() + 3,
        _ => start,
    };
    (start < end).then_some(start..end)
}

/// The text with `***` where it may hold a user name and password.
pub fn without_secrets(text: &str) -> String {
    without(text, secret_in(text).as_ref())
}

fn without(text: &str, secret: Option<&Range<usize>>) -> String {
    match secret {
        Some(secret) => format!("{}{HIDDEN}{}", &text[..secret.start], &text[secret.end..]),
        None => text.to_owned(),
    }
}

/// The text without characters that could steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{FFFD}' } else { c }).collect()
}

/// The part of a long line around the marked text.
fn window(text: &str, indent: usize, width: usize) -> (String, usize, usize) {
    if text.chars().count() <= LINE_MAX {
        return (text.to_owned(), indent, width);
    }
    let skip = if indent + width <= LINE_MAX { 0 } else { indent.saturating_sub(LINE_MAX / 4) };
    let mut shown: String = text.chars().skip(skip).take(LINE_MAX).collect();
    if text.chars().count() > skip + LINE_MAX {
        shown.push_str("...");
    }
    (shown, indent - skip, width.min(LINE_MAX - (indent - skip).min(LINE_MAX - 1)))
}

/// The path of a key in a table; a name that is not a bare key is quoted.
pub fn dotted(path: &str, name: &str) -> String {
    let bare =
        !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']'));
    let name = if bare { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// An error of a file without text to point into.
pub fn unreadable(file: PathBuf, problem: String, help: &str) -> ScenarioError {
    ScenarioError::one(Details { file, place: None, key: String::new(), problem, help: help.to_owned() })
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
            *path = dotted(path, key.get_ref());
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

/// Whether a value contains the span. A `[table]`'s own span is only its header, so its content is checked too.
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
