//! Tables in Markdown, a function of a run's data alone.

use std::fmt::Write;

use super::Run;
use crate::record::{Record, Status, flags};
use crate::scenario::{Arrival, Encode, Protocol};

/// Fewer requests than this, and a 95th percentile rests on fewer than ten of them.
const ENOUGH_FOR_P95: u64 = 200;

/// Fewer than this, and a 99th percentile does.
const ENOUGH_FOR_P99: u64 = 1000;

/// A run's section: heading, tables, how it was measured, and what is wrong with it.
pub fn section(run: &Run) -> String {
    let mut out = format!("### {}\n\n", escaped(&run.manifest.title));
    let loads = distinct(run, load_of);
    for load in &loads {
        if loads.len() > 1 || load.0.is_some() {
            let words = load_words(load.0, load.1, load.2);
            let _ = writeln!(out, "{}{} in each process:\n", words[..1].to_uppercase(), &words[1..]);
        }
        out.push_str(&match load.0 {
            Some(_) => open_table(run, *load),
            None => table(run, *load),
        });
        out.push('\n');
    }
    out.push_str(&notes(run));
    out
}

/// What a table has in common: rate, requests in flight and connections of a process.
type Loading = (Option<f64>, u32, Option<u32>);

fn load_of(record: &Record) -> Loading {
    (record.rate, record.concurrency, record.connections)
}

/// A row a batch size, number of processes and protocol: response times, and what they would look like without waiting.
fn open_table(run: &Run, load: Loading) -> String {
    let mut out = String::from(
        "| Batch Size | Processes | Protocol | Response Mean (ms) | P95 (ms) | P99 (ms) | Service Mean (ms) | P95 (ms) \
         | P99 (ms) | Requests/s | Sent late P99 (ms) |\n|---:|---:|---|",
    );
    out.push_str(&"---:|".repeat(8));
    out.push('\n');
    for record in run.records.iter().filter(|record| load_of(record) == load) {
        let few = |enough| if record.requests < enough { "~" } else { "" };
        let milliseconds = |value: Option<f64>, enough| match value {
            Some(value) => format!("{}{}", few(enough), format_ms(value)),
            None => status_words(record.status),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            record.batch_size,
            record.processes,
            protocol_name(record.protocol),
            milliseconds(record.mean_ms, 0),
            milliseconds(record.p95_ms, ENOUGH_FOR_P95),
            milliseconds(record.p99_ms, ENOUGH_FOR_P99),
            milliseconds(record.service_mean_ms, 0),
            milliseconds(record.service_p95_ms, ENOUGH_FOR_P95),
            milliseconds(record.service_p99_ms, ENOUGH_FOR_P99),
            record.requests_per_s.map_or("–".to_owned(), |rate| format!("{rate:.1}")),
            milliseconds(record.lateness_p99_ms, ENOUGH_FOR_P99),
        );
    }
    out
}

/// A row a batch size and protocol; single process and concurrent columns; the better of the two in bold.
fn table(run: &Run, load: Loading) -> String {
    let of_load = || run.records.iter().filter(|record| load_of(record) == load);
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
            if !of_load().any(|record| (record.batch_size, record.protocol) == (batch_size, protocol)) {
                continue;
            }
            let _ = write!(out, "| {batch_size} | {} |", protocol_name(protocol));
            for count in &processes {
                let group: Vec<&Record> =
                    of_load().filter(|record| (record.batch_size, record.processes) == (batch_size, *count)).collect();
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
    let arrivals = distinct(run, |record| record.arrival);
    let _ = writeln!(
        out,
        "- {}, {} before them to warm up; {}{interleaved} in {blocks} blocks; {}.",
        length_words(manifest.iterations, manifest.duration_s),
        manifest.warmup,
        protocols.join(" and "),
        arrivals.iter().map(|arrival| loop_words(*arrival)).collect::<Vec<_>>().join(" and "),
    );
    if run.records.iter().any(|record| record.encode == Encode::EachRequest) {
        let _ = writeln!(out, "- Requests are encoded one by one, within their latency, as a client library does.");
    }
    if let (Some(cap), Some(least), Some(most)) = (manifest.cap_s, least, most) {
        let quick = if manifest.quick { "Quick run: a" } else { "A" };
        let _ = writeln!(out, "- {quick} case ends after about {cap} s; {least} to {most} requests a case.");
    }
    if !manifest.overridden.is_empty() {
        let _ = writeln!(out, "- Changed on the command line: `{}`.", manifest.overridden.join(" "));
    }
    if run.records.iter().any(|record| record.requests < ENOUGH_FOR_P95 && record.p95_ms.is_some()) {
        let _ =
            writeln!(out, "- ~: fewer than {ENOUGH_FOR_P95} requests, too few for a 95th percentile to be trusted.");
    }
    if run.records.iter().any(|record| record.rate.is_some() && record.requests < ENOUGH_FOR_P99) {
        let _ = writeln!(out, "- ~ of a 99th percentile: fewer than {ENOUGH_FOR_P99} requests.");
    }
    if run.records.iter().any(|record| record.rate.is_none()) {
        let _ = writeln!(out, "- Bold: the lower of the two numbers, which need not be a difference beyond chance.");
    }
    if let Some(counts) = manifest.counts.filter(|counts| !counts.agrees()) {
        let _ = writeln!(
            out,
            "- The server counted {} inferences, the client {} and {} to warm up: others asked the model, or answers were lost.",
            counts.server, counts.measured, counts.prepared,
        );
    }
    for record in &run.records {
        flag_notes(&mut out, record);
    }
    for record in run.records.iter().filter(|record| record.status != Status::Ok) {
        let _ = writeln!(
            out,
            "- {}: {}: {}{}",
            case_words(record),
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

/// What makes a row doubtful.
fn flag_notes(out: &mut String, record: &Record) {
    let flagged = |flag| record.flags.split(' ').any(|raised| raised == flag);
    if let (true, Some(ceiling)) = (flagged(flags::CLIENT_CEILING), record.client_ceiling_per_s) {
        let _ = writeln!(
            out,
            "- {}: {:.1} requests/s, and the client reaches {ceiling:.1} where a server answers at once: what limits may be \
             the client.",
            case_words(record),
            record.requests_per_s.unwrap_or_default(),
        );
    }
    if let Some(held_back) = record.held_back.filter(|held_back| *held_back > 0) {
        let _ = writeln!(
            out,
            "- {}: {held_back} requests were sent late because {} were in flight; their response times say so.",
            case_words(record),
            record.concurrency,
        );
    }
    if let (true, false, Some(planned)) = (flagged(flags::CAPPED), record.quick, record.requests_planned) {
        let _ = writeln!(
            out,
            "- {}: ended by its longest time, after {} of {planned} requests.",
            case_words(record),
            record.requests + record.errors,
        );
    }
}

/// `gRPC batch 4, 3 processes`.
pub fn case_words(record: &Record) -> String {
    let protocol = protocol_name(record.protocol);
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

fn loop_words(arrival: Option<Arrival>) -> &'static str {
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
