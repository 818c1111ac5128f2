//! A run as one HTML file that needs no network: answers, charts, tables, doubts, and all that it was measured with. All
//! text from outside is escaped by the templates. Must not know how numbers come about.

pub mod charts;
mod metrics;

use charts::Number;

use std::path::Path;

use anyhow::Result;
use maud::{DOCTYPE, Markup as Html, PreEscaped, html};
use pulldown_cmark::{Options, Parser};

use super::answers::{Line, Said};
use super::notes::{About, Note, notes};
use super::picture::{Chart, Theme, svg};
use super::run::Run;
use super::said::{measure, said};
use super::table::{Cell, Table};
use super::tables::{Rows, Style};
use super::verdicts::{self, Compared};
use super::words::{Markup, number_if_any, status_words};
use super::{capacity, cold_start, hosts, layout, mlperf, profile, stages, tables, thresholds};
use crate::file;
use crate::matrix::AxisId;
use crate::record::{Flag, RECORDS, Record, SCENARIO};
use crate::text;

/// The file in a run's folder.
pub const REPORT: &str = "report.html";

/// Runs as one document.
pub fn document(runs: &[Run]) -> String {
    let title = runs.iter().map(|run| text::name(&run.manifest.title)).collect::<Vec<_>>().join(", ");
    let sections: Vec<Html> = runs.iter().enumerate().map(|(number, run)| section(run, number)).collect();
    whole(&title, &html! { @for section in &sections { (section) } })
}

/// Writes Markdown of this program as a document.
///
/// # Errors
/// The file cannot be written.
pub fn write_markdown(path: &Path, title: &str, markdown: &str) -> Result<()> {
    let title = text::name(title);
    let content = html! { h1 { (title) } div.scroll tabindex="0" { (rendered(markdown)) } };
    file::replace(path, whole(&title, &content).as_bytes())
}

fn whole(title: &str, content: &Html) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // nothing is fetched, whatever a name from outside says
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(style())) }
            }
            body {
                main { (content) }
                script { (PreEscaped(include_str!("script.js"))) }
            }
        }
    };
    page.into_string()
}

fn style() -> String {
    let [light, dark] = [Theme::Light, Theme::Dark].map(Theme::variables);
    let themes = format!(":root{{{light}}}@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n");
    let on_paper = format!("@media print{{:root{{{light}--page:#fff;--soft:#f6f8fa}}}}");
    format!("{themes}{}{on_paper}", include_str!("style.css"))
}

/// A run's part of a document.
struct Page<'a> {
    run: &'a Run,
    /// The number of the part, which its anchors end with.
    number: usize,
    tables: Vec<Rows<'a>>,
    cells: Vec<Compared<'a>>,
    notes: Vec<Note>,
}

fn section(run: &Run, number: usize) -> Html {
    let tables = tables::of(run);
    let cells = tables::cells(&tables);
    let notes = notes(run, &cells, Markup::Plain);
    let page = Page { run, number, tables, cells, notes };
    let rows: Vec<&Record> = run.records.iter().collect();
    let groups = verdicts::groups(run.compared, &rows);
    let chosen = charts::chosen(&groups, &page.cells);
    let figures_of = |charts: Vec<Chart>| some(&charts, chosen.len(), groups.len());
    let parts: Vec<(&str, &str, Html)> = [
        ("capacity", "Capacity", page.capacity(&groups)),
        ("mlperf", "By MLPerf's rules", page.mlperf()),
        ("cold-starts", "Cold starts", page.cold_starts()),
        ("by", "Latency and throughput", page.along()),
        ("numbers", "The numbers", page.numbers()),
        (
            "distribution",
            "Distribution",
            figures_of(chosen.iter().flat_map(|group| charts::distribution(run, group)).collect()),
        ),
        ("parts", "Where the time goes", page.parts()),
        ("stages", "The stages", page.stages()),
        ("hosts", "The hosts", page.hosts()),
        (
            "time",
            "Over time",
            figures_of(if capacity::is_searched(run) {
                Vec::new()
            } else {
                chosen.iter().filter_map(|group| charts::over_time(run, group)).collect()
            }),
        ),
        ("lateness", "Requests sent late", figures_of(charts::lateness(run, &chosen))),
        ("metrics", "The server meanwhile", figures(&metrics::charts(run))),
        ("flags", "Doubts, and what to do about them", page.flags()),
        ("rows", "All cases", page.rows()),
        ("setup", "Measured with", page.setup()),
        ("again", "Again", page.again()),
    ]
    .into_iter()
    .filter(|(_, _, content)| !content.0.is_empty())
    .collect();
    html! {
        header {
            h1 { (text::name(&run.manifest.title)) }
            (page.facts())
            nav aria-label=(format!("Sections of {}", text::name(&run.manifest.title))) {
                ul { @for (id, heading, _) in &parts { li { a href=(format!("#{}", page.id(id))) { (heading) } } } }
            }
        }
        (page.answers())
        @for (id, heading, content) in &parts {
            section id=(page.id(id)) { h2 { (heading) } (content) }
        }
    }
}

