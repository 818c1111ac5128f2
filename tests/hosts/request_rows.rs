//! Single requests of several hosts come to the leader's file.

use std::collections::BTreeMap;

use runner::record::{BLOCKS, BlockRecord, REQUESTS, RequestRow, read};

use crate::case::{SCENARIO, text};
use crate::machines::Lab;

#[test]
fn requests_of_all_hosts_have_rows() {
    let scenario = SCENARIO
        .replace("batch_sizes = [1, 4]\n    processes = [1, 2]", "batch_sizes = [1]\nprocesses = [3]")
        // more than one piece of a process, and blocks of several processes
        .replace("iterations = 50\n    warmup = 3", "iterations = 9000\nwarmup = 1\nblocks = 1");
    let lab = Lab::new("", &scenario, &["one", "two"], "");
    let output = lab.run(&["--requests", "--concurrency", "8"]);
    assert!(output.status.success(), "{}", text(&output));
    let run = lab.case.newest().unwrap();
    let mut next: BTreeMap<(String, u32, u32), u64> = BTreeMap::new();
    for row in read::<RequestRow>(&run.join(REQUESTS)).unwrap() {
        let number = next.entry((row.case.clone(), row.block, row.process)).or_default();
        assert_eq!((row.request, row.status.as_str()), (*number, "ok"), "{row:?}");
        assert!(row.start_us <= row.sent_us.unwrap() && row.sent_us <= row.head_us, "{row:?}");
        assert!(row.head_us.unwrap() <= row.done_us, "{row:?}");
        *number += 1;
    }
    let blocks: Vec<BlockRecord> = read(&run.join(BLOCKS)).unwrap();
    let expected = blocks
        .iter()
        .flat_map(|block| (0..3).map(|process| (block.case.tag(), block.block, process)));
    assert_eq!(next.keys().cloned().collect::<Vec<_>>(), {
        let mut all: Vec<_> = expected.collect();
        all.sort();
        all
    });
    assert!(next.values().all(|requests| *requests == 9000), "{next:?}");
    assert!(lab.case.records().iter().all(|record| record.requests_logged == Some(27_000)));
}
