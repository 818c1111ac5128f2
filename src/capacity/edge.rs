//! Where the share of bad requests crosses what one bound allows. Pure: knows neither clocks nor servers.
//!
//! Around the capacity the share of bad requests grows about exponentially with the rate, so that its logarithm is a straight line
//! over the logarithm of the rate. The line is fitted to whole blocks, whose bad requests come in bunches: what its place is
//! uncertain by follows from how blocks scatter around it, and not from the number of requests.

use super::Capacity;
use crate::statistics;

/// From this ratio of a rate that kept the bound to one that broke it, the search goes on around the edge.
const BRACKET: f64 = 1.15;
/// Tries around the edge are where the share should be so many times smaller than what is allowed.
const SPREAD: f64 = 2.5;
/// Tries above the edge are so many times as far away as those below: where more is bad, more is known.
const ABOVE: f64 = 2.4;
/// Tries whose share should be farther off than this say nothing of the edge, where alone the line is straight.
const NEAR: f64 = 40.0;
/// Nor do tries at a rate that is so much farther off, as a logarithm.
const FARTHEST: f64 = 0.56;
/// A share scatters like the number of its requests up to so many times what is allowed, and beyond that in proportion to itself: by
/// how much a server is overrun differs from block to block.
const OVERRUN: f64 = 10.0;
/// The smallest and the largest distance of a rate from the edge, as a part of it.
const DISTANCE: (f64, f64) = (0.005, 0.15);
/// Tries around the edge before an interval is believed.
const TRIES_LEAST: usize = 8;
/// The largest distance of an end of the interval, as a logarithm: by then even few blocks would contradict it.
const WIDEST: f64 = 0.3;
/// By so much the line is moved at once.
const OUTWARDS: f64 = 0.01;
/// The smallest and the largest slope of a line.
const SLOPES: (f64, f64) = (0.5, 500.0);
/// By this factor more has to be off for either of two tests: together they err more often than one.
const TOGETHER: f64 = 1.05;
/// Steps of the fit.
const STEPS: usize = 50;

/// A block at a rate, held against one bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Try {
    /// Requests a second that were to come, or requests in flight.
    pub rate: f64,
    /// Requests, answered or not.
    pub requests: u64,
    /// Those that broke the bound.
    pub bad: u64,
}

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
    /// Below all rates that were tried.
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

