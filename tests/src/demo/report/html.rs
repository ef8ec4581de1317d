//! Pieces of HTML.

use std::fmt::Write as _;

/// Text that stands for itself.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table; columns whose names begin with `#` hold numbers.
pub(crate) fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let number = |place: usize| columns.get(place).is_some_and(|name| name.starts_with('#'));
    let class = |place| if number(place) { " class=\"n\"" } else { "" };
    let mut html = "<div class=\"wide\"><table><thead><tr>".to_owned();
    for (place, name) in columns.iter().enumerate() {
        let _ = write!(html, "<th{}>{}</th>", class(place), escaped(name.trim_start_matches('#')));
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        html.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let cell = escaped(cell).replace('\n', "<br>");
            let _ = write!(html, "<td{}>{cell}</td>", class(place));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div>");
    html
}

/// Figures that matter most, side by side: how many, and of what.
pub(super) fn tiles(tiles: &[(String, String)]) -> String {
    let one = |(figure, what): &(String, String)| {
        format!("<div><b>{}</b>{}</div>", escaped(figure), escaped(what))
    };
    format!("<div class=\"tiles\">{}</div>", tiles.iter().map(one).collect::<String>())
}

/// How the page looks, by day and by night.
pub(crate) const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #d5dae0;
  --paper: #ffffff; --card: #f6f8fa; --good: #1a7f37; --bad: #cf222e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d;
  --paper: #0d1117; --card: #151b23; --good: #3fb950; --bad: #f85149; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); }
.verdict { font-size: 1.1rem; font-weight: 600; padding: .6rem .9rem; border-radius: 6px;
  background: var(--card); border-left: 5px solid var(--good); margin: 1rem 0; }
.verdict.bad { border-color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(180px, 1fr)); gap: .7rem;
  margin: 1rem 0; } .tiles div { background: var(--card); border-radius: 6px; padding: .6rem .9rem;
  color: var(--soft); font-size: 13px; } .tiles b { display: block; font-size: 1.35rem;
  color: var(--ink); font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13.5px; width: 100%; }
th, td { text-align: left; padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; } th { color: var(--soft); font-weight: 600; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 100%; height: auto; background: var(--card); border-radius: 6px; }
svg path { fill: none; stroke-width: 1.8; } svg text { font-size: 11px; fill: var(--soft); }
svg .grid { stroke: var(--line); } svg .mark { stroke: var(--soft); stroke-dasharray: 3 3; }
svg .what { fill: var(--ink); }
.map { background: none; } .map .box rect { fill: var(--card); stroke: var(--line); }
.map .box.idle { opacity: .35; } .map .name { fill: var(--ink); font-size: 13.5px; font-weight: 600; }
.map .way { stroke: var(--soft); stroke-width: 1.4; } .map marker path { fill: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: 13px; margin: .3rem 0; }
.legend i { display: inline-block; width: 14px; height: 3px; margin-right: .35rem;
  vertical-align: middle; }
details { margin: .3rem 0; } summary { cursor: pointer; }
.good { color: var(--good); } .bad { color: var(--bad); }
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_text() {
        assert_eq!(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
        let html = table(&["name", "#count"], &[vec!["<b>".into(), "1".into()]]);
        assert!(html.contains("<td>&lt;b&gt;</td><td class=\"n\">1</td>"), "{html}");
    }
}