impl Page<'_> {
    fn id(&self, name: &str) -> String {
        format!("{name}-{}", self.number)
    }

    fn about(&self, about: About) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(move |note| note.about == about)
    }

    fn facts(&self) -> Html {
        let manifest = &self.run.manifest;
        let ended = manifest.ended.map_or("not ended".to_owned(), |ended| ended.to_string());
        html! {
            ul.facts {
                @for note in self.about(About::Method).chain(self.about(About::Source)) { li { (note.text) } }
                li { "Measured from " (manifest.started.to_string()) " to " (ended) "." }
            }
        }
    }

    fn answers(&self) -> Html {
        let run = self.run;
        let Said { answers, fastest } = said(run, &self.cells);
        let failures: Vec<&Note> = self.about(About::Failure).collect();
        let doubts = self.about(About::Doubt).count();
        html! {
            @for answers in answers {
                h2 { (answers.question) ", " (measure(run)) }
                ul.answers {
                    @for Line { place, words, is_faster } in answers.lines() {
                        li {
                            @if !place.is_empty() { span { (place) } }
                            span class=[is_faster.then_some("faster")] { (words) }
                        }
                    }
                }
            }
            @for (place, value) in fastest {
                p { "Fastest" @if !place.is_empty() { " of " (place) } ": " strong { (value) } "." }
            }
            @let judged = thresholds::judged(run);
            @if let Some(summary) = thresholds::summary(run, &judged) {
                p class=[thresholds::is_broken(&judged).then_some("warning failure")] { (summary) "." }
            }
            @if let Some(table) = thresholds::table(&judged) { (drawn(&table)) }
            @if let Some(part) = run.part() { p.warning { "Not a whole run: " (part) "." } }
            @if doubts > 0 {
                p.warning { (doubts) @if doubts == 1 { " thing makes" } @else { " things make" }
                    " some of these numbers doubtful: " a href=(format!("#{}", self.id("flags"))) { "see below" } "." }
            }
            @for failure in failures { p.warning.failure { (failure.text) } }
        }
    }

    fn mlperf(&self) -> Html {
        told(mlperf::heading(self.run), mlperf::table(self.run))
    }

    fn stages(&self) -> Html {
        html! { @if let Some(table) = stages::table(self.run) { (drawn(&table)) } }
    }

    fn cold_starts(&self) -> Html {
        told(cold_start::heading(self.run), cold_start::table(self.run))
    }

    fn along(&self) -> Html {
        figures(&charts::along_axis(self.run, &text::name(&self.run.manifest.title)))
    }

    /// The capacities, and every load that was tried.
    fn capacity(&self, groups: &[Vec<&Record>]) -> Html {
        let run = self.run;
        if !capacity::is_searched(run) {
            return html! {};
        }
        let title = |group: &Vec<&Record>| charts::titled(run, "Capacity", group);
        let charts: Vec<Chart> = groups.iter().filter_map(|group| capacity::chart(run, group, title(group))).collect();
        html! {
            (drawn(&capacity::table(run)))
            (figures(&charts))
            @for record in &run.records {
                @if let Some(table) = capacity::tries(run, record) {
                    details { summary { "Every load that was tried: " (record.case.phrase()) } (drawn(&table)) }
                }
            }
        }
    }

    fn numbers(&self) -> Html {
        if self.tables.is_empty() {
            return html! {};
        }
        html! {
            @for rows in &self.tables {
                @if self.tables.len() > 1 { h3 { (rows.heading()) } }
                (drawn(&rows.latencies(Style { intervals: true })))
                @if let Some(goodput) = rows.goodput() { (drawn(&goodput)) }
                @if let Some(ratios) = rows.comparisons() {
                    details { summary { "Ratios with their 95 % intervals" } (drawn(&ratios)) }
                }
            }
            @for note in self.about(About::Reading) { p { (note.text) } }
        }
    }

    fn parts(&self) -> Html {
        let Some(chart) = charts::parts(self.run) else { return html! {} };
        let tables = self.tables.iter().filter_map(Rows::parts);
        html! {
            (figures(&[chart]))
            details { summary { "The same in numbers" } @for table in tables { (drawn(&table)) } }
        }
    }

    fn hosts(&self) -> Html {
        html! { @if let Some(table) = hosts::table(self.run) { (drawn(&table)) } }
    }

    fn flags(&self) -> Html {
        let raised: Vec<Flag> = Flag::ALL
            .iter()
            .map(|(_, flag)| *flag)
            .filter(|flag| self.run.records.iter().any(|record| record.flags.has(*flag)))
            .collect();
        if self.about(About::Doubt).next().is_none() && raised.is_empty() {
            return html! {};
        }
        html! {
            ul { @for note in self.about(About::Doubt) { li { (note.text) } } }
            @if !raised.is_empty() {
                div.scroll tabindex="0" {
                    table.wrap {
                        thead { tr { th scope="col" { "Flag" } th scope="col" { "Raised where" } th scope="col" { "What to do" } } }
                        tbody {
                            @for flag in raised {
                                tr { th scope="row" { (flag.name()) } td { (rendered(flag.condition())) } td { (rendered(flag.remedy())) } }
                            }
                        }
                    }
                }
            }
        }
    }

    fn rows(&self) -> Html {
        let axes: Vec<AxisId> = {
            let mut axes = layout::varying(self.run);
            axes.push(self.run.compared);
            axes.sort_unstable();
            axes
        };
        let numbers: [(&str, Number); 16] = [
            ("Capacity (requests/s)", |row| row.capacity_per_s),
            ("Capacity, low", |row| row.capacity_low_per_s),
            ("Capacity, high", |row| row.capacity_high_per_s),
            ("Mean (ms)", |row| row.mean_ms),
            ("P50 (ms)", |row| row.p50_ms),
            ("P95 (ms)", |row| row.p95_ms),
            ("P99 (ms)", |row| row.p99_ms),
            ("Max (ms)", |row| row.max_ms),
            ("Inferences/s", |row| row.inferences_per_s),
            ("Client (ms)", |row| row.client_ms),
            ("Network, Front End (ms)", |row| row.network_ms),
            ("Queue (ms)", |row| row.queue_ms),
            ("Compute Infer (ms)", |row| row.compute_infer_ms),
            ("Sent late P50 (ms)", |row| row.lateness_p50_ms),
            ("Sent late P99 (ms)", |row| row.lateness_p99_ms),
            ("Client CPU (ms a request)", |row| row.client_cpu_ms),
        ];
        let records = &self.run.records;
        let told: Vec<_> = numbers
            .into_iter()
            .filter(|(_, of)| records.iter().any(|row| of(row).is_some()))
            .collect();
        let (filter, count) = (self.id("filter"), self.id("count"));
        html! {
            p.filter {
                label for=(filter) { "Only cases with the words " }
                input id=(filter) type="search" placeholder="grpc b8";
                " " span id=(count) role="status" { (records.len()) " cases" }
            }
            div.scroll tabindex="0" {
                table.rows data-filter=(filter) data-count=(count) {
                    thead { tr {
                        (heading("Case", false))
                        @for id in &axes { (heading(id.axis().heading, layout::is_number(*id))) }
                        (heading("Requests", true)) (heading("Errors", true))
                        @for (name, _) in &told { (heading(name, true)) }
                        (heading("Status", false)) (heading("Flags", false))
                    } }
                    tbody {
                        @for row in records {
                            tr {
                                th scope="row" { (row.case.tag()) }
                                @for id in &axes {
                                    td class=[layout::is_number(*id).then_some("number")] { (layout::cells(&[*id], row)[0].text) }
                                }
                                td.number { (row.requests) } td.number { (row.errors) }
                                @for (_, of) in &told { td.number { (number_if_any(of(row))) } }
                                td { (status_words(row.status)) } td { (row.flags) }
                            }
                        }
                    }
                }
            }
        }
    }

    fn setup(&self) -> Html {
        let run = self.run;
        let scenario = std::fs::read_to_string(run.path.join(SCENARIO)).ok();
        html! {
            @for told in [profile::environment(run), profile::docker(run), profile::model(run), profile::parameters(run)] {
                div.scroll tabindex="0" { (rendered(&told)) }
            }
            @if let Some(scenario) = scenario { details { summary { "The scenario" } pre { (text::lines(&scenario)) } } }
        }
    }

    fn again(&self) -> Html {
        let manifest = &self.run.manifest;
        let options = manifest.overridden.join(" ");
        let name = text::name(&manifest.scenario);
        html! {
            p { "The same measurement, where the scenario is in " code { "scenarios/" } ":" }
            pre { (format!("runner scenarios/{name}.toml {options}").trim_end()) }
            p { "This report from its rows, in " code { (self.run.path.join(RECORDS).display()) } ":" }
            pre { "runner report --html " (REPORT) " " (self.run.path.display()) }
        }
    }
}

