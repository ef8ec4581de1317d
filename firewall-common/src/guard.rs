//! Rates of what is admitted unasked: token buckets in slots of one array.
//!
//! Map `GUARDS`: array of [`SLOTS`] words, hashed by kind and source. Written by
//! the datapath without a lock: two CPUs may lose a token between them, and two
//! sources may share a slot. That is the price of a table that no flood can
//! grow or thrash; nothing that a rule admits depends on it.

use crate::packet::{Address, Family};

/// Slots of the map, 8 bytes each.
pub const SLOTS: u32 = 8192;

/// ICMP errors about nothing we know of, per second, whatever the source.
pub const ICMP_ERRORS_PER_SECOND: u32 = 100;

/// Later fragments without a known first one, per second and source.
pub const UNKNOWN_FRAGMENTS_PER_SECOND: u32 = 1000;

/// What is rated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Guard {
    /// ICMP errors, one bucket per direction.
    IcmpError = 1,
    /// Echo requests, per source (/64 for IPv6).
    Ping = 2,
    /// Later fragments, per source (/64 for IPv6).
    Fragment = 3,
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes words into a slot number; `seed` is drawn by user space, so that
/// nobody outside can aim at a slot.
#[inline(always)]
#[must_use]
pub const fn mix(seed: u32, words: [u64; 3]) -> u64 {
    let [a, b, c] = words;
    let mut hash = (seed as u64 ^ ODD).wrapping_mul(ODD | 1);
    hash = (hash ^ a).wrapping_mul(ODD);
    hash = (hash ^ hash >> 29 ^ b).wrapping_mul(ODD);
    hash = (hash ^ hash >> 31 ^ c).wrapping_mul(ODD);
    hash ^ hash >> 32
}

/// The slot of a source: of its upper half, where all of an IPv4 address is. Two products
/// are enough for one word; the number is the upper bits, which hang on all others.
#[inline(always)]
#[must_use]
pub fn slot(seed: u32, guard: Guard, family: Family, source: Address) -> u32 {
    let kind = (guard as u64) << 8 | family as u64;
    let hash = (source.hi ^ kind).wrapping_mul(ODD ^ (seed as u64) << 1);
    let hash = (hash ^ hash >> 32).wrapping_mul(ODD);
    u32::try_from(hash >> (u64::BITS - SLOTS.trailing_zeros())).unwrap_or(0)
}

/// Takes a token of a bucket that holds one second's worth.
///
/// A bucket is the jiffy of the last change (upper half) and parts of a token (lower
/// half), as many to a token as there are jiffies in a second: then nothing is divided,
/// and the clock costs nothing. Zero, as the map starts, is a bucket not used since
/// boot: full after its first second.
#[inline(always)]
#[must_use]
pub fn take(bucket: u64, jiffies: u64, hz: u32, per_second: u32) -> (u64, bool) {
    let (hz, per_second) = (u64::from(hz), u64::from(per_second));
    let jiffy = jiffies & u64::from(u32::MAX);
    let elapsed = jiffy.wrapping_sub(bucket >> 32) & u64::from(u32::MAX);
    let refill = elapsed.min(hz) * per_second;
    let tokens = ((bucket & u64::from(u32::MAX)) + refill).min(per_second * hz);
    let taken = tokens >= hz;
    let left = if taken { tokens - hz } else { tokens };
    (jiffy << 32 | left, taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_rate_and_no_more() {
        let mut bucket = 0;
        let mut taken = 0;
        for tick in 0..10_000 {
            let (next, got) = take(bucket, 5_000 + tick, 1_000, 20);
            bucket = next;
            taken += u32::from(got);
        }
        // Ten seconds at 20/s, and the full bucket it started with.
        assert_eq!(taken, 220 - 1);
    }

    #[test]
    fn a_rate_of_zero_never_gives() {
        assert!(!take(0, 100_000, 1_000, 0).1);
    }

    #[test]
    fn sources_are_spread_over_the_slots() {
        for seed in [0, 1, 0x5eed, u32::MAX] {
            for step in [1, 2, 256, 65_536] {
                let mut used = [false; SLOTS as usize];
                for number in 0..SLOTS {
                    let source = Address::from_v4(0x0a00_0000_u32.wrapping_add(number * step));
                    let slot = slot(seed, Guard::Ping, Family::V4, source);
                    *used.get_mut(slot as usize).unwrap() = true;
                }
                let used = used.iter().filter(|used| **used).count();
                // Of random numbers, 63 % would be there.
                assert!(used > 4_700, "{used} of {SLOTS}: {seed}, {step}");
            }
        }
    }

    #[test]
    fn sources_of_one_slash_64_share_a_bucket() {
        let one = Address { hi: 7, lo: 1 };
        let two = Address { hi: 7, lo: 2 };
        assert_eq!(slot(9, Guard::Ping, Family::V6, one), slot(9, Guard::Ping, Family::V6, two));
    }
}
