//! What a search for capacities found: each with its interval, what is said of compared ones, and every load that was tried. Must not
//! know how it is drawn.

use super::answers::{Answer, Answers, Said, of_rates};
use super::layout::{self, Layout};
use super::metric::Pair;
use super::picture::{Axis, Chart, Mark, Point, Scale, Series};
use super::run::Run;
use super::table::{Cell, Table};
use super::verdicts;
use super::words::{NOTHING, format_ms, number_if_any, status_words};
use crate::capacity::{self, Bound};
use crate::record::{BlockRecord, Record, rounded};
use crate::statistics::{self, DELTA, Interval, Ratio, Verdict};

/// Width and height of the chart in pixels.
const SIZE: (u32, u32) = (640, 380);
/// The line of one capacity is at this part of the height of the one above it.
const BESIDE: f64 = 0.93;

/// Whether a run searched for capacities.
pub fn is_searched(run: &Run) -> bool {
    run.manifest.capacity.is_some()
}

/// The bounds of a run's search.
fn bounds(run: &Run) -> Vec<Bound> {
    let asked = run.manifest.capacity.iter().flat_map(|searched| &searched.bounds);
    asked.filter_map(|bound| capacity::bounds(bound).ok()).flatten().collect()
}

/// What was searched, in words: `highest rate with p99 within 50 ms`.
pub fn measure(run: &Run) -> String {
    let bounds = capacity::words(&bounds(run));
    let what = if is_over_concurrency(run) {
        "throughput at the most requests in flight"
    } else {
        "highest rate"
    };
    format!("{what} with {bounds}")
}

/// Whether requests in flight, and not rates, were tried.
pub fn is_over_concurrency(run: &Run) -> bool {
    run.manifest.capacity.as_ref().is_some_and(|searched| searched.over == "concurrency")
}

/// What was searched, and for how long, in words.
pub fn length_words(run: &Run) -> Option<String> {
    Some(format!("The {} searched for {}", measure(run), length(run)?))
}

/// How long was searched: `at most 300 s a case, until it is known within 3 %`.
pub fn length(run: &Run) -> Option<String> {
    let searched = run.manifest.capacity.as_ref()?;
    let precise = run
        .manifest
        .precision
        .map_or(String::new(), |precision| format!(", until it is known within {} %", rounded(100.0 * precision)));
    Some(format!("at most {} s a case{precise}", searched.budget_s))
}

/// A capacity with its interval, where it is known.
pub fn of(record: &Record) -> Option<Interval> {
    match (record.capacity_per_s, record.capacity_low_per_s, record.capacity_high_per_s) {
        (Some(value), Some(low), Some(high)) => Some(Interval { value, low, high }),
        _ => None,
    }
}

/// The ends of a capacity's interval, as far as they are known.
pub fn ends(record: &Record) -> [Option<f64>; 2] {
    [record.capacity_low_per_s, record.capacity_high_per_s]
}

/// A capacity with its ends, in requests a second: `412.3 (398.0 to 431.1)`, `at least 1000`, `below 5.000`; `None` where nothing is known.
pub fn number(value: Option<f64>, ends: [Option<f64>; 2]) -> Option<String> {
    match (value, ends) {
        (Some(value), [Some(low), Some(high)]) => {
            Some(format!("{} ({} to {})", format_ms(value), format_ms(low), format_ms(high)))
        }
        (None, [Some(low), None]) => Some(format!("at least {}", format_ms(low))),
        (None, [None, Some(high)]) => Some(format!("below {}", format_ms(high))),
        _ => None,
    }
}

/// A capacity in words: `412.3 (398.0 to 431.1) requests/s`.
pub fn words(record: &Record) -> String {
    let Some(number) = number(record.capacity_per_s, ends(record)) else {
        return format!("not known ({})", status_words(record.status));
    };
    let tail = match (record.capacity_concurrency, ends(record)) {
        (Some(count), _) => format!(" with {count} in flight"),
        (None, [Some(_), None]) => ", the most that was tried".to_owned(),
        (None, [None, Some(_)]) => ", the least that was tried".to_owned(),
        _ => String::new(),
    };
    format!("{number} requests/s{tail}")
}

/// The ratio of two capacities that were searched apart, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Apart {
    /// Of two that have an interval each.
    Known(Ratio),
    /// Of two whose intervals do not both exist, or have no width: at least this where it is above 1, at most this where it is below.
    Beyond(f64),
}

