//! Flows that this host opened.
//!
//! Map `FLOWS`: array of one value: a header of [`HEADER_WORDS`] words, a [`Word`] for
//! each place of the table, and an entry of [`ENTRY_WORDS`] words, one cache line, for
//! each. What becomes of them is in [`crate::flow::table`]. An entry is written by the
//! egress program only (and by user space when it seeds open sockets at first attach): no
//! packet from outside creates one.
//!
//! Map `FLOW_RATES`: array of one value, [`RATE_WORDS`] words for each CPU, of which the
//! first is a token bucket for what this CPU opens.

use super::assert_layout;

/// A tuple, seen from this host: 40 bytes, no padding.
///
/// Also what request entries are found by, where `local` is the server's end.
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

impl FlowKey {
    /// The key as words of an entry.
    #[inline(always)]
    #[must_use]
    pub const fn words(&self) -> [u64; 5] {
        let [local_hi, local_lo] = self.local;
        let [remote_hi, remote_lo] = self.remote;
        let ports = self.local_port as u64 | (self.remote_port as u64) << 16;
        let kind = (self.protocol as u64) << 32 | (self.family as u64) << 40;
        [local_hi, local_lo, remote_hi, remote_lo, ports | kind]
    }

    /// The key that these words are of.
    #[must_use]
    pub const fn of_words([local_hi, local_lo, remote_hi, remote_lo, rest]: [u64; 5]) -> Self {
        let [a, b, c, d, protocol, family, _, _] = rest.to_le_bytes();
        Self {
            local: [local_hi, local_lo],
            remote: [remote_hi, remote_lo],
            local_port: u16::from_le_bytes([a, b]),
            remote_port: u16::from_le_bytes([c, d]),
            protocol,
            family,
            reserved: 0,
        }
    }
}

/// What is kept of a flow, read out of its word and entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Last packet in either direction, ticks of [`crate::flow::Clock`], at a
    /// resolution of a second.
    pub seen: u64,
    /// First packet, same clock.
    pub opened: u64,
    /// Slot of the egress rule that admitted it.
    pub slot: u32,
    /// A set of `Flow::*` bits.
    pub flags: u32,
}

impl Flow {
    /// The other end has answered.
    pub const REPLIED: u32 = 1;
    /// The entry was seeded from a socket that was open at first attach.
    pub const SEEDED: u32 = 2;
}

/// All that changes of a flow, and all that is asked before its entry is: one word, so
/// that it changes in one go.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0-33 | when it was last seen, ticks |
/// | 34-41 | version: which of the flows that have had this place |
/// | 42-43 | [`Flow`]'s flags |
/// | 44-45 | [`Class`] |
/// | 46-47 | [`State`] |
/// | 48-63 | tag: upper bits of the key's hash |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

/// Whether a place is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum State {
    /// It never was, or no longer is.
    Free = 0,
    /// Its entry is being written.
    Claimed = 1,
    /// It holds a flow.
    Live = 2,
}

/// What a flow's idle time depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Class {
    /// TCP.
    Tcp = 0,
    /// UDP.
    Udp = 1,
    /// ICMP and `ICMPv6`.
    Icmp = 2,
    /// Any other protocol.
    Other = 3,
}

impl Word {
    const SEEN: u64 = (1 << 34) - 1;
    const VERSION_SHIFT: u32 = 34;
    const VERSION: u64 = 0xff;
    const FLAGS_SHIFT: u32 = 42;
    const CLASS_SHIFT: u32 = 44;
    const STATE_SHIFT: u32 = 46;
    const TAG_SHIFT: u32 = 48;

    /// Composes a word; `hash` is the key's, `class` a [`Class`].
    #[inline(always)]
    #[must_use]
    pub const fn new(
        hash: u64,
        state: State,
        class: u64,
        flags: u32,
        version: u64,
        seen: u64,
    ) -> Self {
        Self(
            hash >> Self::TAG_SHIFT << Self::TAG_SHIFT
                | (state as u64) << Self::STATE_SHIFT
                | (class & 3) << Self::CLASS_SHIFT
                | ((flags & 3) as u64) << Self::FLAGS_SHIFT
                | (version & Self::VERSION) << Self::VERSION_SHIFT
                | seen & Self::SEEN,
        )
    }

    /// Whether it is the word of a live flow whose key has this hash, as far as the
    /// tag tells.
    #[inline(always)]
    #[must_use]
    pub const fn may_hold(self, hash: u64) -> bool {
        self.differs(hash) == 0
    }

