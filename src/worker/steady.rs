//! Whether latencies are steady while a worker warms up. Pure: knows neither clocks nor servers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A window has so many requests and so much time at least.
const REQUESTS_LEAST: u64 = 10;
const TIME_LEAST: Duration = Duration::from_millis(250);
/// Once there are so many windows, two neighbours become one, and windows are twice as long from then on.
const WINDOWS_MOST: usize = 64;
/// The time so far is split into so many parts; all but the first have to agree.
const PARTS: usize = 4;

/// Latencies since a worker began to warm up. They are steady once the means over the last three quarters of the time so far agree: as
/// that time grows, chance matters less, and what was slow at first falls into the first quarter.
#[derive(Debug)]
pub struct Steadiness {
    /// By which part of it the largest mean may exceed the smallest.
    within: f64,
    windows: Vec<Window>,
    open: Window,
    requests_least: u64,
    time_least: Duration,
    /// Whether they were steady once: then nobody goes on.
    is_steady: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    begin: Duration,
    end: Duration,
    requests: u64,
    latency_ns: u64,
}

impl Window {
    fn mean_ns(&self) -> f64 {
        self.latency_ns as f64 / self.requests.max(1) as f64
    }

    fn with(self, other: Window) -> Window {
        Window {
            begin: self.begin.min(other.begin),
            end: self.end.max(other.end),
            requests: self.requests + other.requests,
            latency_ns: self.latency_ns.saturating_add(other.latency_ns),
        }
    }
}

/// All windows as one.
fn all_of(windows: &[Window]) -> Window {
    windows.iter().copied().reduce(Window::with).unwrap_or_default()
}

/// What came before latencies were steady, as exact as windows are: ten requests or a quarter of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The time until then.
    pub after: Duration,
    /// The requests until then.
    pub requests: u64,
    /// What these took beyond the steady mean, all together.
    pub beyond: Duration,
    /// The steady mean.
    pub mean: Duration,
}

impl Steadiness {
    /// Nothing is known yet.
    pub fn new(within: f64) -> Self {
        let (windows, open) = (Vec::with_capacity(WINDOWS_MOST), Window::default());
        Steadiness {
            within,
            windows,
            open,
            requests_least: REQUESTS_LEAST,
            time_least: TIME_LEAST,
            is_steady: false,
        }
    }

    /// Adds an answer, `at` after the begin.
    pub fn add(&mut self, at: Duration, latency_ns: u64) {
        self.open = self.open.with(Window { begin: at, end: at, requests: 1, latency_ns });
        if self.open.requests < self.requests_least || at.saturating_sub(self.open.begin) < self.time_least {
            return;
        }
        self.windows.push(self.open);
        self.open = Window { begin: at, ..Window::default() };
        self.is_steady |= self.agrees();
        if self.windows.len() == WINDOWS_MOST {
            self.windows = self.windows.chunks(2).map(|pair| pair[0].with(pair[1])).collect();
            self.requests_least *= 2;
            self.time_least *= 2;
        }
    }

    /// Whether they were steady once.
    pub fn is_steady(&self) -> bool {
        self.is_steady
    }

    fn agrees(&self) -> bool {
        let part = self.windows.len() / PARTS;
        if part == 0 {
            return false;
        }
        let means = || self.later().chunks(part).map(|part| all_of(part).mean_ns());
        let (least, most) = (means().fold(f64::INFINITY, f64::min), means().fold(0.0, f64::max));
        most <= least * (1.0 + self.within)
    }

    /// The parts that have to agree.
    fn later(&self) -> &[Window] {
        let part = self.windows.len() / PARTS;
        &self.windows[self.windows.len() - (PARTS - 1) * part..]
    }

    /// What came before latencies were steady; `None` if they are not.
    pub fn settled(&self) -> Option<Settled> {
        if !self.is_steady() {
            return None;
        }
        let mean_ns = all_of(self.later()).mean_ns();
        let is_off = |window: &Window| window.mean_ns() > mean_ns * (1.0 + self.within);
        let before = self.windows.iter().rposition(is_off).map_or(0, |last| last + 1);
        let before = all_of(&self.windows[..before]);
        let beyond_ns = before.latency_ns as f64 - before.requests as f64 * mean_ns;
        Some(Settled {
            after: before.end,
            requests: before.requests,
            beyond: Duration::from_nanos(beyond_ns.max(0.0) as u64),
            mean: Duration::from_nanos(mean_ns as u64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many requests, one after the other, it takes until latencies in milliseconds are steady within 5 %; at most a million.
    fn steady_after(latency_ms: impl Fn(u64) -> f64) -> Option<u64> {
        let mut steadiness = Steadiness::new(0.05);
        let mut at = Duration::ZERO;
        (0..1_000_000).find(|number| {
            let latency = Duration::from_secs_f64(latency_ms(*number) / 1e3);
            at += latency;
            steadiness.add(at, latency.as_nanos() as u64);
            steadiness.is_steady()
        })
    }

    #[test]
    fn what_is_steady_from_the_start_takes_four_windows() {
        // ten requests a window, and a quarter of a second
        assert_eq!(steady_after(|_| 50.0), Some(39));
        assert_eq!(steady_after(|_| 1.0), Some(999));
    }

    #[test]
    fn what_is_slow_at_first_is_left_behind() {
        // twenty slow requests are in the first quarter after three times as long
        let after = steady_after(|number| if number < 20 { 30.0 } else { 3.0 }).unwrap();
        assert!((100..=2000).contains(&after), "{after}");
        // a decay has to be nearly over before means are within 5 %
        let decay = |number: u64| 2.0 + 20.0 * (-(number as f64) / 200.0).exp();
        let after = steady_after(decay).unwrap();
        assert!(decay(after / 4) < 2.0 * 1.5 && after < 10_000, "{after}");
    }

    #[test]
    fn two_kinds_of_requests_are_steady_once_chance_matters_less() {
        // half of them ten times as slow, as if drawn
        let two = |number: u64| if number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63 == 0 { 1.0 } else { 10.0 };
        let after = steady_after(two).unwrap();
        assert!((100..20_000).contains(&after), "{after}");
    }

    #[test]
    fn what_came_before_is_told() {
        // fifty of 32 ms, and 2 ms from then on
        let mut steadiness = Steadiness::new(0.05);
        let mut at = Duration::ZERO;
        for number in 0..3000 {
            let latency = Duration::from_millis(if number < 50 { 32 } else { 2 });
            at += latency;
            steadiness.add(at, latency.as_nanos() as u64);
        }
        let settled = steadiness.settled().unwrap();
        assert_eq!((settled.requests, settled.mean), (50, Duration::from_millis(2)));
        assert_eq!((settled.after, settled.beyond), (Duration::from_millis(1600), Duration::from_millis(1500)));
        assert_eq!(Steadiness::new(0.05).settled(), None);
    }

    #[test]
    fn what_keeps_growing_is_never_steady() {
        // by a thousandth a request: a quarter of the time is always more than 5 %
        assert_eq!(steady_after(|number| 1.0 + number as f64 / 1000.0), None);
        assert!(!Steadiness::new(0.05).is_steady());
    }
}
