//! `--tui`: a live screen of a run: the case under way, its blocks and latencies, and the matrix filling up. Drawn by the parent between
//! blocks, and while one is measured once a second at most. Ctrl-C works as everywhere: the terminal stays in its usual mode, only without echo.

use std::time::Duration;

use anyhow::Result;
use ratatui::backend::Backend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::{Axis, Bar, BarChart, Block, Cell, Chart, Dataset, Gauge, GraphType, Paragraph, Row, Table};
use ratatui::{Frame, Terminal};

use crate::matrix::Point;
use crate::plan::Plan;
use crate::record::{Record, Status};
use crate::report::words::{format_ms, status_words};
use crate::text;

/// The least time between two drawings, and between those while requests are timed: on a machine whose cores are all in use, what
/// is drawn is in their latencies.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_TIMED: Duration = Duration::from_secs(1);
/// Bars of the histogram.
const BARS: usize = 24;
/// Colours of a group's cases.
const COLOURS: [Color; 6] = [Color::Blue, Color::Magenta, Color::Cyan, Color::Yellow, Color::Green, Color::Red];

/// What is known of a case under way.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct SoFar {
    pub requests: u64,
    pub errors: u64,
    pub requests_per_s: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    /// The rounds of its blocks, and their means; empty unless details are shown.
    pub block_means_ms: Vec<(usize, f64)>,
    /// Parts of its distribution as they begin in milliseconds, with their requests; empty unless details are shown.
    pub histogram: Vec<(f64, u64)>,
}

/// The screen of a run.
pub struct Screen<B: Backend> {
    terminal: Terminal<B>,
    state: State,
    /// The time since the run began, now and when it was drawn last.
    now: Duration,
    drawn: Option<Duration>,
}

/// What is shown.
#[derive(Default)]
struct State {
    title: String,
    /// The case under way, in words.
    current: String,
    /// The part of the run that is done, from 0 to 1, and the time that is left.
    done: f64,
    left: Duration,
    /// The plan's cases.
    cases: Vec<Case>,
    /// The places of the cases of the group under way.
    group: Vec<usize>,
    /// The case that the histogram is of.
    shown: String,
    histogram: Vec<(f64, u64)>,
    messages: Vec<String>,
}

/// A case of the matrix.
#[derive(Default)]
struct Case {
    tag: String,
    words: String,
    /// How it ended.
    status: Option<Status>,
    so_far: SoFar,
    /// The means of its blocks, by round.
    blocks: Vec<(f64, f64)>,
}

impl<B: Backend> Screen<B> {
    /// An empty screen.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub fn new(backend: B, title: String, plan: &Plan) -> Result<Self>
    where
        B::Error: Send + Sync + 'static,
    {
        let line = |case: &Point| Case { tag: case.tag(), words: case.phrase(), ..Case::default() };
        let state = State {
            title: text::line(&title, 200),
            cases: plan.cases().map(line).collect(),
            ..State::default()
        };
        let mut terminal = Terminal::new(backend)?;
        terminal.clear()?;
        Ok(Screen { terminal, state, now: Duration::ZERO, drawn: None })
    }

    /// The case that is under way, in words.
    pub fn current(&mut self, words: String) {
        self.state.current = words;
        self.draw_after(PAUSE);
    }

    /// How much is done, the time that is left, and that since the run began.
    pub fn advance(&mut self, done: f64, left: Duration, now: Duration) {
        (self.state.done, self.state.left, self.now) = (done, left, now);
        self.draw_after(PAUSE_TIMED);
    }

    /// A block of a case is done.
    pub fn block_done(&mut self, case: &Point, so_far: SoFar) {
        let tag = case.tag();
        self.state.histogram.clone_from(&so_far.histogram);
        self.state.shown = case.phrase();
        if let Some(line) = self.state.cases.iter_mut().find(|line| line.tag == tag) {
            line.blocks = so_far.block_means_ms.iter().map(|(round, mean)| (*round as f64 + 1.0, *mean)).collect();
            line.so_far = so_far;
        }
        let place = self.state.cases.iter().position(|line| line.tag == tag);
        self.state.group.extend(place.filter(|place| !self.state.group.contains(place)));
        self.draw_after(PAUSE);
    }

    /// A group is done: the next one has its own chart.
    pub fn group_done(&mut self) {
        self.state.group.clear();
    }

    /// A case ended.
    pub fn case_done(&mut self, record: &Record) {
        let tag = record.case.tag();
        if let Some(line) = self.state.cases.iter_mut().find(|line| line.tag == tag) {
            line.status = Some(record.status);
        }
        self.draw();
    }

    /// Something to say, which is shown below.
    pub fn say(&mut self, messages: &[String]) {
        self.state.messages = messages.to_vec();
    }

