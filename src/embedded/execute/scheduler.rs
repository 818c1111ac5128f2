//! One queue per model version, and the threads of its instances, which form batches and execute them. Must not know
//! how requests arrive or what executes them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::embedded::error::{Code, Error};
use crate::embedded::execute::backend::{Backend, Clock};
use crate::embedded::execute::batching::Batching;
use crate::embedded::execute::infer::{Answer, ValidatedRequest};
use crate::embedded::lock;
use crate::embedded::model::config::Config;
use crate::embedded::observe::request_log::{Entry, RequestLog, RequestTrace};
use crate::embedded::observe::statistics::{Execution, Statistics};
use crate::proto::ModelStatistics;

/// A model version that executes requests.
pub struct Scheduler {
    shared: Arc<Shared>,
    log: Option<RequestLog>,
}

struct Shared {
    config: Arc<Config>,
    version: u64,
    backend: Box<dyn Backend>,
    queue: Mutex<Queue>,
    changed: Condvar,
    statistics: Mutex<Statistics>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    /// An instance is waiting for its batch to grow: others leave the queue alone.
    forming: bool,
    closed: bool,
}

struct Pending {
    request: ValidatedRequest,
    admitted: Instant,
    answer: oneshot::Sender<Executed>,
}

/// A request's result, and how long its phases took.
struct Executed {
    answer: Result<Answer, Error>,
    queue: Duration,
    execution: Execution,
    total: Duration,
}

/// What to do with the queue now.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Execute this many requests.
    Take(usize),
    /// Wait this long for more requests.
    Wait(Duration),
}

impl Scheduler {
    /// Starts the instances.
    ///
    /// # Errors
    /// The system cannot start another thread.
    pub fn start(
        config: Arc<Config>,
        version: u64,
        backend: Box<dyn Backend>,
        log: Option<RequestLog>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            config,
            version,
            backend,
            queue: Mutex::default(),
            changed: Condvar::new(),
            statistics: Mutex::default(),
        });
        let scheduler = Scheduler { shared: shared.clone(), log };
        for index in 0..shared.config.instances {
            let shared = shared.clone();
            thread::Builder::new()
                .name(format!("instance-{index}"))
                .spawn(move || shared.instance())?;
        }
        Ok(scheduler)
    }

    /// Executes a request.
    ///
    /// # Errors
    /// The model fails, or is being unloaded.
    pub async fn infer(&self, request: ValidatedRequest, trace: &RequestTrace) -> Result<Answer, Error> {
        let (answer, answered) = oneshot::channel();
        let (items, admitted) = (request.batch, Instant::now());
        {
            let mut queue = lock(&self.shared.queue);
            if queue.closed {
                return Err(self.shared.unloaded());
            }
            queue.waiting.push_back(Pending { request, admitted, answer });
        }
        self.shared.changed.notify_all();
        let Ok(executed) = answered.await else { return Err(self.shared.unloaded()) };
        let Executed { answer, queue, execution, total } = executed;
        if let Some(log) = &self.log {
            let (model, ok) = (self.shared.config.name.clone(), answer.is_ok());
            trace.log(log, Entry { model, items, admitted, queue, execution, total, ok });
        }
        answer
    }

    /// Refuses queued and new requests; running ones finish.
    pub fn close(&self) {
        let mut queue = lock(&self.shared.queue);
        queue.closed = true;
        queue.waiting.clear();
        drop(queue);
        self.shared.changed.notify_all();
    }

    /// Its statistics since it was loaded.
    pub fn statistics(&self) -> ModelStatistics {
        lock(&self.shared.statistics).message(&self.shared.config.name, self.shared.version)
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn unloaded(&self) -> Error {
        Error::new(Code::Unavailable, format!("the model '{}' is being unloaded", self.config.name))
    }

    fn instance(&self) {
        while let Some(batch) = self.next_batch() {
            self.execute(batch);
        }
    }

    fn next_batch(&self) -> Option<Vec<Pending>> {
        let mut queue = lock(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            if queue.forming || queue.waiting.is_empty() {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            match decide(&self.config, &queue.waiting, Instant::now()) {
                Decision::Take(count) => {
                    let batch = queue.waiting.drain(..count).collect();
                    if !queue.waiting.is_empty() {
                        self.changed.notify_all();
                    }
                    return Some(batch);
                }
                Decision::Wait(time) => {
                    queue.forming = true;
                    queue = self.changed.wait_timeout(queue, time).unwrap_or_else(PoisonError::into_inner).0;
                    queue.forming = false;
                }
            }
        }
    }

    fn execute(&self, batch: Vec<Pending>) {
        let (waits, requests): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|pending| ((pending.admitted, pending.answer), pending.request))
            .unzip();
        let items = requests.iter().map(|request| request.batch).sum();
        let mut clock = Clock::start();
        let started = clock.started();
        let run = AssertUnwindSafe(|| self.backend.execute(&requests, &mut clock));
        let answers = catch_unwind(run).unwrap_or_else(|_| {
            let words = format!("the model '{}' failed in a way its backend did not expect", self.config.name);
            requests.iter().map(|_| Err(Error::internal(words.clone()))).collect()
        });
        let execution = clock.stop();
        let ended = Instant::now();
        let mut statistics = lock(&self.statistics);
        statistics.executed(items, execution);
        let mut ready = Vec::with_capacity(requests.len());
        for ((request, (admitted, sender)), answer) in requests.iter().zip(waits).zip(answers) {
            let (queue, total) = (started - admitted, ended - admitted);
            match answer {
                Ok(_) => statistics.succeeded(request.batch, total, queue, execution),
                Err(_) => statistics.failed(total),
            }
            ready.push((sender, Executed { answer, queue, execution, total }));
        }
        drop(statistics);
        // the inputs are freed before the clients get their answers, not while they send the next request
        drop(requests);
        for (sender, executed) in ready {
            // the client may have gone away
            let _ = sender.send(executed);
        }
    }
}

