//! Keeps this machine's processors from sleeping between requests. A sleeping processor takes tens of microseconds to
//! wake up, sometimes hundreds, and every latency would include the wake-ups of both server and client.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};

/// Linux's limit on a processor's wake-up latency, which holds as long as its writer keeps the file open.
const LATENCY_LIMIT: &str = "/dev/cpu_dma_latency";

/// No processor sleeps while this exists.
pub(super) struct CpuLatencyLimit {
    _limit: File,
}

impl CpuLatencyLimit {
    /// Asks the system for it.
    ///
    /// # Errors
    /// The system has no such file, or it may not be written.
    pub(super) fn hold() -> Result<Self> {
        Self::by(Path::new(LATENCY_LIMIT))
    }

    fn by(path: &Path) -> Result<Self> {
        let words = || {
            let path = path.display();
            format!("--awake: {path} cannot be written: run as root on Linux, or leave --awake out")
        };
        let mut limit = OpenOptions::new().write(true).open(path).with_context(words)?;
        // microseconds, as a 32-bit number in native byte order
        limit.write_all(&0_i32.to_ne_bytes()).with_context(words)?;
        Ok(CpuLatencyLimit { _limit: limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_is_written_and_what_is_not_there_is_told_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let limit = folder.path().join("limit");
        let error = format!("{:#}", CpuLatencyLimit::by(&limit).err().unwrap());
        assert!(error.contains("--awake: ") && error.contains("leave --awake out"), "{error}");
        assert!(error.contains(&limit.display().to_string()), "{error}");
        std::fs::write(&limit, "").unwrap();
        CpuLatencyLimit::by(&limit).unwrap();
        assert_eq!(std::fs::read(&limit).unwrap(), [0; 4]);
    }
}
