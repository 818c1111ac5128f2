//! Statistical inference: effective sample sizes, intervals, ratios of paired blocks, verdicts, change points. Pure: no input, no
//! randomness that is not seeded. Knows no other module.
//!
//! Undetermined results are `None`; no result is ever NaN or infinite.

mod changes;

use std::ops::AddAssign;

use statrs::distribution::{ContinuousCDF, StudentsT};

pub use changes::{SERIES_MIN, change_points};

/// Ratios within 1 ± this are equal for all practical purposes.
pub const DELTA: f64 = 0.01;
/// Probability of any wrong verdict in a whole table.
pub const ALPHA: f64 = 0.05;
/// A percentile is trusted if this many samples lie beyond it.
pub const BEYOND: f64 = 10.0;

/// A standard normal deviate is within ± this with 95 % probability.
const Z95: f64 = 1.96;
/// The fewest batches whose variance is meaningful.
const BATCHES_MIN: u64 = 8;
/// Batches are long enough when the autocorrelation time is below this fraction of their length.
const SETTLED: f64 = 0.2;
/// Up to this many values, all sign flips are enumerated.
const BLOCKS_EXACT: usize = 20;
/// Fewest rounds after which a ratio may be precise enough.
const ROUNDS_MIN: usize = 6;
/// Blocks are joined into at most this many groups of consecutive ones, all halves of which are enumerated.
const GROUPS_MAX: usize = 10;

/// An estimate and the ends of its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Interval {
    /// The estimate and both ends, where others may lack some.
    pub fn parts(self) -> [Option<f64>; 3] {
        [self.value, self.low, self.high].map(Some)
    }
}

/// A ratio of two cases, measured in paired blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The ratio and its 95 % interval.
    pub interval: Interval,
    /// The probability of a difference at least this large if the two are the same: exact sign-flip test, two-sided.
    pub p: f64,
    /// Number of pairs of blocks.
    pub blocks: usize,
}

/// The verdict on a lower-is-better value against another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Lower beyond chance, and by more than [`DELTA`].
    Faster,
    /// Higher beyond chance, and by more than [`DELTA`].
    Slower,
    /// The same within [`DELTA`].
    Equal,
    /// The data do not decide.
    Unclear,
}

impl Verdict {
    /// The name used in results.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Faster => "faster",
            Verdict::Slower => "slower",
            Verdict::Equal => "equal",
            Verdict::Unclear => "unclear",
        }
    }

    /// The verdict with the sides exchanged.
    pub fn reversed(self) -> Self {
        match self {
            Verdict::Faster => Verdict::Slower,
            Verdict::Slower => Verdict::Faster,
            other => other,
        }
    }
}

/// Batches of consecutive samples, all of one length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batches {
    /// Samples in each batch.
    pub length: u64,
    /// Complete batches.
    pub count: u64,
    /// Sample variance of their means.
    pub variance: f64,
}

/// The number of independent samples that `samples` correlated ones are worth. `batches` have lengths 1, 2, 4 and so
/// on; the autocorrelation time comes from the first that is long against it (dyadic batch means).
pub fn effective_samples(samples: u64, batches: &[Batches]) -> f64 {
    let mut time = 1.0_f64;
    let variance = batches.first().map_or(0.0, |single| single.variance);
    if variance > 0.0 {
        for batch in batches.iter().take_while(|batch| batch.count >= BATCHES_MIN) {
            let length = batch.length as f64;
            let estimate = length * batch.variance / variance;
            if estimate.is_finite() {
                time = estimate.max(1.0);
            }
            if estimate <= SETTLED * length {
                break;
            }
        }
    }
    samples as f64 / time
}

/// Whether at least [`BEYOND`] of the independent samples lie beyond the quantile.
pub fn is_trusted(effective: f64, q: f64) -> bool {
    // 200 * (1 - 0.95) is slightly below 10 in binary
    effective * (1.0 - q) >= BEYOND - 1e-9
}

/// The levels of the quantiles that enclose quantile `q` with 95 % confidence, by order statistics. `None` if the
/// samples do not reach that far.
pub fn quantile_bounds(effective: f64, q: f64) -> Option<(f64, f64)> {
    if effective < 0.0 {
        return None;
    }
    // not a number without samples or for a `q` outside of 0 to 1, and so within no bounds
    let reach = Z95 * (effective * q * (1.0 - q)).sqrt();
    let (low, high) = ((effective * q - reach) / effective, (effective * q + reach) / effective);
    (low >= 0.0 && high <= 1.0).then_some((low, high))
}

