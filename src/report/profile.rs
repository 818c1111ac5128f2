//! The setup of a run: the machine, the server, the model's configuration, the parameters. Each line has the command
//! that shows it on the machine.

use std::fmt::Write;

use serde_json::Value;

use super::capacity;
use super::run::Run;
use super::words::{blocks_words, distinct, escaped, length_words, range_words, warmup_words, weights_words};
use crate::matrix::{AxisId, Point};
use crate::record::{Asked, Manifest, MetricsOf, MetricsRead, Record};

/// Shown for unknown values.
const UNKNOWN: &str = "not known";

/// A row of a table: its label, its value, and the command that shows it.
type Line = (&'static str, String, &'static str);

/// The client's machine, and where the server is.
pub fn environment(run: &Run) -> String {
    let client = &run.manifest.client;
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| UNKNOWN.to_owned());
    let gib = |mib: u64| format!("{:.1} GiB", mib as f64 / 1024.0);
    let [os, kernel, cpu, memory] = match client.family.as_str() {
        "macos" => ["sw_vers", "uname -r", "sysctl -n machdep.cpu.brand_string", "sysctl -n hw.memsize"],
        "windows" => ["winver", "ver", "(Get-CimInstance Win32_Processor).Name", "systeminfo"],
        _ => ["cat /etc/os-release", "uname -r", "lscpu", "free -m"],
    };
    let mut lines: Vec<Line> =
        vec![("Operating System", client.os.clone(), os), ("Kernel", known(&client.kernel), kernel)];
    if let Some(version) = &client.wsl {
        lines.push(("WSL", version.clone(), "wsl.exe --version"));
    }
    lines.extend([
        ("CPU", known(&client.cpu), cpu),
        ("CPU Cores", client.cores.map_or(UNKNOWN.to_owned(), |cores| cores.to_string()), "nproc"),
        ("CPU Governor", known(&client.governor), "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        (
            "CPU Turbo",
            client.turbo.map_or(UNKNOWN.to_owned(), |on| if on { "on" } else { "off" }.to_owned()),
            "cat /sys/devices/system/cpu/cpufreq/boost",
        ),
        ("RAM", client.memory_mib.map_or(UNKNOWN.to_owned(), gib), memory),
    ]);
    if client.cgroup_cpus.is_some() || client.cgroup_memory_mib.is_some() {
        let cpus = client.cgroup_cpus.map(|cpus| format!("{cpus} CPUs"));
        let limits = cpus.into_iter().chain(client.cgroup_memory_mib.map(gib)).collect::<Vec<_>>().join(", ");
        lines.push(("Control Group", limits, "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max"));
    }
    let load = client.load_average.map_or(UNKNOWN.to_owned(), |load| format!("{load:.2}"));
    lines.push(("Load Average before the Run", load, "uptime"));
    let gpus = &client.gpus;
    let none = || "none found".to_owned();
    let names: Vec<String> = gpus.devices.iter().map(|(name, mib)| format!("{name}, {}", gib(*mib))).collect();
    lines.push(("GPU, GPU Memory", if names.is_empty() { none() } else { names.join("; ") }, "nvidia-smi -L"));
    lines.push(("NVIDIA Driver", gpus.driver.clone().unwrap_or_else(none), "nvidia-smi"));
    lines.push(("CUDA", gpus.cuda.clone().unwrap_or_else(none), "nvidia-smi"));
    let mut out = format!("### Environment Profile\n\n{}", table("Client", &lines));
    let servers = servers(run);
    for asked in &servers {
        let place = match asked.one_machine {
            true => "on the client's machine, with which it shares its cores",
            false => "at an address that is not the client's; it may be described by its own tables alone",
        };
        let which = match &asked.server_key {
            Some(key) if servers.len() > 1 => format!("The server \"{}\"", escaped(key)),
            _ => "The server".to_owned(),
        };
        let Asked { server, server_version, .. } = asked;
        let _ = writeln!(out, "\n{which}, {} {}, is {place}.", escaped(server), escaped(server_version));
    }
    out
}

/// The servers that were asked, each once.
fn servers(run: &Run) -> Vec<&Asked> {
    let mut servers: Vec<&Asked> = Vec::new();
    for (asked, _) in &run.asked {
        if !servers.iter().any(|known| known.server_key == asked.server_key) {
            servers.push(asked);
        }
    }
    servers
}

