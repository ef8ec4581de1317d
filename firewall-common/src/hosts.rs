//! Lone addresses, and the filter in front of everything that rules name.
//!
//! A set of a hundred thousand single addresses would be as many corners of the
//! address trie, each a few cache misses away. They stand in a flat table instead:
//! slots of an exact key and its class, found by a hash of this generation, in at most
//! [`Setting::HostProbes`] steps, which the compiler has counted.
//!
//! Nearly every packet comes from none of them, and from no network that a rule names.
//! The *filter* says so: a line of 16 words by the address's /24, or for IPv6 the
//! address, and in it two bits for the /24 and two for the address. Bits that are not
//! all set say that nobody named it; one line is one cache miss for both questions.

#![expect(clippy::cast_possible_truncation, reason = "bits of a hash, and words of an address")]

use crate::abi::tables::{Host, Setting};
use crate::packet::{Address, Family};
use crate::policy::Tables;

/// In place of a class: the address is none of the lone ones.
pub const NONE: u32 = u32::MAX;

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes an address.
#[inline(always)]
#[must_use]
pub const fn hash(seed: u32, address: Address) -> u64 {
    let mixed = (address.hi ^ seed as u64).wrapping_mul(ODD);
    let mixed = (mixed ^ mixed >> 32 ^ address.lo).wrapping_mul(0xd1b5_4a32_d192_ed03);
    mixed ^ mixed >> 32
}

/// Mixes an IPv4 address, or a network's first, for the filter: one product is enough for 32
/// bits, if its upper half, which hangs on all of them and on the seed, is folded down. For
/// slots of a table it is not: their numbers are its lowest bits, where networks crowd.
#[inline(always)]
#[must_use]
pub const fn hash_v4(seed: u32, address: u32) -> u64 {
    let mixed = (address as u64).wrapping_mul(ODD ^ (seed as u64) << 32);
    mixed ^ mixed >> 32
}

/// The /24 of an IPv4 address.
#[inline(always)]
#[must_use]
pub const fn network(address: u32) -> u32 {
    address & 0xffff_ff00
}

/// The first word of a line of the filter, by the hash of what names it; `mask` is the
/// filter's words, less one.
#[inline(always)]
#[must_use]
pub const fn line(mask: u32, hash: u64) -> u32 {
    (hash >> 32) as u32 & mask & !15
}

/// Offset of the word in a line, and the bits in it, for a hash.
#[inline(always)]
#[must_use]
pub const fn bits(hash: u64) -> (u32, u32) {
    let hash = hash as u32;
    (hash >> 28, 1 << (hash >> 23 & 31) | 1 << (hash >> 18 & 31))
}

/// Whether a line of the filter has a hash.
#[inline(always)]
pub fn is_filtered<T: Tables + ?Sized>(tables: &T, line: u32, hash: u64) -> bool {
    let (offset, bits) = bits(hash);
    tables.at(Setting::Filter, line | offset) & bits == bits
}

/// The class of a lone address, or [`NONE`].
#[inline(always)]
pub fn class<T: Tables + ?Sized>(tables: &T, family: Family, address: Address) -> u32 {
    let slot = hash(tables.setting(Setting::Seed), address) as u32;
    match family {
        Family::V4 => find(tables, (Setting::HostsV4, Setting::HostMaskV4), slot, &[address.v4()]),
        Family::V6 => {
            let key = [
                (address.hi >> 32) as u32,
                address.hi as u32,
                (address.lo >> 32) as u32,
                address.lo as u32,
            ];
            find(tables, (Setting::HostsV6, Setting::HostMaskV6), slot, &key)
        }
    }
}

#[inline(always)]
fn find<T: Tables + ?Sized, const WIDTH: usize>(
    tables: &T,
    (table, mask): (Setting, Setting),
    mut slot: u32,
    key: &[u32; WIDTH],
) -> u32 {
    for _ in 0..tables.setting(Setting::HostProbes) {
        let first = (slot & tables.setting(mask)) << Host::shift(WIDTH);
        let first = tables.setting(table).wrapping_add(first);
        let class = tables.word(first.wrapping_add(WIDTH as u32));
        if class == NONE {
            break;
        }
        let mut differs = 0;
        for (offset, part) in (0..).zip(key) {
            differs |= tables.word(first.wrapping_add(offset)) ^ part;
        }
        if differs == 0 {
            return class;
        }
        slot = slot.wrapping_add(1);
    }
    NONE
}