/// The share that a part is of all, with its 95 % interval (E. B. Wilson, 1927).
pub fn share(part: u64, all: u64) -> Interval {
    let (value, all) = (part as f64 / all.max(1) as f64, all.max(1) as f64);
    let middle = (value + Z95 * Z95 / (2.0 * all)) / (1.0 + Z95 * Z95 / all);
    let reach = Z95 / (1.0 + Z95 * Z95 / all) * (value * (1.0 - value) / all + Z95 * Z95 / (4.0 * all * all)).sqrt();
    Interval { value, low: middle - reach, high: middle + reach }
}

/// The mean of independent values, with its interval by Student's t. `None` with fewer than two.
pub fn mean(values: &[f64]) -> Option<Interval> {
    let count = values.len() as f64;
    let (value, variance) = moments(values)?;
    let reach = student(count - 1.0)? * (variance / count).sqrt();
    let interval = Interval { value, low: value - reach, high: value + reach };
    (value.is_finite() && reach.is_finite()).then_some(interval)
}

/// The mean and the sample variance. `None` with fewer than two values, or if one is not finite.
fn moments(values: &[f64]) -> Option<(f64, f64)> {
    let count = values.len() as f64;
    if values.len() < 2 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mean = values.iter().map(|value| value / count).sum::<f64>();
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((mean, variance))
}

/// The median; `None` of no values.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// The 97.5th percentile of Student's t.
pub fn student(freedom: f64) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom).ok()?.inverse_cdf(0.975);
    t.is_finite().then_some(t)
}

/// The ratio of paired values, `ours` over `theirs`: geometric mean of the pairs' ratios, with its interval by
/// Student's t. `None` with fewer than two pairs, or if a value is not positive.
pub fn ratio(pairs: &[(f64, f64)]) -> Option<Ratio> {
    // a value that is not positive and finite has no finite logarithm, and so the logarithms no mean
    let logarithms: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours.ln() - theirs.ln()).collect();
    let Interval { value, low, high } = mean(&logarithms)?;
    let interval = Interval { value: value.exp(), low: low.exp(), high: high.exp() };
    let finite = interval.value > 0.0 && interval.low.is_finite() && interval.high.is_finite();
    finite.then(|| Ratio { interval, p: sign_flip(&logarithms), blocks: pairs.len() })
}

/// The ratio of two runs that were not measured side by side, `other` over `base`: of the geometric means of their blocks,
/// with its interval and its p-value by Welch's t on the logarithms. `None` with fewer than two blocks of either, or if a
/// value is not positive.
pub fn ratio_of_independent(base: &[f64], other: &[f64]) -> Option<Ratio> {
    let side = |values: &[f64]| {
        let (mean, variance) = moments(&values.iter().map(|value| value.ln()).collect::<Vec<_>>())?;
        let count = values.len() as f64;
        Some((mean, variance / count, count))
    };
    let ((base_mean, base_part, base_count), (mean, part, count)) = (side(base)?, side(other)?);
    let (difference, variance) = (mean - base_mean, part + base_part);
    let deviation = variance.sqrt();
    // Satterthwaite's degrees of freedom; equal values are known exactly
    let parts = part.powi(2) / (count - 1.0) + base_part.powi(2) / (base_count - 1.0);
    let freedom = if parts > 0.0 { variance.powi(2) / parts } else { count + base_count - 2.0 };
    let reach = student(freedom)? * deviation;
    let p = match (difference == 0.0, deviation > 0.0) {
        (true, _) => 1.0,
        (false, false) => 0.0,
        (false, true) => 2.0 * StudentsT::new(0.0, 1.0, freedom).ok()?.cdf(-(difference / deviation).abs()),
    };
    let interval = Interval {
        value: difference.exp(),
        low: (difference - reach).exp(),
        high: (difference + reach).exp(),
    };
    let is_finite = interval.low > 0.0 && interval.high.is_finite();
    is_finite.then(|| Ratio { interval, p, blocks: base.len().min(other.len()) })
}

/// The number of groups of consecutive blocks that `blocks` are joined into.
pub fn groups(blocks: usize) -> usize {
    blocks.min(GROUPS_MAX)
}

/// The group of a block.
pub fn group_of(block: usize, blocks: usize) -> usize {
    block * groups(blocks) / blocks.max(1)
}

