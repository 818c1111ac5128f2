//! Whether the cases of a run keep the thresholds of their scenario. A number with an interval breaks its threshold only if the whole
//! interval does. Of a run that searched for capacities these alone are judged. Must not know how that is shown.

use std::collections::HashSet;

use super::capacity;
use super::run::Run;
use super::table::Table;
use super::words::format_ms;
use crate::record::{Record, Status};
use crate::spelling::spelled;
use crate::statistics::{self, Interval};
use crate::threshold::{Number, Threshold};

spelled! {
    /// What can be said of a threshold.
    pub enum Kept {
        /// It holds, beyond chance where chance is known.
        Holds = "holds",
        /// It is broken, beyond chance where chance is known, or there is no number.
        Broken = "broken",
        /// The interval has the bound in it.
        Open = "cannot be told",
        /// Such a run has no such number: its cases were searched for their capacities, or were not.
        Unjudged = "not judged",
    }
}

/// A threshold of one case.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// The case.
    pub record: &'a Record,
    /// The threshold.
    pub threshold: Threshold,
    /// The number and the ends of its 95 % interval, as far as they are known; without an interval, both ends are the number.
    pub found: [Option<f64>; 3],
    /// What can be said.
    pub kept: Kept,
}

/// The thresholds of all cases, in the scenario's order.
pub fn judged(run: &Run) -> Vec<Judged<'_>> {
    let asserts = run.manifest.asserts.iter();
    asserts
        .flat_map(|assert| {
            let cases: Option<HashSet<&str>> = assert.cases.as_ref().map(|it| it.iter().map(String::as_str).collect());
            let is_chosen = move |row: &&Record| cases.as_ref().is_none_or(|it| it.contains(row.case.tag().as_str()));
            let is_measured = |row: &&Record| row.status != Status::Skipped;
            run.records
                .iter()
                .filter(is_measured)
                .filter(is_chosen)
                .map(|record| judge(run, record, assert.that))
        })
        .collect()
}

/// Whether any threshold is broken.
pub fn is_broken(judged: &[Judged<'_>]) -> bool {
    judged.iter().any(|judged| judged.kept == Kept::Broken)
}

fn judge<'a>(run: &Run, record: &'a Record, threshold: Threshold) -> Judged<'a> {
    let found = match threshold.number {
        Number::CapacityPerS => {
            let [low, high] = capacity::ends(record);
            [record.capacity_per_s, low, high]
        }
        number => found(run, record, number).map_or([None; 3], Interval::parts),
    };
    // of a capacity one end may be all that is known
    let holds = |end: Option<f64>, otherwise: f64| threshold.holds(end.unwrap_or(otherwise));
    let kept = match (holds(found[1], 0.0), holds(found[2], f64::INFINITY)) {
        _ if !is_had(run, threshold.number) => Kept::Unjudged,
        _ if found == [None; 3] => Kept::Broken,
        (true, true) => Kept::Holds,
        (false, false) => Kept::Broken,
        _ => Kept::Open,
    };
    Judged { record, threshold, found, kept }
}

/// Whether such a run has a number: where loads below and above the capacity were tried, all others are of no load in particular.
fn is_had(run: &Run, number: Number) -> bool {
    (number == Number::CapacityPerS) == capacity::is_searched(run)
}

/// A number of a case but its capacity; `None` if it was not measured.
fn found(run: &Run, record: &Record, number: Number) -> Option<Interval> {
    let within = |value: Option<f64>, low: Option<f64>, high: Option<f64>| {
        let value = value?;
        Some(Interval { value, low: low.unwrap_or(value), high: high.unwrap_or(value) })
    };
    let alone = |value: Option<f64>| within(value, None, None);
    let errors = record.errors as f64;
    match number {
        Number::MeanMs => within(record.mean_ms, record.mean_low_ms, record.mean_high_ms),
        Number::P50Ms => within(record.p50_ms, record.p50_low_ms, record.p50_high_ms),
        Number::P90Ms => alone(record.p90_ms),
        Number::P95Ms => within(record.p95_ms, record.p95_low_ms, record.p95_high_ms),
        Number::P99Ms => within(record.p99_ms, record.p99_low_ms, record.p99_high_ms),
        Number::P999Ms => within(record.p99_9_ms, record.p99_9_low_ms, record.p99_9_high_ms),
        Number::MaxMs => alone(record.max_ms),
        Number::GoodputPerS => alone(record.goodput_per_s),
        Number::GoodputShare => alone(record.goodput_share),
        Number::CapacityPerS => None,
        Number::RequestsPerS => rate(run, record, record.requests_per_s),
        Number::InferencesPerS => rate(run, record, record.inferences_per_s),
        _ if matches!(record.status, Status::NotRun | Status::Skipped) => None,
        Number::Errors => alone(Some(errors)),
        Number::ErrorShare => alone(Some(errors / (errors + record.requests as f64).max(1.0))),
    }
}

