//! The due times of an open loop's requests, and a wait that is finer than a runtime's timer. Must not know
//! connections or recorders.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::task::yield_now;

use super::message::Arrivals;
use crate::matrix::Arrival;

/// The end of a wait is spent awake: a sleeping core wakes up too late.
const AWAKE: Duration = Duration::from_micros(120);

/// Due times of requests, in nanoseconds from a block's start, in order. The memory for drawing them does not grow
/// with their number.
pub struct Schedule {
    arrivals: Arrivals,
    generator: ChaCha8Rng,
    /// Nanoseconds of one drawn unit.
    scale: f64,
    /// Sum of the draws so far.
    drawn: f64,
    next: u64,
    count: u64,
}

impl Schedule {
    /// The first `count` requests of one process. The same arrivals always give the same schedule.
    ///
    /// Poisson arrivals are drawn on condition that `count` of them fall into the time that the rate allows for
    /// `count`: distances are exponential, and the rate is exactly the requested one, not a random one.
    pub fn new(arrivals: Arrivals, count: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(arrivals.seed);
        // processes and blocks have their own streams; protocols share them
        generator.set_stream((u64::from(arrivals.block) << 32) | u64::from(arrivals.process));
        let scale = match arrivals.arrival {
            Arrival::Constant => 1e9 / arrivals.rate,
            Arrival::Poisson => {
                let mut ahead = generator.clone();
                // including the time left after the last arrival
                let drawn: f64 = (0..=count).map(|_| exponential(&mut ahead)).sum();
                1e9 * count as f64 * f64::from(arrivals.processes) / (arrivals.rate * drawn)
            }
        };
        Schedule { arrivals, generator, scale, drawn: 0.0, next: 0, count }
    }
}

impl Iterator for Schedule {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.next == self.count {
            return None;
        }
        let units = match self.arrivals.arrival {
            // processes take turns, so that together they arrive at equal distances
            Arrival::Constant => {
                let turn = self.next * u64::from(self.arrivals.processes) + u64::from(self.arrivals.process);
                turn as f64
            }
            Arrival::Poisson => {
                self.drawn += exponential(&mut self.generator);
                self.drawn
            }
        };
        self.next += 1;
        Some((units * self.scale) as u64)
    }
}

/// An exponential deviate of mean 1.
fn exponential(generator: &mut ChaCha8Rng) -> f64 {
    -(1.0 - generator.random::<f64>()).ln()
}

/// Waits until given instants.
pub struct PreciseTimer {
    #[cfg(target_os = "linux")]
    timer: Option<linux::Timer>,
}

impl Default for PreciseTimer {
    fn default() -> Self {
        Self::new()
    }
}

impl PreciseTimer {
    /// Needs a runtime. Without a system timer it waits with the runtime's.
    pub fn new() -> Self {
        PreciseTimer {
            #[cfg(target_os = "linux")]
            timer: linux::Timer::new().ok(),
        }
    }

    /// Returns at the instant or just after it, at once if it has passed. Other tasks run meanwhile.
    pub async fn until(&mut self, due: Instant) {
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            match left.checked_sub(AWAKE).filter(|asleep| !asleep.is_zero()) {
                Some(asleep) => self.sleep(asleep).await,
                None => yield_now().await,
            }
        }
    }

    /// Sleeps for about `length`, with the system's timer where possible instead of the runtime's.
    #[cfg(target_os = "linux")]
    pub async fn sleep(&mut self, length: Duration) {
        let slept = match &mut self.timer {
            Some(timer) => timer.sleep(length).await.is_ok(),
            None => false,
        };
        if !slept {
            sleep_coarsely(length).await;
        }
    }

    /// Sleeps for about `length`.
    #[cfg(not(target_os = "linux"))]
    pub async fn sleep(&mut self, length: Duration) {
        sleep_coarsely(length).await;
    }
}