/// The line of the logarithm of the share over that of the rate, and how sure it is.
struct Line {
    /// The logarithm of the rate at which the share is the allowed one.
    place: f64,
    /// By how much the logarithm of the share grows with that of the rate.
    slope: f64,
    /// How many bad requests come together: by how much more their numbers scatter than if each came alone.
    bunch: f64,
    /// The tries that it rests on.
    tries: Vec<Try>,
    /// These and others, which say nothing of where it is but may contradict where else it could be.
    around: Vec<Try>,
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
            _ => true,
        }
    }

    /// The rate to try next; `None` once the ends of the range are all that can be said.
    pub fn next(&self) -> Option<f64> {
        let (low, high) = match self.crossing() {
            Crossing::None => return Some(self.from),
            Crossing::Above(rate) => return (rate < self.to).then_some((2.0 * rate).min(self.to)),
            // one bad block proves nothing of the lowest rate
            Crossing::Below => return (self.tries.len() < TRIES_LEAST).then_some(self.from),
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
        let reach = line.as_ref().map(|line| line.reach(self.level));
        match (self.crossing(), line, reach) {
            (Crossing::Between(kept, broken), Some(line), Some([Some(below), Some(above)])) => {
                self.between(line.place, [below, above], [kept, broken])
            }
            (Crossing::Between(kept, broken), ..) if self.is_whole && broken - kept <= 1.0 => {
                self.neighbours(kept, broken)
            }
            // an end that no block contradicts is as far as any may be
            (Crossing::Between(kept, broken), line, reach) if self.near_edge().len() >= TRIES_LEAST => {
                let place = line.map_or((kept * broken).ln() / 2.0, |line| line.place);
                let reach = reach.unwrap_or_default().map(|by| by.unwrap_or(WIDEST));
                self.between(place, reach, [kept, broken])
            }
            (Crossing::Above(rate), ..) if rate >= self.to => Capacity::Above(self.to),
            (Crossing::Below, ..) if self.tries.len() >= TRIES_LEAST => Capacity::Below(self.from),
            _ => Capacity::Unknown,
        }
    }

    /// A capacity at the logarithm of a rate that ends lie around, no nearer than tries are to each other, or than the rates that are
    /// just kept and just broken: where requests are all good or all bad, a line is too sure.
    fn between(&self, place: f64, [below, above]: [f64; 2], [kept, broken]: [f64; 2]) -> Capacity {
        let ends = [0.0, -below.max(DISTANCE.0), above.max(DISTANCE.0)];
        let [value, low, high] = ends.map(|by| (place + by).exp());
        let ends = [value, low.min(kept), high.max(broken)];
        let [value, low, high] = if self.is_whole { ends.map(f64::floor) } else { ends };
        Capacity::Between { value, low, high }
    }

    /// The capacity where it is one of two neighbouring whole numbers: the smaller if both are sure, else next to it.
    fn neighbours(&self, kept: f64, broken: f64) -> Capacity {
        let [(_, surely_kept), (surely_broken, _)] = [kept, broken].map(|rate| self.sides(rate));
        let low = if surely_kept { kept } else { (kept - 1.0).max(self.from) };
        let high = if surely_broken { kept } else { broken };
        match self.tries.len() >= TRIES_LEAST {
            true => Capacity::Between { value: kept, low, high },
            false => Capacity::Unknown,
        }
    }

    /// Whether the blocks at a rate have surely more, or surely less, than the allowed share of bad requests.
    fn sides(&self, rate: f64) -> (bool, bool) {
        let blocks: Vec<&Try> = self.tries.iter().filter(|block| block.rate == rate).collect();
        let expected = |block: &Try| self.level * block.requests as f64;
        let all = blocks.iter().map(|block| expected(block)).sum::<f64>();
        let bad = blocks.iter().map(|block| block.bad as f64).sum::<f64>();
        // a mean of the blocks' own, as bad requests come in bunches
        let share = bad / all.max(f64::MIN_POSITIVE);
        let off = blocks
            .iter()
            .map(|block| (block.bad as f64 - share * expected(block)).powi(2))
            .sum::<f64>();
        let free = blocks.len() as f64 - 1.0;
        let Some(most) = statistics::student(free) else { return (false, false) };
        let bunch = (off / bad.max(1.0) * blocks.len() as f64 / free).max(1.0);
        let distance = (bad - all) / (bunch * bad.max(all)).sqrt();
        (distance > most, distance < -most)
    }

    /// Between which rates the share crosses what is allowed, if it only grows with the rate (isotonic regression).
    fn crossing(&self) -> Crossing {
        let mut tries = self.tries.clone();
        tries.sort_by(|one, other| one.rate.total_cmp(&other.rate));
        // neighbours whose shares fall are pooled
        let mut pools: Vec<Pool> = Vec::new();
        for block in tries {
            let mut pool = Pool { first: block.rate, last: block.rate, requests: block.requests, bad: block.bad };
            while let Some(before) = pools.pop_if(|before| before.share() > pool.share()) {
                pool = before.with(&pool);
            }
            pools.push(pool);
        }
        let Some(broken) = pools.iter().position(|pool| pool.share() > self.level) else {
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
        let around = self.near_edge();
        let mut line = fit(&around, self.level)?;
        for _ in 0..4 {
            let is_near = |block: &&Try| (line.slope * (block.rate.ln() - line.place)).abs() <= NEAR.ln();
            let near: Vec<Try> = around.iter().filter(is_near).copied().collect();
            let Some(found) = fit(&near, self.level).filter(|_| near.len() >= TRIES_LEAST) else {
                break;
            };
            let is_settled = found.tries.len() == line.tries.len();
            line = found;
            if is_settled {
                break;
            }
        }
        let rates = || around.iter().map(|block| block.rate);
        let (least, most) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
        let is_among = (least..=most).contains(&line.place.exp());
        is_among.then_some(Line { around, ..line })
    }
}

/// A number that is easily read.
fn four_digits(value: f64) -> f64 {
    let unit = 10_f64.powi(value.log10().floor() as i32 - 3);
    let digits = (value / unit).round();
    // whole units are exact, and parts of one are not
    if unit >= 1.0 { digits * unit } else { digits / (1.0 / unit).round() }
}

/// What is off in a block of which so many bad requests are expected, and these, as a fit counts them: less, the more they scatter beyond
/// their number.
fn weighted(block: &Try, expected: f64, level: f64) -> (f64, f64) {
    let weight = 1.0 / (1.0 + expected / (OVERRUN * level * block.requests as f64));
    (weight * (block.bad as f64 - expected), weight * expected)
}

/// Fits the line by quasi-likelihood: bad requests of a block are as many as the line says, with a scatter that follows from their
/// number. Its uncertainty is from the scatter itself.
fn fit(tries: &[Try], level: f64) -> Option<Line> {
    let middle = tries.iter().map(|block| block.rate.ln()).sum::<f64>() / tries.len() as f64;
    let at = |block: &Try| block.rate.ln() - middle;
    // a line needs two places, and something bad
    let spread = tries.iter().map(|block| at(block).powi(2)).sum::<f64>();
    if tries.len() < 3 || spread < 1e-9 || tries.iter().all(|block| block.bad == 0) {
        return None;
    }
    let (mut height, mut slope) = (level.ln(), 10.0);
    let expected = |block: &Try, height: f64, slope: f64| {
        let share = (height + slope * at(block)).clamp(-40.0, 0.0).exp();
        share * block.requests as f64
    };
    for _ in 0..STEPS {
        let mut gradient = [0.0, 0.0];
        let mut curve = [0.0, 0.0, 0.0];
        for block in tries {
            let x = at(block);
            let (off, mean) = weighted(block, expected(block, height, slope), level);
            gradient = [gradient[0] + off, gradient[1] + off * x];
            curve = [curve[0] + mean, curve[1] + mean * x, curve[2] + mean * x * x];
        }
        let determinant = curve[0] * curve[2] - curve[1] * curve[1];
        if determinant <= 0.0 || !determinant.is_finite() {
            return None;
        }
        let steps = [
            (curve[2] * gradient[0] - curve[1] * gradient[1]) / determinant,
            (curve[0] * gradient[1] - curve[1] * gradient[0]) / determinant,
        ];
        // no leaps: the share is far from straight elsewhere
        height += steps[0].clamp(-1.0, 1.0);
        slope = (slope + steps[1].clamp(-10.0, 10.0)).clamp(SLOPES.0, SLOPES.1);
        if steps.iter().all(|step| step.abs() < 1e-10) {
            break;
        }
    }
    let place = middle + (level.ln() - height) / slope;
    let (mut squares, mut all) = (0.0, 0.0);
    for block in tries {
        let (off, mean) = weighted(block, expected(block, height, slope), level);
        squares += off.powi(2);
        all += mean;
    }
    // no more can come together than there are
    let most = tries.iter().map(|block| weighted(block, block.requests as f64, level).1);
    let bunch = squares / all * tries.len() as f64 / (tries.len() as f64 - 2.0);
    let bunch = bunch.min(most.fold(1.0, f64::max));
    Some(Line { place, slope, bunch, tries: tries.to_vec(), around: Vec::new() })
}

impl Line {
    /// How far below and above its place the line may be moved, as logarithms, before the blocks contradict it, if they do.
    fn reach(&self, level: f64) -> [Option<f64>; 2] {
        let known =
            [&self.tries, &self.around].map(|tries| Some((tries, statistics::student(tries.len() as f64 - 2.0)?)));
        let reach = |sign: f64| {
            let is_contradicted = |by: f64| {
                let mut known = known.iter().flatten();
                known.any(|(tries, most)| {
                    contradiction(self, tries, level, self.place + sign * by) * sign > TOGETHER * most
                })
            };
            // outwards: far away, where nothing fits, the scatter is as large as what is off
            let mut steps = (1..).map(|step| f64::from(step) * OUTWARDS).take_while(|by| *by <= WIDEST);
            let mut far = steps.find(|by| is_contradicted(*by))?;
            let mut near = far - OUTWARDS;
            for _ in 0..10 {
                let by = (near + far) / 2.0;
                if is_contradicted(by) { far = by } else { near = by }
            }
            Some(far)
        };
        [reach(-1.0), reach(1.0)]
    }
}

/// By how many standard errors blocks have more bad requests than a line that crosses the level at `place`, the logarithm of a
/// rate, with the slope that fits best. The standard error is from the blocks' own scatter (a robust score test).
fn contradiction(line: &Line, tries: &[Try], level: f64, place: f64) -> f64 {
    let mut slope = line.slope;
    let at = |block: &Try| block.rate.ln() - place;
    let expected =
        |block: &Try, slope: f64| (level.ln() + slope * at(block)).clamp(-40.0, 0.0).exp() * block.requests as f64;
    // of a block, weighted: what is off, and what is expected
    let off = |block: &Try, slope: f64| weighted(block, expected(block, slope), level).0;
    let mean = |block: &Try, slope: f64| weighted(block, expected(block, slope), level).1;
    let sum = |of: &dyn Fn(&Try) -> f64| tries.iter().map(of).sum::<f64>();
    for _ in 0..STEPS {
        let gradient = sum(&|block| off(block, slope) * at(block));
        let curve = sum(&|block| mean(block, slope) * at(block).powi(2));
        let step = gradient / curve;
        slope = (slope + step.clamp(-10.0, 10.0)).clamp(SLOPES.0, SLOPES.1);
        if step.abs() < 1e-9 || !step.is_finite() {
            break;
        }
    }
    let turn = sum(&|block| mean(block, slope) * at(block)) / sum(&|block| mean(block, slope) * at(block).powi(2));
    let of_place = |block: &Try| 1.0 - turn * at(block);
    let total = sum(&|block| off(block, slope) * of_place(block));
    // of what was expected, and not of what was seen: blocks that happen to have no bunch of bad requests do not show how large
    // bunches are
    let bunch = sum(&|block| off(block, slope).powi(2)) / sum(&|block| mean(block, slope));
    let bunch = (bunch * tries.len() as f64 / (tries.len() as f64 - 1.0)).max(line.bunch).max(1.0);
    let variance = bunch * sum(&|block| mean(block, slope) * of_place(block).powi(2));
    total / variance.sqrt()
}
