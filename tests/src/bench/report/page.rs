//! The page: one file that needs nothing else.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::Table;
use super::tables::{Cell, remarks};
use crate::demo::report::html::{STYLE, escaped, table};

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
        html.push_str(&bars(one));
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

/// Bars of each column: of ratios where it has some, else of the values of each unit.
fn bars(one: &Table) -> String {
    let mut html = String::new();
    for (column, name) in one.columns.iter().enumerate() {
        let cells: Vec<(&str, &Cell)> = one
            .rows
            .iter()
            .filter_map(|(row, cells)| Some((row.as_str(), cells.get(column)?.as_ref()?)))
            .collect();
        let ratios = cells.iter().filter_map(|&(row, cell)| Some((row, cell.ratio?)));
        let ratios: Vec<(&str, f64)> = ratios.collect();
        if !ratios.is_empty() {
            html.push_str(&by_ratio(one, name, &ratios));
            continue;
        }
        // What has no unit is a count of this and that, and does not compare.
        let units: BTreeSet<&str> = cells.iter().map(|(_, cell)| cell.unit.as_str()).collect();
        for unit in units.into_iter().filter(|unit| !unit.is_empty()) {
            let of = cells.iter().filter(|(_, cell)| cell.unit == unit);
            html.push_str(&by_value(one, name, &of.copied().collect::<Vec<_>>()));
        }
    }
    html
}

/// A scale of powers of two: peers are up to a thousand times slower.
fn by_ratio(table: &Table, name: &str, ratios: &[(&str, f64)]) -> String {
    let most = ratios.iter().map(|(_, ratio)| *ratio).fold(1.0, f64::max);
    let doublings = most.log2().ceil().max(1.0);
    let part = |ratio: f64| (ratio.max(0.5).log2() + 1.0) / (doublings + 1.0);
    let bars = ratios.iter().map(|&(row, ratio)| Bar {
        row,
        part: part(ratio),
        words: format!("{ratio:.2}x"),
    });
    let about = format!("{name}: x a bare drop, from 0.5x on; each doubling is as wide");
    chart(table, &about, &bars.collect::<Vec<_>>(), Some(part(1.0)))
}

/// A scale from nothing to the most.
fn by_value(table: &Table, name: &str, cells: &[(&str, &Cell)]) -> String {
    let most = cells.iter().map(|(_, cell)| cell.value).fold(f64::MIN_POSITIVE, f64::max);
    let bars = cells.iter().map(|&(row, cell)| Bar {
        row,
        part: cell.value.max(0.0) / most,
        words: cell.text(),
    });
    let unit = cells.first().map_or("", |(_, cell)| cell.unit.as_str());
    chart(table, &format!("{name}, {unit}"), &bars.collect::<Vec<_>>(), None)
}

/// A row of a chart.
struct Bar<'t> {
    row: &'t str,
    /// Of the widest that there may be.
    part: f64,
    words: String,
}

/// Bars below each other, with a mark across all; nothing where there is nothing to compare.
fn chart(table: &Table, about: &str, bars: &[Bar<'_>], mark: Option<f64>) -> String {
    const ROW: f64 = 20.0;
    const LEFT: f64 = 300.0;
    const WIDTH: f64 = 1000.0;
    if bars.len() < 2 {
        return String::new();
    }
    let x = |part: f64| LEFT + part * (WIDTH - LEFT - 130.0);
    let (mut top, mut svg) = (0.0, String::new());
    for Bar { row, part, words } in bars {
        let end = x(*part);
        let _ = write!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{}\" x=\"{LEFT}\" y=\"{:.0}\" width=\"{:.1}\" height=\"12\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            LEFT - 8.0,
            top + 14.0,
            escaped(row),
            if table.ours.contains(*row) { "ours" } else { "other" },
            top + 4.0,
            (end - LEFT).max(1.0),
            end + 6.0,
            top + 14.0,
            escaped(words),
        );
        top += ROW;
    }
    let height = top + 6.0;
    if let Some(mark) = mark.map(x) {
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{mark:.1}\" x2=\"{mark:.1}\" y1=\"0\" y2=\"{height}\"/>"
        );
    }
    let about = escaped(about);
    format!(
        "<p class=\"soft\">{about}</p><svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{about}\">{svg}</svg>"
    )
}

const BARS: &str = "
rect.ours { fill: #0072b2; } rect.other { fill: #9aa4ae; } pre { white-space: pre-wrap; }
";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Section, row and column; value, unit and ratio.
    type Figure = ([&'static str; 3], f64, &'static str, Option<f64>);

    /// The charts of a run with these figures.
    fn charts(figures: &[Figure]) -> Vec<String> {
        let figure = |&([section, row, column], value, unit, ratio): &Figure| {
            json!({ "section": section, "row": row, "column": column, "value": value,
                    "unit": unit, "ratio": ratio, "ours": row != "nft" })
        };
        let figures: Vec<Value> = figures.iter().map(figure).collect();
        let document = json!({ "figures": figures, "skipped": [] });
        let drawn: String = super::super::tables::of(&document).unwrap().iter().map(bars).collect();
        drawn.split("<svg").skip(1).map(str::to_owned).collect()
    }

    fn widths(chart: &str) -> Vec<f64> {
        let width = |rect: &str| rect.split("width=\"").nth(1)?.split('"').next()?.parse().ok();
        chart.split("<rect").skip(1).filter_map(width).collect()
    }

    #[test]
    fn bars_without_a_ratio_are_as_wide_as_their_values() {
        let charts = charts(&[
            (["load", "10 rules", "whole command"], 50.0, "ms", None),
            (["load", "nft", "whole command"], 200.0, "ms", None),
            (["load", "1,000 rules", "whole command"], 0.0, "ms", None),
        ]);
        assert_eq!(charts.len(), 1, "{charts:?}");
        assert_eq!(widths(&charts[0]), [142.5, 570.0, 1.0]);
        assert!(charts[0].contains("50.0 ms") && charts[0].contains("class=\"other\""));
        assert!(!charts[0].contains("<line"), "nothing to be held against");
    }

    #[test]
    fn only_what_has_the_same_unit_is_in_one_chart() {
        let charts = charts(&[
            (["bans", "one ban added", "time"], 5.0, "us", None),
            (["bans", "1,000,000 bans added at once", "time"], 70.0, "ms", None),
            (["bans", "one ban lifted, of 1,000", "time"], 5.0, "us", None),
            (["swap", "misjudged", "all"], 0.0, "", None),
            (["swap", "frames received", "all"], 3e6, "", None),
        ]);
        assert_eq!(charts.len(), 1, "{charts:?}");
        assert_eq!(widths(&charts[0]), [570.0, 570.0]);
    }

    #[test]
    fn ratios_are_drawn_by_doublings_with_a_mark_at_one() {
        let charts = charts(&[
            (["run", "bare drop", "hot"], 20.0, "ns", Some(1.0)),
            (["run", "10 rules", "hot"], 40.0, "ns", Some(2.0)),
        ]);
        assert_eq!(widths(&charts[0]), [285.0, 570.0]);
        assert!(charts[0].contains("<line class=\"mark\" x1=\"585.0\""), "{}", charts[0]);
    }
}