/// The runtime's timer is up to two milliseconds late, so the rest is spent awake.
async fn sleep_coarsely(length: Duration) {
    match length.checked_sub(Duration::from_millis(2)) {
        Some(length) => tokio::time::sleep(length).await,
        None => yield_now().await,
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io;
    use std::os::fd::AsFd;
    use std::time::Duration;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::AsyncReadExt;
    use tokio::net::unix::pipe::Receiver;

    /// A system timer, at the system's resolution.
    pub struct Timer {
        timer: TimerFd,
        /// The same descriptor: the runtime reads a timer like a pipe.
        expirations: Receiver,
    }

    impl Timer {
        pub fn new() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let expirations = Receiver::from_owned_fd_unchecked(timer.as_fd().try_clone_to_owned()?)?;
            Ok(Timer { timer, expirations })
        }

        pub async fn sleep(&mut self, length: Duration) -> io::Result<()> {
            let expiration = Expiration::OneShot(TimeSpec::from_duration(length));
            self.timer.set(expiration, TimerSetTimeFlags::empty())?;
            // the number of expirations
            self.expirations.read_u64_le().await.map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrivals(arrival: Arrival, rate: f64, process: u32, processes: u32) -> Arrivals {
        Arrivals { rate, arrival, seed: 7, block: 3, process, processes }
    }

    fn schedule(arrival: Arrival, rate: f64, count: u64) -> Vec<u64> {
        Schedule::new(arrivals(arrival, rate, 0, 1), count).collect()
    }

    /// The largest distance between the distribution of the gaps and the exponential one of that mean.
    fn kolmogorov_smirnov(instants: &[u64], mean_ns: f64) -> f64 {
        let mut gaps: Vec<f64> = instants.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        gaps.sort_by(f64::total_cmp);
        let count = gaps.len() as f64;
        let distance = |(index, gap): (usize, &f64)| {
            let block_run = 1.0 - (-gap / mean_ns).exp();
            (block_run - index as f64 / count)
                .abs()
                .max((block_run - (index + 1) as f64 / count).abs())
        };
        gaps.iter().enumerate().map(distance).fold(0.0, f64::max)
    }

    /// Critical value of the test at 5 % for a given number of gaps.
    fn critical(count: usize) -> f64 {
        1.358 / (count as f64).sqrt()
    }

    #[test]
    fn poisson_distances_are_exponential_and_the_rate_is_kept() {
        let instants = schedule(Arrival::Poisson, 2000.0, 60_000);
        let distance = kolmogorov_smirnov(&instants, 500_000.0);
        assert!(distance < critical(instants.len() - 1), "{distance}");
        let rate = instants.len() as f64 / (*instants.last().unwrap() as f64 / 1e9);
        assert!((rate / 2000.0 - 1.0).abs() < 0.001, "{rate}");
        // and the test can fail
        let constant = schedule(Arrival::Constant, 2000.0, 60_000);
        assert!(kolmogorov_smirnov(&constant, 500_000.0) > 0.3);
    }

    #[test]
    fn processes_together_are_poisson_too() {
        let of = |process| Schedule::new(arrivals(Arrival::Poisson, 3000.0, process, 3), 10_000);
        let mut all: Vec<u64> = (0..3).flat_map(of).collect();
        all.sort_unstable();
        let distance = kolmogorov_smirnov(&all, 1e9 / 3000.0);
        assert!(distance < critical(all.len() - 1), "{distance}");
    }

    #[test]
    fn processes_take_turns_at_equal_distances() {
        let of = |process| Schedule::new(arrivals(Arrival::Constant, 100.0, process, 4), 25);
        let mut all: Vec<u64> = (0..4).flat_map(of).collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).map(|n| n * 10_000_000).collect::<Vec<u64>>());
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_others_give_others() {
        let base = arrivals(Arrival::Poisson, 50.0, 0, 2);
        let of = |arrivals| Schedule::new(arrivals, 100).collect::<Vec<u64>>();
        assert_eq!(of(base), of(base));
        for other in [Arrivals { seed: 8, ..base }, Arrivals { block: 4, ..base }, Arrivals { process: 1, ..base }] {
            assert_ne!(of(base), of(other));
        }
    }

    proptest! {
        #[test]
        fn instants_are_in_order_and_within_their_time(rate in 0.001..1e6_f64, count in 0_u64..500, poisson: bool) {
            let arrival = if poisson { Arrival::Poisson } else { Arrival::Constant };
            let instants = schedule(arrival, rate, count);
            prop_assert_eq!(instants.len() as u64, count);
            prop_assert!(instants.is_sorted());
            prop_assert!(instants.iter().all(|instant| *instant as f64 <= count as f64 / rate * 1e9 * (1.0 + 1e-9)));
        }
    }

    #[test]
    fn the_pacer_is_never_early() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut timer = PreciseTimer::new();
            for us in [0, 10, 200, 1500] {
                let due = Instant::now() + Duration::from_micros(us);
                timer.until(due).await;
                assert!(Instant::now() >= due);
            }
            let passed = Instant::now();
            timer.until(passed - Duration::from_millis(1)).await;
        });
    }
}
