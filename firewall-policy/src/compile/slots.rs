//! Counter slots: which rule counts where, across generations.

use std::cell::LazyCell;

use firewall_common::abi::tables::Cell;
use serde::{Deserialize, Serialize};

use super::error::CompileError;
use super::lists::word;
use super::resolve::{Ranked, Resolved};
use crate::fold::{FoldMap, FoldSet};
use crate::ir::Direction;

/// Slots that removed rules may keep at least.
const SLOTS_MIN: usize = 256;

/// Slots behind the last one that are looked at before all are.
const NEAR: usize = 8;

/// Rule and request counter slots by rule.
///
/// A rule keeps its slot as long as its direction, role and name stay. A removed
/// rule keeps it, too, so that it counts on when it comes back, until there are
/// twice as many slots as rules (at least 256): then new rules take the slots of
/// removed ones, lowest first. Not of those that are removed just now: they are in force
/// until the switch, and again if a trial is not confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotTable {
    /// Rule by slot: `ingress web/http`.
    rules: Vec<String>,
    /// Counting rule by request slot.
    requests: Vec<String>,
    /// Slots, then request slots, of rules that are not in this generation.
    idle: [Vec<u32>; 2],
}

impl SlotTable {
    /// One past the highest rule slot ever given.
    #[must_use]
    pub fn rules(&self) -> u32 {
        word(self.rules.len())
    }

    /// One past the highest request slot ever given.
    #[must_use]
    pub fn requests(&self) -> u32 {
        word(self.requests.len())
    }
}

/// The slots of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Assignment {
    pub(super) slot: u32,
    /// The slot was given now: what it counted before was another rule's.
    pub(super) is_new: bool,
    pub(super) request_slot: Option<u32>,
}

/// A table as it will be once a generation is compiled.
pub(super) struct Plan {
    pub(super) table: SlotTable,
    /// By direction and rank.
    pub(super) assignments: [Vec<Assignment>; 2],
}

/// Counters of rules, of each CPU, that are made where so many are needed: for as many rules
/// again up to some thousand, and for a thousand behind a few.
#[must_use]
pub fn rule_counters(rules: u32) -> u32 {
    let needed = rules.next_power_of_two();
    (2 * needed).clamp(1 << 10, 1 << 13).max(needed)
}

/// Gives every rule of a policy its slots.
pub(super) fn plan(table: &SlotTable, policy: &Resolved<'_>) -> Result<Plan, CompileError> {
    let names = policy.chains.each_ref().map(|chain| {
        let name = |rule: &Ranked<'_>| identity(chain.direction, &rule.rule.role, &rule.rule.name);
        chain.rules.iter().map(name).collect::<Vec<_>>()
    });
    let all = || names.iter().flatten().zip(policy.chains.iter().flat_map(|chain| &chain.rules));
    let rules: Vec<&String> = all().map(|(name, _)| name).collect();
    let counting: Vec<&String> =
        all().filter(|(_, rule)| !rule.counts.is_empty()).map(|(name, _)| name).collect();
    let [idle, idle_requests] = &table.idle;
    let (rule_names, slots) = assign(&table.rules, idle, &rules);
    let (request_names, request_slots) = assign(&table.requests, idle_requests, &counting);
    let idle = [unused(rule_names.len(), &slots), unused(request_names.len(), &request_slots)];
    if rule_names.len() >= Cell::NO_SLOT as usize {
        return Err(CompileError::Rules { rules: rules.len() });
    }
    let mut slots = slots.into_iter();
    let mut request_slots = request_slots.into_iter();
    let assignments = policy.chains.each_ref().map(|chain| {
        let given = chain.rules.iter().zip(&mut slots);
        given
            .map(|(rule, (slot, is_new))| Assignment {
                slot,
                is_new,
                request_slot: (!rule.counts.is_empty())
                    .then(|| request_slots.next())
                    .flatten()
                    .map(|(slot, _)| slot),
            })
            .collect()
    });
    let table = SlotTable { rules: rule_names, requests: request_names, idle };
    Ok(Plan { table, assignments })
}

/// Those of so many slots that are given to nobody.
fn unused(slots: usize, given: &[(u32, bool)]) -> Vec<u32> {
    let mut is_given = vec![false; slots];
    for &(slot, _) in given {
        is_given[slot as usize] = true;
    }
    (0..).zip(is_given).filter(|&(_, is_given)| !is_given).map(|(slot, _)| slot).collect()
}

/// Gives each wanted name a slot, and says whether it is newly given. Those of `idle` may
/// be given to another name.
fn assign(before: &[String], idle: &[u32], wanted: &[&String]) -> (Vec<String>, Vec<(u32, bool)>) {
    let mut names = before.to_vec();
    let room = (2 * wanted.len()).max(SLOTS_MIN);
    // Popped from the end, so lowest last.
    let mut removed = Vec::new();
    if before.len() + wanted.len() > room {
        let wanted: FoldSet<&String> = wanted.iter().copied().collect();
        let is_wanted = |slot: u32| before.get(slot as usize).is_none_or(|it| wanted.contains(it));
        removed.extend(idle.iter().rev().copied().filter(|&slot| !is_wanted(slot)));
    }
    let mut given: Vec<(u32, bool)> = Vec::with_capacity(wanted.len());
    let mut is_new = vec![false; before.len()];
    // Behind a rule that was there before most often comes one that did: others are looked for
    // by name, where there are any.
    let (mut next, mut known) = (0, LazyCell::new(|| numbered(before, wanted.len())));
    for &name in wanted {
        let near = (next..).zip(names.iter().skip(next as usize).take(NEAR));
        let near = near.filter(|&(_, it)| it == name).map(|(slot, _)| slot).next();
        if let Some(slot) = near.or_else(|| known.get(&**name).copied()) {
            next = slot + 1;
            // Behind the end is new, too: the same name a second time.
            given.push((slot, is_new.get(slot as usize).copied().unwrap_or(true)));
            continue;
        }
        let reused = if names.len() < room { None } else { removed.pop() };
        let slot = if let Some(slot) = reused {
            known.remove(&*before[slot as usize]);
            names[slot as usize].clone_from(name);
            is_new[slot as usize] = true;
            slot
        } else {
            names.push(name.clone());
            word(names.len() - 1)
        };
        known.insert(name, slot);
        next = slot + 1;
        given.push((slot, true));
    }
    (names, given)
}

/// Slots by name, with room for more.
fn numbered(names: &[String], more: usize) -> FoldMap<&str, u32> {
    let room = names.len() + more;
    let mut known = FoldMap::with_capacity_and_hasher(room, <_>::default());
    known.extend(names.iter().map(String::as_str).zip(0..));
    known
}

/// What a rule is known by for its whole life: `ingress web/http`.
fn identity(direction: Direction, role: &str, name: &str) -> String {
    let direction = match direction {
        Direction::Ingress => "ingress ",
        Direction::Egress => "egress ",
    };
    let slash = if role.is_empty() { "" } else { "/" };
    [direction, role, slash, name].concat()
}
