//! The line through the shares of bad requests of blocks at rates around the edge, and how sure its place is. Pure: knows neither clocks
//! nor servers.
//!
//! Around the capacity the share of bad requests grows about exponentially with the rate, so that its logarithm is a straight line
//! over the logarithm of the rate. The line is fitted to whole blocks, whose bad requests come in bunches: what its place is
//! uncertain by follows from how blocks scatter around it, and not from the number of requests.

use crate::statistics;

/// Tries whose share should be farther off than this say nothing of the edge, where alone the line is straight.
const NEAR: f64 = 40.0;
/// A share scatters like the number of its requests up to so many times what is allowed, and beyond that in proportion to itself: by
/// how much a server is overrun differs from block to block.
const OVERRUN: f64 = 10.0;
/// Tries around the edge before an interval is believed.
pub const TRIES_LEAST: usize = 8;
/// The largest distance of an end of the interval, as a logarithm, which it has where no block contradicts it: farther off, a server
/// would have behaved otherwise in the blocks that were doubled and halved until the edge was near.
pub const WIDEST: f64 = 0.3;
/// By so much the line is moved at once.
const OUTWARDS: f64 = 0.01;
/// The smallest and the largest slope of a line.
const SLOPES: [f64; 2] = [0.5, 500.0];
/// A moved line is at most so many times as steep or as flat: where a server breaks down at once, a flat line fits nothing at all, and so
/// would be contradicted by nothing.
const TURNS: f64 = 4.0;
/// By this factor more has to be off for either of two tests: together they err more often than one.
const TOGETHER: f64 = 1.05;
/// So far beyond all tries, as a logarithm, the line may cross what is allowed.
const BEYOND: f64 = 0.6;
/// Most steps to a root, and how near to it is near enough.
const STEPS: usize = 60;
const CLOSE: f64 = 1e-6;

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

/// A line of the logarithm of the share over that of the rate, and how sure it is.
pub struct Line {
    /// The logarithm of the rate at which the share is the allowed one.
    pub place: f64,
    /// By how much the logarithm of the share grows with that of the rate.
    pub slope: f64,
    /// How many bad requests come together: by how much more their numbers scatter than if each came alone.
    bunch: f64,
    /// The tries that it rests on.
    pub tries: Vec<Try>,
    /// These and others, which say nothing of where it is but may contradict where else it could be.
    around: Vec<Try>,
    /// The share of bad requests that is allowed.
    level: f64,
}

