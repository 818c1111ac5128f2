//! Bounds that a load has to keep: percentiles of response times and shares of errors, as scenarios and options spell them.

use std::time::Duration;

/// The percentiles that may have a bound: their names, and the shares of requests that may take longer.
const PERCENTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.1), ("p95", 0.05), ("p99", 0.01), ("p99_9", 0.001)];
/// The name of the share of requests that fail.
const ERRORS: &str = "errors";

/// A bound: that of a percentile of response times, in milliseconds, or of the share of requests that fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    name: &'static str,
    most: f64,
}

impl Bound {
    /// The keys of all bounds in a file.
    pub const KEYS: [&str; 6] = ["p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms", ERRORS];

    /// The bound of a key in a file.
    ///
    /// # Errors
    /// What was expected, and the remedy.
    pub fn of_key(key: &str, most: f64) -> Result<Self, (String, String)> {
        let names = PERCENTILES.iter().map(|(name, _)| *name).chain([ERRORS]);
        let bare = key.strip_suffix("_ms").unwrap_or(key);
        let Some(name) = names.into_iter().find(|name| *name == bare) else {
            let known = PERCENTILES.map(|(name, _)| name).join(", ");
            return Err((
                format!("a bound of {known} or {ERRORS}"),
                "write it as \"p99<50ms\", or \"p99<50ms,errors<0.1%\"".to_owned(),
            ));
        };
        let fits = if name == ERRORS {
            (0.0..1.0).contains(&most) && most > 0.0
        } else {
            (0.001..=3_600_000.0).contains(&most)
        };
        match fits {
            true => Ok(Bound { name, most }),
            false if name == ERRORS => Err((
                "a share of errors above 0 and below 1".to_owned(),
                "give the part of requests that may fail, such as 0.001".to_owned(),
            )),
            false => Err((
                "from 0.001 to 3600000 milliseconds".to_owned(),
                "give the milliseconds that the percentile may be, such as 50".to_owned(),
            )),
        }
    }

    /// The share of requests that may break it.
    pub fn level(&self) -> f64 {
        PERCENTILES
            .iter()
            .find(|(name, _)| *name == self.name)
            .map_or(self.most, |(_, share)| *share)
    }

    /// The longest time it allows; `None` for errors.
    pub fn limit(&self) -> Option<Duration> {
        (self.name != ERRORS).then(|| Duration::from_secs_f64(self.most / 1e3))
    }

    /// Its key in a file.
    pub fn key(&self) -> String {
        if self.name == ERRORS { ERRORS.to_owned() } else { format!("{}_ms", self.name) }
    }

    /// In words: `p99 within 50 ms`.
    pub fn words(&self) -> String {
        match self.name {
            ERRORS => format!("at most {} % errors", self.most * 100.0),
            name => format!("{} within {} ms", name.replace('_', "."), self.most),
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} <= {}", self.key(), self.most)
    }
}

/// Bounds in words, such as `p99 within 50 ms and at most 0.1 % errors`.
pub fn words(bounds: &[Bound]) -> String {
    bounds.iter().map(Bound::words).collect::<Vec<_>>().join(" and ")
}

/// Reads bounds as options spell them: `p99<50ms`, `p99 <= 0.2 s, errors < 0.1%`.
///
/// # Errors
/// What was expected, and the remedy.
pub fn bounds(text: &str) -> Result<Vec<Bound>, (String, String)> {
    let one = |part: &str| {
        let split = part.split_once("<=").or_else(|| part.split_once('<'));
        let number = split.and_then(|(name, most)| Some((name.trim(), number(most.trim())?)));
        let Some((name, most)) = number else {
            return Bound::of_key("", 0.0);
        };
        Bound::of_key(name, most)
    };
    let found: Vec<Bound> = text.split(',').map(|part| one(part.trim())).collect::<Result<_, _>>()?;
    match (1..found.len()).find(|place| found[..*place].iter().any(|bound| bound.name == found[*place].name)) {
        Some(place) => Err((format!("one bound of {}", found[place].name), "leave one of the two out".to_owned())),
        None => Ok(found),
    }
}

/// A number with a unit: milliseconds, or a part.
fn number(text: &str) -> Option<f64> {
    let units = [("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("%", 1e-2)];
    let of_unit = |(unit, factor): &(&str, f64)| Some((text.strip_suffix(unit)?, *factor));
    let (digits, factor) = units.iter().find_map(of_unit).unwrap_or((text, 1.0));
    digits
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|value| value.is_finite())
        .map(|value| value * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_people_write_them() {
        for (text, expected) in [
            ("p99<50ms", "p99_ms <= 50"),
            ("p99_ms <= 50", "p99_ms <= 50"),
            ("p95 < 0.2 s", "p95_ms <= 200"),
            ("p99_9<750us", "p99_9_ms <= 0.75"),
            ("p99<50ms, errors<0.1%", "p99_ms <= 50, errors <= 0.001"),
            ("errors <= 0.25", "errors <= 0.25"),
        ] {
            let read = bounds(text).unwrap();
            let said = read.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            assert_eq!(said, expected);
            assert_eq!(bounds(&said).unwrap(), read);
        }
        let both = bounds("p99_9<50ms,errors<0.1%").unwrap();
        assert_eq!(words(&both), "p99.9 within 50 ms and at most 0.1 % errors");
        assert_eq!(both.iter().map(Bound::level).collect::<Vec<_>>(), [0.001, 0.001]);
        assert_eq!(both[0].limit(), Some(Duration::from_millis(50)));
    }

    #[test]
    fn what_is_no_bound_is_told() {
        for (text, expected) in [
            ("", "a bound of p50"),
            ("p98<50ms", "a bound of p50"),
            ("p99>50ms", "a bound of p50"),
            ("p99<many", "a bound of p50"),
            ("p99<0ms", "from 0.001 to 3600000 milliseconds"),
            ("p99<-1", "from 0.001 to 3600000 milliseconds"),
            ("errors<0", "a share of errors above 0 and below 1"),
            ("errors<100%", "a share of errors above 0 and below 1"),
            ("p99<50ms,p99<60ms", "one bound of p99"),
        ] {
            let (found, help) = bounds(text).unwrap_err();
            assert!(found.starts_with(expected) && !help.is_empty(), "{text}: {found}: {help}");
        }
    }
}
