//! Bans: sources dropped until a time, whatever the policy says.
//!
//! Map `BANS`: hash, [`BanKey`] to [`Ban`]. Written by user space only; read by
//! the ingress program, which tries one key per prefix length in use. Which
//! lengths are in use stands in [`Control`](super::control::Control), so a host
//! without bans pays one test of a word. A full map refuses the new ban and
//! tells the operator; nothing in force is evicted.

use super::assert_layout;

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
