//! The machine that measures, described. What cannot be known is left out, never guessed. Commands are run by whoever
//! asks.

mod gpu;

use std::fs;

use serde::{Deserialize, Serialize};

use crate::text;
pub use gpu::Gpus;

/// The client's machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// Operating system and its version; on Linux the distribution.
    pub os: String,
    /// Which family its commands are of: `linux`, `macos`, `windows`.
    pub family: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Version of the Windows Subsystem for Linux.
    pub wsl: Option<String>,
    /// Name of the processor.
    pub cpu: Option<String>,
    /// Logical processors that this program may use.
    pub cores: Option<usize>,
    /// What decides the processors' clock.
    pub governor: Option<String>,
    /// Whether they may exceed their nominal clock.
    pub turbo: Option<bool>,
    /// Main memory in MiB.
    pub memory_mib: Option<u64>,
    /// What the control group allows: processors, and memory in MiB.
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

/// Runs a command and gives what it prints; `None` if it is not there or fails.
pub type Run<'a> = &'a dyn Fn(&[&str]) -> Option<String>;

impl Environment {
    /// Describes this machine. `server_port` is the server's port if it is on this machine.
    pub fn read(run: Run<'_>, server_port: Option<u16>) -> Self {
        let described = match std::env::consts::OS {
            "macos" => macos(run),
            "windows" => windows(run),
            _ => linux(&|path| fs::read_to_string(path).ok()),
        };
        let line = |command: &[&str]| run(command).and_then(|text| first_line(&text));
        let publish = server_port.map(|port| format!("publish={port}"));
        Environment {
            family: std::env::consts::OS.to_owned(),
            cores: std::thread::available_parallelism().ok().map(usize::from),
            gpus: Gpus::read(),
            docker: line(&["docker", "version", "--format", "{{.Server.Version}}"]),
            server_image: publish
                .and_then(|publish| line(&["docker", "ps", "--filter", &publish, "--format", "{{.Image}}"])),
            ..described
        }
        .shown()
    }

