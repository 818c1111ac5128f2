//! All facts about the axes of the run matrix, in the order of columns and tables. From them derive the keys of a
//! scenario file and their errors, `exclude`, the command line's options, the points and their order, the tags of
//! cases, the columns of results and the words of reports. The *meaning* of a point is in `run/job.rs`.

use super::shapes::Shapes;
use super::value::{AxisValue, Limit, Name, Refusal, Value};
use super::variants::{Arm, Encode, Encryption, Protocol};
use super::{Matrix, phrases};
use crate::spelling::{Words, nearest};

/// The facts about an axis.
pub struct Axis {
    /// Its column in the rows of cases and blocks.
    pub column: &'static str,
    /// Its key in a scenario file.
    pub key: &'static str,
    /// The table of a scenario file that contains the key.
    pub home: Home,
    /// The values it may have.
    pub limit: Limit,
    /// Whether a scenario may give a single value instead of a list.
    pub takes_one: bool,
    /// Its values if a scenario gives none; empty if they follow from another axis, or if there is no value.
    pub default: fn(&Matrix) -> Vec<Value>,
    /// Whether its values are variants for a reader to compare, rather than amounts of load.
    pub is_variant: bool,
    /// An example of the key in its table.
    pub example: &'static str,
    /// An example of the key within `exclude`.
    pub exclude_example: &'static str,
    /// The remedy for a value beyond the limit.
    pub remedy: &'static str,
    /// The help of the option `--KEY`; empty if only `--set` sets the axis.
    pub help: &'static str,
    /// Heading of its column in tables.
    pub heading: &'static str,
    /// The name of its values among the parameters of a run.
    pub parameter: &'static str,
    /// Its part of a case's tag; empty for the usual value.
    pub tag: fn(&Point) -> String,
    /// Its value in prose: `gRPC`, `batch 4`.
    pub phrase: fn(&Point) -> String,
    /// Its part of a sentence, if not its phrase; empty for the usual value, or if another axis's part covers it.
    pub in_sentence: Option<fn(&Point) -> String>,
    /// The column's content.
    pub meaning: &'static str,
    /// Whether every row ever written has a value of it.
    pub is_always_written: bool,
}

/// The values that most axes share.
const PLAIN: Axis = Axis {
    column: "",
    key: "",
    home: Home::Matrix,
    limit: Limit::Whole(1, u32::MAX),
    takes_one: false,
    default: |_| Vec::new(),
    is_variant: false,
    example: "",
    exclude_example: "",
    remedy: "change it, or leave the value out",
    help: "",
    heading: "",
    parameter: "",
    tag: |_| String::new(),
    phrase: |_| String::new(),
    in_sentence: None,
    meaning: "",
    is_always_written: false,
};

/// The table of a scenario file that contains an axis's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// `[matrix]`.
    Matrix,
    /// `[load]`.
    Load,
    /// No table: only an option sets it.
    Option,
}

/// Declares the axes: their names, their table, and the matrix's point with a value on each axis and its default.
macro_rules! axes {
    ($($id:ident $field:ident: $type:ty = $usual:expr => $axis:expr;)+) => {
        /// The name of an axis.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum AxisId { $($id),+ }

        impl AxisId {
            /// All axes, in the order of columns and tables.
            pub const ALL: &'static [AxisId] = &[$(AxisId::$id),+];
        }

        static AXES: &[Axis] = &[$($axis),+];

        /// One point of the run matrix: a case.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)]
        pub struct Point { $(pub $field: $type),+ }

        impl Default for Point {
            fn default() -> Self {
                Point { $($field: $usual),+ }
            }
        }

        impl Point {
            /// The value on an axis; `None` if it has none.
            pub fn get(&self, axis: AxisId) -> Option<Value> {
                match axis { $(AxisId::$id => self.$field.value()),+ }
            }

            /// Sets the value on an axis; ignores a value of another type.
            pub fn set(&mut self, axis: AxisId, value: &Value) {
                match axis { $(AxisId::$id => self.$field.assign(value)),+ }
            }
        }
    };
}

