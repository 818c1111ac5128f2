//! Where the share of bad requests crosses what one bound allows: which load to try next, and what is known of the edge. Pure: knows
//! neither clocks nor servers.

use super::line::{Line, TRIES_LEAST, Try, WIDEST};
use super::{BAD_LEAST, Capacity};
use crate::statistics;

/// From this ratio of a rate that kept the bound to one that broke it, the search goes on around the edge.
const BRACKET: f64 = 1.15;
/// Tries around the edge are where the share should be so many times smaller than what is allowed.
const SPREAD: f64 = 2.5;
/// Tries above the edge are so many times as far away as those below: where more is bad, more is known.
const ABOVE: f64 = 2.4;
/// Tries at a rate that is so much farther off, as a logarithm, say nothing of the edge.
const FARTHEST: f64 = 0.56;
/// The smallest and the largest distance of a rate from the edge, as a part of it.
const DISTANCE: (f64, f64) = (0.005, 0.15);

/// A search for the rate at which one bound is just kept.
#[derive(Clone, Debug)]
pub struct Edge {
    from: f64,
    to: f64,
    /// The share of bad requests that is allowed.
    level: f64,
    /// Whether rates are whole numbers, as requests in flight are.
    is_whole: bool,
    tries: Vec<Try>,
}

/// Where the share of bad requests crosses what is allowed.
enum Crossing {
    /// Nothing is tried yet.
    None,
    /// Beyond the highest rate that was tried.
    Above(f64),
    /// Below all rates that were tried, as far as these tell.
    Below,
    /// Between these rates.
    Between(f64, f64),
}

/// Tries of neighbouring rates.
struct Pool {
    first: f64,
    last: f64,
    requests: u64,
    bad: u64,
}

impl Pool {
    fn share(&self) -> f64 {
        self.bad as f64 / self.requests.max(1) as f64
    }

    fn with(&self, other: &Pool) -> Pool {
        Pool {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
            requests: self.requests + other.requests,
            bad: self.bad + other.bad,
        }
    }
}

impl Edge {
    /// Between two rates; `level` is the share of bad requests that is allowed, such as 0.01.
    pub fn new((from, to): (f64, f64), level: f64, is_whole: bool) -> Self {
        Edge { from, to, level, is_whole, tries: Vec::new() }
    }

    /// The share of bad requests that is allowed.
    pub fn level(&self) -> f64 {
        self.level
    }

    /// Adds a try.
    pub fn add(&mut self, block: Try) {
        self.tries.push(block);
    }

    /// About where the edge is: of several bounds, the lowest matters.
    pub fn place(&self) -> f64 {
        match self.crossing() {
            Crossing::Below => 0.0,
            Crossing::None => self.from,
            Crossing::Between(low, high) => (low * high).sqrt(),
            Crossing::Above(_) => f64::INFINITY,
        }
    }

    /// Whether tries are still far from it.
    pub fn is_far(&self) -> bool {
        match self.crossing() {
            Crossing::Between(low, high) => high / low > BRACKET && !(self.is_whole && high - low <= 1.0),
            // a little more than a server can do shows in long blocks alone
            Crossing::Above(rate) => rate < self.to,
            _ => true,
        }
    }

    /// The rate to try next; `None` once the ends of the range are all that can be said.
    pub fn next(&self) -> Option<f64> {
        let (low, high) = match self.crossing() {
            Crossing::None => return Some(self.from),
            Crossing::Above(rate) if rate < self.to => return Some((2.0 * rate).min(self.to)),
            Crossing::Above(_) => return (!self.keeps_the_highest()).then_some(self.to),
            Crossing::Below => return (!self.breaks_the_lowest()).then_some(self.from),
            Crossing::Between(low, high) => (low, high),
        };
        if self.is_whole && high - low <= 1.0 && high / low > BRACKET {
            return Some(if self.requests_at(low) <= self.requests_at(high) { low } else { high });
        }
        if high / low > BRACKET {
            return Some(self.possible((low * high).sqrt()));
        }
        let (edge, distance) = match self.line() {
            Some(line) => (line.place.exp(), (SPREAD.ln() / line.slope).clamp(DISTANCE.0, DISTANCE.1)),
            // where all blocks up to a rate keep the bound and all beyond it break it, the edge is between two of them
            None if self.is_sharp() => ((low * high).sqrt(), ((high / low).ln() / 4.0).clamp(DISTANCE.0, DISTANCE.1)),
            None => ((low * high).sqrt(), DISTANCE.1 / 3.0),
        };
        // in turn below and above, far and near
        let places = [-1.0, ABOVE, -0.4, 0.4 * ABOVE];
        let place = places[self.tries.len() % places.len()];
        Some(self.possible(edge * (place * distance).exp()))
    }

