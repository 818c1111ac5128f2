//! Instants in the format of a run's files. Must not know clocks.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, Unit};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::column::Cell;

/// An instant in UTC, to the millisecond: `2026-01-31T12:00:00.000Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Utc(Timestamp);

impl JsonSchema for Utc {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Utc".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

impl From<Timestamp> for Utc {
    fn from(instant: Timestamp) -> Self {
        Utc(instant.round(Unit::Millisecond).unwrap_or(instant))
    }
}

impl Utc {
    /// The day and minute: `2026-01-31 12:00`.
    pub fn day(self) -> String {
        self.0.strftime("%Y-%m-%d %H:%M").to_string()
    }

    /// Milliseconds of the Unix epoch.
    pub fn milliseconds(self) -> i64 {
        self.0.as_millisecond()
    }
}

impl fmt::Display for Utc {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:.3}", self.0)
    }
}

impl FromStr for Utc {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        text.parse::<Timestamp>().map(Utc::from)
    }
}

impl Cell for Utc {
    const KIND: &'static str = "time";

    fn text(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Serialize for Utc {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Utc {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc_to_the_millisecond() {
        assert_eq!(Utc::default().to_string(), "1970-01-01T00:00:00.000Z");
        let instant: Utc = "2026-01-31T12:00:00.0014999Z".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-01-31T12:00:00.001Z");
        assert_eq!(serde_json::to_string(&instant).unwrap().parse::<serde_json::Value>().unwrap(), instant.to_string());
        assert_eq!(Utc::parse(&instant.text()), Some(instant));
        assert_eq!(Utc::parse("yesterday"), None);
    }
}
