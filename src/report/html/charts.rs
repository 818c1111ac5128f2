//! The charts of a run: what is drawn of its rows, blocks and histograms. Must not know how charts are drawn or laid out.

use std::collections::BTreeMap;

use crate::matrix::{AxisId, Value};
use crate::record::{BlockRecord, Record, latencies};
use crate::report::layout::{in_short, place, varying};
use crate::report::picture::{Axis, COLOURS, Chart, Mark, Point, Scale, Series};
use crate::report::run::Run;
use crate::report::thresholds::rate;
use crate::report::verdicts::Compared;
use crate::report::words::distinct;
use crate::statistics::Interval;

/// Most charts of one kind.
pub const CHARTS_MAX: usize = 12;
/// Most cases whose parts are drawn.
const PARTS_MAX: usize = 40;
/// From this ratio of the largest to the smallest on, values are drawn by their logarithm.
const WIDE: f64 = 15.0;
const SIZE: (u32, u32) = (560, 340);
const SMALL: (u32, u32) = (520, 300);

/// A latency in nanoseconds, and how often it was seen.
type Count = (u64, u64);

/// A number of a case's row.
pub type Number = fn(&Record) -> Option<f64>;

/// Cases that differ in the compared axis alone.
type Group<'a> = Vec<&'a Record>;

/// The groups with the largest differences, in order, if there are many.
pub fn chosen<'g, 'a>(groups: &'g [Group<'a>], cells: &[Compared<'a>]) -> Vec<&'g Group<'a>> {
    let off = |group: &Group<'a>| {
        let of_group = cells.iter().filter(|cell| std::ptr::eq(cell.pair.base, group[0]));
        of_group
            .filter_map(|cell| cell.ratio)
            .map(|ratio| ratio.interval.value.ln().abs())
            .fold(0.0, f64::max)
    };
    if groups.len() <= CHARTS_MAX {
        return groups.iter().collect();
    }
    let mut ranked: Vec<(usize, f64)> = groups.iter().map(off).enumerate().collect();
    ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut kept: Vec<usize> = ranked.into_iter().take(CHARTS_MAX).map(|(place, _)| place).collect();
    kept.sort_unstable();
    kept.into_iter().map(|place| &groups[place]).collect()
}

/// A title about a group, with the values on the axes that vary: `Blocks: batch 8, 3 processes`.
pub fn titled(run: &Run, what: &str, group: &Group<'_>) -> String {
    match place(&varying(run), group[0]) {
        place if place.is_empty() => what.to_owned(),
        place => format!("{what}: {place}"),
    }
}

fn value_of(run: &Run, record: &Record) -> String {
    match run.compared {
        AxisId::Arm => record.case.variant(),
        _ => run.value_of(record),
    }
}

/// A number that a chart draws, with the ends of its interval.
#[derive(Clone, Copy)]
struct Measure {
    label: &'static str,
    of: fn(&Run, &Record) -> Option<[f64; 3]>,
}

const LATENCY: Measure = Measure {
    label: "mean latency (ms)",
    of: |_, record| {
        let mean = record.mean_ms?;
        Some([mean, record.mean_low_ms.unwrap_or(mean), record.mean_high_ms.unwrap_or(mean)])
    },
};
const THROUGHPUT: Measure = Measure {
    label: "throughput (inferences/s)",
    of: |run, record| {
        let Interval { value, low, high } = rate(run, record, record.inferences_per_s)?;
        Some([value, low, high])
    },
};

/// The axis along which a run's numbers are drawn: of the amounts of load that vary, the one with most values.
fn along(run: &Run) -> Option<AxisId> {
    let amounts = varying(run).into_iter().filter(|id| !id.axis().is_variant);
    let values = |id: &AxisId| distinct(&run.records, |record| record.case.get(*id)).len();
    amounts.rev().max_by_key(values)
}

