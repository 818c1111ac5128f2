//! The client's cost of the parts of a timed request: recording, encoding, pacing. `cargo bench` runs it.
#![allow(missing_docs)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use runner::address::Address;
use runner::protocol::headers::Destination;
use runner::protocol::infer::grpc::Grpc;
use runner::protocol::infer::http::Http;
use runner::protocol::{InferClient, InputTensor, Request};
use runner::recorder::{Phases, Recorder, RequestTiming};
use runner::scenario::arrival::Distances;
use runner::scenario::{ArrivalProcess, StopRule};
use runner::tensor::{Datatype, Tensors};
use runner::worker::logged::LogAsk;
use runner::worker::message::{Arrivals, Block, Draw};
use runner::worker::pace::PreciseTimer;
use runner::worker::request_log::{Ended, RequestLog, Stamps};
use runner::worker::schedule::Schedule;

/// Bytes of ArcFace's input, SCRFD's, and SCRFD's at batch 8.
const PAYLOADS: [usize; 3] = [150_528, 4_915_200, 39_321_600];

fn main() {
    divan::main();
}

fn parts(latency: u64) -> RequestTiming {
    let split = Phases { send: latency / 4, wait: latency / 2, receive: latency / 4 };
    RequestTiming { latency, service: Some(latency), split: Some(split) }
}

fn recorded(count: u64) -> Recorder {
    let mut recorder = Recorder::default();
    (0..count).for_each(|index| recorder.record(parts(1_000_000 + index * 7919)));
    recorder
}

/// Records one request of an open loop in its distributions.
#[divan::bench]
fn record_a_request(bencher: Bencher) {
    let mut recorder = Recorder::default();
    let mut latency = 1_000_000_u64;
    bencher.bench_local(|| {
        latency = latency % 100_000_000 + 7919;
        recorder.record(black_box(parts(latency)));
    });
}

/// Logs one request of an open loop (`--requests`).
#[divan::bench]
fn log_a_request(bencher: Bencher) {
    const REQUESTS: u64 = 1 << 16;
    let log = RequestLog::default();
    log.answer(LogAsk::Reserve(REQUESTS));
    let at = Instant::now();
    log.begin(at, Duration::ZERO);
    let stamps = Stamps { sent: Some(at), head: Some(at), bytes_sent: 1, bytes_received: 1 };
    let ended = Ended {
        due: Some(at),
        started: at,
        done: at,
        stamps,
        distinct: Some(0),
        connection: 0,
        error: None,
    };
    bencher.bench_local(|| log.add(log.next() % REQUESTS, black_box(&ended)));
}

/// Adds what another process recorded.
#[divan::bench]
fn merge_recorders(bencher: Bencher) {
    let other = recorded(10_000);
    let mut sum = Recorder::default();
    bencher.bench_local(|| sum.merge(black_box(&other)));
}

/// Prepares a recorder for sending to the parent, once a block.
#[divan::bench]
fn recorder_to_wire(bencher: Bencher) {
    let recorder = recorded(10_000);
    bencher.bench_local(|| black_box(&recorder).to_snapshot().map(|_| ()));
}

fn request(bytes: usize) -> Request {
    let shape = vec![1, (bytes / 4) as u64];
    let data = Bytes::from(vec![1_u8; bytes]);
    let input = InputTensor { name: "input.1".to_owned(), datatype: Datatype::Fp32, shape, bytes: data };
    Request {
        model: "scrfd".to_owned(),
        version: None,
        id: None,
        inputs: vec![input],
        outputs: vec!["score_8".to_owned()],
        tensors: Tensors::Binary,
        parameters: Default::default(),
    }
}

/// What `encode = "each-request"` adds to every request.
#[divan::bench(types = [Http, Grpc], args = PAYLOADS)]
fn encode<D: InferClient>(bencher: Bencher, bytes: usize) {
    let request = request(bytes);
    let to = Destination::new(&Address::local(8000)).unwrap();
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| D::encode(&to, black_box(&request)).map(|_| ()));
}

/// The next instant of a schedule.
#[divan::bench(args = ["constant", "poisson", "gamma", "on_off"])]
fn draw_an_arrival(bencher: Bencher, name: &str) {
    let arrival = match name {
        "constant" => ArrivalProcess::Steady(Distances::Constant),
        "poisson" => ArrivalProcess::Steady(Distances::Exponential),
        "gamma" => ArrivalProcess::Steady(Distances::Gamma { shape: 0.5 }),
        _ => ArrivalProcess::OnOff { on_s: 1.0, off_s: 4.0 },
    };
    let stop = StopRule { requests: 100_000, ..StopRule::default() };
    let whole = Block {
        stop,
        arrivals: None,
        order: Draw::default(),
        think_time: Duration::ZERO,
        judge: None,
        start_ns: 0,
    };
    let arrivals = |block| Arrivals { rate: 2000.0, seed: 1, block, process: 0, processes: 1 };
    // one block after the other, so that it does not end
    let mut schedule = (0..).flat_map(|block| Schedule::new(&arrival, &whole, &arrivals(block)));
    bencher.bench_local(|| schedule.next());
}

/// How long a wait of N microseconds takes; the excess is the pacer's lateness.
#[divan::bench(args = [50, 200, 500, 2000], sample_count = 200, sample_size = 1)]
fn wait_for_an_instant(bencher: Bencher, us: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut pacer = PreciseTimer::new();
    bencher.bench_local(|| runtime.block_on(pacer.until(Instant::now() + Duration::from_micros(us))));
}
