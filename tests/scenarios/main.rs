//! Scenario files, wrong ones and good ones. Every `tests/wrong_scenarios/NAME.toml` is wrong, and `NAME.txt` is its
//! whole error; `UPDATE_GOLDEN=1` writes the errors again; read them before committing.

mod mlperf;
mod options;

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use runner::matrix::{Arrival, AxisId, Encode, Point, Protocol, Value};
use runner::scenario::{Overrides, Scenario, ScenarioError};
use runner::tensor::{Datatype, Source};

/// Compares an error with its golden file, or writes that. The working directory is the package's root.
fn check(name: &str, error: &ScenarioError, wrong: &mut Vec<String>) {
    let golden = PathBuf::from(format!("tests/wrong_scenarios/{name}.txt"));
    let found = format!("{error}\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    if found != expected {
        wrong.push(format!("{name}: expected\n{expected}\nfound\n{found}"));
    }
    if found.contains("secret") {
        wrong.push(format!("{name}: shows a password\n{found}"));
    }
    for jargon in ["i64", "f64", "variant", "struct", "sequence", "newtype", "invalid type", "unit"] {
        if found.to_lowercase().split(|c: char| !c.is_alphanumeric()).any(|word| word == jargon) {
            wrong.push(format!("{name}: says \"{jargon}\"\n{found}"));
        }
    }
    if error.help().is_empty() {
        wrong.push(format!("{name}: no remedy\n{found}"));
    }
}

