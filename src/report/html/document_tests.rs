//! The sections of a document.

use super::*;
use crate::record::Flags;

fn run() -> Run {
    Run::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("results/scrfd/2026-11-25T113021Z")).unwrap()
}

#[test]
fn a_document_has_every_section_that_its_run_has_something_for() {
    let ids = |document: &str| {
        let found = document.split("<section id=\"").skip(1).filter_map(|rest| rest.split('"').next());
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let all = ["by", "numbers", "distribution", "parts", "time", "metrics", "flags", "rows", "setup", "again"];
    let two = document(&[run(), run()]);
    let expected: Vec<String> = (0..2).flat_map(|number| all.map(|name| format!("{name}-{number}"))).collect();
    assert_eq!(ids(&two), expected);
    for id in &expected {
        assert!(two.contains(&format!("href=\"#{id}\"")), "{id}");
    }
    assert_eq!(two.matches("<table class=\"rows\"").count(), 2);
    assert_eq!(two.matches("role=\"status\">12 cases<").count(), 2);
    assert!(two.contains("3 things make some of these numbers doubtful"), "doubts are said first");
    assert!(two.contains("<pre>runner scenarios/scrfd.toml --warmup 5 --max-seconds 30</pre>"));
    assert!(two.contains("<summary>The scenario</summary>") && !two.contains("Not a whole run"));
    // 12 distributions, 6 of blocks, 2 by the batch size, 1 of parts and 3 of metrics in each
    assert_eq!(two.matches("<figure>").count(), 2 * (12 + 6 + 2 + 1 + 3));
    assert!(!two.contains("larger than the others"), "all groups are shown");

    let mut bare = run();
    bare.latencies.fill(None);
    bare.blocks = crate::report::Blocks::default();
    bare.path = "none".into();
    for row in &mut bare.records {
        (row.network_ms, row.flags) = (None, Flags::default());
    }
    bare.records[0].reason = "gone <away>".to_owned();
    bare.records[0].status = crate::record::Status::Failed;
    let document = document(&[bare]);
    assert_eq!(ids(&document), ["by-0", "numbers-0", "rows-0", "setup-0", "again-0"]);
    assert!(document.contains("Not a whole run: 11 of 12 cases are measured"), "{document}");
    assert!(document.contains("gone &lt;away&gt;") && !document.contains("<summary>The scenario</summary>"));
}
