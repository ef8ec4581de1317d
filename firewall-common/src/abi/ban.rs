//! Bans: sources dropped until a time, whatever the policy says.
//!
//! Map `BANS`: hash, [`BanKey`] to [`Ban`]. Written by user space only; read by
//! the ingress program, which tries one key per prefix length in use. Which
//! lengths are in use stands in [`Control`](super::control::Control), so a host
//! without bans pays one test of a word. A full map refuses the new ban and
//! tells the operator; nothing in force is evicted.

use super::assert_layout;
use crate::packet::Family;

/// A banned network: `length` leading bits of a left-aligned address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BanKey {
    /// Upper half of the left-aligned address, host order, host bits zero.
    pub hi: u64,
    /// Lower half; zero for IPv4.
    pub lo: u64,
    /// Prefix length: 0-32 for IPv4, 0-128 for IPv6.
    pub length: u32,
    /// 4 or 6.
    pub family: u32,
}
assert_layout!(BanKey, 24, 8);

/// What is known of a ban.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// End of the ban, nanoseconds of `CLOCK_MONOTONIC`; `u64::MAX` = never.
    pub until_ns: u64,
    /// Start of the ban, same clock.
    pub since_ns: u64,
    /// Packets dropped, approximate: written without a lock by every CPU.
    pub hits: u64,
    /// Why, in the operator's words; UTF-8, zero-padded.
    pub reason: [u8; 40],
}
assert_layout!(Ban, 64, 8);

/// Bits of the map `BAN_FILTER`, in words of 64: array of one value.
///
/// A bit that is not set says that no ban holds for the sources which share it:
/// those of an IPv4 /24, or IPv6 /64s of one hash. Written by user space, read
/// before the table is asked. A bit may outlive its ban, which costs a look-up.
pub const FILTER_BITS: u32 = 1 << 24;

/// The bit of a source.
#[inline(always)]
#[must_use]
pub const fn filter_bit(family: Family, hi: u64) -> u32 {
    match family {
        Family::V4 => (hi >> 40) as u32,
        Family::V6 => (hi.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32,
    }
}

/// Bans of IPv6 networks larger than this are in no filter.
pub const FILTER_V6_LENGTH: u32 = 64;
