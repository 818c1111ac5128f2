//! What fails while a run is measured, and what its rows then say. docs/FAULTS.md has what happened here, and is held equal to it.

mod answers;
// a part of it is enough here
#[cfg(target_os = "linux")]
#[allow(dead_code)]
#[path = "../hosts/between.rs"]
mod between;
// a part of it is enough here
#[cfg(target_os = "linux")]
#[allow(dead_code)]
#[path = "../runs/case.rs"]
mod case;
mod connections;
mod limits;
mod reaching;
mod run;
// a part of it is enough here
#[allow(dead_code)]
#[path = "../answers/server.rs"]
mod server;
mod table;

#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod hosts;
// a part of it is enough here
#[cfg(target_os = "linux")]
#[allow(dead_code)]
#[path = "../hosts/machines.rs"]
mod machines;
#[cfg(target_os = "linux")]
mod workers;