/// Where a case stands along an axis.
fn position(run: &Run, id: AxisId, record: &Record) -> Option<f64> {
    match record.case.get(id)? {
        Value::Whole(count) => Some(f64::from(count)),
        Value::Number(number) => Some(number),
        // by the size of a request, which is what shapes differ in for a server
        Value::Shapes(_) if record.requests > 0 && record.bytes_sent > 0 => {
            Some(record.bytes_sent as f64 / record.requests as f64 / 1e6)
        }
        value => distinct(&run.records, |record| record.case.get(id))
            .iter()
            .position(|it| it.as_ref() == Some(&value))
            .map(|at| at as f64),
    }
}

/// The scale of values: by their logarithm if they are far apart.
fn scale(values: impl Iterator<Item = f64>) -> Scale {
    let (least, most) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    if least > 0.0 && most / least >= WIDE { Scale::Log } else { Scale::Linear }
}

/// Latency and throughput along the axis with most values, and one against the other.
pub fn along_axis(run: &Run, title: &str) -> Vec<Chart> {
    let Some(id) = along(run) else { return Vec::new() };
    let label = match id {
        AxisId::Shapes => "request (MB)".to_owned(),
        id => id.axis().heading.to_lowercase(),
    };
    let others: Vec<AxisId> = varying(run).into_iter().filter(|other| *other != id).collect();
    let other = |record: &Record| place(&others, record);
    let measured: Vec<&Record> = run.records.iter().filter(|record| record.mean_ms.is_some()).collect();
    let places = distinct(measured.iter().copied(), other);
    let values = distinct(measured.iter().copied(), |record| value_of(run, record));
    let is_one = places.len() * values.len() <= COLOURS.min(6);
    let shown = if is_one { vec![None] } else { places.iter().take(CHARTS_MAX).map(Some).collect() };

    let mut charts = Vec::new();
    for place in shown {
        let rows: Vec<&Record> = measured
            .iter()
            .copied()
            .filter(|row| place.is_none_or(|place| other(row) == *place))
            .collect();
        let named = |row: &Record| match (is_one, places.len() > 1) {
            (true, true) => format!("{}, {}", value_of(run, row), other(row)),
            _ => value_of(run, row),
        };
        let names = distinct(rows.iter().copied(), named);
        let series = |x: &dyn Fn(&Record) -> Option<f64>, measure: Measure| -> Vec<Series> {
            let of_name = |name: &String| {
                let own = rows.iter().filter(|row| named(row) == *name);
                let point = |row: &&Record| {
                    let [y, low, high] = (measure.of)(run, row)?;
                    Some(Point { x: x(row)?, y, low, high })
                };
                Series { name: name.clone(), mark: Mark::Dots, points: own.filter_map(point).collect() }
            };
            names.iter().map(of_name).collect()
        };
        let at = |row: &Record| position(run, id, row);
        let xs = || rows.iter().filter_map(|row| at(row));
        let of = |measure: Measure| rows.iter().filter_map(move |row| (measure.of)(run, row)).map(|[value, ..]| value);
        let x_scale = match run.records.first().and_then(|record| record.case.get(id)) {
            Some(Value::Whole(_) | Value::Number(_) | Value::Shapes(_)) => scale(xs()),
            _ => Scale::Names(distinct(&run.records, |record| (id.axis().phrase)(&record.case))),
        };
        let titled = |what: &str| match place {
            Some(place) => format!("{title}: {what}, {place}"),
            None => format!("{title}: {what}"),
        };
        for (measure, what) in [(LATENCY, "latency"), (THROUGHPUT, "throughput")] {
            charts.push(Chart {
                title: titled(&format!("{what} by {label}")),
                x: Axis { label: label.clone(), scale: x_scale.clone() },
                y: Axis { label: measure.label.to_owned(), scale: scale(of(measure)) },
                series: series(&at, measure),
                size: SIZE,
            });
        }
        let is_load = matches!(id, AxisId::Concurrency | AxisId::Processes | AxisId::Rate);
        if is_load && distinct(rows.iter().copied(), |row| row.case.get(id)).len() > 2 {
            let at_rate = |row: &Record| row.inferences_per_s;
            charts.push(Chart {
                title: titled("latency against throughput"),
                x: Axis { label: THROUGHPUT.label.to_owned(), scale: scale(of(THROUGHPUT)) },
                y: Axis { label: LATENCY.label.to_owned(), scale: scale(of(LATENCY)) },
                series: series(&at_rate, LATENCY),
                size: SIZE,
            });
        }
    }
    charts
}

