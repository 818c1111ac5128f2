//! The tables of a run: the latencies with their verdicts, and where the time goes. Must not know how they are drawn.

use std::fmt::Write;

use super::layout::Layout;
use super::metric::Metric;
use super::run::Run;
use super::table::{Cell, Table};
use super::verdicts::{Compared, is_trusted};
use super::words::{distinct, format_ms, status_words};
use crate::record::{Record, Status};
use crate::statistics::{Interval, Ratio, Verdict};

/// How tables are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// With the ends of their 95 % intervals.
    pub intervals: bool,
}

/// Shown in cells without a value.
const NOTHING: &str = "–";

/// The rows of one table, which share rate, requests in flight and connections, and their comparisons.
pub struct Rows<'a> {
    /// The run.
    pub run: &'a Run,
    /// Its rows.
    pub records: &'a [&'a Record],
    /// The comparisons of their numbers.
    pub cells: &'a [Compared<'a>],
}

impl Rows<'_> {
    /// Open loop, one row a case: response times, and service times, which leave out the wait.
    pub fn open(&self, style: Style) -> Table {
        let layout = Layout::of(self.run, true);
        let mut table = Table::default();
        layout.columns(&mut table);
        let numbers = ["Response Mean (ms)", "P95 (ms)", "P99 (ms)", "Service Mean (ms)", "P95 (ms)", "P99 (ms)"];
        numbers
            .into_iter()
            .chain(["Requests/s", "Sent late P99 (ms)"])
            .for_each(|heading| table.numbers(heading));

        for record in self.records {
            let milliseconds = |value: Option<f64>, q: Option<f64>| -> Cell {
                match value {
                    Some(value) => format!("{}{}", few(record, q), format_ms(value)).into(),
                    None => status_words(record.status).into(),
                }
            };
            let mut cells = layout.cells(record);
            cells.extend([Metric::Mean, Metric::P95].map(|metric| self.judged(record, metric, style)));
            cells.extend([
                milliseconds(record.p99_ms, Some(0.99)),
                milliseconds(record.service_mean_ms, None),
                milliseconds(record.service_p95_ms, Some(0.95)),
                milliseconds(record.service_p99_ms, Some(0.99)),
                per_second(record.requests_per_s).into(),
                milliseconds(record.lateness_p99_ms, Some(0.99)),
            ]);
            table.row(cells);
        }
        table
    }

    /// Closed loop, one row a case; single-process and concurrent numbers are columns.
    pub fn closed(&self, style: Style) -> Table {
        let layout = Layout::of(self.run, false);
        let processes = distinct(self.records.iter().copied(), |record| record.case.processes);
        let mut table = Table::default();
        layout.columns(&mut table);
        for count in &processes {
            match count {
                1 => ["Mean Latency (ms)", "P95 Latency (ms)"]
                    .into_iter()
                    .for_each(|heading| table.numbers(heading)),
                _ => ["Mean", "P95"]
                    .into_iter()
                    .for_each(|of| table.numbers(format!("Concurrent ({count} processes) {of} (ms)"))),
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
        for record in self.records {
            let cells = layout.cells(record);
            match rows.iter_mut().find(|(first, _)| *first == cells) {
                Some((_, records)) => records.push(record),
                None => rows.push((cells, vec![record])),
            }
        }
        rows
    }

    /// One row a case: its ratio to the base, its throughput, and the parts of its mean latency. `None` if neither is
    /// known.
    pub fn parts(&self) -> Option<Table> {
        if self.cells.is_empty() && self.records.iter().all(|record| record.network_ms.is_none()) {
            return None;
        }
        let layout = Layout::of(self.run, true);
        let mut table = Table::default();
        layout.columns(&mut table);
        if !self.cells.is_empty() {
            let ratio = ratio_heading(self.cells);
            ["Mean", "Throughput"].into_iter().for_each(|of| table.numbers(format!("{ratio} {of}")));
        }
        let parts = ["Inferences/s", "Client (ms)", "Network, Front End (ms)", "Queue (ms)", "Compute Input (ms)"];
        let others = ["Compute Infer (ms)", "Compute Output (ms)", "Batch Formed"];
        parts.into_iter().chain(others).for_each(|heading| table.numbers(heading));

        for record in self.records {
            let mut cells = layout.cells(record);
            if !self.cells.is_empty() {
                cells.extend([Metric::Mean, Metric::Rate].map(|metric| self.ratio(record, metric).into()));
            }
            let milliseconds = |value: Option<f64>| value.map_or(NOTHING.to_owned(), format_ms);
            cells.push(per_second(record.inferences_per_s).into());
            let times = [
                record.client_ms,
                record.network_ms,
                record.queue_ms,
                record.compute_input_ms,
                record.compute_infer_ms,
                record.compute_output_ms,
            ];
            cells.extend(times.map(|time| milliseconds(time).into()));
            cells.push(record.avg_batch.map_or(NOTHING.to_owned(), |batch| format!("{batch:.2}")).into());
            table.row(cells);
        }
        Some(table)
    }

    /// A case's ratio to the baseline.
    fn ratio(&self, record: &Record, metric: Metric) -> String {
        let of = |cell: &&Compared<'_>| {
            cell.metric == metric && cell.pair.is_of_baseline && std::ptr::eq(cell.pair.other, record)
        };
        let ratio = self.cells.iter().find(of).and_then(|cell| cell.ratio);
        ratio.map_or(NOTHING.to_owned(), ratio_words)
    }

    /// A latency with the mark of its verdict: best, `=` for equal, `?` for unclear.
    fn judged(&self, record: &Record, metric: Metric, style: Style) -> Cell {
        let (value, low, high, q) = match metric {
            Metric::Mean => (record.mean_ms, record.mean_low_ms, record.mean_high_ms, None),
            _ => (record.p95_ms, record.p95_low_ms, record.p95_high_ms, Some(0.95)),
        };
        let Some(value) = value else { return status_words(record.status).into() };
        let mut text = format!("{}{}", few(record, q), format_ms(value));
        if let (true, Some(low), Some(high)) = (style.intervals, low, high) {
            let _ = write!(text, " ({} to {})", format_ms(low), format_ms(high));
        }
        if record.status != Status::Ok {
            return format!("{text} ({})", status_words(record.status)).into();
        }
        if !few(record, q).is_empty() {
            return text.into();
        }

        match self.verdict(record, metric) {
            Some(Verdict::Faster) => Cell { text, is_best: true },
            Some(Verdict::Slower) | None => text.into(),
            Some(Verdict::Equal) => format!("{text} =").into(),
            Some(Verdict::Unclear) => format!("{text} ?").into(),
        }
    }

    /// The verdict on a case against all that it is compared with: faster than each, slower than one, or neither.
    fn verdict(&self, record: &Record, metric: Metric) -> Option<Verdict> {
        let is_of_case = |cell: &&Compared<'_>| {
            cell.metric == metric && [cell.pair.base, cell.pair.other].iter().any(|row| std::ptr::eq(*row, record))
        };
        let verdicts: Vec<Verdict> = self
            .cells
            .iter()
            .filter(is_of_case)
            .map(|cell| cell.verdict_of(record))
            .collect::<Option<_>>()?;
        let is_faster = |verdict: &Verdict| *verdict == Verdict::Faster;
        match &verdicts[..] {
            [] => None,
            all if all.iter().all(is_faster) => Some(Verdict::Faster),
            all if all.contains(&Verdict::Slower) => Some(Verdict::Slower),
            all if all.contains(&Verdict::Unclear) => Some(Verdict::Unclear),
            _ => Some(Verdict::Equal),
        }
    }
}

/// The mark before a percentile that rests on a handful of requests.
fn few(record: &Record, q: Option<f64>) -> &'static str {
    if q.is_some_and(|q| !is_trusted(record, q)) { "~" } else { "" }
}

/// The heading of the ratios: `gRPC / HTTP`, or `Other / HTTP` if several are compared against one.
fn ratio_heading(cells: &[Compared<'_>]) -> String {
    let of_baseline = || cells.iter().filter(|cell| cell.pair.is_of_baseline);
    let words = |record: &Record| (cells[0].compared.axis().phrase)(&record.case);
    let bases = distinct(of_baseline().map(|cell| cell.pair.base), words);
    let others = distinct(of_baseline().map(|cell| cell.pair.other), words);
    let one = |names: Vec<String>, several: &str| match &names[..] {
        [one] => one.clone(),
        _ => several.to_owned(),
    };
    format!("{} / {}", one(others, "Other"), one(bases, "Baseline"))
}

/// `0.983 (0.979 to 0.988)`.
fn ratio_words(ratio: Ratio) -> String {
    let Interval { value, low, high } = ratio.interval;
    format!("{value:.3} ({low:.3} to {high:.3})")
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or(NOTHING.to_owned(), format_ms)
}
