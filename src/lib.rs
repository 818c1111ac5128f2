//! The module map.

pub mod cli;
pub mod environment;
pub mod file;
pub mod models;
pub mod plan;
pub mod preflight;
pub mod proto;
pub mod protocol;
pub mod record;
pub mod recorder;
pub mod report;
pub mod run;
pub mod scenario;
pub mod tensor;
pub mod worker;
