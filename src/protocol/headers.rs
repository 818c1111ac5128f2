//! The headers of every request to an address, from wherever their values are. Must not know what they mean.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::address::{Address, HeaderSource};
use crate::protocol::{Fault, FaultKind};

/// Where requests go: an address, and the headers of every request to it.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The address.
    pub address: Address,
    /// The headers, with their values.
    pub headers: HeaderMap,
}

impl Destination {
    /// Looks the headers' values up.
    ///
    /// # Errors
    /// See [`of`].
    pub fn new(address: &Address) -> Result<Self, Fault> {
        Ok(Destination { address: address.clone(), headers: of(address)? })
    }
}

/// The headers of an address, with their values. Values are marked as sensitive, so that nothing prints them.
///
/// # Errors
/// An environment variable is not set, a file cannot be read, or what is there cannot be a header's value: which one.
pub fn of(address: &Address) -> Result<HeaderMap, Fault> {
    let mut headers = HeaderMap::new();
    for (name, source) in &address.headers {
        let failed = |words: String| Fault::new(FaultKind::Connect, format!("the header {name}: {words}"));
        let (value, place) = match source {
            HeaderSource::Text(text) => (text.clone(), "its value".to_owned()),
            HeaderSource::Env { name, prefix } => {
                let place = format!("the environment variable {name}");
                let value = std::env::var(name).map_err(|_| failed(format!("{place} is not set, or not text")))?;
                (format!("{prefix}{}", value.trim()), place)
            }
            HeaderSource::File { path, prefix } => {
                let place = path.display().to_string();
                let value = std::fs::read_to_string(path).map_err(|error| failed(format!("{place}: {error}")))?;
                (format!("{prefix}{}", value.trim()), place)
            }
        };
        // what is wrong with a secret must not show it
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| failed(format!("{place} has characters that no header may have")))?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| failed(error.to_string()))?;
        headers.append(name, value);
    }
    Ok(headers)
}