/// A throughput, with the relative interval of the mean of its blocks.
pub fn rate(run: &Run, record: &Record, value: Option<f64>) -> Option<Interval> {
    let value = value?;
    let blocks: Vec<f64> = run.blocks.of(record).iter().filter_map(|block| block.requests_per_s).collect();
    let of_blocks = statistics::mean(&blocks).filter(|mean| mean.value > 0.0);
    Some(of_blocks.map_or(Interval { value, low: value, high: value }, |mean| Interval {
        value,
        low: value * mean.low / mean.value,
        high: value * mean.high / mean.value,
    }))
}

/// How many hold, in words; `None` if there are no thresholds.
pub fn summary(run: &Run, judged: &[Judged<'_>]) -> Option<String> {
    if run.manifest.asserts.is_empty() {
        return None;
    }
    let count = |kept: Kept| judged.iter().filter(|judged| judged.kept == kept).count();
    let (holding, broken, open) = (count(Kept::Holds), count(Kept::Broken), count(Kept::Open));
    let mut words = match holding + broken + open {
        0 if judged.is_empty() => return Some("No case of this run has a threshold".to_owned()),
        0 => "No threshold is judged".to_owned(),
        all => format!("{holding} of {all} thresholds hold"),
    };
    for (number, what) in [(broken, "broken"), (open, "cannot be told, as their intervals have the bound in them")] {
        if number > 0 {
            words.push_str(&format!(", {number} {what}"));
        }
    }
    let unjudged: Vec<&str> = Number::ALL
        .iter()
        .filter(|(_, number)| judged.iter().any(|it| it.kept == Kept::Unjudged && it.threshold.number == *number))
        .map(|(word, _)| *word)
        .collect();
    if !unjudged.is_empty() {
        let why = match capacity::is_searched(run) {
            true => "this run searched for capacities, at loads below and above them",
            false => "this run searched for no capacity (--capacity)",
        };
        words.push_str(&format!("; not judged: {}, as {why}", unjudged.join(", ")));
    }
    Some(words)
}

/// The thresholds that do not hold, or of which that cannot be told; `None` if all do, or are not judged.
pub fn table(judged: &[Judged<'_>]) -> Option<Table> {
    let mut table = Table::default();
    ["Case", "Threshold", "Found", ""].into_iter().for_each(|heading| table.words(heading));
    let is_shown = |judged: &&Judged<'_>| matches!(judged.kept, Kept::Broken | Kept::Open);
    for Judged { record, threshold, found, kept } in judged.iter().filter(is_shown) {
        let shown = |value: f64| match threshold.number {
            Number::ErrorShare | Number::GoodputShare => format!("{value:.4}"),
            Number::Errors => format!("{value}"),
            _ => format_ms(value),
        };
        let found = match *found {
            [Some(value), Some(low), Some(high)] if low < high => {
                format!("{} ({} to {})", shown(value), shown(low), shown(high))
            }
            [Some(value), ..] => shown(value),
            [None, Some(low), _] => format!("at least {}", shown(low)),
            [None, None, Some(high)] => format!("below {}", shown(high)),
            [None, None, None] => match (threshold.number, record.goodput_ms) {
                (Number::GoodputPerS | Number::GoodputShare, None) => "no number (no goodput_ms in [load])".to_owned(),
                _ => format!("no number ({})", record.status),
            },
        };
        table.row(vec![record.case.phrase().into(), threshold.to_string().into(), found.into(), kept.name().into()]);
    }
    (!table.rows().is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::record::{Asserted, BlockRecord, Searched};

    /// A run of one case whose mean is known to be from 9 to 11 ms, with five blocks of 90 to 110 requests/s.
    fn run(that: &[&str]) -> Run {
        let mut run = Run::open(Path::new("results/scrfd/2026-11-25T113021Z")).unwrap();
        let asserted = |that: &&str| Asserted { that: Threshold::read(that).unwrap(), cases: None };
        run.manifest.asserts = that.iter().map(asserted).collect();
        run.records.truncate(1);
        let record = &mut run.records[0];
        (record.mean_ms, record.mean_low_ms, record.mean_high_ms) = (Some(10.0), Some(9.0), Some(11.0));
        (record.requests, record.errors, record.p90_ms) = (990, 10, None);
        (record.requests_per_s, record.inferences_per_s) = (Some(100.0), Some(400.0));
        let block = |rate: f64| BlockRecord {
            case: run.records[0].case.clone(),
            requests_per_s: Some(rate),
            ..BlockRecord::default()
        };
        run.blocks = [90.0, 95.0, 100.0, 105.0, 110.0].into_iter().map(block).collect();
        run
    }

    fn kept(that: &str) -> Kept {
        judged(&run(&[that]))[0].kept
    }

    #[test]
    fn a_threshold_is_broken_only_beyond_chance() {
        for (that, expected) in [
            ("mean_ms < 12", Kept::Holds),
            ("mean_ms <= 11", Kept::Holds),
            ("mean_ms < 11", Kept::Open),
            ("mean_ms < 10", Kept::Open),
            ("mean_ms < 9", Kept::Broken),
            ("mean_ms > 8", Kept::Holds),
            // Student's t with four degrees of freedom: 100 +- 9.8, and four items a request
            ("requests_per_s >= 90", Kept::Holds),
            ("requests_per_s >= 91", Kept::Open),
            ("requests_per_s >= 110", Kept::Broken),
            ("inferences_per_s >= 360", Kept::Holds),
            ("inferences_per_s >= 364", Kept::Open),
            ("errors <= 10", Kept::Holds),
            ("errors < 10", Kept::Broken),
            ("error_share <= 0.01", Kept::Holds),
            ("error_share < 0.01", Kept::Broken),
            // not measured
            ("p90_ms < 1000", Kept::Broken),
        ] {
            assert_eq!(kept(that), expected, "{that}");
        }
    }

    /// The same where capacities were searched, and that of the case is known as far as given.
    fn searched(that: &[&str], capacity: [Option<f64>; 3]) -> Run {
        let mut run = run(that);
        let (over, bounds) = ("rate".to_owned(), vec!["p99_ms <= 50".to_owned()]);
        run.manifest.capacity = Some(Searched { over, bounds, from: 1.0, to: 1000.0, budget_s: 60.0 });
        let record = &mut run.records[0];
        [record.capacity_per_s, record.capacity_low_per_s, record.capacity_high_per_s] = capacity;
        run
    }

    #[test]
    fn a_capacity_is_judged_by_what_is_known_of_it() {
        let between = [412.0, 398.0, 431.0].map(Some);
        let (least, most) = ([None, Some(500.0), None], [None, None, Some(100.0)]);
        for (capacity, that, expected) in [
            (between, "capacity_per_s > 397", Kept::Holds),
            (between, "capacity_per_s > 400", Kept::Open),
            (between, "capacity_per_s > 431", Kept::Broken),
            (between, "capacity_per_s < 398", Kept::Broken),
            (least, "capacity_per_s >= 500", Kept::Holds),
            (least, "capacity_per_s > 600", Kept::Open),
            (least, "capacity_per_s < 400", Kept::Broken),
            (most, "capacity_per_s > 400", Kept::Broken),
            (most, "capacity_per_s > 50", Kept::Open),
            (most, "capacity_per_s < 150", Kept::Holds),
            // it is not known
            ([None; 3], "capacity_per_s > 1", Kept::Broken),
        ] {
            assert_eq!(judged(&searched(&[that], capacity))[0].kept, expected, "{capacity:?} {that}");
        }
        let run = searched(&["capacity_per_s > 600", "capacity_per_s < 400"], least);
        let table = table(&judged(&run)).unwrap();
        assert!(table.rows().iter().all(|row| row[2].text == "at least 500.0"), "{table:?}");
    }

    #[test]
    fn of_a_search_the_capacity_alone_is_judged_and_without_one_all_but_that() {
        let search = searched(&["mean_ms < 1", "errors < 1", "capacity_per_s > 1"], [Some(2.0); 3]);
        let all = judged(&search);
        assert_eq!(all.iter().map(|it| it.kept).collect::<Vec<_>>(), [Kept::Unjudged, Kept::Unjudged, Kept::Holds]);
        assert!(!is_broken(&all) && table(&all).is_none());
        let words = "1 of 1 thresholds hold; not judged: mean_ms, errors, as this run searched for capacities, at loads \
                     below and above them";
        assert_eq!(summary(&search, &all).unwrap(), words);
        let plain = run(&["capacity_per_s > 1"]);
        let all = judged(&plain);
        let words =
            "No threshold is judged; not judged: capacity_per_s, as this run searched for no capacity (--capacity)";
        assert_eq!((is_broken(&all), summary(&plain, &all).unwrap().as_str()), (false, words));
    }

    #[test]
    fn goodput_and_the_farthest_percentile_have_thresholds() {
        let mut run = run(&["goodput_share >= 0.99", "goodput_per_s > 90", "p99_9_ms < 40", "p99_9_ms < 20"]);
        let without = judged(&run);
        assert!(without.iter().all(|it| it.kept == Kept::Broken));
        assert_eq!(table(&without[..1]).unwrap().rows()[0][2].text, "no number (no goodput_ms in [load])");
        let record = &mut run.records[0];
        (record.goodput_ms, record.goodput_share, record.goodput_per_s) = (Some(50.0), Some(0.985), Some(98.5));
        (record.p99_9_ms, record.p99_9_low_ms, record.p99_9_high_ms) = (Some(30.0), Some(20.0), Some(39.0));
        let kept: Vec<Kept> = judged(&run).iter().map(|it| it.kept).collect();
        assert_eq!(kept, [Kept::Broken, Kept::Holds, Kept::Holds, Kept::Broken]);
    }

    #[test]
    fn what_does_not_hold_is_told_with_its_number() {
        let run =
            run(&["mean_ms < 9", "mean_ms < 10", "errors < 10", "error_share < 0.01", "p90_ms < 1", "errors < 11"]);
        let judged = judged(&run);
        let words = "1 of 6 thresholds hold, 4 broken, 1 cannot be told, as their intervals have the bound in them";
        assert_eq!(summary(&run, &judged).unwrap(), words);
        let table = table(&judged).unwrap();
        let found: Vec<[&str; 2]> = table.rows().iter().map(|row| [&*row[2].text, &*row[3].text]).collect();
        let expected = [
            ["10.00 (9.000 to 11.00)", "broken"],
            ["10.00 (9.000 to 11.00)", "cannot be told"],
            ["10", "broken"],
            ["0.0100", "broken"],
            ["no number (ok)", "broken"],
        ];
        assert_eq!(found, expected);
        assert!(super::table(&judged[5..]).is_none() && is_broken(&judged));
    }

    #[test]
    fn cases_without_a_threshold_are_not_judged() {
        let mut run = run(&["mean_ms < 1"]);
        run.manifest.asserts[0].cases = Some(vec!["other".to_owned()]);
        let none = judged(&run);
        assert!(none.is_empty() && !is_broken(&none));
        assert_eq!(summary(&run, &none).unwrap(), "No case of this run has a threshold");
        run.manifest.asserts[0].cases = Some(vec![run.records[0].case.tag()]);
        assert_eq!(judged(&run).len(), 1);
        run.manifest.asserts.clear();
        assert_eq!(summary(&run, &[]), None);
    }
}