/// Docker and the servers.
pub fn docker(run: &Run) -> String {
    let Manifest { client, metrics, .. } = &run.manifest;
    let none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none found".to_owned());
    let servers = servers(run);
    let each = |value: fn(&Asked) -> &str| {
        let told = servers.iter().map(|asked| match &asked.server_key {
            Some(key) if servers.len() > 1 => format!("{key}: {}", value(asked)),
            _ => value(asked).to_owned(),
        });
        told.collect::<Vec<_>>().join("; ")
    };
    let lines = [
        ("Docker Engine", none(&client.docker), "docker version --format '{{.Server.Version}}'"),
        ("Server Image", none(&client.server_image), "docker ps --format '{{.Image}}'"),
        ("Server", each(|asked| &asked.server), "curl localhost:8000/v2"),
        ("Server Version", each(|asked| &asked.server_version), "curl localhost:8000/v2"),
        ("HTTP", each(|asked| &asked.http), "docker ps --format '{{.Ports}}'"),
        ("gRPC", each(|asked| &asked.grpc), "docker ps --format '{{.Ports}}'"),
        ("Metrics", metrics_words(metrics), "curl localhost:8002/metrics"),
    ];
    format!("### Docker Environment\n\n{}", table("Server", &lines))
}

/// The models, as the servers' own configurations describe them.
pub fn model(run: &Run) -> String {
    let several = servers(run).len() > 1;
    let tables = run.asked.iter().map(|(asked, config)| {
        let server = asked.server_key.as_deref().filter(|_| several);
        let server = server.map_or(String::new(), |key| format!(" of the server {}", escaped(key)));
        let heading = format!("### Model Configuration: {}{server}", escaped(&asked.model));
        format!("{heading}\n\n{}", configuration(&asked.weights, config.as_ref()))
    });
    tables.collect::<Vec<_>>().join("\n")
}

fn configuration(weights: &str, config: Option<&Value>) -> String {
    let mut out = "| | |\n|---|---|\n".to_owned();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "| {name} | {} |", escaped(&value));
    };
    line("Weights", weights_words(weights).to_owned());
    let Some(config) = config else {
        line("Configuration", "not told by the server".to_owned());
        return out;
    };
    let text = |value: &Value| value.as_str().unwrap_or(UNKNOWN).to_owned();
    let list = |key: &str| config[key].as_array().cloned().unwrap_or_default();
    let either = |a: &str, b: &str| [a, b].map(|key| text(&config[key])).into_iter().find(|it| !it.is_empty());
    line("Backend", either("backend", "platform").unwrap_or_default());
    for (name, key) in [("Input", "input"), ("Output", "output")] {
        for tensor in list(key) {
            let dims: Vec<String> = tensor["dims"].as_array().into_iter().flatten().map(number).collect();
            let datatype = text(&tensor["data_type"]);
            let datatype = datatype.trim_start_matches("TYPE_");
            line(name, format!("{}: {datatype} [{}]", text(&tensor["name"]), dims.join(", ")));
        }
    }
    line("Largest Batch", number(&config["max_batch_size"]));
    let instance = |group: &Value| {
        let kind = text(&group["kind"]);
        format!("{} on {}", number(&group["count"]), kind.trim_start_matches("KIND_"))
    };
    let instances: Vec<String> = list("instance_group").iter().map(instance).collect();
    line("Instances", if instances.is_empty() { UNKNOWN.to_owned() } else { instances.join(", ") });
    let batching = match &config["dynamic_batching"] {
        Value::Object(batching) => {
            let preferred = batching
                .get("preferred_batch_size")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let preferred: Vec<String> = preferred.iter().map(number).collect();
            let delay = batching.get("max_queue_delay_microseconds").map_or("0".to_owned(), number);
            let sizes = if preferred.is_empty() {
                String::new()
            } else {
                format!("preferred sizes {}, ", preferred.join(", "))
            };
            format!("{sizes}at most {delay} us of delay")
        }
        _ => "off".to_owned(),
    };
    line("Dynamic Batching", batching);
    let cache = config["response_cache"]["enable"].as_bool() == Some(true);
    line("Response Cache", if cache { "on" } else { "off" }.to_owned());
    out
}

