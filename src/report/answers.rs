//! The answers to a run's question: what each comparison says, in words, and the sum of many. From verdicts alone; must
//! not know how they are laid out.

use super::forecast;
use super::layout::{sized_place, varying};
use super::metric::Metric;
use super::run::Run;
use super::verdicts::{self, Compared};
use super::words::{format_ms, status_words};
use crate::record::{Record, Status};
use crate::statistics::{ALPHA, Interval, Verdict};

/// More answers than this are summed up.
const FEW: usize = 16;
/// A difference that most people would want to see.
const ENOUGH: f64 = 0.03;
/// The kinds of answers, in the order of a sum.
const KINDS: [&str; 5] = ["less time", "more time", "no difference that matters", "no difference seen", "no answer"];
/// From this ratio on, people think in multiples, and below it in percent.
const MULTIPLE: f64 = 1.5;

/// The answers about one value of the compared axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Answers {
    /// What is compared with what: `gRPC against HTTP`.
    pub question: String,
    /// One answer for each pair of cases.
    pub answers: Vec<Answer>,
}

/// What one comparison says.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The pair's values on the axes that vary: `batch 8, 3 processes`; empty if none does.
    pub place: String,
    /// `2.9 times as fast (2.8 to 3.0)`.
    pub words: String,
    /// The verdict on the mean latency, or on the capacity; `None` if it cannot be compared.
    pub verdict: Option<Verdict>,
    /// The ratio of the other's to the base's, and the ends of its interval, as far as they are known.
    pub ratio: [Option<f64>; 3],
}

/// A line about one pair of cases, or about many.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Where it holds, or in how many places.
    pub place: String,
    /// What is said of it.
    pub words: String,
    /// Whether the other is faster there.
    pub is_faster: bool,
}

/// All that a run's comparisons say.
pub struct Said {
    /// The answers about each value that is held against the baseline.
    pub answers: Vec<Answers>,
    /// Of three values or more, the places where one is faster than every other one, and that one.
    pub fastest: Vec<(String, String)>,
}

/// What a run's comparisons say, from the cells of all of its tables.
pub fn said(run: &Run, cells: &[Compared<'_>]) -> Said {
    let varying = varying(run);
    let mut answers: Vec<Answers> = Vec::new();
    for (mean, p95) in of_baseline(cells) {
        let question = format!("{} against {}", run.value_of(mean.pair.other), run.value_of(mean.pair.base));
        let answer = Answer {
            place: sized_place(&varying, mean.pair.other),
            words: words(run, mean, p95),
            verdict: mean.verdict,
            ratio: mean.ratio.map_or([None; 3], |ratio| ratio.interval.parts()),
        };
        match answers.iter_mut().find(|known| known.question == question) {
            Some(known) => known.answers.push(answer),
            None => answers.push(Answers { question, answers: vec![answer] }),
        }
    }
    // of two values the answer itself says it
    let rows = if answers.len() < 2 { &[][..] } else { &run.records[..] };
    let fastest = rows.iter().filter(|row| verdicts::is_fastest(cells, row, Metric::Mean));
    let fastest = fastest.map(|row| (sized_place(&varying, row), run.value_of(row))).collect();
    Said { answers, fastest }
}

/// What is compared: the mean of latencies, or in an open loop of response times.
pub fn measure(run: &Run) -> &'static str {
    match run.records.iter().any(|record| record.case.rate.is_some()) {
        true => "mean response time",
        false => "mean latency",
    }
}

/// The comparisons with the baseline: of the mean and of the 95th percentile.
fn of_baseline<'c, 'a>(cells: &'c [Compared<'a>]) -> impl Iterator<Item = (&'c Compared<'a>, &'c Compared<'a>)> {
    let pairs = cells.chunks_exact(Metric::ALL.len()).map(|pair| (&pair[0], &pair[1]));
    pairs.filter(|(mean, _)| mean.pair.is_of_baseline)
}

/// What a comparison of means says; and of 95th percentiles, where these are decided and the means are not.
fn words(run: &Run, mean: &Compared<'_>, p95: &Compared<'_>) -> String {
    match mean.ratio {
        Some(_) => of_means(mean, p95),
        None => nothing(run, mean),
    }
}

fn of_means(mean: &Compared<'_>, p95: &Compared<'_>) -> String {
    let Some(ratio) = mean.ratio else { return String::new() };
    let words = of_interval(ratio.interval, mean.verdict, mean.corrected);
    match (is_decided(mean), is_decided(p95), p95.ratio) {
        (false, true, Some(ratio)) => format!("{words}; 95th percentile: {}", difference(ratio.interval)),
        _ => words,
    }
}

fn is_decided(cell: &Compared<'_>) -> bool {
    matches!(cell.verdict, Some(Verdict::Faster | Verdict::Slower))
}

