//! YAML that is broken, or that this language has no use for, in our words.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Sink, is_odd_space};
use crate::source::{Source, Span};
use crate::text;

/// A bracket that has not been closed.
pub(crate) struct Open {
    pub(crate) bracket: char,
    pub(crate) span: Span,
}

pub(crate) fn tag(span: &Span) -> Diagnostic {
    Diagnostic::new(Code::Tag, format!("`{}` is a YAML tag", span.text()))
        .at(span, "tags are not used in rule files")
        .help("remove it, or put the value in quotes if it begins with `!`")
}

pub(crate) fn anchor(span: &Span) -> Diagnostic {
    Diagnostic::new(Code::Anchor, format!("`{}` is a YAML anchor", span.text()))
        .at(span, "anchors are not used in rule files")
        .help("give the value a name under `groups:` or `services:`")
}

pub(crate) fn alias(span: &Span) -> Diagnostic {
    Diagnostic::new(Code::Anchor, format!("`{}` is a YAML alias", span.text()))
        .at(span, "aliases are not used in rule files")
        .help("put the value in quotes if it is a pattern that begins with `*`")
}

pub(crate) fn second_document(span: &Span) -> Diagnostic {
    Diagnostic::new(Code::SecondDocument, "a second YAML document in one file")
        .at(span, "it would begin here")
        .help("one role or shared file per file")
}

pub(crate) fn not_a_key(span: &Span) -> Diagnostic {
    Diagnostic::new(Code::Syntax, "a key must be a word").at(span, "this is not one")
}

pub(crate) fn duplicate_key(name: &str, first: &Span, second: &Span) -> Diagnostic {
    Diagnostic::new(Code::DuplicateKey, format!("`{name}` is written twice"))
        .at(second, "again here")
        .at(first, "first here")
        .help("merge the two: the second would silently replace the first in other YAML tools")
}

/// Collections inside each other; a rule file needs six.
pub(crate) const MAX_DEPTH: usize = 32;

/// More of them than any rule file needs.
pub(crate) fn too_deep(span: &Span, label: impl Into<String>) -> Diagnostic {
    let message = format!("more than {MAX_DEPTH} levels of nesting");
    Diagnostic::new(Code::TooDeep, message).at(span, label)
}

/// A character in a span that only looks like a space.
pub(crate) fn odd_space(within: &Span) -> Option<Diagnostic> {
    let (at, c) = within.text().char_indices().find(|&(_, c)| is_odd_space(c))?;
    let start = within.start + at;
    let span = Span { start, end: start + c.len_utf8(), ..within.clone() };
    let message = format!("U+{:04X} only looks like a space", u32::from(c));
    Some(
        Diagnostic::new(Code::HiddenCharacter, message)
            .at(&span, "to YAML it is a letter")
            .help("replace it by a space"),
    )
}

/// Reports `%` lines before the document; whether there were any.
pub(crate) fn has_directives(source: &Arc<Source>, sink: &mut Sink) -> bool {
    let mut start = 0;
    for line in source.text.split('\n') {
        if line.starts_with('%') {
            let span = Span { source: source.clone(), start, end: start + line.trim_end().len() };
            sink.push(
                Diagnostic::new(Code::Directive, "a YAML directive")
                    .at(&span, "rule files are YAML 1.2 without directives")
                    .help("delete the line"),
            );
            return true;
        }
        if !line.trim().is_empty() && !line.starts_with('#') {
            return false;
        }
        start += line.len() + 1;
    }
    false
}

