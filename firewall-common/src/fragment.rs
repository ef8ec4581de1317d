//! Fragments: a later one follows the verdict of the first.
//!
//! Map `FRAGMENTS`: array of [`SLOTS`] words, written by the datapath when a
//! first fragment is judged. A slot holds the verdict of one datagram; the next
//! datagram that falls there takes it. What is forgotten, or overtook its first
//! fragment, passes within a rate: without an admitted first fragment the stack
//! never delivers it.

use crate::guard::mix;
use crate::packet::{Family, Packet};
use crate::time::Nanos;
use crate::verdict::{Direction, Verdict};

/// Slots of the map, 8 bytes each.
pub const SLOTS: u32 = 8192;

/// How long a verdict is remembered: the stack's own reassembly time
/// (`net.ipv4.ipfrag_time`), seconds.
pub const REMEMBERED_S: u64 = 30;

/// A slot: 48 bits of the datagram's hash, 14 bits of seconds, verdict, used.
const USED: u64 = 1;
const DROPPED: u64 = 2;
const SECONDS: u64 = 0x3fff;

/// Where the datagram of a fragment is remembered, and how it is told apart.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Slot number.
    pub slot: u32,
    tag: u64,
}

/// Identifies a datagram: RFC 791 by addresses, protocol and identification,
/// RFC 8200 without the protocol.
#[inline(always)]
#[must_use]
pub fn datagram(seed: u32, direction: Direction, packet: &Packet) -> Datagram {
    let protocol = match packet.family {
        Family::V4 => packet.protocol,
        Family::V6 => 0,
    };
    let rest = u64::from(packet.fragment_id)
        | u64::from(protocol) << 32
        | (packet.family as u64) << 40
        | (direction as u64) << 48;
    let source = mix(seed, [packet.source.hi, packet.source.lo, 0]);
    let hash = mix(seed, [source ^ packet.destination.hi, packet.destination.lo, rest]);
    Datagram {
        slot: u32::try_from(hash & u64::from(SLOTS - 1)).unwrap_or(0),
        tag: hash >> 16 << 16,
    }
}

impl Datagram {
    /// The word that remembers a verdict.
    #[inline(always)]
    #[must_use]
    pub const fn remember(self, verdict: Verdict, now: Nanos) -> u64 {
        let dropped = if matches!(verdict, Verdict::Drop) { DROPPED } else { 0 };
        self.tag | (seconds(now) & SECONDS) << 2 | dropped | USED
    }

    /// The verdict that a word remembers of this datagram.
    #[inline(always)]
    #[must_use]
    pub const fn recall(self, word: u64, now: Nanos) -> Option<Verdict> {
        let age = seconds(now).wrapping_sub(word >> 2) & SECONDS;
        if word & USED == 0 || word >> 16 != self.tag >> 16 || age > REMEMBERED_S {
            return None;
        }
        Some(if word & DROPPED != 0 { Verdict::Drop } else { Verdict::Pass })
    }
}

#[inline(always)]
const fn seconds(now: Nanos) -> u64 {
    now.0 / 1_000_000_000
}
