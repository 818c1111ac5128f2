//! How many of some requests may take too long before a percentile cannot be told to be within a bound any more: MLPerf's early
//! stopping. Pure: knows nothing of measuring.
//!
//! If a share `q = 1 - percentile` of all requests takes too long, at most `t` of `n` do so with the probability
//! `P(X <= t)`, `X` binomial. A bound holds with confidence `c` if what was seen is less probable than `1 - c` for a system that
//! just breaks it: `P(X <= t) <= 1 - c`. Source: MLPerf Inference rules, appendix "Early Stopping Criterion".

use std::f64::consts::PI;

/// From this share of a sum on, a further term of a falling series changes nothing.
const NEGLIGIBLE: f64 = 1e-17;
/// No requests are needed beyond this number, whatever is asked: a search ends.
const REQUESTS_MAX: u64 = 1 << 52;

/// The most of `requests` that may take too long while the percentile, such as 0.99, is within the bound with this confidence; `None`
/// if not even all of them within it would show that.
pub fn allowed(requests: u64, percentile: f64, confidence: f64) -> Option<u64> {
    let shows = |over: u64| at_most(over, requests, 1.0 - percentile) <= 1.0 - confidence;
    if !shows(0) {
        return None;
    }
    // the largest that shows it, of which there is one: more show less
    let (mut low, mut high) = (0, requests);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if shows(middle) { low = middle } else { high = middle }
    }
    Some(low)
}

/// The fewest requests of which `over` may take too long; see [`allowed`].
pub fn needed(over: u64, percentile: f64, confidence: f64) -> u64 {
    let shows = |requests: u64| at_most(over, requests, 1.0 - percentile) <= 1.0 - confidence;
    let mut high = over + 1;
    while !shows(high) && high < REQUESTS_MAX {
        high *= 2;
    }
    let mut low = over;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if shows(middle) { high = middle } else { low = middle }
    }
    high
}

/// The probability that at most `over` of `requests` are of a kind that a share `q` is of. From the largest term down, each from the
/// one above it: no two large numbers are subtracted. Far too many terms are one number, as where `over` is no less than the mean.
fn at_most(over: u64, requests: u64, q: f64) -> f64 {
    if over >= requests {
        return 1.0;
    }
    // more than half of the probability: no caller asks how much more
    if over as f64 >= requests as f64 * q {
        return 1.0;
    }
    let odds = (1.0 - q) / q;
    let (mut term, mut sum) = (1.0, 1.0);
    for count in (1..=over).rev() {
        term *= count as f64 / (requests - count + 1) as f64 * odds;
        sum += term;
        if term < NEGLIGIBLE * sum {
            break;
        }
    }
    ln_probability(over, requests, q).exp() * sum
}

/// The logarithm of the binomial probability of `k` of `n`. Differences of logarithms of factorials lose all digits where `n` is
/// large; saddle points do not. Source: C. Loader, Fast and accurate computation of binomial probabilities, 2000.
fn ln_probability(k: u64, n: u64, q: f64) -> f64 {
    let rest = n - k;
    if k == 0 {
        return n as f64 * (-q).ln_1p();
    }
    if rest == 0 {
        return n as f64 * q.ln();
    }
    let (all, some, others) = (n as f64, k as f64, rest as f64);
    let exponent = stirling_error(n)
        - stirling_error(k)
        - stirling_error(rest)
        - deviance(some, all * q)
        - deviance(others, all * (1.0 - q));
    exponent + 0.5 * (all / (2.0 * PI * some * others)).ln()
}

/// The logarithm of `n!` over Stirling's approximation of it.
fn stirling_error(n: u64) -> f64 {
    let x = n as f64;
    if n < 16 {
        let factorial: f64 = (1..=n).map(|factor| factor as f64).product();
        return factorial.ln() - (0.5 * (2.0 * PI * x).ln() + x * x.ln() - x);
    }
    let square = x * x;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square)
        / x
}

