//! The rows of parts of a case: what each host measured, each stage of its load, each cold start. `docs/FORMAT.md` has these columns
//! from here.

use super::column::columns;
use super::flag::Flags;
use crate::matrix::Point;

columns! {
    /// What one machine of several measured in a case.
    pub struct HostRecord {
        /// The scenario's name.
        pub scenario: String,
        pub case: Point,
        /// The host's name.
        pub host: String,
        /// Its client processes.
        pub host_processes: u32,
        /// What makes the host's part doubtful: `clock`, `start_skew`, `host_outlier`, `client_cpu`, `client_stall`, `client_ceiling`.
        pub flags: Flags,
        /// Requests answered.
        pub requests: u64,
        /// Requests without a good answer.
        pub errors: u64,
        /// Mean latency; in an open loop, of response times.
        pub mean_ms: Option<f64>,
        /// Median latency.
        pub p50_ms: Option<f64>,
        /// 95th percentile of the latency.
        pub p95_ms: Option<f64>,
        /// 99th percentile of the latency.
        pub p99_ms: Option<f64>,
        /// Largest latency.
        pub max_ms: Option<f64>,
        /// Its mean latency over the median of all hosts' means: geometric mean over the blocks; empty with fewer than two blocks.
        pub mean_ratio: Option<f64>,
        /// Lower end of that ratio's 95 % interval.
        pub mean_ratio_low: Option<f64>,
        /// Upper end of it.
        pub mean_ratio_high: Option<f64>,
        /// Throughput, over the time in which this host's answers count.
        pub requests_per_s: Option<f64>,
        /// What this host's processes reach together where a server answers at once (`--calibrate`).
        pub client_ceiling_per_s: Option<f64>,
        /// CPU time of its client processes a request.
        pub client_cpu_ms: Option<f64>,
        /// Longest time for which one of its client processes did not run.
        pub client_stall_ms: Option<f64>,
        /// 99th percentile of how late its requests were sent; empty in a closed loop.
        pub lateness_p99_ms: Option<f64>,
        /// Longest time from the first host's start of a block to this one's, by the leader's clock; uncertain by `clock_error_ms`.
        pub start_late_ms: Option<f64>,
        /// How far its clock was ahead of the leader's, in the last block; each host's own monotonic clock.
        pub clock_offset_ms: f64,
        /// The largest error of that: half of the shortest round trip, and what clocks may drift since.
        pub clock_error_ms: f64,
        /// By how much its clock moved against the leader's during a block, beyond all errors.
        pub clock_moved_ms: f64,
        /// Shortest round trip to it over the stream that its messages take.
        pub round_trip_ms: f64,
    }
}

columns! {
    /// What became of the requests that were due in one stage of a case's load, over all of its blocks.
    pub struct StageRecord {
        /// The scenario's name.
        pub scenario: String,
        pub case: Point,
        /// Its number among the stages that take time, from 0.
        pub stage: u32,
        /// Its name in the scenario; empty if it has none.
        pub stage_name: String = String::new(),
        /// When it begins, in seconds from a block's start.
        pub start_s: f64,
        /// How long it takes.
        pub duration_s: f64,
        /// Requests a second at its start, all processes together.
        pub rate_from: f64,
        /// Requests a second at its end.
        pub rate_to: f64,
        /// Requests answered.
        pub requests: u64,
        /// Requests without a good answer.
        pub errors: u64,
        /// Answered requests that were due in a second of it. Of a block that ended before its time, those that were left out are missing.
        pub requests_per_s: Option<f64>,
        /// Mean response time, from the instant at which a request was due.
        pub mean_ms: Option<f64>,
        /// Median of response times.
        pub p50_ms: Option<f64>,
        /// 95th percentile of them.
        pub p95_ms: Option<f64>,
        /// 99th percentile of them.
        pub p99_ms: Option<f64>,
        /// Largest of them.
        pub max_ms: Option<f64>,
    }
}

columns! {
    /// One cold start of a case: its model was unloaded, loaded again, and asked one request after the other until latencies were steady.
    pub struct ColdStartRecord {
        /// The scenario's name.
        pub scenario: String,
        pub case: Point,
        /// Its number, from 0.
        pub cold_start: u32,
        /// From asking the server to load the model until it was ready.
        pub load_ms: f64,
        /// What the first request after that took, its connection included; of one that failed, its last attempt.
        pub first_ms: f64,
        /// Requests without a good answer, failed attempts of the first one included.
        pub errors: u64 = 0,
        /// The time of the requests until latencies were steady, the first included; as exact as a quarter of a second or ten requests.
        /// Empty if they were not steady within a minute.
        pub steady_after_ms: Option<f64>,
        /// The requests until then.
        pub steady_after_requests: Option<u64>,
        /// What these took beyond the steady mean, all together.
        pub beyond_ms: Option<f64>,
        /// The mean latency from then on.
        pub steady_mean_ms: Option<f64>,
    }
}
