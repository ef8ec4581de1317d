//! The rarely asked dimensions: interface, VLAN, TCP flags.

use firewall_common::abi::tables::IFACES;
use firewall_common::policy::Context;

use super::error::CompileError;
use super::interner::Interner;
use super::lists::{Lists, word};
use super::resolve::Conditions;
use crate::glob;

/// One dimension, divided by the conditions that rules put on it.
#[derive(Debug)]
pub(super) struct Dimension {
    /// Class of each point; empty if no rule asks.
    pub(super) classes: Vec<u32>,
    /// For each class, the conditions that hold there, ascending.
    pub(super) members: Lists,
}

impl Dimension {
    /// Divides points 0 to `points` (exclusive) by conditions.
    fn new<C>(points: usize, conditions: &[C], holds: impl Fn(&C, usize) -> bool) -> Self {
        if conditions.is_empty() {
            let mut members = Lists::default();
            members.push(&[]);
            return Self { classes: Vec::new(), members };
        }
        let holding: Vec<Vec<u32>> = (0..points)
            .map(|point| {
                let numbered = (0..).zip(conditions);
                numbered.filter(|(_, c)| holds(c, point)).map(|(number, _)| number).collect()
            })
            .collect();
        let mut distinct = Interner::default();
        let classes = holding.iter().map(|list| distinct.number(list.as_slice())).collect();
        let mut members = Lists::default();
        for list in distinct.values() {
            members.push(list);
        }
        Self { classes, members }
    }

    /// Classes, at least 1.
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    fn holds(&self, class: usize, condition: Option<u32>) -> bool {
        condition.is_none_or(|condition| self.members.contains(word(class), condition))
    }
}

/// Interface, VLAN and flag classes, and their combinations.
///
/// A combination is a number: interface class, VLAN class and flag class, the
/// last running fastest.
#[derive(Debug)]
pub(super) struct Contexts {
    /// Point 0 is any interface that is not listed, the others are listed.
    pub(super) interfaces: Dimension,
    /// Indexes of the listed interfaces.
    pub(super) ifindexes: Vec<u32>,
    pub(super) vlans: Dimension,
    pub(super) flags: Dimension,
    /// Whether some rule asks for any of them.
    pub(super) asked: bool,
}

impl Contexts {
    pub(super) fn new(
        conditions: &Conditions<'_>,
        interfaces: &[(String, u32)],
    ) -> Result<Self, CompileError> {
        let globs = conditions.interfaces.values();
        let vlans = conditions.vlans.values();
        let flags = conditions.flags.values();
        let interfaces_by = Dimension::new(interfaces.len() + 1, globs, |globs, point| {
            let name = point.checked_sub(1).and_then(|place| interfaces.get(place));
            name.is_some_and(|(name, _)| globs.iter().any(|glob| glob::matches(glob, name)))
        });
        let listed = interfaces_by.classes.iter().skip(1).filter(|&&class| class != 0).count();
        if listed > IFACES as usize {
            return Err(CompileError::Interfaces { listed });
        }
        Ok(Self {
            interfaces: interfaces_by,
            ifindexes: interfaces.iter().map(|&(_, index)| index).collect(),
            vlans: Dimension::new(usize::from(Context::UNTAGGED) + 1, vlans, |vlans, point| {
                vlans.iter().any(|&vlan| usize::from(vlan) == point)
                    && point != usize::from(Context::UNTAGGED)
            }),
            flags: Dimension::new(256, flags, |flags, point| {
                point & usize::from(flags.mask) == usize::from(flags.value)
            }),
            asked: !(globs.is_empty() && vlans.is_empty() && flags.is_empty()),
        })
    }

    /// Combinations.
    pub(super) fn count(&self) -> usize {
        self.interfaces.count() * self.vlans.count() * self.flags.count()
    }

    /// Combinations in which an inbound packet can come: all, but for "an
    /// interface that is not listed" where every interface is.
    pub(super) fn possible(&self) -> impl Iterator<Item = usize> + '_ {
        let unlisted = self.ifindexes.is_empty()
            || self.interfaces.classes.is_empty()
            || self.interfaces.classes.iter().skip(1).any(|&class| class == 0);
        let first = if unlisted { 0 } else { self.vlans.count() * self.flags.count() };
        first..self.count()
    }

    /// Whether a rule's conditions hold in a combination.
    pub(super) fn admit(&self, rule: &super::resolve::Ranked<'_>, context: usize) -> bool {
        let (rest, flags) = (context / self.flags.count(), context % self.flags.count());
        let (interface, vlan) = (rest / self.vlans.count(), rest % self.vlans.count());
        self.interfaces.holds(interface, rule.interfaces)
            && self.vlans.holds(vlan, rule.vlans)
            && self.flags.holds(flags, rule.flags)
    }

    /// The (ifindex, class) pairs of the listed interfaces, as the datapath reads
    /// them; empty if no rule asks.
    pub(super) fn interface_words(&self) -> Vec<u32> {
        if self.interfaces.classes.is_empty() {
            return Vec::new();
        }
        let pairs = self.ifindexes.iter().zip(self.interfaces.classes.iter().skip(1));
        let listed = pairs.filter(|&(_, &class)| class != 0);
        let mut words: Vec<u32> = listed.flat_map(|(&index, &class)| [index, class]).collect();
        words.resize(2 * IFACES as usize, 0);
        words
    }
}
