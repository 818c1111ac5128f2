//! The statistics extension: a model's work since the server's start. Sums only; readers take differences.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::proto;

/// A model's cumulative statistics. Every successful request adds its own wait, and the full duration of the
/// execution that it was part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Items inferred: a request of batch 4 counts 4. Excludes requests that the response cache answered.
    pub inference_count: u64,
    /// Executions of the model.
    pub execution_count: u64,
    /// Requests answered, also by the response cache, and their time in the server.
    pub success: Sum,
    /// Waiting for an instance of the model.
    pub queue: Sum,
    /// Assembling inputs.
    pub compute_input: Sum,
    /// Running the model.
    pub compute_infer: Sum,
    /// Splitting outputs.
    pub compute_output: Sum,
    /// Requests that the response cache answered.
    pub cache_hit: Sum,
}

/// The count of an event, and its total time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Sum {
    #[serde(deserialize_with = "number")]
    pub count: u64,
    #[serde(deserialize_with = "number")]
    pub ns: u64,
}

impl Statistics {
    /// The increase since an earlier time; `None` if the server restarted meanwhile.
    pub fn since(&self, before: &Statistics) -> Option<Statistics> {
        self.with(before, u64::checked_sub)
    }

    /// Both added up.
    pub fn plus(&self, other: &Statistics) -> Statistics {
        self.with(other, |a, b| Some(a.saturating_add(b))).unwrap_or_default()
    }

    fn with(&self, other: &Statistics, both: impl Fn(u64, u64) -> Option<u64>) -> Option<Statistics> {
        let sum = |a: Sum, b: Sum| Some(Sum { count: both(a.count, b.count)?, ns: both(a.ns, b.ns)? });
        Some(Statistics {
            inference_count: both(self.inference_count, other.inference_count)?,
            execution_count: both(self.execution_count, other.execution_count)?,
            success: sum(self.success, other.success)?,
            queue: sum(self.queue, other.queue)?,
            compute_input: sum(self.compute_input, other.compute_input)?,
            compute_infer: sum(self.compute_infer, other.compute_infer)?,
            compute_output: sum(self.compute_output, other.compute_output)?,
            cache_hit: sum(self.cache_hit, other.cache_hit)?,
        })
    }
}

/// The extension's answer; missing fields count as 0.
#[derive(Deserialize)]
pub struct AllStatistics {
    model_stats: Vec<OneVersion>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct OneVersion {
    #[serde(deserialize_with = "number")]
    inference_count: u64,
    #[serde(deserialize_with = "number")]
    execution_count: u64,
    inference_stats: Option<Parts>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
struct Parts {
    success: Option<Sum>,
    queue: Option<Sum>,
    compute_input: Option<Sum>,
    compute_infer: Option<Sum>,
    compute_output: Option<Sum>,
    cache_hit: Option<Sum>,
}

/// A count; gateways that translate gRPC write 64-bit numbers as strings.
fn number<'a, D: Deserializer<'a>>(from: D) -> Result<u64, D::Error> {
    let value = Option::<Value>::deserialize(from)?.unwrap_or(Value::from(0));
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| serde::de::Error::custom(format!("{value} is no count")))
}

impl From<&proto::ModelStatisticsResponse> for Statistics {
    fn from(message: &proto::ModelStatisticsResponse) -> Self {
        let sum = |sum: Option<proto::StatisticDuration>| sum.map(|sum| Sum { count: sum.count, ns: sum.ns });
        let one = |version: &proto::ModelStatistics| {
            let inference_stats = version.inference_stats.as_ref().map(|parts| Parts {
                success: sum(parts.success),
                queue: sum(parts.queue),
                compute_input: sum(parts.compute_input),
                compute_infer: sum(parts.compute_infer),
                compute_output: sum(parts.compute_output),
                cache_hit: sum(parts.cache_hit),
            });
            let proto::ModelStatistics { inference_count, execution_count, .. } = *version;
            OneVersion { inference_count, execution_count, inference_stats }
        };
        message.model_stats.iter().map(one).map(Statistics::from).sum()
    }
}

impl std::iter::Sum for Statistics {
    fn sum<I: Iterator<Item = Statistics>>(versions: I) -> Self {
        versions.fold(Statistics::default(), |sum, next| sum.plus(&next))
    }
}

impl From<OneVersion> for Statistics {
    fn from(version: OneVersion) -> Self {
        let parts = version.inference_stats.unwrap_or_default();
        Statistics {
            inference_count: version.inference_count,
            execution_count: version.execution_count,
            success: parts.success.unwrap_or_default(),
            queue: parts.queue.unwrap_or_default(),
            compute_input: parts.compute_input.unwrap_or_default(),
            compute_infer: parts.compute_infer.unwrap_or_default(),
            compute_output: parts.compute_output.unwrap_or_default(),
            cache_hit: parts.cache_hit.unwrap_or_default(),
        }
    }
}

impl AllStatistics {
    /// The sum over all versions of the model.
    pub fn sum(self) -> Statistics {
        self.model_stats.into_iter().map(Statistics::from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Statistics {
        serde_json::from_str::<AllStatistics>(text).unwrap().sum()
    }

    #[test]
    fn versions_are_summed_and_what_is_left_out_is_nothing() {
        let found = read(
            r#"{"model_stats": [
                {"name": "m", "inference_count": 3, "execution_count": 2,
                 "inference_stats": {"success": {"count": 2, "ns": 50}, "queue": {"ns": 7}, "cache_hit": null}},
                {"inference_count": 4, "execution_count": 1, "inference_stats": {"success": {"count": 1, "ns": 5}}},
                {"name": "idle"}
            ]}"#,
        );
        assert_eq!((found.inference_count, found.execution_count), (7, 3));
        assert_eq!((found.success, found.queue), (Sum { count: 3, ns: 55 }, Sum { count: 0, ns: 7 }));
    }

    #[test]
    fn a_server_that_restarted_has_no_difference() {
        let later = Statistics { inference_count: 7, success: Sum { count: 3, ns: 55 }, ..Statistics::default() };
        let before = Statistics { inference_count: 2, success: Sum { count: 1, ns: 5 }, ..Statistics::default() };
        let expected = Statistics { inference_count: 5, success: Sum { count: 2, ns: 50 }, ..Statistics::default() };
        assert_eq!(later.since(&before), Some(expected));
        assert_eq!(before.since(&later), None);
        assert_eq!(before.plus(&expected), later);
    }
}
