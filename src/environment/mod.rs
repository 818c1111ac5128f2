//! The machine that measures, described. What cannot be known is left out, never guessed.

mod docker;
mod gpu;

use std::fs;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};
use tokio::join;
use tokio::task::spawn_blocking;

use crate::text;
pub use gpu::Gpus;

/// The client's machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Environment {
    /// Operating system and its version; on Linux the distribution.
    pub os: String,
    /// The family of its commands: `linux`, `macos`, `windows`.
    pub family: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Version of the Windows Subsystem for Linux.
    pub wsl: Option<String>,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Logical processors that this program may use.
    pub cores: Option<usize>,
    /// The processors' frequency governor.
    pub governor: Option<String>,
    /// Whether they may exceed their nominal clock.
    pub turbo: Option<bool>,
    /// Main memory in MiB.
    pub memory_mib: Option<u64>,
    /// Limits of the control group: processors, and memory in MiB.
    pub cgroup_cpus: Option<f64>,
    /// See `cgroup_cpus`.
    pub cgroup_memory_mib: Option<u64>,
    /// Processes that ran or wanted to in the minute before the run.
    pub load_average: Option<f64>,
    /// The graphics processors of this machine.
    pub gpus: Gpus,
    /// Version of the Docker engine.
    pub docker: Option<String>,
    /// Image of the container that publishes the server's port on this machine.
    pub server_image: Option<String>,
}

impl Environment {
    /// Describes this machine. `server_port` is the server's port if it is on this machine.
    pub async fn read(server_port: Option<u16>) -> Self {
        // the graphics library may take a second to load
        let machine = spawn_blocking(|| Environment { gpus: Gpus::read(), ..machine() });
        let (docker, server_image, machine) = join!(docker::version(), docker::image(server_port), machine);
        Environment { docker, server_image, ..machine.unwrap_or_default() }.shown()
    }

    /// Makes the text from files and other programs fit to be shown.
    fn shown(mut self) -> Self {
        let Gpus { devices, driver, cuda } = &mut self.gpus;
        let known = [&mut self.kernel, &mut self.wsl, &mut self.cpu, &mut self.governor, &mut self.docker];
        let known = known.into_iter().chain([&mut self.server_image, driver, cuda]).flatten();
        for words in known.chain([&mut self.os]).chain(devices.iter_mut().map(|(name, _)| name)) {
            *words = text::name(words);
        }
        self
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

fn machine() -> Environment {
    let asked = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(asked);
    let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
    let kernel = System::kernel_version();
    Environment {
        os: os(),
        family: std::env::consts::OS.to_owned(),
        wsl: kernel.as_deref().and_then(wsl),
        kernel,
        cpu: brand.filter(|brand| !brand.is_empty()),
        cores: std::thread::available_parallelism().ok().map(usize::from),
        memory_mib: Some(system.total_memory() >> 20).filter(|mib| *mib > 0),
        // Windows has none
        load_average: cfg!(unix).then(|| System::load_average().one),
        ..linux_limits(&|path| fs::read_to_string(path).ok())
    }
}

/// Its name and version: on Linux the distribution's.
fn os() -> String {
    let distribution = System::name()
        .zip(System::os_version())
        .map(|(name, version)| format!("{name} {version}"));
    let name = if cfg!(target_os = "linux") { distribution } else { System::long_os_version() };
    name.unwrap_or_else(|| std::env::consts::OS.to_owned())
}

/// The processors' clock and the control group's limits, from the files of /sys.
fn linux_limits(read: &dyn Fn(&str) -> Option<String>) -> Environment {
    let word = |path: &str| read(path).map(|text| text.trim().to_owned());
    let boost = word("/sys/devices/system/cpu/cpufreq/boost").map(|word| word == "1");
    let no_turbo = word("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|word| word == "0");
    Environment {
        governor: word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        turbo: no_turbo.or(boost),
        cgroup_cpus: word("/sys/fs/cgroup/cpu.max").and_then(|text| cpu_max(&text)),
        cgroup_memory_mib: word("/sys/fs/cgroup/memory.max").and_then(|text| mib(&text)),
        ..Environment::default()
    }
}

/// WSL's kernels are called `5.15.153.1-microsoft-standard-WSL2`, those of its first version `4.4.0-19041-Microsoft`.
fn wsl(kernel: &str) -> Option<String> {
    let kernel = kernel.to_lowercase();
    if !kernel.contains("microsoft") {
        return None;
    }
    Some(if kernel.contains("wsl2") { "2" } else { "1" }.to_owned())
}

/// MiB of a number of bytes; `None` for `max`.
fn mib(bytes: &str) -> Option<u64> {
    Some(bytes.parse::<u64>().ok()? >> 20)
}

/// `200000 100000`: microseconds in each period; `None` for `max 100000`.
fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let cpus = quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?;
    cpus.is_finite().then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let found = machine();
        assert!(!found.os.is_empty() && found.kernel.is_some(), "{found:?}");
        assert!(found.cores > Some(0) && found.memory_mib > Some(100), "{found:?}");
    }

    #[test]
    fn a_linux_machine_s_clock_and_limits_are_read() {
        let read = |path: &str| {
            let text = match path {
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor" => "performance\n",
                "/sys/devices/system/cpu/cpufreq/boost" => "1\n",
                "/sys/fs/cgroup/cpu.max" => "150000 100000\n",
                "/sys/fs/cgroup/memory.max" => "max\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let expected = Environment {
            governor: Some("performance".to_owned()),
            turbo: Some(true),
            cgroup_cpus: Some(1.5),
            ..Environment::default()
        };
        assert_eq!(linux_limits(&read), expected);
        assert_eq!(linux_limits(&|_| None), Environment::default());
    }

    #[test]
    fn names_of_the_machine_are_fit_to_be_shown() {
        let gpus = Gpus { devices: vec![("GPU\u{1b}[31m\nX".to_owned(), 1)], ..Gpus::default() };
        let found =
            Environment { os: "x".repeat(900), cpu: Some("a\u{202e}b".to_owned()), gpus, ..Environment::default() };
        let shown = found.shown();
        assert_eq!(shown.os.chars().count(), text::NAME_MAX);
        assert_eq!((shown.cpu.as_deref(), shown.gpus.devices[0].0.as_str()), (Some("a\u{FFFD}b"), "GPU\u{FFFD}[31m X"));
    }

    #[test]
    fn limits_and_kernels_are_read() {
        assert_eq!(
            (cpu_max("max 100000"), cpu_max("x"), mib("max"), mib("2147483648")),
            (None, None, None, Some(2048))
        );
        assert_eq!(wsl("5.15.153.1-microsoft-standard-WSL2").as_deref(), Some("2"));
        assert_eq!(wsl("4.4.0-19041-Microsoft").as_deref(), Some("1"));
        assert_eq!(wsl("6.1.0-18-amd64"), None);
    }
}
