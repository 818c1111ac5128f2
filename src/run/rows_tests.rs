//! The columns and flags of a case's row, from blocks of known numbers.

use super::*;
use crate::recorder::{Phases, RequestTiming};

const MS: u64 = 1_000_000;

fn case(rate: Option<f64>) -> Point {
    Point { batch_size: 2, rate, ..Point::default() }
}

/// A block of `requests` requests of 10 ms, one after the other.
fn block(requests: u64) -> BlockOutcome {
    let mut outcome = BlockOutcome { first_ns: 5 * MS, ..BlockOutcome::default() };
    let split = Some(Phases { send: MS, wait: 8 * MS, receive: MS });
    for _ in 0..requests {
        outcome.recorder.record(RequestTiming { latency: 10 * MS, service: None, split });
    }
    outcome.last_ns = outcome.first_ns + requests * 10 * MS;
    outcome
}

fn served(requests: u64) -> Statistics {
    let sum = |ms: u64| Sum { count: requests, ns: requests * ms * MS };
    Statistics {
        inference_count: 2 * requests,
        execution_count: requests / 2,
        success: sum(8),
        queue: sum(2),
        compute_input: sum(0),
        compute_infer: sum(4),
        compute_output: sum(1),
        ..Statistics::default()
    }
}

fn totals(blocks: u64, counted: impl Fn(u64) -> Statistics) -> CaseTotals {
    let mut totals = CaseTotals::default();
    (0..blocks).for_each(|_| totals.add(0, &block(100), Some(counted(100))));
    totals
}

#[test]
fn the_parts_add_up_to_the_mean() {
    let row = totals(10, served).fill(&case(None), None, Record::default());
    assert_eq!((row.mean_ms, row.requests, row.flags.clone()), (Some(10.0), 1000, Flags::default()));
    assert_eq!((row.client_ms, row.network_ms, row.queue_ms), (Some(1.0), Some(2.0), Some(2.0)));
    assert_eq!((row.compute_infer_ms, row.compute_output_ms), (Some(4.0), Some(1.0)));
    assert_eq!((row.avg_batch, row.server_requests), (Some(4.0), Some(1000)));
    assert_eq!((row.mean_low_ms, row.effective_requests), (Some(10.0), Some(1000.0)));
}

#[test]
fn a_server_that_does_not_tell_leaves_the_parts_empty() {
    let mut totals = totals(2, served);
    totals.add(0, &block(1), None);
    let row = totals.fill(&case(None), None, Record::default());
    assert_eq!((row.client_ms, row.network_ms, row.server_requests), (None, None, None));
    assert_eq!(row.send_mean_ms, Some(1.0));
}

fn flagged(totals: &CaseTotals, ceiling: Option<f64>) -> String {
    totals.fill(&case(None), ceiling, Record::default()).flags.to_string()
}

#[test]
fn a_client_that_stood_still_and_connections_within_latencies_are_flagged() {
    let mut totals = totals(10, served);
    totals.stall_ns = STALL_NS - 1;
    totals.traffic.connections = 10;
    assert_eq!(flagged(&totals, None), "");
    totals.stall_ns = STALL_NS;
    totals.traffic.connections = 11;
    assert_eq!(flagged(&totals, None), "client_stall reconnects");
    let row = totals.fill(&case(None), None, Record::default());
    assert_eq!((row.client_stall_ms, row.reconnects), (Some(100.0), Some(11)));
}

#[test]
fn a_rate_within_a_fifth_of_the_ceiling_is_flagged() {
    let totals = totals(10, served); // 100 requests/s
    assert_eq!(flagged(&totals, Some(125.0)), "client_ceiling");
    assert_eq!(flagged(&totals, Some(125.2)), "");
}

#[test]
fn what_the_server_counts_otherwise_is_flagged() {
    assert_eq!(flagged(&totals(10, |requests| served(requests - 1)), None), "server_counts");
    assert_eq!(flagged(&totals(10, |requests| served(requests + 1)), None), "other_traffic");
    let cached = |requests| Statistics { cache_hit: Sum { count: 1, ns: 1 }, ..served(requests) };
    assert_eq!(flagged(&totals(10, cached), None), "response_cache");
}

#[test]
fn few_requests_an_early_end_and_pauses_are_flagged() {
    let mut totals = totals(1, served);
    assert_eq!(flagged(&totals, None), "few_requests");
    totals.capped = true;
    totals.window_ns += totals.window_ns / 10;
    assert_eq!(flagged(&totals, None), "capped in_flight few_requests");
    assert_eq!(totals.fill(&case(Some(100.0)), None, Record::default()).flags.to_string(), "capped few_requests");
    totals.usage.user_ns = totals.window_ns;
    assert_eq!(flagged(&totals, None), "client_cpu capped in_flight few_requests");
}

#[test]
fn what_failed_was_in_flight_too() {
    let mut totals = totals(10, served);
    totals.window_ns += totals.window_ns / 10;
    assert_eq!(flagged(&totals, None), "in_flight");
    totals.recorder.record_error("timeout");
    assert_eq!(flagged(&totals, None), "");
}

#[test]
fn requests_of_short_blocks_that_depend_on_each_other_are_few() {
    let of = |latency: fn(u64, u64) -> u64| {
        let mut totals = CaseTotals::default();
        for number in 0..10 {
            let mut block = BlockOutcome { last_ns: 250 * MS, ..BlockOutcome::default() };
            for request in 0..25 {
                block
                    .recorder
                    .record(RequestTiming { latency: latency(number, request), ..RequestTiming::default() });
            }
            totals.add(0, &block, None);
        }
        totals.fill(&case(None), None, Record::default())
    };
    // latencies that differ between blocks alone
    let alike = of(|block, _| 10 * MS + block * 37 % 10 * MS / 100);
    assert!(alike.flags.has(Flag::FewRequests) && alike.effective_requests < Some(20.0), "{alike:?}");
    let independent = of(|block, request| 10 * MS + (25 * block + request) * 7919 % 101 * MS / 1000);
    assert!(!independent.flags.has(Flag::FewRequests), "{independent:?}");
}

#[test]
fn one_in_five_hundred_is_beyond_the_99th_percentile_and_not_beyond_the_farthest() {
    let mut totals = CaseTotals::default();
    let mut outcome = block(1000);
    for _ in 0..2 {
        outcome.recorder.record(RequestTiming { latency: 30 * MS, service: None, split: None });
    }
    (0..10).for_each(|round| totals.add(round, &outcome, None));
    let row = totals.fill(&case(None), None, Record::default());
    let near = |value: Option<f64>, expected: f64| value.is_some_and(|value| (value / expected - 1.0).abs() < 0.01);
    assert!(near(row.p99_ms, 10.0) && near(row.p99_9_ms, 30.0), "{row:?}");
    assert!(row.p99_9_low_ms <= row.p99_9_ms && row.p99_9_ms <= row.p99_9_high_ms, "{row:?}");
    assert!(row.p99_9_low_ms.is_some(), "{row:?}");
}
