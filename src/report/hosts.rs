//! The machines that sent requests, and what each of them measured. Must not know how tables are drawn.

use super::layout::Layout;
use super::run::Run;
use super::table::Table;
use super::words::{NOTHING, format_ms, number_if_any};
use crate::record::{HostRecord, Machine, Manifest};

/// A row a case and host; `None` if this machine sent all requests.
pub fn table(run: &Run) -> Option<Table> {
    if run.hosts.is_empty() {
        return None;
    }
    let layout = Layout::of_all(run, &run.records);
    let mut table = Table::default();
    layout.columns(&mut table);
    table.words("Host");
    let numbers = [
        "Client Processes",
        "Requests/s",
        "Mean (ms)",
        "P95 (ms)",
        "Mean over the Hosts' Median",
        "Start after the First (ms)",
        "Clock Error (ms)",
    ];
    numbers.into_iter().for_each(|heading| table.numbers(heading));
    table.words("Doubts");
    for record in &run.records {
        for host in run.hosts.iter().filter(|host| host.case == record.case) {
            let mut cells = layout.cells(record);
            cells.push(host.host.clone().into());
            cells.push(host.host_processes.to_string().into());
            cells.push(number_if_any(host.requests_per_s).into());
            cells.push(number_if_any(host.mean_ms).into());
            cells.push(number_if_any(host.p95_ms).into());
            cells.push(over_median(host).into());
            cells.push(number_if_any(host.start_late_ms).into());
            cells.push(format_ms(host.clock_error_ms).into());
            cells.push(host.flags.to_string().replace('_', " ").into());
            table.row(cells);
        }
    }
    Some(table)
}

fn over_median(host: &HostRecord) -> String {
    match (host.mean_ratio, host.mean_ratio_low, host.mean_ratio_high) {
        (Some(ratio), Some(low), Some(high)) => format!("{ratio:.3} ({low:.3} to {high:.3})"),
        _ => NOTHING.to_owned(),
    }
}

/// The hosts in a sentence: `2 hosts: a (4 cores), b (8 cores)`, or how many if they are many; and those that sent nothing.
pub fn words(run: &Run) -> Option<String> {
    const NAMED: usize = 8;
    let has_sent = |host: &&Machine| run.hosts.iter().any(|row| row.host == host.name);
    let (sent, idle): (Vec<&Machine>, Vec<&Machine>) = run.manifest.hosts.iter().partition(has_sent);
    let count = match sent.len() {
        0 => return None,
        1 => "one host".to_owned(),
        several => format!("{several} hosts"),
    };
    let names = |hosts: &[&Machine], with_cores: bool| {
        let named = hosts
            .iter()
            .take(NAMED)
            .map(|host| match host.environment.cores.filter(|_| with_cores) {
                Some(1) => format!("{} (1 core)", host.name),
                Some(cores) => format!("{} ({cores} cores)", host.name),
                None => host.name.clone(),
            });
        let more = hosts.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{more}", named.collect::<Vec<_>>().join(", "))
    };
    let mut words = vec![format!("Requests came from {count}: {}", names(&sent, true))];
    if !idle.is_empty() {
        words.push(format!("none from {}: no case has a process for it", names(&idle, false)));
    }
    words.extend(same_machines(&run.manifest.hosts));
    Some(format!("{}.", words.join("; ")))
}

/// The machines that sent requests, for comparing runs: `none but the client's` or their names and cores.
pub fn summary(manifest: &Manifest) -> String {
    if manifest.hosts.is_empty() {
        return "the client's machine alone".to_owned();
    }
    let named = manifest
        .hosts
        .iter()
        .map(|host| format!("{} ({})", host.name, host.environment.summary()));
    named.collect::<Vec<_>>().join(", ")
}

/// Hosts that are one machine, in words: `a and b are one machine`.
fn same_machines(hosts: &[Machine]) -> Vec<String> {
    let boot = |host: &Machine| host.machine.split(' ').next().unwrap_or_default().to_owned();
    let mut told: Vec<String> = Vec::new();
    let mut words = Vec::new();
    for host in hosts {
        let same: Vec<&str> = hosts
            .iter()
            .filter(|other| boot(other) == boot(host))
            .map(|other| other.name.as_str())
            .collect();
        if same.len() > 1 && !told.contains(&boot(host)) {
            told.push(boot(host));
            let (last, others) = same.split_last().unwrap_or((&"", &[]));
            words.push(format!("{} and {last} are one machine", others.join(", ")));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_on_one_machine_are_told() {
        let host = |name: &str, machine: &str| Machine {
            name: name.to_owned(),
            machine: machine.to_owned(),
            ..Machine::default()
        };
        let hosts = [host("a", "1 x"), host("b", "2 x"), host("c", "1 y")];
        assert_eq!(same_machines(&hosts), ["a and c are one machine"]);
        assert_eq!(same_machines(&hosts[..2]), [""; 0]);
        let all = ["a", "b", "c"].map(|name| host(name, "1 x"));
        assert_eq!(same_machines(&all), ["a, b and c are one machine"]);
    }
}
