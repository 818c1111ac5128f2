//! The clock that the processes of one machine share. Knows no other module.

/// Nanoseconds of the machine's monotonic clock: the same time line for all processes of a machine that were started in the
/// same time namespace, and for no other machine's.
#[cfg(unix)]
pub fn shared_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| std::time::Duration::from(time).as_nanos() as u64)
}

/// Nanoseconds of the machine's clock: no monotonic one is shared by processes here.
#[cfg(not(unix))]
pub fn shared_ns() -> u64 {
    unix_ns()
}

/// Nanoseconds of the Unix epoch, by the wall clock, which says when something was, and never how long it took.
pub fn unix_ns() -> u64 {
    use std::time::{SystemTime, UNIX_EPOCH};
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_clock_goes_on() {
        let before = shared_ns();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(shared_ns() >= before + 1_000_000);
    }
}
