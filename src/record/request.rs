//! The row of one request, and times that are exact to the nanosecond.

use super::column::{Cell, columns};

/// A time in nanoseconds, written in microseconds with three decimals, so that nothing is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub u64);

impl Cell for Micros {
    const KIND: &'static str = f64::KIND;

    fn text(&self) -> String {
        format!("{}.{:03}", self.0 / 1000, self.0 % 1000)
    }

    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.')?;
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let part = Some(part).filter(|part| part.len() == 3 && is_digits(part) && is_digits(whole))?;
        let whole: u64 = whole.parse().ok()?;
        whole.checked_mul(1000)?.checked_add(part.parse().ok()?).map(Micros)
    }
}

columns! {
    /// One request that was timed, answered or not.
    pub struct RequestRow {
        /// The tag of the case; in a search for a capacity without the load, which `blocks.csv` has of each block.
        pub case: String,
        /// Number of the round, from 0.
        pub block: u32,
        /// Index of the client process, from 0.
        pub process: u32,
        /// Number of the request in its block and process, from 0, in the order in which they began; one whose connection could
        /// not be made again before it has its place at the end of that attempt.
        pub request: u64,
        /// When it was due; empty in a closed loop. As all times here in microseconds from the instant at which all processes were
        /// to begin the block, by the monotonic clock of the process's machine. The latency is `done_us` less this, in a closed
        /// loop less `start_us`.
        pub due_us: Option<Micros>,
        /// When it began.
        pub start_us: Micros,
        /// When its last byte was handed to the system; empty if it never was, and where requests share a connection. After
        /// `head_us` if the server answered before it had read all.
        pub sent_us: Option<Micros>,
        /// When the answer's head was there; empty if it never was.
        pub head_us: Option<Micros>,
        /// When the answer's last byte was there, or the request had failed.
        pub done_us: Micros,
        /// `ok`, or the kind of error (`error_kinds` in `records.csv`).
        pub status: String,
        /// Bytes sent on its connection until it ended, headers and framing included; where requests share a connection, those of
        /// the request's body alone.
        pub bytes_sent: u64,
        /// Bytes received, likewise; where requests share a connection, those of the answer's body.
        pub bytes_received: u64,
        /// Number of its content among the distinct requests of a process, from 0; empty if its connection could not be made again
        /// before it.
        pub distinct: Option<u32>,
        /// Index of its connection in the process, from 0; one that is made again keeps it.
        pub connection: u32,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_exact(ns: u64) {
            prop_assert_eq!(Micros::parse(&Micros(ns).text()), Some(Micros(ns)));
        }

        #[test]
        fn any_text_is_a_time_or_none(text in "[0-9.+-]{0,30}") {
            if let Some(time) = Micros::parse(&text) {
                let written = time.text();
                prop_assert_eq!(written.trim_start_matches('0'), text.trim_start_matches('0'));
            }
        }
    }

    #[test]
    fn three_decimals_are_written_and_read() {
        assert_eq!(Micros(1_234_005).text(), "1234.005");
        assert_eq!(Micros(7).text(), "0.007");
        for wrong in ["", "1", "1.5", ".123", "-1.000", "1.0000", "+1.000", "18446744073709551615.999"] {
            assert_eq!(Micros::parse(wrong), None, "{wrong}");
        }
    }
}