impl Apart {
    /// The other's over the base's; the intervals are of at least so many blocks.
    pub fn of(base: &Record, other: &Record, blocks: usize) -> Option<Self> {
        let both = of(other).zip(of(base));
        if let Some(ratio) = both.and_then(|(other, base)| statistics::ratio_of_intervals(other, base, blocks)) {
            return Some(Apart::Known(ratio));
        }
        let ([base_low, base_high], [low, high]) = (ends(base), ends(other));
        let beyond = |own: Option<f64>, its: Option<f64>| Some(own? / its?).filter(|ratio| ratio.is_normal());
        let above = beyond(low, base_high).filter(|ratio| *ratio > 1.0 + DELTA);
        let below = || beyond(high, base_low).filter(|ratio| *ratio < 1.0 - DELTA);
        above.or_else(below).map(Apart::Beyond)
    }

    /// The ratio with its interval, if it has one.
    pub fn ratio(self) -> Option<Ratio> {
        match self {
            Apart::Known(ratio) => Some(ratio),
            Apart::Beyond(_) => None,
        }
    }

    /// Its value and the ends of its interval, as far as they are known.
    pub fn parts(self) -> [Option<f64>; 3] {
        match self {
            Apart::Known(ratio) => ratio.interval.parts(),
            Apart::Beyond(end) if end > 1.0 => [None, Some(end), None],
            Apart::Beyond(end) => [None, None, Some(end)],
        }
    }
}

/// The verdicts on all others' capacities of one table, each with its p-value after Holm's correction. Where an end alone tells, there
/// is no p-value, and none is made up for the correction: that the most that was tried keeps the bounds, or the least breaks them, is
/// what blocks there showed, and no test.
pub fn judged(all: &[Option<Apart>]) -> Vec<(Option<f64>, Option<Verdict>)> {
    let ratios: Vec<Option<Ratio>> = all.iter().map(|apart| apart.and_then(Apart::ratio)).collect();
    let told = |(apart, (corrected, verdict)): (&Option<Apart>, (_, Verdict))| match apart {
        // more is better
        Some(Apart::Known(_)) => (corrected, Some(verdict.reversed())),
        Some(Apart::Beyond(end)) => (None, Some(if *end > 1.0 { Verdict::Faster } else { Verdict::Slower })),
        None => (None, None),
    };
    all.iter().zip(statistics::verdicts(&ratios, DELTA)).map(told).collect()
}

/// What is said of the second of two named capacities beside the first.
pub fn beside(
    apart: Option<Apart>,
    (corrected, verdict): (Option<f64>, Option<Verdict>),
    named: [(&str, &Record); 2],
) -> String {
    let both = || named.map(|(name, row)| format!("{name} {}", words(row))).join(", ");
    match apart {
        Some(Apart::Known(ratio)) => of_rates(ratio.interval, verdict, corrected),
        Some(Apart::Beyond(end)) => {
            let (side, factor) = if end > 1.0 { ("higher", end) } else { ("lower", 1.0 / end) };
            // rounded down, as it is a least
            let factor = (100.0 * factor + 1e-9).floor() / 100.0;
            format!("{side} by at least a factor of {factor}, by the ends of the searches alone: {}", both())
        }
        None => format!("no answer: {}", both()),
    }
}

/// Two compared capacities.
pub struct Compared<'a> {
    /// The two cases.
    pub pair: Pair<'a>,
    /// The other's over the baseline's.
    pub apart: Option<Apart>,
    /// Its p-value after Holm's correction.
    pub corrected: Option<f64>,
    /// The verdict on the other's: `Faster` if it is higher.
    pub verdict: Option<Verdict>,
}

/// The comparisons of a run's capacities, with Holm's correction over all of them.
pub fn compared(run: &Run) -> Vec<Compared<'_>> {
    let rows: Vec<&Record> = run.records.iter().collect();
    let pairs = verdicts::pairs(run.compared, &rows);
    let blocks = |row: &Record| run.blocks.of(row).len();
    let of_pair = |Pair { base, other, .. }: &Pair<'_>| Apart::of(base, other, blocks(base).min(blocks(other)));
    let all: Vec<Option<Apart>> = pairs.iter().map(of_pair).collect();
    let told = |(pair, (apart, (corrected, verdict)))| Compared { pair, apart, corrected, verdict };
    pairs.into_iter().zip(all.iter().copied().zip(judged(&all))).map(told).collect()
}

