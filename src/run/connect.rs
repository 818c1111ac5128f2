//! Finds a scenario's server, and connects its control plane over a protocol. Must not know what is asked there.

use std::time::Duration;

use tokio::sync::watch;

use super::interrupt::stopped;
use crate::matrix::Protocol;
use crate::protocol::control::Control;
use crate::protocol::{Fault, stream};
use crate::scenario::Scenario;

/// Timeout for what a run can do without: a server's name, a model's configuration, its statistics.
pub const LOOK: Duration = Duration::from_secs(2);

/// The control plane over a protocol, with the timeout of an answer.
pub fn control(scenario: &Scenario, protocol: Protocol, limit: Duration) -> Result<Control, Fault> {
    let address = scenario.server.address(protocol);
    match protocol {
        Protocol::Http => Control::http(address, limit),
        Protocol::Grpc => Ok(Control::grpc(address, limit)),
    }
}

/// Finds out which of a name's addresses answers, and keeps it for the whole run.
pub async fn find(scenario: &mut Scenario, stop: &watch::Receiver<bool>) {
    for protocol in scenario.matrix.protocols() {
        let peer = tokio::select! {
            peer = stream::answering(&scenario.server.address(protocol).authority) => peer,
            () = stopped(stop) => return,
        };
        scenario.server.address_mut(protocol).peer = peer;
    }
}
