//! The half of YAML that large files are written in, read in one go.
//!
//! Lines of `key: value` and `- item`, and brackets that close on their line, with
//! words that every reader takes for the same. Whatever else there is, and every
//! mistake, is left to the reader of all YAML: one that it has not understood
//! returns nothing here. What is returned is what that reader would return, byte
//! for byte, which a test holds against it.

mod networks;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;

use super::{Entry, Node, Scalar, Value};
use crate::fold::FoldSet;
use crate::source::{Source, Span};
use crate::text::all_bytes;

/// Collections inside each other; more are rare.
const MAX_DEPTH: usize = 16;
/// Keys of a mapping that are compared with each other.
const FEW: usize = 16;
/// Longest key that is read here.
const MAX_KEY: usize = 128;

/// The tree of a text, unless there is more to it.
pub(super) fn parse(source: &Arc<Source>) -> Option<Node<'_>> {
    let bytes = source.text.as_bytes();
    let is_possible = |byte| (byte >= b' ' || byte == b'\n') && byte != 0x7f;
    if !all_bytes(bytes, is_possible) {
        return None;
    }
    let mut quick =
        Quick { source, bytes, at: 0, line: Line { start: 0, first: 0 }, in_groups: false };
    quick.next_line();
    if quick.is_over() || quick.line.indent() != 0 {
        return None;
    }
    let root = quick.map(0, 0)?;
    quick.is_over().then_some(root)
}

struct Quick<'s> {
    source: &'s Arc<Source>,
    bytes: &'s [u8],
    /// Where reading goes on.
    at: usize,
    /// The line in which that is.
    line: Line,
    /// Whether that is below `groups:`.
    in_groups: bool,
}

/// A line with something in it.
#[derive(Clone, Copy)]
struct Line {
    start: usize,
    /// Its first byte that is no space; the end of the text behind the last line.
    first: usize,
}

impl Line {
    fn indent(self) -> usize {
        self.first - self.start
    }
}

impl<'s> Quick<'s> {
    fn byte(&self, at: usize) -> u8 {
        // As if there were one more line.
        self.bytes.get(at).copied().unwrap_or(b'\n')
    }

    fn is_over(&self) -> bool {
        self.line.first == self.bytes.len()
    }

    fn spaces(&mut self) {
        while self.byte(self.at) == b' ' {
            self.at += 1;
        }
    }

    /// Goes on to the next line that has something in it, from a place where
    /// nothing more than a comment is left of this one.
    fn next_line(&mut self) {
        loop {
            let start = self.at;
            self.spaces();
            let is_empty = matches!(self.byte(self.at), b'#' | b'\n');
            if !is_empty || self.at >= self.bytes.len() {
                self.line = Line { start, first: self.at };
                return;
            }
            self.skip_line();
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n');
        self.at = length.map_or(self.bytes.len(), |length| self.at + length + 1);
    }

    /// Ends a line behind a value, if nothing but a comment is left of it.
    fn end_line(&mut self) -> Option<()> {
        let value = self.at;
        self.spaces();
        match self.byte(self.at) {
            b'\n' => {}
            b'#' if self.at > value => {}
            _ => return None,
        }
        self.skip_line();
        self.next_line();
        Some(())
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span { source: self.source.clone(), start, end }
    }

    /// A mapping whose first key stands here, and the others `indent` deep.
    fn map(&mut self, indent: usize, depth: usize) -> Option<Node<'s>> {
        let start = self.at;
        let mut entries = Vec::new();
        loop {
            let (key, key_span) = self.key()?;
            if depth == 0 {
                self.in_groups = key.text == "groups";
            }
            self.spaces();
            let value = self.value(indent, depth + 1)?;
            entries.push(Entry { key, key_span, value });
            if self.is_over() || self.line.indent() < indent {
                break;
            }
            if self.line.indent() > indent {
                return None;
            }
        }
        self.collection(start, entries)
    }

