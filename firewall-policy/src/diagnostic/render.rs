//! Diagnostics for people.
//!
//! ```text
//! error[E0203]: no group or list is called `web-server`
//!    ╭─[rules/load-balancer.yaml:31:11]
//! 30 │     - name: to-web
//! 31 │       to: web-server
//!    ·           ─────┬────
//!    ·                ╰── not defined here, in site.yaml, or built in
//!    ╰────
//!   help: did you mean `web-servers`?  (rules/site.yaml:10)
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::layout::{Line, visible};
use super::{Diagnostic, KEPT, Label, Report};
use crate::codes::Severity;
use crate::source::Source;

/// Labels whose lines are no further apart than this share a block.
const NEAR: usize = 3;

/// Whether terminal colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// None: for files, pipes, and people who set `NO_COLOR`.
    Plain,
    /// ANSI colours.
    Colour,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }

    fn frame(self, text: &str) -> String {
        self.paint("34", text)
    }
}

impl Report {
    /// Every diagnostic in full, an empty line between them.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let mut text: Vec<String> = self.diagnostics.iter().map(|one| one.render(style)).collect();
        if self.hidden > 0 {
            text.push(format!("and {} more, which are not shown\n", self.hidden));
        }
        text.join("\n")
    }
}

/// Warnings of one code that are shown in full.
const ALIKE: usize = 10;

/// Diagnostics in full, an empty line between them; of warnings of one code the first ten,
/// and how many more there are.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], style: Style) -> String {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut text = Vec::new();
    for one in diagnostics {
        let of_code = seen.entry(one.code.id()).or_default();
        *of_code += 1;
        if one.is_error() || *of_code <= ALIKE {
            text.push(one.render(style));
        }
    }
    // No more than these are kept, and there may be others.
    let least = if diagnostics.len() < KEPT { "" } else { "at least " };
    for (code, count) in seen {
        if code.starts_with('W') && count > ALIKE {
            text.push(format!("and {least}{} more {code}, which are not shown\n", count - ALIKE));
        }
    }
    text.join("\n")
}

impl Diagnostic {
    /// The message with its source lines; ends with a newline.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        let severity = self.code.severity();
        let colour = match severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
        };
        let head = format!("{}[{}]", severity.name(), self.code.id());
        let mut text = format!("{}: {}\n", style.paint(colour, &head), visible(&self.message));
        let blocks = blocks(&self.labels);
        let widest = blocks.iter().filter_map(|block| block.lines.keys().last()).max();
        let gutter = widest.map_or(1, |line| line.to_string().len());
        for block in &blocks {
            block.render(&mut text, gutter, style, colour);
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {}", visible(note));
        }
        if let Some(help) = &self.help {
            let lines: Vec<String> = help.split('\n').map(visible).collect();
            let help = lines.join("\n        ");
            let _ = writeln!(text, "  {} {help}", style.paint("36", "help:"));
        }
        text
    }
}

/// Source lines of one file that are shown together.
struct Block<'a> {
    source: &'a Arc<Source>,
    first: &'a Label,
    /// By line number; lines without labels are context.
    lines: BTreeMap<usize, Vec<&'a Label>>,
}

fn blocks(labels: &[Label]) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for label in labels {
        let line = label.span.line();
        let near = blocks.iter_mut().find(|block| {
            Arc::ptr_eq(block.source, &label.span.source)
                && block.lines.keys().any(|other| other.abs_diff(line) <= NEAR)
        });
        let block = if let Some(block) = near {
            block
        } else {
            let lines = BTreeMap::new();
            blocks.push(Block { source: &label.span.source, first: label, lines });
            let Some(block) = blocks.last_mut() else { continue };
            block
        };
        block.lines.entry(line).or_default().push(label);
        if let Some(context) = enclosing_line(&label.span.source.text, line) {
            block.lines.entry(context).or_default();
        }
    }
    blocks
}

impl Block<'_> {
    fn render(&self, text: &mut String, gutter: usize, style: Style, colour: &str) {
        let (name, span) = (visible(&self.source.name), &self.first.span);
        let place = format!("╭─[{name}:{}:{}]", span.line(), span.column());
        let _ = writeln!(text, "{:gutter$} {}", "", style.frame(&place));
        let mut previous = None;
        for (&number, labels) in &self.lines {
            if previous.is_some_and(|line| line + 1 < number) {
                let _ = writeln!(text, "{:gutter$} {}", "", style.frame("⋮"));
            }
            previous = Some(number);
            self.render_line(text, gutter, number, labels, (style, colour));
        }
        let _ = writeln!(text, "{:gutter$} {}", "", style.frame("╰────"));
    }

    fn render_line(
        &self,
        text: &mut String,
        gutter: usize,
        number: usize,
        labels: &[&Label],
        (style, colour): (Style, &str),
    ) {
        let start = line_start(&self.source.text, number);
        let raw = self.source.text[start..].split('\n').next().unwrap_or_default();
        let mut line = Line::new(raw.trim_end_matches('\r'));
        if let Some(label) = labels.first() {
            line.cut_around(label.span.start - start);
        }
        let frame = style.frame(&format!("{number:gutter$} │"));
        let _ = writeln!(text, "{}", format!("{frame} {}", line.shown()).trim_end());
        let mut labels = labels.to_vec();
        labels.sort_by_key(|label| label.span.start);
        for label in labels {
            let first = line.column(label.span.start - start);
            let last = line.column((label.span.end - start).min(raw.trim_end().len()));
            let width = last.saturating_sub(first).max(1);
            let middle = width / 2;
            let frame = style.frame(&format!("{:gutter$} ·", ""));
            let (left, right) = ("─".repeat(middle), "─".repeat(width - middle - 1));
            if label.text.is_empty() {
                let underline = style.paint(colour, &format!("{left}─{right}"));
                let _ = writeln!(text, "{frame} {:first$}{underline}", "");
                continue;
            }
            let underline = style.paint(colour, &format!("{left}┬{right}"));
            let _ = writeln!(text, "{frame} {:first$}{underline}", "");
            let arrow = style.paint(colour, "╰──");
            let indent = first + middle;
            let _ = writeln!(text, "{frame} {:indent$}{arrow} {}", "", visible(&label.text));
        }
    }
}

