//! A scenario: validated and complete, with every default filled in. Read from TOML with spans, so that every error
//! names file, line, key, value and remedy. Of the program, it knows only the matrix, tensors and spellings.

pub mod arrival;
pub mod arrival_file;
mod artifact;
mod bounds;
mod capacity;
mod distinct;
mod error;
mod hosts;
mod json_schema;
mod keys;
mod mlperf;
mod overrides;
mod schema;
mod server;
mod shapes;
mod syntax;
mod tree;
mod validate;
mod warmup;
mod words;

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use arrival::ArrivalProcess;
pub use artifact::{Artifact, Structure};
pub use capacity::{Capacity, Over};
pub use error::ScenarioError;
pub use hosts::{Hosts, Spread};
pub use json_schema::json_schema;
pub use keys::keys;
pub use mlperf::Mlperf;
pub use overrides::Overrides;
pub use server::Server;
pub use warmup::{PART as WARMUP_PART, Warmup};

use crate::capacity::Bound;
use crate::matrix::{AxisId, Matrix, Name, Point, Selection, Value};
use crate::spelling::spelled;
use crate::tensor::{Datatype, Expect, Items, Parameters, Source};
use crate::threshold::Threshold;

/// Maximum size of a scenario file, in bytes; a larger file is something else.
const SIZE_MAX: u64 = 1 << 20;

/// The requests to send, the models and servers they go to, and the load.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's stem, made safe as a directory name: `scrfd` of `scenarios/scrfd.toml`.
    pub name: String,
    /// The file it was read from.
    pub file: PathBuf,
    /// The file's text, kept with the results.
    pub text: String,
    /// Heading of the report.
    pub title: String,
    /// Where to find the server.
    pub server: Server,
    /// The model to ask.
    pub model: Model,
    /// Input tensors; empty if they are taken from the server's metadata.
    pub inputs: Vec<Input>,
    /// Parameters of every request.
    pub parameters: Parameters,
    /// The requested output tensors; empty if they are taken from the server's metadata.
    pub outputs: Vec<Output>,
    /// The servers that the matrix names.
    pub servers: Vec<(Name, Server)>,
    /// The models that the matrix names.
    pub models: Vec<(Name, ModelTarget)>,
    /// The axes of the run matrix.
    pub matrix: Matrix,
    /// The load of a case.
    pub load: Load,
    /// The search for the capacity of every case, if that is asked.
    pub capacity: Option<Capacity>,
    /// Whose rules the load follows.
    pub mlperf: Option<Mlperf>,
    /// The machines that send requests.
    pub hosts: Hosts,
    /// What the cases have to keep.
    pub asserts: Vec<Assert>,
    /// Where the published weights come from.
    pub artifact: Option<Artifact>,
    /// The command line's overrides, as given there.
    pub overridden: Vec<String>,
}

/// Triton's default ports.
const HTTP_PORT: u16 = 8000;
const GRPC_PORT: u16 = 8001;
const METRICS_PORT: u16 = 8002;

/// A model of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// The model's name on the server.
    pub name: String,
    /// A version; `None` leaves the choice to the server.
    pub version: Option<String>,
    /// Whether tensors have a leading batch dimension.
    pub batching: bool,
}

/// A model that the matrix names, with its inputs and outputs.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct ModelTarget {
    pub model: Model,
    pub inputs: Vec<Input>,
    pub outputs: Vec<Output>,
}

/// The name of the program's own server in `servers` and `--server`.
pub const EMBEDDED: &str = "embedded";

/// An input tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the tensor.
    pub name: String,
    /// Element type.
    pub datatype: Datatype,
    /// Shape without the batch dimension.
    pub shape: Vec<usize>,
    /// The data that fills it.
    pub data: Source,
}

impl Input {
    /// The items that fill it.
    ///
    /// # Errors
    /// The data cannot be read, or does not fit: see [`Items::open`].
    pub fn items(&self) -> anyhow::Result<Items> {
        Items::open(&self.name, self.datatype, &self.shape, &self.data)
    }

