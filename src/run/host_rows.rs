//! The parts of hosts in a case: their rows, and what makes their sum doubtful. Must not know how blocks are measured.

use crate::matrix::Point;
use crate::record::{Columns, Flag, Flags, HostRecord, cpu_a_request, milliseconds, rate, rounded};
use crate::recorder::Recorder;
use crate::statistics::{self, Interval};
use crate::worker::message::Usage;
use crate::worker::outcome::{BlockOutcome, HostClock, HostPart};

/// From this fraction of the time over which answers count on, clocks or starts make the throughput uncertain.
const UNCERTAIN_SHARE: f64 = 0.01;
/// From this ratio on, and beyond chance, a host's mean latency is not that of the others.
const OUTLIER: f64 = 1.2;

/// The parts of hosts in a case's blocks.
#[derive(Default)]
pub struct HostTotals {
    hosts: Vec<HostSum>,
    /// Longest time between the starts of two workers in a block.
    start_skew_ns: Option<u64>,
    /// Largest error between two clocks.
    clock_error_ns: Option<u64>,
    /// Whether a block's starts were too far apart for its throughput.
    is_skewed: bool,
    /// Whether a block's clocks were known too poorly for its throughput.
    is_unclear: bool,
}

/// What one host measured.
struct HostSum {
    host: String,
    processes: u32,
    recorder: Recorder,
    window_ns: u64,
    usage: Usage,
    stall_ns: u64,
    start_late_ns: u64,
    /// Whether it began a block too late for the block's throughput.
    is_late: bool,
    clock: HostClock,
    /// The mean latency of its requests and the median of all hosts' means, block by block: one that is unlike the others makes none
    /// of them so.
    means: Vec<(f64, f64)>,
}

impl HostTotals {
    /// Adds a block.
    pub fn add(&mut self, block: &BlockOutcome) {
        let most = |known: Option<u64>, new: Option<u64>| known.max(new);
        self.start_skew_ns = most(self.start_skew_ns, block.start_skew_ns());
        self.clock_error_ns = most(self.clock_error_ns, block.clock_error_ns());
        if block.hosts.len() > 1 {
            let bearable = (block.window_ns() as f64 * UNCERTAIN_SHARE) as u64;
            self.is_skewed |= block.start_skew_ns() > Some(bearable);
            self.is_unclear |= block.clock_error_ns() > Some(bearable);
        }
        for part in &block.hosts {
            let place = self.hosts.iter().position(|known| known.host == part.host).unwrap_or_else(|| {
                self.hosts.push(HostSum::new(part));
                self.hosts.len() - 1
            });
            self.hosts[place].add(part, block);
        }
    }

    /// Longest time between the starts of two workers in a block, in milliseconds.
    pub fn start_skew_ms(&self) -> Option<f64> {
        self.start_skew_ns.map(|ns| milliseconds(ns as f64))
    }

    /// Largest error with which times of two hosts are compared, in milliseconds.
    pub fn clock_error_ms(&self) -> Option<f64> {
        self.clock_error_ns.map(|ns| milliseconds(ns as f64))
    }

    /// The flags of the case's row.
    pub fn flags(&self) -> [(Flag, bool); 3] {
        [
            (Flag::Clock, self.is_unclear || self.hosts.iter().any(|host| host.clock.moved_ns > 0)),
            (Flag::StartSkew, self.is_skewed),
            (Flag::HostOutlier, self.hosts.iter().any(HostSum::is_outlier)),
        ]
    }

    /// A row a host. `ceiling` is what its processes reach where a server answers at once; `busy` from which share of a core on
    /// a process is the bottleneck.
    pub fn rows(
        &self,
        scenario: &str,
        case: &Point,
        limits: &Limits<'_>,
        ceiling: impl Fn(&str) -> Option<f64>,
    ) -> Vec<HostRecord> {
        let row = |host: &HostSum| host.row(scenario, case, limits, ceiling(&host.host));
        self.hosts.iter().map(row).collect()
    }
}

/// From which values on a client may be the limit, as in the case's own row.
pub struct Limits<'a> {
    /// The cores that the program may use on a host.
    pub cores: &'a dyn Fn(&str) -> Option<usize>,
    /// The fraction of the ceiling.
    pub ceiling_share: f64,
    /// The fraction of a core.
    pub busy_share: f64,
    /// The length of a stall.
    pub stall_ns: u64,
}

