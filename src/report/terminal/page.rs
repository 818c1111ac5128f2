//! The page that a terminal is: its width, its colours, text and tables that fit it. Must not know what they say.

use comfy_table::{Attribute, CellAlignment, Color, ContentArrangement, presets};
use console::{Style as Paint, Term};
use textwrap::Options;

use crate::report::table::{Cell, Table};
use crate::text;

/// The width of text that is not on a terminal, and the least that anything is laid out for.
const WIDTH: usize = 80;
const WIDTH_MIN: usize = 40;
/// Wider lines are hard to read.
const WIDTH_MAX: usize = 120;
/// Most rows of a table; the others are in the files.
pub const ROWS_MAX: usize = 48;

/// Where text is shown.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// In columns.
    pub width: usize,
    /// Whether text has colours and weights.
    pub is_coloured: bool,
}

impl Page {
    /// Standard output.
    pub fn of_terminal() -> Self {
        let columns = Term::stdout().size_checked().map_or(WIDTH, |(_, columns)| usize::from(columns));
        Page { width: columns.clamp(WIDTH_MIN, WIDTH_MAX), is_coloured: console::colors_enabled() }
    }

    /// Text in a colour or weight, where there are any.
    pub fn paint(self, paint: Paint, text: &str) -> String {
        paint.force_styling(self.is_coloured).apply_to(text).to_string()
    }

    /// Fills lines with text; those after the first are indented below the text that begins at `start`.
    pub fn filled(self, first: &str, text: &str) -> Vec<String> {
        let indent = " ".repeat(textwrap::core::display_width(first));
        let options = Options::new(self.width).initial_indent(first).subsequent_indent(&indent);
        textwrap::wrap(text, options).into_iter().map(|line| line.into_owned()).collect()
    }
}

/// A table that is no wider than the page: words are broken into lines; of a table with numbers, columns that have no room are
/// left out, from the last. `elsewhere` says where they are.
pub fn drawn(table: &Table, page: Page, elsewhere: &str) -> Vec<String> {
    let mut shown = table.columns().len();
    let mut lines = lines_of(table, shown, page);
    let fits = |lines: &[String]| lines.iter().all(|line| console::measure_text_width(line) <= page.width);
    while shown > 2 && table.has_numbers() && !fits(&lines) {
        shown -= 1;
        lines = lines_of(table, shown, page);
    }
    let (rows, columns) = (table.rows().len().saturating_sub(ROWS_MAX), table.columns().len() - shown);
    let more = [(rows, "row"), (columns, "column")];
    let more: Vec<String> = more
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, of)| format!("{n} more {of}{}", if *n == 1 { "" } else { "s" }))
        .collect();
    if !more.is_empty() {
        lines.push(format!("{}: {elsewhere}", more.join(" and ")));
    }
    lines
}

fn lines_of(table: &Table, shown: usize, page: Page) -> Vec<String> {
    let mut drawn = comfy_table::Table::new();
    drawn.load_style(presets::NOTHING);
    match table.has_numbers() {
        true => drawn.set_content_arrangement(ContentArrangement::Disabled),
        false => drawn.set_content_arrangement(ContentArrangement::Dynamic).set_width(page.width as u16),
    };
    match page.is_coloured {
        true => drawn.enforce_styling(),
        false => drawn.force_no_tty(),
    };
    let header = table.columns().iter().take(shown).map(|column| comfy_table::Cell::new(column.short()));
    drawn.set_header(header);
    let mut before: Option<&[Cell]> = None;
    for row in table.rows().iter().take(ROWS_MAX) {
        let cells = row.iter().zip(table.columns()).enumerate().take(shown).map(|(place, (cell, column))| {
            // what the row above has too is left blank, as far as the rows are the same
            let repeats = |before: &[Cell]| {
                !column.is_measured() && before[..=place].iter().zip(row).all(|(above, own)| above.text == own.text)
            };
            let text = if before.is_some_and(repeats) { String::new() } else { text::name(&cell.text) };
            let drawn = comfy_table::Cell::new(text);
            if cell.is_best { drawn.fg(Color::Green).add_attribute(Attribute::Bold) } else { drawn }
        });
        drawn.add_row(cells.collect::<Vec<_>>());
        before = Some(row);
    }
    for (place, column) in table.columns().iter().enumerate().take(shown) {
        if let (true, Some(drawn)) = (column.is_number, drawn.column_mut(place)) {
            drawn.set_cell_alignment(CellAlignment::Right);
        }
    }
    drawn.to_string().lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut table = Table::default();
        (0..5).for_each(|column| table.measured(format!("column {column}"), format!("a wide column {column}")));
        (0..ROWS_MAX + 2).for_each(|row| table.row(vec![Cell::from(row.to_string()); 5]));
        let page = Page { width: 40, is_coloured: false };
        let lines = drawn(&table, page, "in the files");
        assert_eq!(lines.len(), 1 + ROWS_MAX + 1);
        assert_eq!(lines.last().unwrap(), "2 more rows and 3 more columns: in the files");
        let lines = drawn(&table, Page { width: 200, ..page }, "in the files");
        assert_eq!(lines.last().unwrap(), "2 more rows: in the files");
    }

    #[test]
    fn words_are_broken_into_lines_and_no_column_is_lost() {
        let mut table = Table::default();
        (0..4).for_each(|column| table.words(format!("column {column}")));
        table.row(vec![Cell::from("some words that take several lines"); 4]);
        let lines = drawn(&table, Page { width: 48, is_coloured: false }, "");
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= 48), "{lines:#?}");
        assert_eq!(lines.join(" ").matches("several").count(), 4, "{lines:#?}");
    }
}
