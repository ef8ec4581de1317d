//! A section as a table: rows by columns, each with its figure, its noise, and its
//! ratio to the bare drop of the column.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::bench::sections::{SECTIONS, Section};

/// One section.
pub(super) struct Table {
    pub(super) section: &'static Section,
    pub(super) columns: Vec<String>,
    /// Rows of the product.
    pub(super) ours: BTreeSet<String>,
    /// Name, and a cell for each column.
    pub(super) rows: Vec<(String, Vec<Option<Cell>>)>,
    /// Row and reason.
    skipped: Vec<(String, String)>,
}

/// One figure.
pub(super) struct Cell {
    pub(super) value: f64,
    pub(super) unit: String,
    /// Median absolute deviation.
    pub(super) deviation: Option<f64>,
    pub(super) ratio: Option<f64>,
}

/// The sections of a stored run that have anything in them.
pub(super) fn of(document: &Value) -> Result<Vec<Table>> {
    let list = |name: &str| {
        document[name].as_array().with_context(|| format!("the stored run has no {name}"))
    };
    let (figures, skipped) = (list("figures")?, list("skipped")?);
    let mut tables = Vec::new();
    for section in &SECTIONS {
        let mut table = Table {
            section,
            columns: Vec::new(),
            ours: BTreeSet::new(),
            rows: Vec::new(),
            skipped: Vec::new(),
        };
        for figure in figures.iter().filter(|figure| figure["section"] == section.id) {
            table.add(figure);
        }
        for one in skipped.iter().filter(|one| one["section"] == section.id) {
            table.skipped.push((text(&one["row"]), text(&one["reason"])));
        }
        if !table.rows.is_empty() || !table.skipped.is_empty() {
            tables.push(table);
        }
    }
    Ok(tables)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Position of a name in a list, where it is put if it is not there.
fn place<T>(list: &mut Vec<T>, is: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    list.iter().position(is).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    })
}

impl Table {
    fn add(&mut self, figure: &Value) {
        let (row, column) = (text(&figure["row"]), text(&figure["column"]));
        let column = place(&mut self.columns, |name| *name == column, || column.clone());
        let row = place(&mut self.rows, |(name, _)| *name == row, || (row.clone(), Vec::new()));
        if figure["ours"] == true {
            self.ours.insert(self.rows[row].0.clone());
        }
        let cells = &mut self.rows[row].1;
        cells.resize_with(cells.len().max(column + 1), || None);
        cells[column] = Some(Cell {
            value: figure["value"].as_f64().unwrap_or(f64::NAN),
            unit: text(&figure["unit"]),
            deviation: figure["spread"]["deviation"].as_f64(),
            ratio: figure["ratio"].as_f64(),
        });
    }

    /// Rows that could not be had, and why.
    pub(super) fn skipped(&self) -> &[(String, String)] {
        &self.skipped
    }

    /// For a terminal.
    pub(super) fn text(&self) -> String {
        let mut text = format!("\n{}\n", self.section.title);
        for line in wrapped(self.section.about, 96) {
            let _ = writeln!(text, "  {line}");
        }
        let names = self.rows.iter().map(|(name, _)| name.chars().count());
        let first = names.max().unwrap_or(0).max(20);
        let mut widths: Vec<usize> = self.columns.iter().map(|name| name.chars().count()).collect();
        for (_, cells) in &self.rows {
            for (width, cell) in widths.iter_mut().zip(cells) {
                let cell = cell.as_ref().map_or(0, |cell| cell.text().chars().count());
                *width = cell.max(*width);
            }
        }
        if !self.columns.is_empty() {
            let _ = write!(text, "  {:first$}", "");
            for (name, &width) in self.columns.iter().zip(&widths) {
                let _ = write!(text, "  {name:>width$}");
            }
            text.push('\n');
        }
        for (name, cells) in &self.rows {
            let _ = write!(text, "  {name:first$}");
            for (place, &width) in widths.iter().enumerate() {
                let cell = cells.get(place).and_then(Option::as_ref).map(Cell::text);
                let _ = write!(text, "  {:>width$}", cell.unwrap_or_default());
            }
            text.push('\n');
        }
        for (row, reason) in &self.skipped {
            let _ = writeln!(text, "  {row:first$}  skipped: {reason}");
        }
        text.trim_end().to_owned()
    }