impl HostSum {
    fn new(part: &HostPart) -> Self {
        HostSum {
            host: part.host.clone(),
            processes: 0,
            recorder: Recorder::default(),
            window_ns: 0,
            usage: Usage::default(),
            stall_ns: 0,
            start_late_ns: 0,
            is_late: false,
            clock: HostClock::default(),
            means: Vec::new(),
        }
    }

    fn add(&mut self, part: &HostPart, block: &BlockOutcome) {
        let HostPart { processes, clock, outcome, .. } = part;
        self.processes = self.processes.max(*processes);
        self.recorder.merge(&outcome.recorder);
        self.window_ns += outcome.window_ns();
        self.usage += outcome.usage;
        self.stall_ns = self.stall_ns.max(outcome.stall_ns);
        let late = outcome
            .begun_ns
            .zip(block.begun_ns)
            // the only one is late for nobody
            .filter(|_| block.hosts.len() > 1)
            .map(|((_, mine), (first, _))| mine.saturating_sub(first));
        self.start_late_ns = self.start_late_ns.max(late.unwrap_or(0));
        self.is_late |= late > Some((block.window_ns() as f64 * UNCERTAIN_SHARE) as u64);
        self.clock = HostClock {
            error_ns: self.clock.error_ns.max(clock.error_ns),
            moved_ns: self.clock.moved_ns.max(clock.moved_ns),
            ..*clock
        };
        if block.hosts.len() > 1 {
            let means = block.hosts.iter().filter_map(|host| host.outcome.recorder.latency.mean_ns()).collect();
            self.means.extend(outcome.recorder.latency.mean_ns().zip(statistics::median(means)));
        }
    }

    /// Its mean latency over the median of all hosts'.
    fn ratio(&self) -> Option<Interval> {
        statistics::ratio(&self.means).map(|ratio| ratio.interval)
    }

    fn is_outlier(&self) -> bool {
        self.ratio().is_some_and(|ratio| ratio.low > OUTLIER || ratio.high < 1.0 / OUTLIER)
    }

