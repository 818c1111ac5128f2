//! What is fuzzed: one function a reader, which gets any bytes and panics where the reader breaks a promise. `scripts/fuzz`
//! runs them for long, `main.rs` in every test. What stands between [`BETWEEN`] are the parts of an input.

use std::fmt::Debug;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use runner::embedded::Config;
use runner::environment::Environment;
use runner::hosts::link::{Link, Stream};
use runner::hosts::message::{FromHost, Hello, ToHost, Version};
use runner::matrix::Point;
use runner::plan::{Group, Plan};
use runner::proto::{self, ModelConfig};
use runner::protocol::control::metrics;
use runner::protocol::infer::grpc::Grpc;
use runner::protocol::infer::http::{Http, Pattern, Unread};
use runner::protocol::infer::http1::Memory;
use runner::protocol::verify::{Expected, has_fixed_sizes, verify};
use runner::protocol::{Answer, Fault, InferClient, Payload, Reply};
use runner::record::column::{Objects, Row};
use runner::record::{BlockRecord, Manifest, MetricRow, Record, latencies, lines, parse};
use runner::recorder::Recorder;
use runner::report::splice::Document;
use runner::run::kept;
use runner::scenario::arrival_file::{self, ARRIVALS_MAX, Arrived, Part};
use runner::scenario::{Scenario, built_in};
use runner::tensor::{Datatype, Item, List, byte_elements, items_of};
use runner::text::{MESSAGE_MAX, NAME_MAX};
use runner::worker::message::{BlockDone, FromWorker, ToWorker};
use runner::worker::outcome::BlockOutcome;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, ReadBuf};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 16] = [
    ("arrivals", arrivals),
    ("csv", csv),
    ("grpc_answer", grpc_answer),
    ("histogram_log", histogram_log),
    ("host_message", host_message),
    ("http_answer", http_answer),
    ("input_data", input_data),
    ("json_answer", json_answer),
    ("kept_blocks", kept_blocks),
    ("manifest", manifest),
    ("metrics", metrics),
    ("model_config", model_config),
    ("scenario", scenario),
    ("splice", splice),
    ("tensor_file", tensor_file),
    ("worker_message", worker_message),
];

/// Between the parts of an input.
const BETWEEN: &[u8] = b"\n==\n";

/// The two parts of an input; the second is empty if there is one alone.
fn parts(data: &[u8]) -> [&[u8]; 2] {
    let at = data.windows(BETWEEN.len()).position(|window| window == BETWEEN);
    at.map_or([data, &[]], |at| [&data[..at], &data[at + BETWEEN.len()..]])
}

/// Scenario files: a scenario that is taken has a plan within its limits, and an error a place in the file.
pub fn scenario(data: &[u8]) {
    match Scenario::parse(Path::new("scenarios/fuzz.toml"), data) {
        Ok(scenario) => {
            assert!(scenario.matrix.all_cases() <= 10_000 && scenario.load.blocks >= 1);
            assert_eq!(scenario.text.as_bytes(), data);
            scenario.check_requests().expect("a scenario that is taken fits its own shapes");
            assert_eq!(scenario.matrix.impossible(), None);
            // plans of this size are tested elsewhere, and take long here
            if scenario.matrix.all_cases() > 20 || scenario.load.blocks > 50 {
                return;
            }
            let plan = Plan::expand(&scenario);
            let cases: Vec<&Point> = plan.cases().collect();
            assert!(!cases.is_empty() && cases.len() <= scenario.matrix.all_cases());
            for group in &plan.groups {
                assert!(group.rounds.iter().all(|round| round.order.len() == group.cases.len()));
            }
            for case in cases {
                let target = scenario.target(case);
                assert!(target.servers.is_empty() && target.models.is_empty());
                let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
                assert!(case.tag().chars().all(plain), "the tag {} is part of file names", case.tag());
            }
        }
        Err(error) => {
            let lines = data.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
            let line = error.line().expect("every error of a text has a place in it");
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {error}");
            assert!(error.count() >= 1 && !error.problem().is_empty());
            assert!(error.to_string().len() < 20_000 + 20 * data.len());
        }
    }
}

/// Files that say when requests arrived: instants in order, within their length, or an error with a remedy.
pub fn arrivals(data: &[u8]) {
    let part = Part { case: Some("http-b1-p2-c64-r100".to_owned()), block: Some(1) };
    for (part, speed) in [(Part::default(), 1.0), (part, 1.0), (Part::default(), 0.001), (Part::default(), 1000.0)] {
        match arrival_file::parse(data, &part, speed) {
            Ok(Arrived { due_ns, length_ns, .. }) => {
                assert!((2..=ARRIVALS_MAX).contains(&due_ns.len()) && due_ns.is_sorted());
                // both are rounded
                assert!(due_ns.last() <= Some(&(length_ns + 1)), "{due_ns:?} in {length_ns}");
            }
            Err((problem, help)) => {
                assert!(!help.is_empty() && problem.len() < 1000 && !problem.contains(char::is_control), "{problem}");
            }
        }
    }
}

