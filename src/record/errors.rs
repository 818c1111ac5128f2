//! How many requests failed, and how.

use std::collections::BTreeMap;
use std::fmt;

use super::column::Cell;

/// Failed requests by kind, in the order of the kinds' names. Shown as `server=1 timeout=2`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorKinds(BTreeMap<String, u64>);

impl ErrorKinds {
    /// From the counts of a recorder.
    pub fn new(counts: &BTreeMap<String, u64>) -> Self {
        ErrorKinds(counts.clone())
    }

    /// Failed requests of one kind.
    pub fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    /// Whether no request failed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for ErrorKinds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|(kind, count)| format!("{kind}={count}"));
        formatter.write_str(&counts.collect::<Vec<_>>().join(" "))
    }
}

impl Cell for ErrorKinds {
    const KIND: &'static str = "counts";

    fn text(&self) -> String {
        self.to_string()
    }

    fn parse(text: &str) -> Option<Self> {
        let count = |word: &str| {
            let (kind, count) = word.split_once('=')?;
            Some((kind.to_owned(), count.parse().ok()?))
        };
        text.split_whitespace().map(count).collect::<Option<_>>().map(ErrorKinds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_counted_apart() {
        let kinds = ErrorKinds::parse("timeout=2 server=1").unwrap();
        assert_eq!((kinds.of("timeout"), kinds.of("server"), kinds.of("connect")), (2, 1, 0));
        assert_eq!(kinds.text(), "server=1 timeout=2");
        assert!(ErrorKinds::parse("").unwrap().is_empty());
        assert_eq!((ErrorKinds::parse("timeout"), ErrorKinds::parse("timeout=x")), (None, None));
    }
}
