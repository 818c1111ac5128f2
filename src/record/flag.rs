//! What makes a row doubtful though its status is `ok`.

use super::column::Cell;
use crate::spelling::{Spelled, spelled};

spelled! {
    /// A doubt.
    #[allow(missing_docs)]
    pub enum Flag {
        ClientCeiling = "client_ceiling",
        ClientCpu = "client_cpu",
        ClientStall = "client_stall",
        Reconnects = "reconnects",
        Capped = "capped",
        InFlight = "in_flight",
        Drift = "drift",
        ServerCounts = "server_counts",
        NoStatistics = "no_statistics",
        OtherTraffic = "other_traffic",
        ResponseCache = "response_cache",
        FewRequests = "few_requests",
    }
}

impl Flag {
    /// When it is raised, as `docs/FORMAT.md` says it.
    pub fn condition(self) -> &'static str {
        match self {
            Flag::ClientCeiling => {
                "the rate is within 20 % of what the client reaches where a server answers at once (`--calibrate`)"
            }
            Flag::ClientCpu => "the client's processes were busy for 90 % of the time",
            Flag::ClientStall => "a client process did not run for 0.1 s or longer while requests were timed",
            Flag::Reconnects => "more than 1 % of the requests began with a new connection",
            Flag::Capped => {
                "a longest time ended the case before the requests or the time that were asked for; `--quick` asks for none"
            }
            Flag::InFlight => {
                "closed loop without errors: throughput times latency (Little's law) is more than 5 % off the requests that \
                 should be in flight"
            }
            Flag::Drift => "the second half of the blocks differs from the first by more than their intervals and 1 %",
            Flag::ServerCounts => "the server counted fewer requests than were answered",
            Flag::NoStatistics => {
                "the server told its statistics, but not over all blocks of the case: it was restarted, or fell silent"
            }
            Flag::OtherTraffic => "the server counted more requests than were sent",
            Flag::ResponseCache => "the response cache answered",
            Flag::FewRequests => "too few independent requests for a percentile of the table",
        }
    }
}

/// The doubts of a row, none of them twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(Vec<Flag>);

impl Flags {
    /// Those of some doubts that are raised.
    pub fn raised(doubts: impl IntoIterator<Item = (Flag, bool)>) -> Self {
        Flags(doubts.into_iter().filter_map(|(flag, raised)| raised.then_some(flag)).collect())
    }

    /// Whether one is raised.
    pub fn has(&self, flag: Flag) -> bool {
        self.0.contains(&flag)
    }

    /// Whether none is raised.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Cell for Flags {
    const KIND: &'static str = "words";

    fn text(&self) -> String {
        self.0.iter().map(|flag| flag.name()).collect::<Vec<_>>().join(" ")
    }

    fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().map(Flag::spelled).collect::<Option<_>>().map(Flags)
    }
}

impl std::fmt::Display for Flags {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text())
    }
}
