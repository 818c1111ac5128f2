//! The command line's changes to a scenario, under the same limits as in the file.

use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::capacity::{Capacity, Over};
use super::error::without_secrets;
use super::hosts::refused;
use super::validate::{DURATION_S, ITERATIONS, WARMUP, precision};
use super::{Assert, EMBEDDED, GRPC_PORT, HTTP_PORT, METRICS_PORT, Model, ModelTarget, Scenario, Server};
use crate::address::{Address, Tls, unsupported};
use crate::capacity::bounds;
use crate::matrix::{Arm, AxisId, CASES_MAX, Limit, Selection, Value, range};
use crate::threshold::Threshold;

/// Why a number of requests in flight is not taken for a limit of them.
const IN_FLIGHT: &str = "the scenario's concurrency says how many requests are in flight, not how many at most: give --concurrency \
                         too, such as --concurrency 64";
/// `--quick`: the longest time of a case, its preparation included.
const QUICK_CAP: Duration = Duration::from_secs(3);
/// `--quick`: most blocks of a case. Each costs at least one request; with fewer, cases could not be told apart.
const QUICK_BLOCKS: u32 = 10;

/// Changes from the command line; `None` and empty leave the scenario as it is.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Overrides {
    pub iterations: Option<u64>,
    pub duration_s: Option<f64>,
    /// Values of axes, as given there.
    pub axes: Vec<(AxisId, Vec<String>)>,
    pub warmup: Option<u64>,
    /// Host of both protocols on Triton's default ports.
    pub server: Option<String>,
    pub http: Option<String>,
    pub grpc: Option<String>,
    pub metrics: Option<String>,
    /// Longest measuring time of a case, in seconds.
    pub max_seconds: Option<f64>,
    /// How precise each compared ratio is to be, such as `2%`.
    pub precision: Option<String>,
    /// Thresholds of all cases, beside those of the scenario.
    pub asserts: Vec<Threshold>,
    /// The axis to compare, by its key.
    pub compare: Option<String>,
    /// The bounds within which the capacity is searched, such as `p99<50ms`.
    pub capacity: Option<String>,
    pub quick: bool,
    pub aa: bool,
    /// Whether MLPerf's compliance tests are made.
    pub mlperf_check: bool,
    /// The machines that send requests.
    pub hosts: Vec<String>,
}

impl Scenario {
    /// Applies the changes, and records them in `overridden`.
    ///
    /// # Errors
    /// A value beyond the format's limits, or one that leaves nothing to measure: one line with option, value, remedy.
    pub fn overridden_by(mut self, overrides: &Overrides) -> Result<Self, String> {
        if let Some(rules) = &self.mlperf {
            rules.allow(overrides)?;
        }
        self.keeps_its_length(overrides)?;
        if let Some(iterations) = overrides.iterations {
            self.load.stop.requests = self.checked("--iterations", iterations, ITERATIONS)?;
        }
        if let Some(warmup) = overrides.warmup {
            self.load.warmup.requests = self.checked("--warmup", warmup, WARMUP)?;
        }
        self.override_capacity(overrides)?;
        self.override_axes(overrides)?;
        self.override_load(overrides)?;
        self = self.with_rules();
        self.override_addresses(overrides)?;
        self.override_hosts(&overrides.hosts)?;
        for that in &overrides.asserts {
            self.asserts.push(Assert { that: *that, cases: Selection::new() });
            self.overridden.push(format!("--assert \"{that}\""));
        }
        if overrides.quick {
            let cap = self.load.stop.most.map_or(QUICK_CAP, |cap| cap.min(QUICK_CAP));
            self.load.stop.most = Some(cap);
            self.load.quick = true;
            // there is no time to wait for that
            self.load.warmup.steady = None;
            self.load.cold_starts = self.load.cold_starts.min(1);
            // a fast model uses all of its time; a number of requests on the command line is the only goal
            if overrides.iterations.is_none() {
                self.load.stop.requests = 0;
                self.load.stop.least = Some(self.load.stop.least.map_or(cap, |duration| duration.min(cap)));
            }
            self.load.blocks = self.load.blocks.min(QUICK_BLOCKS);
            self.overridden.push("--quick".to_owned());
        }
        self.limit_search();
        if overrides.aa {
            self.matrix.set(AxisId::Arm, Arm::WORDS.iter().map(|word| Value::Word(word)).collect());
            self.overridden.push("--aa".to_owned());
        }
        if overrides.mlperf_check {
            self.compare_repeats()?;
            self.overridden.push("--mlperf-check".to_owned());
        }
        let all = self.matrix.all_cases();
        if all > CASES_MAX {
            return Err(format!("the options give {all} cases, expected at most {CASES_MAX}: shorten their lists"));
        }
        if self.matrix.points().next().is_none() {
            return Err(
                "the options leave only cases that [matrix] exclude leaves out: change one of the two".to_owned()
            );
        }
        if let Some((_, problem, help)) = self.matrix.impossible() {
            return Err(format!("with the options of the command line {problem}: {help}"));
        }
        self.check_requests()
            .and(self.check_bounds().map_err(|(_, problem, help)| format!("{problem}: {help}")))
            .map_err(|words| format!("with the options of the command line {words}"))?;
        Ok(self)
    }

