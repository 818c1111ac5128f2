//! Schedules' lengths, a server that keeps up or not, and what several processes say together.

use super::*;

const MS: u64 = 1_000_000;

fn arrivals(rate: f64, processes: u32) -> Arrivals {
    Arrivals { rate, seed: 1, block: 0, process: 0, processes }
}

fn block(iterations: u64, cap_ms: Option<u64>) -> Block {
    let stop = StopRule { requests: iterations, least: None, most: cap_ms.map(Duration::from_millis) };
    let (order, think_time) = (Draw::default(), Duration::ZERO);
    Block { stop, arrivals: None, order, think_time, judge: None, start_ns: 0 }
}

#[test]
fn a_schedule_holds_what_its_longest_time_has_room_for() {
    assert_eq!(block(100, None).scheduled(&arrivals(50.0, 1)), 100);
    assert_eq!(block(100, Some(300)).scheduled(&arrivals(50.0, 1)), 15);
    assert_eq!(block(100, Some(300)).scheduled(&arrivals(50.0, 3)), 5);
    assert_eq!(block(10, Some(300)).scheduled(&arrivals(50.0, 1)), 10);
    // the first request is always sent
    assert_eq!(block(10, Some(300)).scheduled(&arrivals(0.5, 1)), 1);
}

/// Answered requests a second if requests, spread evenly at `rate`, take these response times.
fn rate(rate: f64, responses_ms: &[u64]) -> f64 {
    let requests = responses_ms.len() as u64;
    let length_ns = arrivals(rate, 1).length_ns(requests) as u64;
    let due = |index: usize| arrivals(rate, 1).length_ns(index as u64) as u64;
    let early = responses_ms.iter().enumerate().filter(|(index, _)| due(*index) < length_ns / 2);
    let offered = Offered {
        requests,
        begin_ns: 7,
        length_ns,
        slowest_early_ns: early.map(|(_, response)| response * MS).max().unwrap_or(0),
    };
    let last = responses_ms
        .iter()
        .enumerate()
        .map(|(index, response)| 7 + due(index) + response * MS)
        .max();
    let fastest = responses_ms.iter().min().unwrap() * MS;
    requests as f64 / (offered.window_ns(last.unwrap(), requests, fastest) as f64 / 1e9)
}

#[test]
fn a_server_that_keeps_up_takes_the_rate_that_it_is_offered() {
    for requests in [1, 2, 3, 10, 100] {
        assert_eq!(rate(20.0, &vec![5; requests]), 20.0, "{requests}");
        assert_eq!(rate(50.0, &vec![1; requests]), 50.0, "{requests}");
    }
    // overlapping answers are no backlog, even if few and slow ..
    for requests in [2, 10, 100] {
        assert_eq!(rate(50.0, &vec![2000; requests]), 50.0, "{requests}");
    }
    // .. or of varying length
    let varied: Vec<u64> = (0..20).map(|request| 100 + 37 * request % 90).collect();
    assert_eq!(rate(50.0, &varied), 50.0);
}

#[test]
fn a_server_that_does_not_keep_up_is_shown_with_its_own_rate() {
    // one request after the other, 100 ms each: 10 a second
    for requests in [4, 10, 100] {
        let of = |offered: u64| -> Vec<u64> {
            (0..requests).map(|request| (request + 1) * 100 - request * 1000 / offered).collect()
        };
        assert_eq!(rate(1000.0, &of(1000)), 10.0, "{requests}");
        assert_eq!(rate(50.0, &of(50)), 10.0, "{requests}");
    }
    // two at a time: 20 a second
    let pairs: Vec<u64> = (0..20).map(|request| (request / 2 + 1) * 100 - request * 10).collect();
    assert_eq!(rate(100.0, &pairs), 20.0);
    // a single slow answer proves nothing, and the offered rate is not claimed
    assert_eq!(rate(20.0, &[500]), 2.0);
}

#[test]
fn what_ends_before_its_schedule_counts_until_it_ended() {
    let offered = Offered { requests: 100, begin_ns: 0, length_ns: 5000 * MS, slowest_early_ns: 10 * MS };
    assert_eq!(offered.window_ns(1000 * MS, 20, MS), 1000 * MS);
    assert_eq!(offered.window_ns(4960 * MS, 100, MS), 5000 * MS);
    // possibly none is due in the first half, and the last is due just before the end
    let late = Offered { requests: 3, length_ns: 60 * MS, slowest_early_ns: 0, ..offered };
    assert_eq!(late.window_ns(69 * MS, 3, 10 * MS), 60 * MS);
}

#[test]
fn what_several_processes_held_against_limits_adds_up() {
    let [one, other] = [[3, 1], [4, 0]].map(|bad| Judged { requests: 10, bad: bad.to_vec() });
    assert_eq!(one.clone().with(&other), Judged { requests: 20, bad: vec![7, 1] });
    assert_eq!(Judged::default().with(&one), one);
}

#[test]
fn the_schedules_of_several_processes_are_one() {
    let one = Offered { requests: 5, begin_ns: 10, length_ns: 100, slowest_early_ns: 3 };
    let other = Offered { begin_ns: 9, slowest_early_ns: 4, ..one };
    assert_eq!(one.with(other), Offered { requests: 10, begin_ns: 9, length_ns: 100, slowest_early_ns: 4 });
}