/// Why nothing can be compared, and what would help.
fn nothing(run: &Run, cell: &Compared<'_>) -> String {
    let both = [cell.pair.base, cell.pair.other];
    if let Some(row) = both.into_iter().find(|row| row.status != Status::Ok) {
        return format!("no answer: {} {}", run.value_of(row), ended(row.status));
    }
    let so_far = |row: &Record| Some(format!("{} {} ms", run.value_of(row), format_ms(row.mean_ms?)));
    let so_far: Vec<String> = both.into_iter().filter_map(so_far).collect();
    let so_far = if so_far.is_empty() {
        String::new()
    } else {
        format!(" (so far {})", so_far.join(", "))
    };
    let help = forecast::seconds(run, cell, ENOUGH).map_or(String::new(), |seconds| {
        format!("; about {} a case would tell {} % apart", forecast::roughly(seconds), 100.0 * ENOUGH)
    });
    format!("too few requests to say{so_far}{help}")
}

fn ended(status: Status) -> String {
    match status {
        Status::Errors => "had errors".to_owned(),
        Status::Interrupted | Status::NotRun | Status::Skipped => format!("was {}", status_words(status)),
        status => status_words(status),
    }
}

/// What a ratio of latencies says, with its verdict and its corrected p-value.
pub fn of_interval(interval: Interval, verdict: Option<Verdict>, corrected: Option<f64>) -> String {
    in_words(interval, verdict, corrected, difference)
}

/// What a ratio of two capacities says.
pub fn of_rates(interval: Interval, verdict: Option<Verdict>, corrected: Option<f64>) -> String {
    in_words(interval, verdict, corrected, difference_of_rates)
}

/// What a ratio says; `difference` puts one into words.
fn in_words(
    interval: Interval,
    verdict: Option<Verdict>,
    corrected: Option<f64>,
    difference: fn(Interval) -> String,
) -> String {
    let is_beyond_chance = corrected.is_some_and(|p| p <= ALPHA);
    let is_one_sided = interval.low > 1.0 || interval.high < 1.0;
    match verdict {
        Some(Verdict::Equal) => format!("no difference of more than {}", bound(interval)),
        _ if is_one_sided && is_beyond_chance => difference(interval),
        _ if is_one_sided => format!("perhaps {}, not beyond chance yet", difference(interval)),
        _ => format!("no difference seen; if there is one, it is below {}", bound(interval)),
    }
}

/// `4.1 % less time (3.0 to 5.2 %)`, `2.9 times as fast (2.8 to 3.0)`.
fn difference(Interval { value, low, high }: Interval) -> String {
    let multiples = |value: f64, low: f64, high: f64, words: &str| {
        format!("{} times as {words} ({} to {})", multiple(value), multiple(low), multiple(high))
    };
    match value {
        _ if value >= MULTIPLE => multiples(value, low, high, "long"),
        _ if value <= 1.0 / MULTIPLE => multiples(1.0 / value, 1.0 / high, 1.0 / low, "fast"),
        _ if value > 1.0 => format!("{} more time ({})", percent(value - 1.0), percents(low - 1.0, high - 1.0)),
        _ => format!("{} less time ({})", percent(1.0 - value), percents(1.0 - high, 1.0 - low)),
    }
}

/// How large a difference may be that the interval does not exclude.
pub fn bound(Interval { low, high, .. }: Interval) -> String {
    match high.max(1.0 / low) {
        most if most >= MULTIPLE => format!("a factor of {}", multiple(most)),
        _ => percent((high - 1.0).max(1.0 - low)),
    }
}

/// `8.2 % more requests a second (4.0 to 12 %)`, `2.1 times as many requests a second (1.9 to 2.3)`.
fn difference_of_rates(Interval { value, low, high }: Interval) -> String {
    match value {
        _ if value >= MULTIPLE => {
            format!("{} times as many requests a second ({} to {})", multiple(value), multiple(low), multiple(high))
        }
        _ if value > 1.0 => {
            format!("{} more requests a second ({})", percent(value - 1.0), percents(low - 1.0, high - 1.0))
        }
        _ => format!("{} fewer requests a second ({})", percent(1.0 - value), percents(1.0 - high, 1.0 - low)),
    }
}

