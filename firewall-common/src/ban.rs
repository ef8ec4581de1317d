//! The table of bans: is this source banned, and where does its ban stand?
//!
//! One look-up per prefix length in use. A word of the filter says of nearly every
//! other key that there is no such ban; else the key is in one of [`PROBES`] buckets,
//! at or behind the one that its hash names and before the first with an empty place.
//!
//! A packet that is not banned should not pay for each length. So the filter has every
//! ban twice: as it is, and by few lengths that stand for all, see [`FilterPart`]. Where
//! up to two lengths of a family are in use the former is asked, else the latter.
//!
//! There is one writer, user space, and no lock that a packet would take:
//!
//! - a ban is added by address first, *head* last, and lifted or renewed by its head
//!   alone, each in one store. A head has the key's tag, which hangs on all its bits:
//!   a packet that sees the head of one ban with the address of another finds
//!   neither, whatever the order in which its CPU sees the stores;
//! - a place is emptied again only where nothing behind it could become unfindable;
//!   else it is marked as lifted, and the next ban takes it. Nothing ever moves;
//! - a larger table is filled before the control word names it.
//!
//! [`mod@write`] is the writer, generic over its memory, so that tests hold it against the
//! reader while both run.

#![expect(clippy::cast_possible_truncation, reason = "bits of a hash, and halves of a word")]

#[cfg(test)]
mod tests;
pub mod write;

use crate::abi::ban::{
    BanKey, Bucket, EMPTY, FILTER_WORDS, LIFTED, PROBES, SLOTS, TableWord, UNIT_SHIFT,
};
use crate::packet::{Address, Family};
use crate::time::Nanos;

/// Bans, and the clock that ends them.
pub trait Bans {
    /// Now, coarse: asked only where a verdict needs it.
    fn now(&self) -> Nanos;
    /// Prefix lengths of bans in use: IPv4, then IPv6 in two words.
    fn ban_lengths(&self) -> [u64; 3];
    /// Whether anybody of a family is banned.
    fn any_bans(&self, family: Family) -> bool {
        let [v4, v6_low, v6_high] = self.ban_lengths();
        match family {
            Family::V4 => v4 != 0,
            Family::V6 => v6_low | v6_high != 0,
        }
    }
    /// The table in force.
    fn ban_table(&self) -> TableWord;
    /// What the table is hashed by.
    fn ban_seed(&self) -> u64;
    /// A word of a part of the filter, of a number below [`FILTER_WORDS`].
    fn ban_filter(&self, part: FilterPart, word: u32) -> u64;
    /// A bucket of a table.
    fn ban_bucket(&mut self, table: TableWord, number: u32) -> Option<&mut Bucket>;
    /// Where the ban of a source stands, or [`NOWHERE`]: [`find`], which the kernel calls out of
    /// line.
    fn ban_of(&mut self, source: Address, family: Family) -> u32
    where
        Self: Sized,
    {
        find(self, source, family)
    }
    /// Where the ban of one prefix length stands, or [`NOWHERE`]: [`place`], which the
    /// kernel calls out of line.
    fn ban_place(&mut self, source: Address, family: Family, length: u32) -> u32
    where
        Self: Sized,
    {
        place(self, source, family, length)
    }
    /// The number itself, where the compiler is to make no branch of it.
    #[must_use]
    fn opaque(number: u64) -> u64 {
        number
    }
}

/// The place of no ban.
pub const NOWHERE: u32 = u32::MAX;

/// A key's place in tables of any size, and its looks.
#[inline(always)]
#[must_use]
pub const fn hash(seed: u64, key: &BanKey) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    const OTHER: u64 = 0xd1b5_4a32_d192_ed03;
    let mut hash = (key.hi ^ seed).wrapping_mul(ODD);
    hash = (hash ^ hash >> 32 ^ key.lo).wrapping_mul(OTHER);
    hash = (hash ^ hash >> 29 ^ (key.length | key.family << 8) as u64).wrapping_mul(ODD);
    hash ^ hash >> 32
}

/// What the head of a key's place says of it: part of its hash, its family and its
/// length.
#[inline(always)]
#[must_use]
pub const fn tag(hash: u64, key: &BanKey) -> u32 {
    hash as u32 & !0x1ff | (key.family & 2) << 7 | key.length & 0xff
}

/// The first bucket of a hash.
#[inline(always)]
#[must_use]
pub const fn first_bucket(hash: u64, table: TableWord) -> u32 {
    (((hash >> 32) * table.buckets() as u64) >> 32) as u32
}

/// Parts of the filter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum FilterPart {
    /// Bans as they are, by hash.
    Exact,
    /// A bit for each /24 of IPv4 that a ban of less than 28 bits takes something of.
    Networks,
    /// By hash, what stands for other bans: their /28, or in IPv6 their /48 or /32.
    StandIns,
}