/// The requested parameters.
pub fn parameters(run: &Run) -> String {
    let manifest = &run.manifest;
    let axis = |id: AxisId| {
        let value = |record: &Record| match id.axis().is_variant {
            true => (id.axis().phrase)(&record.case),
            false => record.case.get(id).map_or("none".to_owned(), |value| value.to_string()),
        };
        distinct(&run.records, value).join(", ")
    };
    let mut out = format!("### Benchmark Parameters: {}\n\n| | |\n|---|---|\n", escaped(&manifest.title));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "| {name} | {} |", escaped(&value));
    };
    if let Some(part) = run.part() {
        line("Not a Whole Run", part);
    }
    // the batch size first, as in tables
    let others = AxisId::ALL.iter().copied().filter(|id| *id != AxisId::BatchSize);
    for id in [AxisId::BatchSize].into_iter().chain(others) {
        let usual = Point::default();
        let is_told = |record: &Record| id.axis().is_always_written || record.case.chosen(id) != usual.chosen(id);
        if run.records.iter().any(is_told) {
            line(id.axis().parameter, axis(id));
        }
    }
    for (arrival, detail) in distinct(&run.records, |record| (record.arrival, record.arrival_detail.clone())) {
        let Some(arrival) = arrival else { continue };
        line("Arrivals", if detail.is_empty() { arrival.to_string() } else { format!("{arrival}: {detail}") });
    }
    let length = || length_words(manifest.iterations, manifest.duration_s, manifest.precision);
    line("Length", capacity::length(run).unwrap_or_else(length));
    if let Some(cap) = manifest.cap_s {
        line("Longest Time of a Case", format!("{cap} s"));
    }
    line("Requests Measured a Case", range_words(run.records.iter().map(|record| record.requests)));
    let (warmup, until) = warmup_words(manifest.warmup, manifest.warmup_s, manifest.warmup_until);
    let unit = if warmup == manifest.warmup.to_string() { " requests" } else { "" };
    line("Warmup", format!("{warmup}{unit} a process{until}"));
    line("Blocks", format!("{}, interleaved", blocks_words(run)));
    line("Timeout", format!("{} s", manifest.timeout_s));
    line("Seed", manifest.seed.to_string());
    let ended = manifest.ended.map_or("?".to_owned(), |ended| ended.to_string());
    line("Measured", format!("{} to {ended} (UTC)", manifest.started));
    out
}

fn table(head: &str, lines: &[Line]) -> String {
    let mut out = format!("| {head} | | shown by |\n|---|---|---|\n");
    for (name, value, command) in lines {
        let _ = writeln!(out, "| {name} | {} | `{command}` |", escaped(value));
    }
    out
}

/// A number from the server's JSON, which may be a string if it has 64 bits.
fn number(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => UNKNOWN.to_owned(),
        other => other.to_string(),
    }
}

