//! DNS: queries, RFC 1035.
//!
//! Over UDP a datagram is a message. Over TCP each message has a length before
//! it (section 4.2.2), and many may be on their way at once: framing. Only plain
//! queries are counted, not NOTIFY or UPDATE, and not responses.

use super::Entry;
use super::framing::{Framed, Unit};
use super::metric::{Metric, Tally};
use super::segment::{Head, Payload};

/// Length in front of a message, over TCP.
const PREFIX: u32 = 2;

/// Id, flags and four counts.
const HEADER: u32 = 12;

/// A header, and a question for the root.
const SHORTEST: u32 = HEADER + 1 + 4;

/// Judges one datagram.
#[inline(always)]
pub(super) fn datagram<P: Payload>(payload_len: u32, payload: &P, tally: &mut Tally) {
    if payload_len >= HEADER
        && let Some(head) = Head::first(payload, payload_len)
        && asks(head.byte(2))
    {
        tally.add(Metric::DnsQueries);
    }
}

/// The protocol over TCP, as framing sees it.
pub(super) enum Dns {}

impl Framed for Dns {
    #[inline(always)]
    fn unit(_: &mut Entry, head: Head, tally: &mut Tally) -> Unit {
        if head.len < PREFIX {
            return Unit::Short;
        }
        let length = head.u16_be(0);
        if length >= HEADER {
            if head.len <= FLAGS {
                return Unit::Short;
            }
            if asks(head.byte(FLAGS)) {
                tally.add(Metric::DnsQueries);
            }
        }
        Unit::Length(PREFIX + length)
    }

    /// A query, or too little to tell: some clients send the length by itself.
    #[inline(always)]
    fn opens(head: Head, payload_len: u32) -> bool {
        head.len < Head::MOST || Self::begins(head, payload_len, true)
    }

    #[inline(always)]
    fn begins(head: Head, payload_len: u32, turn: bool) -> bool {
        head.len == Head::MOST
            && head.u16_be(0) >= SHORTEST
            && asks(head.byte(FLAGS))
            && head.u16_be(6) == 1
            && (turn || PREFIX + head.u16_be(0) == payload_len)
    }
}

/// Where the first byte of the flags stands, over TCP.
const FLAGS: u32 = PREFIX + 2;

/// QR is 0 and the opcode is QUERY.
#[inline(always)]
const fn asks(flags: u8) -> bool {
    flags & 0b1111_1000 == 0
}
