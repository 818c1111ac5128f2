//! Invalid TOML: the parser's errors in plain words, and the key found from the text, since no tree exists.

use std::ops::Range;

use super::error::{Document, Errors, ScenarioError, dotted};
use crate::lookalike;

/// All errors of a text that is not TOML, except those that follow from another: on the same line, after an unclosed
/// bracket, and in a duplicate table.
///
/// # Errors
/// The errors found, if any.
pub fn explain_all(document: &Document<'_>, errors: &[toml::de::Error]) -> Result<(), ScenarioError> {
    let (mut lines, mut twice) = (Vec::new(), Vec::new());
    let mut all = Errors::default();
    for error in errors {
        let duplicate = error.message().starts_with("duplicate key");
        let error = explain(document, error);
        let follows = lines.contains(&error.line())
            || duplicate && twice.iter().any(|table| error.key().starts_with(&format!("{table}.")));
        if follows {
            continue;
        }
        lines.push(error.line());
        if duplicate {
            twice.push(error.key().to_owned());
        }
        let open = error.problem().contains("not closed");
        all.push(error);
        if open {
            break;
        }
    }
    all.or(())
}

/// The parser's error in plain words. Also handles serde's, although [`super::schema`] should leave none.
pub fn explain(document: &Document<'_>, error: &toml::de::Error) -> ScenarioError {
    let text = document.text;
    let span = error.span().unwrap_or(0..0);
    let message = error.message();
    if message.starts_with("duplicate key") {
        return twice(document, span);
    }
    let found = document.shown(span.clone());
    if let Some((problem, help)) = lookalikes(document, &span, &found) {
        return document.error_of(key_before(text, span.start), span, problem, help);
    }
    let control = text
        .get(span.start..)
        .and_then(|rest| rest.chars().next())
        .filter(|c| c.is_control() && !c.is_whitespace());
    let (problem, help) = match message.lines().next().unwrap_or_default() {
        _ if control.is_some() => (
            format!("found the control character U+{:04X}, expected text", control.unwrap_or_default() as u32),
            "remove it, or write it as an escape in a string, such as \\t".to_owned(),
        ),
        m if m.starts_with("invalid basic string") || m.starts_with("invalid literal string") => {
            ("the string has no closing quote".to_owned(), "end it with the quote that it begins with".to_owned())
        }
        m if m.starts_with("string values must be quoted") && found.trim().is_empty() => {
            ("found no value, expected one behind the =".to_owned(), "give a value, or remove the line".to_owned())
        }
        m if m.starts_with("carriage return") => (
            "found a line that ends in a carriage return alone".to_owned(),
            "save the file with the line ends LF or CRLF".to_owned(),
        ),
        m if m.starts_with("string values must be quoted") && are_numbers(&found) => (
            format!("found {found} without commas, expected one value"),
            format!("put commas between: {}", found.split_whitespace().collect::<Vec<_>>().join(", ")),
        ),
        m if m.starts_with("string values must be quoted") => (
            format!("found {found} without quotes, expected a value"),
            format!("write \"{found}\" if a string is meant; numbers, true and false stand without quotes"),
        ),
        m if m.starts_with("missing value") || m.starts_with("invalid value") => {
            (format!("found `{found}`, expected a value"), "strings stand in quotes, arrays in brackets".to_owned())
        }
        m if m.starts_with("missing escaped value") || m.contains("unicode") => (
            "found a backslash that begins no escape".to_owned(),
            "write two of them, or put the string into single quotes, which keep backslashes".to_owned(),
        ),
        m if m.starts_with("invalid boolean") => {
            (format!("found {found}, expected true or false"), "write it in lower case".to_owned())
        }
        m if m.starts_with("key with no value") => {
            ("found a key without a value".to_owned(), "write KEY = VALUE, with an equals sign between".to_owned())
        }
        m if m.contains("array elements") || m.starts_with("unclosed array") && !m.contains("table") => (
            "the array is not closed, or a comma is missing in it".to_owned(),
            "separate the values by commas and end the array with ]".to_owned(),
        ),
        m if m.contains("key-value pairs") || m.contains("inline table") => (
            "the table in braces is not closed, or a comma is missing in it".to_owned(),
            "separate its keys by commas and end it with }".to_owned(),
        ),
        m if m.starts_with("unclosed table") || m.starts_with("unclosed array table") => {
            ("the table's name has no closing bracket".to_owned(), "write [name] or [[name]]".to_owned())
        }
        m if m.contains("leading zero") => {
            ("found a number with a leading zero".to_owned(), "write the number without it".to_owned())
        }
        m if m.starts_with("cannot extend") => {
            ("the key is already there with a value of another kind".to_owned(), "keep one of the two".to_owned())
        }
        m if m.contains("recurs") => ("arrays or tables are nested too deeply".to_owned(), "flatten them".to_owned()),
        m => (
            format!("this is not TOML: {}", m.trim_end_matches(", expected nothing")),
            "check quotes, brackets, commas and equals signs here".to_owned(),
        ),
    };
    // an unclosed list is noticed on a later line than its own
    let before = text.get(..span.start).unwrap_or_default();
    let content = before.trim_end();
    let late = before[content.len()..].contains('\n') && problem.contains("not closed");
    let span = if late { content.len()..content.len() } else { span };
    let key = key_before(text, span.start);
    document.error_of(key, span, problem, help)
}

