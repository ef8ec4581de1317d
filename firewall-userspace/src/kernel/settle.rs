//! Attaching judges in the place of roots, once a policy has stood for a while.
//!
//! A root costs every packet a tail call. Judges ask the control word themselves, and do what a
//! root does where it names the other slot. So one may be attached, one store still changes all
//! hooks and CPUs, and which of the two a link has changes no verdict.
//!
//! **Invariant: a link has a root, or a program that its slot has now.** A judge of old would
//! take itself for that of its slot. So links go back to roots *before* the programs of a slot
//! are replaced; those in force never are.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use firewall_common::abi::control::Word;

use super::attach::Attachment;
use super::store::Store;
use super::{link, program, sys};

/// Links that are changed at one go: each takes some 8 ms.
const AT_ONCE: usize = 16;

impl Store {
    /// Whether [`Store::settle`] has something to do.
    ///
    /// # Errors
    /// If a pin cannot be read.
    pub fn can_settle(&self, may: impl Fn(&Attachment) -> bool) -> Result<bool> {
        Ok(!self.unsettled(may)?.is_empty())
    }

    /// Attaches the judges in force wherever a link takes one and `may` says so, 16 at most; how
    /// many links have changed. None while a policy is on trial. The caller holds the lock.
    ///
    /// # Errors
    /// If a pin cannot be read or the kernel refuses: that link has what it had.
    pub fn settle(&self, may: impl Fn(&Attachment) -> bool) -> Result<usize> {
        let mut changed = 0;
        for (at, judge) in self.unsettled(may)?.iter().take(AT_ONCE) {
            changed += usize::from(self.put_on(at, judge)?);
        }
        Ok(changed)
    }

    /// Links that have not the judge in force and may have it, each with that.
    fn unsettled(&self, may: impl Fn(&Attachment) -> bool) -> Result<Vec<(Attachment, OwnedFd)>> {
        let slot = self.word().settled();
        if slot == Word::PASS_ALL {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for at in self.attached()? {
            let Some(name) = at.hook.judge() else { continue };
            let judge = open(&self.pins.generation(slot).join(name))?;
            let has = self.program_at(&at)?;
            if has.is_some() && has != Some(program::id(judge.as_fd())?) && may(&at) {
                found.push((at, judge));
            }
        }
        Ok(found)
    }

    /// Attaches roots in the place of all judges but those in force.
    ///
    /// # Errors
    /// As [`Store::settle`].
    pub(super) fn unsettle(&self) -> Result<()> {
        let active = self.word().active();
        for at in self.attached()? {
            let Some(name) = at.hook.judge() else { continue };
            let judge = sys::open(&self.pins.generation(active).join(name))?;
            let in_force = judge.map(|judge| program::id(judge.as_fd())).transpose()?;
            if in_force.is_none() || self.program_at(&at)? != in_force {
                self.put_on(&at, &open(&self.pins.root(at.hook.root()))?)?;
            }
        }
        Ok(())
    }

    /// Number of the program that a link has; `None` if its interface is gone.
    ///
    /// # Errors
    /// If the pin cannot be read.
    pub fn program_at(&self, at: &Attachment) -> Result<Option<u32>> {
        let Some(link) = sys::open(&at.pin(&self.pins))? else { return Ok(None) };
        Ok(Some(link::program(link.as_fd())?))
    }

    /// Lets a link have a program; false if it had it, or its interface is gone.
    fn put_on(&self, at: &Attachment, program: &OwnedFd) -> Result<bool> {
        let path = at.pin(&self.pins);
        let Some(link) = sys::open(&path)? else { return Ok(false) };
        if link::program(link.as_fd())? == program::id(program.as_fd())? {
            return Ok(false);
        }
        link::update(link.as_fd(), program.as_fd())
            .with_context(|| format!("could not change the program of {}", path.display()))
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    sys::open(path)?.with_context(|| format!("nothing is pinned at {}", path.display()))
}
