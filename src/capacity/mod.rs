//! The highest load at which bounds are kept, with an interval: which load to try next, and what the tries say together. Pure:
//! knows neither clocks nor servers.
//!
//! A *bad* request failed, or took longer than a bound; a 99th percentile within the bound is a share of at most 1 % of bad
//! requests. Several bounds are searched at once, as every block is held against all of them: the lowest edge is the capacity.

mod bound;
mod edge;
mod line;

use std::time::Duration;

pub use bound::{Bound, bounds, words};

use edge::{Edge, sides};
use line::Try;

/// Of a block's time, the first part is not held against a bound: what came before it still shows.
pub const SETTLING: f64 = 0.25;
/// A block that has so many times the allowed share of bad requests has told enough.
const HOPELESS: f64 = 20.0;
/// The shortest block around the edge, and the shortest while the edge is still far.
const SHORTEST: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(1)];
/// A block is so many times as long as the longest bound, while the edge is far and around it: of a server that is asked for 2 % more
/// than it can do, the backlog breaks a bound after 50 times the bound.
const TIMES_BOUND: [u32; 2] = [10, 50];
/// A block has so many requests at least.
const REQUESTS_LEAST: f64 = 5.0;
/// A block at the capacity has so many bad requests, if the budget allows.
const BAD_EXPECTED: f64 = 25.0;
/// A block takes at most this part of the budget.
const PART: u32 = 15;

/// Fewer bad requests than this prove nothing, whatever their share: at low rates a block has a handful of requests.
const BAD_LEAST: u64 = 3;
/// Blocks before a capacity counts as known.
const TRIES_LEAST: usize = 10;
/// After so many blocks in a row it has to be known well enough: an interval may be short by chance.
const IN_A_ROW: usize = 3;

/// Whether a bound is surely broken in blocks of so many requests, of which so many broke it. A single block proves nothing.
pub fn is_broken(bound: &Bound, blocks: Vec<(u64, u64)>) -> bool {
    let bad = blocks.iter().map(|(_, bad)| *bad).sum::<u64>();
    bad >= BAD_LEAST && sides(blocks, bound.level()).0
}

/// What is known of the capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capacity {
    /// Even the lowest rate breaks a bound.
    Below(f64),
    /// Even the highest rate keeps them all.
    Above(f64),
    /// The capacity and its 95 % interval.
    Between {
        /// The estimate.
        value: f64,
        /// Lower end of its interval.
        low: f64,
        /// Upper end of it.
        high: f64,
        /// Whether the lower and the upper end are as far as any may be: no block rules out what is beyond them.
        assumed: [bool; 2],
    },
    /// The tries do not tell yet.
    Unknown,
}

/// A search for the capacity.
#[derive(Clone, Debug)]
pub struct Search {
    /// One a bound.
    edges: Vec<Edge>,
    /// How well the capacity was known after each block.
    precisions: Vec<Option<f64>>,
    /// The longest time that a bound allows.
    longest: Duration,
    /// How long a block is, if that is given.
    block: Option<Duration>,
    budget: Duration,
}

impl Search {
    /// Within a range of rates in requests a second, or of whole numbers of requests in flight; blocks of a given length, or of one
    /// that fits bounds and budget.
    pub fn new(
        range: (f64, f64),
        bounds: &[Bound],
        is_whole: bool,
        (block, budget): (Option<Duration>, Duration),
    ) -> Self {
        Search {
            edges: bounds.iter().map(|bound| Edge::new(range, bound.level(), is_whole)).collect(),
            precisions: Vec::new(),
            longest: bounds.iter().filter_map(Bound::limit).max().unwrap_or_default(),
            block,
            budget,
        }
    }

    /// Adds a block: its rate, its requests, and how many broke each bound.
    pub fn add(&mut self, rate: f64, requests: u64, bad: &[u64]) {
        // a block without requests says nothing
        if requests == 0 {
            return;
        }
        for (edge, bad) in self.edges.iter_mut().zip(bad) {
            edge.add(Try { rate, requests, bad: *bad });
        }
        self.precisions.push(self.capacity().precision());
    }

    /// Blocks so far.
    pub fn tries(&self) -> usize {
        self.precisions.len()
    }

    /// Whether the capacity is known within a part of it.
    pub fn is_known(&self, within: f64) -> bool {
        let is_within = |precision: &Option<f64>| precision.is_some_and(|precision| precision <= within);
        let last = &self.precisions[self.tries().saturating_sub(IN_A_ROW)..];
        self.tries() >= TRIES_LEAST && last.iter().all(is_within)
    }

