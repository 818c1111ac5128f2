//! The form of a recorder between processes, and in a run's files. Knows no other module.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};

use super::{DIGITS, Distribution, HIGHEST_NS, Recorder, Sequence};

/// A recorder's form between processes.
#[derive(Debug, Serialize, Deserialize)]
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
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| anyhow::anyhow!("the histogram cannot be read: {error:?}"))?;
        ensure!(read.high() == HIGHEST_NS && read.sigfig() == DIGITS, "the histogram has other bounds");
        let mut distribution = Distribution::default();
        distribution
            .histogram
            .add(&read)
            .map_err(|error| anyhow::anyhow!("the histogram does not fit: {error:?}"))?;
        distribution.sum_ns = snapshot.sum_ns.parse().context("sum_ns")?;
        distribution.sum_of_squares = snapshot.sum_of_squares.parse().context("sum_of_squares")?;
        distribution.min_ns = snapshot.min_ns;
        distribution.max_ns = snapshot.max_ns;
        Ok(distribution)
    }
}
