//! The run matrix: the values of each axis, the points they make, and which of them are compared. Pure; knows an axis
//! only from its table, and nothing of files, servers or measuring.

mod axes;
mod phrases;
mod point;
pub mod range;
mod shapes;
mod value;
mod variants;

pub use axes::{Axis, AxisId, Home, Point};
pub use phrases::{load, protocol};
pub use point::Impossible;
pub use shapes::Shapes;
pub use value::{Limit, Name, Refusal, Value};
pub use variants::{Arm, Arrival, Describer, Encode, Encryption, Protocol};

/// Most cases of a matrix, before any exclusion: more are a mistake, which nobody would read.
pub const CASES_MAX: usize = 10_000;

/// The axes of the run matrix; no list has a repetition.
#[derive(Clone, Debug, Default)]
pub struct Matrix {
    /// The values given by the scenario, for those axes that have any.
    given: Vec<(AxisId, Vec<Value>)>,
    /// Points to leave out.
    exclude: Vec<Selection>,
    /// The axis that the scenario wants to compare.
    compare: Option<AxisId>,
    /// The axis whose value is searched for every case.
    searched: Option<AxisId>,
}

/// Some points: those with one of the values on every listed axis; all of them if none is listed.
pub type Selection = Vec<(AxisId, Vec<Value>)>;

impl Matrix {
    /// Sets the values of an axis; an empty list restores its default.
    pub fn set(&mut self, axis: AxisId, values: Vec<Value>) {
        self.given.retain(|(id, _)| *id != axis);
        if !values.is_empty() {
            self.given.push((axis, values));
        }
    }

    /// Leaves points out.
    pub fn leave_out(&mut self, exclude: Selection) {
        self.exclude.push(exclude);
    }

    /// The values given by the scenario on an axis.
    pub fn given(&self, axis: AxisId) -> &[Value] {
        self.given.iter().find(|(id, _)| *id == axis).map_or(&[], |(_, values)| values)
    }

    /// The values on an axis; empty if it has no default, or one that follows from another axis.
    pub fn values(&self, axis: AxisId) -> Vec<Value> {
        match self.given(axis) {
            [] => (axis.axis().default)(self),
            given => given.to_vec(),
        }
    }

    /// The protocols of the matrix, at least one.
    pub fn protocols(&self) -> Vec<Protocol> {
        self.distinct(AxisId::Protocol, |point| point.protocol)
    }

    /// The batch sizes of the matrix, at least one.
    pub fn batch_sizes(&self) -> Vec<u32> {
        self.distinct(AxisId::BatchSize, |point| point.batch_size)
    }

    /// The largest of them.
    pub fn largest_batch(&self) -> u32 {
        self.batch_sizes().into_iter().max().unwrap_or(1)
    }

    fn distinct<T>(&self, axis: AxisId, of: impl Fn(&Point) -> T) -> Vec<T> {
        let with = |value: &Value| {
            let mut point = Point::default();
            point.set(axis, value);
            of(&point)
        };
        self.values(axis).iter().map(with).collect()
    }

    /// Sets the axis whose value is searched for every case.
    pub fn search(&mut self, axis: Option<AxisId>) {
        self.searched = axis;
    }

    /// Whether the scenario gives values of an axis, or has them searched.
    pub fn has(&self, axis: AxisId) -> bool {
        self.searched == Some(axis) || !self.given(axis).is_empty()
    }

    /// Sets the axis to compare; `None` chooses one that varies.
    pub fn compare(&mut self, axis: Option<AxisId>) {
        self.compare = axis;
    }

    /// Moves a value to the front of its axis as the baseline; returns whether the axis has it.
    pub fn baseline(&mut self, axis: AxisId, value: &Value) -> bool {
        let mut values = self.values(axis);
        let Some(place) = values.iter().position(|known| known == value) else { return false };
        values[..=place].rotate_right(1);
        self.set(axis, values);
        true
    }

    /// The axis whose values are compared. By default, the first variant axis with several values, or else the
    /// protocol. Amounts of load are compared only on request: nobody wonders whether a larger batch takes longer.
    pub fn compared(&self) -> AxisId {
        let several = |id: &AxisId| self.values(*id).len() > 1;
        // equal variants exist to be compared with each other
        let arms = Some(AxisId::Arm).filter(several);
        let first = || AxisId::ALL.iter().copied().find(|id| id.axis().is_variant && several(id));
        // options may leave a single value of the file's compared axis
        arms.or(self.compare.filter(several)).or_else(first).unwrap_or(AxisId::Protocol)
    }

    /// Number of combinations of all values, before any exclusion.
    pub fn all_cases(&self) -> usize {
        AxisId::ALL
            .iter()
            .fold(1, |cases, id| cases.saturating_mul(self.values(*id).len().max(1)))
    }

    /// The cases to measure, in groups that differ only in the compared axis. Of the other axes, the load's vary
    /// slowest, in the order of their table.
    pub fn groups(&self) -> Vec<Vec<Point>> {
        let compared = self.compared();
        let (load, variants): (Vec<AxisId>, Vec<AxisId>) =
            AxisId::ALL.iter().filter(|id| **id != compared).partition(|id| !id.axis().is_variant);
        let mut outer = vec![Point::default()];
        for axis in load.into_iter().chain(variants) {
            outer = self.vary(outer, axis);
        }
        let group = |point: Point| {
            let points = self.vary(vec![point], compared).into_iter().map(|point| self.complete(point));
            points.filter(|point| !self.excludes(point)).collect::<Vec<_>>()
        };
        outer.into_iter().map(group).filter(|group| !group.is_empty()).collect()
    }

    /// The cases to measure, group by group.
    pub fn points(&self) -> impl Iterator<Item = Point> {
        self.groups().into_iter().flatten()
    }

