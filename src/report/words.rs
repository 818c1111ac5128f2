//! How reports write numbers, statuses and text from outside. Must not know tables.

use super::run::Run;
use crate::matrix::Arrival;
use crate::record::{Record, Status, rounded};
use crate::text;

/// `1000 iterations a process`, `30 s a case`, or both as minimums; or how precise ratios were to be.
pub fn length_words(iterations: u64, duration_s: Option<f64>, precision: Option<f64>) -> String {
    if let Some(precision) = precision {
        return format!("until each ratio of means is within {} %", 100.0 * precision);
    }
    match (iterations, duration_s) {
        (_, None) => format!("{iterations} iterations a process"),
        (0, Some(seconds)) => format!("{seconds} s a case"),
        (_, Some(seconds)) => format!("at least {iterations} iterations a process and {seconds} s a case"),
    }
}

/// What a process sent before anything was measured: `10` requests, `at least 10 requests and 5 s`; and until when.
pub fn warmup_words(requests: u64, seconds: Option<f64>, steady: Option<f64>) -> (String, String) {
    let least = match (requests, seconds) {
        (_, None) if steady.is_none() => requests.to_string(),
        (_, None) => format!("at least {requests} requests"),
        (0, Some(seconds)) => format!("at least {seconds} s"),
        (_, Some(seconds)) => format!("at least {requests} requests and {seconds} s"),
    };
    let until = steady.map(|part| format!(", until latencies were steady within {} %", rounded(100.0 * part)));
    (least, until.unwrap_or_default())
}

/// The number of measured blocks, which few requests or an early end may reduce: `10`, `7 to 10`.
pub fn blocks_words(run: &Run) -> String {
    let measured = run.records.iter().map(|record| record.blocks).filter(|blocks| *blocks > 0);
    range_words(measured.map(u64::from))
}

/// `10`, `7 to 10`: the smallest and largest of some numbers.
pub fn range_words(numbers: impl Iterator<Item = u64> + Clone) -> String {
    match (numbers.clone().min().unwrap_or(0), numbers.max().unwrap_or(0)) {
        (least, most) if least == most => most.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}

/// Whether requests wait for answers, and if not how they arrive.
pub fn loop_words(arrival: Option<Arrival>, detail: &str) -> String {
    let words = match arrival {
        None => return "closed loop".to_owned(),
        Some(Arrival::Constant) => "arrivals at equal distances",
        Some(Arrival::Poisson) => "Poisson arrivals",
        Some(Arrival::Gamma) => "arrivals at gamma distributed distances",
        Some(Arrival::OnOff) => "Poisson arrivals part of the time",
        Some(Arrival::Stages) => "arrivals in stages",
        Some(Arrival::File) => "arrivals from a file",
    };
    let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
    format!("open loop, {words}{detail}, response times from the instant they were due")
}

/// `not run`.
pub fn status_words(status: Status) -> String {
    status.name().replace('_', " ")
}

/// Whose weights the model has.
pub fn weights_words(weights: &str) -> &str {
    if weights.is_empty() { "not told by the server" } else { weights }
}

/// Milliseconds, or answers a second, with about four significant digits.
pub fn format_ms(milliseconds: f64) -> String {
    let digits = match milliseconds {
        value if value < 10.0 => 3,
        value if value < 100.0 => 2,
        value if value < 1000.0 => 1,
        _ => 0,
    };
    format!("{milliseconds:.digits$}")
}

/// `1 run`, `3 runs`.
pub fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Shown where there is no value.
pub const NOTHING: &str = "–";

/// As [`format_ms`], where there is a value.
pub fn number_if_any(value: Option<f64>) -> String {
    value.map_or(NOTHING.to_owned(), format_ms)
}

/// How text is shown, and so what text from outside must be kept from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Markup {
    /// Markdown.
    Markdown,
    /// Text as it is: a terminal, or input of something that escapes it.
    Plain,
}

impl Markup {
    /// Text from outside.
    pub fn text(self, text: &str) -> String {
        match self {
            Markup::Markdown => escaped(text),
            Markup::Plain => text::message(text),
        }
    }

    /// Text from outside that is code.
    pub fn code(self, text: &str) -> String {
        match self {
            Markup::Markdown => code(text),
            Markup::Plain => text::lines(text).replace('\n', " "),
        }
    }
}

/// Escapes text from outside, such as a run's files: it must not end a cell or a line, or begin markup.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text::message(text).chars() {
        if matches!(character, '|' | '*' | '_' | '`' | '<' | '>' | '[' | ']' | '\\' | '~' | '#' | '$' | '&') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// Text from outside as code, in which nothing is markup. Not for a table, where `|` ends a cell even in code.
pub fn code(text: &str) -> String {
    let text = text::lines(text).replace('\n', " ");
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // the space is not part of the code, and separates its ticks from the fence's
    let space = if longest > 0 || text.is_empty() { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// The values of a column, in the order in which they appear.
pub fn distinct<'a, T: PartialEq>(rows: impl IntoIterator<Item = &'a Record>, column: impl Fn(&Record) -> T) -> Vec<T> {
    let mut values = Vec::new();
    for record in rows {
        let value = column(record);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        let shown = [9.9994, 10.0, 99.994, 100.0, 999.94, 1000.0, 12345.6].map(format_ms);
        assert_eq!(shown, ["9.999", "10.00", "99.99", "100.0", "999.9", "1000", "12346"]);
    }

    #[test]
    fn text_from_outside_is_no_markup() {
        assert_eq!(
            escaped("a|b\n# *c* <!-- `d` [e](f) \u{1b}[31m"),
            "a\\|b \\# \\*c\\* \\<!-- \\`d\\` \\[e\\](f) \u{FFFD}\\[31m"
        );
        assert_eq!(code("my_model"), "`my_model`");
        assert_eq!(code("a``b"), "``` a``b ```");
        assert!(escaped(&"x".repeat(60_000)).len() < 600);
    }
}
