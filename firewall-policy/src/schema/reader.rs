//! Nodes to typed values, one complaint for each that is not what its key wants.

use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Sink, is_hidden};
use crate::features::Feature;
use crate::read::{Entry, Node, Scalar, Value};
use crate::schema::keys::Level;
use crate::schema::unknown::{one_of, unknown_key, unknown_word};
use crate::source::{Span, Spanned};
use crate::text::hidden_text;
use crate::value::{Fault, name};

/// Longest free text, characters: one line of a table or a log.
const MAX_TEXT: usize = 200;

/// Reads nodes, and reports into a sink.
pub(crate) struct Reader<'s> {
    pub(crate) sink: &'s mut Sink,
    /// See [`Options`](crate::load::Options).
    pub(crate) allow_unsupported: bool,
}

/// The keys and values of a mapping.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'n> {
    level: &'static Level,
    entries: &'n [Entry<'n>],
    pub(crate) span: &'n Span,
    /// A key was reported as unknown; it may be the one that is missing.
    pub(crate) has_unknown: bool,
}

impl<'n> Fields<'n> {
    /// The value under `key`, if that was written.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node<'n>> {
        debug_assert!(self.level.keys.contains(&key), "{key} is no key of {}", self.level.name);
        self.entries.iter().find(|entry| entry.key.text == key).map(|entry| &entry.value)
    }

    /// Where `key` itself was written.
    pub(crate) fn key_span(&self, key: &str) -> Option<&'n Span> {
        self.entries.iter().find(|entry| entry.key.text == key).map(|entry| &entry.key_span)
    }
}

