//! Lines to words, with the place of each: what iptables and ipset save.

use std::sync::Arc;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::source::{Source, Span};

use super::program::Place;

/// One word of a line.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    /// Bytes of the file.
    pub(super) start: usize,
    pub(super) end: usize,
}

/// One line of a file.
#[derive(Clone, Debug)]
pub(super) struct WordLine<'s> {
    pub(super) source: &'s Arc<Source>,
    pub(super) number: usize,
    pub(super) start: usize,
    pub(super) text: &'s str,
}

/// The lines of a file that say something.
pub(super) fn lines(source: &Arc<Source>) -> impl Iterator<Item = WordLine<'_>> {
    let mut start = 0;
    source.text.split('\n').enumerate().filter_map(move |(index, line)| {
        let at = start;
        start += line.len() + 1;
        let text = line.trim();
        let start = at + (line.len() - line.trim_start().len());
        (!text.is_empty()).then_some(WordLine { source, number: index + 1, start, text })
    })
}

impl WordLine<'_> {
    pub(super) fn place(&self) -> Place {
        Place { file: self.source.name.clone(), line: self.number, column: 1, object: None }
    }

    /// An error about some bytes of the line.
    pub(super) fn error(
        &self,
        (start, end): (usize, usize),
        message: &str,
        label: &str,
    ) -> Diagnostic {
        let span = Span { source: self.source.clone(), start, end };
        Diagnostic::new(Code::Import, message).at(&span, label)
    }

    /// An error about all of the line.
    pub(super) fn wrong(&self, message: &str, label: &str) -> Diagnostic {
        self.error((self.start, self.start + self.text.len()), message, label)
    }

    /// The words of the line; quotes and backslashes as iptables writes them.
    pub(super) fn words(&self) -> Result<Vec<Word>, Box<Diagnostic>> {
        let mut words = Vec::new();
        let mut word: Option<Word> = None;
        let mut quote = None;
        let mut characters = self.text.char_indices();
        while let Some((at, c)) = characters.next() {
            let start = self.start + at;
            if quote.is_none() && c.is_ascii_whitespace() {
                words.extend(word.take());
                continue;
            }
            let word = word.get_or_insert_with(|| Word { text: String::new(), start, end: start });
            word.end = start + c.len_utf8();
            match c {
                '"' | '\'' if quote.is_none() => quote = Some((c, start)),
                _ if quote.is_some_and(|(open, _)| open == c) => quote = None,
                '\\' if quote.is_none_or(|(open, _)| open == '"') => {
                    if let Some((at, escaped)) = characters.next() {
                        word.text.push(escaped);
                        word.end = self.start + at + escaped.len_utf8();
                    }
                }
                _ => word.text.push(c),
            }
        }
        if let Some((_, at)) = quote {
            let end = self.start + self.text.len();
            return Err(Box::new(self.error((at, end), "a quote is not closed", "opened here")));
        }
        words.extend(word);
        Ok(words)
    }
}
