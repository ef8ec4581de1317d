//! Text to a tree of nodes: YAML 1.2, of which only lists, mappings and words
//! are admitted.
//!
//! Every scalar stays the text that was written: what `no` or `80` means is for
//! the key it stands under to say. Tags, anchors, aliases, directives, second
//! documents and duplicate keys are errors. Depth and length are bounded.

mod quick;

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::Sink;
use crate::source::{Source, Span};
use crate::syntax::{self, MAX_DEPTH, Open};
use crate::text;

/// A place of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Node<'s> {
    pub(crate) value: Value<'s>,
    pub(crate) span: Span,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub(crate) enum Value<'s> {
    /// Nothing: `key:`, `key: ~` or `key: null`.
    Empty,
    /// A word, as it was written.
    Scalar(Scalar<'s>),
    /// `[a, b]`, or lines that begin with `- `.
    List(Vec<Node<'s>>),
    /// `{ a: b }`, or lines of the form `key: value`.
    Map(Vec<Entry<'s>>),
    /// A list of IPv4 addresses and networks of a group, of which there may be very
    /// many. Only what is read quickly has it.
    Networks(Box<Networks>),
}

/// What [`plain_v4`](crate::value::address::plain_v4) makes of every word of a list.
#[derive(Clone, Debug)]
pub(crate) struct Networks {
    pub(crate) ranges: Vec<(u32, u32)>,
    /// The first word.
    pub(crate) first: Span,
}

impl Node<'_> {
    /// The items of a list; a single item may stand without brackets.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// Takes in what was written under the same key again, so that the rest of
    /// the file can be read as its author meant it.
    fn absorb(&mut self, other: Self) {
        match (&mut self.value, other.value) {
            (Value::Map(entries), Value::Map(more)) => entries.extend(more),
            (Value::List(items), Value::List(more)) => items.extend(more),
            _ => {}
        }
    }
}

/// A word.
#[derive(Clone, Debug)]
pub(crate) struct Scalar<'s> {
    pub(crate) text: Cow<'s, str>,
    /// Without quotes, so that other YAML tools may read something else in it.
    pub(crate) plain: bool,
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'s> {
    pub(crate) key: Scalar<'s>,
    pub(crate) key_span: Span,
    pub(crate) value: Node<'s>,
}

/// The tree of a file; `None` if it cannot be read, which has been reported.
pub(crate) fn parse<'s>(source: &'s Arc<Source>, sink: &mut Sink) -> Option<Node<'s>> {
    quick::parse(source).or_else(|| parse_any(source, sink))
}

/// The same of any text, slowly.
fn parse_any<'s>(source: &'s Arc<Source>, sink: &mut Sink) -> Option<Node<'s>> {
    let has_tabs = text::has_tabs(source, sink);
    let has_directives = syntax::has_directives(source, sink);
    if has_tabs || has_directives {
        return None;
    }
    let mut builder = Builder {
        source,
        bytes: byte_offsets(&source.text),
        sink,
        open: Vec::new(),
        root: None,
        documents: 0,
        has_alias: false,
    };
    let mut parser = Parser::new_from_str(&source.text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => {
                let span = builder.span(span.start.index(), span.end.index());
                builder.take(event, span).ok()?;
            }
            Err(error) => {
                let at = builder.span(error.marker().index(), error.marker().index());
                let open = builder.open.iter().rev().map(|frame| frame.opened(source));
                let diagnostic = syntax::explain(error.info(), &at, open.flatten().next());
                builder.sink.push(diagnostic);
                return None;
            }
        }
    }
    if builder.has_alias {
        return None;
    }
    let whole = Span { source: source.clone(), start: 0, end: 0 };
    Some(builder.root.unwrap_or(Node { value: Value::Empty, span: whole }))
}

/// The parser counts characters, spans count bytes.
fn byte_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect()
}

/// Reading cannot go on; the reason has been reported.
struct Stop;

/// A collection whose end is still to come.
struct Frame<'a> {
    start: usize,
    /// Brackets, not indentation.
    is_flow: bool,
    items: Items<'a>,
}