impl Reader<'_> {
    /// Runs `read` and tells whether it found everything in order.
    pub(crate) fn soundly<T>(&mut self, read: impl FnOnce(&mut Self) -> T) -> (T, bool) {
        let before = self.sink.errors();
        let value = read(self);
        (value, self.sink.errors() == before)
    }

    /// Reports a part of the language that is checked but not enforced yet.
    pub(crate) fn feature(&mut self, feature: Feature, span: &Span) {
        if !self.allow_unsupported
            && let Some(diagnostic) = feature.refusal(span)
        {
            self.sink.push(diagnostic);
        }
    }

    /// Reports that something else is wanted at a place.
    pub(crate) fn wrong(&mut self, node: &Node<'_>, wanted: &str) {
        let message = match node.value {
            Value::Empty => "nothing is written here",
            Value::Scalar(_) => "a single word cannot stand here",
            Value::List(_) | Value::Networks(_) => "a list cannot stand here",
            Value::Map(_) => "a mapping cannot stand here",
        };
        let label = format!("wanted: {wanted}");
        self.sink.push(Diagnostic::new(Code::Shape, message).at(&written_place(&node.span), label));
    }

    /// The fields of a mapping; unknown keys are reported.
    pub(crate) fn fields<'n>(
        &mut self,
        node: &'n Node<'n>,
        level: &'static Level,
    ) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            self.wrong(node, &format!("{} with keys such as `{}:`", level.name, level.keys[0]));
            return None;
        };
        let mut has_unknown = false;
        for entry in entries {
            if !level.keys.contains(&&*entry.key.text) {
                has_unknown = true;
                if self.sink.is_full() {
                    self.sink.count(true);
                } else {
                    self.sink.push(unknown_key(entry, level));
                }
            }
        }
        Some(Fields { level, entries, span: &node.span, has_unknown })
    }

    /// The value under a key that must be there.
    pub(crate) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str) -> Option<&'n Node<'n>> {
        let found = fields.get(key);
        if found.is_none() && !fields.has_unknown {
            let message = format!("{} needs `{key}:`", fields.level.name);
            self.sink.push(
                Diagnostic::new(Code::MissingKey, message).at(fields.span, "it is missing here"),
            );
        }
        found
    }

    /// A word.
    pub(crate) fn word<'n>(&mut self, node: &'n Node<'n>, wanted: &str) -> Option<&'n Scalar<'n>> {
        if let Value::Scalar(scalar) = &node.value {
            return Some(scalar);
        }
        self.wrong(node, wanted);
        None
    }

    /// A word that `parse` makes a value of.
    pub(crate) fn value<T>(
        &mut self,
        node: &Node<'_>,
        wanted: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Option<Spanned<T>> {
        let scalar = self.word(node, wanted)?;
        match parse(&scalar.text) {
            Ok(value) => Some(Spanned { value, span: node.span.clone() }),
            Err(fault) => {
                self.fault(&fault, scalar, &node.span);
                None
            }
        }
    }

    /// Reports a fault under its exact bytes.
    pub(crate) fn fault(&mut self, fault: &Fault, scalar: &Scalar<'_>, span: &Span) {
        self.sink.push(fault_at(fault, &within(span, scalar, fault)));
    }

    /// A name.
    pub(crate) fn name(&mut self, node: &Node<'_>) -> Option<Spanned<String>> {
        let scalar = self.word(node, "a name")?;
        match name::parse(&scalar.text, scalar.plain) {
            Ok(value) => Some(Spanned { value, span: node.span.clone() }),
            Err(fault) => {
                self.fault(&fault, scalar, &node.span);
                None
            }
        }
    }

    /// The name that is a key of a mapping, such as a group's.
    pub(crate) fn key_name(&mut self, entry: &Entry<'_>) -> Option<Spanned<String>> {
        match name::parse(&entry.key.text, entry.key.plain) {
            Ok(value) => Some(Spanned { value, span: entry.key_span.clone() }),
            Err(fault) => {
                self.fault(&fault, &entry.key, &entry.key_span);
                None
            }
        }
    }

    /// Free text for people.
    pub(crate) fn text(&mut self, node: &Node<'_>) -> Option<Spanned<String>> {
        let scalar = self.word(node, "text")?;
        let text = scalar.text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let text = text.trim();
        if let Some(c) = text.chars().find(|&c| is_hidden(c)) {
            self.escaped(c, node);
            return None;
        }
        let length = text.chars().count();
        if text.is_empty() || length > MAX_TEXT {
            let label = format!("1 to {MAX_TEXT} characters are wanted, these are {length}");
            let message =
                if text.is_empty() { "the text is empty" } else { "the text is too long" };
            self.sink.push(Diagnostic::new(Code::Text, message).at(&node.span, label));
            return None;
        }
        Some(Spanned { value: text.to_owned(), span: node.span.clone() })
    }

    /// Reports a hidden character; one that is not written as an escape has been
    /// reported by its place.
    fn escaped(&mut self, c: char, node: &Node<'_>) {
        if !node.span.text().contains(c) {
            let message = format!("hidden character U+{:04X}", u32::from(c));
            self.sink.push(
                Diagnostic::new(Code::HiddenCharacter, message)
                    .at(&node.span, hidden_text(c))
                    .help("delete it: this text is shown in tables and logs"),
            );
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: &Node<'_>,
        choices: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let words: Vec<&str> = choices.iter().map(|&(word, _)| word).collect();
        let scalar = self.word(node, &one_of(&words))?;
        if let Some(&(_, value)) = choices.iter().find(|(word, _)| *word == scalar.text) {
            return Some(Spanned { value, span: node.span.clone() });
        }
        self.sink.push(unknown_word(&scalar.text, &node.span, &words));
        None
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, node: &Node<'_>) -> Option<bool> {
        Some(self.choice(node, &[("true", true), ("false", false)])?.value)
    }

    /// The items of a list that may be empty; anything else is reported.
    pub(crate) fn list<'n>(&mut self, node: &'n Node<'n>, wanted: &str) -> &'n [Node<'n>] {
        match &node.value {
            Value::List(items) => items,
            Value::Empty => &[],
            _ => {
                self.wrong(node, wanted);
                &[]
            }
        }
    }

    /// The entries of a mapping whose keys are names.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node<'n>, wanted: &str) -> &'n [Entry<'n>] {
        match &node.value {
            Value::Map(entries) => entries,
            Value::Empty => &[],
            _ => {
                self.wrong(node, wanted);
                &[]
            }
        }
    }
}

/// A place for a value that is not there: the key before it.
pub(crate) fn written_place(span: &Span) -> Span {
    if !span.text().is_empty() {
        return span.clone();
    }
    let before = span.source.text[..span.start].trim_end();
    let start = before.rfind(|c: char| c.is_whitespace() || c == '{').map_or(0, |at| at + 1);
    Span { start, end: before.len(), ..span.clone() }
}

/// A fault of a value as a diagnostic.
pub(crate) fn fault_at(fault: &Fault, span: &Span) -> Diagnostic {
    let diagnostic = Diagnostic::new(fault.code, &fault.message).at(span, &fault.label);
    match &fault.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// The bytes of the file that a fault's bytes of the word stand for; the whole
/// word if quotes and escapes make them differ.
fn within(span: &Span, scalar: &Scalar<'_>, fault: &Fault) -> Span {
    let raw = span.text();
    let shift = usize::from(!scalar.plain);
    if raw.get(shift..raw.len().saturating_sub(shift)) != Some(&scalar.text) {
        return span.clone();
    }
    let start = span.start + shift;
    Span { start: start + fault.at.start, end: start + fault.at.end, ..span.clone() }
}
