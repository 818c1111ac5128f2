//! Change points of a series: where its mean shifts, by circular binary segmentation (Olshen and others, 2004) with a permutation
//! test. What is drawn is seeded, so that the same series gives the same answer.

use std::ops::Range;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// Fewest values between two changes: one alone is an outlier.
const SIDE_MIN: usize = 2;
/// Permutations that are drawn; the least p-value is one over one more than this.
const PERMUTATIONS: usize = 4999;
/// Fewest values of which a change can be beyond chance at 5 %.
pub const SERIES_MIN: usize = 9;

/// The places where the mean of a series shifts, each the index of the first value after it, in order. Each shift has a p-value of
/// at most `alpha` among the values up to its neighbours. Takes time with the square of the series' length.
pub fn change_points(series: &[f64], alpha: f64) -> Vec<usize> {
    let mut found = Vec::new();
    segment(series, 0, alpha, &mut found);
    found
}

/// Splits a part of a series, which begins at `offset`, and each part of it.
fn segment(series: &[f64], offset: usize, alpha: f64, found: &mut Vec<usize>) {
    let Some((Range { start, end }, _)) = unlike_part(series).filter(|(_, p)| *p <= alpha) else {
        return;
    };
    let places = [0, start, end, series.len()];
    for ends in places.windows(2).filter(|ends| ends[0] < ends[1]) {
        if ends[0] > 0 {
            found.push(offset + ends[0]);
        }
        segment(&series[ends[0]..ends[1]], offset + ends[0], alpha, found);
    }
}

/// The part whose mean differs most clearly from that of the rest, and the probability of a part as clear in any order of the values.
/// `None` if the series is too short, or a value is not finite.
fn unlike_part(series: &[f64]) -> Option<(Range<usize>, f64)> {
    let (part, found) = clearest(series)?;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut values = series.to_vec();
    let mut as_clear = 1;
    for _ in 0..PERMUTATIONS {
        values.shuffle(&mut random);
        let (_, other) = clearest(&values)?;
        // the same values in another order may add up to slightly less
        as_clear += usize::from(other >= found * (1.0 - 1e-9));
    }
    Some((part, as_clear as f64 / (PERMUTATIONS + 1) as f64))
}

/// The part that differs most clearly from the rest, and how clearly: the sum of squares between the two.
fn clearest(series: &[f64]) -> Option<(Range<usize>, f64)> {
    let count = series.len();
    if count < 2 * SIDE_MIN || series.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mean = series.iter().sum::<f64>() / count as f64;
    let deviations = series.iter().scan(0.0, |sum, value| {
        *sum += value - mean;
        Some(*sum)
    });
    let sums: Vec<f64> = std::iter::once(0.0).chain(deviations).collect();
    let is_place = |place: usize| place == 0 || place == count || (SIDE_MIN..=count - SIDE_MIN).contains(&place);
    let mut best = None;
    for start in (0..count).filter(|start| is_place(*start)) {
        for end in (start + SIDE_MIN..=count).filter(|end| is_place(*end)) {
            let (inside, outside) = (end - start, count - (end - start));
            if outside < SIDE_MIN {
                continue;
            }
            // the deviations outside add up to minus those inside
            let sum: f64 = sums[end] - sums[start];
            let between = sum * sum * (1.0 / inside as f64 + 1.0 / outside as f64);
            if best.as_ref().is_none_or(|(_, most)| between > *most) {
                best = Some((start..end, between));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    /// Values around 0, as the mean of twelve uniform numbers is.
    fn noise(random: &mut ChaCha8Rng) -> f64 {
        (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
    }

    fn series(seed: u64, levels: &[(usize, f64)]) -> Vec<f64> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        levels
            .iter()
            .flat_map(|(count, level)| vec![*level; *count])
            .map(|level| level + noise(&mut random))
            .collect()
    }

    #[test]
    fn a_planted_shift_is_found_where_it_is() {
        let found = |levels| change_points(&series(7, levels), 0.05);
        assert_eq!(found(&[(10, 0.0), (10, 6.0)]), [10]);
        assert_eq!(found(&[(10, 0.0), (10, 8.0), (10, 0.0)]), [10, 20]);
        assert_eq!(found(&[(12, 5.0), (4, -5.0)]), [12]);
        assert!(found(&[(20, 0.0)]).is_empty());
    }

    #[test]
    fn no_shift_is_found_where_there_is_none() {
        let wrong = (0..100)
            .filter(|seed| !change_points(&series(*seed, &[(12, 0.0)]), 0.05).is_empty())
            .count();
        // 5 % of 100 are 5; 11 or more come of 1 in 100
        assert!(wrong < 11, "{wrong} of 100");
    }

    #[test]
    fn few_values_and_no_numbers_tell_nothing() {
        assert_eq!(unlike_part(&[1.0, 2.0, 3.0]), None);
        assert_eq!(unlike_part(&[1.0, f64::NAN, 3.0, 4.0]), None);
        assert!(change_points(&[0.0, 0.0, 0.0, 9.0, 9.0, 9.0, 9.0], 0.05).is_empty());
        // of 70 ways to place four values, 4 have them side by side, with two others at least at each end
        let (part, p) = unlike_part(&[0.0, 0.1, 0.0, 0.1, 9.0, 9.1, 9.0, 9.1]).unwrap();
        assert!(part == (0..4) && (p - 4.0 / 70.0).abs() < 0.02, "{part:?} {p}");
        let halves: Vec<f64> = (0..SERIES_MIN).map(|at| f64::from(u8::from(at >= SERIES_MIN / 2))).collect();
        assert!(unlike_part(&halves).unwrap().1 < 0.05 && unlike_part(&halves[1..]).unwrap().1 > 0.05);
        // all the same: any order is as clear
        assert_eq!(unlike_part(&[2.0; 8]).unwrap().1, 1.0);
    }
}
