//! The run matrix: its axes, its points, and which of them are left out or impossible.

use super::Protocol;

/// Most cases of a matrix, before any is left out: more are a mistake, and would not be read by anybody.
pub(super) const CASES_MAX: usize = 10_000;

/// The axes of the run matrix; no list has a repetition.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Protocols to compare, at least one.
    pub protocols: Vec<Protocol>,
    /// Items a request, at least one size.
    pub batch_sizes: Vec<u32>,
    /// Operating-system processes, at least one number.
    pub processes: Vec<u32>,
    /// Requests in flight in one process; with a rate no more than these. None stands for 1, with a rate for 64.
    pub concurrency: Vec<u32>,
    /// Connections of one process; none stands for as many as there may be requests in flight.
    pub connections: Vec<u32>,
    /// Requests a second of all processes together, which arrive whether or not earlier ones were answered (open loop);
    /// none stands for the closed loop, in which every request waits for the one before it.
    pub rates: Vec<f64>,
    /// Points of the matrix to leave out.
    pub exclude: Vec<Exclude>,
}

/// Points of the matrix that differ in protocol alone.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Point {
    pub batch_size: u32,
    pub processes: u32,
    pub concurrency: u32,
    pub connections: u32,
    /// `None` in the closed loop.
    pub rate: Option<f64>,
    /// Those that are not left out, at least one.
    pub protocols: Vec<Protocol>,
}

impl Matrix {
    /// What is left to measure, in the order of the axes: batch size, processes, concurrency, connections, rate.
    pub fn points(&self) -> Vec<Point> {
        let one =
            Point { batch_size: 1, processes: 1, concurrency: 1, connections: 1, rate: None, protocols: Vec::new() };
        let rates: Vec<Option<f64>> = self.rates.iter().copied().map(Some).collect();
        let points = vary(vec![one], |_| self.batch_sizes.clone(), |point, size| point.batch_size = size);
        let points = vary(points, |_| self.processes.clone(), |point, count| point.processes = count);
        let points = vary(points, |_| self.in_flight(), |point, count| point.concurrency = count);
        let connections = |point: &Point| or_one(&self.connections, point.concurrency);
        let points = vary(points, connections, |point, count| point.connections = count);
        let mut points = vary(points, |_| or_one(&rates, None), |point, rate| point.rate = rate);
        for point in &mut points {
            let left = |protocol: &Protocol| !self.excludes(*protocol, point);
            point.protocols = self.protocols.iter().copied().filter(left).collect();
        }
        points.retain(|point| !point.protocols.is_empty());
        points
    }

    /// Requests in flight in one process, also where nothing is said of them. As a bound, 64 are enough for a server that
    /// stands still for a while, and few enough not to drown one.
    pub fn in_flight(&self) -> Vec<u32> {
        or_one(&self.concurrency, if self.rates.is_empty() { 1 } else { 64 })
    }

    /// Cases of all values with all others, before any is left out.
    pub(super) fn all_cases(&self) -> usize {
        let lengths = [
            self.protocols.len(),
            self.batch_sizes.len(),
            self.processes.len(),
            self.concurrency.len(),
            self.connections.len(),
            self.rates.len(),
        ];
        lengths.into_iter().fold(1, |cases, length| cases.saturating_mul(length.max(1)))
    }

    /// Whether the point is left out.
    fn excludes(&self, protocol: Protocol, point: &Point) -> bool {
        self.exclude.iter().any(|exclude| exclude.hits(protocol, point))
    }

    /// The first point that cannot be measured: what is wrong with it, and the remedy.
    pub(super) fn impossible(&self) -> Option<(String, String)> {
        self.points().into_iter().find_map(|Point { concurrency, connections, protocols, .. }| {
            if connections > concurrency {
                return Some((
                    format!("{connections} connections for {concurrency} requests in flight leave some of them idle"),
                    "lower it, raise concurrency, or leave the point out with [matrix] exclude".to_owned(),
                ));
            }
            (connections < concurrency && protocols.contains(&Protocol::Http)).then(|| {
                (
                    format!(
                        "{connections} connections cannot carry {concurrency} requests in flight over HTTP/1.1, which \
                         has one at a time on each"
                    ),
                    format!(
                        "leave it out for HTTP: exclude = [{{protocols = [\"http\"], connections = [{connections}]}}]"
                    ),
                )
            })
        })
    }
}

/// Each point with each value of one more axis.
fn vary<T>(points: Vec<Point>, values: impl Fn(&Point) -> Vec<T>, set: impl Fn(&mut Point, T)) -> Vec<Point> {
    let mut varied = Vec::new();
    for point in points {
        for value in values(&point) {
            let mut next = point.clone();
            set(&mut next, value);
            varied.push(next);
        }
    }
    varied
}

/// The values of an axis, or the one that stands for none.
fn or_one<T: Copy>(axis: &[T], default: T) -> Vec<T> {
    if axis.is_empty() { vec![default] } else { axis.to_vec() }
}

/// Points to leave out: those that have one of the values on every axis listed. An empty list means any value.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Exclude {
    pub protocols: Vec<Protocol>,
    pub batch_sizes: Vec<u32>,
    pub processes: Vec<u32>,
    pub concurrency: Vec<u32>,
    pub connections: Vec<u32>,
    pub rates: Vec<f64>,
}

impl Exclude {
    /// Whether it leaves the point out.
    pub(super) fn hits(&self, protocol: Protocol, point: &Point) -> bool {
        fn hit<T: PartialEq>(list: &[T], value: &T) -> bool {
            list.is_empty() || list.contains(value)
        }
        hit(&self.protocols, &protocol)
            && hit(&self.batch_sizes, &point.batch_size)
            && hit(&self.processes, &point.processes)
            && hit(&self.concurrency, &point.concurrency)
            && hit(&self.connections, &point.connections)
            && (self.rates.is_empty() || point.rate.is_some_and(|rate| self.rates.contains(&rate)))
    }
}
