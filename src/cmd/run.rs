//! `runner SCENARIO..`: its options, and what they ask of a run.
#![allow(missing_docs)]

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::{Args, Parser};

use super::Cli;
use super::axes::AxisArguments;
use crate::report::terminal::Show;
use crate::run::resume::{self, Resume};
use crate::run::{Gathering, Mode, Options};
use crate::scenario::{EMBEDDED, Overrides};
use crate::threshold::Threshold;

#[derive(Args, Debug)]
pub struct Arguments {
    /// Scenario files, or names: scrfd and arcface are built in. Every key is explained in scenarios/README.md
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<PathBuf>,
    /// Print the plan; nothing is sent
    #[arg(long, conflicts_with = "verify")]
    pub list: bool,
    /// Send each distinct request of a case once from every process and check its answer; nothing is timed
    #[arg(long)]
    pub verify: bool,
    /// Three seconds a case, its preparation included as far as possible; the results say so
    #[arg(long)]
    pub quick: bool,
    /// Measure each case twice, interleaved, and compare it with itself: every difference is chance
    #[arg(long)]
    pub aa: bool,
    /// Make MLPerf's compliance tests of a scenario with [mlperf]: answers while measuring equal those before (TEST01), and one request
    /// again and again is no faster than different ones (TEST04); exit code 99 if one fails
    #[arg(long, conflicts_with_all = ["list", "verify", "aa", "compare"])]
    pub mlperf_check: bool,
    /// First measure the client's own maximum throughput against a no-op server; cases that come close to it are flagged
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub calibrate: bool,
    /// Keep this machine's processors from sleeping between requests: what they take to wake up is in every latency (Linux, root)
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub awake: bool,
    /// Write each request into requests.csv in the run's folder: when it was due, sent and answered; some 100 MB a million
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub requests: bool,
    /// A case whose row is flagged is a failure: exit code 1
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub strict: bool,
    /// Host of the server, on the default ports 8000 (HTTP) and 8001 (gRPC), or `embedded`: the program's own server
    #[arg(long, value_name = "HOST")]
    pub server: Option<String>,
    /// Folder of the embedded server's models
    #[arg(long, value_name = "DIR", default_value = super::MODEL_REPOSITORY)]
    pub model_repository: PathBuf,
    /// Address of the server's HTTP port
    #[arg(long, value_name = "HOST:PORT")]
    pub http: Option<String>,
    /// Address of the server's gRPC port
    #[arg(long, value_name = "HOST:PORT")]
    pub grpc: Option<String>,
    /// Address of the server's metrics [default: port 8002 of --server]
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<String>,
    /// Other machines that send requests, reached by ssh with your own configuration; `localhost` is this one
    #[arg(long, value_name = "HOST,..", value_delimiter = ',')]
    pub hosts: Vec<String>,
    /// Copy this program to those machines first (the same operating system and architecture)
    #[arg(long)]
    pub ship: bool,
    /// Wait there for machines that connect by `runner worker --connect`; RUNNER_TOKEN or RUNNER_TOKEN_FILE has the secret that
    /// all share
    #[arg(long, value_name = "ADDRESS:PORT", requires = "wait_for", conflicts_with = "hosts")]
    pub listen: Option<String>,
    /// How many of them
    #[arg(long, value_name = "N", requires = "listen", value_parser = clap::value_parser!(u16).range(1..))]
    pub wait_for: Option<u16>,
    /// Requests of one process in one case
    #[arg(long, value_name = "N")]
    pub iterations: Option<u64>,
    /// Seconds that a case is measured; with --iterations at least both
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Longest time of a case in seconds, its preparation included as far as possible
    #[arg(long, value_name = "SECONDS")]
    pub max_seconds: Option<f64>,
    /// Measure until every compared ratio of means is known within this part, such as 2%, or the longest time is over
    #[arg(long, value_name = "PERCENT")]
    pub precision: Option<String>,
    /// A threshold that every case has to keep, such as "p95_ms < 50" or "errors <= 0": exit code 99 if one is broken beyond
    /// chance; may be given several times
    #[arg(long, value_name = "THRESHOLD", value_parser = super::threshold)]
    pub assert: Vec<Threshold>,
    /// Search for the highest rate at which bounds are kept, such as "p99<50ms" or "p95<0.2s,errors<0.1%", of every case; how long
    /// that may take is --max-seconds
    #[arg(long, value_name = "BOUNDS", conflicts_with_all = ["iterations", "duration", "verify"])]
    pub capacity: Option<String>,
    /// Requests of one process before anything is measured
    #[arg(long, value_name = "N")]
    pub warmup: Option<u64>,
    #[command(flatten)]
    pub axes: AxisArguments,
    /// The axis of the matrix whose values are compared [default: the first of those that tell variants apart]
    #[arg(long, value_name = "AXIS")]
    pub compare: Option<String>,
    /// How progress is reported on standard error: auto (a bar on a terminal, lines otherwise), bar, lines, tui, json or none
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = super::word::<Show>, conflicts_with_all = ["list", "verify"])]
    pub progress: Show,
    /// A live screen while it runs: latencies over time, their distribution, the matrix filling up; the same as --progress tui
    #[arg(long, conflicts_with_all = ["progress", "quiet", "list", "verify"])]
    pub tui: bool,
    /// No progress: errors and the results alone
    #[arg(long, short, conflicts_with_all = ["progress", "list", "verify"])]
    pub quiet: bool,
    /// Print JSON instead of tables: the runs as `runner report --json` does, or the cases of --list or --verify
    #[arg(long)]
    pub json: bool,
    /// Folder in which each run makes its own
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Go on with a run that was stopped, killed or lost its server: measures the blocks that are missing, as its own command line
    /// asked for, if everything is as it was
    #[arg(long, value_name = "RUN", conflicts_with_all = ["scenarios", "list", "verify", "quick", "aa", "mlperf_check", "calibrate", "awake", "requests", "strict",
        "hosts", "ship", "server", "model_repository", "http", "grpc", "metrics", "iterations", "duration", "max_seconds", "precision", "assert",
        "capacity", "warmup", "compare", "results"])]
    pub resume: Option<PathBuf>,
    /// Go on even if the program, the server, the model, the scenario or the machine is not as it was; the rows are marked
    #[arg(long, requires = "resume")]
    pub resume_anyway: bool,
}

