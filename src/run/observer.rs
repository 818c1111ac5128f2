//! Reads the server's own statistics: of a block, before and after it over the control plane of the case's protocol,
//! and of a whole run. Must not know workers or rows.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connect::{LOOK, control};
use super::interrupt::stopped;
use crate::matrix::Protocol;
use crate::protocol::FaultKind;
use crate::protocol::control::Control;
use crate::protocol::control::statistics::Statistics;
use crate::record::CountCheck;
use crate::scenario::Scenario;

/// Longest lag of statistics behind the answers that they count; longer than the timeout of one read.
const LAG: Duration = Duration::from_secs(3);
/// Pause between two reads.
const PAUSE: Duration = Duration::from_millis(5);

/// Reads the statistics of a scenario's model, as long as the server gives them.
pub struct Observer<'a> {
    scenario: &'a Scenario,
    stop: &'a watch::Receiver<bool>,
    protocols: Vec<Observed>,
    /// Whether to wait for counts that lag: not again after they never came.
    patient: bool,
}

/// The state of one protocol.
struct Observed {
    protocol: Protocol,
    control: Control,
    /// Whether there ever was an answer.
    tells: bool,
    /// Why it is not asked again.
    given_up: Option<String>,
}

impl<'a> Observer<'a> {
    /// Connects nothing yet.
    pub fn new(scenario: &'a Scenario, stop: &'a watch::Receiver<bool>) -> Self {
        let observed = |protocol: &Protocol| {
            let control = control(scenario, *protocol, LOOK).ok()?;
            Some(Observed { protocol: *protocol, control, tells: false, given_up: None })
        };
        let protocols = scenario.matrix.protocols().iter().filter_map(observed).collect();
        Observer { scenario, stop, protocols, patient: true }
    }

    /// The current statistics; `None` if the server gives none. A server that timed out is not asked again, nor is
    /// one that never gave any: every read would cost a block its time.
    pub async fn read(&mut self, protocol: Protocol) -> Option<Statistics> {
        let model = &self.scenario.model;
        let observed = self.protocols.iter_mut().find(|observed| observed.protocol == protocol)?;
        if observed.given_up.is_some() {
            return None;
        }
        let answer = tokio::select! {
            answer = observed.control.statistics(&model.name, model.version.as_deref()) => answer,
            () = stopped(self.stop) => return None,
        };
        let fault = match answer {
            Ok(statistics) => {
                observed.tells = true;
                return Some(statistics);
            }
            Err(fault) => fault,
        };
        if fault.kind == FaultKind::Timeout {
            // silent over one protocol is silent over both
            self.protocols
                .iter_mut()
                .for_each(|observed| observed.given_up = Some(fault.message.clone()));
        } else if !observed.tells {
            observed.given_up = Some(fault.message);
        }
        None
    }

    /// Whether the server ever gave statistics over a protocol.
    pub fn tells(&self, protocol: Protocol) -> bool {
        self.protocols.iter().any(|observed| observed.protocol == protocol && observed.tells)
    }

    /// Why there are no statistics, or no more.
    pub fn silence(&self) -> Option<String> {
        let reason = |observed: &Observed| Some(format!("{}: {}", observed.protocol, observed.given_up.as_ref()?));
        let reasons: Vec<String> = self.protocols.iter().filter_map(reason).collect();
        (!reasons.is_empty()).then(|| reasons.join(", "))
    }

    /// The gain of the statistics since `before`, once they count `requests` requests.
    pub async fn gained(
        &mut self,
        protocol: Protocol,
        before: Option<&Statistics>,
        requests: u64,
    ) -> Option<Statistics> {
        let before = before?;
        let patient = self.patient;
        let enough = |gained: &Statistics| gained.success.count >= requests || !patient;
        let (gained, counted) = self.wait_for(protocol, before, enough).await?;
        self.patient &= counted;
        Some(gained)
    }

    /// Compares the server's count of items with the client's, once the server has counted the last answer.
    pub async fn count_check(
        &mut self,
        protocol: Protocol,
        before: &Statistics,
        measured: u64,
        prepared: u64,
    ) -> Option<CountCheck> {
        let check = |gained: &Statistics| CountCheck { server: gained.inference_count, measured, prepared };
        let enough = |gained: &Statistics| gained.cache_hit.count > 0 || check(gained).agrees();
        let (gained, _) = self.wait_for(protocol, before, enough).await?;
        // the count of inferences excludes what the cache answered; the rows are flagged
        (gained.cache_hit.count == 0).then(|| check(&gained))
    }

    /// The gain once it is enough, or the last one in time; and whether it was enough.
    async fn wait_for(
        &mut self,
        protocol: Protocol,
        before: &Statistics,
        enough: impl Fn(&Statistics) -> bool,
    ) -> Option<(Statistics, bool)> {
        let mut last = None;
        let looks = async {
            loop {
                let gained = self.read(protocol).await?.since(before)?;
                if enough(&gained) {
                    return Some(gained);
                }
                last = Some(gained);
                sleep(PAUSE).await;
            }
        };
        match timeout(LAG, looks).await {
            Ok(gained) => gained.map(|gained| (gained, true)),
            Err(_) => last.map(|gained| (gained, false)),
        }
    }
}
