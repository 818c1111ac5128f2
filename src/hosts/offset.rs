//! How far another host's clock is from this one's, by round trips over the stream to it. Pure: knows neither clocks nor
//! streams.

use std::collections::VecDeque;

/// Two clocks drift apart by at most this share of the time between: quartz is good to 50 parts in a million, and each may be
/// steered a little.
const DRIFT: f64 = 200e-6;
/// Round trips that are kept.
const KEPT: usize = 64;

/// A round trip: both ends by this machine's clock, and the other host's clock in between, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// When the question went out.
    pub sent_ns: u64,
    /// When the answer was there.
    pub back_ns: u64,
    /// What the other host's clock said.
    pub there_ns: u64,
}

impl RoundTrip {
    /// How long it took, in nanoseconds.
    pub fn length_ns(&self) -> u64 {
        self.back_ns.saturating_sub(self.sent_ns)
    }

    /// The offset that it shows. The other clock was read at some instant between both ends, wherever: half of the round trip
    /// bounds the error.
    fn offset(&self) -> Offset {
        let middle = i128::from(self.sent_ns) + i128::from(self.length_ns() / 2);
        Offset {
            offset_ns: (i128::from(self.there_ns) - middle) as i64,
            error_ns: self.length_ns() / 2 + 1,
        }
    }
}

/// How far another host's clock is ahead of this one's, and how far off that may be at most, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offset {
    /// The other clock's time less this one's.
    pub offset_ns: i64,
    /// The largest error of it.
    pub error_ns: u64,
}

impl Offset {
    /// An instant of this machine, by the other's clock.
    pub fn there(&self, here_ns: u64) -> u64 {
        here_ns.saturating_add_signed(self.offset_ns)
    }

    /// Nanoseconds by which the two clocks moved against each other beyond all errors; 0 if they may not have moved, `elapsed_ns`
    /// after `self` was found.
    pub fn moved_ns(&self, later: Offset, elapsed_ns: u64) -> u64 {
        let allowed = self.error_ns + later.error_ns + drift(elapsed_ns);
        self.offset_ns.abs_diff(later.offset_ns).saturating_sub(allowed)
    }
}

fn drift(elapsed_ns: u64) -> u64 {
    (elapsed_ns as f64 * DRIFT) as u64
}

/// The latest round trips to a host.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips(VecDeque<RoundTrip>);

impl RoundTrips {
    /// Adds one.
    pub fn add(&mut self, trip: RoundTrip) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(trip);
    }

    /// The offset at an instant of this machine's clock, by the round trips that began after `since_ns`: of the shortest one,
    /// where an older one counts as longer by what clocks drift. `None` without any.
    pub fn offset(&self, since_ns: u64, at_ns: u64) -> Option<Offset> {
        let aged = |trip: &RoundTrip| {
            let offset = trip.offset();
            Offset { error_ns: offset.error_ns + drift(at_ns.saturating_sub(trip.back_ns)), ..offset }
        };
        let recent = self.0.iter().filter(|trip| trip.sent_ns >= since_ns);
        recent.map(aged).min_by_key(|offset| offset.error_ns)
    }

    /// The shortest of those that are kept, in nanoseconds.
    pub fn shortest_ns(&self) -> Option<u64> {
        self.0.iter().map(RoundTrip::length_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MS;

    /// A round trip to a clock that is ahead by `offset`: what it takes there and back.
    fn trip(sent_ns: u64, there: u64, back: u64, offset: i64) -> RoundTrip {
        let there_ns = (sent_ns + there).saturating_add_signed(offset);
        RoundTrip { sent_ns, back_ns: sent_ns + there + back, there_ns }
    }

    proptest! {
        #[test]
        fn the_true_offset_is_within_the_error(
            trips in prop::collection::vec((0..40 * MS, 0..40 * MS, 0..2000 * MS), 1..80),
            offset in -5_000_000_000_i64..5_000_000_000,
            drift in -150e-6..150e-6_f64,
        ) {
            let mut known = RoundTrips::default();
            let mut now = 1000 * SECOND;
            let at = |now: u64| offset + ((now - 1000 * SECOND) as f64 * drift) as i64;
            for (there, back, pause) in trips {
                now += pause;
                known.add(trip(now, there, back, at(now + there)));
                now += there + back;
            }
            let found = known.offset(0, now).unwrap();
            prop_assert!(found.offset_ns.abs_diff(at(now)) <= found.error_ns + 2, "{found:?}, {}", at(now));
        }
    }

    #[test]
    fn the_shortest_trip_wins_until_it_is_old() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.offset(0, 0), None);
        trips.add(trip(SECOND, MS / 10, MS / 10, 7));
        trips.add(trip(2 * SECOND, 9 * MS, MS, 7));
        let soon = trips.offset(0, 3 * SECOND).unwrap();
        assert!(soon.error_ns < MS && soon.offset_ns == 7, "{soon:?}");
        // after a minute its clock may have drifted by more than the longer one is off
        let late = trips.offset(0, 60 * SECOND).unwrap();
        assert!(late.error_ns > 10 * MS, "{late:?}");
        assert!(trips.offset(3 * SECOND, 60 * SECOND).is_none());
        assert_eq!(trips.shortest_ns(), Some(MS / 5));
    }

    #[test]
    fn a_jump_beyond_errors_and_drift_is_seen_and_no_smaller_one() {
        let before = Offset { offset_ns: 5 * SECOND as i64, error_ns: MS };
        let later = |offset_ns| Offset { offset_ns, error_ns: MS };
        assert_eq!(before.moved_ns(later(5 * SECOND as i64 + 3 * MS as i64), 0), MS);
        assert_eq!(before.moved_ns(later(5 * SECOND as i64 + 3 * MS as i64), 5 * SECOND), 0);
        // one that stands still falls behind
        assert_eq!(before.moved_ns(later(3 * SECOND as i64), SECOND), 2 * SECOND - 2 * MS - MS / 5);
        assert_eq!(before.there(SECOND), 6 * SECOND);
    }
}
