//! Equivalence classes: points that no set tells apart.
//!
//! A sweep over the ends of all ranges keeps the sets that hold the current
//! point. Their signature, an XOR of one random number per set, changes by one
//! operation per end and finds the class of the run of points up to the next end.
//! A class found by its signature is compared with its list of sets, so chance
//! decides about time only.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::error::CompileError;
use super::lists::Lists;
use crate::fold::half;
use crate::set::Point;

/// Entries of all classes' lists of sets together, at most: 256 MiB.
const MEMBERSHIPS_MAX: usize = 1 << 26;

/// Consecutive points of one class: from `first` to the next run's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run<T> {
    /// First point.
    pub(super) first: T,
    /// Class of all of them.
    pub(super) class: u32,
}

/// Classes found so far, in one or more universes that share their sets.
pub(super) struct Sweep {
    signatures: Vec<u128>,
    classes: HashMap<u128, u32, BuildHasherDefault<AsIs>>,
    members: Lists,
}

impl Sweep {
    /// For sets numbered below `sets`.
    pub(super) fn new(sets: usize, seed: u32) -> Self {
        let mut state = u64::from(seed);
        let signatures = (0..sets)
            .map(|_| u128::from(random(&mut state)) << 64 | u128::from(random(&mut state)));
        Self {
            signatures: signatures.collect(),
            // Most sets make a class of their own.
            classes: HashMap::with_capacity_and_hasher(sets, BuildHasherDefault::default()),
            members: Lists::default(),
        }
    }

    /// Divides a universe: its runs, ascending, the first at [`Point::MIN`];
    /// neighbours are of different classes.
    pub(super) fn divide<'s, T: Point + 's>(
        &mut self,
        sets: impl Iterator<Item = (u32, &'s [(T, T)])>,
    ) -> Result<Vec<Run<T>>, CompileError> {
        let ends = ends(sets);
        let mut runs = Vec::with_capacity(ends.len() + 1);
        let (mut inside, mut signature) = (Vec::new(), 0);
        let (mut point, mut next) = (T::MIN, 0);
        // The set that alone began or ended at the last point, and the class before that: where
        // it does so again, that class is back. Such are the ends of a million lone addresses.
        let mut alone = None;
        loop {
            let first = next;
            while let Some(&(_, set)) = ends.get(next).filter(|end| end.0 == point) {
                toggle(&mut inside, set);
                signature ^= self.signatures[set as usize];
                next += 1;
            }
            let only = (next == first + 1).then(|| ends[first].1);
            let before = runs.last().map(|run: &Run<T>| run.class);
            let class = match alone {
                Some((set, class)) if Some(set) == only => class,
                _ => self.class(signature, &inside)?,
            };
            alone = only.zip(before);
            if before != Some(class) {
                runs.push(Run { first: point, class });
            }
            match ends.get(next) {
                Some(&(end, _)) => point = end,
                None => return Ok(runs),
            }
        }
    }

    /// For each class, the sets that hold it, ascending.
    pub(super) fn into_members(self) -> Lists {
        self.members
    }

    /// The class of the points that exactly these sets hold.
    fn class(&mut self, mut signature: u128, inside: &[u32]) -> Result<u32, CompileError> {
        while let Some(&class) = self.classes.get(&signature) {
            let members = self.members.of(class);
            // Almost always one or none, for which comparing memory takes longer.
            if members.len() == inside.len() && members.iter().eq(inside) {
                return Ok(class);
            }
            signature = signature.wrapping_add(1);
        }
        if self.members.entries() + inside.len() > MEMBERSHIPS_MAX {
            return Err(CompileError::Overlaps { memberships_max: MEMBERSHIPS_MAX });
        }
        let class = self.members.push(inside);
        self.classes.insert(signature, class);
        Ok(class)
    }
}

/// Where sets begin, and where they have ended: (point, set), ascending by point.
fn ends<'s, T: Point + 's>(sets: impl Iterator<Item = (u32, &'s [(T, T)])>) -> Vec<(T, u32)> {
    let mut ends = Vec::new();
    for (set, ranges) in sets {
        ends.reserve(2 * ranges.len());
        for &(first, last) in ranges {
            ends.push((first, set));
            ends.extend(last.next().map(|after| (after, set)));
        }
    }
    // Stable, because that sort is quick with long ascending stretches.
    ends.sort_by_key(|&(point, _)| point);
    ends
}

/// Adds to an ascending list what it has not, and takes out what it has.
fn toggle(list: &mut Vec<u32>, entry: u32) {
    // Of few sets, the last one often is it.
    if list.last() == Some(&entry) {
        list.pop();
        return;
    }
    match list.binary_search(&entry) {
        Ok(place) => {
            list.remove(place);
        }
        Err(place) => list.insert(place, entry),
    }
}

/// `SplitMix64`, Steele et al., OOPSLA 2014.
pub(super) fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// A signature is its own hash.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        // Not called: the only keys are `u128`.
        self.0 = self.0.wrapping_add(bytes.iter().map(|&byte| u64::from(byte)).sum());
    }

    fn write_u128(&mut self, signature: u128) {
        self.0 ^= half(signature) ^ half(signature >> 64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The class of a point, by its run.
pub(super) fn class_of<T: Point>(runs: &[Run<T>], point: T) -> u32 {
    runs[runs.partition_point(|run| run.first <= point) - 1].class
}
