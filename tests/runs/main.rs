//! Runs against the embedded server, as a user starts them.

mod axes;
mod case;
mod ending;
mod load;
#[cfg(unix)]
mod output;
#[cfg(unix)]
mod request_rows;
mod requests;
#[cfg(unix)]
mod resume;
