//! A histogram in HdrHistogram's V2 format, as snapshots and logs have it: one with this program's bounds, or none. A few
//! damaged bytes may announce gigabytes, so what the head says is checked before anything is made. Knows no other module.

use std::io::Read;

use anyhow::{Context, Result, anyhow, ensure};
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;

use super::{DIGITS, HIGHEST_NS};

/// What the format begins with.
const PLAIN: u32 = 0x1c84_9313;
/// What it begins with where the rest is compressed; the length of that follows.
const COMPRESSED: u32 = 0x1c84_9314;
const HEAD_BYTES: usize = 40;
/// No histogram of these bounds is longer: a test tells how long they are.
const BYTES_MAX: usize = 512 * 1024;
/// A number whose negation overflows in the library; no count is as large.
const LEAST: [u8; 9] = [0xff; 9];

/// Decodes a histogram.
///
/// # Errors
/// It is not one of this program.
pub fn decoded(encoded: &[u8]) -> Result<Histogram<u64>> {
    let mut unpacked = Vec::new();
    let mut plain = encoded;
    if let Some((head, packed)) = encoded.split_first_chunk::<8>()
        && number(head, 0) == Some(COMPRESSED)
    {
        let read = ZlibDecoder::new(packed).take(BYTES_MAX as u64).read_to_end(&mut unpacked);
        read.context("the histogram cannot be unpacked")?;
        plain = &unpacked;
    }
    let length = plain.len().checked_sub(HEAD_BYTES).context("the histogram is cut short")?;
    let said = [0, 4, 12, 16, 20, 24, 28].map(|at| number(plain, at).unwrap_or_default());
    let high = [(HIGHEST_NS >> 32) as u32, HIGHEST_NS as u32];
    ensure!(said == [PLAIN, length as u32, DIGITS.into(), 0, 1, high[0], high[1]], "the histogram has other bounds");
    ensure!(!plain.windows(LEAST.len()).any(|bytes| bytes == LEAST), "the histogram has an impossible count");
    let read = Deserializer::new().deserialize(&mut &plain[..]);
    read.map_err(|error| anyhow!("the histogram cannot be read: {error:?}"))
}

/// The 32-bit number at a place.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};

    use super::*;
    use crate::recorder::Distribution;

    fn plain(histogram: &Histogram<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        V2Serializer::new().serialize(histogram, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn both_forms_are_read_and_the_longest_fits() {
        let mut distribution = Distribution::default();
        [1, 1_000_000, HIGHEST_NS].into_iter().for_each(|ns| distribution.record(ns));
        let mut packed = Vec::new();
        V2DeflateSerializer::new().serialize(distribution.histogram(), &mut packed).unwrap();
        assert_eq!(decoded(&packed).unwrap(), *distribution.histogram());
        assert_eq!(decoded(&plain(distribution.histogram())).unwrap(), *distribution.histogram());
        // a count has nine bytes at most
        assert!(HEAD_BYTES + 9 * distribution.histogram().distinct_values() < BYTES_MAX);
    }

    #[test]
    fn a_head_that_announces_too_much_takes_no_memory() {
        let good = plain(Distribution::default().histogram());
        for (at, value, words) in [
            (0, 0x1c84_9311, "other bounds"),
            // 4 GiB of counts
            (4, u32::MAX, "other bounds"),
            // five digits up to 2^64 ns: 50 MB of buckets
            (12, 5, "other bounds"),
            (24, u32::MAX, "other bounds"),
            (8, 1, "cannot be read"),
        ] {
            let mut damaged = good.clone();
            damaged[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
            let error = format!("{:#}", decoded(&damaged).unwrap_err());
            assert!(error.contains(words), "{at}: {error}");
        }
        let other = plain(&Histogram::new_with_bounds(1, 1_000_000, 3).unwrap());
        assert!(decoded(&other).unwrap_err().to_string().contains("other bounds"));
        assert!(decoded(&good[..39]).unwrap_err().to_string().contains("cut short"));
        let mut impossible = [&good[..], &LEAST].concat();
        let length = (impossible.len() - HEAD_BYTES) as u32;
        impossible[4..8].copy_from_slice(&length.to_be_bytes());
        assert!(decoded(&impossible).unwrap_err().to_string().contains("impossible count"));
    }
}
