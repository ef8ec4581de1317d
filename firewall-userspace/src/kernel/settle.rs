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
use super::store::{Store, interface_name};
use super::{grace, link, program, sys};

impl Store {
    /// Links that have not the judge in force and may have it. None while a policy is on trial.
    ///
    /// # Errors
    /// If a pin cannot be read.
    pub fn unsettled(&self, may: impl Fn(&Attachment) -> bool) -> Result<Vec<Attachment>> {
        let mut found = Vec::new();
        for at in self.attached()? {
            let Some(judge) = self.judge_for(&at)? else { continue };
            let (judge, has) = (id(&judge)?, self.program_at(&at)?);
            if has.is_some_and(|has| has != judge) && may(&at) {
                found.push(at);
            }
        }
        Ok(found)
    }

    /// Attaches the judge in force, where one may be; false if it is attached. The caller sees
    /// to it that no programs are replaced meanwhile.
    ///
    /// # Errors
    /// If a pin cannot be read or the kernel refuses: the link has what it had.
    pub fn settle(&self, at: &Attachment) -> Result<bool> {
        self.judge_for(at)?.map_or(Ok(false), |judge| self.put_on(at, &judge))
    }

    /// The judge that a link may have; `None` while a policy is on trial, or without one.
    fn judge_for(&self, at: &Attachment) -> Result<Option<OwnedFd>> {
        match self.word().settled() {
            Word::PASS_ALL => Ok(None),
            slot => open(&self.pins.generation(slot).join(at.hook.judge())).map(Some),
        }
    }

    /// Attaches roots in the place of all judges but those in force. No packet is in one of
    /// the others then, as far as that can be known.
    ///
    /// # Errors
    /// As [`Store::settle`], with the way out.
    pub(super) fn unsettle(&self) -> Result<()> {
        let active = self.pins.generation(self.word().active());
        let mut changed = false;
        for at in self.attached()? {
            let judge = sys::open(&active.join(at.hook.judge()))?;
            let in_force = judge.as_ref().map(id).transpose()?;
            if in_force.is_none() || self.program_at(&at)? != in_force {
                let root = open(&self.pins.root(at.hook.root()))?;
                changed |= self.put_on(&at, &root).context(
                    "a root program cannot be put back; `firewall detach` lets go of the interface",
                )?;
            }
        }
        // XDP has waited itself, TC has not.
        let _waited = changed && grace::wait();
        Ok(())
    }

    /// Number of the program that a link has; `None` if it is not pinned any more.
    ///
    /// # Errors
    /// If the pin cannot be read.
    pub fn program_at(&self, at: &Attachment) -> Result<Option<u32>> {
        let Some(link) = sys::open(&at.pin(&self.pins))? else { return Ok(None) };
        Ok(Some(link::program(link.as_fd())?))
    }

    /// Lets a link have a program; false if it has it already, or its interface is gone.
    fn put_on(&self, at: &Attachment, program: &OwnedFd) -> Result<bool> {
        let Some(link) = sys::open(&at.pin(&self.pins))? else { return Ok(false) };
        if link::program(link.as_fd())? == id(program)? {
            return Ok(false);
        }
        link::update(link.as_fd(), program.as_fd()).with_context(|| {
            let interface = interface_name(at.ifindex).unwrap_or_default();
            format!("{interface}, {}: the kernel takes no other program", at.hook.name())
        })
    }
}

fn id(program: &OwnedFd) -> Result<u32> {
    program::id(program.as_fd())
}

fn open(path: &Path) -> Result<OwnedFd> {
    sys::open(path)?.with_context(|| format!("nothing is pinned at {}", path.display()))
}
