//! Rows for lines with two narrow ends, see [`firewall_common::lines`].

use firewall_common::abi::tables::Row;
use firewall_common::lines::slot_of;

use super::ends::Ends;
use super::interner::Interner;
use super::judge::Judge;
use super::lines::Lines;
use super::lists::{Lists, word};
use super::rows::Rows;

/// Looks at pairs while they are worked out, at most.
const LOOKS_MAX: usize = 1 << 22;

/// Words of a slot.
const SLOT: usize = 2;

/// The pairs of pair classes that have a row.
#[derive(Debug)]
pub(super) struct Pairs {
    /// What a class of addresses adds to the number of a pair: its pair class times as many
    /// as there are local ones.
    pub(super) remote: Vec<u32>,
    /// What a side adds: its pair class.
    pub(super) local: Vec<u32>,
    /// Number of a pair plus 1, and its row; zeroes where there is none.
    pub(super) slots: Vec<[u32; SLOT]>,
}

impl Pairs {
    /// Adds what rows it needs; `None` if it would take much time, or with all rows more
    /// than `words_max`.
    pub(super) fn new(
        judge: &Judge<'_>,
        lines: &Lines<'_>,
        ends: &Ends,
        rows: &mut Rows,
        (seed, words_max): (u32, usize),
    ) -> Option<Self> {
        let narrow = ends.with(judge, [false, false]);
        let remote = Classes::new(&lines.ranks_of_remotes(judge, &narrow));
        let local = Classes::new(&Lines::ranks_of_locals(judge, &narrow));
        let locals = u32::try_from(local.ranks.len()).ok()?;
        word(remote.ranks.len()).checked_mul(locals)?;
        let remotes = remote.ranks.inverted(judge.rules());
        let looks = local.ranks.pairs().map(|(_, rank)| remotes.of(rank).len());
        if looks.sum::<usize>() > LOOKS_MAX {
            return None;
        }
        let mut pairs = Vec::new();
        let (mut found, mut touched) = (vec![Vec::new(); remote.ranks.len()], Vec::new());
        for class in 0..locals {
            for &rank in local.ranks.of(class) {
                for &remote in remotes.of(rank) {
                    let found: &mut Vec<u32> = &mut found[remote as usize];
                    if found.is_empty() {
                        touched.push(remote);
                    }
                    found.extend_from_slice(lines.of_rule(rank));
                }
            }
            for remote in touched.drain(..) {
                let found = &mut found[remote as usize];
                pairs.push((remote * locals + class, rows.word(found, lines)));
                found.clear();
            }
            if rows.are_too_many() {
                return None;
            }
        }
        let slots = placed(&pairs, seed, words_max - rows.words.len())?;
        let remote = remote.of.into_iter().map(|class| class * locals).collect();
        Some(Self { remote, local: local.of, slots })
    }
}

/// Puts pairs into the smallest table, a quarter full at most, that finds each in
/// [`Row::PROBES`] probes; `None` if that takes more than `words_max`.
fn placed(pairs: &[(u32, u32)], seed: u32, words_max: usize) -> Option<Vec<[u32; SLOT]>> {
    let mut size = (4 * pairs.len()).next_power_of_two();
    while size * SLOT <= words_max {
        let mut slots = vec![[0; SLOT]; size];
        let are_placed = pairs.iter().all(|&(pair, row)| {
            let first = slot_of(seed, pair) as usize;
            let mut tried = (first..first + Row::PROBES as usize).map(|slot| slot & (size - 1));
            let free = tried.find(|slot| slots[*slot][0] == 0);
            free.inspect(|slot| slots[*slot] = [pair + 1, row]).is_some()
        });
        if are_placed {
            return Some(slots);
        }
        size *= 2;
    }
    None
}

/// Classes that only some rules tell apart.
struct Classes {
    /// Of each class that all rules tell apart.
    of: Vec<u32>,
    /// The rules about each, ascending.
    ranks: Lists,
}

impl Classes {
    /// By the rules about each class that all rules tell apart.
    fn new(all: &Lists) -> Self {
        let mut distinct = Interner::default();
        let of = (0..word(all.len())).map(|class| distinct.number(all.of(class))).collect();
        let mut ranks = Lists::default();
        for list in distinct.values() {
            ranks.push(list);
        }
        Self { of, ranks }
    }
}
