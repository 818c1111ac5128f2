//! Request timeouts. One timer watches all requests of a worker, and sleeps until the oldest pending one would time
//! out: a timer for each request would cost as much as the rest of the loop, and the runtime reads the clock around
//! every wait while any of its timers is set. Must not know what requests are.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::pace::PreciseTimer;

/// Times out requests after `limit`.
pub struct DeadlineTimer {
    limit: Duration,
    waits: Vec<Rc<Wait>>,
}

/// The deadline of one request at a time.
pub struct Deadline {
    /// The timeout.
    pub limit: Duration,
    wait: Rc<Wait>,
}

#[derive(Default)]
struct Wait {
    /// Start of the pending request; `None` once it timed out, and while none is pending.
    started: Cell<Option<Instant>>,
    /// The task to wake on a timeout.
    waker: RefCell<Option<Waker>>,
}

impl DeadlineTimer {
    /// Without deadlines yet.
    pub fn new(limit: Duration) -> Self {
        DeadlineTimer { limit, waits: Vec::new() }
    }

    /// Returns a deadline, which this timer watches while [`DeadlineTimer::keep`] runs.
    pub fn deadline(&mut self) -> Deadline {
        let wait = Rc::<Wait>::default();
        self.waits.push(wait.clone());
        Deadline { limit: self.limit, wait }
    }

    /// Watches the deadlines forever.
    pub async fn keep(self) {
        let mut timer = PreciseTimer::new();
        loop {
            let now = Instant::now();
            // requests that start meanwhile time out later than this
            let mut next = now + self.limit;
            for wait in &self.waits {
                match wait.started.get().map(|started| started + self.limit) {
                    Some(due) if due <= now => wait.end(),
                    Some(due) => next = next.min(due),
                    None => {}
                }
            }
            timer.sleep(next - now).await;
        }
    }
}

impl Wait {
    fn end(&self) {
        self.started.set(None);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Deadline {
    /// Returns the output of a request that started at an instant; `None` if it times out.
    pub async fn with<T>(&mut self, started: Instant, mut request: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let wait = &*self.wait;
        wait.started.set(Some(started));
        let outcome = poll_fn(|context| match request.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if wait.started.get().is_none() => Poll::Ready(None),
            Poll::Pending => {
                wait.waker.replace(Some(context.waker().clone()));
                Poll::Pending
            }
        })
        .await;
        wait.started.set(None);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::pin::pin;

    use tokio::runtime::LocalRuntime;
    use tokio::task::{spawn_local, yield_now};

    use super::*;

    #[test]
    fn each_request_has_all_of_its_time_and_no_more() {
        LocalRuntime::new().unwrap().block_on(async {
            let limit = Duration::from_millis(20);
            let mut deadlines = DeadlineTimer::new(limit);
            let (mut one, mut other) = (deadlines.deadline(), deadlines.deadline());
            spawn_local(deadlines.keep());
            for _ in 0..2 {
                let started = Instant::now();
                let (first, second) = (pin!(pending::<()>()), pin!(pending::<()>()));
                let (first, second) = tokio::join!(one.with(started, first), other.with(started, second));
                assert_eq!((first, second), (None, None));
                assert!(started.elapsed() >= limit);
                // an earlier timeout is forgotten
                let soon = pin!(async { yield_now().await });
                assert_eq!(one.with(Instant::now(), soon).await, Some(()));
            }
        });
    }
}
