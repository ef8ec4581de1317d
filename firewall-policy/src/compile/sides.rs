//! Sides: the rarely asked dimensions of a chain folded into one number.

use firewall_common::abi::tables::Setting;

use super::context::Contexts;
use super::interner::Interner;
use super::lists::{Lists, word};
use super::resolve::Ranked;
use super::room::Room;

/// The sides of a chain, numbered as [`firewall_common::policy`] does: local
/// class times contexts plus context, then one more per local class for replies
/// if any rule asks for a context.
#[derive(Debug)]
pub(super) struct Sides<'a> {
    /// Local class of each address class; empty if no rule asks for it.
    pub(super) local_of: Vec<u32>,
    /// For each local class, the address sets that hold it, ascending.
    locals: Lists,
    /// For each address set, the local classes that it holds, ascending.
    held: Lists,
    contexts: &'a Contexts,
}

impl<'a> Sides<'a> {
    pub(super) fn new(
        rules: &[Ranked<'_>],
        addresses: &Lists,
        contexts: &'a Contexts,
        (room, setting): (Room<'_>, Setting),
    ) -> Self {
        let mut asked: Vec<u32> = rules.iter().filter_map(|rule| rule.local).collect();
        asked.sort_unstable();
        asked.dedup();
        let mut locals = Lists::default();
        if asked.is_empty() {
            locals.push(&[]);
            return Self { local_of: Vec::new(), locals, held: Lists::default(), contexts };
        }
        let held = |class| {
            let sets = addresses.of(class).iter().copied();
            sets.filter(|set| asked.binary_search(set).is_ok()).collect()
        };
        let held: Vec<Vec<u32>> = (0..word(addresses.len())).map(held).collect();
        let mut distinct = Interner::default();
        let local_of = held.iter().map(|list| distinct.number(list.as_slice())).collect();
        for list in distinct.values() {
            locals.push(list);
        }
        // Of what is spare, no address is.
        for _ in locals.len()..room.sides(setting, locals.len()) {
            locals.push(&[]);
        }
        let sets = asked.last().map_or(0, |last| *last as usize + 1);
        Self { local_of, held: locals.inverted(sets), locals, contexts }
    }

    /// Local classes, at least 1.
    pub(super) fn locals(&self) -> usize {
        self.locals.len()
    }

    /// The local classes that a set holds, which some rule asks for as local end.
    pub(super) fn held_by(&self, set: u32) -> &[u32] {
        self.held.of(set)
    }

    /// Sides on which interface, VLAN and flags are known.
    pub(super) fn asked(&self) -> usize {
        self.locals() * self.contexts.count()
    }

    /// All sides.
    pub(super) fn count(&self) -> usize {
        self.asked() + if self.contexts.asked { self.locals() } else { 0 }
    }

    /// The local class for whose replies a side is, if it is such a side.
    pub(super) fn reply(&self, side: usize) -> Option<usize> {
        side.checked_sub(self.asked())
    }

    /// The sides on which a packet can come to a local class.
    pub(super) fn possible(&self, local: usize) -> impl Iterator<Item = usize> + '_ {
        self.contexts.possible().map(move |context| local * self.contexts.count() + context)
    }

    /// Whether a rule's local end, interface, VLAN and flags hold on a side.
    pub(super) fn admit(&self, side: usize, rule: &Ranked<'_>) -> bool {
        let contexts = self.contexts.count();
        rule.local.is_none_or(|set| self.locals.contains(word(side / contexts), set))
            && (!rule.asks_context() || self.contexts.admit(rule, side % contexts))
    }
}