/// A part of the filter, the number of a word there, and bits of it.
type Mark = (FilterPart, u32, u64);

/// Number of the filter's word for a hash, and its bits there. Like buckets, words ascend with
/// hashes: who writes many bans in that order walks through both.
#[inline(always)]
const fn filter_bits(hash: u64) -> (u32, u64) {
    let word = (hash >> (u64::BITS - FILTER_WORDS.ilog2())) as u32;
    (word, 1 << (hash & 63) | 1 << (hash >> 6 & 63))
}

/// The same for the /24 of an address of IPv4, left-aligned.
#[inline(always)]
const fn network_bits(hi: u64) -> (u32, u64) {
    ((hi >> 46) as u32, 1 << (hi >> 40 & 63))
}

/// Bits of [`Bans::ban_lengths`] for which each of those stands. A ban of IPv6 shorter than a /16
/// is nowhere: with one, everybody is a suspect.
const V4_BY_24: u64 = (1 << 28) - 1;
const V4_BY_28: u64 = !V4_BY_24;
const V6_BY_NONE: u64 = (1 << 16) - 2;
const V6_BY_32: u64 = (1 << 48) - (1 << 16);
const V6_BY_48: u64 = !V6_BY_32 & !V6_BY_NONE;

/// What the filter has of a ban, whose key has that hash. Longer ones are known by the network
/// that they are in, whose other hosts are suspects, too; shorter ones are taken apart.
pub fn marks(seed: u64, hash: u64, ban: &BanKey) -> impl Iterator<Item = Mark> {
    let BanKey { hi, length, family, .. } = *ban;
    let by = match (family == Family::V4 as u32, length) {
        (true, 28..) => 28,
        (true, _) => 24,
        (false, 48..) => 48,
        (false, _) => 32,
    };
    let networks = match (by, length) {
        (32, ..16) => 0,
        _ => 1_u64 << u32::saturating_sub(by, length),
    };
    // A word of the bitmap has 64 of them.
    let (steps, step) =
        if by == 24 { (networks.div_ceil(64), networks.min(64)) } else { (networks, 1) };
    let others = (0..steps).map(move |number| {
        let network = Address { hi: hi + ((number * step) << (64 - by)), lo: 0 }.masked(by);
        if by == 24 {
            let (word, bit) = network_bits(network.hi);
            return (
                FilterPart::Networks,
                word,
                if step == 64 { !0 } else { bit * ((1 << step) - 1) },
            );
        }
        let key = BanKey { hi: network.hi, lo: 0, length: by, family };
        let (word, bits) = filter_bits(self::hash(seed, &key));
        (FilterPart::StandIns, word, bits)
    });
    let (word, bits) = filter_bits(hash);
    core::iter::once((FilterPart::Exact, word, bits)).chain(others)
}

/// Which word of [`Bans::ban_lengths`], and which bit there, says that bans of a key's length are
/// in use. A /128 stands at bit 0 of the second.
#[must_use]
pub const fn length_bit(key: &BanKey) -> (usize, u32) {
    match (key.family, key.length) {
        (4, length) => (0, length),
        (_, 128) => (1, 0),
        (_, length) => (1 + length as usize / 64, length % 64),
    }
}

/// The end of a ban as the table keeps it: not before `until_ns`.
#[must_use]
pub fn units(until_ns: u64) -> u32 {
    u32::try_from(until_ns.div_ceil(1 << UNIT_SHIFT)).unwrap_or(u32::MAX)
}

/// The key of the network of a source.
#[inline(always)]
const fn key_of(source: Address, family: Family, length: u32) -> BanKey {
    let network = source.masked(length);
    BanKey { hi: network.hi, lo: network.lo, length, family: family as u32 }
}

/// Whether a source can be banned: a first look, short enough to stand in the way of
/// every packet.
#[inline(always)]
pub fn may_be_banned<B: Bans>(bans: &B, source: Address, family: Family) -> bool {
    let has = |length: u32, part: FilterPart| {
        let (word, bits) = filter_bits(hash(bans.ban_seed(), &key_of(source, family, length)));
        bans.ban_filter(part, word) & bits == bits
    };
    let is_in_network = || {
        let (word, bit) = network_bits(source.hi);
        bans.ban_filter(FilterPart::Networks, word) & bit != 0
    };
    let [v4, v6_low, v6_high] = bans.ban_lengths();
    match family {
        Family::V4 => {
            let others = v4 & v4.wrapping_sub(1);
            if others & others.wrapping_sub(1) != 0 {
                return (v4 & V4_BY_24 != 0 && is_in_network())
                    || (v4 & V4_BY_28 != 0 && has(28, FilterPart::StandIns));
            }
            v4 != 0
                && (has(lowest(v4), FilterPart::Exact)
                    || (others != 0 && has(lowest(others), FilterPart::Exact)))
        }
        // A /128 stands at bit 0, a /64 at that of the second word.
        Family::V6 => {
            if (v6_low | v6_high) & !1 != 0 {
                return v6_low & V6_BY_NONE != 0
                    || ((v6_low & V6_BY_48 | v6_high) != 0 && has(48, FilterPart::StandIns))
                    || (v6_low & V6_BY_32 != 0 && has(32, FilterPart::StandIns));
            }
            (v6_low != 0 && has(128, FilterPart::Exact))
                || (v6_high != 0 && has(64, FilterPart::Exact))
        }
    }
}

