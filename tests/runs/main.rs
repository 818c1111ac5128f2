//! Runs against the embedded server, as a user starts them.

mod arrivals;
mod axes;
mod case;
mod ending;
mod load;
#[cfg(unix)]
mod output;
mod requests;
#[cfg(unix)]
mod resume;