    fn draw_after(&mut self, pause: Duration) {
        if self.drawn.is_none_or(|drawn| self.now.saturating_sub(drawn) >= pause) {
            self.draw();
        }
    }

    /// A terminal that cannot be drawn on is no reason to end a measurement.
    fn draw(&mut self) {
        let state = &self.state;
        let _ = self.terminal.draw(|frame| state.render(frame));
        self.drawn = Some(self.now);
    }
}

impl State {
    fn render(&self, frame: &mut Frame<'_>) {
        let rows = self.cases.len().min(12) as u16 + 1;
        let said = self.messages.len().min(3) as u16;
        let [head, gauge, charts, matrix, messages] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Min(8),
            Constraint::Length(rows + 1),
            Constraint::Length(said),
        ])
        .areas(frame.area());
        let head_lines = vec![Line::from(self.title.as_str()).style(Modifier::BOLD), Line::from(self.current.as_str())];
        frame.render_widget(Paragraph::new(head_lines), head);
        let errors: u64 = self.cases.iter().map(|line| line.so_far.errors).sum();
        let label = format!("{:.0} %   {} left   {errors} errors", 100.0 * self.done, minutes(self.left));
        let colour = if errors > 0 { Color::Yellow } else { Color::Green };
        frame.render_widget(Gauge::default().ratio(self.done.clamp(0.0, 1.0)).label(label).gauge_style(colour), gauge);
        let [over_time, histogram] =
            Layout::horizontal([Constraint::Percentage(60), Constraint::Fill(1)]).areas(charts);
        self.over_time(frame, over_time);
        self.histogram(frame, histogram);
        self.matrix(frame, matrix);
        let last = self.messages.iter().rev().take(3).rev();
        frame.render_widget(Paragraph::new(last.map(|line| Line::from(line.as_str())).collect::<Vec<_>>()), messages);
    }

    /// The mean latencies of the blocks of the group under way.
    fn over_time(&self, frame: &mut Frame<'_>, area: Rect) {
        let lines: Vec<&Case> = self.group.iter().map(|place| &self.cases[*place]).collect();
        let points = || lines.iter().flat_map(|line| &line.blocks);
        let (low, high) =
            points().fold((f64::MAX, 0.0_f64), |(low, high), (_, mean)| (low.min(*mean), high.max(*mean)));
        let last = points().map(|(round, _)| *round).fold(2.0, f64::max);
        let block = Block::bordered().title("mean of each block, ms");
        if low > high {
            frame.render_widget(block, area);
            return;
        }
        let margin = ((high - low) / 10.0).max(high / 100.0);
        let bounds = [(low - margin).max(0.0), high + margin];
        let datasets = lines.iter().zip(COLOURS.iter().cycle()).map(|(line, colour)| {
            Dataset::default()
                .name(line.words.as_str())
                .marker(Marker::Braille)
                .graph_type(GraphType::Line)
                .style(*colour)
                .data(&line.blocks)
        });
        let chart = Chart::new(datasets.collect())
            .hidden_legend_constraints((Constraint::Percentage(80), Constraint::Percentage(50)))
            .block(block)
            .x_axis(Axis::default().bounds([1.0, last]).labels(["1".to_owned(), format!("{last:.0}")]))
            .y_axis(Axis::default().bounds(bounds).labels(bounds.map(format_ms)));
        frame.render_widget(chart, area);
    }

    fn histogram(&self, frame: &mut Frame<'_>, area: Rect) {
        let room = (area.width.saturating_sub(2) as usize).max(1).min(self.histogram.len());
        let title = match (self.histogram.first(), self.histogram.last()) {
            (Some((first, _)), Some((last, _))) => {
                format!("latencies, {} to {} ms: {}", format_ms(*first), format_ms(*last), self.shown)
            }
            _ => "latencies".to_owned(),
        };
        let bars: Vec<Bar<'_>> = self
            .histogram
            .iter()
            .take(room)
            .map(|(_, count)| Bar::default().value(*count).text_value(String::new()))
            .collect();
        let width = (area.width.saturating_sub(2) / (room.max(1) as u16)).max(1);
        let chart = BarChart::vertical(bars)
            .block(Block::bordered().title(title))
            .bar_width(width)
            .bar_gap(0)
            .bar_style(Color::Blue);
        frame.render_widget(chart, area);
    }

    /// The cases that are done or under way, the newest last.
    fn matrix(&self, frame: &mut Frame<'_>, area: Rect) {
        let room = usize::from(area.height.saturating_sub(1));
        let begun = self.cases.iter().rposition(|line| !line.blocks.is_empty()).map_or(0, |last| last + 1);
        let first = begun.saturating_sub(room).min(self.cases.len().saturating_sub(room));
        let rows = self.cases.iter().skip(first).take(room).map(|line| {
            let number = |value: Option<f64>| value.map_or(String::new(), format_ms);
            let (word, style) = match line.status {
                Some(Status::Ok) => ("done".to_owned(), Style::from(Color::Green)),
                Some(status) => (status_words(status), Style::from(Color::Red)),
                None if line.blocks.is_empty() => (String::new(), Style::from(Modifier::DIM)),
                None => (format!("block {}", line.blocks.len()), Style::default()),
            };
            let SoFar { p50_ms, p95_ms, requests_per_s, errors, .. } = line.so_far;
            let errors = if errors > 0 { errors.to_string() } else { String::new() };
            let cells = [line.words.clone(), word, number(p50_ms), number(p95_ms), number(requests_per_s), errors];
            Row::new(cells.map(Cell::from)).style(style)
        });
        let widths = [Constraint::Fill(1), Constraint::Length(11)]
            .into_iter()
            .chain([Constraint::Length(9); 4]);
        let heading = Row::new(["case", "", "p50 ms", "p95 ms", "per s", "errors"]).style(Modifier::BOLD);
        frame.render_widget(Table::new(rows, widths).header(heading), area);
    }
}

