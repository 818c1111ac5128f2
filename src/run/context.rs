//! What the measuring of every group of a run shares, and who follows it. Must not know how anything is measured.

use tokio::sync::watch;

use super::calibrate::Ceilings;
use super::folder::Folder;
use super::rows::CaseTotals;
use super::samplers::Samplers;
use super::targets::Targets;
use crate::hosts::Fleet;
use crate::matrix::Point;
use crate::plan::Round;
use crate::record::Manifest;
use crate::scenario::Scenario;

/// The current round.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// Its number, from 0.
    pub index: usize,
    /// Expected number of rounds, where that is known.
    pub rounds: Option<usize>,
    /// Its plan.
    pub round: &'a Round,
}

/// Follows the measurement of a group.
pub trait Listener {
    /// A case begins its block of a round, or (without one) its workers prepare.
    fn begins(&mut self, case: &Point, round: Option<Place<'_>>);
    /// A case's cold start begins: its number from 0, of how many.
    fn starts_cold(&mut self, case: &Point, start: (u32, u32));
    /// The part of the block under way that is done, from 0 to 1.
    fn progress(&mut self, done: f64);
    /// The block of a case under way has ended, or could not be measured.
    fn block_done(&mut self, case: &Point, totals: &CaseTotals);
}

/// The context that all groups of a run share.
pub struct Context<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The servers and models that are asked.
    pub targets: &'a Targets,
    /// The machines that send requests.
    pub fleet: &'a Fleet,
    /// The run's manifest, whose fields are repeated in rows.
    pub manifest: &'a Manifest,
    /// The client's maximum throughput in each case.
    pub ceilings: &'a Ceilings,
    /// The samplers of the servers' metrics.
    pub samplers: &'a Samplers,
    /// Whether each request has a row of its own.
    pub logs_requests: bool,
    /// Where results go.
    pub folder: &'a Folder,
    /// The fewest rounds after which a group may be precise enough.
    pub rounds_least: usize,
    /// Whether the run was taken up again with something that is not as before.
    pub differs: bool,
    /// Becomes true when the user asks to stop.
    pub stop: &'a watch::Receiver<bool>,
}
