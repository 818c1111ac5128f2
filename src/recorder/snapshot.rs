//! The form of a recorder between processes, and in a run's files. Knows no other module.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::{Distribution, HIGHEST_NS, Part, Recorder, Sequence, decoded};

/// More than a run of years counts, and so little that sums of such counts do not overflow.
const COUNT_MAX: u64 = 1 << 48;

/// A recorder's form between processes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct RecorderSnapshot {
    distributions: Vec<DistributionSnapshot>,
    sequence: Sequence,
    errors: BTreeMap<String, u64>,
}

/// A distribution's form between processes: the histogram in HdrHistogram's V2 format, the sums in decimal.
#[derive(Debug, Serialize, Deserialize)]
struct DistributionSnapshot {
    histogram: String,
    sum_ns: String,
    sum_of_squares: String,
    min_ns: u64,
    max_ns: u64,
}

/// The form of a part of the requests between processes.
#[derive(Debug, Serialize, Deserialize)]
pub struct PartSnapshot {
    latency: DistributionSnapshot,
    errors: u64,
}

impl Part {
    /// Converts for sending to another process.
    ///
    /// # Errors
    /// The histogram cannot be serialised.
    pub fn to_snapshot(&self) -> Result<PartSnapshot> {
        Ok(PartSnapshot { latency: self.latency.to_snapshot()?, errors: self.errors })
    }

    /// Converts from another process's snapshot.
    ///
    /// # Errors
    /// The snapshot is not one that [`Part::to_snapshot`] makes.
    pub fn from_snapshot(snapshot: PartSnapshot) -> Result<Self> {
        ensure!(snapshot.errors <= COUNT_MAX, "there are too many errors");
        Ok(Part { latency: Distribution::from_snapshot(snapshot.latency)?, errors: snapshot.errors })
    }
}

impl Recorder {
    /// Converts for sending to another process.
    ///
    /// # Errors
    /// The histogram cannot be serialised.
    pub fn to_snapshot(&self) -> Result<RecorderSnapshot> {
        let distributions = self.distributions().into_iter().map(Distribution::to_snapshot).collect::<Result<_>>()?;
        Ok(RecorderSnapshot { distributions, sequence: self.sequence.clone(), errors: self.errors.clone() })
    }

    /// Converts from another process's snapshot.
    ///
    /// # Errors
    /// The snapshot is not one that [`Recorder::to_snapshot`] makes.
    pub fn from_snapshot(snapshot: RecorderSnapshot) -> Result<Self> {
        let mut recorder = Recorder { sequence: snapshot.sequence, errors: snapshot.errors, ..Recorder::default() };
        ensure!(snapshot.distributions.len() == recorder.distributions().len(), "a distribution is missing");
        for (mine, snapshot) in recorder.distributions_mut().into_iter().zip(snapshot.distributions) {
            *mine = Distribution::from_snapshot(snapshot)?;
        }
        ensure!(recorder.errors.values().all(|count| *count <= COUNT_MAX), "there are too many errors");
        ensure!(recorder.sequence.is_of(recorder.count()), "the batches are not those of the latencies");
        Ok(recorder)
    }
}

impl Distribution {
    fn to_snapshot(&self) -> Result<DistributionSnapshot> {
        let mut bytes = Vec::new();
        let written = V2Serializer::new().serialize(&self.histogram, &mut bytes);
        written.map_err(|error| anyhow::anyhow!("the histogram cannot be serialised: {error:?}"))?;
        Ok(DistributionSnapshot {
            histogram: STANDARD.encode(bytes),
            sum_ns: self.sum_ns.to_string(),
            sum_of_squares: self.sum_of_squares.to_string(),
            min_ns: self.min_ns,
            max_ns: self.max_ns,
        })
    }

    fn from_snapshot(snapshot: DistributionSnapshot) -> Result<Self> {
        let bytes = STANDARD.decode(&snapshot.histogram).context("the histogram is not base64")?;
        let distribution = Distribution {
            histogram: decoded(&bytes)?,
            sum_ns: snapshot.sum_ns.parse().context("sum_ns")?,
            sum_of_squares: snapshot.sum_of_squares.parse().context("sum_of_squares")?,
            min_ns: snapshot.min_ns,
            max_ns: snapshot.max_ns,
        };
        ensure!(distribution.is_consistent(), "the exact numbers are not those of the histogram");
        Ok(distribution)
    }

