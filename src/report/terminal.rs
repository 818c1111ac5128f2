//! Terminal output: the plan, a progress bar with an ETA, finished cases, the tables. The only way to standard output
//! and standard error, either of which may be closed or full.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::run::Run;
use super::tables::Style;
use super::{markdown, words};
use crate::matrix::{AxisId, Point};
use crate::plan::{Group, Plan, Round};
use crate::record::{Manifest, Record, Status};
use crate::scenario::Scenario;
use crate::text;

/// The reader of standard output has left, as `head` does: not a fault, but there is nothing more to print.
#[derive(Debug)]
pub struct ReaderGone;

impl std::error::Error for ReaderGone {}

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("standard output is closed")
    }
}

/// Prints a line on standard error, where it does not mix with results. Ignores failures: nobody could be told, and a
/// measurement goes on.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{}", text::lines(line));
}

/// Prints text on standard output.
///
/// # Errors
/// [`ReaderGone`], or it cannot be written, as on a full disk.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text::lines(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe || is_terminal_gone(&error) => Err(ReaderGone.into()),
        written => written.context("cannot write to standard output"),
    }
}

/// Whether standard output was a terminal that is closed: for a file the same error means a broken disk.
#[cfg(unix)]
fn is_terminal_gone(error: &std::io::Error) -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    const EIO: i32 = 5;
    let file = std::io::stdout().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let device = file
        .and_then(|file| file.metadata())
        .is_ok_and(|metadata| metadata.file_type().is_char_device());
    error.raw_os_error() == Some(EIO) && device
}

#[cfg(not(unix))]
fn is_terminal_gone(_: &std::io::Error) -> bool {
    false
}

/// `--list`: the plan of a scenario.
///
/// # Errors
/// As [`print()`].
pub fn plan(scenario: &Scenario, plan: &Plan) -> Result<()> {
    let load = &scenario.load;
    let mut out = String::new();
    let models: Vec<&str> = scenario.asked_models().collect();
    let _ = writeln!(out, "{} ({}), model {}", scenario.title, scenario.file.display(), models.join(", "));
    let _ = writeln!(
        out,
        "{} cases in {} groups; {} in {}{} blocks, {} before them to warm up; timeout {} s, seed {}",
        plan.cases().count(),
        plan.groups.len(),
        words::length_words(load.stop.requests, load.stop.least.map(|least| least.as_secs_f64())),
        if load.stop.most.is_some() { "at most " } else { "" },
        plan.groups.iter().map(|group| group.rounds.len()).max().unwrap_or(0),
        load.warmup,
        load.timeout.as_secs_f64(),
        load.seed,
    );
    let compared = scenario.matrix.compared();
    for (index, group) in plan.groups.iter().enumerate() {
        let first = &group.cases[0];
        let sizes: Option<Vec<u64>> = group.cases.iter().map(|case| scenario.request_bytes(case)).collect();
        let bytes = match sizes {
            Some(sizes) => {
                let [smallest, largest] = [sizes.iter().min(), sizes.iter().max()].map(|it| size(*it.unwrap_or(&0)));
                let bytes = if smallest == largest { smallest } else { format!("{smallest} to {largest}") };
                format!("{bytes} of input")
            }
            None => "the described inputs".to_owned(),
        };
        let load = first.load_but(Some(compared));
        let _ = writeln!(out, "group {}: {load}, {bytes} a request", index + 1);

        for case in &group.cases {
            let requests = match group.iterations() * u64::from(case.processes) {
                0 => "requests".to_owned(),
                requests => format!("{requests} requests"),
            };
            let server = scenario.server_of(case);
            let address = match server.is_embedded {
                true => "the embedded server".to_owned(),
                false => server.address(case.protocol).to_string(),
            };
            let _ = writeln!(out, "  {:4}  {requests} to {address}", spelled(case, compared));
        }
        let orders = group.rounds.iter().map(|round| {
            round
                .order
                .iter()
                .map(|case| spelled(&group.cases[*case], compared))
                .collect::<Vec<_>>()
                .join(" ")
        });
        let _ = writeln!(out, "  order of blocks: {}", orders.collect::<Vec<_>>().join(" | "));
    }
    print(&out)
}

/// `--verify`: one line a case.
///
/// # Errors
/// As [`print()`].
pub fn verified(scenario: &Scenario, case: &Point, words: &str) -> Result<()> {
    print(&format!("{}  {:4}  {}: {words}\n", scenario.name, spelled(case, AxisId::Protocol), case.load()))
}

/// `--calibrate`: the client's maximum throughput in a case.
pub fn ceiling(scenario: &Scenario, case: &Point, requests_per_s: f64) {
    let variant = case.variant();
    say(&format!("{}: {}, {variant}: client ceiling {requests_per_s:.1} requests/s", scenario.name, case.load()));
}

/// The tables of a run and where its files are.
///
/// # Errors
/// The run's files cannot be read, or as [`print()`].
pub fn run(path: &Path) -> Result<()> {
    let run = Run::open(path)?;
    print(&format!("\n{}\n", markdown::section(&run, Style::default()).trim_end()))
}

/// What distinguishes a group's cases, as files spell it: `grpc`, or `grpc-b` for one of two equal variants.
fn spelled(case: &Point, compared: AxisId) -> String {
    let shown = AxisId::ALL.iter().filter(|id| id.axis().is_variant || **id == compared);
    shown.map(|id| (id.axis().tag)(case)).collect()
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

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

/// Asks a yes-or-no question; only a clear yes counts.
///
/// # Errors
/// Nobody can answer.
pub fn ask(question: &str) -> Result<bool> {
    let asked = || write!(std::io::stderr().lock(), "{question}").is_ok();
    if !std::io::stdin().is_terminal() || !asked() {
        bail!("nobody can be asked here: give --accept-license to accept it");
    }
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
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

/// Standard error, if it is a terminal.
fn draw_target() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}