/// The number of the lowest bit, without a branch: branches would give the verifier 64
/// constants to follow instead of one unknown number.
#[inline(always)]
const fn lowest(bits: u64) -> u32 {
    (bits.wrapping_sub(1) & !bits).count_ones()
}

/// Where the ban of a source stands, or [`NOWHERE`].
#[inline(always)]
pub fn find<B: Bans>(bans: &mut B, source: Address, family: Family) -> u32 {
    if !may_be_banned(bans, source, family) {
        return NOWHERE;
    }
    let [v4, v6_low, v6_high] = bans.ban_lengths();
    match family {
        Family::V4 => find_by(bans, source, family, v4, 0),
        // A /128 stands at bit 0.
        Family::V6 => {
            let mut place = NOWHERE;
            if v6_low & 1 != 0 {
                place = bans.ban_place(source, family, 128);
            }
            if place == NOWHERE {
                place = find_by(bans, source, family, v6_low & !1, 0);
            }
            if place == NOWHERE { find_by(bans, source, family, v6_high, 64) } else { place }
        }
    }
}

/// Tries every prefix length whose bit is set, from `first` on.
#[inline(always)]
fn find_by<B: Bans>(
    bans: &mut B,
    source: Address,
    family: Family,
    mut lengths: u64,
    first: u32,
) -> u32 {
    for _ in 0..64 {
        if lengths == 0 {
            break;
        }
        let length = first + lowest(lengths);
        lengths &= lengths.wrapping_sub(1);
        let place = bans.ban_place(source, family, length);
        if place != NOWHERE {
            return place;
        }
    }
    NOWHERE
}

/// Where a ban of the `length` first bits of a source stands, if it holds, or
/// [`NOWHERE`].
#[inline(always)]
pub fn place<B: Bans>(bans: &mut B, source: Address, family: Family, length: u32) -> u32 {
    let key = key_of(source, family, length);
    let hash = hash(bans.ban_seed(), &key);
    let (word, bits) = filter_bits(hash);
    if bans.ban_filter(FilterPart::Exact, word) & bits != bits {
        return NOWHERE;
    }
    let (table, tag) = (bans.ban_table(), tag(hash, &key));
    let mut number = first_bucket(hash, table);
    for _ in 0..PROBES {
        let Some(bucket) = bans.ban_bucket(table, number) else { return NOWHERE };
        // Without a branch for each place: the verifier would follow every mixture.
        let (mut until, mut found, mut free) = (0, 0, 0);
        for (slot, place) in (0..).zip(&bucket.slots) {
            let head = place.head;
            let differs = (head >> 32 ^ u64::from(tag)) | (place.hi ^ key.hi) | (place.lo ^ key.lo);
            let other = is_not_zero::<B>(differs);
            until |= head & other.wrapping_sub(1);
            found |= (other ^ 1) << slot;
            free |= is_not_zero::<B>(head) ^ 1;
        }
        if found != 0 {
            let holds = bans.now().0 >> UNIT_SHIFT < until & u64::from(u32::MAX);
            return if holds { number * SLOTS + lowest(found) } else { NOWHERE };
        }
        if free != 0 {
            break;
        }
        number = behind(number, table);
    }
    NOWHERE
}

/// 1 or 0, by arithmetic.
#[inline(always)]
fn is_not_zero<B: Bans>(number: u64) -> u64 {
    B::opaque(B::opaque(number | number.wrapping_neg()) >> 63)
}

/// Counts a packet that the ban at a place has dropped.
#[inline(always)]
pub fn hit<B: Bans>(bans: &mut B, place: u32) {
    let table = bans.ban_table();
    if let Some(bucket) = bans.ban_bucket(table, place / SLOTS)
        && let Some(slot) = bucket.slots.get_mut((place & (SLOTS - 1)) as usize)
    {
        slot.hits = slot.hits.wrapping_add(1);
    }
}

/// The bucket behind one. Behind the last it is 0 by a difference: a bucket that the verifier
/// knows by number, it would follow to all that may come after it.
#[inline(always)]
const fn behind(number: u32, table: TableWord) -> u32 {
    let next = number + 1;
    if next < table.buckets() { next } else { next - table.buckets() }
}

/// Whether a head is that of a ban, in force or ended.
#[must_use]
pub const fn is_ban(head: u64) -> bool {
    head != EMPTY && head != LIFTED
}