/// The parts of a distribution from its least to its 99.5th percentile, in milliseconds, with the requests in each.
pub fn bars(counted: impl Iterator<Item = (f64, u64)>, low: f64, high: f64) -> Vec<(f64, u64)> {
    let width = ((high - low) / BARS as f64).max(f64::MIN_POSITIVE);
    let mut bars: Vec<(f64, u64)> = (0..BARS).map(|bar| (low + width * bar as f64, 0)).collect();
    for (value, count) in counted {
        let bar = ((value - low) / width) as usize;
        if let Some((_, sum)) = bars.get_mut(bar) {
            *sum += count;
        }
    }
    bars
}

fn minutes(left: Duration) -> String {
    match left.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ratatui::backend::TestBackend;

    use super::*;
    use crate::scenario::Scenario;

    /// A screen of the built-in scenario, whose first group has two blocks of each case and one finished case.
    fn screen(width: u16, height: u16) -> Screen<TestBackend> {
        let scenario = Scenario::load(Path::new("scrfd")).unwrap();
        let plan = Plan::expand(&scenario);
        let mut screen = Screen::new(TestBackend::new(width, height), "SCRFD · triton".to_owned(), &plan).unwrap();
        for (case, mean) in plan.groups[0].cases.iter().zip([200.0, 180.0]) {
            let so_far = SoFar {
                requests: 20,
                errors: 1,
                requests_per_s: Some(5.0),
                p50_ms: Some(mean),
                p95_ms: Some(1.2 * mean),
                block_means_ms: vec![(0, mean), (1, 1.05 * mean)],
                histogram: bars([(mean, 15), (1.2 * mean, 5)].into_iter(), mean, 1.2 * mean),
            };
            screen.block_done(case, so_far);
        }
        screen.say(&["the server has no statistics".to_owned()]);
        screen.advance(0.25, Duration::from_secs(300), Duration::from_secs(100));
        screen.current("scrfd  gRPC batch 1, 1 process  block 3 of 10".to_owned());
        let done = Record { case: plan.groups[0].cases[0].clone(), status: Status::Ok, ..Record::default() };
        screen.case_done(&done);
        screen
    }

    #[test]
    fn a_screen_has_the_run_its_latencies_and_its_cases() {
        let shown = screen(80, 40).terminal.backend().to_string();
        for part in [
            "SCRFD · triton",
            "scrfd  gRPC batch 1, 1 process  block 3 of 10",
            "25 %   5 min left   2 errors",
            "mean of each block, ms",
            "latencies, 180.0 to 214.5 ms",
            "HTTP batch 1, 1 process",
            "done        200.0     240.0     5.000     1",
            "block 2     180.0     216.0     5.000     1",
            "gRPC batch 8, 3 processes",
            "the server has no statistics",
        ] {
            assert!(shown.contains(part), "{part}:\n{shown}");
        }
    }

    #[test]
    fn no_size_of_a_terminal_is_too_small() {
        for (width, height) in [(1, 1), (3, 2), (10, 5), (20, 12), (300, 100)] {
            screen(width, height);
        }
    }

    #[test]
    fn a_distribution_is_cut_into_parts_that_have_all_of_it() {
        let counted = (0..=96).map(|value| (f64::from(value), 1));
        let parts = bars(counted, 0.0, 96.0);
        assert_eq!((parts.len(), parts[0], parts[1]), (BARS, (0.0, 4), (4.0, 4)));
        // the end itself is beyond the last part
        assert_eq!(parts.iter().map(|(_, count)| count).sum::<u64>(), 96);
        assert_eq!(bars([(5.0, 3)].into_iter(), 5.0, 5.0)[0].1, 3);
    }
}