    /// The rate to try next; `None` once the ends of the range are all that can be said.
    pub fn next(&self) -> Option<f64> {
        if let Capacity::Below(_) = self.capacity() {
            return None;
        }
        // where no bound is broken, each has to be surely kept
        let place = self.lowest()?.place();
        self.edges.iter().filter(|edge| edge.place() == place).find_map(Edge::next)
    }

    /// How long a block at a rate should be; `rate` is in requests a second, if that is known.
    pub fn length(&self, rate: Option<f64>) -> Duration {
        if let Some(block) = self.block {
            return block;
        }
        let is_far = self.lowest().is_none_or(Edge::is_far);
        let level = self.level();
        let of_requests = |count: f64| {
            let seconds = rate.map_or(0.0, |rate| count / rate);
            Duration::try_from_secs_f64(seconds).unwrap_or(self.budget)
        };
        let [far, near] = TIMES_BOUND.map(|times| self.longest * times);
        match is_far {
            true => SHORTEST[1].max(far).max(of_requests(REQUESTS_LEAST)),
            false => SHORTEST[0].max(near).max(of_requests(BAD_EXPECTED / level)),
        }
        .min(self.budget / PART)
    }

    /// The share of bad requests that the bound which breaks first allows, or where none is broken, the strictest.
    fn level(&self) -> f64 {
        match self.lowest() {
            Some(lowest) if lowest.place().is_finite() => lowest.level(),
            _ => self.edges.iter().map(Edge::level).fold(1.0, f64::min),
        }
    }

    /// How many of so many requests may break each bound before it is clear that it is broken.
    pub fn hopeless(&self, requests: f64) -> Vec<u64> {
        self.edges
            .iter()
            .map(Edge::level)
            .map(|level| (HOPELESS * level).min(0.9) * requests)
            .map(|most| most.max(20.0) as u64)
            .collect()
    }

    /// What the tries say.
    pub fn capacity(&self) -> Capacity {
        let lowest = |one: Capacity, other: Capacity| match (one, other) {
            (Capacity::Below(rate), _) | (_, Capacity::Below(rate)) => Capacity::Below(rate),
            (Capacity::Unknown, _) | (_, Capacity::Unknown) => Capacity::Unknown,
            (Capacity::Above(_), other) | (other, Capacity::Above(_)) => other,
            (Capacity::Between { value, .. }, Capacity::Between { value: other_value, .. }) => {
                let (least, other) = if value <= other_value { (one, other) } else { (other, one) };
                least.within(other)
            }
        };
        // a bound that nothing has broken yet matters no more once a lower edge is known
        let is_broken = |edge: &&Edge| edge.place().is_finite();
        let is_any = self.edges.iter().any(|edge| is_broken(&edge));
        let known = self.edges.iter().filter(|edge| !is_any || is_broken(edge)).map(Edge::capacity);
        known.reduce(lowest).unwrap_or(Capacity::Unknown)
    }

    /// The edge of the bound that breaks first.
    fn lowest(&self) -> Option<&Edge> {
        self.edges.iter().min_by(|one, other| one.place().total_cmp(&other.place()))
    }
}

impl Capacity {
    /// The capacity where another bound, whose edge is not below this one's, has to be kept too.
    fn within(self, other: Capacity) -> Capacity {
        let Capacity::Between { value, low, high, assumed: [low_assumed, high_assumed] } = self else {
            return self;
        };
        let Capacity::Between { low: other_low, high: other_high, assumed: other_assumed, .. } = other else {
            return self;
        };
        // an end that no block tells says nothing of a lower edge
        let (low, low_assumed) = match other_low < low && !other_assumed[0] {
            true => (other_low, false),
            false => (low, low_assumed),
        };
        let (high, high_assumed) = match other_high < high {
            true => (other_high, other_assumed[1]),
            false => (high, high_assumed),
        };
        Capacity::Between { value, low, high, assumed: [low_assumed, high_assumed] }
    }

    /// Whether an end of its interval is as far as any may be: no block rules out what is beyond it.
    pub fn is_assumed(&self) -> bool {
        matches!(self, Capacity::Between { assumed, .. } if assumed.contains(&true))
    }

    /// Half of its interval, as a part of it, where blocks tell both ends.
    pub fn precision(&self) -> Option<f64> {
        match self {
            Capacity::Between { value, low, high, assumed: [false, false] } => Some((high - low) / 2.0 / value),
            _ => None,
        }
    }

    /// Its ends, and the value between them, where they are known.
    pub fn ends(&self) -> (Option<f64>, Option<f64>, Option<f64>) {
        match *self {
            Capacity::Between { value, low, high, .. } => (Some(low), Some(value), Some(high)),
            Capacity::Above(rate) => (Some(rate), None, None),
            Capacity::Below(rate) => (None, None, Some(rate)),
            Capacity::Unknown => (None, None, None),
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
