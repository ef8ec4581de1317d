//! Sampled events: what a person sees of single packets.
//!
//! Map `EVENTS`: ring buffer of [`Event`]. A [`Sampler`] per CPU, in its row of `CPUS`,
//! decides in the kernel what is worth an event, so that a
//! flood costs the reader next to nothing. Counters are the truth; what was not
//! sent is the difference to them, and `suppressed` counts it per CPU.

use super::assert_layout;

/// Events one CPU may send per window.
pub const EVENTS_PER_WINDOW: u32 = 64;

/// Packets of one jiffy and CPU that are looked at as to whether they are worth an
/// event: a flood costs no more than a comparison.
pub const TRIES_PER_JIFFY: u32 = 16;

/// Sources remembered per window and CPU: one event each per rule.
pub const EVENT_SLOTS: u32 = 256;

/// One packet, as it is told to user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, nanoseconds of `CLOCK_MONOTONIC` (coarse).
    pub time_ns: u64,
    /// Source address, left-aligned, host order.
    pub source: [u64; 2],
    /// Destination address.
    pub destination: [u64; 2],
    /// Slot of the rule that decided, or `Cell::NO_SLOT`.
    pub slot: u32,
    /// Interface index.
    pub ifindex: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port, or ICMP type.
    pub destination_port: u16,
    /// EtherType, host order.
    pub ethertype: u16,
    /// VLAN id, or 4096 for none.
    pub vlan: u16,
    /// IP protocol.
    pub protocol: u8,
    /// 4, 6, or 0 for other than IP.
    pub family: u8,
    /// TCP flags byte.
    pub tcp_flags: u8,
    /// A [`Reason`](crate::verdict::Reason).
    pub reason: u8,
    /// 0 = ingress, 1 = egress.
    pub direction: u8,
    /// Generation's program slot.
    pub generation: u8,
    /// Zero.
    pub reserved: [u8; 6],
}
assert_layout!(Event, 72, 8);

/// What one CPU remembers of what it has sent; written by the datapath only.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampler {
    /// The last packet that was looked at, jiffies; with
    /// [`Sampler::WINDOW_SHIFT`] also the window.
    pub jiffy: u64,
    /// The jiffy in which no more packets are looked at.
    pub closed: u64,
    /// Packets looked at in this jiffy.
    pub tries: u32,
    /// Events sent in this window.
    pub sent: u32,
    /// Packets that wanted an event and got none, since load.
    pub suppressed: u64,
    /// Events lost because the ring was full, since load.
    pub lost: u64,
    /// Zero.
    pub reserved: [u64; 3],
}
assert_layout!(Sampler, 64, 8);

impl Sampler {
    /// 256 jiffies: about a second at HZ=250, 0.26 s at HZ=1000, 2.6 s at HZ=100.
    pub const WINDOW_SHIFT: u32 = 8;
}