fn line_start(text: &str, number: usize) -> usize {
    let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(breaks).nth(number - 1).unwrap_or(text.len())
}

/// The line above that says what this one belongs to: the item of a list it is
/// part of, or the key right above it. A key of the file's top level says too
/// little to be shown.
fn enclosing_line(text: &str, number: usize) -> Option<usize> {
    let lines: Vec<&str> = text.split('\n').take(number).collect();
    let indent_of = |line: &str| line.len() - line.trim_start().len();
    let mut indent = indent_of(lines.last()?);
    let mut parent = None;
    for (index, line) in lines.iter().enumerate().rev().skip(1) {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') || indent_of(line) >= indent {
            continue;
        }
        indent = indent_of(line);
        if indent == 0 {
            break;
        }
        if content.starts_with("- ") {
            return Some(index + 1);
        }
        parent = parent.or(Some(index + 1));
    }
    parent.filter(|parent| parent + 1 == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::Code;
    use crate::source::Span;

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { name: "rules/web.yaml".into(), text: text.into() })
    }

    fn find(source: &Arc<Source>, word: &str) -> Span {
        let start = source.text.find(word).unwrap();
        Span { source: source.clone(), start, end: start + word.len() }
    }

    #[test]
    fn wide_text_before_the_label_moves_it_by_columns() {
        let source = source("description: \u{540d}\u{524d} e\u{301} here\n");
        let text = Diagnostic::new(Code::Text, "wide").at(&find(&source, "here"), "it");
        assert_eq!(
            text.render(Style::Plain),
            "\
error[E0131]: wide
  ╭─[rules/web.yaml:1:20]
1 │ description: \u{540d}\u{524d} e\u{301} here
  ·                     ──┬─
  ·                       ╰── it
  ╰────
"
        );
    }

    #[test]
    fn of_many_warnings_alike_the_first_are_shown_and_the_rest_counted() {
        let many = |code, count: usize| {
            (0..count).map(move |number| Diagnostic::new(code, format!("no. {number};")))
        };
        let text = |of: Vec<Diagnostic>| render(&of, Style::Plain);
        let few = text(many(Code::Redundant, 10).chain(many(Code::HalfOfAny, 10)).collect());
        assert_eq!(few.matches("no. ").count(), 20);
        assert!(!few.contains("more"), "{few}");
        let more = text(many(Code::Redundant, 12).chain(many(Code::HalfOfAny, 1)).collect());
        assert_eq!(more.matches("no. ").count(), 11);
        assert!(more.contains("no. 9;") && !more.contains("no. 10;"), "{more}");
        assert!(more.ends_with("\n\nand 2 more W0406, which are not shown\n"), "{more}");
        let full = text(many(Code::Redundant, KEPT).collect());
        assert!(full.ends_with("and at least 190 more W0406, which are not shown\n"), "{full}");
        assert_eq!(text(many(Code::Text, 12).collect()).matches("no. ").count(), 12);
        assert_eq!(text(Vec::new()), "");
    }

    #[test]
    fn near_places_share_a_block_and_far_ones_do_not() {
        let source = source("a: 1\nb: 2\nc: 3\nd: 4\ne: 5\nf: 6\ng: 7\nh: 8\n");
        let place = |word| find(&source, word);
        let text = Diagnostic::new(Code::Text, "far")
            .at(&place("b"), "second")
            .at(&place("a"), "")
            .at(&place("h"), "last")
            .note("a fact")
            .help("one\ntwo");
        assert_eq!(
            text.render(Style::Plain),
            "\
error[E0131]: far
  ╭─[rules/web.yaml:2:1]
1 │ a: 1
  · ─
2 │ b: 2
  · ┬
  · ╰── second
  ╰────
  ╭─[rules/web.yaml:8:1]
8 │ h: 8
  · ┬
  · ╰── last
  ╰────
  a fact
  help: one
        two
"
        );
    }

    #[test]
    fn a_span_of_several_lines_is_underlined_on_the_first() {
        let source = source("a:\n  - b\n  - c\n");
        let text = Diagnostic::new(Code::Text, "long").at(&find(&source, "- b\n  - c"), "here");
        assert!(text.render(Style::Plain).contains("\n  ·   ─┬─\n  ·    ╰── here\n"));
    }

    #[test]
    fn words_of_the_user_cannot_colour_the_terminal() {
        let text = Diagnostic::new(Code::Text, "\x1b[31mred").help("\u{202e}");
        assert_eq!(text.render(Style::Plain), "error[E0131]: \\u{1b}[31mred\n  help: \\u{202e}\n");
    }

    #[test]
    fn programs_get_places_as_numbers() {
        let source = source("a: 1\nb: \u{540d}x\n");
        let json = Diagnostic::new(Code::Text, "m").at(&find(&source, "x"), "t").help("h");
        assert_eq!(
            serde_json::to_value(&json).unwrap(),
            serde_json::json!({
                "code": "E0131", "severity": "error", "message": "m", "notes": [], "help": "h",
                "labels": [{
                    "file": "rules/web.yaml", "line": 2, "column": 5, "end-column": 6,
                    "start": 11, "end": 12, "text": "t"
                }],
            })
        );
    }
}
