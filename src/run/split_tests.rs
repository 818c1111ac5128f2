//! However requests are split over hosts, processes and blocks, the row is the same.

use proptest::prelude::*;

use super::*;
use crate::recorder::{Phases, RequestTiming};
use crate::worker::message::BlockDone;

/// A request: where it was measured, how long it took in nanoseconds, and whether it failed.
type Sample = (usize, usize, usize, u64, bool);

const HOSTS: usize = 3;
const PROCESSES: usize = 3;
const BLOCKS: usize = 3;

/// What one process measured.
fn done(samples: &[&Sample]) -> BlockDone {
    let mut recorder = Recorder::default();
    for (.., ns, failed) in samples {
        let (send, wait) = (ns / 7, ns / 2);
        let split = Some(Phases { send, wait, receive: ns - send - wait });
        match failed {
            true => recorder.record_error("timeout"),
            false => recorder.record(RequestTiming { latency: *ns, service: Some(ns / 2), split }),
        }
        recorder.lateness.record(ns / 9);
    }
    let count = samples.len() as u64;
    BlockDone {
        recorder: recorder.to_snapshot().unwrap(),
        begun_ns: Some((1, 1)),
        first_ns: 1,
        last_ns: 1_000_001,
        usage: Usage { user_ns: 3 * count, system_ns: 5 * count, voluntary: count, involuntary: 2 * count },
        traffic: Traffic { sent: 11 * count, received: 13 * count, connections: count },
        example: None,
        examples: Vec::new(),
        failed_ns: Some(samples.iter().filter(|(.., failed)| *failed).map(|(.., ns, _)| ns).sum()),
        offered: None,
        held_back: count,
        aborted: false,
        checks: Checks { compared: count, read: 2 * count, verified: 3 * count },
        judged: None,
        stages: Vec::new(),
        stall_ns: 7,
    }
}

/// The row of a case whose requests were measured where `place` says: host, process and block.
fn row(samples: &[Sample], place: impl Fn(&Sample) -> (usize, usize, usize)) -> (Record, Vec<HostRecord>) {
    let mut totals = CaseTotals::default();
    for block in 0..BLOCKS {
        let mut outcome = BlockOutcome::of_none();
        for (host, process) in (0..HOSTS).flat_map(|host| (0..PROCESSES).map(move |process| (host, process))) {
            let own: Vec<&Sample> = samples.iter().filter(|sample| place(sample) == (host, process, block)).collect();
            if !own.is_empty() {
                outcome.add_of(Some(&format!("host-{host}")), done(&own)).unwrap();
            }
        }
        if outcome.recorder.settled() > 0 {
            // through a file, as a run that goes on has it
            let kept = (outcome.to_done().unwrap(), outcome.hosts_done().unwrap());
            let text = serde_json::to_string(&kept).unwrap();
            let (done, hosts) = serde_json::from_str(&text).unwrap();
            totals.add(block, &BlockOutcome::of_done(done).unwrap().with_hosts(hosts).unwrap(), None);
        }
    }
    let case = Point { rate: Some(5.0), ..Point::default() };
    (totals.fill(&case, None, Record::default()), totals.host_rows("split", &case, &|_| None, |_| None))
}

/// The row without what is about blocks and clocks: how many there were, how their means differ, over which time they were spread.
fn of_requests(row: Record) -> Record {
    Record {
        blocks: 0,
        mean_low_ms: None,
        mean_high_ms: None,
        p50_low_ms: None,
        p50_high_ms: None,
        p95_low_ms: None,
        p95_high_ms: None,
        p99_low_ms: None,
        p99_high_ms: None,
        p99_9_low_ms: None,
        p99_9_high_ms: None,
        effective_requests: None,
        requests_per_s: None,
        inferences_per_s: None,
        clock_error_ms: None,
        flags: Flags::default(),
        ..row
    }
}

proptest! {
    // each has dozens of histograms
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_split_over_hosts_processes_and_blocks_gives_the_same_row(
        samples in prop::collection::vec((0..HOSTS, 0..PROCESSES, 0..BLOCKS, 1..60_000_000_000_u64, prop::bool::weighted(0.1)), 1..200),
    ) {
        let (whole, _) = row(&samples, |_| (0, 0, 0));
        let (split, hosts) = row(&samples, |(host, process, block, ..)| (*host, *process, *block));
        prop_assert_eq!(of_requests(whole), of_requests(split));
        let answered = samples.iter().filter(|(.., failed)| !failed).count() as u64;
        prop_assert_eq!(hosts.iter().map(|host| host.requests).sum::<u64>(), answered);
        prop_assert_eq!(hosts.iter().map(|host| host.errors).sum::<u64>(), samples.len() as u64 - answered);
        // and the parts of a host are those that it measured
        for host in &hosts {
            let own: Vec<Sample> = samples.iter().filter(|sample| format!("host-{}", sample.0) == host.host).copied().collect();
            let (alone, _) = row(&own, |_| (0, 0, 0));
            prop_assert_eq!(
                (host.requests, host.errors, host.mean_ms, host.p50_ms, host.p95_ms, host.p99_ms, host.max_ms),
                (alone.requests, alone.errors, alone.mean_ms, alone.p50_ms, alone.p95_ms, alone.p99_ms, alone.max_ms)
            );
            prop_assert_eq!((host.lateness_p99_ms, host.client_cpu_ms), (alone.lateness_p99_ms, alone.client_cpu_ms));
        }
    }
}
