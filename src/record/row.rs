//! The rows of a run: one a case, one a case and block, one a sample of the server's metrics. `docs/FORMAT.md` has these columns
//! from here.

use super::column::columns;
use super::errors::ErrorKinds;
use super::flag::Flags;
use super::utc::Utc;
use crate::matrix::{Arrival, Describer, Point};
use crate::mlperf::{Compliance, TestScenario, Validity};
use crate::spelling::spelled;
use crate::tensor::Tensors;

spelled! {
    /// How a case ended.
    #[derive(Default)]
    pub enum Status {
        /// Every request that was sent was answered.
        Ok = "ok",
        /// Measured to the end, but some requests failed.
        Errors = "errors",
        /// Could not be measured to the end.
        Failed = "failed",
        /// Not measured on purpose: a lower load broke the bound of the sweep.
        Skipped = "skipped",
        /// The user stopped the run while it was measured.
        Interrupted = "interrupted",
        /// Not begun.
        #[default]
        NotRun = "not_run",
    }
}

columns! {
    /// One case. Latencies are in milliseconds to the answer's last byte: in a closed loop from the request's start, in an
    /// open one (with a rate) from the instant at which it was due.
    pub struct Record {
        /// The scenario's name.
        pub scenario: String,
        /// The model that was asked.
        pub model: String,
        /// What the server calls itself.
        pub server: String,
        /// Its version.
        pub server_version: String,
        /// What the server's model configuration says of the weights: the published file's hash, or `stand-in: ..`; empty if
        /// it says nothing.
        pub weights: String,
        pub case: Point,
        /// Who describes inputs and outputs: the scenario, or the server's metadata, whose inputs are zeros.
        pub described_by: Describer = Describer::Scenario,
        /// How requests were to arrive: `constant`, `poisson`, `gamma`, `on_off`, `stages` or `file`; empty in a closed loop.
        pub arrival: Option<Arrival>,
        /// Its numbers in words, such as `shape 0.5` or `1 s on, 4 s off`; empty if there are none.
        pub arrival_detail: String = String::new(),
        /// `ok`; `errors`: some requests failed; `failed`: a worker could not go on; `skipped`: a lower load broke a bound
        /// (`sweep_until`); `interrupted`: stopped by Ctrl-C; `not_run`.
        pub status: Status,
        /// Why the status is not `ok`, mostly in the server's words: the first error, and of several kinds the first of each;
        /// empty otherwise.
        pub reason: String,
        /// What makes the row doubtful (with `--strict`, a failure): see below.
        pub flags: Flags = Flags::default(),
        /// Requests asked for, over all processes; empty where time alone ended the case.
        pub requests_planned: Option<u64>,
        /// Requests answered.
        pub requests: u64,
        /// Requests without a good answer.
        pub errors: u64,
        /// Errors by kind, such as `timeout=2 server=1`: `connect`, `timeout`, `transport`, `server`, `unavailable` (HTTP 429,
        /// 502 to 504, gRPC UNAVAILABLE), `unsupported`, `answer` (names, types, shapes or sizes are wrong), `value` (the content is not the expected one).
        pub error_kinds: ErrorKinds,
        /// Seconds that requests without a good answer took, all together: they are in no latency.
        pub errors_s: Option<f64>,
        /// Requests without a good answer while processes connected, had an answer checked and warmed up; not among `errors`.
        pub errors_preparing: Option<u64>,
        /// Requests that have a row in `requests.csv`: all of them, answered or not, unless a process sent more than 1 048 576 in a
        /// block; empty without `--requests`.
        pub requests_logged: Option<u64>,
        /// Of the answers, those whose names, types, shapes and sizes equal the verified one's byte for byte.
        pub answers_compared: Option<u64>,
        /// Of the answers, those that differ from the verified one or vary in size, which were read and checked once the clock
        /// was stopped.
        pub answers_read: Option<u64>,
        /// Of the answers, those whose content was compared with the expected one as well (`expect`).
        pub answers_verified: Option<u64>,
        /// Different requests that each process had to send: in a block each once before any again.
        pub distinct_requests: Option<u64>,
        /// How tensors travelled: `binary`; `json` where the server takes no binary tensors over HTTP.
        pub tensors: Option<Tensors>,
        /// Mean latency; in an open loop, of response times.
        pub mean_ms: Option<f64>,
        /// Standard deviation of the latency.
        pub stddev_ms: Option<f64>,
        /// Smallest latency.
        pub min_ms: Option<f64>,
        /// Median latency.
        pub p50_ms: Option<f64>,
        /// 90th percentile of the latency.
        pub p90_ms: Option<f64>,
        /// 95th percentile of the latency.
        pub p95_ms: Option<f64>,
        /// 99th percentile of the latency.
        pub p99_ms: Option<f64>,
        /// 99.9th percentile of the latency; empty in files of earlier versions.
        pub p99_9_ms: Option<f64>,
        /// Largest latency.
        pub max_ms: Option<f64>,
        /// Independent requests that the answered ones are worth.
        pub effective_requests: Option<f64>,
        /// Lower end of the mean's 95 % interval, by its blocks.
        pub mean_low_ms: Option<f64>,
        /// Upper end of it.
        pub mean_high_ms: Option<f64>,
        /// Lower end of the median's 95 % interval, by order statistics of the independent requests.
        pub p50_low_ms: Option<f64>,
        /// Upper end of it.
        pub p50_high_ms: Option<f64>,
        /// Lower end of the 95th percentile's interval.
        pub p95_low_ms: Option<f64>,
        /// Upper end of it.
        pub p95_high_ms: Option<f64>,
        /// Lower end of the 99th percentile's interval.
        pub p99_low_ms: Option<f64>,
        /// Upper end of it.
        pub p99_high_ms: Option<f64>,
        /// Lower end of the 99.9th percentile's interval.
        pub p99_9_low_ms: Option<f64>,
        /// Upper end of it.
        pub p99_9_high_ms: Option<f64>,
        /// Mean service time: from the request's actual start; empty in a closed loop, where it is the latency.
        pub service_mean_ms: Option<f64>,
        /// Median service time.
        pub service_p50_ms: Option<f64>,
        /// 95th percentile of the service time.
        pub service_p95_ms: Option<f64>,
        /// 99th percentile of the service time.
        pub service_p99_ms: Option<f64>,
        /// Largest service time.
        pub service_max_ms: Option<f64>,
        /// Mean lateness: from the instant a request was due to its actual start; empty in a closed loop.
        pub lateness_mean_ms: Option<f64>,
        /// Median lateness.
        pub lateness_p50_ms: Option<f64>,
        /// 99th percentile of the lateness.
        pub lateness_p99_ms: Option<f64>,
        /// Largest lateness.
        pub lateness_max_ms: Option<f64>,
        /// Requests that started late because `concurrency` were in flight; empty in a closed loop. Of a search for a capacity, those at
        /// loads up to it.
        pub held_back: Option<u64>,
        /// Mean of what the client took until a request's last byte was handed to the system; empty where requests share a
        /// connection.
        pub send_mean_ms: Option<f64>,
        /// Mean of what it waited before the answer's head: for the system to take more, and for the network, the server's
        /// front end, its queue and the model.
        pub wait_mean_ms: Option<f64>,
        /// Mean from there to the answer's last byte.
        pub receive_mean_ms: Option<f64>,
        /// The client's part of the mean time from a request's start. The parts add up to it; they are empty where the server
        /// has no statistics.
        pub client_ms: Option<f64>,
        /// The part of the network and the server's front end, which is what remains.
        pub network_ms: Option<f64>,
        /// The part that requests waited in the server's queue, by its statistics over the blocks of this case.
        pub queue_ms: Option<f64>,
        /// The part that the model's inputs took, by the same.
        pub compute_input_ms: Option<f64>,
        /// The part that the model took.
        pub compute_infer_ms: Option<f64>,
        /// The part that its outputs took.
        pub compute_output_ms: Option<f64>,
        /// Items in an execution of the model, on average: more than the batch size where the server joined requests.
        pub avg_batch: Option<f64>,
        /// Requests that the server counted over the blocks of this case.
        pub server_requests: Option<u64>,
        /// Those of them that its response cache answered.
        pub server_cache_hits: Option<u64>,
        /// Throughput in items: a request of batch 8 is 8 inferences.
        pub inferences_per_s: Option<f64>,
        /// Throughput in requests, over the time of the blocks.
        pub requests_per_s: Option<f64>,
        /// Requests a second that the client reaches where a server answers at once (`--calibrate`), both on this machine.
        pub client_ceiling_per_s: Option<f64>,
        /// The clients' CPU time (user and system) a request; in an open loop the last 120 us of every wait are spent awake, and
        /// count.
        pub client_cpu_ms: Option<f64>,
        /// CPU time in user mode of all client processes over the case; empty where the system does not tell.
        pub client_user_s: Option<f64>,
        /// CPU time in the kernel, likewise.
        pub client_system_s: Option<f64>,
        /// Context switches of all client processes over the case because they waited.
        pub context_switches_voluntary: Option<u64>,
        /// Context switches because they were taken off a core.
        pub context_switches_involuntary: Option<u64>,
        /// Bytes sent on the connections, headers and framing included.
        pub bytes_sent: u64 = 0,
        /// Bytes received, likewise.
        pub bytes_received: u64 = 0,
        /// Connections made while requests were timed. After an error that happens before the next request begins; a connection
        /// that the server ends in order is made again within the next request, and what that takes is in its latency.
        pub reconnects: Option<u64>,
        /// How late a client process's timer was at worst: so long it did not run, whatever the server did.
        pub client_stall_ms: Option<f64>,
        /// Longest time between the starts of two client processes in a block; of several hosts uncertain by `clock_error_ms`.
        pub start_skew_ms: Option<f64>,
        /// Largest error with which times of two hosts are compared, which bounds what a throughput over both means; empty where this
        /// machine sent all requests.
        pub clock_error_ms: Option<f64>,
        /// The time within which an answer is good (`goodput_ms` of `[load]`), in an open loop from the instant it was due; empty
        /// where none is given.
        pub goodput_ms: Option<f64>,
        /// Good answers over all requests, failed ones included, from 0 to 1.
        pub goodput_share: Option<f64>,
        /// Good answers a second, over the time of the blocks.
        pub goodput_per_s: Option<f64>,
        /// The bounds of the capacity, such as `p99_ms <= 50`; empty where no capacity was searched. Where it was, requests and
        /// errors are those of all loads that were tried (`blocks.csv`), and latencies are empty.
        pub capacity_bound: String = String::new(),
        /// Highest rate at which the bounds are kept, in requests a second; over `concurrency` the throughput there.
        pub capacity_per_s: Option<f64>,
        /// Lower end of its 95 % interval; alone if even the highest load that may be tried surely keeps the bounds. Over `concurrency` the
        /// ends are those of the throughput with as many requests in flight as may be the most.
        pub capacity_low_per_s: Option<f64>,
        /// Upper end of it; alone if even the lowest load surely breaks a bound.
        pub capacity_high_per_s: Option<f64>,
        /// Most requests in flight in one process at which the bounds are kept, if those were searched.
        pub capacity_concurrency: Option<u32>,
        /// MLPerf's scenario, whose rules the load follows; empty without `[mlperf]`. No such row is a submission.
        pub mlperf: Option<TestScenario>,
        /// Whether the result counts by the rules of MLPerf's LoadGen.
        pub mlperf_result: Option<Validity>,
        /// Why it does not, or a compliance test failed; empty otherwise.
        pub mlperf_reason: String = String::new(),
        /// MLPerf's metric: of `single-stream` and `multi-stream` the 90th and the 99th percentile of latency, estimated by early stopping,
        /// in milliseconds, to three significant digits as all percentiles, and rounded up; of `server` and `offline` samples a second.
        pub mlperf_metric: Option<f64>,
        /// The longest that a request of `server` may take, in milliseconds.
        pub mlperf_latency_ms: Option<f64>,
        /// Requests of `server` that took longer, or were too close to it for the histogram to tell.
        pub mlperf_over: Option<u64>,
        /// How many may by early stopping, with 99 % confidence. The percentile of the streams is the latency of that many-th request from
        /// above.
        pub mlperf_over_allowed: Option<u64>,
        /// TEST01 (`--mlperf-check`): whether answers while measuring equal those of a pass over all distinct requests before it.
        pub mlperf_test01: Option<Compliance>,
        /// TEST04, in the row of one distinct request: whether it is faster than different ones by more than the rules allow.
        pub mlperf_test04: Option<Compliance>,
        /// Blocks measured.
        pub blocks: u32,
        /// Requests of one process before anything was measured; more where a time or steadiness is asked for too, and fewer where a
        /// longest time ended them.
        pub warmup: u64,
        /// Seconds of requests of one process before anything was measured; fewer where a longest time ended them (`warmed_up_s`). Empty if none were asked for.
        pub warmup_s: Option<f64>,
        /// Within how many percent of each other mean latencies had to stay before anything was measured; empty if that was not asked for.
        pub warmup_until_percent: Option<f64>,
        /// How long processes warmed up before the first block: the longest of them.
        pub warmed_up_s: Option<f64>,
        /// How often the model was unloaded and loaded again before (`cold_starts.csv`); empty if that was not asked for, or measured in
        /// a case that starts alike. The following are medians over these cold starts.
        pub cold_starts: Option<u32>,
        /// From asking the server to load the model until it was ready.
        pub cold_load_ms: Option<f64>,
        /// What the first request after that took, its connection included; of one that failed, its last attempt.
        pub cold_first_ms: Option<f64>,
        /// The time of the requests, one after the other, until latencies were steady.
        pub cold_steady_after_ms: Option<f64>,
        /// What these took beyond the steady mean, all together.
        pub cold_beyond_ms: Option<f64>,
        /// Whether measuring time was limited by `--quick`.
        pub quick: bool,
        /// When the first block began, in UTC.
        pub started: Utc,
        /// When the last block ended.
        pub ended: Utc,
        /// The version of this program.
        pub runner_version: String,
        /// Its commit, with `+changes` if its sources differed from it.
        pub git_revision: String,
    }
}