/// Documents: what is outside the markers stays byte for byte, and what was put in is put in again.
pub fn splice(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(document) = Document::parse(text) else { return };
    let made = |words: &[&str]| format!("made of {words:?}\n\n| a |\n");
    let rendered = |document: &Document<'_>| document.rendered(|section| Ok(made(&section.words))).unwrap();
    let once = rendered(&document);
    let again = Document::parse(&once).expect("a document that was spliced can be spliced again");
    assert_eq!(outside(text, &document), outside(&once, &again));
    let words = |document: &Document<'_>| {
        let words = |section: &runner::report::splice::Section<'_>| section.words.join(" ");
        document.sections().iter().map(words).collect::<Vec<_>>()
    };
    assert_eq!(words(&document), words(&again));
    assert_eq!(rendered(&again), once);
}

/// The text without what stands between its markers.
fn outside(text: &str, document: &Document<'_>) -> String {
    let (mut outside, mut at) = (String::new(), 0);
    for section in document.sections() {
        let begin = section.old.as_ptr() as usize - text.as_ptr() as usize;
        outside.push_str(&text[at..begin]);
        at = begin + section.old.len();
    }
    outside + &text[at..]
}

/// What workers and their parent send each other, a message a line.
pub fn worker_message(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(message) = serde_json::from_slice::<ToWorker>(line) {
            written_again::<ToWorker>(&message);
            if let ToWorker::Block(block) = message
                && let Some(arrivals) = block.arrivals
            {
                let scheduled = block.scheduled(&arrivals);
                assert!((1..=block.arrivals_count(&arrivals)).contains(&scheduled), "{scheduled} requests");
            }
        }
        if let Ok(message) = serde_json::from_slice::<FromWorker>(line) {
            written_again::<FromWorker>(&message);
            if let FromWorker::Done(done) = message {
                block_done(done);
            }
        }
    }
}

/// What hosts and their leader send each other, a message a line. A host that says anything else after its greeting is lost, and
/// why is told in words that are fit to be shown.
pub fn host_message(data: &[u8]) {
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(message) = serde_json::from_slice::<ToHost>(line) {
            written_again::<ToHost>(&message);
        }
        if let Ok(message) = serde_json::from_slice::<FromHost>(line) {
            written_again::<FromHost>(&message);
        }
    }
    let Version { version, revision } = Version::own();
    let (name, machine) = ("fuzz".to_owned(), "fuzz".to_owned());
    let hello = Hello { version, revision, rank: 0, name, machine, environment: Environment::default() };
    let mut said = serde_json::to_vec(&FromHost::Hello(hello)).unwrap();
    said.push(b'\n');
    said.extend(data);
    let stream = Stream {
        input: Box::new(std::io::Cursor::new(said)),
        output: Box::new(tokio::io::sink()),
        carrier: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let words = match Link::open(None, stream).await {
            Ok(link) => link.lost().unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        assert!(!words.contains(char::is_control) && words.chars().count() <= MESSAGE_MAX + NAME_MAX, "{words:?}");
    });
}

/// Blocks of a run that goes on: one a line, up to the first that is none.
pub fn kept_blocks(data: &[u8]) {
    static GROUP: LazyLock<Group> = LazyLock::new(|| {
        let file = Path::new("scrfd");
        let scenario = Scenario::parse(file, built_in(file).unwrap().as_bytes()).unwrap();
        Plan::expand(&scenario).groups.swap_remove(0)
    });
    let blocks = kept::read(data);
    let (count, mut text) = (blocks.len(), Vec::new());
    for block in &blocks {
        text.extend(kept::line(block).unwrap());
    }
    let again = kept::read(&text);
    assert_eq!(again.len(), count, "a block that was read and written is no longer one");
    let (open, of_group) = kept::of_group(&GROUP, again);
    assert!(open <= count && of_group.iter().all(|block| block.round <= open));
    assert!(blocks.into_iter().all(|block| block_done(block.done)), "a kept block is a measured one");
}