axes! {
    Server server: Option<Name> = None => Axis {
        column: "server_key",
        key: "servers",
        limit: Limit::Names,
        is_variant: true,
        example: "servers = [\"old\", \"new\"]",
        exclude_example: "servers = [\"old\"]",
        heading: "Server",
        parameter: "Servers",
        tag: |point| point.server.as_ref().map_or(String::new(), |name| format!("{name}-")),
        phrase: |point| point.server.as_deref().unwrap_or_default().to_owned(),
        meaning: "The name of the server's table in the scenario; empty without `servers`.",
        ..PLAIN
    };
    Model model: Option<Name> = None => Axis {
        column: "model_key",
        key: "models",
        limit: Limit::Names,
        is_variant: true,
        example: "models = [\"fp32\", \"fp16\"]",
        exclude_example: "models = [\"fp32\"]",
        heading: "Model",
        parameter: "Models",
        tag: |point| point.model.as_ref().map_or(String::new(), |name| format!("{name}-")),
        phrase: |point| point.model.as_deref().unwrap_or_default().to_owned(),
        meaning: "The name of the model, or of its table in the scenario; empty without `models`.",
        ..PLAIN
    };
    Protocol protocol: Protocol = Protocol::Http => Axis {
        column: "protocol",
        key: "protocols",
        limit: Limit::Words(&PROTOCOLS),
        default: |_| Protocol::WORDS.iter().map(|word| Value::Word(word)).collect(),
        is_variant: true,
        example: "protocols = [\"http\", \"grpc\"]",
        exclude_example: "protocols = [\"grpc\"]",
        help: "Protocols, such as http,grpc",
        heading: "Protocol",
        parameter: "Protocols",
        tag: |point| point.protocol.name().to_owned(),
        phrase: |point| phrases::protocol(point.protocol).to_owned(),
        meaning: "The protocol.",
        is_always_written: true,
        ..PLAIN
    };
    Tls tls: Option<Encryption> = None => Axis {
        column: "tls",
        key: "tls",
        limit: Limit::Words(&ENCRYPTIONS),
        is_variant: true,
        example: "tls = [\"off\", \"on\"]",
        exclude_example: "tls = [\"on\"]",
        heading: "TLS",
        parameter: "TLS",
        tag: |point| point.tls.map_or(String::new(), |tls| format!("-tls{tls}")),
        phrase: |point| point.tls.map_or(String::new(), |tls| phrases::tls(tls).to_owned()),
        meaning: "Whether connections are encrypted, where that is an axis: `off` asks the server's `http` and `grpc`, `on` its `http_tls` and `grpc_tls`.",
        ..PLAIN
    };
    Encode encode: Encode = Encode::Once => Axis {
        column: "encode",
        key: "encode",
        home: Home::Load,
        limit: Limit::Words(&ENCODES),
        takes_one: true,
        default: |_| vec![Value::Word(Encode::Once.name())],
        is_variant: true,
        example: "encode = [\"once\", \"each-request\"]",
        exclude_example: "encode = [\"once\"]",
        heading: "Encoding",
        parameter: "Encoding",
        tag: |point| match point.encode {
            Encode::Once => String::new(),
            Encode::EachRequest => "-each".to_owned(),
        },
        phrase: |point| phrases::encode(point.encode).to_owned(),
        in_sentence: Some(|point| match point.encode {
            Encode::Once => String::new(),
            Encode::EachRequest => phrases::encode(point.encode).to_owned(),
        }),
        meaning: "When requests are encoded: before anything is measured, or each one within its latency.",
        ..PLAIN
    };
    Arm arm: Option<Arm> = None => Axis {
        column: "arm",
        key: "arm",
        home: Home::Option,
        limit: Limit::Words(&ARMS),
        is_variant: true,
        heading: "Arm",
        parameter: "Equal Variants",
        tag: |point| point.arm.map_or(String::new(), |arm| format!("-{arm}")),
        phrase: |point| point.arm.map_or(String::new(), |arm| arm.name().to_uppercase()),
        meaning: "Which of two equal cases it is (`--aa`); empty otherwise.",
        ..PLAIN
    };
    BatchSize batch_size: u32 = 1 => Axis {
        column: "batch_size",
        key: "batch_sizes",
        limit: Limit::Whole(1, 65_536),
        default: |_| vec![Value::Whole(1)],
        example: "batch_sizes = [1, 4, 8]",
        exclude_example: "batch_sizes = [8]",
        help: "Batch sizes, such as 1,4,8",
        heading: "Batch Size",
        parameter: "Batch Sizes",
        tag: |point| format!("-b{}", point.batch_size),
        phrase: |point| format!("batch {}", point.batch_size),
        meaning: "Items a request.",
        is_always_written: true,
        ..PLAIN
    };
    Shapes shapes: Option<Shapes> = None => Axis {
        column: "shapes",
        key: "shapes",
        limit: Limit::Shapes,
        example: "shapes = [[3, 320, 320], [3, 640, 640]]",
        exclude_example: "shapes = [[3, 640, 640]]",
        remedy: "give the sizes of each dimension but the batch's, such as 3x640x640; of several inputs a=3x640x640;b=10",
        heading: "Shape",
        parameter: "Input Shapes",
        tag: |point| point.shapes.as_ref().map_or(String::new(), |shapes| format!("-s{}", shapes.tag())),
        phrase: |point| point.shapes.as_ref().map_or(String::new(), |shapes| format!("shape {shapes}")),
        meaning: "The shapes of the inputs, without the batch dimension, such as `3x640x640`; empty without `shapes`.",
        ..PLAIN
    };
    Processes processes: u32 = 1 => Axis {
        column: "processes",
        key: "processes",
        limit: Limit::Whole(1, 4096),
        default: |_| vec![Value::Whole(1)],
        example: "processes = [1, 3]",
        exclude_example: "processes = [3]",
        help: "Numbers of client processes, such as 1,3",
        heading: "Processes",
        parameter: "Client Processes",
        tag: |point| format!("-p{}", point.processes),
        phrase: |point| phrases::processes(point.processes),
        meaning: "Client processes.",
        is_always_written: true,
        ..PLAIN
    };
    Hosts hosts: Option<u32> = None => Axis {
        column: "hosts",
        key: "hosts",
        limit: Limit::Whole(1, 1024),
        example: "hosts = [1, 2, 4]",
        exclude_example: "hosts = [4]",
        remedy: "give the number of hosts over which the processes are spread, such as 2",
        heading: "Hosts",
        parameter: "Client Hosts",
        tag: |point| point.hosts.map_or(String::new(), |hosts| format!("-h{hosts}")),
        phrase: |point| point.hosts.map_or(String::new(), phrases::hosts),
        meaning: "Machines over which the client processes were spread, where that is an axis; empty otherwise. See `hosts.csv`.",
        ..PLAIN
    };
    Concurrency concurrency: u32 = 1 => Axis {
        column: "concurrency",
        key: "concurrency",
        limit: Limit::Whole(1, IN_FLIGHT_MAX),
        // as a limit, 64 survive a short stall of the server without flooding it
        default: |matrix| vec![Value::Whole(if matrix.has(AxisId::Rate) { 64 } else { 1 })],
        example: "concurrency = [1, 8]",
        exclude_example: "concurrency = [8]",
        help: "Requests in flight in one process, such as 1,8; with a rate, at most this many",
        heading: "In Flight",
        parameter: "Requests in Flight a Process",
        tag: |point| format!("-c{}", point.concurrency),
        phrase: |point| format!("{} in flight", point.concurrency),
        in_sentence: Some(|point| phrases::load(point.rate, point.concurrency, point.connections)),
        meaning: "Requests in flight in one process; with a rate, at most this many.",
        is_always_written: true,
        ..PLAIN
    };
    Connections connections: u32 = 1 => Axis {
        column: "connections",
        key: "connections",
        // no connection may stay idle for good; the default, one per request in flight, is computed with the point
        limit: Limit::Whole(1, IN_FLIGHT_MAX),
        example: "connections = [1, 8]",
        exclude_example: "connections = [8]",
        help: "Connections of one process [default: one for each request in flight]",
        heading: "Connections",
        parameter: "Connections a Process",
        tag: |point| match point.connections == point.concurrency {
            true => String::new(),
            false => format!("-n{}", point.connections),
        },
        phrase: |point| phrases::connections(point.connections),
        // already in the part of the requests in flight
        in_sentence: Some(|_| String::new()),
        meaning: "Connections of one process; files without the column have one for each request in flight.",
        ..PLAIN
    };
    Rate rate: Option<f64> = None => Axis {
        column: "rate",
        key: "rate",
        home: Home::Load,
        limit: Limit::Number(0.001, 1_000_000.0),
        example: "rate = [50, 100, 200]",
        exclude_example: "rate = [200]",
        remedy: "give requests per second, over all processes together, such as 50",
        help: "Requests a second of an open loop, such as 50,100",
        heading: "Rate (requests/s)",
        parameter: "Rates (requests/s)",
        tag: |point| point.rate.map_or(String::new(), |rate| format!("-r{rate}")),
        phrase: |point| point.rate.map_or("closed loop".to_owned(), |rate| format!("{rate} requests/s")),
        // already in the part of the requests in flight
        in_sentence: Some(|_| String::new()),
        meaning: "Requests a second that were to come from all processes together (open loop), on average where their rate changes; empty in a closed loop.",
        ..PLAIN
    };
    ThinkTime think_time_ms: Option<f64> = None => Axis {
        column: "think_time_ms",
        key: "think_time_ms",
        home: Home::Load,
        limit: Limit::Number(0.0, 3_600_000.0),
        example: "think_time_ms = [0, 10]",
        exclude_example: "think_time_ms = [10]",
        remedy: "give the milliseconds from an answer to the next request, such as 10",
        help: "Milliseconds from each answer to the next request of a closed loop, such as 0,10",
        heading: "Think Time (ms)",
        parameter: "Think Times (ms)",
        tag: |point| point.think_time_ms.map_or(String::new(), |think_time| format!("-t{think_time}")),
        phrase: |point| point.think_time_ms.map_or("no think time".to_owned(), |time| format!("{time} ms of think time")),
        in_sentence: Some(|point| {
            point.think_time_ms.map_or(String::new(), |time| format!("{time} ms of think time"))
        }),
        meaning: "Milliseconds from an answer to the next request of a closed loop, outside latencies; empty without a think time.",
        ..PLAIN
    };
    Distinct distinct: Option<u32> = None => Axis {
        column: "distinct",
        key: "distinct",
        home: Home::Load,
        limit: Limit::Whole(1, 1_000_000),
        takes_one: true,
        example: "distinct = 64",
        exclude_example: "distinct = [64]",
        remedy: "give the number of different requests that are sent in turn, such as 64",
        help: "Different requests that each process sends in turn, such as 1,64",
        heading: "Distinct Requests",
        parameter: "Distinct Requests",
        tag: |point| point.distinct.map_or(String::new(), |distinct| format!("-d{distinct}")),
        phrase: |point| point.distinct.map_or(String::new(), phrases::distinct),
        meaning: "Different requests that were to be sent; empty where the scenario leaves their number to its data. See `distinct_requests`.",
        ..PLAIN
    };
}

