//! Bans: sources dropped until a time, whatever the policy says.
//!
//! Map `BANS`: array of two maps, of which the control word names the one in
//! force, see [`TableWord`]. That is an array of [`Bucket`]s, behind which user space
//! keeps its notes. Written by user space only, but for the hits; read by the ingress
//! program, see [`crate::ban`]. A full table is replaced by a larger one; at
//! [`CAPACITY`] the new ban is refused, and nothing in force is evicted.
//!
//! Map `BAN_FILTER`: array of one value of [`FILTER_WORDS`] words for each
//! [`FilterPart`](crate::ban::FilterPart). Written by user space; read before the table
//! is asked. A word with a key's bits clear says that the key is not banned. A bit may
//! outlive its ban, which costs a look-up.

use super::assert_layout;

/// Bans that there can be.
pub const CAPACITY: u32 = 1 << 20;

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
    /// End of the ban, nanoseconds of `CLOCK_MONOTONIC`; `u64::MAX` = never. The
    /// table rounds it up to [`UNIT_SHIFT`].
    pub until_ns: u64,
    /// Start of the ban, same clock.
    pub since_ns: u64,
    /// Packets dropped, approximate: written without a lock by every CPU.
    pub hits: u64,
    /// Why, in the operator's words; UTF-8, zero-padded.
    pub reason: [u8; 40],
}
assert_layout!(Ban, 64, 8);

/// A place for a ban, half a cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Whose ban it is and until when, in one word that is written in one go: the
    /// upper half is a [`tag`](crate::ban::tag), the lower the end of the ban in units
    /// of 2^[`UNIT_SHIFT`] ns, `u32::MAX` = never.
    pub head: u64,
    /// Upper half of the key's address.
    pub hi: u64,
    /// Lower half.
    pub lo: u64,
    /// Packets dropped; written by the datapath.
    pub hits: u64,
}
assert_layout!(Slot, 32, 8);

/// The head of a place that never had a ban since the table was made.
pub const EMPTY: u64 = 0;

/// The head of a place whose ban was lifted; no key has such a tag.
pub const LIFTED: u64 = 0xff << 32;

/// Log2 of the nanoseconds in which the end of a ban is kept: 0.27 s.
pub const UNIT_SHIFT: u32 = 28;

/// Places of a bucket.
pub const SLOTS: u32 = 4;

/// The places in which a key is looked for at once: two cache lines.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// The places.
    pub slots: [Slot; SLOTS as usize],
}
assert_layout!(Bucket, 128, 64);

/// Buckets in which a key is looked for, from the one that its hash names on.
pub const PROBES: u32 = 8;

/// Words of each part of the filter: 2 MiB. With a million bans it is wrong about one source in
/// fifty; half of it would be wrong about one in twenty, which costs more than it saves.
pub const FILTER_WORDS: u32 = 1 << 18;

/// Bytes of the filter, of three parts.
pub const FILTER_BYTES: usize = 3 * 8 * FILTER_WORDS as usize;

/// Which of the two tables is in force, and its size; as one word, so that no packet
/// sees one with the other's.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0-31 | buckets; 0 = there is no table |
/// | 32 | which of the two |
/// | 33-63 | number of the table: who has opened one sees by the word whether it is in force still |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableWord(pub u64);

impl TableWord {
    const WHICH_SHIFT: u32 = 32;
    const NUMBER_SHIFT: u32 = 33;

    /// Composes the word of a table, number 0.
    #[must_use]
    pub const fn new(which: u32, buckets: u32) -> Self {
        Self((which as u64 & 1) << Self::WHICH_SHIFT | buckets as u64)
    }

    /// The word of the table that takes this one's place: the other of the two, with the next
    /// number.
    #[must_use]
    pub const fn next(self, buckets: u32) -> Self {
        let number = (self.0 >> Self::NUMBER_SHIFT).wrapping_add(1);
        Self(number << Self::NUMBER_SHIFT | Self::new(self.which() ^ 1, buckets).0)
    }

    /// 0 or 1.
    #[inline(always)]
    #[must_use]
    pub const fn which(self) -> u32 {
        (self.0 >> Self::WHICH_SHIFT & 1) as u32
    }

    /// Buckets of the table; 0 = there is none.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    pub const fn buckets(self) -> u32 {
        self.0 as u32
    }
}
