//! Every key of a scenario file: the kind of its value, whether it is required, and an example. Must not know limits or
//! defaults.

use std::sync::LazyLock;

use super::words;
use crate::capacity::Bound;
use crate::matrix::{AxisId, Home, Limit};
use crate::spelling::Words;

/// The kind of a key's value.
#[derive(Clone, Copy)]
pub enum Kind {
    Text,
    /// One of a short list.
    Word(&'static Words),
    Whole,
    Number,
    Flag,
    /// A string or a number.
    Value,
    Texts,
    /// Shapes: of the only input, or of several by their names.
    Shapes,
    Shape,
    Words(&'static Words),
    WordOrWords(&'static Words),
    Wholes,
    /// Wholes, or a range of them.
    WholesOrRange,
    WholeOrWholes,
    /// Numbers, or a range of them.
    NumbersOrRange,
    /// One of a short list, or a table with one of some keys.
    WordOrTable(&'static Words, Keys),
    /// `"zeros"`, `{random = {seed = 7}}` or `{file = "face.npy"}`.
    Data,
    /// A `[table]`.
    Table(Keys),
    /// A `[table]` that holds named tables, `[table.NAME]`, beside its keys.
    Named(Keys, Keys),
    /// `[[tables]]`.
    Tables(Keys),
    /// A string, a number, or `true` or `false`.
    Scalar,
    /// A table whose keys are names and whose values are scalars.
    Parameters,
    /// A table whose keys are the names of headers, and whose values are strings or say where a string is.
    Headers,
    /// A table whose keys are names and whose values are strings.
    Names,
}

/// The keys of a table.
pub type Keys = fn() -> &'static [Key];

#[derive(Clone, Copy)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
    /// An example of the key in a file.
    pub example: &'static str,
}

const fn required(name: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { name, kind, required: true, example }
}

/// A key that a file may leave out.
pub const fn optional(name: &'static str, kind: Kind, example: &'static str) -> Key {
    Key { name, kind, required: false, example }
}

/// The keys of the whole file.
pub const FORMAT: &[Key] = &[
    required("title", Kind::Text, "title = \"SCRFD Model\""),
    optional("server", Kind::Named(|| SERVER, || SERVER), "[server]"),
    required("model", Kind::Named(|| MODEL, || NAMED_MODEL), "[model]"),
    optional("input", Kind::Tables(|| INPUT), "[[input]]"),
    optional("output", Kind::Tables(|| OUTPUT), "[[output]]"),
    required("matrix", Kind::Table(|| &MATRIX), "[matrix]"),
    optional("parameters", Kind::Parameters, "[parameters]"),
    optional("load", Kind::Table(|| &LOAD), "[load]"),
    optional("capacity", Kind::Table(|| CAPACITY), "[capacity]"),
    optional("mlperf", Kind::Table(|| MLPERF), "[mlperf]"),
    optional("hosts", Kind::Table(|| HOSTS), "[hosts]"),
    optional("assert", Kind::Tables(|| &ASSERT), "[[assert]]"),
    optional("artifact", Kind::Table(|| ARTIFACT), "[artifact]"),
];

const SERVER: &[Key] = &[
    optional("http", Kind::Text, "http = \"localhost:8000\""),
    optional("grpc", Kind::Text, "grpc = \"localhost:8001\""),
    optional("metrics", Kind::Text, "metrics = \"localhost:8002\""),
    optional("http_tls", Kind::Text, "http_tls = \"https://localhost:8443\""),
    optional("grpc_tls", Kind::Text, "grpc_tls = \"grpcs://localhost:8444\""),
    optional("host", Kind::Text, "host = \"scrfd.models.example\""),
    optional("headers", Kind::Headers, "headers = {authorization = {env = \"TOKEN\", prefix = \"Bearer \"}}"),
    optional("tls_ca", Kind::Text, "tls_ca = \"ca.pem\""),
    optional("tls_certificate", Kind::Text, "tls_certificate = \"client.pem\""),
    optional("tls_key", Kind::Text, "tls_key = \"client.key\""),
    optional("tls_name", Kind::Text, "tls_name = \"triton.example\""),
    optional("tls_insecure", Kind::Flag, "tls_insecure = true"),
];

/// Where the value of a header is.
pub const HEADER: &[Key] = &[
    optional("env", Kind::Text, "env = \"TOKEN\""),
    optional("file", Kind::Text, "file = \"token\""),
    optional("prefix", Kind::Text, "prefix = \"Bearer \""),
];

const MODEL: &[Key] = &[
    required("name", Kind::Text, "name = \"scrfd\""),
    optional("version", Kind::Text, "version = \"1\""),
    optional("batching", Kind::Flag, "batching = false"),
];

const NAMED_MODEL: &[Key] = &[
    optional("name", Kind::Text, "name = \"scrfd_fp16\""),
    optional("version", Kind::Text, "version = \"1\""),
    optional("batching", Kind::Flag, "batching = false"),
    optional("input", Kind::Tables(|| INPUT), "[[model.NAME.input]]"),
    optional("output", Kind::Tables(|| OUTPUT), "[[model.NAME.output]]"),
];

const INPUT: &[Key] = &[
    required("name", Kind::Text, "name = \"input.1\""),
    required("datatype", Kind::Word(&words::DATATYPES), "datatype = \"FP32\""),
    required("shape", Kind::Wholes, "shape = [3, 640, 640]"),
    optional("data", Kind::Data, DATA_EXAMPLE),
];

/// The keys of an input's `data`.
pub const DATA: &[Key] = &[
    optional("random", Kind::Table(|| RANDOM), "data = {random = {seed = 7}}"),
    optional("file", Kind::Text, "data = {file = \"face.npy\"}"),
];

const DATA_EXAMPLE: &str = "data = \"zeros\", data = {random = {seed = 7}} or data = {file = \"face.npy\"}";

const RANDOM: &[Key] = &[required("seed", Kind::Whole, "seed = 7")];

const OUTPUT: &[Key] = &[
    required("name", Kind::Text, "name = \"score_8\""),
    optional("expect", Kind::Table(|| EXPECT), "expect = {file = \"golden.npy\", rtol = 1e-3, atol = 1e-5}"),
];

const EXPECT: &[Key] = &[
    optional("file", Kind::Text, "file = \"golden.npy\""),
    optional("same_as_first", Kind::Flag, "same_as_first = true"),
    optional("rtol", Kind::Number, "rtol = 1e-3"),
    optional("atol", Kind::Number, "atol = 1e-5"),
];

static MATRIX: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let exclude = optional("exclude", Kind::Tables(|| &EXCLUDE), "exclude = [{batch_sizes = [8], processes = [3]}]");
    let compare = optional("compare", Kind::Text, "compare = \"protocols\"");
    let baseline = optional("baseline", Kind::Value, "baseline = \"http\"");
    AxisId::of_home(Home::Matrix).map(axis).chain([exclude, compare, baseline]).collect()
});

static ASSERT: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let that = required("that", Kind::Text, "that = \"p95_ms < 50\"");
    std::iter::once(that).chain(EXCLUDE.iter().copied()).collect()
});

