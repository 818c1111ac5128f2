//! A declarative scenario runner for inference servers of the KServe v2 protocol.
//!
//! Data flows one way: a scenario file becomes a [`scenario::Scenario`], a [`plan::Plan`] of interleaved cases, jobs
//! for [`worker`] processes, their [`recorder::Recorder`]s, the rows of [`record`], and finally a [`report`].
//!
//! | module | owns | may use |
//! |---|---|---|
//! | [`cmd`] | commands and their help, a file each; only `main` uses it | embedded, hosts, matrix, models, process, report, run, scenario, spelling, threshold, worker |
//! | [`run`] | the composition root: load, plan, check, measure, write, report | address, capacity, embedded, environment, file, hosts, matrix, mlperf, models, plan, preflight, process, protocol, record, recorder, report, scenario, statistics, tensor, text, worker |
//! | [`scenario`] | the TOML format, its limits and its errors | address, capacity, lookalike, matrix, mlperf, spelling, tensor, threshold |
//! | [`matrix`] | the axes, the points that they make, and how those are said; pure | spelling |
//! | [`plan`] | which cases, in which order; pure | matrix, scenario |
//! | [`preflight`] | whether a scenario fits a model, and the scenario that a model makes; pure | matrix, protocol, scenario, tensor, text |
//! | [`protocol`] | HTTP and gRPC: the prepared request, the control plane, the check of an answer | address, proto, spelling, tensor, text |
//! | [`worker`] | the timed loop, and messages to the processes that run it | address, clock, hosts, matrix, process, protocol, recorder, scenario, tensor |
//! | [`hosts`] | other machines that send requests: streams to them, their clocks, what passes between | clock, environment, process, text |
//! | [`process`] | processes: of this same program, and others | text |
//! | [`embedded`] | the embedded server: the protocol, ONNX models, models of known behaviour | proto, tensor |
//! | [`statistics`] | effective sample sizes, intervals, ratios, verdicts; pure | nothing |
//! | [`mlperf`] | the rules of MLPerf Inference's LoadGen: load, validity, early stopping; pure | spelling |
//! | [`capacity`] | the highest rate within a bound, with an interval; pure | statistics |
//! | [`recorder`] | histogram, exact sums, error counts | nothing |
//! | [`record`] | the files of a run | environment, file, matrix, mlperf, recorder, spelling, tensor, threshold |
//! | [`report`] | verdicts, tables, README splice, terminal | capacity, file, matrix, mlperf, record, spelling, statistics, text, threshold; `notes.rs` also tensor; `terminal/plan.rs` also plan, scenario; `terminal/progress.rs` also plan, scenario; `terminal/screen.rs` also plan, scenario |
//! | [`environment`] | the machine that measures | process, text |
//! | [`models`] | model files: stand-ins and published weights | file, proto, scenario |
//! | [`tensor`] | data types, shapes, input bytes | spelling |
//! | [`spelling`] | words that files and options spell, each once; pure | nothing |
//! | [`file`](mod@file) | files that appear whole or not at all | nothing |
//! | [`threshold`] | thresholds of a case's numbers; pure | spelling |
//! | [`text`] | words from outside, made fit to be shown; pure | nothing |
//! | [`proto`] | generated messages, in text and JSON too | lookalike, text |
//! | [`address`] | where a server is; pure | nothing |
//! | [`clock`] | the clock that the processes of one machine share | nothing |
//! | [`lookalike`] | characters that look like those of a format | nothing |
//!
//! `tests/walls.rs` reads this table and enforces these walls.

pub mod address;
pub mod capacity;
pub mod clock;
pub mod cmd;
pub mod embedded;
pub mod environment;
pub mod file;
pub mod hosts;
pub mod lookalike;
pub mod matrix;
pub mod mlperf;
pub mod models;
pub mod plan;
pub mod preflight;
pub mod process;
pub mod proto;
pub mod protocol;
pub mod record;
pub mod recorder;
pub mod report;
pub mod run;
pub mod scenario;
pub mod spelling;
pub mod statistics;
pub mod tensor;
pub mod text;
pub mod threshold;
pub mod worker;