    /// Whether the highest rate surely keeps the bound.
    fn keeps_the_highest(&self) -> bool {
        self.sides(self.to, self.to).1
    }

    /// Whether the lowest rate surely breaks the bound: a single block proves nothing.
    fn breaks_the_lowest(&self) -> bool {
        self.tries.len() >= TRIES_LEAST && self.sides(self.from, self.from).0
    }

    /// Whether all blocks that kept the bound are below all that broke it.
    fn is_sharp(&self) -> bool {
        let is_broken = |block: &&Try| block.bad as f64 > self.level * block.requests as f64;
        let broken = self
            .tries
            .iter()
            .filter(is_broken)
            .map(|block| block.rate)
            .fold(f64::INFINITY, f64::min);
        self.tries.iter().filter(|block| !is_broken(block)).all(|block| block.rate < broken)
    }

    /// The nearest rate that can be tried.
    fn possible(&self, rate: f64) -> f64 {
        let rate = if self.is_whole { rate.round() } else { four_digits(rate) };
        rate.clamp(self.from, self.to)
    }

    /// Requests of all tries at a rate.
    fn requests_at(&self, rate: f64) -> u64 {
        self.tries.iter().filter(|block| block.rate == rate).map(|block| block.requests).sum()
    }

    /// What the tries say.
    pub fn capacity(&self) -> Capacity {
        let line = self.line().filter(|line| line.tries.len() >= TRIES_LEAST);
        let reach = line.as_ref().map(|line| line.reach());
        match (self.crossing(), line, reach) {
            (Crossing::Between(kept, broken), Some(line), Some([Some(below), Some(above)])) => {
                self.between(line.place, [Some(below), Some(above)], [kept, broken])
            }
            (Crossing::Between(kept, broken), ..) if self.is_whole && broken - kept <= 1.0 => {
                self.neighbours(kept, broken)
            }
            (Crossing::Between(kept, broken), line, reach) if self.near_edge().len() >= TRIES_LEAST => {
                let place = line.map_or((kept * broken).ln() / 2.0, |line| line.place);
                self.between(place, reach.unwrap_or_default(), [kept, broken])
            }
            (Crossing::Above(_), ..) if self.keeps_the_highest() => Capacity::Above(self.to),
            (Crossing::Below, ..) if self.breaks_the_lowest() => Capacity::Below(self.from),
            _ => Capacity::Unknown,
        }
    }

    /// A capacity at the logarithm of a rate, with what blocks rule out below and above it: an end that no block contradicts is as far as
    /// any may be, and none is nearer than tries are to each other, or than the rates that are just kept and just broken: where
    /// requests are all good or all bad, a line is too sure.
    fn between(&self, place: f64, reach: [Option<f64>; 2], [kept, broken]: [f64; 2]) -> Capacity {
        let [below, above] = reach.map(|by| by.unwrap_or(WIDEST).max(DISTANCE.0));
        let [value, low, high] = [0.0, -below, above].map(|by| (place + by).exp());
        let ends = [value, low.min(kept), high.max(broken)];
        let [value, low, high] = if self.is_whole { ends.map(f64::floor) } else { ends };
        Capacity::Between { value, low, high, assumed: reach.map(|by| by.is_none()) }
    }

    /// The capacity where it is one of two neighbouring whole numbers: the smaller if both are sure, else next to it.
    fn neighbours(&self, kept: f64, broken: f64) -> Capacity {
        let [(_, surely_kept), (surely_broken, _)] = [kept, broken].map(|rate| self.sides(rate, rate));
        let low = if surely_kept { kept } else { (kept - 1.0).max(self.from) };
        let high = if surely_broken { kept } else { broken };
        match self.tries.len() >= TRIES_LEAST {
            true => Capacity::Between { value: kept, low, high, assumed: [false; 2] },
            false => Capacity::Unknown,
        }
    }