enum Items<'a> {
    List(Vec<Node<'a>>),
    Map(Pairs<'a>),
}

/// A mapping being read.
#[derive(Default)]
struct Pairs<'a> {
    entries: Vec<Entry<'a>>,
    /// Entry by key: a hostile file has a hundred thousand keys.
    index: HashMap<String, usize>,
    /// A key whose value is still to come.
    key: Option<Node<'a>>,
}

impl Frame<'_> {
    /// The bracket that opened it; `None` for indented lines.
    fn opened(&self, source: &Arc<Source>) -> Option<Open> {
        let bracket = source.text[self.start..].chars().next().filter(|_| self.is_flow)?;
        let span = Span { source: source.clone(), start: self.start, end: self.start + 1 };
        Some(Open { bracket, span })
    }
}

struct Builder<'a, 's> {
    source: &'a Arc<Source>,
    bytes: Vec<usize>,
    sink: &'s mut Sink,
    open: Vec<Frame<'a>>,
    root: Option<Node<'a>>,
    documents: usize,
    /// What stands in its place is not known, so nothing more can be said.
    has_alias: bool,
}

impl<'a> Builder<'a, '_> {
    fn span(&self, start: usize, end: usize) -> Span {
        let byte = |index: usize| self.bytes.get(index).copied().unwrap_or(self.source.text.len());
        let (start, end) = (byte(start), byte(end));
        // Ends of collections include the white space behind them.
        let trimmed = self.source.text[start..end.max(start)].trim_end().len();
        Span { source: self.source.clone(), start, end: start + trimmed }
    }

    fn take(&mut self, event: Event<'a>, span: Span) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.sink.push(syntax::second_document(&span));
                    return Err(Stop);
                }
            }
            Event::Alias(_) => {
                self.sink.push(syntax::alias(&span));
                self.has_alias = true;
                self.add(Node { value: Value::Empty, span });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(anchor, tag.is_some(), &span);
                let plain = style == ScalarStyle::Plain;
                let empty = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let is_key = matches!(
                    self.open.last(),
                    Some(Frame { items: Items::Map(Pairs { key: None, .. }), .. })
                );
                let value = if empty && (!is_key || text.is_empty()) {
                    Value::Empty
                } else {
                    Value::Scalar(Scalar { text, plain })
                };
                self.add(Node { value, span });
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(anchor, tag.is_some(), &span);
                self.start(Items::List(Vec::new()), &span)?;
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(anchor, tag.is_some(), &span);
                self.start(Items::Map(Pairs::default()), &span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(&span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    /// Tags and anchors say nothing this language has a use for.
    fn refuse(&mut self, anchor: usize, tag: bool, span: &Span) {
        let mut at = span.clone();
        let word = at.text().split(char::is_whitespace).next().unwrap_or_default().len();
        at.end = at.start + word;
        if tag {
            self.sink.push(syntax::tag(&at));
        }
        if anchor != 0 {
            self.sink.push(syntax::anchor(&at));
        }
    }

    fn start(&mut self, items: Items<'a>, span: &Span) -> Result<(), Stop> {
        if self.open.len() == MAX_DEPTH {
            self.sink.push(syntax::too_deep(span, format!("this is level {}", MAX_DEPTH + 1)));
            return Err(Stop);
        }
        // A tag or anchor in front is not part of the collection.
        let bracket = span.text().rfind(['[', '{']);
        let start = span.start + bracket.unwrap_or(0);
        self.open.push(Frame { start, is_flow: bracket.is_some(), items });
        Ok(())
    }

    fn end(&mut self, span: &Span) {
        let Some(Frame { start, is_flow, items }) = self.open.pop() else { return };
        let (value, last) = match items {
            Items::List(nodes) => {
                let last = nodes.last().map(|node| node.span.end);
                (Value::List(nodes), last)
            }
            Items::Map(Pairs { entries, .. }) => {
                let last = entries.last().map(|entry| entry.value.span.end.max(entry.key_span.end));
                (Value::Map(entries), last)
            }
        };
        // A bracketed collection ends with its bracket, an indented one with its
        // last item; the event goes on to the next token.
        // What looked like an opening bracket may have stood in a comment.
        let is_closed = is_flow && self.source.text[span.start..].starts_with([']', '}']);
        let end = if is_closed { span.start + 1 } else { last.unwrap_or(start) };
        self.add(Node { value, span: Span { source: self.source.clone(), start, end } });
    }

    fn add(&mut self, node: Node<'a>) {
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut frame.items {
            Items::List(nodes) => nodes.push(node),
            Items::Map(pairs) => match pairs.key.take() {
                None => pairs.key = Some(node),
                Some(key) => pairs.add(key, node, self.sink),
            },
        }
    }
}

impl<'a> Pairs<'a> {
    fn add(&mut self, key: Node<'a>, value: Node<'a>, sink: &mut Sink) {
        let key_span = key.span;
        let Value::Scalar(scalar) = key.value else {
            sink.push(syntax::not_a_key(&key_span));
            return;
        };
        match self.index.entry(scalar.text.to_string()) {
            Slot::Occupied(first) => {
                let first = &mut self.entries[*first.get()];
                sink.push(syntax::duplicate_key(&scalar.text, &first.key_span, &key_span));
                first.value.absorb(value);
            }
            Slot::Vacant(slot) => {
                slot.insert(self.entries.len());
                self.entries.push(Entry { key: scalar, key_span, value });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use serde_yaml::Value as Other;

    use super::*;

    /// Whether another YAML reader sees the same; it retypes words, we do not.
    fn same(node: &Node<'_>, other: &Other) -> bool {
        match (&node.value, other) {
            (Value::Empty, Other::Null) => true,
            (Value::Scalar(word), Other::String(text)) => word.text == *text,
            (Value::Scalar(word), Other::Number(number)) => *word.text == number.to_string(),
            (Value::Scalar(word), Other::Bool(flag)) => *word.text == flag.to_string(),
            (Value::List(items), Other::Sequence(others)) => {
                items.len() == others.len() && items.iter().zip(others).all(|(a, b)| same(a, b))
            }
            (Value::Map(entries), Other::Mapping(others)) => {
                entries.len() == others.len()
                    && entries.iter().all(|entry| {
                        others.get(&*entry.key.text).is_some_and(|other| same(&entry.value, other))
                    })
            }
            _ => false,
        }
    }

    fn source(text: &str) -> Arc<Source> {
        Arc::new(Source { name: "test".into(), text: text.into() })
    }

    fn spans(node: &Node<'_>, found: &mut Vec<String>) {
        found.push(node.span.text().to_owned());
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| spans(item, found)),
            Value::Map(entries) => entries.iter().for_each(|entry| {
                found.push(entry.key_span.text().to_owned());
                spans(&entry.value, found);
            }),
            _ => {}
        }
    }

    #[test]
    fn another_reader_sees_the_same_tree() {
        let site = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/site");
        let mut files: Vec<_> = fs::read_dir(site.join("rules")).unwrap().collect();
        assert!(files.len() > 5);
        files.extend(fs::read_dir(&site).unwrap());
        for file in files {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let other: Other = serde_yaml::from_str(&text).unwrap();
                let source = source(&text);
                let tree = parse(&source, &mut Sink::default()).unwrap();
                assert!(same(&tree, &other), "{}", path.display());
            }
        }
    }

    #[test]
    fn every_node_has_exactly_its_own_bytes() {
        let text =
            "a: { name: x y,  z: [1, \"2\u{e9}\", fd00::1] } # end\nb:\n  - k: v\n\nc: 'w'\n";
        let mut found = Vec::new();
        let source = source(text);
        spans(&parse(&source, &mut Sink::default()).unwrap(), &mut found);
        assert_eq!(
            found[1..],
            [
                "a",
                "{ name: x y,  z: [1, \"2\u{e9}\", fd00::1] }",
                "name",
                "x y",
                "z",
                "[1, \"2\u{e9}\", fd00::1]",
                "1",
                "\"2\u{e9}\"",
                "fd00::1",
                "b",
                "- k: v",
                "k: v",
                "k",
                "v",
                "c",
                "'w'"
            ]
        );
    }
}