#[test]
fn wrong_files_give_their_errors_with_line_key_and_remedy() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/wrong_scenarios")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 44, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        match Scenario::load(file) {
            Ok(_) => wrong.push(format!("{name}: is taken for good")),
            Err(error) => {
                check(name, &error, &mut wrong);
                if error.line().is_none() || (error.key().is_empty() && name != "empty_file") {
                    wrong.push(format!("{name}: names no line or no key\n{error}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A complete scenario without anything that has a default.
const MINIMAL: &str = r#"title = "Mine"
[model]
name = "my-model"
[[input]]
name = "x"
datatype = "FP32"
shape = [4]
[[output]]
name = "y"
[matrix]
"#;

fn parse(text: impl AsRef<[u8]>) -> Result<Scenario, ScenarioError> {
    Scenario::parse(Path::new("tests/wrong_scenarios/given.toml"), text.as_ref())
}

fn with(from: &str, to: &str) -> Result<Scenario, ScenarioError> {
    assert!(MINIMAL.contains(from), "{from}");
    parse(MINIMAL.replacen(from, to, 1))
}

/// Bytes that an editor would not keep in a file, so they stand here.
#[test]
fn wrong_bytes_give_one_error_with_line_key_and_remedy() {
    let mut latin1 = MINIMAL.as_bytes().to_vec();
    let at = MINIMAL.find("my-model").unwrap();
    latin1[at] = 0xFC;
    let mut utf16 = vec![0xFF, 0xFE];
    utf16.extend(MINIMAL.encode_utf16().flat_map(u16::to_le_bytes));
    let crlf = MINIMAL.replace("FP32", "FP23").replace('\n', "\r\n");
    let bom = format!("\u{FEFF}{}", MINIMAL.replace("title = \"Mine\"", "title = 7"));
    let escapes = MINIMAL.replace("FP32", "FP\u{1b}[31m32");
    let nul = MINIMAL.replace("my-model", "my\0model");
    let cases: [(&str, &[u8], usize, &str); 6] = [
        ("bytes_latin1", &latin1, 3, "model.name"),
        ("bytes_utf16", &utf16, 1, ""),
        ("bytes_crlf", crlf.as_bytes(), 6, "input[0].datatype"),
        ("bytes_bom", bom.as_bytes(), 1, "title"),
        ("bytes_escape_sequence", escapes.as_bytes(), 6, "input[0].datatype"),
        ("bytes_nul", nul.as_bytes(), 3, "model.name"),
    ];
    let mut wrong = Vec::new();
    for (name, bytes, line, key) in cases {
        let error = parse(bytes).expect_err(name);
        check(name, &error, &mut wrong);
        if error.line() != Some(line) || error.key() != key {
            wrong.push(format!("{name}: expected line {line} and key {key}\n{error}"));
        }
        if error.to_string().contains(['\x1b', '\0']) {
            wrong.push(format!("{name}: steers the terminal"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let large = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(large.path(), vec![b' '; (1 << 20) + 1]).unwrap();
    let mut wrong = Vec::new();
    check("file_missing", &Scenario::load(Path::new("scenarios/scrdf.toml")).unwrap_err(), &mut wrong);
    check("file_is_folder", &Scenario::load(Path::new("scenarios")).unwrap_err(), &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let error = Scenario::load(large.path()).unwrap_err().to_string();
    assert!(error.contains("larger than 1048576 bytes"), "{error}");
}

#[test]
fn the_two_benchmarks_are_what_they_have_to_be() {
    for (file, title, model, shape, output) in [
        ("scenarios/scrfd.toml", "SCRFD Model", "scrfd", [3, 640, 640], "score_8"),
        ("scenarios/arcface.toml", "ArcFace Model", "arcface", [3, 112, 112], "683"),
    ] {
        let scenario = Scenario::load(Path::new(file)).unwrap();
        assert_eq!((scenario.title.as_str(), scenario.name.as_str()), (title, model));
        assert_eq!(
            (scenario.server.http.authority.as_str(), scenario.server.grpc.authority.as_str()),
            ("localhost:8000", "localhost:8001")
        );
        assert_eq!(
            (scenario.model.name.as_str(), &scenario.model.version, scenario.model.batching),
            (model, &None, true)
        );
        assert_eq!(scenario.inputs.len(), 1);
        let input = &scenario.inputs[0];
        assert_eq!((input.name.as_str(), input.datatype, &input.data), ("input.1", Datatype::Fp32, &Source::Zeros));
        assert_eq!(input.shape, shape);
        assert_eq!(scenario.outputs.iter().map(|output| &output.name[..]).collect::<Vec<_>>(), [output]);
        assert_eq!(scenario.request_bytes(&Point::default()), Some(shape.iter().product::<usize>() as u64 * 4));
        assert_eq!(scenario.matrix.protocols(), [Protocol::Http, Protocol::Grpc]);
        assert_eq!(scenario.matrix.batch_sizes(), [1, 4, 8]);
        assert_eq!(scenario.matrix.values(AxisId::Processes), [1, 3].map(Value::Whole));
        assert_eq!(scenario.matrix.values(AxisId::Concurrency), [Value::Whole(1)]);
        assert_eq!((scenario.load.stop.requests, scenario.load.warmup.requests), (1000, 10));
        let artifact = scenario.artifact.unwrap();
        assert_eq!(artifact.sha256, "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f");
    }
}

#[test]
fn what_is_left_out_has_the_documented_default() {
    let scenario = parse(MINIMAL).unwrap();
    assert_eq!(scenario.name, "given");
    assert_eq!(
        (scenario.server.http.authority.as_str(), scenario.server.grpc.authority.as_str()),
        ("localhost:8000", "localhost:8001")
    );
    assert_eq!((scenario.model.version.as_ref(), scenario.model.batching), (None, true));
    assert_eq!(scenario.inputs[0].data, Source::Zeros);
    let points: Vec<Point> = scenario.matrix.points().collect();
    assert_eq!(points, [Point::default(), Point { protocol: Protocol::Grpc, ..Point::default() }]);
    let load = &scenario.load;
    assert_eq!(
        (load.stop.requests, load.warmup.requests, load.blocks, load.seed, load.stop.most),
        (1000, 10, 10, 1, None)
    );
    assert_eq!(load.timeout, Duration::from_secs(30));
    assert!(scenario.artifact.is_none() && scenario.overridden.is_empty());
}

#[test]
fn every_type_and_source_loads() {
    for (name, datatype) in Datatype::ALL {
        assert_eq!(with("FP32", name).unwrap().inputs[0].datatype, *datatype);
    }
    let data = |text: &str| {
        with("shape = [4]", &format!("shape = [4]\ndata = {text}")).unwrap().inputs[0]
            .data
            .clone()
    };
    assert_eq!(data("\"zeros\""), Source::Zeros);
    assert_eq!(data("{random = {seed = 7}}"), Source::Random { seed: 7 });
    let Source::File(path) = data("{file = \"data/f4_4.npy\"}") else { panic!("no file") };
    assert!(path.is_absolute() && path.ends_with("tests/wrong_scenarios/data/f4_4.npy"));
    let table = with("shape = [4]", "shape = [4]\n[input.data.random]\nseed = 9").unwrap();
    assert_eq!(table.inputs[0].data, Source::Random { seed: 9 });
    assert_eq!(with("shape = [4]", "shape = []").unwrap().inputs[0].shape, [0_usize; 0]);
    let model = with("\"my-model\"", "\"my-model\"\nversion = \"2\"\nbatching = false").unwrap().model;
    assert_eq!((model.version.as_deref(), model.batching), (Some("2"), false));
}

#[test]
fn line_ends_and_a_byte_order_mark_do_not_matter() {
    assert_eq!(parse(MINIMAL.replace('\n', "\r\n")).unwrap().title, "Mine");
    assert_eq!(parse(format!("\u{FEFF}{MINIMAL}")).unwrap().title, "Mine");
}

#[test]
fn excluded_points_are_left_out() {
    let axes = "[matrix]\nbatch_sizes = [1, 4, 8]\nprocesses = [1, 3]\n\
                exclude = [{batch_sizes = [8], processes = [3]}, {protocols = [\"http\"], batch_sizes = [4]}]";
    let measured = |axes: &str| {
        let points = with("[matrix]", axes).unwrap().matrix.points().collect::<Vec<_>>();
        points.into_iter().map(|point| (point.protocol, point.batch_size, point.processes))
    };
    let left: Vec<_> = measured(axes).collect();
    assert!(!left.contains(&(Protocol::Grpc, 8, 3)) && !left.contains(&(Protocol::Http, 4, 1)));
    assert!(left.contains(&(Protocol::Grpc, 8, 1)) && left.contains(&(Protocol::Grpc, 4, 3)));
    let tables = "[matrix]\nbatch_sizes = [1, 4]\n[[matrix.exclude]]\nbatch_sizes = [4]";
    assert!(measured(tables).all(|(_, batch_size, _)| batch_size == 1));
}

#[test]
fn loops_and_connections_have_their_defaults() {
    let point = |scenario: &Scenario| scenario.matrix.points().next().unwrap();
    let closed = parse(MINIMAL).unwrap();
    assert_eq!((point(&closed).rate, point(&closed).concurrency, point(&closed).connections), (None, 1, 1));
    assert_eq!((closed.load.stop.requests, closed.load.stop.least), (1000, None));
    let open = with("[matrix]", "[load]\nrate = [50, 0.5]\n[matrix]\nexclude = [{rate = [50]}]").unwrap();
    assert_eq!((point(&open).rate, point(&open).concurrency, point(&open).connections), (Some(0.5), 64, 64));
    assert_eq!((open.load.arrival.word(), point(&open).encode), (Arrival::Constant, Encode::Once));
    let timed = with("[matrix]", "[load]\nduration_s = 2\nmax_seconds_per_case = 2.5\n[matrix]").unwrap();
    assert_eq!((timed.load.stop.requests, timed.load.stop.least), (0, Some(Duration::from_secs(2))));
    let both = with("[matrix]", "[load]\nduration_s = 2\niterations = 5\n[matrix]").unwrap();
    assert_eq!((both.load.stop.requests, both.load.stop.least), (5, Some(Duration::from_secs(2))));
    // streams of one connection, for the protocol that has them
    let axes =
        "[matrix]\nconcurrency = [8]\nconnections = [2, 8]\nexclude = [{protocols = [\"http\"], connections = [2]}]";
    let matrix = with("[matrix]", axes).unwrap().matrix;
    let points = matrix.points().map(|point| point.tag());
    assert_eq!(points.collect::<Vec<_>>(), ["grpc-b1-p1-c8-n2", "http-b1-p1-c8", "grpc-b1-p1-c8"]);
}

/// Values of an axis, as an option gives them.
fn axis(id: AxisId, values: &[&str]) -> (AxisId, Vec<String>) {
    (id, values.iter().map(ToString::to_string).collect())
}

/// A wrong file may be any file.
#[derive(Clone, Debug)]
enum Edit {
    Delete(usize, usize),
    Insert(usize, Vec<u8>),
    Replace(usize, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = 0..2000_usize;
    let mark = prop::sample::select(b"\"'[]{}=#,.\\\n\r\t-+_@0e:".to_vec());
    prop_oneof![
        (at.clone(), 1..40_usize).prop_map(|(at, length)| Edit::Delete(at, length)),
        (at.clone(), prop::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at.clone(), prop::collection::vec(mark.clone(), 1..6)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (at.clone(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        (at, mark).prop_map(|(at, byte)| Edit::Replace(at, byte)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_the_reader_panic(edits in prop::collection::vec(edit(), 1..5)) {
        let mut bytes = std::fs::read("scenarios/scrfd.toml").unwrap();
        for edit in edits {
            let length = bytes.len();
            match edit {
                Edit::Delete(at, count) => drop(bytes.drain(at % length..(at % length + count).min(length))),
                Edit::Insert(at, new) => drop(bytes.splice(at % length..at % length, new)),
                Edit::Replace(at, byte) => bytes[at % length] = byte,
            }
        }
        if let Err(error) = parse(&bytes) {
            prop_assert!(!error.help().is_empty(), "{error}");
            prop_assert!(error.line().is_some_and(|line| line >= 1 && line <= bytes.split(|b| *b == b'\n').count()), "{error}");
            let lines = 5 * error.count().min(10) + usize::from(error.count() > 10);
            prop_assert!(error.to_string().lines().count() == lines, "{error}");
        }
    }
}

/// A key that nobody can look up is not a key.
#[test]
fn every_key_is_in_the_handbook() {
    let handbook = std::fs::read_to_string("scenarios/README.md").unwrap();
    let keys = runner::scenario::keys();
    assert!(keys.len() > 40, "{keys:?}");
    for key in keys {
        let spelled = [format!("`{key}`"), format!("`[{key}]`"), format!("`[[{key}]]`")];
        assert!(spelled.iter().any(|spelling| handbook.contains(spelling)), "{key}");
    }
}

#[test]
fn servers_and_models_are_what_their_tables_say() {
    let text = "title = \"Two\"\n[server.old]\nhttp = \"old:1\"\n[model]\nversion = \"7\"\n[model.large]\nname = \"m.large\"\nbatching = false\n\
                [[model.large.input]]\nname = \"z\"\ndatatype = \"INT8\"\nshape = [2]\n[[input]]\nname = \"x\"\ndatatype = \"FP32\"\n\
                shape = [4]\n[[output]]\nname = \"y\"\n[matrix]\nservers = [\"embedded\", \"old\"]\nmodels = [\"small\", \"large\"]\n\
                compare = \"models\"\nbaseline = \"large\"\n";
    let scenario = parse(text).unwrap();
    let seen: Vec<_> = scenario
        .matrix
        .points()
        .map(|point| {
            let target = scenario.target(&point);
            let (name, batching) = (target.model.name.clone(), target.model.batching);
            (
                point.tag(),
                (target.server.is_embedded, target.server.http.authority.clone()),
                name,
                target.model.version.clone(),
                batching,
                target.request_bytes(&point),
            )
        })
        .collect();
    assert_eq!(seen.len(), 8);
    let embedded = (true, "localhost:0");
    let version = || Some("7".to_owned());
    let row = |tag: &str, (own, http): (bool, &str), name: &str, batching, bytes| {
        (tag.to_owned(), (own, http.to_owned()), name.to_owned(), version(), batching, bytes)
    };
    assert_eq!(seen[0], row("embedded-large-http-b1-p1-c1", embedded, "m.large", false, Some(2)));
    assert_eq!(seen[1], row("embedded-small-http-b1-p1-c1", embedded, "small", true, Some(16)));
    assert_eq!(seen[7], row("old-small-grpc-b1-p1-c1", (false, "old:1"), "small", true, Some(16)));
    assert_eq!(scenario.matrix.groups().len(), 4);
    // models without tables, on the command line
    let models = Overrides { axes: vec![axis(AxisId::Model, &["a", "b"])], ..Overrides::default() };
    let two = parse(MINIMAL).unwrap().overridden_by(&models).unwrap();
    assert_eq!(two.asked_models().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(two.overridden, ["--set models=a,b"]);
    let servers = Overrides { axes: vec![axis(AxisId::Server, &["new"])], ..Overrides::default() };
    let unknown = parse(MINIMAL).unwrap().overridden_by(&servers).unwrap_err();
    assert!(unknown.contains("--set servers=new: the scenario has no [server.new]"), "{unknown}");
}
