//! Hosts whose clocks are not the leader's.

use std::process::Command;

use runner::record::{BLOCKS, BlockRecord, Flag, Status, read, read_manifest};

use crate::case::{SCENARIO, text};
use crate::machines::Lab;

/// A clock that is so many seconds ahead, where a process may have one of its own.
const AHEAD: i32 = 5000;

/// Starts what follows with such a clock.
fn with_clock() -> Option<String> {
    let words = ["unshare", "--user", "--map-root-user", "--time", "--fork", "--kill-child", "--monotonic"];
    let ahead = AHEAD.to_string();
    let all = [&words[..], &[&ahead, "--boottime", &ahead]].concat();
    let tried = Command::new(all[0]).args(&all[1..]).arg("true").output();
    let works = tried.is_ok_and(|tried| tried.status.success());
    if !works {
        println!("skipped: no process may have its own clock here");
    }
    works.then(|| all.join(" "))
}

#[test]
fn hosts_begin_together_though_their_clocks_are_far_apart() {
    let Some(with_clock) = with_clock() else { return };
    let scenario = SCENARIO
        .replace("processes = [1, 2]", "processes = [2]")
        .replace("iterations = 50", "duration_s = 1\n    blocks = 2");
    let lab = Lab::new("", &scenario, &["one", "two"], "");
    lab.ssh(&format!("[ $host = one ] || exec {with_clock} sh -c \"$2\""));
    let output = lab.run(&["--protocols", "http", "--batch-sizes", "1"]);
    assert!(output.status.success(), "{}", text(&output));
    let rows = lab.case.records();
    assert_eq!((rows.len(), rows[0].status), (1, Status::Ok), "{rows:?}");
    assert!(read_manifest(&lab.case.newest().unwrap()).unwrap().counts.unwrap().agrees());
    let parts = lab.host_rows();
    let ahead = f64::from(AHEAD) * 1e3;
    for (part, offset_ms) in parts.iter().zip([0.0, ahead]) {
        let error_ms = (part.clock_offset_ms - offset_ms).abs();
        // both clocks are the same in truth, but for that
        assert!(error_ms <= part.clock_error_ms + 1e-6, "{part:?}");
        assert!(part.clock_moved_ms == 0.0 && !part.flags.has(Flag::Clock), "{part:?}");
        // by the clock of the other, it would be more than an hour
        assert!(part.start_late_ms < Some(60_000.0) && part.max_ms < Some(60_000.0), "{part:?}");
    }
    // the blocks are where they were by the leader's clock
    let blocks: Vec<BlockRecord> = read(&lab.case.newest().unwrap().join(BLOCKS)).unwrap();
    assert_eq!(blocks.len(), 2);
    let requests: u64 = parts.iter().map(|part| part.requests).sum();
    assert_eq!(requests, rows[0].requests, "{parts:?}");
    // they ran at the same time: otherwise it were thousands of times less
    let of_hosts: f64 = parts.iter().map(|part| part.requests_per_s.unwrap()).sum();
    assert!(rows[0].inferences_per_s > Some(0.1 * of_hosts), "{rows:?}, {parts:?}");
}
