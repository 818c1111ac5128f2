//! Tables in Markdown, a function of a run's data alone.

use std::fmt::Write;

use super::Run;
use crate::record::{Record, Status};
use crate::scenario::Protocol;

/// Fewer requests than this, and a 95th percentile rests on fewer than ten of them.
const ENOUGH_FOR_P95: u64 = 200;

/// A run's section: heading, table, how it was measured, and what is wrong with it.
pub fn section(run: &Run) -> String {
    let mut out = format!("### {}\n\n", escaped(&run.manifest.title));
    for concurrency in distinct(run, |record| record.concurrency) {
        if run.records.iter().any(|record| record.concurrency != concurrency) {
            let _ = writeln!(out, "{concurrency} in flight in each process:\n");
        }
        out.push_str(&table(run, concurrency));
        out.push('\n');
    }
    out.push_str(&notes(run));
    out
}

/// A row a batch size and protocol; single process and concurrent columns; the better of the two in bold.
fn table(run: &Run, concurrency: u32) -> String {
    let processes = distinct(run, |record| record.processes);
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
    for batch_size in distinct(run, |record| record.batch_size) {
        for protocol in distinct(run, |record| record.protocol) {
            let _ = write!(out, "| {batch_size} | {} |", protocol_name(protocol));
            for count in &processes {
                let group: Vec<&Record> = run
                    .records
                    .iter()
                    .filter(|record| {
                        (record.batch_size, record.processes, record.concurrency) == (batch_size, *count, concurrency)
                    })
                    .collect();
                let cells = [mean_cell(&group, protocol), p95_cell(&group, protocol)];
                let _ = write!(out, " {} | {} |", cells[0], cells[1]);
            }
            out.push('\n');
        }
    }
    out
}

fn mean_cell(group: &[&Record], protocol: Protocol) -> String {
    cell(group, protocol, |record| record.mean_ms, |_| "")
}

fn p95_cell(group: &[&Record], protocol: Protocol) -> String {
    cell(group, protocol, |record| record.p95_ms, |record| if record.requests < ENOUGH_FOR_P95 { "~" } else { "" })
}

fn cell(
    group: &[&Record],
    protocol: Protocol,
    value: impl Fn(&Record) -> Option<f64>,
    mark: impl Fn(&Record) -> &'static str,
) -> String {
    let Some(record) = group.iter().find(|record| record.protocol == protocol) else { return "–".to_owned() };
    let Some(number) = value(record) else { return status_words(record.status) };
    let text = format!("{}{}", mark(record), format_ms(number));
    let good = |record: &Record| record.status == Status::Ok;
    let others: Vec<f64> = group
        .iter()
        .filter(|other| other.protocol != protocol && good(other))
        .filter_map(|other| value(other))
        .collect();
    // numbers that look the same are not set apart
    let better = |other: &f64| number < *other && format_ms(number) != format_ms(*other);
    match record.status {
        Status::Ok if !others.is_empty() && others.iter().all(better) => format!("**{text}**"),
        Status::Ok => text,
        status => format!("{text} ({})", status_words(status)),
    }
}

fn notes(run: &Run) -> String {
    let manifest = &run.manifest;
    let mut out = String::new();
    let requests = run.records.iter().map(|record| record.requests);
    let (least, most) = (requests.clone().min(), requests.max());
    let _ = writeln!(
        out,
        "- {} {}, model `{}`; weights: {}.",
        escaped(&manifest.server),
        escaped(&manifest.server_version),
        escaped(&manifest.model),
        escaped(weights_words(&manifest.weights)),
    );
    // what was measured, which few iterations or an early end make less than what was asked for
    let blocks = run.records.iter().map(|record| record.blocks).max().unwrap_or(0);
    let protocols: Vec<&str> = distinct(run, |record| record.protocol).into_iter().map(protocol_name).collect();
    let interleaved = if protocols.len() > 1 { " interleaved" } else { "" };
    let _ = writeln!(
        out,
        "- {} iterations a process, {} before them to warm up; {}{interleaved} in {blocks} blocks; closed loop.",
        manifest.iterations,
        manifest.warmup,
        protocols.join(" and "),
    );
    if let (Some(cap), Some(least), Some(most)) = (manifest.cap_s, least, most) {
        let _ = writeln!(out, "- Quick run: a case ends after about {cap} s; {least} to {most} requests a case.");
    }
    if !manifest.overridden.is_empty() {
        let _ = writeln!(out, "- Changed on the command line: `{}`.", manifest.overridden.join(" "));
    }
    if run.records.iter().any(|record| record.requests < ENOUGH_FOR_P95 && record.p95_ms.is_some()) {
        let _ =
            writeln!(out, "- ~: fewer than {ENOUGH_FOR_P95} requests, too few for a 95th percentile to be trusted.");
    }
    let _ = writeln!(out, "- Bold: the lower of the two numbers, which need not be a difference beyond chance.");
    if let Some(counts) = manifest.counts.filter(|counts| !counts.agrees()) {
        let _ = writeln!(
            out,
            "- The server counted {} inferences, the client {} and {} to warm up: others asked the model, or answers were lost.",
            counts.server, counts.measured, counts.prepared,
        );
    }
    for record in run.records.iter().filter(|record| record.status != Status::Ok) {
        let _ = writeln!(
            out,
            "- {} batch {}, {}: {}: {}{}",
            protocol_name(record.protocol),
            record.batch_size,
            processes_words(record.processes),
            status_words(record.status),
            if record.error_kinds.is_empty() { String::new() } else { format!("{} ", record.error_kinds) },
            escaped(&record.reason),
        );
    }
    let _ = writeln!(out, "- Client: {}.", escaped(&manifest.client.summary()));
    let _ = writeln!(
        out,
        "- Rows: `{}`, runner {} ({}).",
        run.path.join(crate::record::RECORDS).display().to_string().replace('\\', "/"),
        manifest.runner_version,
        manifest.git_revision,
    );
    out
}

/// A protocol as people write it.
pub fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "HTTP",
        Protocol::Grpc => "gRPC",
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

/// Milliseconds with about four significant digits.
pub fn format_ms(milliseconds: f64) -> String {
    let digits = match milliseconds {
        value if value < 10.0 => 3,
        value if value < 100.0 => 2,
        value if value < 1000.0 => 1,
        _ => 0,
    };
    format!("{milliseconds:.digits$}")
}

/// Text from outside must not end a cell or a line, or begin markup.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '|' | '*' | '_' | '`' | '<' | '[' | ']' | '\\' => out.extend(['\\', character]),
            '\n' | '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

/// The values of a column, in the order in which they appear.
fn distinct<T: PartialEq>(run: &Run, column: impl Fn(&Record) -> T) -> Vec<T> {
    let mut values = Vec::new();
    for record in &run.records {
        let value = column(record);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}
