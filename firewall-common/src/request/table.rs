//! Where the entry of a connection is kept, how it is found, and what gives way.
//!
//! A connection is known by the hash of its key: 14 bits are its bucket, 48 more its name.
//! One that agrees with another in all of them would be taken for it, and miscounted: one
//! look-up in 10^13 in a full table, and who does not know the seed can bring none about. So
//! an entry needs no key, and a bucket is a cache line of names and three of entries.
//!
//! A connection that has no entry takes the place of that in its bucket which was used
//! least recently, by a clock of a second or so. Two CPUs do not take the same one: names are
//! swapped, and before the entry is written.

use super::Entry;
use crate::abi::assert_layout;
use crate::abi::flow::FlowKey;
use crate::abi::tables::Setting;
use crate::flow::table;
use crate::pipeline::World;

/// Entries of a bucket.
pub const WAYS: u32 = 8;

/// Buckets of the table, a power of two: of 65,536 connections one in 120 finds no room.
pub const BUCKETS: u32 = 1 << 14;

/// Connections whose keys end alike in their hash, as far as [`BUCKETS`] tell.
///
/// Map `REQUEST_FLOWS`: array of one value, of [`BUCKETS`] of these. Written by the
/// datapath only, and only for tuples that the kernel has a connection for. All zero is
/// an empty one.
#[repr(C, align(64))]
#[derive(Clone, Debug)]
pub struct Bucket {
    /// By way: the upper bits of a hash, and a stamp of when it was last asked for; 0 = free.
    names: [u64; WAYS as usize],
    /// By way.
    entries: [Entry; WAYS as usize],
}
assert_layout!(Bucket, 256, 64);

impl Bucket {
    /// Nobody's.
    pub const EMPTY: Self = Self { names: [0; _], entries: [Entry::EMPTY; _] };

    /// Entries that are not free.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.names.iter().filter(|name| **name != 0).count()
    }
}

/// Lower bits of a name: when it was last asked for.
const STAMP_BITS: u32 = 16;
const STAMP: u64 = (1 << STAMP_BITS) - 1;

/// Jiffies to a stamp, as a shift: a quarter of a second to 2.6, so that stamps come around
/// after 4 hours at least. What was silent for longer may seem younger than it is.
const STAMP_SHIFT: u32 = 8;

/// Times that a place is looked for, while other CPUs take it first.
const ATTEMPTS: u32 = 3;

/// A connection, and now: what the table is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    hash: u64,
    stamp: u64,
}

impl Asked {
    #[inline(always)]
    pub(super) fn of<W: World>(world: &W, key: &FlowKey) -> Self {
        // It lives as long as the machine is up, whatever the generation.
        let seed = world.setting(Setting::FlowSeed);
        Self { hash: table::hash(seed, key.words()), stamp: world.jiffies() >> STAMP_SHIFT & STAMP }
    }

    /// The bucket.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "masked anyway")]
    const fn bucket(self) -> u32 {
        self.hash as u32 & (BUCKETS - 1)
    }

    /// What tells a name from this one; 0 if nothing does.
    #[inline(always)]
    const fn differs(self, name: u64) -> u64 {
        (name ^ self.hash) >> STAMP_BITS
    }

    /// The name, as asked for now.
    #[inline(always)]
    const fn name(self) -> u64 {
        self.hash & !STAMP | self.stamp
    }
}

/// The entry of a connection.
#[inline(always)]
pub(super) fn find<W: World>(world: &mut W, asked: Asked) -> Option<&mut Entry> {
    let Bucket { names, entries } = world.request_bucket(asked.bucket());
    let mut way = 0;
    for (index, name) in (0..).zip(&*names) {
        way |= index * is_zero::<W>(asked.differs(*name));
    }
    let way = usize::try_from(way).ok()?;
    let name = names.get_mut(way)?;
    let old = *name;
    // Swapped, for another CPU may have given the place away by now.
    let is_there =
        asked.differs(old) == 0 && (old == asked.name() || W::swap(name, old, asked.name()));
    if is_there { entries.get_mut(way) } else { None }
}

/// Gives a connection an entry; `None` if other CPUs were quicker again and again.
#[inline(always)]
pub(super) fn open<W: World>(world: &mut W, asked: Asked, entry: Entry) -> Option<&mut Entry> {
    let Bucket { names, entries } = world.request_bucket(asked.bucket());
    for _ in 0..ATTEMPTS {
        let (way, old) = oldest::<W>(names, asked);
        let way = usize::try_from(way).ok()?;
        if W::swap(names.get_mut(way)?, old, asked.name()) {
            let place = entries.get_mut(way)?;
            *place = entry;
            return Some(place);
        }
    }
    None
}

/// The way that can be missed most, and its name: the connection's own, else a free one, else
/// what was asked for least recently.
#[inline(always)]
fn oldest<W: World>(names: &[u64; WAYS as usize], asked: Asked) -> (u64, u64) {
    let (mut most, mut way, mut found) = (0_u64, 0_u64, 0_u64);
    for (index, name) in (0..).zip(names) {
        // One more: another CPU may be a tick ahead.
        let age = (asked.stamp + 1).wrapping_sub(*name) & STAMP;
        let free = is_zero::<W>(*name >> STAMP_BITS) << STAMP_BITS;
        let own = is_zero::<W>(asked.differs(*name)) << (STAMP_BITS + 1);
        let worth = 1 + (age | free | own);
        let more = is_less::<W>(most, worth);
        most ^= (most ^ worth).wrapping_mul(more);
        way ^= (way ^ index).wrapping_mul(more);
        found ^= (found ^ name).wrapping_mul(more);
    }
    (way, found)
}

/// 1 if a number below 2^63 is zero, else 0: a choice by arithmetic, where a branch, or a mask,
/// would have the verifier check what follows once for each way.
#[inline(always)]
fn is_zero<W: World>(number: u64) -> u64 {
    is_less::<W>(number, 1)
}

/// The same if one such number is less than another.
#[inline(always)]
fn is_less<W: World>(number: u64, than: u64) -> u64 {
    W::opaque(W::opaque(number.wrapping_sub(than)) >> 63)
}
