//! A point of the matrix: its names, its wording, its differences from another, and whether it can be measured.

use super::axes::{AxisId, Point};
use super::value::Value;
use super::variants::Protocol;

/// The reason why a point cannot be measured: the axis whose value does not fit the others, the problem, the remedy.
pub type Impossible = (AxisId, String, String);

impl Point {
    /// Checks that the point can be measured.
    ///
    /// # Errors
    /// A value does not fit the others.
    pub fn impossible(&self) -> Result<(), Impossible> {
        RULES.iter().try_for_each(|rule| rule(self))
    }

    /// Whether two points differ only on one axis, and on those that follow from it.
    pub fn differs_in(&self, axis: AxisId, other: &Point) -> bool {
        let same = |id: &AxisId| *id == axis || self.chosen(*id) == other.chosen(*id);
        self.get(axis) != other.get(axis) && AxisId::ALL.iter().all(same)
    }

    /// The value on an axis, unless it follows from another's.
    pub fn chosen(&self, axis: AxisId) -> Option<Value> {
        self.get(axis)
            .filter(|_| axis != AxisId::Connections || self.connections != self.concurrency)
    }

    /// A case as part of a file name: `http-b1-p1-c1`, or `http-a-b1-p1-c1` for one of two equal variants; followed
    /// by `-n1` if connections are fewer than requests in flight, and by `-r50` if there is a rate.
    pub fn tag(&self) -> String {
        AxisId::ALL.iter().map(|id| (id.axis().tag)(self)).collect()
    }

    /// The tag without an axis's part: the same for cases that differ on that axis alone.
    pub fn tag_but(&self, axis: AxisId) -> String {
        AxisId::ALL.iter().filter(|id| **id != axis).map(|id| (id.axis().tag)(self)).collect()
    }

    /// The same at a load: a rate in requests a second, or a number of requests in flight.
    pub fn at_load(&self, axis: AxisId, load: f64) -> Point {
        let mut point = self.clone();
        let follows = point.connections == point.concurrency;
        match axis {
            AxisId::Concurrency => point.concurrency = load as u32,
            _ => point.set(axis, &Value::Number(load)),
        }
        if follows {
            point.connections = point.concurrency;
        }
        point
    }

    /// The same where the load on an axis is not chosen yet.
    pub fn without(&self, axis: AxisId) -> Point {
        match axis {
            AxisId::Rate => Point { rate: None, ..self.clone() },
            _ => self.at_load(axis, 1.0),
        }
    }

    /// The load on an axis.
    pub fn load_on(&self, axis: AxisId) -> f64 {
        match axis {
            AxisId::Rate => self.rate.unwrap_or(0.0),
            _ => f64::from(self.concurrency),
        }
    }

    /// The variant to compare: `gRPC`, or `gRPC B` for one of two equal variants.
    pub fn variant(&self) -> String {
        self.said(|id| id.axis().is_variant).join(" ")
    }

    /// The load: `batch 4, 3 processes, 8 in flight`.
    pub fn load(&self) -> String {
        self.load_but(None)
    }

    /// The load, without one axis.
    pub fn load_but(&self, axis: Option<AxisId>) -> String {
        self.said(|id| !id.axis().is_variant && Some(id) != axis).join(", ")
    }

    /// Variant and load, without usual values: `gRPC batch 4, 3 processes`.
    pub fn phrase(&self) -> String {
        let usual = (self.rate, self.concurrency, self.connections) == (None, 1, 1);
        let load = self.said(|id| !(id.axis().is_variant || usual && id == AxisId::Concurrency));
        format!("{} {}", self.variant(), load.join(", "))
    }

    fn said(&self, which: impl Fn(AxisId) -> bool) -> Vec<String> {
        let part = |id: &AxisId| id.axis().in_sentence.unwrap_or(id.axis().phrase)(self);
        let parts = AxisId::ALL.iter().filter(|id| which(**id)).map(part);
        parts.filter(|part| !part.is_empty()).collect()
    }
}

/// Rules between axes, beyond the limits of each.
const RULES: &[Rule] = &[no_idle_connection, one_request_at_a_time, thinks_after_answers, no_idle_host];

/// Checks that a point can be measured.
type Rule = fn(&Point) -> Result<(), Impossible>;

fn no_idle_connection(point: &Point) -> Result<(), Impossible> {
    let Point { connections, concurrency, .. } = point;
    if connections <= concurrency {
        return Ok(());
    }
    Err((
        AxisId::Connections,
        format!("{connections} connections for {concurrency} requests in flight leave some of them idle"),
        "lower it, raise concurrency, or leave the point out with [matrix] exclude".to_owned(),
    ))
}

fn one_request_at_a_time(point: &Point) -> Result<(), Impossible> {
    let Point { connections, concurrency, protocol, .. } = point;
    if connections >= concurrency || *protocol != Protocol::Http {
        return Ok(());
    }
    Err((
        AxisId::Connections,
        format!(
            "{connections} connections cannot carry {concurrency} requests in flight over HTTP/1.1, which has one at a time \
             on each"
        ),
        format!("leave it out for HTTP: exclude = [{{protocols = [\"http\"], connections = [{connections}]}}]"),
    ))
}

fn thinks_after_answers(point: &Point) -> Result<(), Impossible> {
    let (Some(rate), Some(think_time)) = (point.rate, point.think_time_ms) else {
        return Ok(());
    };
    Err((
        AxisId::ThinkTime,
        format!("at {rate} requests/s requests wait for no answer, and {think_time} ms of think time follow one"),
        "leave out rate or think_time_ms".to_owned(),
    ))
}

fn no_idle_host(point: &Point) -> Result<(), Impossible> {
    let Some(hosts) = point.hosts.filter(|hosts| *hosts > point.processes) else {
        return Ok(());
    };
    Err((
        AxisId::Hosts,
        format!("{} on {hosts} hosts leave some of them idle", super::phrases::processes(point.processes)),
        "lower it, raise processes, or leave the point out with [matrix] exclude".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Arm;

    #[test]
    fn a_point_has_a_tag_and_words() {
        let usual = Point { batch_size: 4, processes: 3, ..Point::default() };
        assert_eq!((usual.tag().as_str(), usual.phrase().as_str()), ("http-b4-p3-c1", "HTTP batch 4, 3 processes"));
        let special = Point {
            protocol: Protocol::Grpc,
            arm: Some(Arm::B),
            concurrency: 64,
            connections: 1,
            rate: Some(0.5),
            ..Point::default()
        };
        assert_eq!(special.tag(), "grpc-b-b1-p1-c64-n1-r0.5");
        assert_eq!(special.variant(), "gRPC B");
        assert_eq!(special.load(), "batch 1, 1 process, 0.5 requests/s, at most 64 in flight over 1 connection");
    }
}
