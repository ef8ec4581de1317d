//! Numbers for distinct values.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::lists::word;
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

/// A quick hash for tables of our own making: what goes in is a policy that its
/// owner wrote, so nobody gains by collisions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fold(u64);

impl Fold {
    fn mix(&mut self, value: u64) {
        let product = u128::from(self.0 ^ value ^ 0x9e37_79b9_7f4a_7c15) * 0xd1b5_4a32_d192_ed03;
        self.0 = half(product) ^ half(product >> 64);
    }
}

/// The lower half.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
pub(super) const fn half(value: u128) -> u64 {
    value as u64
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(padded));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_u128(&mut self, value: u128) {
        self.mix(half(value));
        self.mix(half(value >> 64));
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