    /// Has the capacity searched, or within other bounds.
    fn override_capacity(&mut self, overrides: &Overrides) -> Result<(), String> {
        if let Some(text) = &overrides.capacity {
            let wrong = |(expected, help)| format!("--capacity {}: expected {expected}: {help}", text.escape_debug());
            let bounds = bounds(text).map_err(wrong)?;
            if self.mlperf.is_some() {
                return Err("--capacity: the scenario follows MLPerf's rules, which search for nothing: leave it out"
                    .to_owned());
            }
            if let Some(key) = self.load.arrival.key_of_length() {
                return Err(format!(
                    "--capacity: `{key}` in [load] says how many requests arrive, and when: leave one of the two out"
                ));
            }
            if self.capacity.is_none() && self.is_without_limit(overrides) {
                return Err(format!("--capacity: {IN_FLIGHT}"));
            }
            let capacity = match self.capacity.take() {
                Some(known) => Capacity { bounds, ..known },
                None => Capacity::within(bounds, Over::Rate),
            };
            self.search(capacity);
            self.overridden.push(format!("--capacity \"{text}\""));
        }
        let Some(capacity) = &self.capacity else { return Ok(()) };
        let searched = capacity.over.axis();
        if overrides.axes.iter().any(|(id, _)| *id == searched) {
            let help = "leave the option out, or measure at given loads without a search";
            return Err(format!("{}: it is what the search for the capacity finds: {help}", searched.setting("")));
        }
        let ends = [("--iterations", overrides.iterations.is_some()), ("--duration", overrides.duration_s.is_some())];
        match ends.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(format!(
                "{option}: a search for the capacity ends by itself, at the latest after --max-seconds: leave it out"
            )),
            None => Ok(()),
        }
    }

    /// Checks that no option changes the rate or the length of what is as long as the scenario says.
    fn keeps_its_length(&self, overrides: &Overrides) -> Result<(), String> {
        let Some(key) = self.load.arrival.key_of_length() else { return Ok(()) };
        let rate = overrides.axes.iter().find(|(id, _)| *id == AxisId::Rate);
        let given = rate
            .map(|(id, texts)| id.setting(&texts.join(",")))
            .or(overrides.iterations.map(|iterations| format!("--iterations {iterations}")))
            .or(overrides.duration_s.map(|seconds| format!("--duration {seconds}")));
        match given {
            Some(option) => Err(format!(
                "{option}: `{key}` in [load] says how many requests arrive, and when: leave the option out, or that key"
            )),
            None => Ok(()),
        }
    }

    /// Whether the scenario's closed loop says how many requests are in flight, and no option says how many there may be at most.
    fn is_without_limit(&self, overrides: &Overrides) -> bool {
        let is_given = |id: AxisId| !self.matrix.given(id).is_empty();
        let has_option = overrides.axes.iter().any(|(id, _)| *id == AxisId::Concurrency);
        is_given(AxisId::Concurrency) && !is_given(AxisId::Rate) && !has_option
    }

    fn override_axes(&mut self, overrides: &Overrides) -> Result<(), String> {
        let gives = |id: AxisId| overrides.axes.iter().any(|(given, _)| *given == id);
        if gives(AxisId::Rate) && self.is_without_limit(overrides) {
            return Err(format!("--rate: {IN_FLIGHT}"));
        }
        for (id, texts) in &overrides.axes {
            let mut values: Vec<Value> = Vec::new();
            for text in texts {
                let (limit, remedy) = (id.axis().limit, id.axis().remedy);
                let read = match limit {
                    Limit::Whole(..) | Limit::Number(..) if range::is_range(text) => range::read(text, limit, remedy),
                    _ => limit.read(text, remedy).map(|value| vec![value]),
                };
                let read =
                    read.map_err(|(expected, help)| format!("{}: expected {expected}: {help}", id.setting(text)))?;
                if let Some(value) = read.iter().find(|value| values.contains(value)) {
                    return Err(format!(
                        "{}: {value} is listed twice: remove the repetition",
                        id.setting("").trim_end()
                    ));
                }
                values.extend(read);
            }
            let setting = id.setting(&texts.join(","));
            let unbatched = self
                .models
                .iter()
                .map(|(_, target)| &target.model)
                .chain([&self.model])
                .any(|it| !it.batching);
            if *id == AxisId::BatchSize && unbatched && values != [Value::Whole(1)] {
                return Err(format!("{setting}: the scenario says `batching = false`: leave the option out"));
            }
            self.names(*id, &values).map_err(|help| format!("{setting}: {help}"))?;
            self.matrix.set(*id, values);
            self.overridden.push(setting);
        }
        if let Some(name) = &overrides.compare {
            let id = AxisId::settable_named(&name.replace('-', "_"));
            let id = id.map_err(|(expected, help)| {
                format!("--compare {}: expected {expected}: {help}", name.escape_debug())
            })?;
            if self.matrix.values(id).len() < 2 {
                let several = id.setting("..");
                return Err(format!("--compare {name}: the axis has one value: give it several with {several}"));
            }
            self.matrix.compare(Some(id));
            self.overridden.push(format!("--compare {name}"));
        }
        Ok(())
    }

    /// Checks that an option's servers and models are known; a model without a table gets the scenario's tensors.
    ///
    /// # Errors
    /// The unknown name, and the remedy.
    fn names(&mut self, id: AxisId, values: &[Value]) -> Result<(), String> {
        for value in values {
            let Value::Name(name) = value else { continue };
            let known = match id {
                AxisId::Server => self.servers.iter().any(|(known, _)| known == name),
                _ => self.models.iter().any(|(known, _)| known == name),
            };
            match id {
                _ if known => {}
                AxisId::Server if &**name == EMBEDDED => self.servers.push((name.clone(), Server::embedded())),
                AxisId::Server => {
                    return Err(format!("the scenario has no [server.{name}]: add that table, or name \"{EMBEDDED}\""));
                }
                _ => {
                    let model = Model { name: name.to_string(), version: None, ..self.model.clone() };
                    let target = ModelTarget { model, inputs: self.inputs.clone(), outputs: self.outputs.clone() };
                    self.models.push((name.clone(), target));
                }
            }
        }
        Ok(())
    }

    fn override_load(&mut self, overrides: &Overrides) -> Result<(), String> {
        if let Some(seconds) = overrides.duration_s {
            self.load.stop.least = Some(Duration::from_secs_f64(within("--duration", seconds, &DURATION_S)?));
            // a limit on the command line replaces the file's
            self.load.stop.requests = overrides.iterations.unwrap_or(0);
            self.overridden.push(format!("--duration {seconds}"));
        } else if overrides.iterations.is_some() {
            self.load.stop.least = None;
        }
        if let Some(seconds) = overrides.max_seconds {
            let cap = Duration::from_secs_f64(within("--max-seconds", seconds, &DURATION_S)?);
            if self.load.stop.least.is_some_and(|duration| cap < duration) {
                return Err(format!(
                    "--max-seconds {seconds}: a case is to last longer than that: raise it, or lower --duration"
                ));
            }
            self.load.stop.most = Some(cap);
            self.overridden.push(format!("--max-seconds {seconds}"));
        }
        if let Some(text) = &overrides.precision {
            let wrong = |(expected, help)| format!("--precision {}: expected {expected}: {help}", text.escape_debug());
            let precision = precision(text).map_err(wrong)?;
            match self.capacity {
                Some(_) => self.load.precision = Some(precision),
                None => self.load.until_precise(precision, true),
            }
            self.overridden.push(format!("--precision {text}"));
        }
        Ok(())
    }

    fn override_hosts(&mut self, names: &[String]) -> Result<(), String> {
        if names.is_empty() {
            return Ok(());
        }
        let list = names.join(",");
        for (place, name) in names.iter().enumerate() {
            if let Some(help) = refused(name) {
                return Err(format!("--hosts {}: expected names of hosts: {help}", list.escape_debug()));
            }
            if names[..place].contains(name) {
                return Err(format!("--hosts {list}: {name} is listed twice: remove the repetition"));
            }
        }
        self.hosts.names = names.to_vec();
        self.overridden.push(format!("--hosts {list}"));
        Ok(())
    }

    fn override_addresses(&mut self, overrides: &Overrides) -> Result<(), String> {
        let options = [("--server", &overrides.server), ("--http", &overrides.http), ("--grpc", &overrides.grpc)];
        let elsewhere = options.iter().find(|(_, value)| value.is_some());
        if let (Some((option, _)), false) = (elsewhere, self.matrix.given(AxisId::Server).is_empty()) {
            return Err(format!(
                "{option}: the scenario names its servers: choose some of them by --set servers=NAME,.."
            ));
        }
        if let (Some((option, _)), false) = (elsewhere, self.matrix.given(AxisId::Tls).is_empty()) {
            return Err(format!("{option}: the scenario compares addresses with and without TLS: change them there"));
        }
        // how connections are encrypted stays, where they still are, and so does what goes with every request
        let known = [&self.server.http, &self.server.grpc]
            .into_iter()
            .find_map(|address| address.tls.clone());
        let with = (self.server.http.host_header.clone(), self.server.http.headers.clone());
        let given = |option: &str, text: &str| {
            let mut address = given(option, text)?;
            (address.host_header, address.headers) = with.clone();
            if let (Some(tls), Some(known)) = (&mut address.tls, &known) {
                *tls = Tls { scheme: std::mem::take(&mut tls.scheme), ..known.clone() };
            }
            Ok::<Address, String>(address)
        };
        // a server on other ports is not the file's, and its metrics may be elsewhere too
        if overrides.http.is_some() || overrides.grpc.is_some() {
            self.server.metrics = None;
        }
        if let Some(host) = &overrides.server {
            let on_host = |port| {
                let address = on_host(host, port)?;
                Ok::<Address, String>(Address { host_header: with.0.clone(), headers: with.1.clone(), ..address })
            };
            self.server.http = on_host(HTTP_PORT)?;
            self.server.grpc = on_host(GRPC_PORT)?;
            self.server.metrics = Some(on_host(METRICS_PORT)?);
        }
        if let Some(text) = &overrides.http {
            self.server.http = given("--http", text)?;
        }
        if let Some(text) = &overrides.grpc {
            self.server.grpc = given("--grpc", text)?;
        }
        if let Some(text) = &overrides.metrics {
            self.server.metrics = Some(given("--metrics", text)?);
        }
        Ok(())
    }

    fn checked(&mut self, option: &str, value: u64, range: RangeInclusive<i64>) -> Result<u64, String> {
        if !i64::try_from(value).is_ok_and(|value| range.contains(&value)) {
            return Err(format!(
                "{option} {value}: expected an integer from {} to {}: choose one of these",
                range.start(),
                range.end()
            ));
        }
        self.overridden.push(format!("{option} {value}"));
        Ok(value)
    }
}

fn within(option: &str, value: f64, range: &RangeInclusive<f64>) -> Result<f64, String> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(format!("{option} {value}: expected a number from {} to {}: choose one of these", range.start(), range.end()))
}

/// A port of the host of `--server`.
fn on_host(host: &str, port: u16) -> Result<Address, String> {
    let text = match host.parse::<Ipv6Addr>() {
        Ok(host) => format!("[{host}]:{port}"),
        Err(_) => format!("{host}:{port}"),
    };
    Address::parse(&text).map_err(|_| {
        let shown = without_secrets(host);
        let help = unsupported(host).map_or(String::new(), |help| format!(": {help}"));
        format!("--server {shown}: expected a host name without scheme, port and path, such as gpu-box{help}")
    })
}

/// The address behind an option.
fn given(option: &str, text: &str) -> Result<Address, String> {
    Address::parse(text).map_err(|help| format!("{option} {}: expected host:port: {help}", without_secrets(text)))
}
