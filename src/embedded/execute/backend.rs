//! The interface between scheduling and executing: a backend's input and output, and splitting a batch's outputs.

use std::time::Instant;

use bytes::Bytes;

use crate::embedded::error::Error;
use crate::embedded::execute::infer::{Answer, Tensor, ValidatedRequest};
use crate::embedded::model::config::{Config, Description};
use crate::embedded::observe::statistics::Execution;

/// Executes a model.
pub trait Backend: Send + Sync {
    /// Executes the requests as one batch. Their inputs agree in everything but the batch dimension.
    ///
    /// Returns one result per request, in order, and marks on `clock` where one phase ends and the next begins.
    fn execute(&self, requests: &[ValidatedRequest], clock: &mut Clock) -> Vec<Result<Answer, Error>>;
}

/// Times the phases of one execution.
pub struct Clock {
    started: Instant,
    input: Option<Instant>,
    infer: Option<Instant>,
}

impl Clock {
    /// Starts now.
    pub fn start() -> Self {
        Clock { started: Instant::now(), input: None, infer: None }
    }

    /// Marks the inputs as assembled.
    pub fn input_done(&mut self) {
        self.input = Some(Instant::now());
    }

    /// Marks the model as executed.
    pub fn infer_done(&mut self) {
        self.infer = Some(Instant::now());
    }

    /// When it started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Ends now. An unmarked phase has no length.
    pub fn stop(self) -> Execution {
        let end = Instant::now();
        let input = self.input.unwrap_or(self.started);
        let infer = self.infer.unwrap_or(input);
        Execution {
            compute_input: input - self.started,
            compute_infer: infer - input,
            compute_output: end - infer,
        }
    }
}

/// Splits a batch's output among its requests: `data` holds `item_bytes` bytes for each item of `item_shape`.
pub fn scatter(
    requests: &[ValidatedRequest],
    config: &Config,
    output: usize,
    item_shape: &[usize],
    data: &Bytes,
) -> Vec<Option<Tensor>> {
    let Description { name, datatype, .. } = &config.outputs[output];
    let items: usize = requests.iter().map(|request| request.batch).sum();
    let item_bytes = data.len() / items.max(1);
    let mut at = 0;
    let mut shares = Vec::with_capacity(requests.len());
    for request in requests {
        let share = at..at + request.batch * item_bytes;
        at = share.end;
        shares.push(request.outputs.contains(&output).then(|| Tensor {
            name: name.clone(),
            datatype: *datatype,
            shape: if config.max_batch_size > 0 {
                [&[request.batch], item_shape].concat()
            } else {
                item_shape.to_vec()
            },
            data: data.slice(share),
        }));
    }
    shares
}
