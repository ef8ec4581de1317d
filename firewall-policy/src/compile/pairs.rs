//! Rows for lines with two narrow ends, see [`firewall_common::lines`].

use std::cmp::Reverse;

use firewall_common::lines::Slots;

use super::ends::Ends;
use super::interner::Interner;
use super::judge::Judge;
use super::lines::Lines;
use super::lists::{Lists, word};
use super::rows::Rows;

/// Looks at pairs while they are worked out, at most.
const LOOKS_MAX: usize = 1 << 22;

/// The pairs of pair classes that have a row.
#[derive(Debug)]
pub(super) struct Pairs {
    /// What a class of addresses adds to the number of a pair: its pair class times as many
    /// as there are local ones.
    pub(super) remote: Vec<u32>,
    /// What a side adds: its pair class.
    pub(super) local: Vec<u32>,
    /// As [`Slots`] has them.
    pub(super) words: Vec<u32>,
    /// Number of the last slot.
    pub(super) mask: u32,
}

impl Pairs {
    /// Adds what rows it needs; `None` if it would take much time, or with all rows more
    /// than `words_max`.
    pub(super) fn new(
        judge: &Judge<'_>,
        lines: &Lines<'_>,
        ends: &Ends,
        rows: &mut Rows,
        words_max: usize,
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
            // A rule may have no line: all that it is for is decided elsewhere.
            let ranks =
                local.ranks.of(class).iter().filter(|rank| !lines.of_rule(**rank).is_empty());
            for &rank in ranks {
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
        let (words, mask) = placed(pairs, words_max - rows.words.len())?;
        let remote = remote.of.into_iter().map(|class| class * locals).collect();
        Some(Self { remote, local: local.of, words, mask })
    }
}

/// Puts pairs into the smallest table that has a slot for each, four fifths full at most, and
/// the number of its last slot; `None` if that takes more than `words_max`.
fn placed(mut pairs: Vec<(u32, u32)>, words_max: usize) -> Option<(Vec<u32>, u32)> {
    let least = (pairs.len() * 5).div_ceil(4).next_power_of_two().max(Slots::COUNT_MIN as usize);
    let sizes = std::iter::successors(Some(least), |size| size.checked_mul(2));
    let small = sizes.take_while(|size| 2 * size <= words_max).map(|size| word(size) - 1);
    let mut small = small.take_while(|mask| Slots::words(*mask) as usize <= words_max);
    small.find_map(|mask| Some((salted(&mut pairs, mask)?, mask)))
}

/// Finds each salt, those of most pairs first: one by which its pairs meet neither each
/// other nor a pair that has a slot already.
fn salted(pairs: &mut [(u32, u32)], mask: u32) -> Option<Vec<u32>> {
    /// Salts that are tried. A few pairs in a table three fifths full take a thousand or two.
    const TRIES: u32 = 1 << 14;
    let slots = Slots { first: 0, mask };
    let mut words = vec![0; Slots::words(mask) as usize];
    pairs.sort_by_key(|&(pair, _)| slots.salt(pair));
    let mut of_salt: Vec<_> =
        pairs.chunk_by(|(one, _), (next, _)| slots.salt(*one) == slots.salt(*next)).collect();
    of_salt.sort_by_key(|pairs| Reverse(pairs.len()));
    for pairs in of_salt {
        let salt = (0..TRIES).find(|&salt| are_put(pairs, (slots, salt), &mut words))?;
        words[slots.salt(pairs[0].0) as usize] = salt;
    }
    Some(words)
}

/// Gives pairs the slots that a salt says, if all are free.
fn are_put(pairs: &[(u32, u32)], (slots, salt): (Slots, u32), words: &mut [u32]) -> bool {
    let place = |pair| slots.slot(salt, pair) as usize;
    for (done, &(pair, row)) in pairs.iter().enumerate() {
        if words[place(pair)] != 0 {
            for &(pair, _) in &pairs[..done] {
                words[place(pair)] = 0;
            }
            return false;
        }
        words[place(pair)..][..2].copy_from_slice(&[pair + 1, row]);
    }
    true
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
