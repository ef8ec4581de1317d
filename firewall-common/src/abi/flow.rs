//! Flows that this host opened.
//!
//! Map `FLOWS`: LRU hash, [`FlowKey`] to [`Flow`]. An entry is written by the
//! egress program only (and by user space when it seeds open sockets at first
//! attach): no packet from outside creates one. Under pressure the kernel evicts
//! the entry that was used least recently; a new flow that finds no place is
//! refused and counted, an established one never is.

use super::assert_layout;

/// A tuple, seen from this host: 40 bytes, no padding.
///
/// Also the key of the request entries, where `local` is the server's end.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// This host's address, left-aligned, host order.
    pub local: [u64; 2],
    /// The other end's address.
    pub remote: [u64; 2],
    /// This host's port; the identifier of an ICMP echo.
    pub local_port: u16,
    /// The other end's port; 0 for protocols without.
    pub remote_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4 or 6.
    pub family: u8,
    /// Zero.
    pub reserved: u16,
}
assert_layout!(FlowKey, 40, 8);

/// What is kept of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Last packet in either direction, nanoseconds of `CLOCK_MONOTONIC`, at a
    /// resolution of [`crate::flow::REFRESH`].
    pub seen_ns: u64,
    /// First packet, same clock.
    pub opened_ns: u64,
    /// Slot of the egress rule that admitted it.
    pub slot: u32,
    /// A set of `Flow::*` bits.
    pub flags: u32,
}
assert_layout!(Flow, 24, 8);

impl Flow {
    /// The other end has answered.
    pub const REPLIED: u32 = 1;
    /// The entry was seeded from a socket that was open at first attach.
    pub const SEEDED: u32 = 2;
}

/// Words of the map `FLOW_PORTS`: a word per local port, TCP then UDP.
///
/// Array of one value. A word says when a flow of this port was last seen, as
/// [`crate::flow::stamp`] has it; 0 = never, all ones = unknown. Written where flows are; read before
/// the table is asked, so that a flood towards ports from which this host has
/// opened nothing costs no look-up. It can be wrong in one direction only.
pub const FLOW_PORTS: u32 = 1 << 17;
