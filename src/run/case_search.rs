//! The search for the capacity of one case: what its blocks are held against, what they said, and the row that it becomes. Must
//! not know how blocks are measured.

use std::time::Duration;

use super::rows::{BUSY_SHARE, CEILING_SHARE};
use crate::capacity::{self, Capacity as Found, SETTLING, Search};
use crate::matrix::Point;
use crate::record::{Flag, Record, rounded};
use crate::scenario::{Capacity, Over};
use crate::statistics::{self, Interval};
use crate::worker::message::Judge;
use crate::worker::outcome::BlockOutcome;

/// Blocks whose load is within this part of the capacity tell whether the client was the bottleneck there.
const NEAR: f64 = 0.15;

/// A search for the capacity of a case.
pub struct CaseSearch {
    asked: Capacity,
    search: Search,
    tries: Vec<Try>,
    /// What it has taken so far.
    pub spent: Duration,
}

/// A block of a search.
struct Try {
    load: f64,
    requests_per_s: f64,
    /// Requests that were sent late because as many as may be were in flight.
    held_back: u64,
    /// The part of its time that a client process computed.
    busy: f64,
}

impl CaseSearch {
    /// A new search.
    pub fn new(asked: &Capacity) -> Self {
        let is_whole = asked.over == Over::Concurrency;
        CaseSearch {
            search: Search::new(asked.range, &asked.bounds, is_whole, (asked.block, asked.budget)),
            asked: asked.clone(),
            tries: Vec::new(),
            spent: Duration::ZERO,
        }
    }

    /// The case at the load that is tried first.
    pub fn first(&self, case: &Point) -> Point {
        case.at_load(self.asked.over.axis(), self.search.next().unwrap_or(self.asked.range.0))
    }

    /// The load to try next, and for how long; `None` once the capacity is known within a part of it, or the time is over.
    pub fn next(&self, precision: Option<f64>) -> Option<(f64, Duration)> {
        if precision.is_some_and(|precision| self.search.is_known(precision)) {
            return None;
        }
        let load = self.search.next()?;
        let length = self.search.length((self.asked.over == Over::Rate).then_some(load));
        (self.spent + length <= self.asked.budget).then_some((load, length))
    }

    /// What a block of some length is held against; the processes of its case share in what is hopeless.
    pub fn judge(&self, at: &Point, length: Option<Duration>) -> Judge {
        let length = length.unwrap_or_default();
        let after = length.mul_f64(SETTLING);
        let limits = self.asked.bounds.iter().map(capacity::Bound::limit).collect();
        let hopeless = match at.rate {
            Some(rate) => {
                let requests = rate * (length - after).as_secs_f64() / f64::from(at.processes);
                self.search.hopeless(requests)
            }
            // how many there will be is not known
            None => vec![u64::MAX; self.asked.bounds.len()],
        };
        Judge { after, limits, hopeless }
    }

    /// Adds a block of the case at a load. Returns the load.
    pub fn add_at(&mut self, at: &Point, outcome: &BlockOutcome) -> f64 {
        let load = at.load_on(self.asked.over.axis());
        self.add(load, outcome);
        load
    }

    /// Adds a block at a load.
    pub fn add(&mut self, load: f64, outcome: &BlockOutcome) {
        if let Some(judged) = &outcome.judged {
            self.search.add(load, judged.requests, &judged.bad);
        }
        let seconds = (outcome.window_ns() as f64 / 1e9).max(1e-9);
        let requests_per_s = outcome.recorder.count() as f64 / seconds;
        let busy = outcome.usage.cpu_ns() as f64 / 1e9 / seconds;
        self.tries.push(Try { load, requests_per_s, held_back: outcome.held_back, busy });
    }

    /// Why the capacity is not known.
    pub fn unknown(&self) -> Option<String> {
        let Capacity { budget, range: (from, to), .. } = self.asked;
        (self.search.capacity() == Found::Unknown).then(|| {
            format!(
                "the capacity between {from} and {to} is not known after {} blocks in {} s: raise budget_s or --max-seconds, or give \
                 a narrower range by from and to",
                self.tries.len(),
                budget.as_secs_f64()
            )
        })
    }