/// The ratio of two statistics, each pooled over paired groups of blocks, with its interval by the paired jackknife:
/// how far, in logarithms, the ratio over half of the groups is from the ratio over all, across all halves. `of_half`
/// gets the groups to keep. Leaving out one group at a time would do for a mean, but a percentile may rest on few
/// groups: its intervals are too short. `None` with fewer than two groups, or if a ratio is not positive.
pub fn jackknife(ratio: f64, groups: usize, mut of_half: impl FnMut(&[bool]) -> Option<f64>) -> Option<Interval> {
    if !(2..=GROUPS_MAX).contains(&groups) {
        return None;
    }
    // without a finite logarithm of every ratio there are no finite ends
    let whole = ratio.ln();
    let left_out = groups / 2;
    let (mut squares, mut halves) = (0.0, 0.0);
    for way in 0_u32..1 << groups {
        if way.count_ones() as usize == left_out {
            let kept: Vec<bool> = (0..groups).map(|group| way >> group & 1 == 0).collect();
            squares += (of_half(&kept)?.ln() - whole).powi(2);
            halves += 1.0;
        }
    }
    let part = (groups - left_out) as f64 / left_out as f64;
    let reach = student((groups - 1) as f64)? * (part * squares / halves).sqrt();
    let interval = Interval { value: ratio, low: (whole - reach).exp(), high: (whole + reach).exp() };
    (interval.low > 0.0 && interval.high.is_finite()).then_some(interval)
}

/// A sum of values, and the number or the time that it is divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Sum {
    pub sum: f64,
    pub over: f64,
}

impl AddAssign for Sum {
    fn add_assign(&mut self, other: Sum) {
        self.sum += other.sum;
        self.over += other.over;
    }
}

/// The sums of both sides over some blocks.
fn totals<'a>(blocks: impl IntoIterator<Item = &'a [Sum; 2]>) -> [Sum; 2] {
    blocks.into_iter().fold([Sum::default(); 2], |mut all, pair| {
        all.iter_mut().zip(pair).for_each(|(all, one)| *all += *one);
        all
    })
}

/// The ratio of two means, the second of each pair over the first, each pooled over all blocks; `shown` if that is known
/// better than from these sums. Its interval is that of [`jackknife`].
pub fn ratio_of_means(shown: Option<f64>, blocks: &[[Sum; 2]]) -> Option<Interval> {
    let count = groups(blocks.len());
    let of_group = |group| {
        let own = blocks
            .iter()
            .enumerate()
            .filter(move |(place, _)| group_of(*place, blocks.len()) == group);
        totals(own.map(|(_, pair)| pair))
    };
    let sums: Vec<[Sum; 2]> = (0..count).map(of_group).collect();
    let of = |kept: &[bool]| {
        let kept = sums.iter().zip(kept).filter(|(_, kept)| **kept).map(|(group, _)| group);
        let [base, other] = totals(kept).map(|side| side.sum / side.over);
        other / base
    };
    jackknife(shown.unwrap_or_else(|| of(&vec![true; count])), count, |kept| Some(of(kept)))
}

/// How far, as a part of it, the ratio of two means may be from the true one with 95 % confidence: by linear propagation
/// from all blocks, not from at most ten groups of them, as a number that decides whether to go on must vary little
/// itself. `None` with fewer than two blocks, or without a positive mean.
pub fn reach(blocks: &[[Sum; 2]]) -> Option<f64> {
    let count = blocks.len() as f64;
    let all = totals(blocks);
    // the part of a block in the logarithm of a side's mean
    let part = |side: Sum, total: Sum| side.sum / total.sum - side.over / total.over;
    let parts = blocks.iter().map(|[base, other]| part(*other, all[1]) - part(*base, all[0]));
    let variance = parts.map(|part| part.powi(2)).sum::<f64>() * count / (count - 1.0);
    let reach = student(count - 1.0)? * variance.sqrt();
    reach.is_finite().then(|| reach.exp() - 1.0)
}

/// Whether measuring may end after these rounds: the ratio of the two means is known within `precision`, a part of it.
/// Asked only after pairs of rounds, in which the orders are balanced: the more often it is asked, the more often
/// measuring ends where the spread happens to be small, and the interval is too short. `tests/precision.rs` counts it.
pub fn is_precise(blocks: &[[Sum; 2]], precision: f64) -> bool {
    let is_whole = blocks.len() >= ROUNDS_MIN && blocks.len().is_multiple_of(2);
    is_whole && reach(blocks).is_some_and(|reach| reach <= precision)
}