    fn collection(&self, start: usize, entries: Vec<Entry<'s>>) -> Option<Node<'s>> {
        let end = entries.last()?.value.span.end;
        are_different(&entries)
            .then(|| Node { value: Value::Map(entries), span: self.span(start, end) })
    }

    /// What stands behind a key `indent` deep; the line after it has begun then.
    fn value(&mut self, indent: usize, depth: usize) -> Option<Node<'s>> {
        if depth > MAX_DEPTH {
            return None;
        }
        if !matches!(self.byte(self.at), b'\n' | b'#') {
            let value = self.inline(depth)?;
            self.end_line()?;
            return Some(value);
        }
        self.skip_line();
        self.next_line();
        let is_list = self.is_item(self.at);
        match self.line.indent() {
            _ if self.is_over() => None,
            deep if deep > indent && !is_list => self.map(deep, depth),
            deep if deep >= indent && is_list => {
                let networks = if self.in_groups && depth == 2 {
                    self.networks(deep, deep > indent)
                } else {
                    None
                };
                networks.or_else(|| self.list(deep, deep > indent, depth))
            }
            _ => None,
        }
    }

    fn is_item(&self, at: usize) -> bool {
        self.byte(at) == b'-' && self.byte(at + 1) == b' '
    }

    /// Lines that begin with `- `; the other reader has a list that is not indented
    /// begin with its first item.
    fn list(&mut self, indent: usize, indented: bool, depth: usize) -> Option<Node<'s>> {
        let start = self.at;
        let mut items = Vec::new();
        while !self.is_over() && self.line.indent() == indent && self.is_item(self.at) {
            self.at += 1;
            self.spaces();
            items.push(self.item(depth + 1)?);
        }
        let is_inside = !self.is_over() && self.line.indent() > indent;
        let (first, end) = (items.first()?.span.start, items.last()?.span.end);
        let start = if indented { start } else { first };
        (!is_inside).then(|| Node { value: Value::List(items), span: self.span(start, end) })
    }

    fn item(&mut self, depth: usize) -> Option<Node<'s>> {
        if depth > MAX_DEPTH {
            return None;
        }
        let start = self.at;
        if self.key().is_some() {
            self.at = start;
            return self.map(start - self.line.start, depth);
        }
        self.at = start;
        let item = self.inline(depth)?;
        self.end_line()?;
        Some(item)
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<(Scalar<'s>, Span)> {
        let start = self.at;
        let rest = &self.bytes[start..];
        let is_key =
            |&byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/');
        let length = rest.iter().take(MAX_KEY).position(|byte| !is_key(byte))?;
        let end = start + length;
        let is_sound = rest.first().is_some_and(u8::is_ascii_alphanumeric)
            && self.byte(end) == b':'
            && matches!(self.byte(end + 1), b' ' | b'\n');
        if !is_sound {
            return None;
        }
        self.at = end + 1;
        let text = Cow::Borrowed(&self.source.text[start..end]);
        Some((Scalar { text, plain: true }, self.span(start, end)))
    }

    /// A word, a quoted text or something in brackets; at its end then.
    fn inline(&mut self, depth: usize) -> Option<Node<'s>> {
        match self.byte(self.at) {
            b'[' => self.flow_list(depth),
            b'{' => self.flow_map(depth),
            quote @ (b'"' | b'\'') => self.quoted(quote),
            _ => self.plain(false),
        }
    }

    fn flow_value(&mut self, depth: usize) -> Option<Node<'s>> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.byte(self.at) {
            b'[' => self.flow_list(depth),
            b'{' => self.flow_map(depth),
            quote @ (b'"' | b'\'') => self.quoted(quote),
            _ => self.plain(true),
        }
    }

    /// Goes on behind a value in brackets: whether another one follows.
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        self.spaces();
        let byte = self.byte(self.at);
        self.at += 1;
        if byte == close {
            return Some(false);
        }
        self.spaces();
        (byte == b',').then_some(true)
    }

    fn flow_list(&mut self, depth: usize) -> Option<Node<'s>> {
        let start = self.at;
        let mut items = Vec::new();
        self.at += 1;
        self.spaces();
        if self.byte(self.at) == b']' {
            self.at += 1;
        } else {
            loop {
                items.push(self.flow_value(depth + 1)?);
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        Some(Node { value: Value::List(items), span: self.span(start, self.at) })
    }

    fn flow_map(&mut self, depth: usize) -> Option<Node<'s>> {
        let start = self.at;
        let mut entries = Vec::with_capacity(4);
        self.at += 1;
        self.spaces();
        if self.byte(self.at) == b'}' {
            self.at += 1;
        } else {
            loop {
                let (key, key_span) = self.key()?;
                self.spaces();
                let value = self.flow_value(depth + 1)?;
                entries.push(Entry { key, key_span, value });
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        let is_sound = are_different(&entries);
        let span = self.span(start, self.at);
        is_sound.then_some(Node { value: Value::Map(entries), span })
    }

    /// A text in quotes that says what it means.
    fn quoted(&mut self, quote: u8) -> Option<Node<'s>> {
        let start = self.at;
        let rest = &self.bytes[start + 1..];
        let is_end =
            |&byte: &u8| byte == quote || matches!(byte, b'\\' | b'\n') || !byte.is_ascii();
        let length = rest.iter().position(is_end)?;
        let end = start + 1 + length;
        if self.byte(end) != quote || self.byte(end + 1) == quote {
            return None;
        }
        self.at = end + 1;
        // The other reader has the text end behind the comment.
        let behind = self.bytes[self.at..].iter().find(|&&byte| byte != b' ');
        if behind == Some(&b'#') {
            return None;
        }
        let text = Cow::Borrowed(&self.source.text[start + 1..end]);
        let value = Value::Scalar(Scalar { text, plain: false });
        Some(Node { value, span: self.span(start, end + 1) })
    }

    /// A text without quotes.
    fn plain(&mut self, is_flow: bool) -> Option<Node<'s>> {
        let start = self.at;
        let first = self.byte(start);
        if !first.is_ascii_alphanumeric() && !matches!(first, b'.' | b'/' | b'_') {
            return None;
        }
        let mut end = start;
        loop {
            match self.byte(self.at) {
                b'\n' => break,
                b' ' => {}
                b'#' if !is_flow && end < self.at => break,
                b'#' => return None,
                b':' if matches!(self.byte(self.at + 1), b' ' | b'\n') => return None,
                b',' | b'[' | b']' | b'{' | b'}' if is_flow => break,
                b':' if is_flow && is_bracket(self.byte(self.at + 1)) => return None,
                b'-' if is_flow && end < self.at => return None,
                byte if is_flow && !is_common(byte) || !byte.is_ascii() => return None,
                _ => end = self.at + 1,
            }
            self.at += 1;
        }
        self.at = end;
        let text = &self.source.text[start..end];
        let value = match text {
            "null" | "Null" | "NULL" => Value::Empty,
            _ => Value::Scalar(Scalar { text: Cow::Borrowed(text), plain: true }),
        };
        Some(Node { value, span: self.span(start, end) })
    }
}

/// What words in brackets consist of.
fn is_common(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'/' | b'_' | b'*')
}

fn is_bracket(byte: u8) -> bool {
    matches!(byte, b',' | b'[' | b']' | b'{' | b'}')
}

/// Whether no key is written twice.
fn are_different(entries: &[Entry<'_>]) -> bool {
    let keys = || entries.iter().map(|entry| &*entry.key.text);
    if entries.len() > FEW {
        let mut known = FoldSet::with_capacity_and_hasher(entries.len(), <_>::default());
        return keys().all(|key| known.insert(key));
    }
    keys().enumerate().all(|(place, key)| keys().take(place).all(|known| known != key))
}
