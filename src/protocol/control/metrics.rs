//! A server's metrics, in Prometheus' text format: those about the machine and about waiting requests.

use std::time::Duration;

use tokio::time::timeout;

use crate::address::Address;
use crate::protocol::Fault;
use crate::protocol::control::bounded::{too_late, whole};
use crate::protocol::web::{base_of, client};
use crate::text;

/// Timeout for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Prefixes of the metrics to keep: processors, memory, power, and waiting requests.
const KEPT: &[&str] = &["nv_gpu_", "nv_energy_", "nv_cpu_", "nv_inference_pending_request_count"];

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name of the metric.
    pub metric: String,
    /// `gpu_uuid="GPU-1"`, as the server wrote it, if it is safe to display.
    pub labels: String,
    /// The value.
    pub value: f64,
}

/// The metrics of a server at one address.
pub struct Metrics {
    client: reqwest::Client,
    url: String,
}

impl Metrics {
    /// Client for the metrics at an address.
    ///
    /// # Errors
    /// The client cannot be built.
    pub fn new(address: &Address) -> Result<Self, Fault> {
        Ok(Metrics { client: client(address, TIMEOUT)?, url: format!("{}/metrics", base_of(address)) })
    }

    /// The values now.
    ///
    /// # Errors
    /// No answer, or not one with metrics.
    pub async fn read(&self) -> Result<Vec<Sample>, Fault> {
        let exchange = async {
            let response = self.client.get(&self.url).send().await.and_then(reqwest::Response::error_for_status);
            whole(response.map_err(|error| Fault::of_transport(&error))?, "GET /metrics").await
        };
        let text = timeout(TIMEOUT, exchange).await.map_err(|_| too_late(TIMEOUT))??;
        Ok(parse(&String::from_utf8_lossy(&text)))
    }
}

/// The metrics to keep among the lines `name{labels} value`; leaves out values that are not numbers.
pub fn parse(answer: &str) -> Vec<Sample> {
    let sample = |line: &str| {
        let end = line.find(['{', ' ', '\t'])?;
        let (metric, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}')?,
            None => ("", rest),
        };
        let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
        Some(Sample { metric: text::name(metric), labels: text::message(labels), value })
            .filter(|sample| sample.value.is_finite())
    };
    let kept = |sample: &Sample| KEPT.iter().any(|name| sample.metric.starts_with(name));
    answer
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
        .filter(kept)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_machine_are_read() {
        let text = "# HELP nv_gpu_utilization GPU utilization rate [0.0 - 1.0)\n# TYPE nv_gpu_utilization gauge\n\
            nv_gpu_utilization{gpu_uuid=\"GPU-1\",note=\"a } b\"} 0.25\nnv_cpu_memory_used_bytes 2.5e9 1700000000\n\
            nv_inference_count{model=\"m\"} 7\nnv_inference_pending_request_count{model=\"m\",version=\"1\"} 3\n\
            nv_gpu_power_usage{gpu_uuid=\"GPU-1\"} NaN\nnv_gpu_power_limit\n\nnonsense\n";
        let sample =
            |metric: &str, labels: &str, value| Sample { metric: metric.to_owned(), labels: labels.to_owned(), value };
        assert_eq!(
            parse(text),
            [
                sample("nv_gpu_utilization", "gpu_uuid=\"GPU-1\",note=\"a } b\"", 0.25),
                sample("nv_cpu_memory_used_bytes", "", 2.5e9),
                sample("nv_inference_pending_request_count", "model=\"m\",version=\"1\"", 3.0),
            ]
        );
    }
}
