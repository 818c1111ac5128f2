//! A table as data, before it is Markdown or anything else. Must not know what it holds.

/// A table: columns, and a cell of each in every row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Column {
    heading: String,
    /// Numbers are aligned right.
    is_number: bool,
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
        self.columns.push(Column { heading: heading.into(), is_number: false });
    }

    /// Adds a column of numbers.
    pub fn numbers(&mut self, heading: impl Into<String>) {
        self.columns.push(Column { heading: heading.into(), is_number: true });
    }

    /// Adds a row, with its cells in the order of the columns.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// As Markdown. Text from outside must be escaped before.
    pub fn markdown(&self) -> String {
        let headings: Vec<&str> = self.columns.iter().map(|column| column.heading.as_str()).collect();
        let lines: Vec<&str> = self
            .columns
            .iter()
            .map(|column| if column.is_number { "---:" } else { "---" })
            .collect();
        let shown = |cell: &Cell| if cell.is_best { format!("**{}**", cell.text) } else { cell.text.clone() };
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