    /// The row of the case, `all` of whose requests are counted over loads below and above the capacity: latencies over them all
    /// would mean nothing, and stay empty as in `row`.
    pub fn row(&self, case: &Point, all: Record, row: Record) -> Record {
        let found = self.search.capacity();
        let ends = found.ends();
        let [low, value, high] = self.per_s(found);
        let near = |load: f64| ends.1.or(ends.0).is_some_and(|edge| (load / edge - 1.0).abs() <= NEAR);
        let busiest = self
            .tries
            .iter()
            .filter(|block| near(block.load))
            .map(|block| block.busy)
            .fold(0.0, f64::max);
        // beyond the capacity, requests are held back by the server
        let kept_within = ends.1.or(ends.0).unwrap_or(0.0);
        let held_back = self
            .tries
            .iter()
            .filter(|block| block.load <= kept_within)
            .map(|block| block.held_back)
            .sum();
        let is_over = |flag: Flag| all.flags.has(flag);
        let kept = [
            Flag::ClientStall,
            Flag::Reconnects,
            Flag::ServerCounts,
            Flag::NoStatistics,
            Flag::OtherTraffic,
            Flag::ResponseCache,
            Flag::Resumed,
            Flag::Clock,
            Flag::StartSkew,
        ];
        let busy = (Flag::ClientCpu, busiest >= BUSY_SHARE * f64::from(case.processes));
        // that of a closed loop with as many in flight as there may be
        let ceiling = all.client_ceiling_per_s.filter(|_| self.asked.over == Over::Rate);
        let limited = ceiling.is_some_and(|ceiling| value.or(low).is_some_and(|rate| rate >= CEILING_SHARE * ceiling));
        let limited = (Flag::ClientCeiling, limited);
        let assumed = (Flag::AssumedEnd, found.is_assumed());
        Record {
            flags: row
                .flags
                .clone()
                .with(kept.map(|flag| (flag, is_over(flag))))
                .with([busy, limited, assumed]),
            requests: all.requests,
            errors: all.errors,
            error_kinds: all.error_kinds,
            errors_s: all.errors_s,
            answers_compared: all.answers_compared,
            answers_read: all.answers_read,
            answers_verified: all.answers_verified,
            held_back: (self.asked.over == Over::Rate).then_some(held_back),
            server_requests: all.server_requests,
            server_cache_hits: all.server_cache_hits,
            client_ceiling_per_s: ceiling,
            client_cpu_ms: all.client_cpu_ms,
            client_user_s: all.client_user_s,
            client_system_s: all.client_system_s,
            context_switches_voluntary: all.context_switches_voluntary,
            context_switches_involuntary: all.context_switches_involuntary,
            bytes_sent: all.bytes_sent,
            bytes_received: all.bytes_received,
            reconnects: all.reconnects,
            client_stall_ms: all.client_stall_ms,
            start_skew_ms: all.start_skew_ms,
            clock_error_ms: all.clock_error_ms,
            blocks: all.blocks,
            capacity_bound: self.asked.bounds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            capacity_per_s: value.map(rounded),
            capacity_low_per_s: low.map(rounded),
            capacity_high_per_s: high.map(rounded),
            capacity_concurrency: ends.1.filter(|_| self.asked.over == Over::Concurrency).map(|load| load as u32),
            ..row
        }
    }

    /// Lower end, capacity and upper end in requests a second. Over requests in flight these are rates that were measured with as
    /// many as the ends, and how surely: more in flight may well be answered no faster.
    fn per_s(&self, found: Found) -> [Option<f64>; 3] {
        let (low, value, high) = found.ends();
        if self.asked.over == Over::Rate {
            return [low, value, high];
        }
        let of = |load: Option<f64>| load.and_then(|load| self.measured_at(load));
        let (of_low, of_value, of_high) = (of(low), of(value), of(high));
        let all = || [of_low, of_value, of_high].into_iter().flatten();
        let least = all().map(|rate| rate.low).min_by(f64::total_cmp);
        let most = all().map(|rate| rate.high).max_by(f64::total_cmp);
        [low.and(least), of_value.map(|rate| rate.value), high.and(most)]
    }

    /// Requests a second at the number of requests in flight that was tried and is nearest to one: the mean of its blocks with its 95 %
    /// interval, which a single block does not have.
    fn measured_at(&self, load: f64) -> Option<Interval> {
        let off = |block: &&Try| (block.load / load).ln().abs();
        let nearest = self.tries.iter().min_by(|one, other| off(one).total_cmp(&off(other)))?.load;
        let blocks: Vec<f64> = self
            .tries
            .iter()
            .filter(|block| block.load == nearest)
            .map(|block| block.requests_per_s)
            .collect();
        match statistics::mean(&blocks) {
            Some(mean) => Some(Interval { low: mean.low.max(0.0), ..mean }),
            None => blocks.first().map(|only| Interval { value: *only, low: *only, high: *only }),
        }
    }
}
