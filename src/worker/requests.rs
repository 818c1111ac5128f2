//! A worker's distinct requests, and the order in which they are sent. Must not know how requests are sent or timed.

use anyhow::Result;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::message::{Draw, Job};
use crate::protocol::{InputTensor, Request};
use crate::scenario::Input;
use crate::tensor::{Items, distinct_batches};

/// Makes a job's distinct requests, one after the other.
pub(super) struct Requests<'a> {
    job: &'a Job,
    inputs: Vec<Items>,
    left: u64,
    made: u64,
}

/// Most distinct requests, unless the scenario says how many.
const COUNT_MAX: u64 = 1_000_000;

impl<'a> Requests<'a> {
    /// As many as the job asks for; else as many as its data makes, up to the bound on memory.
    ///
    /// # Errors
    /// The input data cannot be obtained.
    pub fn of(job: &'a Job) -> Result<Self> {
        let inputs: Vec<Items> = job.inputs.iter().map(Input::items).collect::<Result<_>>()?;
        // generated data has no end, and what is beside it is sent once each
        let of_data = || {
            let finite = inputs.iter().filter(|input| input.count().is_some());
            distinct_batches(finite, job.items()).unwrap_or(1).min(COUNT_MAX)
        };
        let left = job.distinct.map_or_else(of_data, u64::from);
        Ok(Requests { job, inputs, left, made: 0 })
    }

    /// After how many items the inputs begin again together; `None` if some never do.
    pub fn repeats(&self) -> Option<u64> {
        distinct_batches(&self.inputs, 1)
    }

    /// The next one; `None` after the last.
    ///
    /// # Errors
    /// The input data cannot be obtained.
    pub fn next(&mut self) -> Result<Option<Request>> {
        if self.left == 0 {
            return Ok(None);
        }
        let (job, items) = (self.job, self.job.items());
        let mut inputs = Vec::new();
        for (input, from) in job.inputs.iter().zip(&mut self.inputs) {
            let (bytes, shape) = from.take(items)?;
            let batch = job.model.batching.then_some(items as u64);
            let shape = batch.into_iter().chain(shape.into_iter().map(|size| size as u64)).collect();
            inputs.push(InputTensor { name: input.name.clone(), datatype: input.datatype, shape, bytes });
        }
        self.left -= 1;
        self.made += 1;
        Ok(Some(Request {
            model: job.model.name.clone(),
            version: job.model.version.clone(),
            id: job.request_ids.then(|| self.made.to_string()),
            inputs,
            outputs: job.outputs.iter().map(|output| output.name.clone()).collect(),
            tensors: job.tensors,
            parameters: job.parameters.clone(),
        }))
    }
}

/// The order in which distinct requests are sent: again and again all of them, shuffled each time.
pub(super) struct Order {
    numbers: Vec<u32>,
    at: usize,
    generator: ChaCha8Rng,
}

impl Order {
    /// The order of `count` requests. The same draw always gives the same one.
    pub fn new(count: usize, draw: Draw) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(draw.seed);
        // beside the streams of arrivals, which have blocks below 2^31
        generator.set_stream((1 << 63) | (u64::from(draw.block) << 32) | u64::from(draw.process));
        Order { numbers: (0..count as u32).collect(), at: count, generator }
    }

    /// The number of the next request.
    pub fn next(&mut self) -> usize {
        if self.at >= self.numbers.len() {
            self.at = 0;
            if self.numbers.len() > 1 {
                self.numbers.shuffle(&mut self.generator);
            }
        }
        self.at += 1;
        self.numbers.get(self.at - 1).map_or(0, |number| *number as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(count: usize, draw: Draw, length: usize) -> Vec<usize> {
        let mut order = Order::new(count, draw);
        (0..length).map(|_| order.next()).collect()
    }

    #[test]
    fn every_request_is_sent_once_before_any_is_sent_again() {
        let numbers = order(7, Draw { seed: 1, block: 2, process: 0 }, 28);
        for pass in numbers.chunks(7) {
            let mut sorted = pass.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..7).collect::<Vec<_>>());
        }
        assert_ne!(numbers[..7], numbers[7..14]);
        assert_eq!(order(1, Draw::default(), 3), [0, 0, 0]);
    }

    #[test]
    fn the_same_draw_gives_the_same_order_and_others_give_others() {
        let draw = Draw { seed: 5, block: 1, process: 1 };
        assert_eq!(order(64, draw, 100), order(64, draw, 100));
        for other in [Draw { seed: 6, ..draw }, Draw { block: 2, ..draw }, Draw { process: 0, ..draw }] {
            assert_ne!(order(64, draw, 64), order(64, other, 64));
        }
    }
}