/// What was read of the servers' metrics.
fn metrics_words(metrics: &MetricsRead) -> String {
    let of = |read: &MetricsOf| match (&read.address, &read.fault) {
        (None, _) => "not asked for: the metrics port is not known".to_owned(),
        (Some(address), Some(fault)) => format!("{} samples from {address}, then none: {fault}", read.samples),
        (Some(address), None) => format!("{} samples from {address}", read.samples),
    };
    let words = match metrics {
        MetricsRead::Of(all) => all.iter().map(of).collect::<Vec<_>>().join("; "),
        MetricsRead::Words(words) => words.clone(),
    };
    if words.is_empty() { UNKNOWN.to_owned() } else { words }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A committed run, as if two models of each of some servers had been asked.
    fn run(servers: &[&str]) -> Run {
        let mut run = Run::open(Path::new("results/scrfd/2026-11-25T113021Z")).unwrap();
        let (asked, config) = run.asked[0].clone();
        run.asked = servers
            .iter()
            .flat_map(|key| [Some(*key), Some(*key)])
            .map(|key| (Asked { server_key: key.map(str::to_owned), ..asked.clone() }, config.clone()))
            .collect();
        run
    }

    #[test]
    fn servers_are_named_where_there_are_several() {
        let (one, two) = (run(&["old"]), run(&["old", "new"]));
        assert_eq!(environment(&one).matches("\nThe server, triton 2.51.0, is on").count(), 1);
        assert!(
            environment(&two).contains("\nThe server \"old\", triton") && environment(&two).contains("\"new\", triton")
        );
        assert_eq!(environment(&two).matches("\nThe server").count(), 2);
        assert!(docker(&one).contains("| triton |") && !docker(&one).contains("old"), "{}", docker(&one));
        assert!(docker(&two).contains("| old: triton; new: triton |"), "{}", docker(&two));
        assert!(model(&one).contains("### Model Configuration: scrfd\n") && !model(&one).contains("of the server"));
        assert!(model(&two).contains("### Model Configuration: scrfd of the server new\n"), "{}", model(&two));
    }

    #[test]
    fn commands_are_those_of_the_system_and_limits_are_told() {
        let mut run = run(&["s"]);
        for (family, command) in [("macos", "sw_vers"), ("windows", "winver"), ("linux", "cat /etc/os-release")] {
            family.clone_into(&mut run.manifest.client.family);
            assert!(environment(&run).contains(command), "{family}");
        }
        let limits = |run: &Run| {
            let shown = environment(run);
            shown.lines().find(|line| line.starts_with("| Control Group |")).map(str::to_owned)
        };
        let client = &mut run.manifest.client;
        (client.cgroup_cpus, client.cgroup_memory_mib) = (None, None);
        assert_eq!(limits(&run), None);
        run.manifest.client.cgroup_cpus = Some(1.5);
        assert!(limits(&run).unwrap().starts_with("| Control Group | 1.5 CPUs |"));
        let client = &mut run.manifest.client;
        (client.cgroup_cpus, client.cgroup_memory_mib) = (None, Some(2048));
        assert!(limits(&run).unwrap().starts_with("| Control Group | 2.0 GiB |"));
    }

    #[test]
    fn a_configuration_tells_of_batching_and_cache() {
        let line = |config: serde_json::Value, name: &str| {
            let shown = configuration("", Some(&config));
            shown
                .lines()
                .find(|line| line.starts_with(&format!("| {name} |")))
                .map(str::to_owned)
                .unwrap()
        };
        let batching = serde_json::json!({
            "backend": "", "platform": "onnxruntime_onnx", "response_cache": {"enable": true},
            "dynamic_batching": {"preferred_batch_size": [4, 8], "max_queue_delay_microseconds": "250"},
        });
        assert_eq!(line(batching.clone(), "Backend"), "| Backend | onnxruntime\\_onnx |");
        assert_eq!(
            line(batching.clone(), "Dynamic Batching"),
            "| Dynamic Batching | preferred sizes 4, 8, at most 250 us of delay |"
        );
        assert_eq!(line(batching, "Response Cache"), "| Response Cache | on |");
        let plain = serde_json::json!({"dynamic_batching": {}, "response_cache": {"enable": false}});
        assert_eq!(line(plain.clone(), "Dynamic Batching"), "| Dynamic Batching | at most 0 us of delay |");
        assert_eq!(line(plain, "Response Cache"), "| Response Cache | off |");
        assert_eq!(line(serde_json::json!({}), "Dynamic Batching"), "| Dynamic Batching | off |");
    }

    #[test]
    fn parameters_are_those_that_are_always_written_or_differ_from_the_usual() {
        let mut run = run(&["s"]);
        let has = |run: &Run, name: &str| parameters(run).lines().any(|line| line.starts_with(&format!("| {name} |")));
        assert!(has(&run, "Batch Sizes") && !has(&run, "Rate (requests/s)"), "{}", parameters(&run));
        assert!(
            parameters(&run).lines().nth(4).unwrap().starts_with("| Batch Sizes | 1, 4, 8 |"),
            "{}",
            parameters(&run)
        );
        assert_eq!(parameters(&run).matches("| Batch Sizes |").count(), 1);
        run.records[0].case.think_time_ms = Some(5.0);
        let with = parameters(&run).lines().filter(|line| line.contains("5")).count();
        run.records[0].case.think_time_ms = None;
        assert_eq!(with, 1 + parameters(&run).lines().filter(|line| line.contains("5")).count());
    }

    #[test]
    fn metrics_are_told_for_each_address() {
        let of = |address: Option<&str>, samples, fault: Option<&str>| MetricsOf {
            address: address.map(str::to_owned),
            samples,
            fault: fault.map(str::to_owned),
        };
        let all =
            MetricsRead::Of(vec![of(Some("a:1"), 3, None), of(Some("b:2"), 2, Some("refused")), of(None, 0, None)]);
        let words =
            "3 samples from a:1; 2 samples from b:2, then none: refused; not asked for: the metrics port is not known";
        assert_eq!(metrics_words(&all), words);
        assert_eq!(metrics_words(&MetricsRead::Words("as before".to_owned())), "as before");
        assert_eq!(metrics_words(&MetricsRead::Of(Vec::new())), UNKNOWN);
    }
}