/// The axes by which some of the matrix's points are named.
static EXCLUDE: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let excluded = |id: AxisId| Key { example: id.axis().exclude_example, ..axis(id) };
    [Home::Matrix, Home::Load].into_iter().flat_map(AxisId::of_home).map(excluded).collect()
});

static LOAD: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let stop = [
        optional("iterations", Kind::Whole, "iterations = 1000"),
        optional("duration_s", Kind::Number, "duration_s = 30"),
        optional("max_seconds_per_case", Kind::Number, "max_seconds_per_case = 600"),
        optional("precision", Kind::Text, "precision = \"2%\""),
    ];
    let others = [
        optional("arrival", Kind::WordOrTable(&words::ARRIVALS, || ARRIVAL), ARRIVAL_EXAMPLE),
        optional("stages", Kind::Tables(|| STAGE), "stages = [{duration_s = 30, target = 200}]"),
        optional("arrivals", Kind::Table(|| ARRIVALS), "arrivals = {file = \"arrivals.csv\"}"),
        optional("warmup", Kind::Whole, "warmup = 10"),
        optional("warmup_s", Kind::Number, "warmup_s = 5"),
        optional("warmup_until", Kind::Text, "warmup_until = \"5%\""),
        optional("cold_starts", Kind::Whole, "cold_starts = 5"),
        optional("blocks", Kind::Whole, "blocks = 10"),
        optional("timeout_s", Kind::Number, "timeout_s = 30"),
        optional("on_error", Kind::Word(&words::ON_ERROR), "on_error = \"stop\""),
        optional("goodput_ms", Kind::Number, "goodput_ms = 50"),
        optional("sweep_until", Kind::Table(|| &BOUND), "sweep_until = {p99_ms = 50}"),
        optional("max_error_share", Kind::Number, "max_error_share = 0.01"),
        optional("seed", Kind::Whole, "seed = 1"),
        optional("request_ids", Kind::Flag, "request_ids = true"),
        optional("verify_every", Kind::Whole, "verify_every = 100"),
    ];
    stop.into_iter().chain(AxisId::of_home(Home::Load).map(axis)).chain(others).collect()
});

