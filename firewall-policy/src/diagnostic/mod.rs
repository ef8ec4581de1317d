//! What is said about bad input: a code, a sentence, places, one way out.

mod json;
mod layout;
mod render;

use std::cmp::Ordering;
use std::fmt;

use crate::codes::{Code, Severity};
use crate::source::Span;

pub(crate) use layout::{is_hidden, is_odd_space};
pub use render::{Style, render};

/// Errors shown in one run; the rest are counted.
pub const SHOWN: usize = 50;

/// Findings looked at in one run: a hostile file has as many as it has bytes.
const KEPT: usize = 200;

/// A place, and what is to be said about it.
#[derive(Clone, Debug)]
pub struct Label {
    /// The exact bytes.
    pub span: Span,
    /// A few words; empty to only underline.
    pub text: String,
}

/// One statement about the input.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Stable code; its letter is the severity.
    pub code: Code,
    /// The fault in one sentence, in the user's own words.
    pub message: String,
    /// Places; the first is the primary one. Empty if no file is concerned.
    pub labels: Vec<Label>,
    /// Facts without a place, one line each.
    pub notes: Vec<String>,
    /// One way out, which can be pasted where that is possible.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A statement without a place.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), labels: Vec::new(), notes: Vec::new(), help: None }
    }

    /// Adds a place; the first one added is the primary one.
    #[must_use]
    pub fn at(mut self, span: &Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span: span.clone(), text: text.into() });
        self
    }

    /// Adds a fact without a place.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Sets the way out.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Errors first, then file by file from top to bottom.
    fn reading_order(&self, other: &Self) -> Ordering {
        let key = |one: &Self| {
            let place = one.labels.first().map(|label| &label.span);
            (!one.is_error(), place.map(|span| (span.source.name.clone(), span.start)))
        };
        key(self).cmp(&key(other))
    }

    /// A file that two roles include is judged twice, and blamed once.
    fn says_the_same(&self, other: &Self) -> bool {
        self.code == other.code
            && self.message == other.message
            && match (self.labels.first(), other.labels.first()) {
                (Some(this), Some(that)) => this.span.is_same_place(&that.span),
                (this, that) => this.is_none() && that.is_none(),
            }
    }

    /// Whether the input cannot be used.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.code.severity() == Severity::Error
    }
}

/// Everything found in input that cannot be used.
#[derive(Clone, Debug)]
pub struct Report {
    /// At least one error, and the warnings that came with it; at most [`SHOWN`].
    pub diagnostics: Vec<Diagnostic>,
    /// How many more there were.
    pub hidden: usize,
}

/// The plain text, as [`Report::render`] without colour.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Report {}

/// Collects what is found.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    found: Vec<Diagnostic>,
    errors: usize,
    more: usize,
}

impl Sink {
    /// Takes a finding.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.count(diagnostic.is_error());
        } else if !self.found.iter().any(|known| known.says_the_same(&diagnostic)) {
            self.errors += usize::from(diagnostic.is_error());
            self.found.push(diagnostic);
        }
    }

    /// Whether findings are only counted by now, so that none need be worded.
    pub(crate) fn is_full(&self) -> bool {
        self.found.len() >= KEPT
    }

    /// Counts a finding without wording it.
    pub(crate) fn count(&mut self, is_error: bool) {
        self.errors += usize::from(is_error);
        self.more += 1;
    }

    /// Takes in what another one has collected.
    pub(crate) fn absorb(&mut self, other: Self) {
        let kept = other.found.iter().filter(|one| one.is_error()).count();
        for diagnostic in other.found {
            self.push(diagnostic);
        }
        self.errors += other.errors - kept;
        self.more += other.more;
    }

    /// Errors so far. What was read without a new one is sound.
    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// What was read and the warnings if nothing is wrong, else everything that
    /// was found, errors first.
    ///
    /// Nothing read means that an error was found.
    pub(crate) fn finish<T>(mut self, read: Option<T>) -> Result<(T, Vec<Diagnostic>), Report> {
        self.found.sort_by(Diagnostic::reading_order);
        if let (0, Some(read)) = (self.errors, read) {
            return Ok((read, self.found));
        }
        let hidden = self.found.len().saturating_sub(SHOWN) + self.more;
        self.found.truncate(SHOWN);
        Err(Report { diagnostics: self.found, hidden })
    }
}
