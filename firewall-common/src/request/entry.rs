//! What is kept of a flow between two segments.

use super::Kind;
use crate::abi::assert_layout;

/// What the counters keep of a connection, client to server.
///
/// In a [`Bucket`](super::Bucket), for tuples that the kernel has a connection for.
/// Losing an entry costs a count at most, never a verdict. Any bit pattern is valid, all
/// zero is [`EMPTY`](Self::EMPTY).
///
/// | field | http1 | tls | mysql, dns |
/// | --- | --- | --- | --- |
/// | `next` | behind the segment in which the last counted request began | – | the next byte that framing needs |
/// | `high` | – | – | behind the furthest byte that came by |
/// | `ack` | of the last counted request | – | of the last segment that bore a header, or that first came by early |
/// | `state` | a request was counted | a `ClientHello` was counted | sequence id of the last packet (mysql) |
/// | `sync`, `held`, `held_len` | – | – | whether framing knows where it is; a header cut in two |
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// First bytes of a header of which the rest has not come, lowest first.
    pub held: u64,
    /// Sequence number, see the table.
    pub next: u32,
    /// Sequence number, never behind `next` by more than a unit.
    pub high: u32,
    /// Acknowledgement number, see the table.
    pub ack: u32,
    /// The [`Kind`] that the other fields belong to; another one starts anew.
    pub kind: u8,
    /// Where framing stands, see `framing`.
    pub sync: u8,
    /// Bytes in `held`, at most 7.
    pub held_len: u8,
    /// What the protocol itself remembers, see the table.
    pub state: u8,
}
assert_layout!(Entry, 24, 8);

impl Entry {
    /// As good as none: belongs to no kind.
    pub const EMPTY: Self = Self {
        held: 0,
        next: 0,
        high: 0,
        ack: 0,
        kind: Kind::None as u8,
        sync: 0,
        held_len: 0,
        state: 0,
    };

    /// The entry of a flow of which nothing has been seen.
    #[inline(always)]
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self { kind: kind as u8, ..Self::EMPTY }
    }

    /// Whether the entry is in use, and for this kind.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(&self, kind: Kind) -> bool {
        self.kind == kind as u8
    }
}
