//! Counters: rows of plain 64-bit numbers, one row per CPU, so that the
//! datapath adds without atomics and user space reads through one mapping.
//!
//! | map | row holds | index in the row |
//! | --- | --- | --- |
//! | `OUTCOMES` | [`Traffic`] | `(interface * 2 + direction) * Reason::COUNT + reason` |
//! | `RULES` | [`RuleCounter`] | rule slot |
//! | `REQUESTS` | `u64` | `request slot * METRICS + metric` |
//!
//! Each map is an array of one value, `rows * CPUs` long, rows aligned to 64
//! bytes. Written by the datapath, read by anyone. An index past the row is
//! never written: the program checks it against its load-time settings.

use super::assert_layout;

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