/// What the capacities say.
pub fn said(run: &Run) -> Said {
    let varying = layout::varying(run);
    let mut answers: Vec<Answers> = Vec::new();
    let cells = compared(run);
    for cell in cells.iter().filter(|cell| cell.pair.is_of_baseline) {
        let Compared { pair, apart, corrected, verdict } = cell;
        let [base, other] = [pair.base, pair.other].map(|row| run.value_of(row));
        let question = format!("{other} against {base}");
        let answer = Answer {
            place: layout::sized_place(&varying, pair.other),
            words: beside(*apart, (*corrected, *verdict), [(&base, pair.base), (&other, pair.other)]),
            verdict: *verdict,
            ratio: apart.map_or([None; 3], Apart::parts),
        };
        match answers.iter_mut().find(|known| known.question == question) {
            Some(known) => known.answers.push(answer),
            None => answers.push(Answers { question, answers: vec![answer] }),
        }
    }
    let fastest = if answers.len() < 2 { &[][..] } else { &run.records[..] };
    let fastest = fastest.iter().filter(|row| is_highest(&cells, row));
    let fastest = fastest.map(|row| (layout::sized_place(&varying, row), run.value_of(row))).collect();
    Said { answers, fastest }
}

/// Whether a case's capacity is higher than each that it is compared with.
fn is_highest(cells: &[Compared<'_>], record: &Record) -> bool {
    let mut own = cells
        .iter()
        .filter_map(|cell| match (std::ptr::eq(cell.pair.base, record), std::ptr::eq(cell.pair.other, record)) {
            (true, _) => Some(cell.verdict.map(Verdict::reversed)),
            (_, true) => Some(cell.verdict),
            _ => None,
        })
        .peekable();
    own.peek().is_some() && own.all(|verdict| verdict == Some(Verdict::Faster))
}

/// One row a case: its capacity.
pub fn table(run: &Run) -> Table {
    let cells = compared(run);
    let layout = Layout::of_all(run, &run.records);
    let mut table = Table::default();
    layout.columns(&mut table);
    if is_over_concurrency(run) {
        table.measured("Most in Flight", "most in\nflight");
    }
    for (heading, short) in [
        ("Capacity (requests/s)", "capacity\nrequests/s"),
        ("95 % Interval", "\n95 %"),
        ("Inferences/s", "inferences\na second"),
        ("Blocks", "\nblocks"),
    ] {
        table.measured(heading, short);
    }
    for record in &run.records {
        let interval = match (record.capacity_low_per_s, record.capacity_high_per_s) {
            (Some(low), Some(high)) => format!("{} to {}", format_ms(low), format_ms(high)),
            (Some(low), None) => format!("from {}", format_ms(low)),
            (None, Some(high)) => format!("below {}", format_ms(high)),
            (None, None) => status_words(record.status),
        };
        let mut row = layout.cells(record);
        if is_over_concurrency(run) {
            row.push(record.capacity_concurrency.map_or(NOTHING.to_owned(), |count| count.to_string()).into());
        }
        row.push(Cell { text: number_if_any(record.capacity_per_s), is_best: is_highest(&cells, record) });
        row.push(interval.into());
        row.push(number_if_any(record.capacity_per_s.map(|rate| rate * f64::from(record.case.batch_size))).into());
        row.push(record.blocks.to_string().into());
        table.row(row);
    }
    table
}

/// The share of a block's requests that broke each bound, with its interval.
fn broken(bounds: &[Bound], block: &BlockRecord) -> Vec<Interval> {
    let share =
        |bound: &Bound| statistics::share(block.bound_broken.of(&bound.key()), block.bound_requests.unwrap_or(0));
    bounds.iter().map(share).collect()
}

/// What a block alone says of the bounds.
fn kept(bounds: &[Bound], shares: &[Interval]) -> &'static str {
    let all = || shares.iter().zip(bounds);
    match () {
        () if all().any(|(share, bound)| share.low > bound.level()) => "broken",
        () if all().all(|(share, bound)| share.high <= bound.level()) => "kept",
        () => "undecided",
    }
}

