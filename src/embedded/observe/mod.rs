//! What the server tells of its work: statistics, and the log of requests.

pub mod request_log;
pub mod statistics;