const ARRIVAL_EXAMPLE: &str =
    "arrival = \"poisson\", arrival = {gamma = {shape = 0.5}} or arrival = {on_off = {on_s = 1, off_s = 4}}";

const ARRIVAL: &[Key] = &[
    optional("gamma", Kind::Table(|| GAMMA), "arrival = {gamma = {shape = 0.5}}"),
    optional("on_off", Kind::Table(|| ON_OFF), "arrival = {on_off = {on_s = 1, off_s = 4}}"),
];

const GAMMA: &[Key] = &[required("shape", Kind::Number, "shape = 0.5")];

const ON_OFF: &[Key] = &[required("on_s", Kind::Number, "on_s = 1"), required("off_s", Kind::Number, "off_s = 4")];

const STAGE: &[Key] = &[
    required("duration_s", Kind::Number, "duration_s = 30"),
    required("target", Kind::Number, "target = 200"),
    optional("name", Kind::Text, "name = \"peak\""),
];

const ARRIVALS: &[Key] = &[
    required("file", Kind::Text, "file = \"arrivals.csv\""),
    optional("case", Kind::Text, "case = \"grpc-b1-p1-c64-r100\""),
    optional("block", Kind::Whole, "block = 0"),
    optional("speed", Kind::Number, "speed = 2.0"),
];

/// The key of an axis.
fn axis(id: AxisId) -> Key {
    let axis = id.axis();
    let kind = match axis.limit {
        Limit::Words(words) if axis.takes_one => Kind::WordOrWords(words),
        Limit::Words(words) => Kind::Words(words),
        Limit::Names => Kind::Texts,
        Limit::Shapes => Kind::Shapes,
        Limit::Whole(..) if axis.takes_one => Kind::WholeOrWholes,
        Limit::Whole(..) => Kind::WholesOrRange,
        Limit::Number(..) => Kind::NumbersOrRange,
    };
    optional(axis.key, kind, axis.example)
}

const CAPACITY: &[Key] = &[
    required("bound", Kind::Table(|| &BOUND), "bound = {p99_ms = 50, errors = 0.001}"),
    optional("over", Kind::Word(&words::OVER), "over = \"rate\""),
    optional("from", Kind::Number, "from = 10"),
    optional("to", Kind::Number, "to = 5000"),
    optional("budget_s", Kind::Number, "budget_s = 300"),
    optional("block_s", Kind::Number, "block_s = 5"),
];

static BOUND: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let bound = |key| optional(key, Kind::Number, if key == "errors" { "errors = 0.001" } else { "p99_ms = 50" });
    Bound::KEYS.into_iter().map(bound).collect()
});

const MLPERF: &[Key] = &[
    required("scenario", Kind::Word(&words::TEST_SCENARIOS), "scenario = \"server\""),
    optional("latency_ms", Kind::Number, "latency_ms = 50"),
];

const HOSTS: &[Key] = &[
    optional("names", Kind::Texts, "names = [\"client-1\", \"client-2\"]"),
    optional("ssh", Kind::Texts, "ssh = [\"ssh\", \"-p\", \"2222\"]"),
    optional("program", Kind::Text, "program = \"~/bin/runner\""),
    optional("spread", Kind::Word(&words::SPREADS), "spread = \"even\""),
];

const ARTIFACT: &[Key] = &[
    required("url", Kind::Text, "url = \"https://example.org/models.zip\""),
    required("sha256", Kind::Text, "sha256 = \"the archive's 64 hexadecimal digits\""),
    required("member", Kind::Text, "member = \"det_10g.onnx\""),
    required("member_sha256", Kind::Text, "member_sha256 = \"the file's 64 hexadecimal digits\""),
    required("licence", Kind::Text, "licence = \"for research only, see https://example.org/licence\""),
    required("stand_in", Kind::Word(&words::STRUCTURES), "stand_in = \"scrfd\""),
    optional("outputs", Kind::Names, "outputs = {448 = \"score_8\"}"),
];

/// Every key of the format.
pub fn keys() -> Vec<&'static str> {
    fn collect(keys: &'static [Key], all: &mut Vec<&'static str>) {
        for key in keys {
            all.push(key.name);
            match key.kind {
                Kind::Table(inner) | Kind::Tables(inner) | Kind::WordOrTable(_, inner) => collect(inner(), all),
                Kind::Named(inner, named) => {
                    collect(inner(), all);
                    collect(named(), all);
                }
                Kind::Data => collect(DATA, all),
                _ => {}
            }
        }
    }
    let mut all = Vec::new();
    collect(FORMAT, &mut all);
    all
}
