//! Charts as SVG, where text stays text, and as PNG, from their values alone: the same bytes for the same values. Must not
//! know runs.

mod scale;

use std::sync::Once;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use plotters::style::register_font;

use scale::Range;
pub use scale::{Scale, plain};

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// What it shows; also what a screen reader says.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn, in the order of the legend.
    pub series: Vec<Series>,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

/// An axis of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it has, with the unit.
    pub label: String,
    /// Where values stand.
    pub scale: Scale,
}

/// Values of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// Its values.
    pub points: Vec<Point>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mark {
    /// A line.
    Line,
    /// A line with a dot at each value.
    Dots,
    /// A dot at each value.
    Scatter,
    /// A dot at each value, and a horizontal line of what they say together.
    Together {
        /// Where it begins.
        from: f64,
        /// Where it ends.
        to: f64,
        /// How high it is.
        y: f64,
    },
    /// Horizontal bars from `low` to `x`, at the category `y`.
    Bars,
}

/// A value, with the ends of its interval; both the value itself if there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub low: f64,
    pub high: f64,
}

impl Mark {
    fn has_line(self) -> bool {
        matches!(self, Mark::Line | Mark::Dots)
    }

    /// The ends of its own line.
    fn ends(self) -> Option<[Point; 2]> {
        match self {
            Mark::Together { from, to, y } => Some([Point::at(from, y), Point::at(to, y)]),
            _ => None,
        }
    }
}

impl Point {
    /// A value without an interval.
    pub fn at(x: f64, y: f64) -> Self {
        Point { x, y, low: y, high: y }
    }
}

/// The colours of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// On a light page.
    Light,
    /// On a dark page.
    Dark,
    /// The variables of the page's style sheet: `--ink`, `--line`, `--s0` to `--s7`.
    Page,
}

/// Colours that people with any colour vision can tell apart, on light and on dark pages. Source: M. Okabe, K. Ito,
/// Color Universal Design, 2008; lighter or darker where the page needs it.
const LIGHT: [u32; 10] =
    [0x1f2328, 0xd0d7de, 0x0072b2, 0xd55e00, 0x00875f, 0xa8508c, 0x8a6d00, 0x2f8fc4, 0x5e4fa2, 0x6e7781];
const DARK: [u32; 10] =
    [0xe6edf3, 0x3d444d, 0x58b0e8, 0xf08a4b, 0x3ecf9f, 0xdf8fc0, 0xe0c341, 0x8ecff5, 0xb0a4f0, 0x9198a1];
/// The number of colours for series.
pub const COLOURS: usize = LIGHT.len() - 2;

const SMALL: i32 = 12;
const LARGE: i32 = 14;
/// The font: the browser's own in SVG, Noto Sans in PNG.
const FONT: &str = "system-ui, sans-serif";
/// Pixels of a PNG for one of the chart's, so that it is sharp where pixels are small.
const SHARP: u32 = 2;

impl Theme {
    fn colours(self) -> [RGBColor; 10] {
        let hex = if self == Theme::Dark { DARK } else { LIGHT };
        hex.map(|hex| RGBColor((hex >> 16) as u8, (hex >> 8) as u8, hex as u8))
    }

    /// The variables of the page's style sheet.
    pub fn variables(self) -> String {
        let hex = if self == Theme::Dark { DARK } else { LIGHT };
        hex.iter()
            .enumerate()
            .map(|(place, hex)| format!("--{}:#{hex:06x};", variable(place)))
            .collect()
    }
}

/// The style sheet's name of a colour.
fn variable(place: usize) -> String {
    match place {
        0 => "ink".to_owned(),
        1 => "line".to_owned(),
        place => format!("s{}", place - 2),
    }
}

/// The chart as an SVG element.
pub fn svg(chart: &Chart, theme: Theme) -> String {
    let mut out = String::new();
    let area = SVGBackend::with_string(&mut out, chart.size).into_drawing_area();
    // writing to a string cannot fail; a chart that cannot be drawn is empty, and its table stands beside it
    let _ = draw(chart, theme, area, 1);
    if theme == Theme::Page {
        for (place, hex) in LIGHT.iter().enumerate() {
            out = out.replace(&format!("\"#{hex:06X}\""), &format!("\"var(--{})\"", variable(place)));
        }
    }
    let (width, height) = chart.size;
    let fixed = format!("<svg width=\"{width}\" height=\"{height}\"");
    out.replacen(&fixed, &format!("<svg role=\"img\" aria-label=\"{}\"{}", attribute(&chart.title), &fixed[4..]), 1)
}

