//! What a loopback model remembers of its executions: whether inputs are those of the one before, as a cache would, and how many
//! there were. Must not know how long anything takes otherwise.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::embedded::execute::infer::{Tensor, ValidatedRequest};
use crate::embedded::lock;

/// What a loopback model remembers.
#[derive(Default)]
pub struct Remembered {
    /// The service time of an execution of the same inputs as the one before.
    repeat_time: Option<Duration>,
    /// Executions before answers hold other values.
    right: Option<u64>,
    last: Mutex<Vec<Tensor>>,
    executions: AtomicU64,
}

impl Remembered {
    pub fn new(repeat_time: Option<Duration>, right: Option<u64>) -> Self {
        Remembered { repeat_time, right, ..Remembered::default() }
    }

    /// The service time of requests with the same inputs as those before, if they have one of their own.
    pub fn repeat_time(&self, requests: &[ValidatedRequest]) -> Option<Duration> {
        let time = self.repeat_time?;
        let inputs: Vec<Tensor> = requests.iter().flat_map(|request| &request.inputs).cloned().collect();
        let mut last = lock(&self.last);
        let is_repeated = *last == inputs;
        *last = inputs;
        is_repeated.then_some(time)
    }

    /// Counts an execution; returns whether its answers hold other values.
    pub fn is_wrong(&self) -> bool {
        let Some(right) = self.right else { return false };
        self.executions.fetch_add(1, Ordering::Relaxed) >= right
    }
}

/// Changes a tensor's first byte.
pub fn change(tensor: &mut Tensor) {
    let mut data = tensor.data.to_vec();
    if let Some(byte) = data.first_mut() {
        *byte = !*byte;
        tensor.data = data.into();
    }
}
