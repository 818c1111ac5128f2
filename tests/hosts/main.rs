//! Runs whose requests come from several hosts. All of them are this machine: what would be ssh is a script that runs its line
//! here, hosts that connect do so over the loopback interface, and tasks get their variables from the test.
#![cfg(target_os = "linux")]

// a part of it is enough here
#[allow(dead_code)]
mod between;
// a part of it is enough here
#[allow(dead_code)]
#[path = "../runs/case.rs"]
mod case;
mod clocks;
mod connect;
mod data;
mod endings;
mod machines;
mod refused;
mod request_rows;
mod ship;
mod spread;
mod tasks;