/// The error of a character that resembles one of TOML's, at the start of the found text or within it.
fn lookalikes(document: &Document<'_>, span: &Range<usize>, found: &str) -> Option<(String, String)> {
    let at_once = document.text.get(span.start..).and_then(|rest| rest.chars().next());
    let within = document.text.get(span.clone()).unwrap_or_default().chars();
    let character = at_once
        .into_iter()
        .chain(within)
        .find(|character| lookalike::of(*character).is_some())?;
    let (what, meant) = lookalike::of(character)?;
    let corrected: String = found
        .chars()
        .filter_map(|c| lookalike::of(c).map_or(Some(c), |(_, meant)| meant))
        .collect();
    let help = match meant {
        Some(' ') | None => lookalike::remedy(character)?,
        Some(_) => format!("it is {what}, which TOML does not know: write {}", corrected.trim()),
    };
    Some((format!("found {}", lookalike::shown(character)), help))
}

/// Whether the text is several numbers separated by spaces.
fn are_numbers(found: &str) -> bool {
    found.split_whitespace().count() > 1 && found.split_whitespace().all(|word| word.parse::<f64>().is_ok())
}

fn twice(document: &Document<'_>, span: Range<usize>) -> ScenarioError {
    let text = document.text;
    let end = text
        .get(span.end..)
        .and_then(|rest| rest.find('\n'))
        .map_or(text.len(), |at| span.end + at);
    let key = key_before(text, end);
    let first = text[..span.start]
        .match_indices('\n')
        .map(|(at, _)| at)
        .position(|at| key_before(text, at) == key)
        .map_or(String::new(), |line| format!(", first in line {}", line + 1));
    document.error_of(key, span, format!("the key is given twice{first}"), "keep one of the two, or rename one")
}

/// The dotted path of the last key or table header that begins before `end`, as far as single lines show.
fn key_before(text: &str, end: usize) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    let (mut table, mut key) = (String::new(), String::new());
    for line in text.get(..end).unwrap_or_default().lines() {
        let line = line.trim_start_matches('\u{FEFF}').trim();
        let name: String = line
            .trim_start_matches('[')
            .chars()
            .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
            .collect();
        let rest = line.trim_start_matches('[')[name.len()..].trim_start();
        if name.is_empty() {
            continue;
        }
        if line.starts_with("[[") {
            let count = counts.entry(name.clone()).or_default();
            table = format!("{name}[{count}]");
            *count += 1;
            key.clone_from(&table);
        } else if line.starts_with('[') {
            table = name;
            key.clone_from(&table);
        } else if rest.is_empty() || rest.starts_with('=') || rest.starts_with('"') {
            key = dotted(&table, &name);
        }
    }
    key
}
