//! Openings: what the policy would drop by default, let in until a time.
//!
//! Map `OPENINGS`: array of one value, [`OPENINGS`] times [`Opening`]. Written by
//! user space only; read by the programs that decide, for packets that the policy drops
//! by default, and for what answers such. Whether there are any stands in
//! [`Control`](super::control::Control), so a host without openings pays one test of
//! a word, and that only where a packet is not a common one or would be dropped. Each ends by itself: the datapath
//! compares the clock.

use super::assert_layout;

/// Openings at once.
pub const OPENINGS: usize = 16;

/// One opening, or none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// End, nanoseconds of `CLOCK_MONOTONIC`; 0 = the place is free. Written last.
    pub until_ns: u64,
    /// Start, same clock.
    pub since_ns: u64,
    /// Left-aligned source network, host order, host bits zero.
    pub network: [u64; 2],
    /// The bits of an address that are compared with it.
    pub mask: [u64; 2],
    /// First place in the service space.
    pub first: u32,
    /// Last place in the service space.
    pub last: u32,
    /// 4 or 6.
    pub family: u32,
    /// Room for what comes.
    pub reserved: u32,
    /// The service, in the operator's words; UTF-8, zero-padded.
    pub name: [u8; 32],
}
assert_layout!(Opening, 96, 8);

impl Opening {
    /// A free place.
    pub const FREE: Self = Self {
        until_ns: 0,
        since_ns: 0,
        network: [0; 2],
        mask: [0; 2],
        first: 0,
        last: 0,
        family: 0,
        reserved: 0,
        name: [0; 32],
    };
}
