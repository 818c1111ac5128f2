//! Runs against the embedded server, as a user starts them.

mod arrivals;
mod axes;
#[cfg(unix)]
mod capacity;
mod case;
mod ending;
mod load;
mod mlperf;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod request_rows;
mod requests;
#[cfg(unix)]
mod resume;
#[cfg(unix)]
mod sweeps;
#[cfg(unix)]
mod warmup;
