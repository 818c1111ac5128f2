//! Tables in Markdown, a function of a run's data alone.

use std::fmt::Write;

use super::{Run, judge, notes, tables};
use crate::record::{Arm, Record, Status};
use crate::scenario::{Arrival, Protocol};
use crate::text;

/// How tables are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With the ends of their 95 % intervals.
    pub intervals: bool,
}

/// A run's section: heading, tables, how it was measured, and what is wrong with it.
pub fn section(run: &Run, style: Style) -> String {
    let mut out = format!("### {}\n\n", escaped(&run.manifest.title));
    if let Some(part) = run.part() {
        let _ = writeln!(out, "**Not a whole run:** {part}.\n");
    }
    let loads = distinct(&run.records, load_of);
    let mut judged = Vec::new();
    for load in &loads {
        let rows: Vec<&Record> = run.records.iter().filter(|record| load_of(record) == *load).collect();
        let cells = judge::cells(run, &rows);
        if loads.len() > 1 || load.0.is_some() {
            let words = load_words(load.0, load.1, load.2);
            let _ = writeln!(out, "{}{} in each process:\n", words[..1].to_uppercase(), &words[1..]);
        }
        out.push_str(&match load.0 {
            Some(_) => tables::open(&rows, &cells, style),
            None => tables::closed(&rows, &cells, style),
        });
        out.push('\n');
        if let Some(table) = tables::parts(&rows, &cells) {
            out.push_str(&table);
            out.push('\n');
        }
        judged.extend(cells);
    }
    out.push_str(&notes::notes(run, &judged));
    out
}

/// What a table has in common: rate, requests in flight and connections of a process.
type Loading = (Option<f64>, u32, Option<u32>);

pub(super) fn load_of(record: &Record) -> Loading {
    (record.rate, record.concurrency, record.connections)
}

/// `gRPC batch 4, 3 processes`.
pub fn case_words(record: &Record) -> String {
    let protocol = contender(record);
    let words = format!("{protocol} batch {}, {}", record.batch_size, processes_words(record.processes));
    if load_of(record) == (None, 1, Some(1)) || load_of(record) == (None, 1, None) {
        return words;
    }
    format!("{words}, {}", load_words(record.rate, record.concurrency, record.connections))
}

/// `1000 iterations a process`, `30 s a case`, or both as the least.
pub fn length_words(iterations: u64, duration_s: Option<f64>) -> String {
    match (iterations, duration_s) {
        (_, None) => format!("{iterations} iterations a process"),
        (0, Some(seconds)) => format!("{seconds} s a case"),
        (_, Some(seconds)) => format!("at least {iterations} iterations a process and {seconds} s a case"),
    }
}

/// How many blocks were measured, which few requests or an early end make less than what was asked for: `10`, `7 to 10`.
pub(super) fn blocks_words(run: &Run) -> String {
    let measured = run.records.iter().map(|record| record.blocks).filter(|blocks| *blocks > 0);
    range_words(measured.map(u64::from))
}

/// `10`, `7 to 10`: the least and the most of some numbers.
pub(super) fn range_words(numbers: impl Iterator<Item = u64> + Clone) -> String {
    match (numbers.clone().min().unwrap_or(0), numbers.max().unwrap_or(0)) {
        (least, most) if least == most => most.to_string(),
        (least, most) => format!("{least} to {most}"),
    }
}

pub(super) fn loop_words(arrival: Option<Arrival>) -> &'static str {
    match arrival {
        None => "closed loop",
        Some(Arrival::Constant) => {
            "open loop, arrivals at equal distances, response times from the instant they were due"
        }
        Some(Arrival::Poisson) => "open loop, Poisson arrivals, response times from the instant they were due",
    }
}

/// `4 in flight`, `64 in flight over 4 connections`, `100 requests/s, at most 64 in flight`.
pub fn load_words(rate: Option<f64>, concurrency: u32, connections: Option<u32>) -> String {
    let rate = rate.map(|rate| format!("{rate} requests/s, at most ")).unwrap_or_default();
    let shared = connections.filter(|connections| *connections != concurrency);
    let over = match shared {
        Some(1) => " over 1 connection".to_owned(),
        Some(connections) => format!(" over {connections} connections"),
        None => String::new(),
    };
    format!("{rate}{concurrency} in flight{over}")
}

/// A protocol as people write it.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Grpc => "gRPC",
    }
}

/// `gRPC`, or `gRPC B` if it is one of two equal cases.
pub fn contender(record: &Record) -> String {
    let protocol = protocol_name(record.protocol);
    match record.arm {
        None => protocol.to_owned(),
        Some(Arm::A) => format!("{protocol} A"),
        Some(Arm::B) => format!("{protocol} B"),
    }
}

/// `not run`.
pub fn status_words(status: Status) -> String {
    status.name().replace('_', " ")
}

/// Whose weights the model has.
pub fn weights_words(weights: &str) -> &str {
    if weights.is_empty() { "not told by the server" } else { weights }
}

/// `1 process`, `3 processes`.
pub fn processes_words(processes: u32) -> String {
    if processes == 1 { "1 process".to_owned() } else { format!("{processes} processes") }
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

/// Text from outside must not end a cell or a line, or begin markup; the files of a run are from outside too.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text::message(text).chars() {
        if matches!(character, '|' | '*' | '_' | '`' | '<' | '>' | '[' | ']' | '\\' | '~' | '#' | '$' | '&') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

/// Text from outside as code, in which nothing is markup. Not for a table, whose cells end in code too.
pub(super) fn code(text: &str) -> String {
    let text = text::lines(text).replace('\n', " ");
    let longest = text.split(|character| character != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // a space is no part of the code, and keeps its ticks from the fence's
    let space = if longest > 0 || text.is_empty() { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

/// The values of a column, in the order in which they appear.
pub(super) fn distinct<'a, T: PartialEq>(
    rows: impl IntoIterator<Item = &'a Record>,
    column: impl Fn(&Record) -> T,
) -> Vec<T> {
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