/// What the parser's complaint means for the person who wrote the file.
pub(crate) fn explain(complaint: &str, at: &Span, open: Option<Open>) -> Diagnostic {
    let syntax = |message: &str| Diagnostic::new(Code::Syntax, message);
    let here = widened(at);
    let has = |words: &str| complaint.contains(words);

    let before = before(&here);
    if let Some(diagnostic) = odd_space(&before) {
        return diagnostic;
    }
    let blank = before.text().trim_end_matches([' ', '\t']).len();
    if let Some(tab) = before.text()[blank..].find('\t') {
        let start = before.start + blank + tab;
        return tabbed(&Span { start, end: start + 1, ..before });
    }
    if has("recursion limit") {
        return too_deep(&here, "hundreds of brackets are open here");
    }
    if has("unprintable") {
        return text::hidden_character(&here);
    }
    if has("unknown anchor") || has("scanning an anchor") {
        return alias(&here);
    }
    if has("quoted scalar, found unexpected end") {
        return syntax("this quote is not closed").at(&here, "opened here");
    }
    if has("must be followed by") || has("may not precede") {
        return syntax("a space is missing").at(&here, "`:` and `-` have a space behind them");
    }
    if let Some(Open { bracket, span }) = open
        && (has("flow") || has("unexpected eof") || span.line() < here.line())
    {
        let closing = if bracket == '[' { ']' } else { '}' };
        return syntax(&format!("this `{bracket}` is not closed"))
            .at(&span, "opened here")
            .at(&here, format!("`,` or `{closing}` was expected before this"));
    }
    if has("mapping values are not allowed") || has("placement of ':'") {
        return syntax("a `:` cannot stand here")
            .at(&here, "the words before it are already a value")
            .help("check the indentation of this line; put a value that contains `: ` in quotes");
    }
    if has("'-' indicator")
        || has("indented")
        || has("block mapping, did not find")
        || has("indentation")
    {
        return syntax("this line belongs to nothing above it")
            .at(&here, "indented like no line above, or `- ` is missing")
            .help("indent it exactly like its neighbours");
    }
    if has("block sequence entries") {
        return syntax("a list item cannot begin here")
            .at(&here, "`- ` must begin a line of its own");
    }
    if has("misplaced bracket") {
        return syntax("this bracket closes nothing").at(&here, "no bracket is open here");
    }
    if has("after double-quoted") {
        return syntax("text after a closing quote").at(&here, "the value ended before this");
    }
    if has("escape") || has("hexadecimal") {
        return syntax("an unknown escape in a quoted text")
            .at(&here, "`\\` begins an escape in double quotes")
            .help("use single quotes, where `\\` is just a character");
    }
    if has("unexpected character") || has("plain scalar cannot start") {
        let word = here.text();
        return syntax(&format!("a value cannot begin with `{word}`"))
            .at(&here, "YAML keeps this character for itself")
            .help("put the value in quotes");
    }
    if has("tag") || has("TAG") || has("handle") {
        return tag(&here);
    }
    if has("document") {
        return second_document(&here);
    }
    if has("tabs") || has("a tab") {
        return tabbed(&here);
    }
    if has("comment intercepting") {
        return syntax("a comment inside a value").at(&here, "the value goes on behind it");
    }
    syntax("this is not YAML").at(&here, "it cannot be read from here on")
}

fn tabbed(span: &Span) -> Diagnostic {
    Diagnostic::new(Code::Tab, "a tab where only spaces may stand")
        .at(span, "a tab; YAML counts spaces")
        .help("replace it by spaces")
}

/// What stands in front of a place on its line.
fn before(here: &Span) -> Span {
    let start = here.source.text[..here.start].rfind('\n').map_or(0, |at| at + 1);
    Span { start, end: here.start, ..here.clone() }
}

/// At least one character, so that there is something to underline; at the end
/// of the file, its last one.
fn widened(at: &Span) -> Span {
    let text = &at.source.text;
    let mut span = at.clone();
    if text[span.start..].trim().is_empty() {
        let end = text.trim_end().len();
        span.start = text[..end].char_indices().next_back().map_or(0, |(start, _)| start);
        span.end = end;
    } else if span.start == span.end {
        let next = text[span.start..].chars().next().map_or(0, char::len_utf8);
        span.end = span.start + next;
    }
    span
}