    /// Bytes of the tensor without the batch dimension, saturating.
    fn item_bytes(&self) -> u64 {
        let size = self.datatype.generated_size() as u64;
        self.shape.iter().fold(size, |bytes, size| bytes.saturating_mul(*size as u64))
    }
}

/// A requested output tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Name of the tensor.
    pub name: String,
    /// What its content should be, if that is to be checked.
    pub expect: Option<Expect>,
}

/// Most rounds of a group that is measured until it is precise, unless the scenario asks for more blocks.
const PRECISE_ROUNDS: u64 = 60;

/// The load of a case: how much, how, and until when.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// When a case ends. Requests are per process; the longest time includes preparation as far as possible.
    pub stop: StopRule,
    /// Whether `--quick` set it.
    pub quick: bool,
    /// What a process sends before measuring starts.
    pub warmup: Warmup,
    /// How often a model is unloaded and loaded again before anything is measured.
    pub cold_starts: u32,
    /// Number of interleaved blocks that a case is split into.
    pub blocks: u32,
    /// Rounds go on until every compared ratio of means is known within this part of it.
    pub precision: Option<f64>,
    /// Longest wait for one answer.
    pub timeout: Duration,
    /// Within this time an answer is good (goodput).
    pub goodput: Option<Duration>,
    /// Loads above one that breaks one of these are skipped.
    pub sweep_until: Vec<Bound>,
    /// A case ends once more than this share of its requests failed.
    pub max_error_share: Option<f64>,
    /// Seed of the order in which cases are interleaved, and of arrivals.
    pub seed: u64,
    /// How requests arrive, if there is a rate.
    pub arrival: ArrivalProcess,
    /// The names of its stages, in order; empty where one has none.
    pub stage_names: Vec<String>,
    /// Whether the scenario says so.
    pub is_arrival_given: bool,
    /// Whether every request has an id.
    pub request_ids: bool,
    /// Of so many answers the content of one is checked, where an output has an expected one.
    pub verify_every: u64,
}

spelled! {
    /// What a case does once a request fails.
    pub enum OnError {
        /// Counts it and goes on.
        Continue = "continue",
        /// Ends with the block.
        Stop = "stop",
    }
}

/// A threshold that some cases have to keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Assert {
    /// The threshold.
    pub that: Threshold,
    /// The cases; all of them if empty.
    pub cases: Selection,
}

/// When to stop sending requests: the minimum to reach, and the longest time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopRule {
    /// Minimum number of requests; 0 if only time ends it.
    pub requests: u64,
    /// Minimum time.
    pub least: Option<Duration>,
    /// No request starts later than this, except the first, which is always sent.
    pub most: Option<Duration>,
}

impl StopRule {
    /// The stop rule of one of `blocks` blocks, split as evenly as integers allow.
    pub fn block(&self, block: u64, blocks: u64) -> StopRule {
        let share = |time: Option<Duration>| time.map(|time| time / blocks as u32);
        let requests = self.requests / blocks + u64::from(block < self.requests % blocks);
        StopRule { requests, least: share(self.least), most: share(self.most) }
    }
}

impl Load {
    /// Whether a case sends as many requests as its longest time allows (`--quick`), with no number requested.
    pub fn is_open_ended(&self) -> bool {
        self.quick && self.stop.requests == 0
    }

    /// Whether a case has a fixed length, which a longest time may cut short.
    pub fn has_length(&self) -> bool {
        !self.is_open_ended() && self.precision.is_none()
    }

    /// The stop rule of one of `blocks` blocks: a share of the case's, or all of what arrives in a block.
    pub fn block(&self, block: u64, blocks: u64) -> StopRule {
        let share = self.stop.block(block, blocks);
        match self.arrival.length() {
            Some(length) => StopRule { requests: 0, least: Some(length), ..share },
            None => share,
        }
    }