/// The fewest rounds after which the exact test may call the smallest of `numbers` numbers of a table different, by Holm's
/// correction: with fewer, no difference is large enough.
pub fn rounds_to_judge(numbers: usize) -> usize {
    let exact = 1.0 + (numbers.max(1) as f64 / ALPHA).log2().ceil();
    (exact as usize).clamp(ROUNDS_MIN, BLOCKS_EXACT)
}

/// The p-value of a sum at least this far from 0 if every sign is as likely flipped as not: exact, over all flips.
/// More than 20 values are first summed in consecutive runs, which are fewer and less powerful.
pub fn sign_flip(differences: &[f64]) -> f64 {
    let size = differences.len().div_ceil(BLOCKS_EXACT).max(1);
    let values: Vec<f64> = differences.chunks(size).map(|chunk| chunk.iter().sum()).collect();
    let Some((first, rest)) = values.split_first() else { return 1.0 };
    // a sum that differs only by rounding is as far
    let far = values.iter().sum::<f64>().abs() - 1e-12 * values.iter().map(|value| value.abs()).sum::<f64>();
    // the first keeps its sign: the other half of the flips mirrors this one
    let mut signs = vec![1.0_f64; rest.len()];
    let mut sum = first + rest.iter().sum::<f64>();
    let ways = 1_u64 << rest.len();
    let mut as_far = u64::from(sum.abs() >= far);
    for way in 1..ways {
        // one sign changes from one flip to the next (Gray code)
        let place = way.trailing_zeros() as usize;
        sum -= 2.0 * signs[place] * rest[place];
        signs[place] = -signs[place];
        as_far += u64::from(sum.abs() >= far);
    }
    as_far as f64 / ways as f64
}

/// Holm's correction: adjusts each p-value for testing all of them.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![1.0; p.len()];
    let mut least = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        least = least.max((p.len() - rank) as f64 * p[index]).min(1.0);
        corrected[index] = least;
    }
    corrected
}

/// The ratio of `one` over `other`, two positive numbers that were measured apart; `None` if an interval has no width. Its interval
/// and its p-value follow from theirs on the log scale (variance estimates recovery: G. Zou, A. Donner, Statistics in Medicine, 2008).
pub fn ratio_of_intervals(one: Interval, other: Interval, blocks: usize) -> Option<Ratio> {
    let logs = |it: Interval| (it.value > 0.0 && it.low > 0.0).then(|| [it.value.ln(), it.low.ln(), it.high.ln()]);
    let ([one, one_low, one_high], [other, other_low, other_high]) = (logs(one)?, logs(other)?);
    let apart = one - other;
    let below = (one - one_low).hypot(other_high - other);
    let above = (one_high - one).hypot(other - other_low);
    // towards no difference
    let reach = if apart > 0.0 { below } else { above };
    let normal = statrs::distribution::Normal::standard();
    let p = 2.0 * normal.sf(Z95 * apart.abs() / reach);
    let [value, low, high] = [apart, apart - below, apart + above].map(f64::exp);
    (reach > 0.0).then_some(Ratio { interval: Interval { value, low, high }, p, blocks })
}

/// The verdicts on all ratios of one table, each with its p-value after Holm's correction over the table. An
/// undetermined ratio is unclear, without a p-value.
pub fn verdicts(ratios: &[Option<Ratio>], delta: f64) -> Vec<(Option<f64>, Verdict)> {
    let known: Vec<f64> = ratios.iter().flatten().map(|ratio| ratio.p).collect();
    let mut corrected = holm(&known).into_iter();
    let judged = |ratio: &Option<Ratio>| match ratio {
        Some(ratio) => {
            let p = corrected.next();
            (p, verdict(ratio.interval, p.unwrap_or(1.0), delta))
        }
        None => (None, Verdict::Unclear),
    };
    ratios.iter().map(judged).collect()
}

fn verdict(Interval { low, high, .. }: Interval, p: f64, delta: f64) -> Verdict {
    match p <= ALPHA {
        true if high < 1.0 - delta => Verdict::Faster,
        true if low > 1.0 + delta => Verdict::Slower,
        _ if low >= 1.0 - delta && high <= 1.0 + delta => Verdict::Equal,
        _ => Verdict::Unclear,
    }
}

/// Whether the second half of the blocks differs from the first beyond chance and [`DELTA`].
pub fn drifts(blocks: &[f64]) -> bool {
    let (early, late) = blocks.split_at(blocks.len() / 2);
    let (Some(early), Some(late)) = (mean(early), mean(late)) else { return false };
    let apart = early.high < late.low || late.high < early.low;
    apart && (late.value - early.value).abs() > DELTA * early.value.abs()
}