    /// Whether the exact numbers are possible, given the histogram.
    fn is_consistent(&self) -> bool {
        let Distribution { histogram, sum_ns, sum_of_squares, min_ns, max_ns } = self;
        let count = histogram.len();
        if count == 0 {
            return *self == Distribution::default();
        }
        let (least, most, all) = (u128::from(*min_ns), u128::from(*max_ns), u128::from(count));
        let alike = |exact: u64, found: u64| histogram.equivalent(exact.min(HIGHEST_NS), found);
        count <= COUNT_MAX
            && alike(*min_ns, histogram.min())
            && alike(*max_ns, histogram.max())
            && (all * least..=all * most).contains(sum_ns)
            && (least.saturating_mul(*sum_ns)..=most.saturating_mul(*sum_ns)).contains(sum_of_squares)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::recorder::RequestTiming;

    fn snapshot() -> Value {
        let mut recorder = Recorder::default();
        for latency in [1_000_000, 1_200_000, 5_000_000] {
            recorder.record(RequestTiming { latency, ..RequestTiming::default() });
        }
        recorder.record_error("timeout");
        serde_json::to_value(recorder.to_snapshot().unwrap()).unwrap()
    }

    fn read(snapshot: Value) -> Result<Recorder> {
        Recorder::from_snapshot(serde_json::from_value(snapshot).unwrap())
    }

    #[test]
    fn a_part_arrives_as_it_was() {
        let mut part = Part::default();
        [Some(1_000_000), None, Some(5_000_000)]
            .into_iter()
            .for_each(|latency| part.record(latency));
        let sent = serde_json::to_string(&part.to_snapshot().unwrap()).unwrap();
        assert_eq!(Part::from_snapshot(serde_json::from_str(&sent).unwrap()).unwrap(), part);
        let mut all = Vec::new();
        Part::merge_all(&mut all, &[Part::default(), part.clone()]);
        Part::merge_all(&mut all, &[part]);
        assert_eq!(all.iter().map(|part| (part.latency.count(), part.errors)).collect::<Vec<_>>(), [(2, 1), (2, 1)]);
        let many = sent.replace("\"errors\":1", &format!("\"errors\":{}", u64::MAX));
        assert!(Part::from_snapshot(serde_json::from_str(&many).unwrap()).is_err());
    }

    #[test]
    fn numbers_that_contradict_the_histogram_or_cannot_be_added_are_refused() {
        read(snapshot()).unwrap();
        for (place, value, words) in [
            ("/distributions/0/min_ns", json!(6_000_000), "not those of the histogram"),
            ("/distributions/0/min_ns", json!(900_000), "not those of the histogram"),
            ("/distributions/0/max_ns", json!(u64::MAX), "not those of the histogram"),
            ("/distributions/0/sum_ns", json!("72"), "not those of the histogram"),
            ("/distributions/0/sum_ns", json!(u128::MAX.to_string()), "not those of the histogram"),
            ("/distributions/0/sum_of_squares", json!("7"), "not those of the histogram"),
            // no request has a service time
            ("/distributions/1/sum_ns", json!("7"), "not those of the histogram"),
            ("/distributions/1/min_ns", json!(7), "not those of the histogram"),
            ("/errors/timeout", json!(u64::MAX), "too many errors"),
            ("/sequence/levels/0/count", json!(4), "not those of the latencies"),
            ("/sequence/levels/1/count", json!(2), "not those of the latencies"),
            ("/sequence/levels/0/squares", json!(-1), "not those of the latencies"),
            (
                "/sequence/levels",
                json!(vec![json!({"count": 0, "mean": 0, "squares": 0}); 65]),
                "not those of the latencies",
            ),
        ] {
            let mut damaged = snapshot();
            *damaged.pointer_mut(place).unwrap() = value.clone();
            let error = read(damaged).err().unwrap_or_else(|| panic!("{place}: {value} is taken"));
            assert!(error.to_string().contains(words), "{place}: {error}");
        }
    }
}