fn multiple(value: f64) -> String {
    if value < 9.95 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn percent(part: f64) -> String {
    // no part is told as nothing
    format!("{} %", number(part.max(1e-4)))
}

fn percents(low: f64, high: f64) -> String {
    format!("{} to {} %", number(low), number(high))
}

/// A part in percent, with two significant digits or more.
fn number(part: f64) -> String {
    let percent = 100.0 * part;
    let digits = match percent.abs() {
        it if it < 0.095 => 2,
        it if it < 9.95 => 1,
        _ => 0,
    };
    format!("{percent:.digits$}")
}

impl Answers {
    /// The answers, or the sum of many.
    pub fn lines(&self) -> Vec<Line> {
        if self.answers.len() <= FEW {
            return self.answers.iter().map(Answer::line).collect();
        }
        let all = self.answers.len();
        let line = |kind: &&'static str| {
            let of_kind: Vec<&Answer> = self.answers.iter().filter(|answer| answer.kind() == *kind).collect();
            let place = format!("{} of {all}", of_kind.len());
            let words = || format!("{kind}{}", extremes(&of_kind));
            (!of_kind.is_empty()).then(|| Line { place, words: words(), is_faster: false })
        };
        KINDS.iter().filter_map(line).collect()
    }
}

impl Answer {
    fn line(&self) -> Line {
        let Answer { place, words, verdict, .. } = self;
        Line { place: place.clone(), words: words.clone(), is_faster: *verdict == Some(Verdict::Faster) }
    }

    fn kind(&self) -> &'static str {
        let [less, more, equal, unclear, none] = KINDS;
        match self.verdict {
            // of capacities, ends alone may tell
            _ if self.ratio == [None; 3] => none,
            Some(Verdict::Faster) => less,
            Some(Verdict::Slower) => more,
            Some(Verdict::Equal) => equal,
            _ => unclear,
        }
    }

    /// The ratio, where it and both ends are known.
    fn interval(&self) -> Option<Interval> {
        let [Some(value), Some(low), Some(high)] = self.ratio else { return None };
        Some(Interval { value, low, high })
    }
}

