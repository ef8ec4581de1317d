//! Numbers for distinct values.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::lists::word;
pub(super) use crate::fold::Fold;
use crate::ir::TcpFlags;
use crate::set::{AddrSet, Point, RangeSet};

/// Distinct values, numbered in the order in which they were first seen.
#[derive(Debug)]
pub(super) struct Interner<'a, T: ?Sized> {
    numbers: HashMap<Key<'a, T>, u32, BuildHasherDefault<Fold>>,
    values: Vec<&'a T>,
}

impl<T: ?Sized> Default for Interner<'_, T> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), values: Vec::new() }
    }
}

impl<'a, T: Sketch + Eq + ?Sized> Interner<'a, T> {
    /// With room for so many values.
    pub(super) fn with_capacity(values: usize) -> Self {
        let numbers = HashMap::with_capacity_and_hasher(values, BuildHasherDefault::default());
        Self { numbers, values: Vec::with_capacity(values) }
    }

    /// The number of a value.
    pub(super) fn number(&mut self, value: &'a T) -> u32 {
        *self.numbers.entry(Key(value)).or_insert_with(|| {
            self.values.push(value);
            word(self.values.len() - 1)
        })
    }

    /// The values, by number.
    pub(super) fn values(&self) -> &[&'a T] {
        &self.values
    }
}

/// A value that hashes by its sketch.
#[derive(Debug, PartialEq, Eq)]
struct Key<'a, T: ?Sized>(&'a T);

impl<T: Sketch + ?Sized> Hash for Key<'_, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.sketch(state);
    }
}

/// What is hashed of a value: of a set of a million ranges, a few of them.
pub(super) trait Sketch {
    /// Hashes enough to tell values apart that occur together.
    fn sketch(&self, state: &mut impl Hasher);
}

impl<T: Point + Hash> Sketch for RangeSet<T> {
    fn sketch(&self, state: &mut impl Hasher) {
        let count = self.ranges().len();
        state.write_usize(count);
        self.ranges().iter().step_by(count / 16 + 1).for_each(|range| range.hash(state));
    }
}

impl Sketch for AddrSet {
    fn sketch(&self, state: &mut impl Hasher) {
        self.v4.sketch(state);
        self.v6.sketch(state);
    }
}

impl<T: Hash> Sketch for [T] {
    fn sketch(&self, state: &mut impl Hasher) {
        self.hash(state);
    }
}

impl Sketch for TcpFlags {
    fn sketch(&self, state: &mut impl Hasher) {
        self.hash(state);
    }
}
