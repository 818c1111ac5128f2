//! Reasons to doubt a row although its status is `ok`.

use super::column::Cell;
use crate::spelling::{Spelled, spelled};

spelled! {
    /// A reason to doubt a row.
    #[allow(missing_docs)]
    pub enum Flag {
        Capped = "capped",
        Imprecise = "imprecise",
        Unsteady = "unsteady",
        ClientCeiling = "client_ceiling",
        ClientCpu = "client_cpu",
        ClientStall = "client_stall",
        Reconnects = "reconnects",
        InFlight = "in_flight",
        Drift = "drift",
        ServerCounts = "server_counts",
        NoStatistics = "no_statistics",
        OtherTraffic = "other_traffic",
        ResponseCache = "response_cache",
        FewRequests = "few_requests",
        AssumedEnd = "assumed_end",
        Resumed = "resumed",
        Clock = "clock",
        StartSkew = "start_skew",
        HostOutlier = "host_outlier",
    }
}

impl Flag {
    /// When it is raised, as in `docs/FORMAT.md`.
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
            Flag::Imprecise => "the longest time or the most rounds were over before the asked precision was reached",
            Flag::Unsteady => "latencies were not steady when the longest warm-up was over (`warmup_until`)",
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
            Flag::AssumedEnd => {
                "no block rules out a capacity beyond an end of the interval, which is then 0.74 or 1.35 times the load that was found"
            }
            Flag::Clock => {
                "a host's clock moved against the leader's during a block, or is known too poorly for the throughput: its error is more than 1 % of the time over which answers count"
            }
            Flag::StartSkew => {
                "of several hosts, one began later than the first by more than 1 % of the time over which answers count"
            }
            Flag::HostOutlier => {
                "a host's mean latency differs from the median of all hosts' by more than 20 % and beyond chance (`hosts.csv`)"
            }
            Flag::Resumed => {
                "measured after the run was taken up again with something that differs (`--resume-anyway`; `resumed` in `run.json`)"
            }
        }
    }

    /// The sentence of reports about flagged cases; `None` if a number of the row or a mark in the tables says it.
    pub fn sentence(self) -> Option<&'static str> {
        Some(match self {
            Flag::Capped => "ended by its longest time, before all that was asked for was measured",
            Flag::Imprecise => "ended before the ratios were as precise as asked for",
            Flag::Unsteady => "latencies were not steady when measuring began, although they were waited for",
            Flag::ClientCpu => "a client process was busy nearly all the time: the client may be the bottleneck",
            Flag::ClientStall => {
                "a client process did not run for 0.1 s or longer (client_stall_ms): the requests in flight then look slow, \
                 whatever the server did"
            }
            Flag::Reconnects => {
                "more than 1 % of the requests began with a new connection, which is in their latency: the server or a proxy \
                 closes connections"
            }
            Flag::InFlight => {
                "fewer requests were in flight than asked for (throughput times latency, Little's law): processes waited for \
                 one another at the ends of blocks, or the client for itself"
            }
            Flag::Drift => {
                "the second half of the blocks differs from the first beyond chance: the machine or the server changed"
            }
            Flag::ServerCounts => {
                "the server counted fewer requests than it answered: its parts of the latency are not exact"
            }
            Flag::NoStatistics => {
                "the server told its statistics, but not over all blocks: its parts of the latency are missing"
            }
            Flag::OtherTraffic => "the server counted more requests than were sent: others asked the model meanwhile",
            Flag::ResponseCache => "the server's response cache answered instead of the model",
            Flag::Resumed => "measured after the run was taken up again, with something that was not as before",
            Flag::Clock => {
                "a host's clock moved against the leader's, or is known too poorly (clock_error_ms): the throughput over all hosts \
                 is uncertain, latencies are not"
            }
            Flag::StartSkew => {
                "a host began later than the others (start_skew_ms): the throughput over all hosts is too low"
            }
            Flag::HostOutlier => {
                "one host's latencies differ from those of the others by more than 20 % and beyond chance (hosts.csv): percentiles \
                 over all hosts are those of a mixture"
            }
            Flag::AssumedEnd => {
                "no block rules out a capacity beyond an end of the interval, which is then 0.74 or 1.35 times the load that was found"
            }
            Flag::ClientCeiling | Flag::FewRequests => return None,
        })
    }
}

impl Flag {
    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Flag::Capped => "raise max_seconds_per_case, or ask for fewer requests",
            Flag::Imprecise => "raise max_seconds_per_case, or ask for less precision",
            Flag::Unsteady => {
                "raise warmup_s, or max_seconds_per_case where it cut the warm-up short; or allow more in warmup_until"
            }
            Flag::ClientCeiling | Flag::ClientCpu => {
                "spread the load over more processes, or over more machines: a faster client shows whether the server is the \
                 limit"
            }
            Flag::ClientStall => "measure on a machine with cores to spare, on which nothing else runs",
            Flag::Reconnects => {
                "keep connections open at the server or the proxy, or take their cost for what users see"
            }
            Flag::InFlight => "give longer blocks: fewer `blocks`, or more requests",
            Flag::Drift => "measure again, for longer, and see whether the machine or the server was still warming up",
            Flag::ServerCounts | Flag::NoStatistics => "take the parts of the latency from another run",
            Flag::OtherTraffic => "keep others from the model while it is measured",
            Flag::ResponseCache => "turn the model's response cache off, unless it is what you measure",
            Flag::Resumed => "measure the whole run again with one setup",
            Flag::Clock => "measure longer blocks, or from hosts that are nearer and whose clocks are steady",
            Flag::StartSkew => "see whether that host has cores to spare, and give longer blocks",
            Flag::HostOutlier => "see what is between that host and the server, and what else it does; or leave it out",
            Flag::FewRequests => "measure for longer: 200 independent requests for a 95th percentile, 1000 for a 99th",
            Flag::AssumedEnd => "search for longer: raise budget_s or --max-seconds",
        }
    }
}

/// The flags of a row, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags(Vec<Flag>);

impl Flags {
    /// The flags that are raised.
    pub fn raised(doubts: impl IntoIterator<Item = (Flag, bool)>) -> Self {
        Flags(doubts.into_iter().filter_map(|(flag, raised)| raised.then_some(flag)).collect())
    }

    /// The same, and those of `doubts` that are raised.
    pub fn with(mut self, doubts: impl IntoIterator<Item = (Flag, bool)>) -> Self {
        for (flag, _) in doubts.into_iter().filter(|(_, raised)| *raised) {
            if !self.has(flag) {
                self.0.push(flag);
            }
        }
        self
    }

    /// Whether `flag` is raised.
    pub fn has(&self, flag: Flag) -> bool {
        self.0.contains(&flag)
    }

    /// Whether no flag is raised.
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