/// The latencies of a group's cases: the value of each quantile, and how often each latency is.
pub fn distribution(run: &Run, group: &Group<'_>) -> Vec<Chart> {
    let known: Vec<(String, Vec<Count>)> = group
        .iter()
        .filter_map(|record| {
            let mut counts: Vec<Count> = run
                .latencies_of(record)?
                .descending()
                .into_iter()
                .map(|(ns, _, count)| (ns, count))
                .collect();
            counts.reverse();
            Some((value_of(run, record), counts))
        })
        .filter(|(_, counts)| !counts.is_empty())
        .collect();
    if known.is_empty() {
        return Vec::new();
    }
    let series = |points: &dyn Fn(&[Count]) -> Vec<Point>| -> Vec<Series> {
        let of = |(name, counts): &(String, Vec<Count>)| Series {
            name: name.clone(),
            mark: Mark::Line,
            points: points(counts),
        };
        known.iter().map(of).collect()
    };
    let chart = |what: &str, x: Axis, y: Axis, series: Vec<Series>| Chart {
        title: titled(run, what, group),
        x,
        y,
        series,
        size: SMALL,
    };
    let axis = |label: &str, scale: Scale| Axis { label: label.to_owned(), scale };
    let spread = |values: &mut dyn Iterator<Item = f64>| match scale(values) {
        Scale::Log => Scale::Log,
        _ => Scale::Span,
    };
    let all = || known.iter().flat_map(|(_, counts)| counts.iter().map(|(ns, _)| *ns as f64 / 1e6));
    vec![
        chart(
            "Percentiles",
            axis("percentile", Scale::Quantile),
            axis("latency (ms)", spread(&mut all())),
            series(&quantiles),
        ),
        chart(
            "Density",
            axis("latency (ms)", spread(&mut all())),
            axis("share of requests (%)", Scale::Linear),
            series(&density),
        ),
    ]
}

/// How late requests of some groups' cases were sent, in an open loop: the lateness of each quantile.
pub fn lateness(run: &Run, groups: &[&Group<'_>]) -> Vec<Chart> {
    let cases: Vec<&Record> = groups.iter().copied().flatten().copied().collect();
    let mut counts = latencies::lateness(&run.path, &cases).into_iter();
    let mut chart = |group: &&Group<'_>| {
        let of = |(record, counts): (&&Record, BTreeMap<u64, u64>)| Series {
            name: value_of(run, record),
            mark: Mark::Line,
            points: quantiles(&counts.into_iter().collect::<Vec<Count>>()),
        };
        let of_group = group.iter().zip(counts.by_ref().take(group.len()));
        let series: Vec<Series> = of_group.filter(|(_, counts)| !counts.is_empty()).map(of).collect();
        (!series.is_empty()).then(|| Chart {
            title: titled(run, "Sent late", group),
            x: Axis { label: "percentile".to_owned(), scale: Scale::Quantile },
            y: Axis { label: "lateness (ms)".to_owned(), scale: Scale::Linear },
            series,
            size: SMALL,
        })
    };
    groups.iter().filter_map(&mut chart).collect()
}

/// The latency of some quantiles, as far as the requests reach. `counts` ascend.
fn quantiles(counts: &[Count]) -> Vec<Point> {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let mut points = Vec::new();
    let (mut seen, mut at) = (0, 0);
    // evenly along the axis; the last is the largest
    let beyond = (0..=120)
        .map(|step| 10_f64.powf(-f64::from(step) / 20.0))
        .take_while(|beyond| beyond * total as f64 >= 1.0);
    for q in beyond.map(|beyond| 1.0 - beyond) {
        let rank = ((q * total as f64).ceil() as u64).max(1);
        while seen < rank && at < counts.len() {
            seen += counts[at].1;
            at += 1;
        }
        points.push(Point::at(q, counts[at.saturating_sub(1)].0 as f64 / 1e6));
    }
    points
}

