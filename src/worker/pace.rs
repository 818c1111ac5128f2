//! A wait that is finer than a runtime's timer. Must not know what is waited for.

use std::time::{Duration, Instant};

use tokio::task::yield_now;

/// The end of a wait is spent awake: a sleeping core wakes up too late.
const AWAKE: Duration = Duration::from_micros(120);

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
    use super::*;

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
