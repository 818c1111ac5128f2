//! What is under way: the cases of a run, and a download.

use std::io::Stderr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Error, anyhow};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ratatui::backend::CrosstermBackend;
use serde_json::{Value, json};

use super::screen::{Screen, SoFar};
use super::{begin_screen, draw_target, end_screen, fitted, is_watched, said, say};
use crate::matrix::Point;
use crate::plan::{Group, Plan, Round};
use crate::record::{Manifest, Record, Status};
use crate::report::{capacity, words};
use crate::scenario::Scenario;
use crate::spelling::spelled;

spelled! {
    /// How progress is reported, on standard error.
    #[derive(Default)]
    pub enum Show {
        /// A bar on a terminal, otherwise lines.
        #[default]
        Auto = "auto",
        /// A bar, and a line a finished case.
        Bar = "bar",
        /// A line a finished case.
        Lines = "lines",
        /// A live screen.
        Tui = "tui",
        /// A JSON object a line, for programs.
        Json = "json",
        /// Nothing.
        Nothing = "none",
    }
}

/// The progress of a run.
pub struct Progress {
    show: Show,
    bar: ProgressBar,
    screen: Option<Screen<CrosstermBackend<Stderr>>>,
    scenario: String,
    capped: bool,
    /// Work of all groups that are done.
    groups: u64,
    /// Work of the blocks that are done.
    blocks: u64,
    /// Work of the block under way.
    current: u64,
    /// Requests that failed in all cases so far.
    errors: u64,
    /// The lines of cases that nobody was shown.
    untold: Vec<String>,
}

impl Progress {
    /// Reports what is about to be measured, and draws an empty bar.
    pub fn new(show: Show, scenario: &Scenario, plan: &Plan, manifest: &Manifest) -> Self {
        // where nobody sees a screen there are lines
        let show = if show == Show::Tui && !is_watched() { Show::Lines } else { show };
        let target = match show {
            Show::Auto | Show::Bar => draw_target(),
            _ => ProgressDrawTarget::hidden(),
        };
        let capped = scenario.load.quick;
        let total = plan.groups.iter().map(|group| group_work(group, capped)).sum();
        let bar = ProgressBar::with_draw_target(Some(total), target);
        bar.set_style(style("{wide_msg}\n{bar:22} {percent:>3} %  {eta} left  {prefix}").progress_chars("━╸ "));
        // once a second: what is drawn while requests are timed is in their latencies where all cores are in use
        bar.enable_steady_tick(Duration::from_secs(1));
        let name = scenario.name.clone();
        let mut progress = Progress {
            show,
            bar,
            screen: None,
            scenario: name,
            capped,
            groups: 0,
            blocks: 0,
            current: 0,
            errors: 0,
            untold: Vec::new(),
        };
        let Manifest { server, server_version, model, weights, cases, .. } = manifest;
        progress.tell(
            || {
                let weights = words::weights_words(weights);
                format!("{server} {server_version}, model {model}; weights: {weights}")
            },
            || json!({"event": "run", "server": server, "server_version": server_version, "model": model, "cases": cases}),
        );
        if show == Show::Tui {
            let title = format!("{} · {server} {server_version} · model {model}", scenario.title);
            progress.screen = begin_screen().and_then(|backend| Screen::new(backend, title, plan)).ok();
        }
        progress
    }

    /// Whether blocks and distributions are shown.
    pub fn is_detailed(&self) -> bool {
        self.screen.is_some()
    }

    /// Moves the bar.
    fn moved(&mut self, position: u64) {
        self.bar.set_position(position);
        if let Some(screen) = &mut self.screen {
            let all = self.bar.length().unwrap_or(0).max(1);
            screen.say(&said());
            screen.advance(position as f64 / all as f64, self.bar.eta(), self.bar.elapsed());
        }
    }

    /// Says a line above the bar, or an object.
    fn tell(&self, line: impl Fn() -> String, object: impl Fn() -> Value) {
        match self.show {
            Show::Nothing => {}
            Show::Json => {
                let mut object = object();
                object["scenario"] = self.scenario.clone().into();
                say(&object.to_string());
            }
            Show::Tui => {}
            _ if self.bar.is_hidden() => say(&format!("{}: {}", self.scenario, line())),
            _ => self.bar.println(fitted(&line())),
        }
    }

    /// Shows the current case and its round: the round's number, the expected number of rounds, if that is known, and the plan.
    pub fn show(&mut self, case: &Point, round: Option<(usize, Option<usize>, &Round)>) {
        let doing = match round {
            None => "connecting and warming up".to_owned(),
            Some((index, rounds, round)) => {
                self.current = work(case, round, self.capped);
                let of = rounds.map_or(String::new(), |rounds| format!(" of {rounds}"));
                format!("block {}{of}", index + 1)
            }
        };
        self.say_current(case, &doing);
    }

