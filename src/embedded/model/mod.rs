//! The model repository and the configurations in it.

pub mod config;
pub mod repository;
