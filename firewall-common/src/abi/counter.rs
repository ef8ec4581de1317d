//! Counters: rows of plain 64-bit numbers, one row per CPU, so that the
//! datapath adds without atomics and user space reads through one mapping.
//!
//! | map | row holds | index in the row |
//! | --- | --- | --- |
//! | `CPUS` | [`Cpu`], which has outcomes | place of the interface, direction, reason |
//! | `RULES` | [`RuleCounter`] | rule slot |
//! | `REQUESTS` | `u64` | `request slot * METRICS + metric` |
//!
//! Each map is an array of one value, `rows * CPUs` long, rows aligned to 64
//! bytes. Written by the datapath, read by anyone. An index past the row is
//! never written: the program checks it against its load-time settings.

use super::assert_layout;
use super::event::{EVENT_SLOTS, Sampler};
use crate::verdict::Reason;

/// What one CPU counts of all packets, and remembers of events: together, because most
/// packets touch both.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    /// Events that it has sent of late. First, where an instruction reaches it.
    pub sampler: Sampler,
    /// By place; the first is "any other".
    pub interfaces: [Interface; INTERFACES as usize],
    /// Window and source of events sent last, by hash. Behind the interfaces: the verifier
    /// takes a reason for a number up to 255, not below [`Reason::COUNT`].
    pub last: [u64; EVENT_SLOTS as usize],
}
assert_layout!(Cpu, 64 + 4160 * INTERFACES as usize + 8 * EVENT_SLOTS as usize, 64);
const _: () =
    assert!(8 * EVENT_SLOTS as usize >= (256 - Reason::COUNT as usize) * size_of::<Traffic>());

/// What one CPU has seen on one interface.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    /// Its index, the same for each CPU; written by user space. 0 = no interface.
    pub ifindex: u32,
    /// Zero.
    pub reserved: [u32; 15],
    /// By direction and reason.
    pub outcomes: [[Traffic; Reason::COUNT as usize]; 2],
}
assert_layout!(Interface, 4160, 64);

/// Interfaces counted apart; the first is "any other".
pub const INTERFACES: u32 = 16;

/// Metrics kept per counted rule, the width of a request row.
pub const METRICS: u32 = 32;

/// Packets and bytes of one outcome.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Wire packets: a GSO or GRO super-packet counts as what it stands for.
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}
assert_layout!(Traffic, 16, 8);

/// What one rule has seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleCounter {
    /// Wire packets that the rule decided.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// TCP SYNs on ingress; flows opened on egress.
    pub new_flows: u64,
    /// Room for what comes; keeps two counters to a cache line.
    pub reserved: u64,
}
assert_layout!(RuleCounter, 32, 8);
