//! A table as data, before it is Markdown or anything else. Must not know what it holds.

use super::words::escaped;

/// A table: columns, and a cell of each in every row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The heading.
    pub heading: String,
    /// The heading where there is little room; may have several lines. Columns of measured values have one.
    short: Option<String>,
    /// Numbers are aligned right.
    pub is_number: bool,
}

impl Column {
    /// The heading where there is little room.
    pub fn short(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.heading)
    }

    /// Whether it has measured values, and not those of an axis.
    pub fn is_measured(&self) -> bool {
        self.short.is_some()
    }
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// Its text.
    pub text: String,
    /// Whether it is the best of the cells that it is compared with.
    pub is_best: bool,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell { text: text.into(), is_best: false }
    }
}

impl Table {
    /// Adds a column of words.
    pub fn words(&mut self, heading: impl Into<String>) {
        self.columns.push(Column { heading: heading.into(), short: None, is_number: false });
    }

    /// Adds a column of numbers.
    pub fn numbers(&mut self, heading: impl Into<String>) {
        self.columns.push(Column { heading: heading.into(), short: None, is_number: true });
    }

    /// Adds a column of measured values, with a heading for where there is little room.
    pub fn measured(&mut self, heading: impl Into<String>, short: impl Into<String>) {
        self.columns
            .push(Column { heading: heading.into(), short: Some(short.into()), is_number: true });
    }

    /// Its columns.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Its rows, with a cell for each column.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// Whether any column has numbers.
    pub fn has_numbers(&self) -> bool {
        self.columns.iter().any(|column| column.is_number)
    }

    /// Adds a row, with its cells in the order of the columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let headings: Vec<String> = self.columns.iter().map(|column| escaped(&column.heading)).collect();
        let lines: Vec<&str> = self
            .columns
            .iter()
            .map(|column| if column.is_number { "---:" } else { "---" })
            .collect();
        let shown = |cell: &Cell| {
            let text = escaped(&cell.text);
            if cell.is_best { format!("**{text}**") } else { text }
        };
        let rows = self.rows.iter().map(|row| row.iter().map(shown).collect::<Vec<_>>().join(" | "));
        let mut out = format!("| {} |\n|{}|\n", headings.join(" | "), lines.join("|"));
        rows.for_each(|row| out.push_str(&format!("| {row} |\n")));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::default();
        table.numbers("Batch Size");
        table.words("Protocol");
        table.row(vec!["1".into(), Cell { text: "HTTP".to_owned(), is_best: true }]);
        assert_eq!(table.markdown(), "| Batch Size | Protocol |\n|---:|---|\n| 1 | **HTTP** |\n");
    }
}
