//! Samples the server's metrics once a second while a case is measured, into `metrics.csv`. Must not know what is measured.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::interrupt::stopped;
use crate::address::Address;
use crate::protocol::FaultKind;
use crate::protocol::control::metrics::{Metrics, Sample};
use crate::record::{self, MetricRow, MetricsOf};
use crate::report::terminal::say;

/// Time between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// State shared by the sampler and the run.
#[derive(Default)]
struct Shared {
    /// The case under measurement.
    case: Option<String>,
    samples: u64,
    /// Why there are no more samples.
    fault: Option<String>,
}

/// Samples in the background until it is finished.
pub struct Sampler {
    shared: Arc<Mutex<Shared>>,
    task: Option<JoinHandle<()>>,
    address: Option<Address>,
}

impl Sampler {
    /// Starts sampling if the server's metrics can be read; `finish` reports why they cannot.
    pub async fn start(address: Option<Address>, file: PathBuf, stop: &watch::Receiver<bool>) -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let sampler = |task| Sampler { shared: shared.clone(), task, address: address.clone() };
        let Some(at) = &address else { return sampler(None) };
        let first = match Metrics::new(at) {
            Ok(metrics) => tokio::select! {
                read = metrics.read() => read.map(|_| metrics),
                () = stopped(stop) => return sampler(None),
            },
            Err(fault) => Err(fault),
        };
        match first {
            Ok(metrics) => sampler(Some(tokio::spawn(sample(metrics, shared.clone(), file)))),
            Err(fault) => {
                if fault.kind == FaultKind::Timeout {
                    say(&format!("no metrics from {at}: {fault}; they are not asked for again"));
                }
                lock(&shared).fault = Some(fault.message);
                sampler(None)
            }
        }
    }

    /// Sets the case that is measured from now on, if any.
    pub fn during(&self, case: Option<String>) {
        lock(&self.shared).case = case;
    }

    /// Ends, and reports what was read.
    pub fn finish(self) -> MetricsOf {
        if let Some(task) = self.task {
            task.abort();
        }
        let shared = lock(&self.shared);
        let address = self.address.map(|address| address.to_string());
        MetricsOf { address, samples: shared.samples, fault: shared.fault.clone() }
    }
}

async fn sample(metrics: Metrics, shared: Arc<Mutex<Shared>>, file: PathBuf) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(case) = lock(&shared).case.clone() else { continue };
        let read = metrics.read().await;
        let silent = read.as_ref().is_err_and(|fault| fault.kind == FaultKind::Timeout);
        let samples = read.map_err(|fault| fault.message);
        let written = samples.and_then(|samples| write(&file, &case, &samples).map_err(|error| format!("{error:#}")));
        let mut shared = lock(&shared);
        match written {
            Ok(()) => (shared.samples, shared.fault) = (shared.samples + 1, None),
            Err(words) => shared.fault = Some(words),
        }
        if silent {
            return;
        }
    }
}

fn write(file: &std::path::Path, case: &str, samples: &[Sample]) -> anyhow::Result<()> {
    let time = Timestamp::now().into();
    let row = |sample: &Sample| MetricRow {
        time,
        case: case.to_owned(),
        metric: sample.metric.clone(),
        labels: sample.labels.clone(),
        value: sample.value,
    };
    record::append_all(file, &samples.iter().map(row).collect::<Vec<_>>())
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