    /// Whether the blocks from one rate to another have surely more, or surely less, than the allowed share of bad requests.
    fn sides(&self, from: f64, to: f64) -> (bool, bool) {
        let blocks = self.tries.iter().filter(|block| (from..=to).contains(&block.rate));
        sides(blocks.map(|block| (block.requests, block.bad)).collect(), self.level)
    }

    /// Between which rates the share crosses what is allowed, if it only grows with the rate (isotonic regression).
    fn crossing(&self) -> Crossing {
        let mut tries = self.tries.clone();
        tries.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        // equal rates are pooled, and neighbours whose shares fall
        let mut pools: Vec<Pool> = Vec::new();
        for block in tries {
            let mut pool = Pool { first: block.rate, last: block.rate, requests: block.requests, bad: block.bad };
            while let Some(before) = pools.pop_if(|before| before.last == pool.first || before.share() > pool.share()) {
                pool = before.with(&pool);
            }
            pools.push(pool);
        }
        // the lowest rates are tried again, as below them there is nothing; once that tells nothing, higher ones have to
        let is_broken = |(place, pool): (usize, &Pool)| {
            let is_lowest = place == 0 && (pool.first < pool.last || self.tries.len() >= TRIES_LEAST);
            let is_proven = pool.bad >= BAD_LEAST && (!is_lowest || self.sides(pool.first, pool.last).0);
            pool.share() > self.level && is_proven
        };
        let Some(broken) = pools.iter().enumerate().position(is_broken) else {
            return pools.last().map_or(Crossing::None, |pool| Crossing::Above(pool.last));
        };
        match broken.checked_sub(1) {
            Some(kept) => Crossing::Between(pools[kept].last, pools[broken].first),
            // a pool of several rates may hide the crossing within it
            None if pools[0].last > pools[0].first => Crossing::Between(pools[0].first, pools[0].last),
            None => Crossing::Below,
        }
    }

    /// The tries around the edge.
    fn near_edge(&self) -> Vec<Try> {
        let Crossing::Between(low, high) = self.crossing() else { return Vec::new() };
        let edge = (low * high).sqrt();
        let is_near = |block: &&Try| (block.rate / edge).ln().abs() <= FARTHEST;
        self.tries.iter().filter(is_near).copied().collect()
    }

    /// The line through the tries around the edge; `None` if it does not cross what is allowed among them.
    fn line(&self) -> Option<Line> {
        Line::through(self.near_edge(), self.level)
    }
}

/// Whether blocks of so many requests, of which so many are bad, have surely more, or surely less, than an allowed share of them. How sure
/// that is follows from how the blocks scatter, as bad requests come in bunches.
pub fn sides(blocks: Vec<(u64, u64)>, level: f64) -> (bool, bool) {
    let expected = |requests: u64| level * requests as f64;
    let all = blocks.iter().map(|(requests, _)| expected(*requests)).sum::<f64>();
    let bad = blocks.iter().map(|(_, bad)| *bad as f64).sum::<f64>();
    let share = bad / all.max(f64::MIN_POSITIVE);
    let off = |(requests, bad): &(u64, u64)| (*bad as f64 - share * expected(*requests)).powi(2);
    let off = blocks.iter().map(off).sum::<f64>();
    let free = blocks.len() as f64 - 1.0;
    let Some(most) = statistics::student(free) else { return (false, false) };
    let bunch = (off / bad.max(1.0) * blocks.len() as f64 / free).max(1.0);
    let distance = (bad - all) / (bunch * bad.max(all)).sqrt();
    (distance > most, distance < -most)
}

/// A number that is easily read.
fn four_digits(value: f64) -> f64 {
    let unit = 10_f64.powi(value.log10().floor() as i32 - 3);
    let digits = (value / unit).round();
    // whole units are exact, and parts of one are not
    if unit >= 1.0 { digits * unit } else { digits / (1.0 / unit).round() }
}