/// A block that was measured: what is taken can be merged, and its numbers are in order. Returns whether it is taken.
fn block_done(done: BlockDone) -> bool {
    let Ok(outcome) = BlockOutcome::of_done(done) else { return false };
    let text = serde_json::to_string(&outcome.to_done().unwrap()).unwrap();
    let again = BlockOutcome::of_done(serde_json::from_str(&text).unwrap()).expect("what was written is read");
    assert_eq!(serde_json::to_string(&again.to_done().unwrap()).unwrap(), text);
    let Recorder { latency, service, lateness, send, wait, receive, sequence, .. } = &outcome.recorder;
    for of in [latency, service, lateness, send, wait, receive] {
        if let (Some(least), Some(most), Some(mean)) = (of.min_ns(), of.max_ns(), of.mean_ns()) {
            let rounding = 1e-9 * mean;
            assert!(least as f64 <= mean + rounding && mean <= most as f64 + rounding, "{least} {mean} {most}");
            let median = of.quantile_ns(0.5).unwrap();
            assert!((least..=most).contains(&median), "{least} {median} {most}");
            assert!(of.stddev_ns().is_none_or(|deviation| deviation >= 0.0));
        }
    }
    assert!(sequence.batches().all(|(length, count, _)| length >= 1 && count > 1));
    let _ = (outcome.window_ns(), outcome.usage.cpu_ns());
    let mut twice = outcome.recorder.clone();
    twice.merge(&outcome.recorder);
    assert_eq!(twice.count(), 2 * outcome.recorder.count());
    assert_eq!(twice.settled(), 2 * outcome.recorder.settled());
    true
}

/// The facts of a run.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<Manifest>(data) else { return };
    written_again::<Manifest>(&manifest);
    assert!(!manifest.asked().is_empty());
    let _ = manifest.compared(&[]);
}

/// A value reads as it was written.
fn written_again<T: Serialize + DeserializeOwned>(value: &T) {
    let text = serde_json::to_string(value).unwrap();
    let again: T = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}

/// Two answers over HTTP/1.1, of which the first is the verified one.
pub fn http_answer(data: &[u8]) {
    let [verified, other] = parts(data);
    http_answers(verified, other);
}

/// An answer's JSON, and the tensors behind it.
pub fn json_answer(data: &[u8]) {
    let [json, tensors] = parts(data);
    let length = json.len() + tensors.len();
    let mut head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
    if !tensors.is_empty() {
        head += &format!("Inference-Header-Content-Length: {}\r\n", json.len());
    }
    http_answers(&[head.as_bytes(), b"\r\n", json, tensors].concat(), &[]);
}

/// A connection that has its bytes already, and gives so many at once.
struct Pieces<'a> {
    rest: &'a [u8],
    most: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let (piece, rest) = self.rest.split_at(self.most.min(self.rest.len()).min(buffer.remaining()));
        buffer.put_slice(piece);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

fn received(bytes: &[u8], most: usize, memory: &mut Memory, pattern: Option<&Pattern>) -> Result<Reply<Unread>, Fault> {
    let mut pieces = Pieces { rest: bytes, most };
    let answer = pin!(Http::answer(&mut pieces, memory, pattern));
    match answer.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(reply) => reply,
        Poll::Pending => panic!("it waits, although all is there"),
    }
}

fn http_answers(verified: &[u8], other: &[u8]) {
    let mut memory = Memory::default();
    let whole = received(verified, usize::MAX, &mut memory, None);
    // a head that is known already is not read again
    alike(&whole, &received(verified, usize::MAX, &mut memory, None));
    // a head is looked at again with each piece
    let small = if verified.len() < 300 { 1 } else { 97 };
    alike(&whole, &received(verified, small, &mut Memory::default(), None));
    let Ok(Reply::Unread(unread)) = whole else { return };
    let pattern = Http::pattern(&unread);
    let described = Http::read(unread).map(|answer| described(&answer, verified.len()));
    let Some(pattern) = pattern else { return };
    assert_eq!(received(verified, small, &mut memory, Some(&pattern)), Ok(Reply::Same));
    let read = |unread| Http::read(unread).map(|answer| self::described(&answer, other.len()));
    let Ok(Reply::Unread(unread)) = received(other, usize::MAX, &mut memory, None) else {
        return;
    };
    match received(other, small, &mut memory, Some(&pattern)) {
        Ok(Reply::Same) => assert_eq!(read(unread), described),
        // of which a part is kept
        Ok(Reply::Unread(start)) => assert_eq!(read(start), read(unread)),
        Err(fault) => panic!("the answer is good without a pattern, and with one: {fault}"),
    }
}