/// The share of requests in each of equal parts of the range, equal by ratio; the fewer requests, the fewer parts.
fn density(counts: &[Count]) -> Vec<Point> {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let (Some(first), Some(last)) = (counts.first(), counts.last()) else {
        return Vec::new();
    };
    let parts = (total as f64).sqrt().clamp(5.0, 60.0) as usize;
    let (low, high) = ((first.0.max(1) as f64).ln(), (last.0.max(2) as f64).ln());
    let width = ((high - low) / parts as f64).max(1e-6);
    let mut shares = vec![0_u64; parts];
    for (ns, count) in counts {
        let part = (((*ns).max(1) as f64).ln() - low) / width;
        shares[(part as usize).min(parts - 1)] += count;
    }
    let point = |(part, count): (usize, u64)| {
        let middle = (low + width * (part as f64 + 0.5)).exp() / 1e6;
        Point::at(middle, 100.0 * count as f64 / total as f64)
    };
    shares.into_iter().enumerate().map(point).collect()
}

/// The parts of each case's mean latency. `None` if no server told them.
pub fn parts(run: &Run) -> Option<Chart> {
    let told: Vec<&Record> = run
        .records
        .iter()
        .filter(|record| record.network_ms.is_some())
        .take(PARTS_MAX)
        .collect();
    if told.is_empty() {
        return None;
    }
    let parts: [(&str, Number); 6] = [
        ("client", |record| record.client_ms),
        ("network, front end", |record| record.network_ms),
        ("queue", |record| record.queue_ms),
        ("compute input", |record| record.compute_input_ms),
        ("compute infer", |record| record.compute_infer_ms),
        ("compute output", |record| record.compute_output_ms),
    ];
    let named = in_short(&run.records);
    let mut ends = vec![0.0; told.len()];
    let mut series = Vec::new();
    for (name, part) in parts {
        let mut points = Vec::new();
        for (row, record) in told.iter().enumerate() {
            let low = ends[row];
            ends[row] += part(record).unwrap_or(0.0).max(0.0);
            points.push(Point { x: ends[row], y: row as f64, low, high: low });
        }
        series.push(Series { name: name.to_owned(), mark: Mark::Bars, points });
    }
    let names = told.iter().map(|record| named(record)).collect();
    Some(Chart {
        title: "Where the mean latency goes".to_owned(),
        x: Axis { label: "ms".to_owned(), scale: Scale::Linear },
        y: Axis { label: String::new(), scale: Scale::Names(names) },
        series,
        size: (720, 110 + 26 * told.len() as u32),
    })
}

/// The mean latencies of a group's blocks, over the time since the first began.
pub fn over_time(run: &Run, group: &Group<'_>) -> Option<Chart> {
    let blocks: Vec<_> = group.iter().map(|record| (record, run.blocks.of(record))).collect();
    let begin = blocks
        .iter()
        .flat_map(|(_, blocks)| blocks)
        .map(|block| block.started.milliseconds())
        .min()?;
    let series = |(record, blocks): &(&&Record, Vec<&BlockRecord>)| {
        let point = |block: &&BlockRecord| {
            let seconds = (block.started.milliseconds() - begin) as f64 / 1e3;
            block.mean_ms.map(|mean| Point::at(seconds, mean))
        };
        Series {
            name: value_of(run, record),
            mark: Mark::Dots,
            points: blocks.iter().filter_map(point).collect(),
        }
    };
    Some(Chart {
        title: titled(run, "Blocks", group),
        x: Axis { label: "time since the first block (s)".to_owned(), scale: Scale::Linear },
        y: Axis { label: "mean latency of a block (ms)".to_owned(), scale: Scale::Linear },
        series: blocks.iter().map(series).collect(),
        size: SMALL,
    })
}

#[cfg(test)]
#[path = "charts_tests.rs"]
mod tests;