    fn row(&self, scenario: &str, case: &Point, limits: &Limits<'_>, ceiling: Option<f64>) -> HostRecord {
        let latency = Columns(&self.recorder.latency);
        let requests_per_s = rate(&self.recorder, self.window_ns);
        // processes that share fewer cores are busy sooner
        let cores = (limits.cores)(&self.host).map_or(self.processes, |cores| self.processes.min(cores as u32));
        let busy = limits.busy_share * self.window_ns as f64 * f64::from(cores);
        let at_ceiling = requests_per_s
            .zip(ceiling)
            .is_some_and(|(rate, most)| rate >= limits.ceiling_share * most);
        let ratio = self.ratio();
        HostRecord {
            scenario: scenario.to_owned(),
            case: case.clone(),
            host: self.host.clone(),
            host_processes: self.processes,
            flags: Flags::raised([
                (Flag::ClientCeiling, at_ceiling),
                (Flag::ClientCpu, self.window_ns > 0 && self.usage.cpu_ns() as f64 >= busy),
                (Flag::ClientStall, self.stall_ns >= limits.stall_ns),
                (Flag::Clock, self.clock.moved_ns > 0),
                (Flag::StartSkew, self.is_late),
                (Flag::HostOutlier, self.is_outlier()),
            ]),
            requests: self.recorder.count(),
            errors: self.recorder.error_count(),
            mean_ms: latency.mean(),
            p50_ms: latency.quantile(0.50),
            p95_ms: latency.quantile(0.95),
            p99_ms: latency.quantile(0.99),
            max_ms: latency.max(),
            mean_ratio: ratio.map(|ratio| rounded(ratio.value)),
            mean_ratio_low: ratio.map(|ratio| rounded(ratio.low)),
            mean_ratio_high: ratio.map(|ratio| rounded(ratio.high)),
            requests_per_s,
            client_ceiling_per_s: ceiling,
            client_cpu_ms: cpu_a_request(&self.recorder, self.usage.cpu_ns()),
            client_stall_ms: Some(milliseconds(self.stall_ns as f64)),
            lateness_p99_ms: Columns(&self.recorder.lateness).quantile(0.99),
            start_late_ms: Some(milliseconds(self.start_late_ns as f64)),
            clock_offset_ms: milliseconds(self.clock.offset_ns as f64),
            clock_error_ms: milliseconds(self.clock.error_ns as f64),
            clock_moved_ms: milliseconds(self.clock.moved_ns as f64),
            round_trip_ms: milliseconds(self.clock.round_trip_ns as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::RequestTiming;

    const MS: u64 = 1_000_000;
    const LIMITS: Limits<'static> =
        Limits { cores: &|_| None, ceiling_share: 0.8, busy_share: 0.9, stall_ns: 100 * MS };

    /// A block in which each host answers a hundred requests of so many milliseconds.
    fn block(hosts: &[(&str, u64)], error_ns: u64, late_ns: u64) -> BlockOutcome {
        let mut all = BlockOutcome { begun_ns: Some((0, late_ns)), ..BlockOutcome::default() };
        for (host, ms) in hosts {
            let mut outcome = BlockOutcome { begun_ns: Some((0, late_ns)), ..BlockOutcome::default() };
            (0..100)
                .for_each(|_| outcome.recorder.record(RequestTiming { latency: ms * MS, ..RequestTiming::default() }));
            outcome.last_ns = 100 * ms * MS;
            all.recorder.merge(&outcome.recorder);
            all.last_ns = all.last_ns.max(outcome.last_ns);
            let clock = HostClock { error_ns, ..HostClock::default() };
            all.hosts.push(HostPart { host: (*host).to_owned(), processes: 1, clock, outcome });
        }
        all
    }

    fn flags(blocks: &[BlockOutcome]) -> (HostTotals, Flags) {
        let mut totals = HostTotals::default();
        blocks.iter().for_each(|block| totals.add(block));
        let flags = Flags::raised(totals.flags());
        (totals, flags)
    }

    #[test]
    fn a_host_that_is_unlike_the_others_is_flagged_and_only_that_one() {
        let unlike =
            |ms| [block(&[("a", 10), ("b", 10), ("c", ms)], 0, 0), block(&[("a", 11), ("b", 10), ("c", ms)], 0, 0)];
        let (totals, flags_of) = flags(&unlike(30));
        assert!(flags_of.has(Flag::HostOutlier), "{flags_of}");
        let rows = totals.rows("x", &Point::default(), &LIMITS, |_| None);
        let outliers: Vec<bool> = rows.iter().map(|row| row.flags.has(Flag::HostOutlier)).collect();
        assert_eq!(outliers, [false, false, true]);
        assert!(rows[2].mean_ratio > Some(2.5) && rows[0].requests == 200, "{:?}", rows[2]);
        assert!(flags(&unlike(11)).1.is_empty());
        // one block proves nothing
        assert!(!flags(&unlike(30)[..1]).1.has(Flag::HostOutlier));
    }

    #[test]
    fn processes_that_share_few_cores_are_busy_sooner() {
        let mut shared = block(&[("a", 10)], 0, 0);
        // one second, two processes that each had half of a core
        shared.hosts[0].processes = 2;
        shared.hosts[0].outcome.usage.user_ns = 1000 * MS;
        let (totals, _) = flags(&[shared]);
        let flagged = |cores| {
            let limits = Limits { cores: &move |_| cores, ..LIMITS };
            totals.rows("x", &Point::default(), &limits, |_| None)[0].flags.to_string()
        };
        assert_eq!(
            (flagged(Some(1)), flagged(Some(2)), flagged(None)),
            ("client_cpu".to_owned(), String::new(), String::new())
        );
    }

    #[test]
    fn clocks_and_starts_count_against_the_time_of_a_block() {
        // blocks of one second
        let of = |error_ns, late_ns| flags(&[block(&[("a", 10), ("b", 10)], error_ns, late_ns)]).1;
        assert!(of(4 * MS, 9 * MS).is_empty());
        assert_eq!(of(6 * MS, 0).to_string(), "clock");
        assert_eq!(of(0, 11 * MS).to_string(), "start_skew");
        // of one host, neither matters
        let (alone, flags_of) = flags(&[block(&[("a", 10)], 50 * MS, 50 * MS)]);
        assert!(flags_of.is_empty());
        assert!(alone.rows("x", &Point::default(), &LIMITS, |_| None)[0].flags.is_empty());
        let mut moved = block(&[("a", 10), ("b", 10)], 0, 0);
        moved.hosts[1].clock.moved_ns = 1;
        let (totals, flags) = flags(&[moved]);
        assert_eq!(flags.to_string(), "clock");
        let rows = totals.rows("x", &Point::default(), &LIMITS, |host| (host == "a").then_some(100.0));
        assert_eq!(rows[0].flags.to_string(), "client_ceiling");
        assert_eq!(rows[1].flags.to_string(), "clock");
    }
}