    /// Why the first point that cannot be measured cannot be.
    pub fn impossible(&self) -> Option<Impossible> {
        self.points().find_map(|point| point.impossible().err())
    }

    /// Each point with each value of another axis.
    fn vary(&self, points: Vec<Point>, axis: AxisId) -> Vec<Point> {
        let values = self.values(axis);
        if values.is_empty() {
            return points;
        }
        let with = |point: &Point, value: &Value| {
            let mut point = point.clone();
            point.set(axis, value);
            point
        };
        points
            .iter()
            .flat_map(|point| values.iter().map(|value| with(point, value)).collect::<Vec<_>>())
            .collect()
    }

    /// A point with the values that follow from others.
    fn complete(&self, mut point: Point) -> Point {
        if self.given(AxisId::Connections).is_empty() {
            point.connections = point.concurrency;
        }
        point
    }

    /// Whether a point is left out.
    fn excludes(&self, point: &Point) -> bool {
        self.exclude.iter().any(|exclude| selects(exclude, point))
    }
}

/// Whether a point is among the selected ones.
pub fn selects(selection: &Selection, point: &Point) -> bool {
    selection
        .iter()
        .all(|(axis, values)| point.get(*axis).is_some_and(|value| values.contains(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(axes: &[(AxisId, &[Value])]) -> Matrix {
        let mut matrix = Matrix::default();
        axes.iter().for_each(|(axis, values)| matrix.set(*axis, values.to_vec()));
        matrix
    }

    fn tags(matrix: &Matrix) -> Vec<Vec<String>> {
        matrix.groups().iter().map(|group| group.iter().map(Point::tag).collect()).collect()
    }

    #[test]
    fn groups_differ_in_the_compared_axis_alone() {
        let mut matrix = matrix(&[(AxisId::BatchSize, &[Value::Whole(1), Value::Whole(8)])]);
        assert_eq!(matrix.compared(), AxisId::Protocol);
        let expected = [["http-b1-p1-c1", "grpc-b1-p1-c1"], ["http-b8-p1-c1", "grpc-b8-p1-c1"]];
        assert_eq!(tags(&matrix), expected);
        matrix.set(AxisId::Arm, Arm::WORDS.iter().map(|word| Value::Word(word)).collect());
        assert_eq!((matrix.compared(), matrix.all_cases()), (AxisId::Arm, 8));
        assert_eq!(
            tags(&matrix)[..2],
            [["http-a-b1-p1-c1", "http-b-b1-p1-c1"], ["grpc-a-b1-p1-c1", "grpc-b-b1-p1-c1"]]
        );
        for group in matrix.groups() {
            assert!(group[0].differs_in(AxisId::Arm, &group[1]) && !group[0].differs_in(AxisId::Protocol, &group[1]));
        }
    }

    #[test]
    fn any_axis_is_compared_and_any_value_the_baseline() {
        let mut matrix = matrix(&[(AxisId::BatchSize, &[1, 4, 8].map(Value::Whole))]);
        matrix.compare(Some(AxisId::BatchSize));
        assert!(
            matrix.baseline(AxisId::BatchSize, &Value::Whole(8))
                && !matrix.baseline(AxisId::BatchSize, &Value::Whole(2))
        );
        assert_eq!(tags(&matrix)[1], ["grpc-b8-p1-c1", "grpc-b1-p1-c1", "grpc-b4-p1-c1"]);
        assert_eq!((matrix.groups().len(), matrix.compared()), (2, AxisId::BatchSize));
    }

    #[test]
    fn what_is_left_out_is_not_measured() {
        let mut matrix = matrix(&[(AxisId::BatchSize, &[Value::Whole(1), Value::Whole(8)])]);
        matrix
            .leave_out(vec![(AxisId::Protocol, vec![Value::Word("http")]), (AxisId::BatchSize, vec![Value::Whole(8)])]);
        assert_eq!(tags(&matrix), [&["http-b1-p1-c1", "grpc-b1-p1-c1"][..], &["grpc-b8-p1-c1"]]);
        matrix.leave_out(Selection::new());
        assert_eq!(matrix.points().count(), 0);
    }

    #[test]
    fn there_are_as_many_connections_as_requests_in_flight_unless_said_otherwise() {
        let mut matrix = matrix(&[(AxisId::Concurrency, &[Value::Whole(2), Value::Whole(4)])]);
        assert!(matrix.points().all(|point| point.connections == point.concurrency));
        let points: Vec<Point> = matrix.points().collect();
        assert!(points[0].differs_in(AxisId::Concurrency, &points[2]));
        matrix.set(AxisId::Connections, vec![Value::Whole(4)]);
        assert!(matrix.impossible().unwrap().1.starts_with("4 connections for 2 requests"));
        matrix.set(AxisId::Connections, vec![Value::Whole(1)]);
        assert!(matrix.impossible().unwrap().1.contains("over HTTP/1.1"));
        matrix.set(AxisId::Protocol, vec![Value::Word("grpc")]);
        assert_eq!(matrix.impossible(), None);
        matrix.set(AxisId::Rate, vec![Value::Number(50.0)]);
        matrix.set(AxisId::Concurrency, Vec::new());
        assert_eq!(
            matrix.points().map(|point| (point.concurrency, point.rate)).collect::<Vec<_>>(),
            [(64, Some(50.0))]
        );
    }

    #[test]
    fn every_axis_is_found_by_its_key_and_by_its_column() {
        for id in AxisId::ALL {
            let axis = id.axis();
            assert_eq!((AxisId::named(axis.key), AxisId::named(axis.column)), (Some(*id), Some(*id)));
            for value in (axis.default)(&Matrix::default()) {
                assert_eq!(axis.limit.read(&value.to_string(), ""), Ok(value));
            }
        }
    }
}