/// The chart as a PNG file, twice as wide and high as its size.
///
/// # Errors
/// The chart cannot be drawn.
pub fn png(chart: &Chart) -> Result<Vec<u8>> {
    let (width, height) = (SHARP * chart.size.0, SHARP * chart.size.1);
    let mut pixels = vec![0xff; (3 * width * height) as usize];
    let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
    draw(chart, Theme::Light, area, SHARP as i32).map_err(|words| anyhow!("cannot draw {}: {words}", chart.title))?;
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(out)
}

/// Text as the value of an attribute of SVG or HTML.
pub fn attribute(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// An axis as the drawing library sees it.
struct Ticked {
    range: Range,
    /// Whether the smaller end is on the right, or at the top.
    is_reversed: bool,
}

impl Ranged for Ticked {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let Range { low, high, .. } = self.range;
        let part = (value - low) / (high - low);
        // the end of an interval may have no place on the axis, such as 0 where it is logarithmic
        let part = if self.is_reversed { 1.0 - part } else { part }.clamp(-0.1, 1.1);
        from + (f64::from(to - from) * part).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.range.ticks.iter().map(|(place, _)| *place).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.low..self.range.high
    }
}

impl ValueFormatter<f64> for Ticked {
    fn format(value: &f64) -> String {
        plain(*value)
    }

