//! What is under way: the cases of a run, and a download.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{draw_target, say};
use crate::matrix::Point;
use crate::plan::{Group, Plan, Round};
use crate::record::{Manifest, Record, Status};
use crate::report::words;
use crate::scenario::Scenario;
use crate::text;

/// The progress of a run. Without a terminal it reports finished cases only.
pub struct Progress {
    bar: ProgressBar,
    capped: bool,
    /// Work of all groups that are done.
    groups: u64,
    /// Work of the blocks that are done.
    blocks: u64,
    /// Work of the block under way.
    current: u64,
}

impl Progress {
    /// Prints what is about to be measured, and draws an empty bar.
    pub fn new(scenario: &Scenario, plan: &Plan, manifest: &Manifest) -> Self {
        say(&format!("{}: {} {}, model {}", scenario.name, manifest.server, manifest.server_version, manifest.model));
        say(&format!("{}: weights: {}", scenario.name, words::weights_words(&manifest.weights)));
        let capped = scenario.load.quick;
        let total = plan.groups.iter().map(|group| group_work(group, capped)).sum();
        let bar = ProgressBar::with_draw_target(Some(total), draw_target());
        bar.set_style(style("{elapsed_precise} [{bar:30}] {percent:>3}%  ETA {eta}  {msg}"));
        bar.enable_steady_tick(Duration::from_millis(500));
        Progress { bar, capped, groups: 0, blocks: 0, current: 0 }
    }

    /// Shows the current case and its round: the round's number, the expected number of rounds, and the plan.
    pub fn show(&mut self, case: &Point, round: Option<(usize, usize, &Round)>) {
        let what = case.load();
        match round {
            None => self.bar.set_message(format!("{what}: connecting and warming up")),
            Some((index, rounds, round)) => {
                self.current = work(case, round, self.capped);
                let name = case.variant();
                self.bar.set_message(format!("{what}: {name}, block {} of {rounds}", index + 1));
            }
        }
    }

    /// The part of the block under way that is done, from 0 to 1.
    pub fn advance(&mut self, done: f64) {
        let part = self.current as f64 * done;
        self.bar.set_position(self.groups + self.blocks + (part as u64).min(self.current));
    }

    /// The block under way is done.
    pub fn block_done(&mut self) {
        self.blocks += std::mem::take(&mut self.current);
        self.bar.set_position(self.groups + self.blocks);
    }

    /// A group is done, measured to its end or not.
    pub fn group_done(&mut self, group: &Group) {
        self.groups += group_work(group, self.capped);
        self.blocks = 0;
        self.bar.set_position(self.groups);
    }

    /// Reports how a case ended.
    pub fn case_done(&mut self, record: &Record) {
        let place = format!("{}: {}", record.scenario, record.case.phrase());
        let numbers = match (record.mean_ms, record.p95_ms, record.inferences_per_s) {
            (Some(mean), Some(p95), Some(rate)) => format!(
                "mean {} ms, p95 {} ms, {rate:.1} inferences/s, {} requests",
                words::format_ms(mean),
                words::format_ms(p95),
                record.requests
            ),
            _ => "no answers".to_owned(),
        };
        let line = match record.status {
            Status::Ok => format!("{place}: {numbers}"),
            status => format!("{place}: {}: {} ({numbers})", words::status_words(status), record.reason),
        };
        if self.bar.is_hidden() {
            say(&line);
        } else {
            self.bar.println(text::lines(&line));
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn group_work(group: &Group, capped: bool) -> u64 {
    let round = |round: &Round| group.cases.iter().map(|case| work(case, round, capped)).sum::<u64>();
    group.rounds.iter().map(round).sum()
}

/// How long a block takes relative to others: in milliseconds if time ends it, in items otherwise.
fn work(case: &Point, round: &Round, capped: bool) -> u64 {
    let requests = round.stop.requests * u64::from(case.processes);
    let least = round.stop.least.map_or(0.0, |least| least.as_secs_f64());
    let seconds = match (case.rate, round.stop.most) {
        (Some(rate), cap) => {
            let all = least.max(requests as f64 / rate);
            cap.map_or(all, |cap| all.min(cap.as_secs_f64()))
        }
        (None, Some(cap)) if capped => cap.as_secs_f64(),
        _ => least,
    };
    if seconds > 0.0 {
        (seconds * 1000.0).ceil() as u64
    } else {
        requests * u64::from(case.batch_size) * 1000
    }
}

/// The progress of a download.
pub struct Download(ProgressBar);

impl Default for Download {
    fn default() -> Self {
        Self::new()
    }
}

impl Download {
    /// An empty bar, shown with the first bytes.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, draw_target());
        let template = "{bytes} of {total_bytes} [{bar:30}] {bytes_per_sec}  ETA {eta}";
        bar.set_style(style(template));
        Download(bar)
    }

    /// Bytes received, and the size if the server gives it.
    pub fn show(&mut self, done: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.0.set_length(total);
        }
        self.0.set_position(done);
        if Some(done) == total {
            self.0.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