/// The least and the largest difference of answers of one kind, or the largest that may exist.
fn extremes(answers: &[&Answer]) -> String {
    let known = || answers.iter().filter(|answer| answer.interval().is_some());
    let off = |answer: &&&Answer| answer.interval().map_or(0.0, |ratio| ratio.value.ln().abs());
    let least = known().min_by(|a, b| off(a).total_cmp(&off(b)));
    let most = known().max_by(|a, b| off(a).total_cmp(&off(b)));
    let (Some(least), Some(most)) = (least, most) else { return String::new() };
    match least.verdict {
        Some(Verdict::Faster | Verdict::Slower) => {
            format!(": least where {}, {}; most where {}, {}", least.place, least.words, most.place, most.words)
        }
        _ => {
            let reach = |answer: &&&Answer| answer.interval().map_or(0.0, |it| it.high.max(1.0 / it.low));
            let widest = known().max_by(|a, b| reach(a).total_cmp(&reach(b)));
            let widest = widest.and_then(|answer| answer.interval());
            widest.map_or(String::new(), |interval| format!("; if there is one, it is below {}", bound(interval)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{AxisId, Point, Protocol};
    use crate::statistics::Ratio;

    fn row(protocol: Protocol, status: Status) -> Record {
        Record { case: Point { protocol, ..Point::default() }, status, ..Record::default() }
    }

    fn said(verdict: Verdict, p: f64, interval: [f64; 3]) -> String {
        let (base, other) = (row(Protocol::Http, Status::Ok), row(Protocol::Grpc, Status::Ok));
        let [value, low, high] = interval;
        let cell = Compared {
            pair: crate::report::metric::Pair { base: &base, other: &other, is_of_baseline: true },
            compared: AxisId::Protocol,
            metric: Metric::Mean,
            ratio: Some(Ratio { interval: Interval { value, low, high }, p, blocks: 10 }),
            pooled: true,
            corrected: Some(p),
            verdict: Some(verdict),
        };
        of_means(&cell, &Compared { metric: Metric::P95, ratio: None, verdict: None, ..cell })
    }

    #[test]
    fn an_answer_says_how_much_and_how_surely() {
        use Verdict::{Equal, Faster, Slower, Unclear};
        for (verdict, p, interval, expected) in [
            (Faster, 0.01, [0.959, 0.948, 0.97], "4.1 % less time (3.0 to 5.2 %)"),
            (Faster, 0.01, [1.0 / 2.9, 1.0 / 3.0, 1.0 / 2.8], "2.9 times as fast (2.8 to 3.0)"),
            (Slower, 0.01, [1.25, 1.2, 1.3], "25 % more time (20 to 30 %)"),
            (Slower, 0.01, [12.0, 11.5, 12.6], "12 times as long (12 to 13)"),
            (Equal, 0.9, [1.001, 0.996, 1.006], "no difference of more than 0.6 %"),
            (Unclear, 0.9, [0.99, 0.976, 1.004], "no difference seen; if there is one, it is below 2.4 %"),
            (Unclear, 0.9, [1.0, 0.5, 2.0], "no difference seen; if there is one, it is below a factor of 2.0"),
            (Unclear, 0.2, [0.88, 0.86, 0.9], "perhaps 12 % less time (10 to 14 %), not beyond chance yet"),
            (Unclear, 0.01, [0.985, 0.975, 0.995], "1.5 % less time (0.5 to 2.5 %)"),
            (Unclear, 0.01, [1.5, 1.0, 2.0], "no difference seen; if there is one, it is below a factor of 2.0"),
            (Unclear, 0.01, [0.9, 0.8, 1.0], "no difference seen; if there is one, it is below 20 %"),
            (Unclear, 0.9, [0.9, 0.6, 1.2], "no difference seen; if there is one, it is below a factor of 1.7"),
            (Equal, 0.9, [1.0, 0.9994, 1.0005], "no difference of more than 0.06 %"),
            (Slower, 0.01, [1.0009, 1.0004, 1.0014], "0.09 % more time (0.04 to 0.1 %)"),
            (Slower, 0.01, [9.94, 9.9, 9.96], "9.9 times as long (9.9 to 10)"),
        ] {
            assert_eq!(said(verdict, p, interval), expected);
        }
    }

    #[test]
    fn a_decided_percentile_is_told_where_means_are_not() {
        let (base, other) = (row(Protocol::Http, Status::Ok), row(Protocol::Grpc, Status::Ok));
        let cell = |metric, verdict, value: f64| Compared {
            pair: crate::report::metric::Pair { base: &base, other: &other, is_of_baseline: true },
            compared: AxisId::Protocol,
            metric,
            ratio: Some(Ratio {
                interval: Interval { value, low: value - 0.05, high: value + 0.05 },
                p: 0.5,
                blocks: 10,
            }),
            pooled: true,
            corrected: Some(if verdict == Verdict::Unclear { 0.5 } else { 0.01 }),
            verdict: Some(verdict),
        };
        let said = |mean: Verdict, p95: Verdict| {
            let value = |verdict| if verdict == Verdict::Unclear { 1.0 } else { 1.2 };
            of_means(&cell(Metric::Mean, mean, value(mean)), &cell(Metric::P95, p95, value(p95)))
        };
        let unclear = "no difference seen; if there is one, it is below 5.0 %";
        let more = "20 % more time (15 to 25 %)";
        assert_eq!(said(Verdict::Unclear, Verdict::Slower), format!("{unclear}; 95th percentile: {more}"));
        assert_eq!(said(Verdict::Unclear, Verdict::Unclear), unclear);
        assert_eq!(said(Verdict::Slower, Verdict::Slower), more);
        assert_eq!(said(Verdict::Slower, Verdict::Unclear), more);
    }

    #[test]
    fn answers_are_of_five_kinds() {
        let ratio = [1.0, 0.9, 1.1].map(Some);
        let answer = |verdict, ratio| Answer { place: String::new(), words: String::new(), verdict, ratio };
        let kinds = [Some(Verdict::Faster), Some(Verdict::Slower), Some(Verdict::Equal), Some(Verdict::Unclear)];
        assert_eq!(kinds.map(|verdict| answer(verdict, ratio).kind()), KINDS[..4]);
        assert_eq!(answer(Some(Verdict::Faster), [None; 3]).kind(), "no answer");
        assert_eq!(answer(Some(Verdict::Slower), [None, None, Some(0.5)]).kind(), "more time");
        assert_eq!(kinds.map(|verdict| answer(verdict, ratio).line().is_faster), [true, false, false, false]);
        // of many without a difference, the widest interval bounds it, on either side
        let wide = |low, high| answer(Some(Verdict::Unclear), [1.0, low, high].map(Some));
        let [narrow, below, above] = [wide(0.97, 1.02), wide(0.9, 1.05), wide(0.95, 1.2)];
        assert_eq!(extremes(&[&narrow, &below]), "; if there is one, it is below 10 %");
        assert_eq!(extremes(&[&below, &above, &narrow]), "; if there is one, it is below 20 %");
    }

    #[test]
    fn many_answers_are_summed_up() {
        let answer = |at: usize| {
            let value = if at < 12 { 0.9 - at as f64 / 100.0 } else { 1.0 };
            let ratio = Interval { value, low: value - 0.01, high: value + 0.01 };
            let verdict = if at < 12 { Verdict::Faster } else { Verdict::Unclear };
            Answer {
                place: format!("batch {at}"),
                words: difference(ratio),
                verdict: Some(verdict),
                ratio: ratio.parts(),
            }
        };
        let all = Answers { question: String::new(), answers: (0..20).map(answer).collect() };
        let expected = [
            (
                "12 of 20",
                "less time: least where batch 0, 10 % less time (9.0 to 11 %); most where batch 11, 21 % less time \
                 (20 to 22 %)",
            ),
            ("8 of 20", "no difference seen; if there is one, it is below 1.0 %"),
        ];
        let lines = all.lines();
        assert_eq!(lines.iter().map(|line| (line.place.as_str(), line.words.as_str())).collect::<Vec<_>>(), expected);
    }
}