    fn format_ext(&self, value: &f64) -> String {
        let found = self.range.ticks.iter().find(|(place, _)| place == value);
        found.map_or(String::new(), |(_, label)| label.clone())
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Draws a chart, `times` as large as its size.
fn draw<B: DrawingBackend>(chart: &Chart, theme: Theme, area: DrawingArea<B, Shift>, times: i32) -> Result<(), Failed>
where
    B::ErrorType: 'static,
{
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(|| {
        // it lays out the text; without it, drawing the chart fails
        let _ = register_font(FONT, FontStyle::Normal, ttf_noto_sans::REGULAR);
    });
    let [ink, line, colours @ ..] = theme.colours();
    let area = head(chart, &area, ink, &colours, times)?;

    let ends: Vec<Point> = chart.series.iter().filter_map(|series| series.mark.ends()).flatten().collect();
    let points = || chart.series.iter().flat_map(|series| &series.points).chain(&ends);
    let is_bars = chart.series.iter().any(|series| series.mark == Mark::Bars);
    let xs = points().flat_map(|point| if is_bars { [point.x, point.low] } else { [point.x, point.x] });
    let ys = points().flat_map(|point| if is_bars { [point.y; 3] } else { [point.y, point.low, point.high] });
    let (x, y) = (chart.x.scale.range(xs), chart.y.scale.range(ys));
    let widest = y.ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0) as i32;
    let mut built = ChartBuilder::on(&area)
        .margin_left(4 * times)
        .margin_right(18 * times)
        .margin_top(6 * times)
        .x_label_area_size(44 * times)
        .y_label_area_size((30 + 7 * widest.min(36)) * times)
        .build_cartesian_2d(Ticked { range: x, is_reversed: false }, Ticked { range: y, is_reversed: is_bars })?;
    let style = (FONT, SMALL * times).into_font().color(&ink);
    let stroke = |width: i32| (width * times) as u32;
    built
        .configure_mesh()
        .bold_line_style(line)
        .light_line_style(TRANSPARENT)
        .axis_style(line)
        .label_style(style.clone())
        .axis_desc_style(style)
        .x_desc(chart.x.label.as_str())
        .y_desc(chart.y.label.as_str())
        .draw()?;

    let can_place = |point: &Point| chart.x.scale.has(point.x) && chart.y.scale.has(point.y);
    for (number, series) in chart.series.iter().enumerate() {
        let colour = colours[number % COLOURS];
        let place = |x: f64, y: f64| (chart.x.scale.place(x), chart.y.scale.place(y));
        if series.mark == Mark::Bars {
            let bar = |point: &Point| {
                let (from, to) = (chart.x.scale.place(point.low), chart.x.scale.place(point.x));
                Rectangle::new([(from, point.y - 0.36), (to, point.y + 0.36)], colour.filled())
            };
            built.draw_series(series.points.iter().map(bar))?;
            continue;
        }
        let points: Vec<&Point> = series.points.iter().filter(|point| can_place(point)).collect();
        if let Some(ends) = series.mark.ends().filter(|ends| ends.iter().all(can_place)) {
            let ends = ends.map(|end| place(end.x, end.y));
            // one value has no length
            if ends[0] == ends[1] {
                built.draw_series([Circle::new(ends[0], 5 * times, colour.filled())])?;
            } else {
                built.draw_series([PathElement::new(ends.to_vec(), colour.stroke_width(stroke(3)))])?;
            }
        }
        if series.mark.has_line() {
            let line = points.iter().map(|point| place(point.x, point.y));
            built.draw_series(LineSeries::new(line, colour.stroke_width(stroke(2))))?;
        }
        if series.mark != Mark::Line {
            built.draw_series(
                series
                    .points
                    .iter()
                    .map(|point| Circle::new(place(point.x, point.y), 3 * times, colour.filled())),
            )?;
        }
        let ranged = points.iter().filter(|point| point.low < point.high);
        built.draw_series(ranged.map(|point| {
            let ends = vec![place(point.x, point.low), place(point.x, point.high)];
            PathElement::new(ends, colour.stroke_width(stroke(1)))
        }))?;
    }
    area.present()?;
    Ok(())
}

/// Draws title and legend; returns the area below.
fn head<B: DrawingBackend>(
    chart: &Chart,
    area: &DrawingArea<B, Shift>,
    ink: RGBColor,
    colours: &[RGBColor],
    times: i32,
) -> Result<DrawingArea<B, Shift>, Failed>
where
    B::ErrorType: 'static,
{
    let font = |size: i32| (FONT, size * times).into_font().color(&ink);
    let at = |x: i32, y: i32| (x * times, y * times);
    let mut bottom = 8;
    if !chart.title.is_empty() {
        area.draw_text(&chart.title, &font(LARGE), at(12, bottom))?;
        bottom += 22;
    }
    let named: Vec<(usize, &Series)> =
        chart.series.iter().enumerate().filter(|(_, series)| !series.name.is_empty()).collect();
    let mut left = 12;
    for (number, series) in &named {
        // without the reader's font, the width of a text is a guess
        let width = 26 + 7 * series.name.chars().count() as i32;
        if left > 12 && left + width > chart.size.0 as i32 {
            left = 12;
            bottom += 18;
        }
        let colour = colours[number % COLOURS];
        area.draw(&Rectangle::new([at(left, bottom + 2), at(left + 11, bottom + 12)], colour.filled()))?;
        area.draw_text(&series.name, &font(SMALL), at(left + 16, bottom))?;
        left += width;
    }
    if !named.is_empty() {
        bottom += 20;
    }
    Ok(area.split_vertically(bottom * times).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(title: &str) -> Chart {
        Chart {
            title: title.to_owned(),
            x: Axis { label: "request (MB)".to_owned(), scale: Scale::Log },
            y: Axis { label: "latency (ms)".to_owned(), scale: Scale::Log },
            series: vec![Series {
                name: "HTTP".to_owned(),
                mark: Mark::Dots,
                points: vec![Point::at(0.01, 0.3), Point { x: 40.0, y: 56.0, low: 50.0, high: 60.0 }],
            }],
            size: (720, 400),
        }
    }

    #[test]
    fn the_same_values_give_the_same_bytes_and_text_stays_text() {
        let [one, two] = [(), ()].map(|()| svg(&chart("Latency"), Theme::Light));
        assert_eq!(one, two);
        assert!(one.contains(">\nHTTP\n</text>") && one.contains(">\nlatency (ms)\n</text>"), "{one}");
        assert!(one.contains("role=\"img\" aria-label=\"Latency\""), "{one}");
        assert!(svg(&chart("Latency"), Theme::Page).contains("\"var(--s0)\""));
        assert!(!svg(&chart("Latency"), Theme::Page).contains("\"#"));
    }

    #[test]
    fn a_png_has_the_same_bytes_for_the_same_values_and_is_not_blank() {
        let [one, two] = [(), ()].map(|()| png(&chart("Latency, \u{b5}s")).unwrap());
        assert_eq!(one, two);
        let mut reader = png::Decoder::new(std::io::Cursor::new(&one)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (1440, 800));
        let of = |colour: u32| {
            let [_, rgb @ ..] = colour.to_be_bytes();
            pixels.chunks(3).filter(|pixel| *pixel == rgb).count()
        };
        // the page, the line of the series, and text
        assert!(of(0xffffff) > 1_000_000 && of(LIGHT[2]) > 1000 && of(LIGHT[0]) > 100, "{}", of(LIGHT[0]));
    }

    #[test]
    fn no_value_and_no_text_breaks_a_chart() {
        let mut chart = chart("<script>alert(1)</script> \" &");
        for value in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            chart.series[0].points.push(Point { x: value, y: value, low: value, high: 2.0 });
        }
        for scale in [Scale::Linear, Scale::Log, Scale::Quantile, Scale::Names(vec!["<b>".to_owned()])] {
            chart.y.scale = scale;
            let drawn = svg(&chart, Theme::Dark);
            assert!(!drawn.contains("<script>") && !drawn.contains("<b>") && !drawn.contains("NaN"), "{drawn}");
            assert!(drawn.ends_with("</svg>\n"), "{drawn}");
        }
        chart.series.clear();
        assert!(svg(&chart, Theme::Light).contains("request (MB)"));
    }
}