    /// For a document.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("\n### {}\n\n{}\n\n| |", self.section.title, self.section.about);
        for name in &self.columns {
            let _ = write!(text, " {name} |");
        }
        text.push_str("\n| --- |");
        text.push_str(&" ---: |".repeat(self.columns.len()));
        for (name, cells) in &self.rows {
            let _ = write!(text, "\n| {name} |");
            for place in 0..self.columns.len() {
                let cell = cells.get(place).and_then(Option::as_ref).map(Cell::text);
                let _ = write!(text, " {} |", cell.unwrap_or_default());
            }
        }
        for (row, reason) in &self.skipped {
            let _ = write!(text, "\n\nSkipped: {row}: {reason}");
        }
        text
    }
}

impl Cell {
    /// `12.3 ±0.1  1.45x`, or a number with its unit.
    pub(super) fn text(&self) -> String {
        let mut text = match self.unit.as_str() {
            "" => count(self.value),
            "ns" if self.deviation.is_some() => number(self.value),
            unit @ ("instructions" | "bytes") => format!("{} {unit}", count(self.value)),
            unit => format!("{} {unit}", number(self.value)),
        };
        if let Some(deviation) = self.deviation {
            let _ = write!(text, " ±{}", number(deviation));
        }
        if let Some(ratio) = self.ratio {
            let _ = write!(text, "  {ratio:.2}x");
        }
        text
    }
}

/// Two digits behind the point for small numbers, none for large ones.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A whole number, its thousands apart.
fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// What the run ran on, and how noisy it was.
pub(super) fn remarks(document: &Value, markdown: bool) -> String {
    let machine = &document["machine"];
    let bullet = if markdown { "- " } else { "  " };
    let mut text = if markdown { String::new() } else { "\nRun\n".to_owned() };
    let line = |text: &mut String, line: &str| {
        let _ = writeln!(text, "{bullet}{line}");
    };
    let word = |name: &str| match &machine[name] {
        Value::String(word) => word.clone(),
        Value::Null => "not there".to_owned(),
        other => other.to_string(),
    };
    line(
        &mut text,
        &format!(
            "Linux {}, {} ({} CPUs, L2 {}, L3 {}), HZ {}, clock {}",
            word("kernel"),
            word("cpu"),
            word("cpus"),
            word("l2"),
            word("l3"),
            word("hz"),
            word("clock_source")
        ),
    );
    line(&mut text, &format!("spectre_v2: {}", word("spectre_v2")));
    line(
        &mut text,
        &format!(
            "firewall {} at {}; {}; {}; {}; xdp-tools {}",
            word("firewall"),
            word("commit"),
            word("nft"),
            word("iptables"),
            word("ipset"),
            word("xdp-tools")
        ),
    );
    let noise = &document["noise"];
    line(
        &mut text,
        &format!(
            "noise: half of the rows within ±{:.1} %; {} batches redone",
            100.0 * noise["typical"].as_f64().unwrap_or(f64::NAN),
            noise["batches_redone"]
        ),
    );
    for note in document["notes"].as_array().into_iter().flatten() {
        line(&mut text, &self::text(note));
    }
    text.trim_end().to_owned()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| line.len() + word.len() >= width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_of_a_column_look_alike() {
        let text = |value, unit: &str| {
            Cell { value, unit: unit.into(), deviation: None, ratio: None }.text()
        };
        assert_eq!([text(0.0, "ms"), text(0.004, "ms")], ["0.00 ms", "0.00 ms"]);
        assert_eq!([text(3_650_000.0, ""), text(999.0, "")], ["3,650,000", "999"]);
        assert_eq!(text(12_732.0, "instructions"), "12,732 instructions");
    }

    #[test]
    fn figures_become_a_table_with_gaps() {
        let figure = |row: &str, column: &str, value: f64, ratio: Option<f64>| {
            json!({ "section": "run", "row": row, "column": column, "unit": "ns", "value": value,
                    "ratio": ratio, "spread": { "deviation": 0.1 } })
        };
        let document = json!({
            "figures": [
                figure("bare drop", "hot", 8.0, Some(1.0)),
                figure("10 rules", "1M flows", 20.0, Some(1.5)),
            ],
            "skipped": [{ "section": "veth", "row": "nft", "reason": "not installed" }],
        });
        let tables = of(&document).unwrap();
        assert_eq!(tables.len(), 2);
        let markdown = tables[0].markdown();
        assert!(markdown.contains("| bare drop | 8.00 ±0.10  1.00x |  |"), "{markdown}");
        assert!(markdown.contains("| 10 rules |  | 20.0 ±0.10  1.50x |"), "{markdown}");
        assert!(tables[1].text().contains("skipped: not installed"));
    }
}
