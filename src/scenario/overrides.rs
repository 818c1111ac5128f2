//! What the command line may change of a scenario, under the same limits as in the file.

use std::fmt::Display;
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::without_secrets;
use super::validate::{BATCH_SIZES, ITERATIONS, PROCESSES, REQUEST_BYTES_MAX, WARMUP, check_address};
use super::{Protocol, Scenario};

/// `--quick`: the measuring time of a case.
const QUICK_CAP: Duration = Duration::from_secs(3);
/// `--quick`: blocks of a case; each costs at least one request.
const QUICK_BLOCKS: u32 = 5;

/// Changes from the command line; `None` and empty leave the scenario as it is.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Overrides {
    pub iterations: Option<u64>,
    pub warmup: Option<u64>,
    pub batch_sizes: Vec<u32>,
    pub processes: Vec<u32>,
    pub protocols: Vec<Protocol>,
    /// Host of both protocols on Triton's default ports.
    pub server: Option<String>,
    pub http: Option<String>,
    pub grpc: Option<String>,
    pub quick: bool,
}

impl Scenario {
    /// The scenario with the changes, which it remembers in `overridden`.
    ///
    /// # Errors
    /// A value beyond the format's limits, or one that leaves nothing to measure: one line with option, value, remedy.
    pub fn overridden_by(mut self, overrides: &Overrides) -> Result<Self, String> {
        if let Some(iterations) = overrides.iterations {
            self.load.iterations = self.checked("--iterations", iterations, ITERATIONS)?;
        }
        if let Some(warmup) = overrides.warmup {
            self.load.warmup = self.checked("--warmup", warmup, WARMUP)?;
        }
        if !overrides.batch_sizes.is_empty() {
            if !self.model.batching && overrides.batch_sizes != [1] {
                let given = listed(&overrides.batch_sizes);
                return Err(format!(
                    "--batch-sizes {given}: the scenario says `batching = false`: leave the option out"
                ));
            }
            self.matrix.batch_sizes = self.checked_axis("--batch-sizes", &overrides.batch_sizes, BATCH_SIZES)?;
        }
        if !overrides.processes.is_empty() {
            self.matrix.processes = self.checked_axis("--processes", &overrides.processes, PROCESSES)?;
        }
        if !overrides.protocols.is_empty() {
            self.matrix.protocols = distinct("--protocols", &overrides.protocols)?;
            self.overridden.push(format!("--protocols {}", listed(&overrides.protocols)));
        }
        self.override_addresses(overrides)?;
        if overrides.quick {
            self.load.cap = Some(QUICK_CAP);
            self.load.blocks = self.load.blocks.min(QUICK_BLOCKS);
            self.overridden.push("--quick".to_owned());
        }
        if self.matrix.points().is_empty() {
            return Err(
                "the options leave only cases that [matrix] exclude leaves out: change one of the two".to_owned()
            );
        }
        let batch = self.matrix.batch_sizes.iter().copied().max().unwrap_or(1);
        if self.request_bytes(batch) > REQUEST_BYTES_MAX {
            return Err(format!("--batch-sizes {batch}: a request would be larger than 2 GiB: choose a smaller batch"));
        }
        Ok(self)
    }

    fn override_addresses(&mut self, overrides: &Overrides) -> Result<(), String> {
        let both = |port| {
            overrides.server.as_ref().map(|host| match host.parse::<Ipv6Addr>() {
                Ok(host) => format!("[{host}]:{port}"),
                Err(_) => format!("{host}:{port}"),
            })
        };
        let given = [
            ("--http", overrides.http.clone(), both(8000), &mut self.server.http),
            ("--grpc", overrides.grpc.clone(), both(8001), &mut self.server.grpc),
        ];
        for (option, own, of_server, address) in given {
            let (option, value) = match (own, of_server) {
                (Some(value), _) => (option, value),
                (None, Some(value)) => ("--server", value),
                (None, None) => continue,
            };
            check_address(&value).map_err(|help| match (option, &overrides.server) {
                ("--server", Some(host)) => {
                    let shown = without_secrets(host);
                    format!("--server {shown}: expected a host name without scheme, port and path, such as gpu-box")
                }
                _ => format!("{option} {}: expected host:port: {help}", without_secrets(&value)),
            })?;
            *address = value;
        }
        Ok(())
    }

    fn checked(&mut self, option: &str, value: u64, range: RangeInclusive<i64>) -> Result<u64, String> {
        if !i64::try_from(value).is_ok_and(|value| range.contains(&value)) {
            return Err(format!(
                "{option} {value}: expected a whole number from {} to {}: choose one of these",
                range.start(),
                range.end()
            ));
        }
        self.overridden.push(format!("{option} {value}"));
        Ok(value)
    }

    fn checked_axis(&mut self, option: &str, values: &[u32], range: RangeInclusive<i64>) -> Result<Vec<u32>, String> {
        if let Some(value) = values.iter().find(|value| !range.contains(&i64::from(**value))) {
            return Err(format!(
                "{option} {value}: expected whole numbers from {} to {}: choose one of these",
                range.start(),
                range.end()
            ));
        }
        self.overridden.push(format!("{option} {}", listed(values)));
        distinct(option, values)
    }
}

/// Values as an option takes them: `1,4,8`.
fn listed<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

fn distinct<T: Copy + PartialEq + Display>(option: &str, values: &[T]) -> Result<Vec<T>, String> {
    match values.iter().enumerate().find(|(index, value)| values[..*index].contains(value)) {
        Some((_, value)) => Err(format!("{option}: {value} is listed twice: remove the repetition")),
        None => Ok(values.to_vec()),
    }
}