    /// What tells it from such a word: a few bits, or none.
    #[inline(always)]
    #[must_use]
    pub const fn differs(self, hash: u64) -> u64 {
        let tag = hash >> Self::TAG_SHIFT << 2 | State::Live as u64;
        self.0 >> Self::STATE_SHIFT ^ tag
    }

    /// When the flow was last seen.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self) -> u64 {
        self.0 & Self::SEEN
    }

    /// The same word, seen at another time and with these flags beside its own.
    #[inline(always)]
    #[must_use]
    pub const fn seen_at(self, seen: u64, flags: u32) -> Self {
        let flags = ((flags & 3) as u64) << Self::FLAGS_SHIFT;
        Self(self.0 & !Self::SEEN | seen & Self::SEEN | flags)
    }

    /// The same word in another state.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, state: State) -> Self {
        Self(self.0 & !(3 << Self::STATE_SHIFT) | (state as u64) << Self::STATE_SHIFT)
    }

    /// Which of the flows that have had this place.
    #[inline(always)]
    #[must_use]
    pub const fn version(self) -> u64 {
        self.0 >> Self::VERSION_SHIFT & Self::VERSION
    }

    /// [`Flow`]'s flags.
    #[inline(always)]
    #[must_use]
    pub const fn flags(self) -> u32 {
        (self.0 >> Self::FLAGS_SHIFT & 3) as u32
    }

    /// Whether the other end has answered.
    #[inline(always)]
    #[must_use]
    pub const fn replied(self) -> bool {
        self.flags() & Flow::REPLIED != 0
    }

    /// What its idle time depends on: a [`Class`].
    #[inline(always)]
    #[must_use]
    pub const fn class(self) -> u64 {
        self.0 >> Self::CLASS_SHIFT & 3
    }

    /// Whether the place is in use: a [`State`].
    #[inline(always)]
    #[must_use]
    pub const fn state_bits(self) -> u64 {
        self.0 >> Self::STATE_SHIFT & 3
    }

    /// Whether the place is in use.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> State {
        match self.state_bits() {
            1 => State::Claimed,
            2 => State::Live,
            _ => State::Free,
        }
    }
}

/// Words before the first place's: one cache line.
pub const HEADER_WORDS: u32 = 8;
/// Word of the header that holds the seed of the hash: random, drawn when the map is made.
pub const SEED_WORD: u32 = 0;

/// Words of an entry: the key's five, then these.
pub const ENTRY_WORDS: u32 = 8;
/// Word of an entry: the seal, see [`crate::flow::table`].
pub const SEAL: usize = 5;
/// Word of an entry: when it was opened, ticks.
pub const OPENED: usize = 6;
/// Word of an entry: slot of the rule that admitted it.
pub const RULE: usize = 7;

/// Fewest and most places of a table. Above, the verifier does not follow an offset.
pub const PLACES: core::ops::RangeInclusive<u32> = 1 << 10..=1 << 22;

/// Places of a table for so many flows: a power of two.
#[must_use]
pub const fn places(flows: u32) -> u32 {
    let (least, most) = (*PLACES.start(), *PLACES.end());
    match flows.checked_next_power_of_two() {
        Some(places) if places < least => least,
        Some(places) if places <= most => places,
        _ => most,
    }
}

/// Bytes of the map `FLOWS` with so many places.
#[must_use]
pub const fn table_bytes(places: u32) -> u64 {
    8 * (HEADER_WORDS as u64 + places as u64 * (1 + ENTRY_WORDS as u64))
}

/// Places of a map `FLOWS` of so many bytes.
#[must_use]
pub const fn places_of(table_bytes: u32) -> u32 {
    (table_bytes / 8).saturating_sub(HEADER_WORDS) / (1 + ENTRY_WORDS)
}

/// Words of `FLOW_RATES` for each CPU: a cache line of its own.
pub const RATE_WORDS: u32 = 8;

/// Words of the map `FLOW_PORTS`: a word per local port, TCP then UDP.
///
/// Array of one value. A word says when a flow of this port was last seen, as
/// [`crate::flow::Clock::stamp`] has it; 0 = never, all ones = unknown. Written where flows are; read before
/// the table is asked, so that a flood towards ports from which this host has
/// opened nothing costs no look-up. It can be wrong in one direction only.
pub const FLOW_PORTS: u32 = 1 << 17;
