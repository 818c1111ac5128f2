//! Commands and their help. Only `main` uses this.
#![allow(missing_docs)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::embedded;
use crate::matrix::{AxisId, Limit};
use crate::report::{Section, Style, Wanted};
use crate::run::{Mode, Options};
use crate::scenario::{Overrides, Scenario};
use crate::spelling::{Spelled, nearest};

/// Benchmarks models of KServe v2 inference servers, NVIDIA Triton first: HTTP against gRPC, on equal terms.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    arg_required_else_help = true,
    override_usage = "runner [OPTIONS] <SCENARIO>...\n       runner <COMMAND>",
    after_help = "Examples:\n  runner scenarios/scrfd.toml                      the whole matrix, against the server on localhost\n  \
                  runner scenarios/*.toml --server gpu-box --quick  another server, a few seconds a case\n  \
                  runner scenarios/scrfd.toml --server embedded    no server needed: the program's own\n  \
                  runner scenarios/scrfd.toml --list               the plan; nothing is sent\n  \
                  runner report --splice README.md                 make the tables of a document anew"
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArguments,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the tables of runs, or put them into a document
    Report(ReportArguments),
    /// Get the model files of a scenario
    #[command(subcommand)]
    Models(ModelsCommand),
    /// The embedded server: serves a model repository over HTTP and gRPC, without Triton
    Serve(ServeArguments),
    /// A worker process, as a run starts it
    #[command(hide = true)]
    Worker,
}

