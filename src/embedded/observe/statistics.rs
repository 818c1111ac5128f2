//! A model's statistics since it was loaded, counted as Triton's statistics extension does.
//!
//! Every successful request adds its own wait and the full duration of the execution that it was part of; the batch
//! statistics count each execution once. A request that never reached the queue is not counted.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::proto::{InferBatchStatistics, InferStatistics, ModelStatistics, StatisticDuration};

/// How long the phases of one execution took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Execution {
    /// Assembling the requests' inputs.
    pub compute_input: Duration,
    /// Executing the model.
    pub compute_infer: Duration,
    /// Splitting its outputs.
    pub compute_output: Duration,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    count: u64,
    ns: u64,
}

/// A model's cumulative statistics.
#[derive(Debug, Default)]
pub struct Statistics {
    last_inference_ms: u64,
    inference_count: u64,
    execution_count: u64,
    success: Sum,
    fail: Sum,
    queue: Sum,
    compute: [Sum; 3],
    batches: BTreeMap<usize, [Sum; 3]>,
}

impl Sum {
    fn add(&mut self, duration: Duration) {
        self.count += 1;
        self.ns += duration.as_nanos() as u64;
    }

    fn message(self) -> Option<StatisticDuration> {
        Some(StatisticDuration { count: self.count, ns: self.ns })
    }
}

impl Execution {
    fn parts(self) -> [Duration; 3] {
        [self.compute_input, self.compute_infer, self.compute_output]
    }
}

impl Statistics {
    /// Counts one execution of `items`.
    pub fn executed(&mut self, items: usize, execution: Execution) {
        self.execution_count += 1;
        let sums = self.batches.entry(items).or_default();
        for (sum, part) in sums.iter_mut().zip(execution.parts()) {
            sum.add(part);
        }
    }

    /// Counts a request of `items` that was answered `total` after it was admitted.
    pub fn succeeded(&mut self, items: usize, total: Duration, queue: Duration, execution: Execution) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_inference_ms = now.as_millis() as u64;
        self.inference_count += items as u64;
        self.success.add(total);
        self.queue.add(queue);
        for (sum, part) in self.compute.iter_mut().zip(execution.parts()) {
            sum.add(part);
        }
    }

    /// Counts a request that failed `total` after it was admitted.
    pub fn failed(&mut self, total: Duration) {
        self.fail.add(total);
    }

    /// The statistics extension's answer.
    pub fn message(&self, name: &str, version: u64) -> ModelStatistics {
        let [compute_input, compute_infer, compute_output] = self.compute.map(Sum::message);
        let zero = Sum::default().message();
        let batch_stats = self.batches.iter().map(|(size, sums)| {
            let [compute_input, compute_infer, compute_output] = sums.map(Sum::message);
            InferBatchStatistics { batch_size: *size as u64, compute_input, compute_infer, compute_output }
        });
        ModelStatistics {
            name: name.to_owned(),
            version: version.to_string(),
            last_inference: self.last_inference_ms,
            inference_count: self.inference_count,
            execution_count: self.execution_count,
            inference_stats: Some(InferStatistics {
                success: self.success.message(),
                fail: self.fail.message(),
                queue: self.queue.message(),
                compute_input,
                compute_infer,
                compute_output,
                cache_hit: zero,
                cache_miss: zero,
            }),
            batch_stats: batch_stats.collect(),
            // for decoupled models only
            response_stats: HashMap::new(),
            memory_usage: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_one_execution_each_count_all_of_it() {
        let ms = Duration::from_millis;
        let execution = Execution { compute_input: ms(1), compute_infer: ms(10), compute_output: ms(2) };
        let mut statistics = Statistics::default();
        statistics.executed(3, execution);
        statistics.succeeded(1, ms(20), ms(5), execution);
        statistics.succeeded(2, ms(18), ms(3), execution);
        statistics.failed(ms(4));
        let message = statistics.message("m", 1);
        assert_eq!((message.inference_count, message.execution_count), (3, 1));
        let sums = message.inference_stats.unwrap();
        let read = |sum: Option<StatisticDuration>| sum.map(|sum| (sum.count, sum.ns / 1_000_000));
        assert_eq!(read(sums.success), Some((2, 38)));
        assert_eq!(read(sums.queue), Some((2, 8)));
        assert_eq!(read(sums.compute_infer), Some((2, 20)));
        assert_eq!(read(sums.fail), Some((1, 4)));
        assert_eq!(message.batch_stats.len(), 1);
        assert_eq!(message.batch_stats[0].batch_size, 3);
        assert_eq!(read(message.batch_stats[0].compute_infer), Some((1, 10)));
    }
}
