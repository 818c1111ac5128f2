//! The charts of what a run's servers told of themselves while it was measured. Must not know how charts are drawn or laid
//! out.

use std::collections::HashMap;

use crate::matrix::AxisId;
use crate::record::{self, METRICS, MetricRow};
use crate::report::picture::{Axis, COLOURS, Chart, Mark, Point, Scale, Series};
use crate::report::run::Run;
use crate::text;

/// Most values of a line: what is beyond a chart's pixels is the mean of neighbours.
const POINTS_MAX: usize = 260;
const SIZE: (u32, u32) = (520, 260);

/// What is drawn of a metric: its name, the words and unit, and what a value is multiplied by. In the order of charts.
const KNOWN: [(&str, &str, f64); 7] = [
    ("nv_gpu_utilization", "GPU utilization (%)", 100.0),
    ("nv_gpu_memory_used_bytes", "GPU memory used (GB)", 1e-9),
    ("nv_gpu_power_usage", "GPU power (W)", 1.0),
    ("nv_cpu_utilization", "server CPU utilization (%)", 100.0),
    ("nv_cpu_memory_used_bytes", "server memory used (GB)", 1e-9),
    ("nv_pinned_memory_pool_used_bytes", "pinned memory used (GB)", 1e-9),
    ("nv_inference_pending_request_count", "requests pending", 1.0),
];

/// A chart for each metric on file that is known, over the time since the first sample.
pub fn charts(run: &Run) -> Vec<Chart> {
    let path = run.path.join(METRICS);
    let Ok(rows) = record::read_whole_rows::<MetricRow>(&path) else { return Vec::new() };
    let rows = rows.rows;
    let Some(begin) = rows.iter().map(|row| row.time.milliseconds()).min() else {
        return Vec::new();
    };
    let servers: HashMap<String, String> = run
        .records
        .iter()
        .filter(|record| record.case.get(AxisId::Server).is_some())
        .map(|record| (record.case.tag(), (AxisId::Server.axis().phrase)(&record.case)))
        .collect();
    let of_metric = |(name, label, times): &(&str, &str, f64)| {
        let mut lines: Vec<(String, Vec<Point>)> = Vec::new();
        for row in rows.iter().filter(|row| row.metric == *name && row.value.is_finite()) {
            let name = named(servers.get(&row.case).map(String::as_str), &row.labels);
            let point = Point::at((row.time.milliseconds() - begin) as f64 / 1e3, row.value * times);
            match lines.iter().position(|(known, _)| *known == name) {
                Some(place) => lines[place].1.push(point),
                None if lines.len() < COLOURS => lines.push((name, vec![point])),
                None => {}
            }
        }
        let series = |(name, points): (String, Vec<Point>)| Series { name, mark: Mark::Line, points: thinned(&points) };
        (!lines.is_empty()).then(|| Chart {
            title: (*label).to_owned(),
            x: Axis { label: "time since the first sample (s)".to_owned(), scale: Scale::Linear },
            y: Axis { label: (*label).to_owned(), scale: Scale::Linear },
            series: lines.into_iter().map(series).collect(),
            size: SIZE,
        })
    };
    KNOWN.iter().filter_map(of_metric).collect()
}

/// The values of labels such as `model="scrfd",version="1"`, after the server of several: `scrfd 1`.
fn named(server: Option<&str>, labels: &str) -> String {
    // values between quotes are every second part
    let values = labels.split('"').skip(1).step_by(2).map(text::name);
    server.map(str::to_owned).into_iter().chain(values).collect::<Vec<_>>().join(" ")
}

/// At most [`POINTS_MAX`] points, each the mean of as many neighbours.
fn thinned(points: &[Point]) -> Vec<Point> {
    let mean = |part: &[Point]| {
        let count = part.len() as f64;
        let of = |value: fn(&Point) -> f64| part.iter().map(value).sum::<f64>() / count;
        Point::at(of(|point| point.x), of(|point| point.y))
    };
    points.chunks(points.len().div_ceil(POINTS_MAX).max(1)).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_by_its_labels_and_the_server_of_several() {
        assert_eq!(named(None, "model=\"scrfd\",version=\"1\""), "scrfd 1");
        assert_eq!(named(Some("new"), "gpu_uuid=\"GPU-1\""), "new GPU-1");
        assert_eq!(named(None, ""), "");
    }

    #[test]
    fn a_long_line_keeps_its_ends_and_its_mean() {
        let points: Vec<Point> = (0..1000).map(|place| Point::at(f64::from(place), f64::from(place % 2))).collect();
        let thin = thinned(&points);
        assert_eq!(thin.len(), 250);
        assert_eq!(thin[0], Point::at(1.5, 0.5));
        assert_eq!(thin[249], Point::at(997.5, 0.5));
        assert_eq!(thinned(&points[..3]), points[..3]);
        assert_eq!(thinned(&[]), []);
    }
}
