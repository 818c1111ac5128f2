//! Thresholds of a case's numbers, as scenarios and options spell them: `p95_ms < 50`. Pure; knows no rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spelling::{nearest, spelled};

spelled! {
    /// A number of a case that can have a threshold, by its column in `records.csv`.
    #[allow(missing_docs)]
    pub enum Number {
        MeanMs = "mean_ms",
        P50Ms = "p50_ms",
        P90Ms = "p90_ms",
        P95Ms = "p95_ms",
        P99Ms = "p99_ms",
        P999Ms = "p99_9_ms",
        MaxMs = "max_ms",
        RequestsPerS = "requests_per_s",
        InferencesPerS = "inferences_per_s",
        GoodputPerS = "goodput_per_s",
        GoodputShare = "goodput_share",
        CapacityPerS = "capacity_per_s",
        Errors = "errors",
        /// Errors divided by all requests, from 0 to 1. Computed, as `records.csv` has no such column.
        ErrorShare = "error_share",
    }
}

spelled! {
    /// Which side of the bound is wanted.
    pub enum Side {
        /// At most the bound.
        AtMost = "<=",
        /// At least the bound.
        AtLeast = ">=",
        /// Less than the bound.
        Below = "<",
        /// More than the bound.
        Above = ">",
    }
}

/// A threshold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Threshold {
    /// The number.
    pub number: Number,
    /// The side that is wanted.
    pub side: Side,
    /// The bound, in the column's unit.
    pub bound: f64,
}

impl Threshold {
    /// Reads one.
    ///
    /// # Errors
    /// What was expected, and the remedy.
    pub fn read(text: &str) -> Result<Self, (String, String)> {
        const EXPECTED: &str = "a number of a case and its bound";
        // the longer spellings come first
        let split = Side::ALL.iter().find_map(|(word, side)| Some((text.split_once(word)?, *side)));
        let Some(((name, bound), side)) = split else {
            return Err((EXPECTED.to_owned(), "write it as \"p95_ms < 50\"".to_owned()));
        };
        let name = name.trim();
        let Some(number) = Number::ALL.iter().find(|(word, _)| *word == name).map(|(_, number)| *number) else {
            let near = nearest(name, Number::WORDS).map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
            let known = Number::WORDS.join(", ");
            return Err(("a number of a case".to_owned(), format!("{near}There are {known}")));
        };
        let bound = bound.trim().parse::<f64>().ok().filter(|bound| bound.is_finite());
        let bound = bound.ok_or_else(|| {
            let help = "write the number alone: milliseconds for latencies, a part from 0 to 1 for shares";
            ("a number as the bound".to_owned(), help.to_owned())
        })?;
        Ok(Threshold { number, side, bound })
    }

    /// Whether a value is on the wanted side.
    pub fn holds(&self, value: f64) -> bool {
        match self.side {
            Side::AtMost => value <= self.bound,
            Side::AtLeast => value >= self.bound,
            Side::Below => value < self.bound,
            Side::Above => value > self.bound,
        }
    }
}

impl std::fmt::Display for Threshold {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} {}", self.number, self.side, self.bound)
    }
}

impl From<Threshold> for String {
    fn from(threshold: Threshold) -> Self {
        threshold.to_string()
    }
}

impl TryFrom<String> for Threshold {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Threshold::read(&text).map_err(|(expected, _)| format!("{text:?} is not {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_read_as_it_is_written() {
        for (text, number, side, bound) in [
            ("p95_ms < 50", Number::P95Ms, Side::Below, 50.0),
            ("mean_ms<=1e1", Number::MeanMs, Side::AtMost, 10.0),
            (" requests_per_s >= 8.5 ", Number::RequestsPerS, Side::AtLeast, 8.5),
            ("capacity_per_s > 400", Number::CapacityPerS, Side::Above, 400.0),
            ("p99_9_ms < 100", Number::P999Ms, Side::Below, 100.0),
            ("goodput_share >= 0.99", Number::GoodputShare, Side::AtLeast, 0.99),
            ("errors > -1", Number::Errors, Side::Above, -1.0),
        ] {
            let read = Threshold::read(text).unwrap();
            assert_eq!(read, Threshold { number, side, bound });
            assert_eq!(Threshold::read(&read.to_string()).unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_threshold_is_told() {
        for (text, expected, help) in [
            ("p95_ms = 50", "a number of a case and its bound", "write it as"),
            ("", "a number of a case and its bound", "write it as"),
            ("p95 < 50", "a number of a case", "did you mean \"p95_ms\"? There are mean_ms, p50_ms"),
            ("latency < 50", "a number of a case", "There are mean_ms"),
            ("p95_ms < 50 ms", "a number as the bound", "write the number alone"),
            ("p95_ms < inf", "a number as the bound", "write the number alone"),
            ("p95_ms < 5 < 6", "a number as the bound", "write the number alone"),
        ] {
            let (found, remedy) = Threshold::read(text).unwrap_err();
            assert!(found == expected && remedy.contains(help), "{text}: {found}: {remedy}");
        }
    }

    #[test]
    fn the_bound_itself_is_on_one_side() {
        let holds = |text: &str| [4.0, 5.0, 6.0].map(|value| Threshold::read(text).unwrap().holds(value));
        assert_eq!(holds("errors < 5"), [true, false, false]);
        assert_eq!(holds("errors <= 5"), [true, true, false]);
        assert_eq!(holds("errors > 5"), [false, false, true]);
        assert_eq!(holds("errors >= 5"), [false, true, true]);
    }
}
