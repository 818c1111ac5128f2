//! Seeded random numbers for stand-in weights: the same seed gives the same bytes on every platform.
//! Knows nothing of graphs or files.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Standard deviation of the sum of four uniform 16-bit integers: sqrt(4 * (65536^2 - 1) / 12).
const SUM_DEVIATION: f64 = 37_837.227_237;
/// Mean of the same sum: 4 * 65535 / 2.
const SUM_MEAN: i32 = 131_070;

/// A stream of weights, one tensor after the other.
pub struct Weights(ChaCha8Rng);

impl Weights {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Weights(ChaCha8Rng::seed_from_u64(seed))
    }

    /// `count` bell-shaped values around `mean`, as the little-endian bytes of f32.
    ///
    /// A sum of four uniform integers, not Box-Muller: integers and one multiplication are exact everywhere, while the
    /// logarithm and cosine of one libm differ from another's in the last bit. It also bounds the values to
    /// `mean` +- 3.47 `deviation`.
    pub fn bell(&mut self, count: usize, mean: f32, deviation: f64) -> Vec<u8> {
        let scale = (deviation / SUM_DEVIATION) as f32;
        let mut bytes = Vec::with_capacity(count * 4);
        for _ in 0..count {
            let lanes = self.0.next_u64();
            let sum = (0..4).map(|lane| (lanes >> (16 * lane)) as u16 as i32).sum::<i32>() - SUM_MEAN;
            bytes.extend_from_slice(&(mean + sum as f32 * scale).to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(bytes: &[u8]) -> Vec<f64> {
        bytes
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()) as f64)
            .collect()
    }

    #[test]
    fn have_the_asked_mean_and_deviation() {
        let values = values(&Weights::new(7).bell(200_000, 2.0, 0.5));
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((mean - 2.0).abs() < 0.01, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.005, "{}", variance.sqrt());
        assert!(values.iter().all(|value| (value - 2.0).abs() < 0.5 * 3.4642));
    }

    #[test]
    fn a_seed_is_a_stream() {
        assert_eq!(Weights::new(1).bell(9, 0.0, 1.0), Weights::new(1).bell(9, 0.0, 1.0));
        assert_ne!(Weights::new(1).bell(9, 0.0, 1.0), Weights::new(2).bell(9, 0.0, 1.0));
    }
}
