//! Text in columns.

use std::fmt::Write as _;

/// Which way a column is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// To the left: words.
    Left,
    /// To the right: numbers.
    Right,
}

/// Rows of cells under an optional head.
#[derive(Clone, Debug)]
pub struct Table {
    head: Vec<String>,
    align: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head; an empty head is not printed.
    #[must_use]
    pub fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let (head, align) =
            columns.into_iter().map(|(name, align)| (name.to_owned(), align)).unzip();
        Self { head, align, rows: Vec::new() }
    }

    /// Adds a row; one cell per column.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.align.len());
        self.rows.push(cells.into());
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each ended; two spaces between columns, none at the end.
    #[must_use]
    pub fn render(&self) -> String {
        let has_head = self.head.iter().any(|name| !name.is_empty());
        let lines = has_head.then_some(&self.head).into_iter().chain(&self.rows);
        let mut widths = vec![0; self.align.len()];
        for line in lines.clone() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(width_of(cell));
            }
        }
        let mut text = String::new();
        for line in lines {
            let mut shown = String::new();
            let cells = line.iter().zip(&widths).zip(&self.align);
            // A column that is empty throughout takes no space.
            for ((cell, &width), align) in cells.filter(|((_, width), _)| **width > 0) {
                let pad = width - width_of(cell);
                match align {
                    Align::Left => _ = write!(shown, "{cell}{:pad$}  ", ""),
                    Align::Right => _ = write!(shown, "{:pad$}{cell}  ", ""),
                }
            }
            let _ = writeln!(text, "{}", shown.trim_end());
        }
        text
    }
}

/// Columns that a cell takes: rule names are ASCII, the rest is one wide.
fn width_of(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_trails() {
        let mut table =
            Table::new([("", Align::Left), ("now", Align::Right), ("unit", Align::Left)]);
        table.row(["web-qps".into(), "3,982.0".into(), "http-requests/s".into()]);
        table.row(["default-in".into(), "–".into(), String::new()]);
        assert_eq!(
            table.render(),
            "                now  unit\n\
             web-qps     3,982.0  http-requests/s\n\
             default-in        –\n"
        );
    }

    #[test]
    fn an_empty_column_takes_no_space() {
        let mut table = Table::new([("", Align::Left), ("", Align::Left), ("", Align::Left)]);
        table.row(["a".into(), String::new(), "b".into()]);
        assert_eq!(table.render(), "a  b\n");
    }
}