    /// Most rounds of a group whose cases are split into `blocks` blocks.
    pub fn rounds_max(&self, blocks: u64) -> u64 {
        if self.precision.is_some() && !self.quick {
            blocks.max(PRECISE_ROUNDS)
        } else {
            blocks
        }
    }
}

impl Scenario {
    /// Reads and checks a scenario file. A bare name means a file in `scenarios/` or a built-in scenario.
    ///
    /// # Errors
    /// Every error in the file: see [`ScenarioError`].
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        let path = &found(path);
        let help = "give the path of a scenario file, such as scenarios/scrfd.toml; scrfd and arcface are built in: name \
                    one of them alone";
        if path.is_dir() {
            let problem = "found a folder, expected a scenario file".to_owned();
            return Err(error::unreadable(path.to_owned(), problem, "name the files in it, such as FOLDER/*.toml"));
        }
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(SIZE_MAX + 1).read_to_end(&mut bytes));
        match (read, built_in(path)) {
            (Err(cause), Some(text)) if cause.kind() == ErrorKind::NotFound => Self::parse(path, text.as_bytes()),
            (Err(cause), _) if cause.kind() == ErrorKind::NotFound => {
                Err(error::unreadable(path.to_owned(), "the scenario file does not exist".to_owned(), help))
            }
            (Err(cause), _) => {
                Err(error::unreadable(path.to_owned(), format!("the scenario file cannot be read: {cause}"), help))
            }
            _ if bytes.len() as u64 > SIZE_MAX => {
                let problem = format!("the file is larger than {SIZE_MAX} bytes, expected a scenario file");
                Err(error::unreadable(path.to_owned(), problem, help))
            }
            _ => Self::parse(path, &bytes),
        }
    }

    /// With the load that the rules set which it follows.
    fn with_rules(mut self) -> Self {
        if let Some(rules) = &self.mlperf {
            rules.fill_load(&self.matrix, &mut self.load);
        }
        self
    }

    /// Whether [`Scenario::load`] finds a file or a built-in scenario.
    pub fn is_there(path: &Path) -> bool {
        found(path).exists() || built_in(path).is_some()
    }

    /// Checks a scenario file's content. `file` is its name in errors; data files are looked up in its folder.
    ///
    /// # Errors
    /// Every error in the file: see [`ScenarioError`].
    pub fn parse(file: &Path, content: &[u8]) -> Result<Self, ScenarioError> {
        // invalid UTF-8 is replaced, so that the error can still show its line and name its key
        let text = String::from_utf8_lossy(content);
        let document = error::Document { file: file.to_owned(), text: &text };
        match std::str::from_utf8(content) {
            Ok(_) => validate::scenario(&document),
            Err(cause) => {
                let at = cause.valid_up_to();
                let problem = format!("found the byte 0x{:02X}, expected UTF-8 text", content[at]);
                Err(document.error(at..at + '\u{FFFD}'.len_utf8(), problem, "save the file as UTF-8"))
            }
        }
    }

    /// The scenario of one point of its matrix, with that point's server, model and tensors.
    pub fn target(&self, point: &Point) -> Scenario {
        let mut target = self.clone();
        target.server = self.server_of(point);
        if let Some(named) = named(&self.models, &point.model) {
            let ModelTarget { model, inputs, outputs } = named.clone();
            (target.model, target.inputs, target.outputs) = (model, inputs, outputs);
        }
        target.inputs = self.inputs_of(point);
        // a point uses no other servers or models
        (target.servers, target.models) = (Vec::new(), Vec::new());
        target
    }

    /// The server of a point.
    pub fn server_of(&self, point: &Point) -> Server {
        named(&self.servers, &point.server).unwrap_or(&self.server).asked(point.tls)
    }

    /// The inputs of a point, in its shapes.
    pub fn inputs_of(&self, point: &Point) -> Vec<Input> {
        let inputs = named(&self.models, &point.model).map_or(&self.inputs, |target| &target.inputs);
        shapes::shaped(inputs, point.shapes.as_ref())
    }

    /// Bytes of the input tensors of one request of a point; `None` if the inputs come from the server's metadata.
    pub fn request_bytes(&self, point: &Point) -> Option<u64> {
        let inputs = self.inputs_of(point);
        (!inputs.is_empty()).then(|| shapes::request_bytes(&inputs, point.batch_size))
    }

    /// Checks that the inputs of all models fit the shapes of the matrix, and that requests do not become too large.
    ///
    /// # Errors
    /// The values that do not fit, the problem and the remedy.
    pub fn check_requests(&self) -> Result<(), String> {
        self.check_tls()?;
        let batch = self.matrix.largest_batch();
        let of_models = self.models.iter().map(|(_, target)| &target.inputs);
        // empty inputs are taken from the server's metadata
        for inputs in of_models.chain([&self.inputs]).filter(|inputs| !inputs.is_empty()) {
            for value in self.matrix.given(AxisId::Shapes) {
                let Value::Shapes(shapes) = value else { continue };
                let fits = shapes::check(inputs, shapes, batch, &[]);
                fits.map_err(|(problem, help)| format!("shapes {shapes}: {problem}: {help}"))?;
            }
            let fits = shapes::request_fits(inputs, batch);
            fits.map_err(|(problem, help)| format!("batch_sizes {batch}: {problem}: {help}"))?;
            distinct::check(inputs, &self.matrix).map_err(|(problem, help)| format!("distinct: {problem}: {help}"))?;
        }
        Ok(())
    }

    /// Checks that every server has addresses with and without TLS, if the matrix compares them.
    ///
    /// # Errors
    /// One has not: the remedy.
    pub fn check_tls(&self) -> Result<(), String> {
        let named = self.servers.iter().map(|(_, server)| server);
        let alone = Some(&self.server).filter(|_| self.servers.is_empty());
        alone
            .into_iter()
            .chain(named)
            .try_for_each(|server| server.has_what_is_compared(&self.matrix))
    }

    /// The servers the scenario uses.
    pub fn asked_servers(&mut self) -> impl Iterator<Item = &mut Server> {
        let named = !self.servers.is_empty();
        let alone = Some(&mut self.server).filter(|_| !named);
        alone.into_iter().chain(self.servers.iter_mut().map(|(_, server)| server))
    }

    /// The server's names of the models the scenario uses.
    pub fn asked_models(&self) -> impl Iterator<Item = &str> {
        let alone = Some(self.model.name.as_str()).filter(|_| self.models.is_empty());
        alone
            .into_iter()
            .chain(self.models.iter().map(|(_, target)| target.model.name.as_str()))
    }
}

/// The value that the matrix calls `wanted`.
fn named<'a, T>(all: &'a [(Name, T)], wanted: &Option<Name>) -> Option<&'a T> {
    all.iter().find(|(name, _)| wanted.as_ref() == Some(name)).map(|(_, value)| value)
}

/// The path of a scenario; a bare name may mean a file in `scenarios/`.
fn found(path: &Path) -> PathBuf {
    let by_name = || Some(Path::new("scenarios").join(path.to_str()?)).map(|path| path.with_extension("toml"));
    let alone = path.components().count() == 1 && path.extension().is_none() && !path.exists();
    by_name().filter(|path| alone && path.is_file()).unwrap_or_else(|| path.to_owned())
}

/// The text of a built-in scenario, by name: an installed program has no files beside it.
pub fn built_in(path: &Path) -> Option<&'static str> {
    match path.to_str()? {
        "scrfd" => Some(include_str!("../../scenarios/scrfd.toml")),
        "arcface" => Some(include_str!("../../scenarios/arcface.toml")),
        _ => None,
    }
}