/// Whether two readings of the same bytes come to the same; the words of a fault may tell of a part of them.
fn alike(one: &Result<Reply<Unread>, Fault>, other: &Result<Reply<Unread>, Fault>) {
    match (one, other) {
        (Err(one), Err(other)) => assert_eq!(one.kind, other.kind, "{one}; {other}"),
        _ => assert_eq!(one, other),
    }
}

/// Two answers over gRPC in their frames, of which the first is the verified one.
pub fn grpc_answer(data: &[u8]) {
    let [verified, other] = parts(data);
    let chunks = |framed: &[u8], most: usize| framed.chunks(most).map(Bytes::copy_from_slice).collect::<Vec<_>>();
    let read =
        |framed: &[u8], most: usize| Grpc::read(chunks(framed, most)).map(|answer| described(&answer, framed.len()));
    let answer = read(verified, usize::MAX);
    assert_eq!(answer, read(verified, 3));
    let Some(pattern) = Grpc::pattern(&chunks(verified, 5)) else {
        return assert!(answer.is_err(), "an answer that can be read has a pattern");
    };
    let is_same = |framed: &[u8], most: usize| {
        let mut comparison = pattern.compare();
        framed.chunks(most).for_each(|chunk| comparison.feed(chunk));
        assert!(!(comparison.is_same() && comparison.sizes_differ()));
        comparison.is_same()
    };
    assert!(is_same(verified, 1) && is_same(verified, usize::MAX));
    let same = is_same(other, usize::MAX);
    assert_eq!(is_same(other, 3), same);
    if same {
        assert_eq!(read(other, usize::MAX), answer);
    }
}

/// Name, type, shape and size of each output; the answer held so many bytes.
fn described(answer: &Answer, bytes: usize) -> Vec<(String, String, Vec<i64>, usize)> {
    let size = |payload: &Payload| match payload {
        Payload::Raw(raw) => raw.len(),
        Payload::Size(size) => *size,
        Payload::Elements(elements) => elements.count(),
    };
    let sizes: Vec<usize> = answer.outputs.iter().map(|output| size(&output.payload)).collect();
    assert!(sizes.iter().sum::<usize>() <= bytes, "{sizes:?} of {bytes}");
    for output in &answer.outputs {
        // of typed elements no more than eight bytes each, or those of their text
        let content = output.content().map_or(0, |(_, content)| content.len());
        assert!(content <= 8 * bytes, "{content} of {bytes}");
    }
    let wanted = |name: &str, datatype: Option<&str>, shape: Option<&[i64]>| Expected {
        name: name.to_owned(),
        datatype: datatype.map(str::to_owned),
        shape: shape.map(<[i64]>::to_vec),
        expect: None,
    };
    let own =
        |output: &runner::protocol::OutputTensor| wanted(&output.name, Some(&output.datatype), Some(&output.shape));
    for expected in [
        answer.outputs.iter().map(own).collect(),
        vec![wanted("y", None, None)],
        vec![wanted("y", Some("FP32"), Some(&[-1, 3]))],
    ] {
        if let Err(fault) = verify(answer, &expected) {
            assert!(fault.message.chars().count() <= MESSAGE_MAX, "{fault}");
        }
    }
    let _ = has_fixed_sizes(answer);
    let outputs = answer.outputs.iter().zip(sizes);
    outputs
        .map(|(output, size)| (output.name.clone(), output.datatype.clone(), output.shape.clone(), size))
        .collect()
}

/// A model's configuration as text or JSON: it survives JSON, and what is completed needs no more.
pub fn model_config(data: &[u8]) {
    let message = match proto::from_text::<ModelConfig>(data) {
        Ok(message) => message,
        Err(error) => {
            assert!(format!("{error:#}").starts_with("line "), "{error:#}");
            let Some(message) = std::str::from_utf8(data).ok().and_then(|text| proto::from_json(text).ok()) else {
                return;
            };
            message
        }
    };
    if let Ok(json) = proto::to_json(&message) {
        let again: ModelConfig = proto::from_json(&json.to_string()).expect("what was written is read");
        assert_eq!(proto::to_json(&again).unwrap(), json);
    }
    let name = if message.name.is_empty() { "m".to_owned() } else { message.name.clone() };
    let Ok(config) = Config::checked(message, &name) else { return };
    let again = Config::checked(config.answer.clone(), &name).expect("what is completed is a configuration");
    assert_eq!(format!("{:?}", again.answer), format!("{:?}", config.answer));
    assert_eq!((&again.inputs, &again.outputs, again.instances), (&config.inputs, &config.outputs, config.instances));
    assert!(config.instances >= 1 && !config.inputs.is_empty() && !config.outputs.is_empty());
    let versions = config.versions(vec![3, 1, 2]);
    assert!(versions.is_sorted() && versions.len() <= 3);
    for tensor in config.inputs.iter().chain(&config.outputs) {
        let batched = config.max_batch_size > 0;
        let shape: Vec<usize> = tensor.shape(batched).iter().map(|side| (*side).max(2) as usize).collect();
        assert_eq!(tensor.to_client(tensor.to_model(shape.clone(), batched), batched), shape);
    }
}