columns! {
    /// One block of a case.
    pub struct BlockRecord {
        /// The scenario's name.
        pub scenario: String,
        pub case: Point,
        /// Number of the round, from 0.
        pub block: u32,
        /// Place of this case in the round, from 0.
        pub position: u32,
        /// Requests answered.
        pub requests: u64,
        /// Requests without a good answer.
        pub errors: u64,
        /// Mean latency; in an open loop, of response times.
        pub mean_ms: Option<f64>,
        /// Standard deviation of the latency.
        pub stddev_ms: Option<f64>,
        /// Smallest latency.
        pub min_ms: Option<f64>,
        /// Median latency.
        pub p50_ms: Option<f64>,
        /// 95th percentile of the latency.
        pub p95_ms: Option<f64>,
        /// 99th percentile of the latency.
        pub p99_ms: Option<f64>,
        /// Largest latency.
        pub max_ms: Option<f64>,
        /// Requests that were held against the bounds of a capacity, those of the block's last three quarters; against those of a sweep and
        /// `goodput_ms`, all.
        pub bound_requests: Option<u64>,
        /// Those of them that broke each bound, such as `p99_ms=12`.
        pub bound_broken: ErrorKinds = ErrorKinds::default(),
        /// From the first send to the last answer of any process; in an open loop, of the schedule.
        pub duration_s: f64,
        /// Throughput over that time.
        pub requests_per_s: Option<f64>,
        /// The clients' CPU time a request.
        pub client_cpu_ms: Option<f64>,
        /// When the block began, in UTC.
        pub started: Utc,
    }
}

columns! {
    /// One sample of one of the server's metrics.
    pub struct MetricRow {
        /// When it was read, in UTC.
        pub time: Utc,
        /// The tag of the case that was measured meanwhile.
        pub case: String,
        /// The metric's name.
        pub metric: String,
        /// Its labels, as the server writes them.
        pub labels: String,
        /// Its value.
        pub value: f64,
    }
}

impl Record {
    /// Whether anything makes it doubtful, or invalid by the rules that its load follows.
    pub fn is_doubtful(&self) -> bool {
        !self.flags.is_empty() || self.mlperf_result == Some(Validity::Invalid)
    }

    /// Whether a compliance test failed.
    pub fn fails_a_test(&self) -> bool {
        [self.mlperf_test01, self.mlperf_test04].contains(&Some(Compliance::Fail))
    }
}

impl BlockRecord {
    /// Whether it is one of a case's.
    pub fn is_of(&self, case: &Record) -> bool {
        self.case == case.case
    }
}
