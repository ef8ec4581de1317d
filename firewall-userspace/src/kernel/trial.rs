//! A generation on trial: in force until its deadline, unless somebody confirms it.
//!
//! The kernel keeps the deadline (`firewall_common::control`); what is here reads the
//! control word and ends a trial before or after it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use firewall_common::abi::control::Word;

use super::clock::monotonic_ns;
use super::install::closed;
use super::meta::Meta;
use super::store::{Store, UNSET};

/// A generation that nobody has confirmed yet.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The generation on trial.
    pub candidate: Meta,
    /// The one that the kernel returns to; `None`: every packet passes then.
    pub before: Option<Meta>,
    /// Time left; `None` if it is over, and the kernel has returned.
    pub left: Option<Duration>,
}

impl Store {
    /// The trial that is under way or has ended without an answer; `None` if the
    /// generation in force is confirmed.
    ///
    /// # Errors
    /// If metadata is broken.
    pub fn trial(&self) -> Result<Option<Trial>> {
        let control = self.control();
        let word = Word(control.word);
        if word.confirmed() || word == UNSET {
            return Ok(None);
        }
        let left = control.deadline_ns.saturating_sub(monotonic_ns());
        Ok(Some(Trial {
            candidate: self.meta_of(word.active())?.context("nothing is on trial")?,
            before: self.meta_of(word.previous())?,
            left: (left > 0).then(|| Duration::from_nanos(left)),
        }))
    }

    /// Ends a trial: the candidate stays, whatever the clock says.
    ///
    /// The caller holds the lock and has looked at [`Store::trial`].
    pub fn confirm(&self) {
        let word = self.word();
        let closed = [word.closed_ingress(), word.closed_egress()];
        let word = Word::new(word.active(), word.previous(), true, closed);
        self.set_word(word);
    }

    /// Ends a trial: the generation before it is in force, and confirmed.
    ///
    /// # Errors
    /// If its metadata is broken; the kernel returns to it all the same at the
    /// deadline.
    pub fn roll_back(&self) -> Result<()> {
        let previous = self.word().previous();
        let closed = self.meta_of(previous)?.map_or([false; 2], |meta| closed(&meta));
        self.set_word(Word::new(previous, Word::PASS_ALL, true, closed));
        Ok(())
    }
}