/// Decides how many queued requests form the next batch. The queue is not empty.
fn decide(config: &Config, waiting: &VecDeque<Pending>, now: Instant) -> Decision {
    let Some(Batching { preferred, max_queue_delay_us }) = &config.batching else {
        return Decision::Take(1);
    };
    let first = &waiting[0];
    let (mut items, mut count, mut best) = (0, 0, None);
    for pending in waiting {
        if items + pending.request.batch > config.max_batch_size || !alike(&first.request, &pending.request) {
            // a batch that cannot grow does not wait
            return Decision::Take(best.unwrap_or(count));
        }
        items += pending.request.batch;
        count += 1;
        if preferred.contains(&items) {
            best = Some(count);
        }
    }
    let delay = Duration::from_micros(*max_queue_delay_us);
    let waited = now.saturating_duration_since(first.admitted);
    match best {
        Some(best) => Decision::Take(best),
        None if items == config.max_batch_size || waited >= delay => Decision::Take(count),
        None => Decision::Wait(delay - waited),
    }
}

/// Whether two requests can share a batch: the same inputs, of the same shapes except for the batch dimension.
fn alike(one: &ValidatedRequest, other: &ValidatedRequest) -> bool {
    one.inputs.len() == other.inputs.len()
        && one
            .inputs
            .iter()
            .zip(&other.inputs)
            .all(|(a, b)| a.name == b.name && a.shape[1..] == b.shape[1..])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::embedded::execute::infer::Tensor;
    use crate::tensor::Datatype;

    const DELAY_US: u64 = 1000;

    fn config(max_batch_size: usize, batching: Option<&[usize]>) -> Config {
        let json = r#"{"backend": "loopback", "input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": [-1]}],
            "output": [{"name": "y", "data_type": "TYPE_UINT8", "dims": [1]}]}"#;
        let batching = batching.map(|sizes| Batching { preferred: sizes.to_vec(), max_queue_delay_us: DELAY_US });
        Config {
            max_batch_size,
            batching,
            ..Config::checked(Config::of_json(json, "m").unwrap(), "m").unwrap()
        }
    }

    /// A request of `batch` items with `side` elements each, if any: the input may be left out.
    fn pending(batch: usize, side: Option<usize>, admitted: Instant) -> Pending {
        let input = |side| Tensor {
            name: "x".to_owned(),
            datatype: Datatype::Uint8,
            shape: vec![batch, side],
            data: Bytes::from(vec![0; batch * side]),
        };
        let inputs = side.map(input).into_iter().collect();
        Pending {
            request: ValidatedRequest { inputs, outputs: vec![0], batch },
            admitted,
            answer: oneshot::channel().0,
        }
    }

    #[test]
    fn a_batch_is_as_large_as_it_may_be_and_waits_only_while_it_can_grow() {
        use Decision::{Take, Wait};
        let us = Duration::from_micros;
        let none: Option<&[usize]> = None;
        // largest batch, preferred sizes, the requests' items, microseconds that the first has waited, decision
        let cases = [
            (8, none, vec![1, 1, 1], 0, Take(1)),
            (0, none, vec![1, 1], 5000, Take(1)),
            (8, Some(&[][..]), vec![1], 0, Wait(us(1000))),
            (8, Some(&[]), vec![1, 2], 400, Wait(us(600))),
            (8, Some(&[]), vec![1, 2], 1000, Take(2)),
            (8, Some(&[]), vec![1, 2], 5000, Take(2)),
            (8, Some(&[]), vec![4, 4], 0, Take(2)),
            (8, Some(&[]), vec![8], 0, Take(1)),
            // the next does not fit: the batch before it cannot grow
            (8, Some(&[]), vec![5, 4], 0, Take(1)),
            (8, Some(&[]), vec![3, 3, 3], 0, Take(2)),
            (8, Some(&[]), vec![1; 20], 0, Take(8)),
            // the largest preferred size is taken at once
            (8, Some(&[4]), vec![1, 1, 1, 1], 0, Take(4)),
            (8, Some(&[4]), vec![1, 1, 1], 0, Wait(us(1000))),
            (8, Some(&[4]), vec![1, 1, 1], 1000, Take(3)),
            (8, Some(&[2, 4]), vec![1; 5], 0, Take(4)),
            (8, Some(&[4]), vec![1; 20], 0, Take(4)),
            (8, Some(&[4]), vec![3, 1, 7], 0, Take(2)),
            // a preferred size that was skipped does not count
            (8, Some(&[4]), vec![3, 3], 0, Wait(us(1000))),
            (8, Some(&[4]), vec![3, 3, 3], 0, Take(2)),
            (1, Some(&[]), vec![1, 1], 0, Take(1)),
        ];
        for (max_batch_size, preferred, requests, waited, expected) in cases {
            let admitted = Instant::now();
            let waiting = requests.iter().map(|batch| pending(*batch, Some(3), admitted)).collect();
            let decided = decide(&config(max_batch_size, preferred), &waiting, admitted + us(waited));
            assert_eq!(decided, expected, "{max_batch_size} {preferred:?} {requests:?} {waited}");
        }
    }

    #[test]
    fn requests_of_other_shapes_end_a_batch() {
        let now = Instant::now();
        for other in [Some(4), None] {
            let sides = [Some(3), Some(3), other, Some(3)];
            let mut waiting: VecDeque<_> = sides.iter().map(|side| pending(1, *side, now)).collect();
            assert_eq!(decide(&config(8, Some(&[])), &waiting, now), Decision::Take(2));
            waiting.drain(..2);
            assert_eq!(decide(&config(8, Some(&[])), &waiting, now), Decision::Take(1));
            waiting.drain(..1);
            assert_eq!(decide(&config(8, Some(&[])), &waiting, now), Decision::Wait(Duration::from_micros(DELAY_US)));
        }
    }

    #[test]
    fn a_closed_queue_refuses_those_that_wait() {
        let config = Arc::new(config(8, Some(&[])));
        let backend = Box::new(crate::embedded::execute::loopback::Loopback::new(config.clone()).unwrap());
        // no instance: nothing is taken from the queue
        let config = Arc::new(Config { instances: 0, ..Config::clone(&config) });
        let scheduler = Scheduler::start(config, 1, backend, None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let request = || pending(1, Some(1), Instant::now()).request;
        let trace = RequestTrace { arrived: Instant::now(), pending: Arc::default() };
        let (waiting, ()) =
            runtime.block_on(async { tokio::join!(scheduler.infer(request(), &trace), async { scheduler.close() }) });
        assert_eq!(waiting.unwrap_err().code, Code::Unavailable);
        assert_eq!(runtime.block_on(scheduler.infer(request(), &trace)).unwrap_err().code, Code::Unavailable);
    }
}
