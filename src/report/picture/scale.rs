//! The scales of a chart's axes: where a value stands, which ticks there are, and what they say. Pure.

/// How values are placed along an axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// In proportion, from 0.
    Linear,
    /// In proportion, from the smallest value.
    Span,
    /// By their logarithm.
    Log,
    /// Quantiles from 0 to 1, by the logarithm of what lies beyond: 0.9, 0.99 and 0.999 are equally far apart.
    Quantile,
    /// Categories, by their number from 0.
    Names(Vec<String>),
}

/// An axis over the values of a chart: the ends in the chart's own coordinate, and the ticks.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// The smaller end.
    pub low: f64,
    /// The larger end.
    pub high: f64,
    /// Coordinates of ticks, with their labels.
    pub ticks: Vec<(f64, String)>,
}

/// Most ticks of an axis of numbers.
const TICKS: f64 = 6.0;

impl Scale {
    /// The chart's coordinate of a value.
    pub fn place(&self, value: f64) -> f64 {
        match self {
            Scale::Linear | Scale::Span | Scale::Names(_) => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::Quantile => -(1.0 - value.clamp(0.0, 1.0 - 1e-9)).log10(),
        }
    }

    /// Whether a value has a place.
    pub fn has(&self, value: f64) -> bool {
        value.is_finite() && (*self != Scale::Log || value > 0.0)
    }

    /// The range of an axis that holds all values.
    pub fn range(&self, values: impl Iterator<Item = f64>) -> Range {
        let (least, most) = values
            .filter(|value| self.has(*value))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| (least.min(value), most.max(value)));
        if least > most {
            return Range { low: 0.0, high: 1.0, ticks: Vec::new() };
        }
        match self {
            Scale::Linear => linear(least.min(0.0), most),
            Scale::Span => linear(least, most),
            Scale::Log => log(least, most),
            Scale::Quantile => {
                let all = [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 0.99999];
                let ticks = all.into_iter().filter(|value| *value <= most + 1e-9);
                let ticks = ticks.map(|value| (self.place(value), format!("{} %", plain(100.0 * value))));
                Range { low: 0.0, high: self.place(most).max(1.0), ticks: ticks.collect() }
            }
            Scale::Names(names) => {
                let ticks = names.iter().enumerate().map(|(place, name)| (place as f64, name.clone()));
                Range { low: -0.5, high: names.len() as f64 - 0.5, ticks: ticks.collect() }
            }
        }
    }
}

fn linear(least: f64, most: f64) -> Range {
    let most = if most > least { most } else { least + 1.0 };
    let rough = (most - least) / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((least / step).floor() as i64, (most / step).ceil() as i64);
    let ticks = (first..=last).map(|tick| (tick as f64 * step, plain(tick as f64 * step)));
    Range { low: first as f64 * step, high: last as f64 * step, ticks: ticks.collect() }
}

fn log(least: f64, most: f64) -> Range {
    let (low, high) = (least.log10(), most.log10());
    let margin = (0.04 * (high - low)).max(0.02);
    let (low, high) = (low - margin, high + margin);
    let decades = low.floor() as i32..=high.ceil() as i32;
    // over few decades powers of ten alone are too few
    let steps: &[f64] = if high - low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all = decades.flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
    let within = all.filter(|value| (low..=high).contains(&value.log10()));
    let mut ticks: Vec<(f64, String)> = within.map(|value| (value.log10(), plain(value))).collect();
    if ticks.len() < 2 {
        ticks = [least, most].map(|value| (value.log10(), plain(value))).to_vec();
    }
    Range { low, high, ticks }
}

/// A number without digits that say nothing: `0.5`, `1000`, `12.3`.
pub fn plain(value: f64) -> String {
    let digits = match value.abs() {
        zero if zero < 1e-12 => return "0".to_owned(),
        large if large >= 1000.0 => 0,
        value => (4 - value.log10().floor() as i32).clamp(0, 12) as usize,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: &Scale, values: &[f64]) -> Vec<String> {
        scale.range(values.iter().copied()).ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        assert_eq!(labels(&Scale::Linear, &[3.0, 97.0]), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Scale::Linear, &[0.0012]), ["0", "0.0002", "0.0004", "0.0006", "0.0008", "0.001", "0.0012"]);
        assert_eq!(labels(&Scale::Log, &[0.3, 60.0]), ["0.5", "1", "2", "5", "10", "20", "50"]);
        assert_eq!(labels(&Scale::Log, &[0.001, 1000.0]), ["0.001", "0.01", "0.1", "1", "10", "100", "1000"]);
        assert_eq!(labels(&Scale::Quantile, &[0.0, 0.999]), ["0 %", "50 %", "90 %", "95 %", "99 %", "99.9 %"]);
        assert_eq!(labels(&Scale::Linear, &[f64::NAN]), Vec::<String>::new());
        assert_eq!(labels(&Scale::Log, &[0.0, 2.0]), ["2", "2"]);
    }

    #[test]
    fn an_axis_ends_at_ticks_around_its_values() {
        let ends = |scale: &Scale, values: &[f64]| {
            let Range { low, high, .. } = scale.range(values.iter().copied());
            (low, high)
        };
        assert_eq!(ends(&Scale::Span, &[103.0, 187.0]), (100.0, 200.0));
        assert_eq!(labels(&Scale::Span, &[103.0, 187.0]), ["100", "120", "140", "160", "180", "200"]);
        assert_eq!(ends(&Scale::Linear, &[103.0, 187.0]), (0.0, 200.0));
        assert_eq!(ends(&Scale::Span, &[5.0, 5.0]), (5.0, 6.0));
        let names = Scale::Names(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(ends(&names, &[0.0]), (-0.5, 1.5));
    }

    #[test]
    fn equal_steps_in_what_lies_beyond_are_equal_distances() {
        let place = |value| Scale::Quantile.place(value);
        assert!((place(0.99) - place(0.9) - (place(0.999) - place(0.99))).abs() < 1e-9);
        assert!(place(1.0).is_finite());
    }
}
