//! The module map.

pub mod models;
pub mod proto;
