//! The server's reports of its work: statistics and the request log.

pub mod request_log;
pub mod statistics;
