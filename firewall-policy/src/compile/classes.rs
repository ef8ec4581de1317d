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

    /// Divides a universe: calls `each` with its runs, ascending, the first at
    /// [`Point::MIN`]; neighbours are of different classes.
    pub(super) fn divide<'s, T: Point + 's>(
        &mut self,
        sets: impl Iterator<Item = (u32, &'s [(T, T)])>,
        mut each: impl FnMut(Run<T>),
    ) -> Result<(), CompileError> {
        let mut ends = Ends::new(sets);
        let (mut inside, mut signature) = (Vec::new(), 0);
        let (mut next, mut before) = (Some(T::MIN), None);
        // The set that alone began or ended at the last point, and the class before that: where
        // it does so again, that class is back.
        let mut alone = None;
        while let Some(point) = next {
            let (mut only, mut count) = (None, 0);
            ends.take_at(point, |set| {
                toggle(&mut inside, set);
                signature ^= self.signatures[set as usize];
                (only, count) = (Some(set), count + 1);
            });
            only = only.filter(|_| count == 1);
            let class = match alone {
                Some((set, class)) if Some(set) == only => class,
                _ => self.class(signature, &inside)?,
            };
            alone = only.zip(before);
            if before != Some(class) {
                each(Run { first: point, class });
            }
            before = Some(class);
            if let Some((long, stretch)) = ends.stretch() {
                toggle(&mut inside, long);
                let within = self.class(signature ^ self.signatures[long as usize], &inside)?;
                toggle(&mut inside, long);
                for (first, behind) in stretch {
                    each(Run { first, class: within });
                    each(Run { first: behind, class });
                }
            }
            next = ends.next();
        }
        Ok(())
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
        if self.members.entries().len() + inside.len() > MEMBERSHIPS_MAX {
            return Err(CompileError::Overlaps { memberships_max: MEMBERSHIPS_MAX });
        }
        let class = self.members.push(inside);
        self.classes.insert(signature, class);
        Ok(class)
    }
}

/// Where sets begin, and where they have ended, ascending.
struct Ends<'s, T> {
    /// Of sets of few ranges: point and set.
    few: Vec<(T, u32)>,
    /// How many of those were taken.
    taken: usize,
    /// Sets of many ranges, which come in order already.
    long: Vec<Long<'s, T>>,
}

/// Ranges from which on a set is not sorted with the others.
const LONG: usize = if cfg!(test) { 3 } else { 1 << 10 };
/// Sets of so many ranges: each is asked at every end.
const LONG_MAX: usize = 8;

/// What is left of a set's ranges.
struct Long<'s, T> {
    set: u32,
    ranges: &'s [(T, T)],
    /// Whether the first of them has begun.
    is_inside: bool,
}

impl<T: Point> Long<'_, T> {
    /// Where it begins or has ended next.
    fn next(&self) -> Option<T> {
        let &(first, last) = self.ranges.first()?;
        if self.is_inside { last.next() } else { Some(first) }
    }
}

impl<'s, T: Point> Ends<'s, T> {
    fn new(sets: impl Iterator<Item = (u32, &'s [(T, T)])>) -> Self {
        let (mut few, mut long) = (Vec::new(), Vec::new());
        for (set, ranges) in sets {
            if ranges.len() >= LONG && long.len() < LONG_MAX {
                long.push(Long { set, ranges, is_inside: false });
                continue;
            }
            few.reserve(2 * ranges.len());
            for &(first, last) in ranges {
                few.push((first, set));
                few.extend(last.next().map(|after| (after, set)));
            }
        }
        // Stable, because that sort is quick with long ascending stretches.
        few.sort_by_key(|&(point, _)| point);
        Self { few, taken: 0, long }
    }

    /// The next point at which a set begins or has ended.
    fn next(&self) -> Option<T> {
        self.long.iter().filter_map(Long::next).chain(self.next_of_few()).min()
    }

    fn next_of_few(&self) -> Option<T> {
        self.few.get(self.taken).map(|&(point, _)| point)
    }

    /// Calls `each` with the sets that begin or have ended at the next point.
    fn take_at(&mut self, point: T, mut each: impl FnMut(u32)) {
        while let Some(&(_, set)) = self.few.get(self.taken).filter(|end| end.0 == point) {
            each(set);
            self.taken += 1;
        }
        for long in self.long.iter_mut().filter(|long| long.next() == Some(point)) {
            each(long.set);
            if long.is_inside {
                long.ranges = &long.ranges[1..];
            }
            long.is_inside = !long.is_inside;
        }
    }

    /// Takes ranges of a long set that lie before where any other begins or ends: where each
    /// begins, and what is behind it. Such are most of a million lone addresses.
    fn stretch(&mut self) -> Option<(u32, impl Iterator<Item = (T, T)> + use<'s, T>)> {
        let nearest = (0..self.long.len()).min_by_key(|&place| {
            let next = self.long[place].next();
            (next.is_none(), next)
        })?;
        let others = self.long.iter().enumerate().filter(|(place, _)| *place != nearest);
        let others = others.filter_map(|(_, long)| long.next()).chain(self.next_of_few()).min();
        let long = self.long.get_mut(nearest).filter(|long| !long.is_inside)?;
        let is_before = |&&(_, last): &&(T, T)| {
            last < T::MAX && others.is_none_or(|others| last.next() < Some(others))
        };
        let count = long.ranges.iter().take_while(is_before).count();
        let (stretch, rest) = long.ranges.split_at(count);
        long.ranges = rest;
        let behind = |&(first, last): &(T, T)| Some((first, last.next()?));
        (count > 0).then(|| (long.set, stretch.iter().filter_map(behind)))
    }
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
