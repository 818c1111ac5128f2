//! The charts of committed runs, and of runs changed for them.

use std::fmt::Write;
use std::path::Path;

use super::*;
use crate::report::{tables, verdicts};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/terminal/charts.txt");

/// A chart in a few lines: its words, and of each series the number of points, the first, the middle and the last.
fn told(out: &mut String, chart: &Chart) {
    let _ = writeln!(out, "{} {:?}", chart.title, chart.size);
    for axis in [&chart.x, &chart.y] {
        let _ = writeln!(out, "  {}: {:?}", axis.label, axis.scale);
    }
    for Series { name, mark, points } in &chart.series {
        let of = |place: usize| {
            points.get(place).map_or(String::new(), |it| {
                let Point { x, y, low, high } = it;
                format!(" ({x:.5}, {y:.5}, {low:.5} to {high:.5})")
            })
        };
        let some = [0, points.len() / 2, points.len().saturating_sub(1)].map(of).concat();
        let _ = writeln!(out, "  - {name}, {mark:?}, {} points:{some}", points.len());
    }
}

#[test]
fn charts_have_the_numbers_of_their_run() {
    let mut out = String::new();
    for path in ["results/scrfd/2026-11-25T113021Z", "results/transport/2026-11-29T220446Z"] {
        let run = Run::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        let tables = tables::of(&run);
        let cells = tables::cells(&tables);
        let rows: Vec<&Record> = run.records.iter().collect();
        let groups = verdicts::groups(run.compared, &rows);
        along_axis(&run, "Title").iter().for_each(|chart| told(&mut out, chart));
        for group in chosen(&groups, &cells) {
            distribution(&run, group).iter().for_each(|chart| told(&mut out, chart));
            over_time(&run, group).iter().for_each(|chart| told(&mut out, chart));
            assert!(lateness(&run, &[group]).is_empty(), "a closed loop is never late");
        }
        parts(&run).iter().for_each(|chart| told(&mut out, chart));
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &out).unwrap();
    }
    assert_eq!(out, std::fs::read_to_string(GOLDEN).unwrap());
}

#[test]
fn a_load_is_drawn_along_its_amounts_and_a_name_by_its_place() {
    let mut run = Run::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("results/scrfd/2026-11-25T113021Z")).unwrap();
    // of one case in flight 1, 4, 16 and 64
    run.records.truncate(4);
    for (record, concurrency) in run.records.iter_mut().zip([1, 4, 16, 64]) {
        record.case = crate::matrix::Point { concurrency, ..crate::matrix::Point::default() };
    }
    let charts = along_axis(&run, "T");
    let titles: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
    assert_eq!(titles.len(), 3, "{titles:?}");
    assert!(titles[2].ends_with("latency against throughput"), "{titles:?}");
    assert_eq!((&charts[0].x.scale, charts[0].series[0].points.len()), (&Scale::Log, 4));
    assert_eq!(charts[0].series[0].points[2].x, 16.0);
    // the same, of two amounts that are near each other
    run.records.truncate(2);
    run.records[1].case.concurrency = 2;
    let charts = along_axis(&run, "T");
    assert_eq!((charts.len(), &charts[0].x.scale), (2, &Scale::Linear));
}
