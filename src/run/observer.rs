//! What the server's own statistics say of a block: read before it and after it, over the control plane of the case's own
//! protocol. Must not know workers or rows.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;

use super::control;
use crate::protocol::control::Control;
use crate::protocol::statistics::Statistics;
use crate::scenario::{Protocol, Scenario};

/// Statistics may lag behind the answers that they count by so much.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Reads the statistics of a scenario's model.
pub struct Observer<'a> {
    scenario: &'a Scenario,
    controls: Vec<(Protocol, Control)>,
    /// Whether counts that lag are waited for: not again after they never came.
    patient: bool,
}

impl<'a> Observer<'a> {
    /// Nothing is connected yet.
    pub fn new(scenario: &'a Scenario) -> Self {
        Observer { scenario, controls: Vec::new(), patient: true }
    }

    /// The statistics now; `None` where the server does not tell.
    pub async fn read(&mut self, protocol: Protocol) -> Option<Statistics> {
        if !self.controls.iter().any(|(known, _)| *known == protocol) {
            self.controls.push((protocol, control(self.scenario, protocol).ok()?));
        }
        let (_, control) = self.controls.iter_mut().find(|(known, _)| *known == protocol)?;
        let model = &self.scenario.model;
        control.statistics(&model.name, model.version.as_deref()).await.ok()
    }

    /// What the statistics have gained since an earlier time, once so many requests are counted.
    pub async fn gained(
        &mut self,
        protocol: Protocol,
        before: Option<&Statistics>,
        requests: u64,
    ) -> Option<Statistics> {
        let before = before?;
        let begin = Timestamp::now();
        loop {
            let gained = self.read(protocol).await?.since(before)?;
            if gained.success.count >= requests || !self.patient {
                return Some(gained);
            }
            if Timestamp::now().duration_since(begin).unsigned_abs() > PATIENCE {
                self.patient = false;
                return Some(gained);
            }
            sleep(PAUSE).await;
        }
    }
}
