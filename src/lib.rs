//! A declarative scenario runner for inference servers of the KServe v2 protocol.
//!
//! Data flows one way: a scenario file becomes a [`scenario::Scenario`], a [`plan::Plan`] of interleaved cases, orders
//! to [`worker`] processes, their [`recorder::Recorder`]s, the rows of [`record`], and at last a [`report`].
//!
//! | module | owns | may use |
//! |---|---|---|
//! | [`cli`] | commands and their help; only `main` uses it | embedded, report, run, scenario |
//! | [`run`] | the composition root: load, plan, check, measure, write, report | everything but cli |
//! | [`scenario`] | the TOML format, its limits and its errors | lookalike, tensor |
//! | [`plan`] | which cases, in which order; pure | scenario |
//! | [`preflight`] | whether a scenario fits a model; pure | scenario, protocol |
//! | [`protocol`] | HTTP and gRPC: the prepared request, the control plane, the check of an answer | proto, tensor, text |
//! | [`worker`] | the timed loop, and messages to the processes that run it | process, protocol, recorder, scenario, tensor |
//! | [`process`] | processes of this same program | text |
//! | [`embedded`] | the embedded server: the protocol, ONNX models, models of known behaviour | proto, tensor |
//! | [`statistics`] | effective sample sizes, intervals, ratios, verdicts; pure | nothing |
//! | [`recorder`] | histogram, exact sums, error counts | nothing |
//! | [`record`] | the files of a run | recorder, plan, scenario, environment, file, tensor |
//! | [`report`] | verdicts, tables, README splice, terminal | record, file, statistics, text; its terminal also plan and scenario |
//! | [`environment`] | the machine that measures | text |
//! | [`models`] | model files: stand-ins and published weights | scenario, file, proto |
//! | [`tensor`] | data types, shapes, input bytes | nothing |
//! | [`file`](mod@file) | files that appear whole or not at all | nothing |
//! | [`text`] | words from outside, made fit to be shown; pure | nothing |
//! | [`proto`] | generated messages, in text and JSON too | lookalike, text |
//! | [`lookalike`] | characters that look like those of a format | nothing |
//!
//! `tests/arrows.rs` keeps these walls.

pub mod cli;
pub mod embedded;
pub mod environment;
pub mod file;
pub mod lookalike;
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
pub mod statistics;
pub mod tensor;
pub mod text;
pub mod worker;