/// Every load that was tried in a case, from the lowest: whether the bounds were kept, as far as a block alone says so. `None` if nothing
/// was.
pub fn tries(run: &Run, record: &Record) -> Option<Table> {
    let bounds = bounds(run);
    let mut blocks = run.blocks.of(record);
    let load = |block: &BlockRecord| block.case.rate.unwrap_or(f64::from(block.case.concurrency));
    blocks.sort_by(|one, other| load(one).total_cmp(&load(other)).then(one.block.cmp(&other.block)));
    let mut table = Table::default();
    let tried = if is_over_concurrency(run) { "In Flight" } else { "Tried (requests/s)" };
    [tried, "Block", "Requests/s", "Held against the Bounds"]
        .into_iter()
        .for_each(|heading| table.numbers(heading));
    bounds.iter().for_each(|bound| table.numbers(format!("Broke {} (%)", bound.key())));
    ["P50 (ms)", "P95 (ms)", "P99 (ms)"]
        .into_iter()
        .for_each(|heading| table.numbers(heading));
    table.words("Bounds");
    for block in &blocks {
        let number = |value: Option<f64>| -> Cell { number_if_any(value).into() };
        let shares = broken(&bounds, block);
        let mut row = vec![
            format_ms(load(block)).into(),
            block.block.to_string().into(),
            number(block.requests_per_s),
            block.bound_requests.unwrap_or(0).to_string().into(),
        ];
        row.extend(shares.iter().map(|share| Cell::from(format!("{:.2}", 100.0 * share.value))));
        row.extend([block.p50_ms, block.p95_ms, block.p99_ms].map(number));
        row.push(kept(&bounds, &shares).into());
        table.row(row);
    }
    (!blocks.is_empty()).then_some(table)
}

/// The response times of some compared cases over the load, with the bound and the capacities. `None` without a bound of times.
pub fn chart(run: &Run, group: &[&Record], title: String) -> Option<Chart> {
    let bounds = bounds(run);
    let (bound, limit) = bounds.iter().find_map(|bound| Some((bound, bound.limit()?.as_secs_f64() * 1e3)))?;
    let (name, of): (&str, fn(&BlockRecord) -> Option<f64>) = match bound.level() {
        level if level >= 0.5 => ("p50", |block| block.p50_ms),
        level if level >= 0.05 => ("p95", |block| block.p95_ms),
        _ => ("p99", |block| block.p99_ms),
    };
    let load = |block: &BlockRecord| block.case.rate.unwrap_or(f64::from(block.case.concurrency));
    let mut series = Vec::new();
    let (mut least, mut most) = (f64::INFINITY, 0.0_f64);
    for (place, record) in (1..).zip(group) {
        let mut points: Vec<Point> = run
            .blocks
            .of(record)
            .into_iter()
            .filter_map(|block| Some(Point::at(load(block), of(block)?)))
            .collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        points.iter().for_each(|point| (least, most) = (least.min(point.x), most.max(point.x)));
        let name = run.value_of(record);
        // below the bound's line, one below the other, so that each is seen
        let y = limit * BESIDE.powi(place);
        series.push(match self::of(record) {
            None => Series { name, mark: Mark::Scatter, points },
            Some(Interval { value, low, high }) => {
                let name = format!("{name}: {} ({} to {})", format_ms(value), format_ms(low), format_ms(high));
                let (from, to) = record.capacity_concurrency.map_or((low, high), |count| (count.into(), count.into()));
                Series { name, mark: Mark::Together { from, to, y }, points }
            }
        });
    }
    let bound = Series {
        name: format!("bound, {limit} ms"),
        mark: Mark::Line,
        points: vec![Point::at(least, limit), Point::at(most, limit)],
    };
    let x = if is_over_concurrency(run) {
        "requests in flight in one process"
    } else {
        "requests a second"
    };
    (least < most).then(|| Chart {
        title,
        x: Axis { label: x.to_owned(), scale: Scale::Log },
        y: Axis { label: format!("response time, {name} of a block (ms)"), scale: Scale::Log },
        series: series.into_iter().chain([bound]).collect(),
        size: SIZE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_alone_may_leave_a_bound_undecided() {
        let bounds = capacity::bounds("p99<50ms,errors<1%").unwrap();
        for (requests, late, failed, expected) in [
            (0, 0, 0, "undecided"),
            (30, 0, 0, "undecided"),
            (30, 1, 0, "undecided"),
            (1000, 0, 0, "kept"),
            (1000, 100, 0, "broken"),
            (1000, 100, 100, "broken"),
        ] {
            let shares = [late, failed].map(|bad| statistics::share(bad, requests));
            assert_eq!(kept(&bounds, &shares), expected, "{late} and {failed} of {requests}");
        }
    }
}