    /// Fit to be shown: files and other programs said it.
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

/// From the files of /proc, /sys and /etc.
fn linux(read: &dyn Fn(&str) -> Option<String>) -> Environment {
    let text = |path: &str| read(path).unwrap_or_default();
    let word = |path: &str| read(path).and_then(|text| first_line(&text));
    let kernel = word("/proc/sys/kernel/osrelease");
    let frequency = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
    let boost = word("/sys/devices/system/cpu/cpufreq/boost").map(|word| word == "1");
    let no_turbo = word("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|word| word == "0");
    Environment {
        os: os_name(&text("/etc/os-release")).unwrap_or_else(|| "Linux".to_owned()),
        wsl: kernel.as_deref().and_then(wsl),
        kernel,
        // ARM processors have no name there
        cpu: field(&text("/proc/cpuinfo"), "model name"),
        governor: word(frequency),
        turbo: no_turbo.or(boost),
        memory_mib: field(&text("/proc/meminfo"), "MemTotal").and_then(|text| kib(&text)).map(|kib| kib / 1024),
        cgroup_cpus: word("/sys/fs/cgroup/cpu.max").and_then(|text| cpu_max(&text)),
        cgroup_memory_mib: word("/sys/fs/cgroup/memory.max").and_then(|text| mib(&text)),
        load_average: word("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok()),
        ..Environment::default()
    }
}

fn macos(run: Run<'_>) -> Environment {
    let line = |command: &[&str]| run(command).and_then(|text| first_line(&text));
    let version = line(&["sw_vers", "-productVersion"]);
    Environment {
        os: version.map_or("macOS".to_owned(), |version| format!("macOS {version}")),
        kernel: line(&["uname", "-r"]),
        cpu: line(&["sysctl", "-n", "machdep.cpu.brand_string"]),
        memory_mib: line(&["sysctl", "-n", "hw.memsize"]).and_then(|text| mib(&text)),
        load_average: line(&["sysctl", "-n", "vm.loadavg"]).and_then(|text| braced_load(&text)),
        ..Environment::default()
    }
}

fn windows(run: Run<'_>) -> Environment {
    let asked = |what: &str| {
        let command = format!("(Get-CimInstance {what}");
        run(&["powershell", "-NoProfile", "-Command", &command]).and_then(|text| first_line(&text))
    };
    Environment {
        os: asked("Win32_OperatingSystem).Caption").unwrap_or_else(|| "Windows".to_owned()),
        kernel: asked("Win32_OperatingSystem).Version"),
        cpu: asked("Win32_Processor).Name"),
        memory_mib: asked("Win32_ComputerSystem).TotalPhysicalMemory").and_then(|text| mib(&text)),
        ..Environment::default()
    }
}

fn first_line(text: &str) -> Option<String> {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.to_owned())
}

fn os_name(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// Its kernels are called `5.15.153.1-microsoft-standard-WSL2`, those of the first version `4.4.0-19041-Microsoft`.
fn wsl(kernel: &str) -> Option<String> {
    let kernel = kernel.to_lowercase();
    if !kernel.contains("microsoft") {
        return None;
    }
    Some(if kernel.contains("wsl2") { "2" } else { "1" }.to_owned())
}

/// The first `name : value` of a /proc file.
fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kib(text: &str) -> Option<u64> {
    text.strip_suffix(" kB")?.trim().parse().ok()
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

/// `{ 1.20 1.10 1.00 }`.
fn braced_load(text: &str) -> Option<f64> {
    text.split_whitespace().find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_machine_is_described_by_its_files() {
        let read = |path: &str| {
            let text = match path {
                "/etc/os-release" => "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
                "/proc/sys/kernel/osrelease" => "6.1.0-18-amd64\n",
                "/proc/cpuinfo" => "processor\t: 0\nmodel name\t: AMD EPYC 7B13: x\nmodel name\t: other\n",
                "/proc/meminfo" => "MemFree: 1 kB\nMemTotal:       24607464 kB\n",
                "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor" => "performance\n",
                "/sys/devices/system/cpu/cpufreq/boost" => "1\n",
                "/sys/fs/cgroup/cpu.max" => "150000 100000\n",
                "/sys/fs/cgroup/memory.max" => "max\n",
                "/proc/loadavg" => "0.42 0.10 0.05 1/123 4567\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let expected = Environment {
            os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            kernel: Some("6.1.0-18-amd64".to_owned()),
            cpu: Some("AMD EPYC 7B13: x".to_owned()),
            governor: Some("performance".to_owned()),
            turbo: Some(true),
            memory_mib: Some(24_030),
            cgroup_cpus: Some(1.5),
            load_average: Some(0.42),
            ..Environment::default()
        };
        assert_eq!(linux(&read), expected);
        assert_eq!(linux(&|_| None), Environment { os: "Linux".to_owned(), ..Environment::default() });
    }

    #[test]
    fn a_mac_and_a_windows_machine_are_described_by_commands() {
        let mac = |command: &[&str]| {
            let text = match command {
                ["sw_vers", ..] => "14.5\n",
                ["uname", ..] => "23.5.0\n",
                ["sysctl", "-n", "machdep.cpu.brand_string"] => "Apple M3 Pro\n",
                ["sysctl", "-n", "hw.memsize"] => "38654705664\n",
                ["sysctl", "-n", "vm.loadavg"] => "{ 1.96 2.04 2.11 }\n",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let found = macos(&mac);
        assert_eq!((found.os.as_str(), found.memory_mib, found.load_average), ("macOS 14.5", Some(36_864), Some(1.96)));
        assert_eq!(found.cpu.as_deref(), Some("Apple M3 Pro"));
        let windows_11 = |command: &[&str]| match *command.last()? {
            "(Get-CimInstance Win32_OperatingSystem).Caption" => Some("\r\nMicrosoft Windows 11 Pro\r\n".to_owned()),
            "(Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory" => Some("34159489024\r\n".to_owned()),
            _ => None,
        };
        let found = windows(&windows_11);
        assert_eq!((found.os.as_str(), found.memory_mib, found.cpu), ("Microsoft Windows 11 Pro", Some(32_577), None));
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
