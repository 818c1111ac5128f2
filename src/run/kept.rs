//! The blocks of the group under way, as they are kept so that a run can go on after any end. Must not know files.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::matrix::Point;
use crate::plan::Group;
use crate::protocol::control::statistics::Statistics;
use crate::worker::message::BlockDone;
use crate::worker::outcome::{BlockOutcome, HostDone};

/// A measured block, with all that its case's row needs of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeptBlock {
    /// The case's tag.
    pub case: String,
    /// Number of the round, from 0.
    pub round: usize,
    /// The load that a search tried with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// What the case's workers measured, merged.
    pub done: BlockDone,
    /// The parts of other hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostDone>,
    /// What the server counted over it.
    pub served: Option<Statistics>,
    /// Whether a server that gives statistics gave none.
    pub unserved: bool,
    /// Whether it had less time, or did less, than was asked for.
    pub capped: bool,
    /// Requests of the case that failed so far while it was prepared.
    pub errors_preparing: u64,
    /// Different requests that each of its processes sends; 0 if that is not known.
    #[serde(default)]
    pub distinct: u64,
    /// How long its processes warmed up before anything was measured, and whether it was unsteady after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmed_up: Option<(Duration, bool)>,
    /// Requests that have a row of their own; `None` if none was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<u64>,
    /// What the group had taken of its time, in nanoseconds.
    pub spent_ns: u64,
}

/// The number of the first round that some case of a group has not measured, and the blocks up to and in it. Later ones
/// would not be interleaved with what is measured from now on.
pub fn of_group(group: &Group, kept: Vec<KeptBlock>) -> (usize, Vec<KeptBlock>) {
    let tags: Vec<String> = group.cases.iter().map(Point::tag).collect();
    // tries of a search need no partners
    if kept.iter().any(|block| block.load.is_some()) {
        let kept: Vec<KeptBlock> = kept.into_iter().filter(|block| tags.contains(&block.case)).collect();
        return (kept.iter().map(|block| block.round + 1).max().unwrap_or(0), kept);
    }
    let has = |round: usize, tag: &String| kept.iter().any(|block| block.round == round && block.case == *tag);
    let open = (0..=kept.len()).find(|round| !tags.iter().all(|tag| has(*round, tag))).unwrap_or(0);
    let of_group = |block: &KeptBlock| block.round <= open && tags.contains(&block.case);
    (open, kept.into_iter().filter(of_group).collect())
}

/// Reads blocks, one a line; a line that was not written whole, or was damaged since, ends them.
pub fn read(lines: &[u8]) -> Vec<KeptBlock> {
    let whole = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let block = |line: &[u8]| {
        let read = || serde_json::from_slice::<KeptBlock>(line).ok();
        // a damaged number may still be one, but it contradicts others
        let found = read()?;
        BlockOutcome::of_done(found.done).ok()?.with_hosts(found.hosts).ok()?;
        read()
    };
    whole.map_while(block).collect()
}

/// A block as a line.
///
/// # Errors
/// None known.
pub fn line(block: &KeptBlock) -> Result<Vec<u8>> {
    let mut line = serde_json::to_vec(block)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::{Recorder, RequestTiming};

    #[test]
    fn a_line_that_is_torn_or_damaged_ends_the_blocks() {
        let mut recorder = Recorder::default();
        recorder.record(RequestTiming { latency: 1_000_000, ..RequestTiming::default() });
        let outcome = BlockOutcome { recorder, ..BlockOutcome::default() };
        let kept = |round| KeptBlock {
            case: "http-b1-p1-c1".to_owned(),
            round,
            load: None,
            done: outcome.to_done().unwrap(),
            hosts: Vec::new(),
            served: None,
            unserved: false,
            capped: false,
            errors_preparing: 0,
            distinct: 0,
            warmed_up: None,
            logged: None,
            spent_ns: 1,
        };
        let lines: Vec<Vec<u8>> = (0..3).map(|round| line(&kept(round)).unwrap()).collect();
        let rounds = |lines: &[u8]| read(lines).iter().map(|block| block.round).collect::<Vec<_>>();
        assert_eq!(rounds(&lines.concat()), [0, 1, 2]);
        assert_eq!(rounds(&lines.concat()[..lines.concat().len() - 1]), [0, 1]);
        // one digit more: a smallest latency above the largest
        let damaged = String::from_utf8(lines[1].clone()).unwrap();
        let damaged = damaged.replacen("\"min_ns\":1000000", "\"min_ns\":10000000", 1).into_bytes();
        assert_eq!(rounds(&[&lines[0][..], &damaged, &lines[2]].concat()), [0]);
    }
}
