//! The tables of a run in Markdown: the latencies with their verdicts, and where the time goes.

use std::fmt::Write;

use super::judge::{Cell, Metric, is_trusted};
use super::markdown::{Style, contender, distinct, format_ms, status_words};
use crate::record::{Record, Status};
use crate::statistics::{Interval, Ratio, Verdict};

/// Stands where there is nothing to say.
const NOTHING: &str = "–";

/// A row a batch size, number of processes and protocol: response times, and what they would look like without waiting.
pub fn open(rows: &[&Record], cells: &[Cell<'_>], style: Style) -> String {
    let mut out = String::from(
        "| Batch Size | Processes | Protocol | Response Mean (ms) | P95 (ms) | P99 (ms) | Service Mean (ms) | P95 (ms) \
         | P99 (ms) | Requests/s | Sent late P99 (ms) |\n|---:|---:|---|",
    );
    out.push_str(&"---:|".repeat(8));
    out.push('\n');
    for record in rows {
        let milliseconds = |value: Option<f64>, q: Option<f64>| match value {
            Some(value) => format!("{}{}", few(record, q), format_ms(value)),
            None => status_words(record.status),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            record.batch_size,
            record.processes,
            contender(record),
            judged(record, cells, Metric::Mean, style),
            judged(record, cells, Metric::P95, style),
            milliseconds(record.p99_ms, Some(0.99)),
            milliseconds(record.service_mean_ms, None),
            milliseconds(record.service_p95_ms, Some(0.95)),
            milliseconds(record.service_p99_ms, Some(0.99)),
            per_second(record.requests_per_s),
            milliseconds(record.lateness_p99_ms, Some(0.99)),
        );
    }
    out
}

/// A row a batch size and protocol; single process and concurrent columns.
pub fn closed(rows: &[&Record], cells: &[Cell<'_>], style: Style) -> String {
    let processes = distinct(rows.iter().copied(), |record| record.processes);
    let mut out = String::from("| Batch Size | Protocol |");
    for count in &processes {
        let _ = match count {
            1 => write!(out, " Mean Latency (ms) | P95 Latency (ms) |"),
            _ => write!(out, " Concurrent ({count} processes) Mean (ms) | Concurrent ({count} processes) P95 (ms) |"),
        };
    }
    out.push_str("\n|---:|---|");
    out.push_str(&"---:|---:|".repeat(processes.len()));
    out.push('\n');
    for (batch_size, contending) in distinct(rows.iter().copied(), |record| (record.batch_size, contender(record))) {
        let _ = write!(out, "| {batch_size} | {contending} |");
        for count in &processes {
            let found = rows.iter().find(|record| {
                (record.batch_size, record.processes) == (batch_size, *count) && contender(record) == contending
            });
            let cells = [Metric::Mean, Metric::P95].map(|metric| match found {
                Some(record) => judged(record, cells, metric, style),
                None => NOTHING.to_owned(),
            });
            let _ = write!(out, " {} | {} |", cells[0], cells[1]);
        }
        out.push('\n');
    }
    out
}

/// A row a case: its ratio to what it is compared with, its throughput, and where the mean latency goes. `None` where
/// neither is known.
pub fn parts(rows: &[&Record], cells: &[Cell<'_>]) -> Option<String> {
    if cells.is_empty() && rows.iter().all(|record| record.network_ms.is_none()) {
        return None;
    }
    let mut out = String::from("| Batch Size | Processes | Protocol |");
    if let Some(Cell { pair, .. }) = cells.first() {
        let (other, base) = match pair.base.arm {
            Some(_) => ("B".to_owned(), "A".to_owned()),
            None => (contender(pair.other), contender(pair.base)),
        };
        let _ = write!(out, " {other} / {base} Mean | {other} / {base} Throughput |");
    }
    out.push_str(
        " Inferences/s | Client (ms) | Network, Front End (ms) | Queue (ms) | Compute Input (ms) | Compute Infer (ms) \
         | Compute Output (ms) | Batch Formed |\n|---:|---:|---|",
    );
    out.push_str(&"---:|".repeat(if cells.is_empty() { 8 } else { 10 }));
    out.push('\n');
    for record in rows {
        let _ = write!(out, "| {} | {} | {} |", record.batch_size, record.processes, contender(record));
        if !cells.is_empty() {
            for metric in [Metric::Mean, Metric::Rate] {
                let of = |cell: &&Cell<'_>| cell.metric == metric && std::ptr::eq(cell.pair.other, *record);
                let ratio = cells.iter().find(of).and_then(|cell| cell.ratio);
                let _ = write!(out, " {} |", ratio.map_or(NOTHING.to_owned(), ratio_words));
            }
        }
        let milliseconds = |value: Option<f64>| value.map_or(NOTHING.to_owned(), format_ms);
        let batch = record.avg_batch.map_or(NOTHING.to_owned(), |batch| format!("{batch:.2}"));
        let _ = writeln!(
            out,
            " {} | {} | {} | {} | {} | {} | {} | {batch} |",
            per_second(record.inferences_per_s),
            milliseconds(record.client_ms),
            milliseconds(record.network_ms),
            milliseconds(record.queue_ms),
            milliseconds(record.compute_input_ms),
            milliseconds(record.compute_infer_ms),
            milliseconds(record.compute_output_ms),
        );
    }
    Some(out)
}

/// A latency with what the data say of it: bold is faster, `=` is equal, `?` is unclear.
fn judged(record: &Record, cells: &[Cell<'_>], metric: Metric, style: Style) -> String {
    let (value, low, high, q) = match metric {
        Metric::Mean => (record.mean_ms, record.mean_low_ms, record.mean_high_ms, None),
        _ => (record.p95_ms, record.p95_low_ms, record.p95_high_ms, Some(0.95)),
    };
    let Some(value) = value else { return status_words(record.status) };
    let mut text = format!("{}{}", few(record, q), format_ms(value));
    if let (true, Some(low), Some(high)) = (style.intervals, low, high) {
        let _ = write!(text, " ({} to {})", format_ms(low), format_ms(high));
    }
    if record.status != Status::Ok {
        return format!("{text} ({})", status_words(record.status));
    }
    let of_both = |cell: &&Cell<'_>| [cell.pair.base, cell.pair.other].iter().any(|row| std::ptr::eq(*row, record));
    if !few(record, q).is_empty() {
        return text;
    }
    let Some(cell) = cells.iter().filter(|cell| cell.metric == metric).find(of_both) else { return text };
    match cell.verdict_of(record) {
        Some(Verdict::Faster) => format!("**{text}**"),
        Some(Verdict::Slower) | None => text,
        Some(Verdict::Equal) => format!("{text} ="),
        Some(Verdict::Unclear) => format!("{text} ?"),
    }
}

/// A mark in front of a percentile that is a handful of requests.
fn few(record: &Record, q: Option<f64>) -> &'static str {
    if q.is_some_and(|q| !is_trusted(record, q)) { "~" } else { "" }
}

/// `0.983 (0.979 to 0.988)`.
fn ratio_words(ratio: Ratio) -> String {
    let Interval { value, low, high } = ratio.interval;
    format!("{value:.3} ({low:.3} to {high:.3})")
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or(NOTHING.to_owned(), format_ms)
}
