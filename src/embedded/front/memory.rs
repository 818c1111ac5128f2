//! The limit on the memory of requests: what their bodies and their parsed forms hold at once. What a client only
//! announces does not count. Must not know what is held.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::embedded::error::{Code, Error};

/// The limit, unless another is set or the process may use less.
const DEFAULT: usize = 4 << 30;
/// Requests get at most 1 / PART of the memory that this process may use.
const PART: usize = 2;

static LIMIT: OnceLock<usize> = OnceLock::new();
static HELD: AtomicUsize = AtomicUsize::new(0);

/// Sets the limit in bytes, before anything is held; `None` is the default.
pub fn set_limit(bytes: Option<usize>) {
    let _ = LIMIT.set(bytes.unwrap_or_else(default));
}

/// The limit in bytes.
pub fn limit() -> usize {
    *LIMIT.get_or_init(default)
}

/// At most half of what the process may use: its models need memory too.
fn default() -> usize {
    allowed().into_iter().map(|bytes| bytes / PART).fold(DEFAULT, usize::min)
}

/// The limits of this process: its address space, its control group and the machine, as far as they can be read.
fn allowed() -> Vec<usize> {
    let mut limits = Vec::new();
    #[cfg(target_os = "linux")]
    {
        use nix::sys::resource::{Resource, getrlimit};

        let first = |file: &str, unit: usize| {
            let text = std::fs::read_to_string(file).ok()?;
            let number = text.split_whitespace().find_map(|word| word.parse::<usize>().ok())?;
            number.checked_mul(unit)
        };
        limits.extend(getrlimit(Resource::RLIMIT_AS).ok().and_then(|(soft, _)| usize::try_from(soft).ok()));
        limits.extend(first("/sys/fs/cgroup/memory.max", 1));
        limits.extend(first("/sys/fs/cgroup/memory/memory.limit_in_bytes", 1));
        // its first line is MemTotal, in KiB
        limits.extend(first("/proc/meminfo", 1024));
    }
    limits
}

/// Memory that counts as held until this is dropped.
#[derive(Debug, Default)]
pub struct Grant {
    bytes: usize,
}

impl Grant {
    /// A grant of `bytes`.
    ///
    /// # Errors
    /// They would exceed the limit.
    pub fn of(bytes: usize) -> Result<Self, Error> {
        let mut grant = Grant::default();
        grant.at_least(bytes)?;
        Ok(grant)
    }

    /// Grows the grant to at least `bytes`.
    ///
    /// # Errors
    /// They would exceed the limit; the grant stays as it is.
    pub fn at_least(&mut self, bytes: usize) -> Result<(), Error> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let limit = limit();
        let granted = |held: usize| held.checked_add(more).filter(|held| *held <= limit);
        HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, granted)
            .map_err(|_| exceeded(limit))?;
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        HELD.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

fn exceeded(limit: usize) -> Error {
    Error::new(
        Code::Unavailable,
        format!(
            "the requests that this server holds at once may have {limit} bytes (--request-memory): send fewer or smaller \
             ones at a time"
        ),
    )
}
