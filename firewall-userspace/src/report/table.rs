//! Text in columns.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Which way a column is pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// To the left: words.
    Left,
    /// To the left, and cut where the terminal is too narrow.
    Cut,
    /// To the left, and left out where the terminal is too narrow.
    Spare,
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
        self.rows.push(cells.map(|cell| visible(&cell)).into());
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, each ended; two spaces between columns, none at the end.
    #[must_use]
    pub fn render(&self) -> String {
        self.fitted(usize::MAX)
    }

    /// The lines, as far as they can be made to fit a terminal.
    #[must_use]
    pub fn fitted(&self, columns: usize) -> String {
        let has_head = self.head.iter().any(|name| !name.is_empty());
        let lines = has_head.then_some(&self.head).into_iter().chain(&self.rows);
        let mut widths = vec![0; self.align.len()];
        for line in lines.clone() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(width_of(cell));
            }
        }
        self.narrow(&mut widths, columns);
        let mut text = String::new();
        for line in lines {
            let mut shown = String::new();
            let cells = line.iter().zip(&widths).zip(&self.align);
            // A column that is empty throughout takes no space.
            for ((cell, &width), align) in cells.filter(|((_, width), _)| **width > 0) {
                let cell = cut(cell, width);
                // A width in a format string has 16 bits, and a group may have more.
                let pad = " ".repeat(width - width_of(&cell));
                match align {
                    Align::Left | Align::Cut | Align::Spare => {
                        let _ = write!(shown, "{cell}{pad}  ");
                    }
                    Align::Right => {
                        let _ = write!(shown, "{pad}{cell}  ");
                    }
                }
            }
            let _ = writeln!(text, "{}", shown.trim_end());
        }
        text
    }

    /// Leaves out what is spare, from the right, then takes columns away from the
    /// widest that may be cut, until all fit.
    fn narrow(&self, widths: &mut [usize], columns: usize) {
        let columns = columns.saturating_add(GAP);
        let taken = |widths: &[usize]| -> usize {
            widths.iter().filter(|width| **width > 0).map(|width| width + GAP).sum()
        };
        for column in (0..widths.len()).rev() {
            if self.align[column] == Align::Spare && taken(widths) > columns {
                widths[column] = 0;
            }
        }
        for _ in columns..taken(widths) {
            let may_cut = |column: &usize| self.align[*column] == Align::Cut;
            let widest = (0..widths.len()).filter(may_cut).max_by_key(|column| widths[*column]);
            match widest {
                Some(column) if widths[column] > NARROWEST => widths[column] -= 1,
                _ => return,
            }
        }
    }
}

/// Between two columns.
const GAP: usize = 2;
/// What is left of a column that is cut.
const NARROWEST: usize = 12;

fn cut(cell: &str, width: usize) -> Cow<'_, str> {
    if width_of(cell) <= width {
        return Cow::Borrowed(cell);
    }
    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    Cow::Owned(format!("{kept}…"))
}

/// A text of others on a line of ours: control characters would move the cursor.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let _ = write!(shown, "{}", c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
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
    fn a_narrow_terminal_cuts_what_may_be_cut() {
        let mut table = Table::new([
            ("rule", Align::Left),
            ("service", Align::Cut),
            ("written at", Align::Spare),
        ]);
        let service = "node-exporter, firewall-metrics".into();
        table.row(["scrape-node".into(), service, "site.yaml:58".into()]);
        assert_eq!(table.fitted(58), table.render());
        assert_eq!(
            table.fitted(57),
            "rule         service\nscrape-node  node-exporter, firewall-metrics\n"
        );
        assert_eq!(table.fitted(30), "rule         service\nscrape-node  node-exporter, f…\n");
        assert_eq!(table.fitted(3), "rule         service\nscrape-node  node-export…\n");
    }

    #[test]
    fn a_cell_may_be_wider_than_a_format_string_pads() {
        let mut table = Table::new([("", Align::Left), ("", Align::Right), ("", Align::Left)]);
        let long = "x".repeat(70_000);
        table.row([long.clone(), long.clone(), "a".into()]);
        table.row(["a".into(), "b".into(), "c".into()]);
        let pad = " ".repeat(69_999);
        assert_eq!(table.render(), format!("{long}  {long}  a\na{pad}  {pad}b  c\n"));
    }

    #[test]
    fn a_cell_cannot_move_the_cursor() {
        let mut table = Table::new([("", Align::Left)]);
        table.row(["a\n\x1b[31mb".into()]);
        assert_eq!(table.render(), "a\\n\\u{1b}[31mb\n");
    }

    #[test]
    fn an_empty_column_takes_no_space() {
        let mut table = Table::new([("", Align::Left), ("", Align::Left), ("", Align::Left)]);
        table.row(["a".into(), String::new(), "b".into()]);
        assert_eq!(table.render(), "a  b\n");
    }
}
