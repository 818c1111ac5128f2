//! The tables of a run: the latencies with their verdicts, and where the time goes. Must not know how they are drawn.

use std::fmt::Write;

use super::capacity;
use super::layout::{self, Layout};
use super::metric::Metric;
use super::run::Run;
use super::table::{Cell, Table};
use super::verdicts::{self, Compared};
use super::words::{NOTHING, distinct, format_ms, number_if_any, status_words};
use crate::record::{Record, Status};
use crate::statistics::{Interval, Ratio};

/// How tables are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With the ends of their 95 % intervals.
    pub intervals: bool,
}

/// The rows of one table, which share rate, requests in flight and connections, and their comparisons.
pub struct Rows<'a> {
    run: &'a Run,
    records: Vec<&'a Record>,
    /// The comparisons of their numbers.
    pub cells: Vec<Compared<'a>>,
}

/// The rows of each table of a run, compared.
pub fn of(run: &Run) -> Vec<Rows<'_>> {
    // a search has its own table
    if capacity::is_searched(run) {
        return Vec::new();
    }
    let compared = |records: Vec<_>| Rows { cells: verdicts::cells(run, &records), records, run };
    layout::tables(run).into_iter().map(compared).collect()
}

/// The comparisons of all tables.
pub fn cells<'a>(tables: &[Rows<'a>]) -> Vec<Compared<'a>> {
    tables.iter().flat_map(|rows| &rows.cells).copied().collect()
}