#[derive(Args, Debug)]
pub struct RunArguments {
    /// Scenario files, or names: scrfd and arcface are built in. Every key is explained in scenarios/README.md
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<PathBuf>,
    /// Print the plan; nothing is sent
    #[arg(long, conflicts_with = "verify")]
    pub list: bool,
    /// Send one request a case and process and check its answer; nothing is timed
    #[arg(long)]
    pub verify: bool,
    /// Three seconds a case, its preparation included as far as possible; the results say so
    #[arg(long)]
    pub quick: bool,
    /// Measure each case twice, interleaved, and compare it with itself: every difference is chance
    #[arg(long)]
    pub aa: bool,
    /// First measure what the client reaches where a server answers at once; cases that come close to it are flagged
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub calibrate: bool,
    /// Keep this machine's processors from sleeping between requests: what they take to wake up is in every latency (Linux, root)
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub awake: bool,
    /// A case whose row is flagged is a failure: exit code 1
    #[arg(long, conflicts_with_all = ["list", "verify"])]
    pub strict: bool,
    /// Host of the server, on the default ports 8000 (HTTP) and 8001 (gRPC), or `embedded`: the program's own server
    #[arg(long, value_name = "HOST")]
    pub server: Option<String>,
    /// Folder of the embedded server's models
    #[arg(long, value_name = "DIR", default_value = "model_repository")]
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
    /// Requests of one process in one case
    #[arg(long, value_name = "N")]
    pub iterations: Option<u64>,
    /// Seconds that a case is measured; with --iterations at least both
    #[arg(long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Longest time of a case in seconds, its preparation included as far as possible
    #[arg(long, value_name = "SECONDS")]
    pub max_seconds: Option<f64>,
    /// Requests of one process before anything is measured
    #[arg(long, value_name = "N")]
    pub warmup: Option<u64>,
    #[command(flatten)]
    pub axes: AxisArguments,
    /// The axis of the matrix whose values are compared [default: the first of those that tell variants apart]
    #[arg(long, value_name = "AXIS")]
    pub compare: Option<String>,
    /// Folder in which each run makes its own
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

/// The options that set the values of axes.
#[derive(Debug, Default)]
pub struct AxisArguments(Vec<(AxisId, Vec<String>)>);

/// Sets any axis, by its key.
const SET: &str = "set";

impl Args for AxisArguments {
    fn augment_args(mut command: clap::Command) -> clap::Command {
        for id in AxisId::ALL {
            let (axis, Some(option)) = (id.axis(), id.option()) else { continue };
            let argument = Arg::new(axis.key).long(option).help(axis.help).value_delimiter(',').action(ArgAction::Set);
            command = command.arg(match axis.limit {
                Limit::Words(words) => {
                    argument.value_name("NAME,..").value_parser(PossibleValuesParser::new(words.names))
                }
                _ => argument.value_name("N,..").num_args(1),
            });
        }
        let set = Arg::new(SET).long(SET).value_name("AXIS=VALUE,..").action(ArgAction::Append);
        command.arg(set.help("Values of any axis of the matrix, such as batch_sizes=1,4; may be given several times"))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for AxisArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut axes = Vec::new();
        for id in AxisId::ALL.iter().filter(|id| id.option().is_some()) {
            if let Some(values) = matches.get_many::<String>(id.axis().key) {
                axes.push((*id, values.cloned().collect()));
            }
        }
        for setting in matches.get_many::<String>(SET).into_iter().flatten() {
            axes.push(self::setting(setting).map_err(|words| clap::Error::raw(ErrorKind::ValueValidation, words))?);
        }
        Ok(AxisArguments(axes))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `batch_sizes=1,4`.
fn setting(text: &str) -> Result<(AxisId, Vec<String>), String> {
    let shown = text.escape_debug();
    let (name, values) =
        text.split_once('=').ok_or_else(|| format!("--set {shown}: write AXIS=VALUE,.., such as batch_sizes=1,4\n"))?;
    let keys: Vec<&str> = AxisId::settable().map(|id| id.axis().key).collect();
    let id = AxisId::named(&name.replace('-', "_")).filter(|id| keys.contains(&id.axis().key)).ok_or_else(|| {
        let near = nearest(name, &keys).map_or(String::new(), |near| format!("did you mean {near}? "));
        format!("--set {shown}: there is no such axis: {near}The axes are {}\n", keys.join(", "))
    })?;
    Ok((id, values.split(',').map(|value| value.trim().to_owned()).collect()))
}

#[derive(Args, Debug)]
pub struct ReportArguments {
    /// Runs' folders, or names of scenarios, which stand for their newest full runs [default: all scenarios]
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// What to tell of each run; a marker says that itself
    #[arg(long, value_name = "NAME", default_value = "results", value_parser = section)]
    pub section: Section,
    /// Show means and 95th percentiles with their 95 % intervals
    #[arg(long)]
    pub intervals: bool,
    /// Make what stands between this document's markers again; a marker carries the runs it shows, and a lesser run takes
    /// the place of one that is shown only if its folder is named
    #[arg(long, value_name = "FILE")]
    pub splice: Option<PathBuf>,
    /// Folder of the runs
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
}

#[derive(Args, Debug)]
pub struct ServeArguments {
    /// Folder of the models
    #[arg(long, value_name = "DIR", default_value = "model_repository")]
    pub model_repository: PathBuf,
    /// Prefer configs/NAME.pbtxt of a model to its config.pbtxt
    #[arg(long, value_name = "NAME")]
    pub model_config_name: Option<String>,
    /// Load this model alone; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    pub load_model: Vec<String>,
    /// Address of HTTP; port 0 is one that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    pub http: String,
    /// Address of gRPC; port 0 is one that is free
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8001")]
    pub grpc: String,
    /// Write how long every request took, as the server saw it
    #[arg(long, value_name = "FILE")]
    pub request_log: Option<PathBuf>,
    /// Memory that requests may hold at once [default: half of what the process may use, at most 4096]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub request_memory: Option<u32>,
    /// End when standard input does, as the server of a run does
    #[arg(long, hide = true)]
    pub until_input_ends: bool,
}

#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Download the published weights, after showing their licence
    Fetch {
        /// Name of the scenario, or its file
        scenario: String,
        /// Accept the licence without being asked
        #[arg(long)]
        accept_license: bool,
        /// Folder of the models
        #[arg(long, value_name = "DIR", default_value = "model_repository")]
        model_repository: PathBuf,
    },
    /// Write a stand-in with the real structure and seeded random weights
    Synth {
        /// Name of the scenario, or its file
        scenario: String,
        /// Seed of the weights
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Replace published weights too
        #[arg(long)]
        force: bool,
        /// Folder of the models
        #[arg(long, value_name = "DIR", default_value = "model_repository")]
        model_repository: PathBuf,
    },
}

/// What is wrong with a first argument that is a word, but neither a command nor a scenario; `None` for any other.
pub fn mistyped(first: Option<&OsStr>) -> Option<String> {
    let word = first?.to_str().filter(|word| !word.is_empty() && !word.starts_with('-'))?;
    let command = Cli::command();
    let commands: Vec<&str> =
        command.get_subcommands().filter(|command| !command.is_hide_set()).map(|command| command.get_name()).collect();
    let known = |word| word == "help" || word == "worker" || commands.contains(&word);
    if word.contains(['.', '/', '\\']) || known(word) || Scenario::is_there(Path::new(word)) {
        return None;
    }
    let near = commands.iter().find(|command| strsim::jaro_winkler(word, command) > 0.8);
    let help = match near {
        Some(near) => format!("did you mean `runner {near}`?"),
        None => format!("the commands are {}; a scenario is named as scenarios/scrfd.toml is", commands.join(", ")),
    };
    Some(format!("\"{}\" is neither a command nor a scenario file: {help}", word.escape_debug()))
}

fn section(name: &str) -> Result<Section, String> {
    Section::spelled(name).ok_or_else(|| format!("there are {}", Section::WORDS.join(", ")))
}

impl From<ReportArguments> for Wanted {
    fn from(arguments: ReportArguments) -> Self {
        let ReportArguments { runs, section, intervals, .. } = arguments;
        Wanted { runs, section, style: Style { intervals } }
    }
}

impl From<ServeArguments> for embedded::Options {
    fn from(arguments: ServeArguments) -> Self {
        embedded::Options {
            model_repository: arguments.model_repository,
            model_config_name: arguments.model_config_name,
            load_models: arguments.load_model,
            http: arguments.http,
            grpc: arguments.grpc,
            request_log: arguments.request_log,
            request_memory: arguments.request_memory.map(|mib| (mib as usize).saturating_mul(1 << 20)),
        }
    }
}

/// What `--server` names when it is no host.
const EMBEDDED: &str = "embedded";

impl TryFrom<RunArguments> for Options {
    type Error = anyhow::Error;

    fn try_from(arguments: RunArguments) -> anyhow::Result<Self> {
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
                quick: arguments.quick,
                aa: arguments.aa,
            },
            results: arguments.results,
            calibrate: arguments.calibrate,
            awake: arguments.awake,
            strict: arguments.strict,
            embedded,
            model_repository: arguments.model_repository,
            mode: match (arguments.list, arguments.verify) {
                (true, _) => Mode::List,
                (_, true) => Mode::Verify,
                _ => Mode::Measure,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_command_is_no_missing_scenario() {
        for (word, help) in [
            ("reprot", "did you mean `runner report`?"),
            ("serv", "did you mean `runner serve`?"),
            ("model", "did you mean `runner models`?"),
            ("benchmark", "the commands are report, models, serve; a scenario is named as"),
        ] {
            let words = mistyped(Some(OsStr::new(word))).unwrap();
            assert!(words.starts_with(&format!("\"{word}\" is neither")) && words.contains(help), "{words}");
        }
        for other in ["report", "help", "worker", "scrfd", "x.toml", "scenarios/x", "--list", ""] {
            assert_eq!(mistyped(Some(OsStr::new(other))), None, "{other}");
        }
    }
}
