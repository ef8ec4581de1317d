//! What the rules of every other firewall are turned into first: chains of
//! lines of which the first that matches decides.

use crate::ir::{Action, Direction};
use crate::set::AddrSet;

use super::space::Region;

/// Where something is written in what is imported.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub struct Place {
    /// Name of the file.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// 1-based, in characters.
    pub column: usize,
    /// Where it stands by the names of the firewall it is from, if those help:
    /// `inet filter input handle 7`.
    pub object: Option<String>,
}

/// One line of a chain.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    /// As it is written.
    pub(super) text: String,
    pub(super) comment: Option<String>,
    /// What it surely matches: part of `may`.
    pub(super) must: Region,
    /// What it can match.
    pub(super) may: Region,
    pub(super) verdict: Verdict,
    /// Why it cannot be carried, or not in full.
    pub(super) loss: Option<String>,
    /// What is not carried of it passes by other means.
    pub(super) waived: bool,
}

/// What a line does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    /// Back to the chain that jumped here.
    Return,
    Jump(usize),
    /// As a jump, but what comes back goes on in the chain before this one.
    Goto(usize),
    /// Whatever it does, the next line is asked as well.
    Continue,
    /// The packet is another one from here on.
    Rewrite,
}

/// A list of lines.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
}

/// A chain that packets enter by themselves.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub(super) chain: usize,
    pub(super) direction: Direction,
    /// Addresses of the families whose packets enter.
    pub(super) families: AddrSet,
    /// What becomes of a packet that no line decides.
    pub(super) policy: Action,
    /// Where the policy is written.
    pub(super) place: Place,
    /// Rewrites packets, and decides nothing.
    pub(super) rewrites: bool,
}

/// The rules of another firewall.
#[derive(Clone, Debug, Default)]
pub(super) struct Program {
    pub(super) chains: Vec<Chain>,
    /// In the order in which packets enter them. Each must accept.
    pub(super) bases: Vec<Base>,
    /// Chains that packets enter where this firewall judges none, and why.
    pub(super) aside: Vec<(usize, String)>,
    pub(super) remarks: Remarks,
}

/// A line that is not carried, or not in full.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct NotCarried {
    /// Where it stands.
    #[serde(flatten)]
    pub place: Place,
    /// As it is written.
    pub text: String,
    /// Why, and what is done instead.
    pub reason: String,
}

/// What is to be said beside the rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Remarks {
    pub(super) not_carried: Vec<NotCarried>,
    /// A statement, and the places that it is about.
    pub(super) notes: Vec<(String, Vec<Place>)>,
}

impl Remarks {
    /// A line is lost; said once for each line.
    pub(super) fn lost(&mut self, place: &Place, text: &str, reason: impl Into<String>) {
        self.not_carried.push(NotCarried {
            place: place.clone(),
            text: text.to_owned(),
            reason: reason.into(),
        });
    }

    /// Something to know, beside the lines that say the same.
    pub(super) fn note(&mut self, text: impl Into<String>, place: Option<&Place>) {
        let text = text.into();
        match self.notes.iter_mut().find(|(known, _)| *known == text) {
            Some((_, places)) => places.extend(place.cloned()),
            None => self.notes.push((text, place.cloned().into_iter().collect())),
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        self.not_carried.extend(other.not_carried);
        for (text, places) in other.notes {
            match self.notes.iter_mut().find(|(known, _)| *known == text) {
                Some((_, known)) => known.extend(places),
                None => self.notes.push((text, places)),
            }
        }
    }

    /// In the order of the files, each line once for each reason.
    pub(super) fn sort(&mut self) {
        self.not_carried.sort();
        self.not_carried.dedup();
        for (_, places) in &mut self.notes {
            places.sort();
            places.dedup();
        }
    }
}

impl Program {
    /// Takes another program in, beside this one.
    pub(super) fn append(&mut self, other: Self) {
        let shift = self.chains.len();
        self.chains.extend(other.chains.into_iter().map(|mut chain| {
            for line in &mut chain.lines {
                if let Verdict::Jump(to) | Verdict::Goto(to) = &mut line.verdict {
                    *to += shift;
                }
            }
            chain
        }));
        let moved = |base: Base| Base { chain: base.chain + shift, ..base };
        self.bases.extend(other.bases.into_iter().map(moved));
        self.aside.extend(other.aside.into_iter().map(|(chain, why)| (chain + shift, why)));
        self.remarks.append(other.remarks);
    }

    /// Lists the lines of chains that no packet comes to that is judged here.
    pub(super) fn list_aside(&self, remarks: &mut Remarks) {
        let mut seen = vec![false; self.chains.len()];
        self.reach(self.bases.iter().map(|base| base.chain).collect(), &mut seen);
        for (root, why) in &self.aside {
            for chain in self.reach(vec![*root], &mut seen) {
                for line in &self.chains[chain].lines {
                    remarks.lost(&line.place, &line.text, why.clone());
                }
            }
        }
        for (chain, _) in self.chains.iter().zip(seen).filter(|(_, seen)| !seen) {
            if let Some(first) = chain.lines.first() {
                remarks.note(
                    "no packet comes to these chains: nothing jumps there",
                    Some(&first.place),
                );
            }
        }
    }

    /// Chains not seen before that are reached from these.
    fn reach(&self, mut from: Vec<usize>, seen: &mut [bool]) -> Vec<usize> {
        let mut reached = Vec::new();
        while let Some(chain) = from.pop() {
            if std::mem::replace(&mut seen[chain], true) {
                continue;
            }
            reached.push(chain);
            from.extend(self.chains[chain].lines.iter().filter_map(|line| match line.verdict {
                Verdict::Jump(to) | Verdict::Goto(to) => Some(to),
                _ => None,
            }));
        }
        reached
    }

    /// A way through jumps that comes back to where it was, as names of chains.
    ///
    /// Kernels refuse such rules; a file can have them.
    pub(super) fn cycle(&self) -> Option<(usize, &Line)> {
        let mut state = vec![0_u8; self.chains.len()];
        for start in 0..self.chains.len() {
            if state[start] != 0 {
                continue;
            }
            // Depth first, without recursion: a hostile file nests deeply.
            let mut stack = vec![(start, 0_usize)];
            state[start] = 1;
            while let Some((chain, at)) = stack.last_mut() {
                let Some(line) = self.chains[*chain].lines.get(*at) else {
                    state[*chain] = 2;
                    stack.pop();
                    continue;
                };
                *at += 1;
                let (Verdict::Jump(to) | Verdict::Goto(to)) = line.verdict else { continue };
                match state[to] {
                    0 => {
                        state[to] = 1;
                        stack.push((to, 0));
                    }
                    1 => return Some((to, line)),
                    _ => {}
                }
            }
        }
        None
    }
}