fn heading(name: &str, is_number: bool) -> Html {
    html! { th scope="col" class=[is_number.then_some("number")] { button type="button" { (name) } } }
}

/// Charts of some groups, if there are many.
fn some(charts: &[Chart], shown: usize, all: usize) -> Html {
    if charts.is_empty() {
        return html! {};
    }
    html! {
        @if shown < all { p { "The " (shown) " of " (all) " with the largest differences." } }
        (figures(charts))
    }
}

fn figures(charts: &[Chart]) -> Html {
    if charts.is_empty() {
        return html! {};
    }
    html! { div.charts { @for chart in charts { figure { (PreEscaped(svg(chart, Theme::Page))) } } } }
}

fn told(heading: Option<String>, table: Option<Table>) -> Html {
    html! { @if let Some((heading, table)) = heading.zip(table) { p { (heading) } (drawn(&table)) } }
}

fn drawn(table: &Table) -> Html {
    let cell = |cell: &Cell| html! { @if cell.is_best { span.best { (cell.text) } } @else { (cell.text) } };
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for column in table.columns() {
                    th scope="col" class=[column.is_number.then_some("number")] { (column.heading) }
                } } }
                tbody { @for row in table.rows() { tr {
                    @for (content, column) in row.iter().zip(table.columns()) {
                        td class=[column.is_number.then_some("number")] { (cell(content)) }
                    }
                } } }
            }
        }
    }
}

/// Markdown of this program, in which text from outside is escaped, as HTML.
fn rendered(markdown: &str) -> Html {
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, Parser::new_ext(markdown, Options::ENABLE_TABLES));
    // a heading without words is none
    PreEscaped(out.replace("<th></th>", "<td></td>"))
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