    /// Says what is done with a case.
    pub fn say_current(&mut self, case: &Point, doing: &str) {
        let message = format!("{}  {}  {doing}", self.scenario, case.phrase());
        if let Some(screen) = &mut self.screen {
            screen.current(message.clone());
        }
        self.bar.set_message(message);
    }

    /// The part of the block under way that is done, from 0 to 1.
    pub fn advance(&mut self, done: f64) {
        let part = self.current as f64 * done;
        self.moved(self.groups + self.blocks + (part as u64).min(self.current));
    }

    /// The block of a case under way is done.
    pub fn block_done(&mut self, case: &Point, so_far: SoFar) {
        self.blocks += std::mem::take(&mut self.current);
        self.moved(self.groups + self.blocks);
        if let Some(screen) = &mut self.screen {
            screen.block_done(case, so_far.clone());
        }
        let SoFar { requests, errors, requests_per_s, p50_ms, p95_ms, .. } = so_far;
        let errors_words = match self.errors + errors {
            0 => String::new(),
            errors => format!("  {errors} errors"),
        };
        let [p50, p95, rate] = [p50_ms, p95_ms, requests_per_s].map(words::number_if_any);
        self.bar.set_prefix(format!("p50 {p50} p95 {p95} ms  {rate}/s{errors_words}"));
        if self.show == Show::Json {
            self.tell(String::new, || {
                json!({"event": "block", "case": case.tag(), "requests": requests, "errors": errors,
                    "requests_per_s": requests_per_s, "p50_ms": p50_ms, "p95_ms": p95_ms})
            });
        }
    }

    /// A group is done, measured to its end or not.
    pub fn group_done(&mut self, group: &Group) {
        self.groups += group_work(group, self.capped);
        self.blocks = 0;
        self.moved(self.groups);
        if let Some(screen) = &mut self.screen {
            screen.group_done();
        }
    }

    /// Reports how a case ended.
    pub fn case_done(&mut self, record: &Record) {
        self.errors += record.errors;
        if let Some(screen) = &mut self.screen {
            screen.case_done(record);
        }
        let line = || {
            let place = record.case.phrase();
            let numbers = match (record.mean_ms, record.p95_ms, record.inferences_per_s) {
                _ if !record.capacity_bound.is_empty() => {
                    format!("capacity {}, {} requests", capacity::words(record), record.requests)
                }
                (Some(mean), Some(p95), Some(rate)) => format!(
                    "mean {} ms, p95 {} ms, {rate:.1} inferences/s, {} requests",
                    words::format_ms(mean),
                    words::format_ms(p95),
                    record.requests
                ),
                _ => "no answers".to_owned(),
            };
            match record.status {
                Status::Ok => format!("{place}: {numbers}"),
                status => format!("{place}: {}: {} ({numbers})", words::status_words(status), record.reason),
            }
        };
        if matches!(self.show, Show::Nothing | Show::Tui) {
            self.untold.push(format!("{}: {}", self.scenario, line()));
        }
        self.tell(line, || {
            json!({"event": "case", "case": record.case.tag(), "status": record.status.name(), "reason": record.reason,
                "requests": record.requests, "errors": record.errors, "mean_ms": record.mean_ms, "p95_ms": record.p95_ms,
                "inferences_per_s": record.inferences_per_s, "capacity_per_s": record.capacity_per_s,
                "capacity_low_per_s": record.capacity_low_per_s, "capacity_high_per_s": record.capacity_high_per_s})
        });
    }

    /// Results cannot be written to a run's folder: tells the cases that were not told, and returns the error with what to
    /// do about it.
    pub fn unwritten(&mut self, error: Error, folder: &Path) -> Error {
        self.bar.finish_and_clear();
        end_screen();
        self.untold.drain(..).for_each(|line| say(&line));
        let (is_there, folder) = (folder.exists(), folder.display());
        let remedy = match is_there {
            true => format!(
                "what was measured is told above, and what is on disk stays: make the folder writable, with room, and go on \
                 with runner --resume {folder}"
            ),
            false => format!("the folder {folder} is gone: what was measured is told above, and nowhere else"),
        };
        anyhow!("{error:#}; {remedy}")
    }

    /// Takes the bar away, and reports where the files are.
    pub fn finish(&self, folder: &Path) {
        self.bar.finish_and_clear();
        end_screen();
        if self.show == Show::Json {
            self.tell(String::new, || json!({"event": "done", "folder": folder.display().to_string()}));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // also where a run ends early
        end_screen();
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