impl Arguments {
    /// What the command line asks for: of a run that goes on, what its own did, but for how it is shown.
    ///
    /// # Errors
    /// The options contradict each other, or the run cannot go on.
    pub fn options(self) -> anyhow::Result<Options> {
        let Some(run) = self.resume.clone() else {
            let written: Vec<String> =
                std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
            return Ok(Options { arguments: written, ..self.try_into()? });
        };
        ensure!(self.axes.0.is_empty(), "--resume goes on with the run as it was: leave the options of axes out");
        let (written, scenario) = resume::asked(&run)?;
        let words = std::iter::once("runner").chain(written.iter().map(String::as_str));
        let of_run = Cli::try_parse_from(words)
            .with_context(|| format!("--resume {}: this version does not take the options of the run", run.display()))?
            .run;
        let of_run = Arguments {
            scenarios: vec![scenario],
            progress: self.progress,
            tui: self.tui,
            quiet: self.quiet,
            json: self.json,
            // other hosts may connect, or elsewhere
            listen: self.listen.or(of_run.listen),
            wait_for: self.wait_for.or(of_run.wait_for),
            ..of_run
        };
        let resume = Some(Resume { run, anyway: self.resume_anyway });
        Ok(Options { resume, ..of_run.try_into()? })
    }
}

impl TryFrom<Arguments> for Options {
    type Error = anyhow::Error;

    fn try_from(arguments: Arguments) -> anyhow::Result<Self> {
        let embedded = arguments.server.as_deref() == Some(EMBEDDED);
        for (option, address) in
            [("--http", &arguments.http), ("--grpc", &arguments.grpc), ("--metrics", &arguments.metrics)]
        {
            ensure!(
                !embedded || address.is_none(),
                "{option} has no place beside --server embedded, which picks free ports: leave one of the two out"
            );
        }
        Ok(Options {
            scenarios: arguments.scenarios,
            overrides: Overrides {
                iterations: arguments.iterations,
                duration_s: arguments.duration,
                axes: arguments.axes.0,
                compare: arguments.compare,
                warmup: arguments.warmup,
                server: arguments.server.filter(|_| !embedded),
                http: arguments.http,
                grpc: arguments.grpc,
                metrics: arguments.metrics,
                max_seconds: arguments.max_seconds,
                precision: arguments.precision,
                capacity: arguments.capacity,
                asserts: arguments.assert,
                quick: arguments.quick,
                aa: arguments.aa,
                mlperf_check: arguments.mlperf_check,
                hosts: arguments.hosts,
            },
            results: arguments.results,
            json: arguments.json,
            calibrate: arguments.calibrate,
            requests: arguments.requests,
            awake: arguments.awake,
            ship: arguments.ship,
            gathering: match (arguments.listen, arguments.wait_for) {
                (Some(address), Some(count)) => Gathering::Listen(address, usize::from(count)),
                _ => Gathering::None,
            },
            strict: arguments.strict,
            show: match (arguments.quiet, arguments.tui) {
                (true, _) => Show::Nothing,
                (_, true) => Show::Tui,
                _ => arguments.progress,
            },
            embedded,
            model_repository: arguments.model_repository,
            mode: match (arguments.list, arguments.verify) {
                (true, _) => Mode::List,
                (_, true) => Mode::Verify,
                _ => Mode::Measure,
            },
            resume: None,
            arguments: Vec::new(),
        })
    }
}