/// `x ln(x / mean) + mean - x`, without cancellation where both are close.
fn deviance(x: f64, mean: f64) -> f64 {
    let distance = x - mean;
    if distance.abs() >= 0.1 * (x + mean) {
        return x * (x / mean).ln() - distance;
    }
    let v = distance / (x + mean);
    let mut sum = distance * v;
    let mut term = 2.0 * x * v;
    for odd in (3..).step_by(2) {
        term *= v * v;
        let next = sum + term / f64::from(odd);
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statrs::distribution::{Binomial, DiscreteCDF};

    use super::*;

    /// What the function of LoadGen 6.0 gives (`MinPassingQueriesFinder`), with a tolerance of 0: requests that may take too long,
    /// percentile, confidence, all requests that it takes. 64, 130, 662 and 6636 are also the fewest that its rules publish.
    const OF_LOADGEN: &[(u64, f64, f64, u64)] = &[
        (0, 0.9, 0.99, 44),
        (1, 0.9, 0.99, 64),
        (1, 0.95, 0.99, 130),
        (1, 0.99, 0.99, 662),
        (1, 0.999, 0.99, 6636),
        (2, 0.99, 0.99, 838),
        (10, 0.9, 0.95, 167),
        (10, 0.97, 0.99, 667),
        (100, 0.99, 0.99, 12_571),
        (100, 0.999, 0.95, 118_071),
        (1000, 0.95, 0.99, 21_483),
        (10_000, 0.99, 0.95, 1_016_523),
        (10_000, 0.9, 0.99, 102_231),
        (50_000, 0.97, 0.99, 1_683_826),
        (50_000, 0.999, 0.99, 50_522_402),
    ];

    #[test]
    fn the_requests_needed_are_those_of_loadgen() {
        for &(over, percentile, confidence, requests) in OF_LOADGEN {
            assert_eq!(needed(over, percentile, confidence), requests, "{over} beyond {percentile}, {confidence}");
            assert_eq!(allowed(requests, percentile, confidence), Some(over), "{requests} at {percentile}");
            let fewer = over.checked_sub(1);
            assert_eq!(allowed(requests - 1, percentile, confidence), fewer, "{requests} - 1 at {percentile}");
        }
    }

    #[test]
    fn what_may_take_too_long_is_what_loadgen_discards() {
        // from its loop over numbers of requests, for the 90th, 99th and 99.9th percentile; it writes 0 where not one may
        for (requests, expected) in [
            (63, [0, 0, 0]),
            (100, [3, 0, 0]),
            (661, [48, 0, 0]),
            (1000, [78, 2, 0]),
            (10_000, [930, 77, 2]),
            (24_576, [2348, 209, 13]),
            (270_336, [26_670, 2583, 232]),
        ] {
            let found = [0.9, 0.99, 0.999].map(|percentile| allowed(requests, percentile, 0.99).unwrap_or(0));
            assert_eq!(found, expected, "{requests}");
        }
    }

    #[test]
    fn it_is_exact_for_as_many_requests_as_anyone_sends() {
        // computed with 50 digits
        for (requests, percentile, expected) in [
            (1_000_000, 0.9, 99_302),
            (1_000_000, 0.999, 926),
            (10_000_000, 0.95, 498_396),
            (10_000_000, 0.99, 99_268),
            (100_000_000, 0.9, 9_993_021),
            (100_000_000, 0.95, 4_994_930),
            (100_000_000, 0.99, 997_685),
            (100_000_000, 0.999, 99_264),
        ] {
            assert_eq!(allowed(requests, percentile, 0.99), Some(expected), "{requests} at {percentile}");
        }
    }

    proptest! {
        #[test]
        fn probabilities_are_those_of_the_binomial_distribution(requests in 1_u64..2000, part in 0.0..1.0_f64, q in 0.001..0.5_f64) {
            let over = (part * requests as f64 * q) as u64;
            let expected = Binomial::new(q, requests).unwrap().cdf(over);
            let found = at_most(over, requests, q);
            // the mean and what is above it are not asked for
            if (over as f64) < requests as f64 * q {
                prop_assert!((found - expected).abs() <= 1e-9 * expected + 1e-300, "{found} {expected}");
            }
        }

        #[test]
        fn needed_and_allowed_say_the_same(over in 0_u64..300, percentile in 0.5..0.9995_f64, confidence in 0.6..0.999_f64) {
            let requests = needed(over, percentile, confidence);
            prop_assert!(allowed(requests, percentile, confidence) >= Some(over));
            prop_assert!(requests == 1 || allowed(requests - 1, percentile, confidence) < Some(over));
        }
    }
}