impl Rows<'_> {
    /// Whether requests came at a rate.
    pub fn is_open(&self) -> bool {
        self.records.iter().any(|record| record.case.rate.is_some())
    }

    /// The values that the rows share.
    pub fn heading(&self) -> String {
        layout::heading(self.run, &self.records)
    }

    /// One row a case or a pair of numbers of processes: the latencies.
    pub fn latencies(&self, style: Style) -> Table {
        if self.is_open() { self.open(style) } else { self.closed(style) }
    }

    /// Open loop, one row a case: response times, and service times, which leave out the wait.
    fn open(&self, style: Style) -> Table {
        let layout = Layout::of(self.run, true);
        let mut table = Table::default();
        layout.columns(&mut table);
        for (heading, short) in [
            ("Response Mean (ms)", "response\nmean ms"),
            ("P95 (ms)", "\np95"),
            ("P99 (ms)", "\np99"),
            ("Service Mean (ms)", "service\nmean ms"),
            ("P95 (ms)", "\np95"),
            ("P99 (ms)", "\np99"),
            ("Requests/s", "requests\na second"),
            ("Sent late P99 (ms)", "sent late\np99 ms"),
        ] {
            table.measured(heading, short);
        }

        for record in &self.records {
            let milliseconds =
                |value: Option<f64>| -> Cell { value.map_or(status_words(record.status), format_ms).into() };
            let mut cells = layout.cells(record);
            cells.extend([Metric::Mean, Metric::P95].map(|metric| self.judged(record, metric, style)));
            cells.extend([
                milliseconds(record.p99_ms),
                milliseconds(record.service_mean_ms),
                milliseconds(record.service_p95_ms),
                milliseconds(record.service_p99_ms),
                number_if_any(record.requests_per_s).into(),
                milliseconds(record.lateness_p99_ms),
            ]);
            table.row(cells);
        }
        table
    }

    /// Closed loop, one row a case; single-process and concurrent numbers are columns.
    fn closed(&self, style: Style) -> Table {
        let layout = Layout::of(self.run, false);
        let processes = distinct(self.records.iter().copied(), |record| record.case.processes);
        let mut table = Table::default();
        layout.columns(&mut table);
        for count in &processes {
            match count {
                1 => {
                    table.measured("Mean Latency (ms)", "1 process\nmean ms");
                    table.measured("P95 Latency (ms)", "\np95");
                }
                _ => {
                    let heading = |of| format!("Concurrent ({count} processes) {of} (ms)");
                    table.measured(heading("Mean"), format!("{count} processes\nmean ms"));
                    table.measured(heading("P95"), "\np95");
                }
            }
        }

        for (first, records) in self.by_first_cells(&layout) {
            let mut cells = first;
            for count in &processes {
                let found = records.iter().find(|record| record.case.processes == *count);
                cells.extend([Metric::Mean, Metric::P95].map(|metric| match found {
                    Some(record) => self.judged(record, metric, style),
                    None => NOTHING.into(),
                }));
            }
            table.row(cells);
        }
        table
    }

    /// The cases that share a row, with the row's first cells.
    fn by_first_cells(&self, layout: &Layout) -> Vec<(Vec<Cell>, Vec<&Record>)> {
        let mut rows: Vec<(Vec<Cell>, Vec<&Record>)> = Vec::new();
        for record in &self.records {
            let cells = layout.cells(record);
            match rows.iter_mut().find(|(first, _)| *first == cells) {
                Some((_, records)) => records.push(record),
                None => rows.push((cells, vec![record])),
            }
        }
        rows
    }

    /// One row for each pair of compared cases: the ratios of their numbers, with intervals. `None` if nothing is compared.
    pub fn comparisons(&self) -> Option<Table> {
        let name = |record: &Record| self.run.value_of(record);
        let pair = |cell: &Compared<'_>| format!("{} / {}", name(cell.pair.other), name(cell.pair.base));
        let first = pair(self.cells.first()?);
        let is_one = self.cells.iter().all(|cell| pair(cell) == first);
        let varying = layout::varying(self.run);

        let mut table = Table::default();
        layout::columns(&varying, &mut table);
        if !is_one {
            table.words("Compared");
        }
        for of in ["Mean", "P95", "Throughput"] {
            table.numbers(if is_one { format!("{first} {of}") } else { format!("Ratio of {of}") });
        }
        for cells in self.cells.chunks_exact(Metric::ALL.len()) {
            let mut row = layout::cells(&varying, cells[0].pair.other);
            if !is_one {
                row.push(pair(&cells[0]).into());
            }
            row.extend(cells.iter().map(|cell| Cell::from(cell.ratio.map_or(NOTHING.to_owned(), ratio_words))));
            table.row(row);
        }
        Some(table)
    }

    /// One row a case: the answers within the time that is good. `None` if none is given.
    pub fn goodput(&self) -> Option<Table> {
        let limit = self.records.iter().find_map(|record| record.goodput_ms)?;
        let layout = Layout::of(self.run, true);
        let mut table = Table::default();
        layout.columns(&mut table);
        table.measured(format!("Within {limit} ms (%)"), format!("within\n{limit} ms %"));
        table.measured("Goodput (requests/s)", "goodput\nrequests/s");
        for record in &self.records {
            let mut cells = layout.cells(record);
            let share = record.goodput_share.map(|share| format!("{:.2}", 100.0 * share));
            cells.push(share.unwrap_or(NOTHING.to_owned()).into());
            cells.push(number_if_any(record.goodput_per_s).into());
            table.row(cells);
        }
        Some(table)
    }

    /// One row a case: its throughput, and the parts of its mean latency. `None` if no part is known.
    pub fn parts(&self) -> Option<Table> {
        if self.records.iter().all(|record| record.network_ms.is_none()) {
            return None;
        }
        let layout = Layout::of(self.run, true);
        let mut table = Table::default();
        layout.columns(&mut table);
        let parts = ["Inferences/s", "Client (ms)", "Network, Front End (ms)", "Queue (ms)", "Compute Input (ms)"];
        let others = ["Compute Infer (ms)", "Compute Output (ms)", "Batch Formed", "In Flight", "Busy Instances"];
        parts.into_iter().chain(others).for_each(|heading| table.numbers(heading));

        for record in &self.records {
            let mut cells = layout.cells(record);
            cells.push(number_if_any(record.inferences_per_s).into());
            let times = [
                record.client_ms,
                record.network_ms,
                record.queue_ms,
                record.compute_input_ms,
                record.compute_infer_ms,
                record.compute_output_ms,
            ];
            cells.extend(times.map(|time| number_if_any(time).into()));
            let few = |value: Option<f64>| Cell::from(value.map_or(NOTHING.to_owned(), |value| format!("{value:.2}")));
            cells.extend([record.avg_batch, in_flight(record), busy(record)].map(few));
            table.row(cells);
        }
        Some(table)
    }

    /// A latency; bold if it is the best.
    fn judged(&self, record: &Record, metric: Metric, style: Style) -> Cell {
        let (value, low, high) = match metric {
            Metric::Mean => (record.mean_ms, record.mean_low_ms, record.mean_high_ms),
            _ => (record.p95_ms, record.p95_low_ms, record.p95_high_ms),
        };
        let Some(value) = value else { return status_words(record.status).into() };
        let mut text = format_ms(value);
        if let (true, Some(low), Some(high)) = (style.intervals, low, high) {
            let _ = write!(text, " ({} to {})", format_ms(low), format_ms(high));
        }
        if record.status != Status::Ok {
            return format!("{text} ({})", status_words(record.status)).into();
        }
        Cell { text, is_best: verdicts::is_fastest(&self.cells, record, metric) }
    }
}

/// `0.983 (0.979 to 0.988)`.
fn ratio_words(ratio: Ratio) -> String {
    let Interval { value, low, high } = ratio.interval;
    format!("{value:.3} ({low:.3} to {high:.3})")
}

/// The mean number of requests in flight, by Little's law.
fn in_flight(record: &Record) -> Option<f64> {
    let mean_ms = record.service_mean_ms.or(record.mean_ms)?;
    Some(record.requests_per_s? * mean_ms / 1e3)
}

/// How many instances of the model compute at a time: the time of all executions over the time of the blocks. An execution of
/// several requests counts once.
fn busy(record: &Record) -> Option<f64> {
    let parts = [record.compute_input_ms?, record.compute_infer_ms?, record.compute_output_ms?];
    let requests = record.avg_batch? / f64::from(record.case.batch_size);
    Some(record.requests_per_s? * parts.iter().sum::<f64>() / 1e3 / requests.max(1.0))
}
