//! The machine that measures, described. What cannot be known is left out, never guessed. Knows no other module.

use std::fs;

use serde::{Deserialize, Serialize};

/// The client's machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Operating system and its version.
    pub os: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Logical processors that this program may use.
    pub cores: Option<usize>,
    /// Main memory in MiB.
    pub memory_mib: Option<u64>,
}

impl Environment {
    /// Describes this machine.
    pub fn read() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Environment {
            os: os_name(&read("/etc/os-release")).unwrap_or_else(|| std::env::consts::OS.to_owned()),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_owned()).filter(|kernel| !kernel.is_empty()),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal").and_then(|text| kib(&text)).map(|kib| kib / 1024),
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let mut parts = vec![self.os.clone()];
        parts.extend(self.cpu.clone());
        parts.extend(self.cores.map(|cores| format!("{cores} cores")));
        parts.extend(self.memory_mib.map(|mib| format!("{:.1} GiB", mib as f64 / 1024.0)));
        parts.join(", ")
    }
}

fn os_name(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// The first `name : value` of a /proc file.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_read() {
        assert_eq!(os_name("NAME=x\nPRETTY_NAME=\"Debian 12\"\n").as_deref(), Some("Debian 12"));
        assert_eq!(field("a: 1\nmodel name\t: CPU @ 2: GHz\n", "model name").as_deref(), Some("CPU @ 2: GHz"));
        assert_eq!(kib("24607464 kB"), Some(24_607_464));
        assert_eq!(field("", "model name"), None);
    }
}
