//! The only place that prints.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use firewall_policy::diagnostic::Style;
use serde::Serialize;

use crate::failure::Failure;

/// Whether the reader of our output has gone.
static UNHEARD: AtomicBool = AtomicBool::new(false);

/// Standard output and error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    /// Somebody looks at it.
    terminal: bool,
    /// Standard error takes colours.
    colour: bool,
}

impl Out {
    /// As this process was started: plain text where nobody looks, or where
    /// `NO_COLOR` is set.
    pub(crate) fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { terminal: io::stdout().is_terminal(), colour: wanted && io::stderr().is_terminal() }
    }

    /// Prints text as it is. A reader that has gone only silences: what a command does, and its
    /// exit code, are for others, too.
    #[expect(clippy::unused_self, reason = "printing goes through this type")]
    pub(crate) fn text(self, text: &str) -> Result<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                UNHEARD.store(true, Ordering::Relaxed);
                Ok(())
            }
            printed => Ok(printed?),
        }
    }

    /// Whether the reader has gone: what would go on until he does ends then.
    #[expect(clippy::unused_self, reason = "printing goes through this type")]
    pub(crate) fn is_unheard(self) -> bool {
        UNHEARD.load(Ordering::Relaxed)
    }

    /// What printing a change came to. The change stands even if it could not be told: then that is
    /// said beside the output. `None` if nothing was changed.
    pub(crate) fn told(self, printed: Result<()>, change: Option<String>) -> Result<()> {
        match (printed, change) {
            (Err(error), Some(change)) => {
                self.note(&format!("warning: {change}; printing that failed: {error:#}"));
                Ok(())
            }
            (printed, _) => printed,
        }
    }

    /// Prints a line.
    pub(crate) fn line(self, text: &str) -> Result<()> {
        self.text(&format!("{text}\n"))
    }

    /// Prints a document for programs: indented for eyes, one line for pipes.
    pub(crate) fn json(self, document: &impl Serialize) -> Result<()> {
        let text = if self.terminal {
            serde_json::to_string_pretty(document)?
        } else {
            serde_json::to_string(document)?
        };
        self.line(&text)
    }

    /// Whether somebody sees at once what is beside the output.
    #[expect(clippy::unused_self, reason = "printing goes through this type")]
    pub(crate) fn is_watched(self) -> bool {
        io::stderr().is_terminal()
    }

    /// Prints a remark beside the output.
    pub(crate) fn note(self, text: &str) {
        self.error_text(&format!("{text}\n"));
    }

    /// Prints an error.
    pub(crate) fn failure(self, failure: &Failure) {
        let word = if failure.is_refusal { "refused" } else { "error" };
        let head = if self.colour { format!("\x1b[1;31m{word}\x1b[0m") } else { word.to_owned() };
        self.error_text(&format!("{head}: {failure}\n"));
    }

    /// Prints rendered diagnostics.
    pub(crate) fn diagnostics(self, text: &str) {
        self.error_text(text);
    }

    /// How diagnostics are rendered.
    pub(crate) fn style(self) -> Style {
        if self.colour { Style::Colour } else { Style::Plain }
    }

    /// Begins a repetition: a fresh screen, or an empty line where there is none.
    pub(crate) fn fresh(self, first: bool) -> Result<()> {
        match (self.terminal, first) {
            (true, true) => self.text("\x1b[2J\x1b[H"),
            // Overwrite in place: clearing first would flicker.
            (true, false) => self.text("\x1b[H"),
            (false, true) => Ok(()),
            (false, false) => self.line(""),
        }
    }

    /// Ends a repetition: what an earlier, longer one left below is cleared.
    pub(crate) fn settle(self) -> Result<()> {
        if self.terminal { self.text("\x1b[J") } else { Ok(()) }
    }

    /// Text that may be repeated: where a screen is overwritten, its lines clear
    /// what was there before.
    pub(crate) fn screen(self, text: &str, watch: super::Watch) -> Result<()> {
        let overwrites = self.terminal && watch.watch;
        if overwrites { self.text(&text.replace('\n', "\x1b[K\n")) } else { self.text(text) }
    }

    /// Columns that a table may take; no bound where nobody looks.
    pub(crate) fn width(self) -> usize {
        let columns = if self.terminal { crate::host::terminal::columns() } else { None };
        columns.unwrap_or(usize::MAX)
    }

    // Errors of standard error have nowhere to go.
    #[expect(clippy::unused_self, reason = "printing goes through this type")]
    fn error_text(self, text: &str) {
        let _unheard = io::stderr().lock().write_all(without_numbers(text).as_bytes());
    }
}

/// System errors by their words alone: ` (os error 30)` tells nobody more.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_system_are_words() {
        let error = std::io::Error::from_raw_os_error(libc::EROFS);
        assert_eq!(
            without_numbers(&format!("could not open a: {error}; open b: {error}\n")),
            "could not open a: Read-only file system; open b: Read-only file system\n"
        );
        assert_eq!(without_numbers("nothing of the kind"), "nothing of the kind");
    }
}
