//! The page: one file that needs nothing else.

use std::fmt::Write as _;

use serde_json::Value;

use super::Table;
use super::tables::{Cell, remarks};
use crate::demo::report::html::{STYLE, escaped, table};

/// Sections of which bars are drawn: times that compare.
const DRAWN: [&str; 6] = ["run", "state", "egress", "veth", "classbench", "socket"];

/// The whole page.
pub(super) fn page(document: &Value, tables: &[Table]) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>What the firewall costs\
         </title><style>{STYLE}{BARS}</style></head><body><h1>What the firewall costs</h1>\
         <p class=\"soft\">ns of CPU; `x` is the ratio to a bare drop of the same run. Only figures of \
         one run compare.</p><pre class=\"soft\">{}</pre>",
        escaped(remarks(document, false).trim_start_matches("\nRun\n"))
    );
    for one in tables {
        let _ = write!(
            html,
            "<h2>{}</h2><p class=\"soft\">{}</p>",
            escaped(one.section.title),
            escaped(one.section.about)
        );
        if DRAWN.contains(&one.section.id) {
            html.push_str(&bars(one));
        }
        html.push_str(&grid(one));
    }
    html.push_str("</body></html>\n");
    html
}

fn grid(one: &Table) -> String {
    let columns: Vec<String> = one.columns.iter().map(|name| format!("#{name}")).collect();
    let names: Vec<&str> = std::iter::once("").chain(columns.iter().map(String::as_str)).collect();
    let row = |(name, cells): &(String, Vec<Option<Cell>>)| {
        let cell = |place| {
            let cell: Option<&Cell> = cells.get(place).and_then(Option::as_ref);
            cell.map(Cell::text).unwrap_or_default()
        };
        std::iter::once(name.clone()).chain((0..one.columns.len()).map(cell)).collect()
    };
    let mut rows: Vec<Vec<String>> = one.rows.iter().map(row).collect();
    for (name, reason) in one.skipped() {
        let mut row = vec![name.clone(), format!("skipped: {reason}")];
        row.resize(names.len().max(2), String::new());
        rows.push(row);
    }
    table(&names, &rows)
}

/// Bars of the last column that has a ratio everywhere it has a figure, on a scale
/// of powers of two: peers are up to a thousand times slower.
fn bars(one: &Table) -> String {
    const ROW: f64 = 20.0;
    const LEFT: f64 = 300.0;
    const WIDTH: f64 = 1000.0;
    let mut html = String::new();
    for (column, name) in one.columns.iter().enumerate() {
        let cells: Vec<(&str, &Cell)> = one
            .rows
            .iter()
            .filter_map(|(row, cells)| Some((row.as_str(), cells.get(column)?.as_ref()?)))
            .filter(|(_, cell)| cell.ratio.is_some())
            .collect();
        if cells.len() < 2 {
            continue;
        }
        let most = cells.iter().filter_map(|(_, cell)| cell.ratio).fold(1.0, f64::max);
        let doublings = most.log2().ceil().max(1.0);
        let x = |ratio: f64| {
            LEFT + (ratio.max(0.5).log2() + 1.0) / (doublings + 1.0) * (WIDTH - LEFT - 90.0)
        };
        let mut rows = 0.0;
        let mut svg = String::new();
        for (row, cell) in &cells {
            let Some(ratio) = cell.ratio else { continue };
            let ours = one.ours.contains(*row);
            let top = ROW * rows;
            let _ = write!(
                svg,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
                 <rect class=\"{}\" x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"12\"/>\
                 <text x=\"{:.1}\" y=\"{:.0}\">{ratio:.2}x</text>",
                LEFT - 8.0,
                top + 14.0,
                escaped(row),
                if ours { "ours" } else { "other" },
                top + 4.0,
                (x(ratio) - LEFT).max(1.0),
                x(ratio) + 6.0,
                top + 14.0,
            );
            rows += 1.0;
        }
        let height = ROW * rows + 6.0;
        let one = x(1.0);
        let _ = write!(
            html,
            "<p class=\"soft\">{}: x a bare drop, from 0.5x on; each doubling is as wide</p>\
             <svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{svg}\
             <line class=\"mark\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"0\" y2=\"{height}\"/></svg>",
            escaped(name),
            escaped(name),
        );
    }
    html
}

const BARS: &str = "
rect.ours { fill: #0072b2; } rect.other { fill: #9aa4ae; } pre { white-space: pre-wrap; }
";