/// Most requests in flight in one process, and most connections.
const IN_FLIGHT_MAX: u32 = 1024;

static PROTOCOLS: Words = Words::new(Protocol::WORDS, "\"http\" or \"grpc\"", "these two protocols are spoken:");
static ENCODES: Words =
    Words::new(Encode::WORDS, "\"once\" or \"each-request\"", "a request is encoded at one of these times:");
static ENCRYPTIONS: Words = Words::new(Encryption::WORDS, "\"off\" or \"on\"", "connections are encrypted or not:");
static ARMS: Words = Words::new(Arm::WORDS, "\"a\" or \"b\"", "there are");

impl AxisId {
    /// The facts about it.
    pub fn axis(self) -> &'static Axis {
        &AXES[self as usize]
    }

    /// The axis of a scenario file's key, or of a column.
    pub fn named(name: &str) -> Option<AxisId> {
        Self::ALL.iter().copied().find(|id| id.axis().key == name || id.axis().column == name)
    }

    /// The axes whose values a scenario or the command line may set.
    pub fn settable() -> impl Iterator<Item = AxisId> {
        Self::ALL.iter().copied().filter(|id| id.is_settable())
    }

    fn is_settable(self) -> bool {
        self.axis().home != Home::Option
    }

    /// A settable axis, by its key, the key of a single one, or its column.
    ///
    /// # Errors
    /// No such axis exists.
    pub fn settable_named(name: &str) -> Result<AxisId, Refusal> {
        // a single one is as clear: `compare = "model"`
        let of_one = |id: &AxisId| id.axis().key.strip_suffix('s') == Some(name);
        let found = Self::named(name).or_else(|| Self::ALL.iter().copied().find(of_one));
        found.filter(|id| id.is_settable()).ok_or_else(|| {
            let keys: Vec<&str> = Self::settable().map(|id| id.axis().key).collect();
            let list = keys.join(", ");
            let help = match nearest(name, &keys) {
                Some(near) => format!("did you mean \"{near}\"? The axes are {list}"),
                None => format!("the axes are {list}"),
            };
            ("the name of an axis".to_owned(), help)
        })
    }

    /// Its option, such as `batch-sizes`, if it has one.
    pub fn option(self) -> Option<String> {
        Some(self.axis().key.replace('_', "-")).filter(|_| !self.axis().help.is_empty())
    }

    /// Values in the command line's form: `--batch-sizes 1,4`, or `--set KEY=1,4` for an axis without its own option.
    pub fn setting(self, values: &str) -> String {
        match self.option() {
            Some(option) => format!("--{option} {values}"),
            None => format!("--set {}={values}", self.axis().key),
        }
    }

    /// The axes whose keys are in a table of the scenario file.
    pub fn of_home(home: Home) -> impl Iterator<Item = AxisId> {
        Self::ALL.iter().copied().filter(move |id| id.axis().home == home)
    }
}