impl Line {
    /// Through the tries around an edge, or those near the line of them where these are enough; `None` if it does not cross what is
    /// allowed among them.
    pub fn through(around: Vec<Try>, level: f64) -> Option<Line> {
        let mut line = fit(&around, level)?;
        for _ in 0..4 {
            let is_near = |block: &&Try| (line.slope * (block.rate.ln() - line.place)).abs() <= NEAR.ln();
            let near: Vec<Try> = around.iter().filter(is_near).copied().collect();
            let Some(found) = fit(&near, level).filter(|_| near.len() >= TRIES_LEAST) else {
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

    /// How far below and above its place the line may be moved, as logarithms, before the blocks contradict it, if they do.
    pub fn reach(&self) -> [Option<f64>; 2] {
        let known =
            [&self.tries, &self.around].map(|tries| Some((tries, statistics::student(tries.len() as f64 - 2.0)?)));
        let reach = |sign: f64| {
            let is_contradicted = |by: f64| {
                let mut known = known.iter().flatten();
                known.any(|(tries, most)| contradiction(self, tries, self.place + sign * by) * sign > TOGETHER * most)
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

/// What is off in a block of which so many bad requests are expected, and these, as a fit counts them: less, the more they scatter beyond
/// their number.
fn weighted(block: &Try, expected: f64, level: f64) -> (f64, f64) {
    let weight = 1.0 / (1.0 + expected / (OVERRUN * level * block.requests as f64));
    (weight * (block.bad as f64 - expected), weight * expected)
}

/// The bad requests of a block that a line expects: no more than there are.
fn expected(block: &Try, (place, slope): (f64, f64), level: f64) -> f64 {
    (level.ln() + slope * (block.rate.ln() - place)).clamp(-40.0, 0.0).exp() * block.requests as f64
}

/// Fits the line by quasi-likelihood: bad requests of a block are as many as the line says, with a scatter that follows from their
/// number. Its uncertainty is from the scatter itself.
fn fit(tries: &[Try], level: f64) -> Option<Line> {
    let rates: Vec<f64> = tries.iter().map(|block| block.rate.ln()).collect();
    let (least, most) =
        (rates.iter().copied().fold(f64::INFINITY, f64::min), rates.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    // a line needs two places, and something bad
    if tries.len() < 3 || most - least < 1e-5 || tries.iter().all(|block| block.bad == 0) {
        return None;
    }
    let off = |block: &Try, line: (f64, f64)| weighted(block, expected(block, line, level), level).0;
    // for each slope there is one place at which all blocks together are right, and one slope at which each is
    let place = |slope: f64| {
        root((least - BEYOND, most + BEYOND), |place| {
            -tries.iter().map(|block| off(block, (place, slope))).sum::<f64>()
        })
    };
    let slope = root(SLOPES.map(f64::ln).into(), |slope| {
        let (slope, place) = (slope.exp(), place(slope.exp()));
        tries.iter().map(|block| off(block, (place, slope)) * (block.rate.ln() - place)).sum()
    });
    let slope = slope.exp();
    let place = place(slope);
    let (mut squares, mut all) = (0.0, 0.0);
    for block in tries {
        let (off, mean) = weighted(block, expected(block, (place, slope), level), level);
        squares += off.powi(2);
        all += mean;
    }
    // no more can come together than there are
    let most = tries.iter().map(|block| weighted(block, block.requests as f64, level).1);
    let bunch = squares / all * tries.len() as f64 / (tries.len() as f64 - 2.0);
    let bunch = bunch.min(most.fold(1.0, f64::max));
    Some(Line { place, slope, bunch, tries: tries.to_vec(), around: Vec::new(), level })
}

/// Where a function that falls from `low` to `high` is zero, or the end that is nearer to it (regula falsi, Illinois, with bisections in
/// between). Where blocks are all good or all bad, its slope tells nothing, and Newton's method does not end.
fn root((low, high): (f64, f64), falls: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = ((low, falls(low)), (high, falls(high)));
    if low.1 <= 0.0 || high.1 >= 0.0 {
        return if low.1 <= 0.0 { low.0 } else { high.0 };
    }
    for step in 1..=STEPS {
        let middle = match step % 3 {
            0 => (low.0 + high.0) / 2.0,
            _ => (low.0 * high.1 - high.0 * low.1) / (high.1 - low.1),
        };
        let value = falls(middle);
        if value > 0.0 {
            (low, high.1) = ((middle, value), high.1 / 2.0);
        } else {
            (high, low.1) = ((middle, value), low.1 / 2.0);
        }
        if high.0 - low.0 < CLOSE || value == 0.0 {
            return middle;
        }
    }
    (low.0 + high.0) / 2.0
}

/// By how many standard errors blocks have more bad requests than a line that crosses the level at `place`, the logarithm of a
/// rate, with the slope that fits best. The standard error is from the blocks' own scatter (a robust score test).
fn contradiction(line: &Line, tries: &[Try], place: f64) -> f64 {
    let level = line.level;
    let at = |block: &Try| block.rate.ln() - place;
    let of = |block: &Try, slope: f64| weighted(block, expected(block, (place, slope), level), level);
    let sum = |of: &dyn Fn(&Try) -> f64| tries.iter().map(of).sum::<f64>();
    let slopes = [(line.slope / TURNS).max(SLOPES[0]), (line.slope * TURNS).min(SLOPES[1])];
    let slope = root(slopes.map(f64::ln).into(), |slope| sum(&|block| of(block, slope.exp()).0 * at(block))).exp();
    // of a block, weighted: what is off, and what is expected
    let off = |block: &Try| of(block, slope).0;
    let mean = |block: &Try| of(block, slope).1;
    let turn = sum(&|block| mean(block) * at(block)) / sum(&|block| mean(block) * at(block).powi(2));
    let of_place = |block: &Try| 1.0 - turn * at(block);
    let total = sum(&|block| off(block) * of_place(block));
    // of what was expected, and not of what was seen: blocks that happen to have no bunch of bad requests do not show how large
    // bunches are
    let bunch = sum(&|block| off(block).powi(2)) / sum(&|block| mean(block));
    let bunch = (bunch * tries.len() as f64 / (tries.len() as f64 - 1.0)).max(line.bunch).max(1.0);
    let variance = bunch * sum(&|block| mean(block) * of_place(block).powi(2));
    total / variance.sqrt()
}