/// A server's metrics: numbers, and text that is fit to be shown; what is read reads as it is written.
pub fn metrics(data: &[u8]) {
    let samples = metrics::parse(&String::from_utf8_lossy(data));
    let mut text = String::new();
    for sample in &samples {
        let metrics::Sample { metric, labels, value } = sample;
        assert!(value.is_finite() && metric.chars().count() <= NAME_MAX && labels.chars().count() <= MESSAGE_MAX);
        assert!(!metric.chars().chain(labels.chars()).any(char::is_control), "{sample:?}");
        text += &format!("{metric}{{{labels}}} {value:?}\n");
    }
    // a name that was cut has spaces
    if samples.iter().all(|sample| !sample.metric.contains(' ')) {
        assert_eq!(metrics::parse(&text), samples);
    }
}

/// The tables of a run.
pub fn csv(data: &[u8]) {
    rows::<Record>(data);
    rows::<BlockRecord>(data);
    rows::<MetricRow>(data);
}

fn rows<T: Row + PartialEq + Debug>(data: &[u8]) {
    let Ok(read) = parse::<T>(data) else { return };
    let text = lines(&read.rows, true).unwrap();
    let again = parse::<T>(&text).unwrap_or_else(|error| panic!("{error:#}: {}", String::from_utf8_lossy(&text)));
    assert!(!again.torn && again.rows.len() == read.rows.len());
    // of numbers that are none, the text alone is the same
    assert_eq!(String::from_utf8_lossy(&lines(&again.rows, true).unwrap()), String::from_utf8_lossy(&text));
    written(&Objects::of(&read.rows));
}

fn written(value: &impl Serialize) {
    serde_json::to_string(value).unwrap();
}

/// The log of a run's histograms.
pub fn histogram_log(data: &[u8]) {
    for text in latencies::logged(data).values().flatten() {
        let Some(histogram) = latencies::decoded(text) else { continue };
        let counts = histogram.iter_recorded().map(|step| step.count_at_value());
        let total = counts.fold(0_u64, u64::saturating_add);
        assert_eq!(total, histogram.len());
    }
    let first = |log: &[u8], most: usize| latencies::first_blocks(log, |_| most);
    let whole = data.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    assert_eq!(first(data, usize::MAX), &data[..whole]);
    let two = first(data, 2);
    assert_eq!(first(&two, 2), two);
    assert!(first(&two, 1).len() <= two.len());
}

/// A tensor's data: three bytes choose type, shape and the file's extension, and what follows is the file.
pub fn tensor_file(data: &[u8]) {
    let Some(([datatype, shape, extension], content)) = data.split_first_chunk() else {
        return;
    };
    let extensions = ["raw", "npy", "bin", "npz", "csv"];
    items_fit(*datatype, *shape, extensions[usize::from(*extension) % extensions.len()], content);
}

/// The JSON of perf_analyzer: two bytes choose type and shape, and what follows is the file.
pub fn input_data(data: &[u8]) {
    if let Some(([datatype, shape], content)) = data.split_first_chunk() {
        items_fit(*datatype, *shape, "json", content);
    }
}

/// Items that are taken have the bytes of their type and shape, and no more than the file gives.
fn items_fit(datatype: u8, shape: u8, extension: &str, content: &[u8]) {
    let datatype = Datatype::ALL[usize::from(datatype) % Datatype::ALL.len()].1;
    let shapes: [&[usize]; 7] = [&[], &[1], &[4], &[2, 3], &[3, 640, 640], &[0], &[usize::MAX, 2]];
    let shape = shapes[usize::from(shape) % shapes.len()];
    for list in [List::Data, List::ValidationData] {
        let content = Bytes::copy_from_slice(content);
        let Ok(items) = items_of("x", datatype, shape, extension, content.clone(), list) else {
            continue;
        };
        assert!(!items.is_empty() && items.len() <= content.len());
        for Item { bytes, shape: own } in items {
            let elements = own.as_deref().unwrap_or(shape).iter().product::<usize>();
            match datatype.size() {
                Some(size) => assert_eq!(bytes.len(), elements * size),
                None => assert_eq!(byte_elements(&bytes), Some(elements)),
            }
        }
    }
}
