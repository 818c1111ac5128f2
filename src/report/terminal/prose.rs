//! Markdown of this program on a terminal: headings, paragraphs, lists and tables, filled to its width. Must not know what
//! they say.

use console::Style as Paint;
use pulldown_cmark::{Alignment, Event, Options, Parser, Tag, TagEnd};

use super::page::{Page, drawn};
use crate::report::table::{Cell, Table};

/// Where a reader finds what a terminal has no room for.
const ELSEWHERE: &str = "--json has all";

/// A document as lines.
pub fn lines(markdown: &str, page: Page) -> Vec<String> {
    let mut writer = Writer { page, lines: Vec::new(), text: String::new(), is_item: false, table: None };
    Parser::new_ext(markdown, Options::ENABLE_TABLES).for_each(|event| writer.take(event));
    writer.lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

struct Writer {
    page: Page,
    lines: Vec<String>,
    /// What is read of the paragraph, item or cell.
    text: String,
    is_item: bool,
    table: Option<Reading>,
}

/// A table that is being read.
struct Reading {
    table: Table,
    alignments: Vec<Alignment>,
    is_head: bool,
    is_best: bool,
    row: Vec<Cell>,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) | Event::Code(text) => self.text.push_str(&text),
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            Event::Start(Tag::Item) => (self.is_item, self.text) = (true, String::new()),
            Event::Start(Tag::Strong) => {
                if let Some(reading) = &mut self.table {
                    reading.is_best = true;
                }
            }
            Event::Start(Tag::Table(alignments)) => {
                self.text.clear();
                let table = Table::default();
                self.table = Some(Reading { table, alignments, is_head: true, is_best: false, row: Vec::new() });
            }
            Event::End(TagEnd::Heading(_)) => {
                let lines = self.filled("");
                let bold = Paint::new().bold();
                self.lines.extend(lines.iter().map(|line| self.page.paint(bold.clone(), line)));
                self.lines.push(String::new());
            }
            Event::End(TagEnd::Paragraph) if !self.is_item => {
                let lines = self.filled("");
                self.lines.extend(lines);
                self.lines.push(String::new());
            }
            Event::End(TagEnd::Item) => {
                let lines = self.filled("  ");
                self.lines.extend(lines);
                self.is_item = false;
            }
            Event::End(TagEnd::List(_)) => self.lines.push(String::new()),
            Event::End(TagEnd::TableCell) => {
                let text = std::mem::take(&mut self.text);
                if let Some(reading) = &mut self.table {
                    reading.row.push(Cell { text, is_best: std::mem::take(&mut reading.is_best) });
                }
            }
            Event::End(TagEnd::TableHead | TagEnd::TableRow) => {
                if let Some(reading) = &mut self.table {
                    reading.end_row();
                }
            }
            Event::End(TagEnd::Table) => {
                if let Some(reading) = self.table.take() {
                    self.lines.extend(drawn(&reading.table, self.page, ELSEWHERE));
                    self.lines.push(String::new());
                }
            }
            _ => {}
        }
    }

    fn filled(&mut self, first: &str) -> Vec<String> {
        self.page.filled(first, &std::mem::take(&mut self.text))
    }
}

impl Reading {
    fn end_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        if !std::mem::take(&mut self.is_head) {
            return self.table.row(row);
        }
        for (cell, alignment) in row.into_iter().zip(&self.alignments) {
            match alignment {
                Alignment::Right => self.table.numbers(cell.text),
                _ => self.table.words(cell.text),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "### A title: of 2 runs\n\n- **Broken**: p95 > 5%: batch 1: worse by more than was allowed.\n\n\
                            | Case | Mean (ms) | Said |\n|---|---:|---|\n| batch 1 | 1.5 | **faster** |\n| batch 10 | 12.25 | no \\| difference |\n\n\
                            - Differs: server: `a` → \\<b\\>.\n";

    #[test]
    fn a_document_fits_the_page_and_keeps_its_words() {
        let page = Page { width: 48, is_coloured: false };
        let expected = "A title: of 2 runs\n\n  Broken: p95 > 5%: batch 1: worse by more than\n  was allowed.\n\n \
                        Case      Mean (ms)  Said\n batch 1         1.5  faster\n batch 10      12.25  no | difference\n\n  \
                        Differs: server: a → <b>.\n";
        assert_eq!(lines(DOCUMENT, page).join("\n"), expected);
        let narrow = lines(DOCUMENT, Page { width: 30, ..page });
        assert!(narrow.iter().all(|line| console::measure_text_width(line) <= 48), "{narrow:#?}");
        assert!(narrow.iter().any(|line| line == "1 more column: --json has all"), "{narrow:#?}");
        let coloured = lines(DOCUMENT, Page { is_coloured: true, ..page }).join("\n");
        assert!(coloured.starts_with("\u{1b}[1mA title") && coloured.contains("faster"), "{coloured:?}");
    }
}
