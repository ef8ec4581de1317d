//! TLS: handshakes, one per connection.
//!
//! The first `ClientHello` of a connection is counted and no other: a second one
//! answers a `HelloRetryRequest` (RFC 8446 section 4.1.4), and later ones are
//! encrypted. It stands at the start of the first segment, so no other segment
//! needs a look-up. Turns would walk the records by `framing`
//! and keep their phase in the same entry.

use super::Entry;
use super::metric::{Metric, Tally};
use super::segment::{Head, Payload, Segment};

/// [`Entry::state`]: a handshake has been counted.
const SEEN: u8 = 1;

/// The start of a `ClientHello`, RFC 8446 sections 5.1 and 4: record type 22,
/// version 3.x, two bytes of length; message type 1, three bytes of length of
/// which the first is zero, or the 22 of the next record. Lowest byte first.
const HELLO: u64 = 0x00_01_00_00_00_03_16;

/// The bits of it that are fixed; the version ends in 0 to 4. A first record of one
/// byte, which RFC 8446 section 5.1 allows, has another record behind it.
const HELLO_MASK: u64 = 0xe9_ff_00_00_f8_ff_ff;

/// Whether the segment can change or add anything: whether it begins as a
/// `ClientHello` does, as far as it goes.
#[inline(always)]
pub(super) fn wants<P: Payload>(segment: &Segment, payload: &P) -> bool {
    segment.payload_len != 0
        && Head::first(payload, segment.payload_len)
            .is_some_and(|head| head.agrees(HELLO, HELLO_MASK))
}

/// Whether the first eight bytes are of a segment that [`wants`] an entry.
#[inline(always)]
pub(super) const fn may_begin(bytes: u64) -> bool {
    (bytes ^ HELLO) & HELLO_MASK == 0
}

/// Judges one segment with payload.
#[inline(always)]
pub(super) fn step<P: Payload>(
    entry: &mut Entry,
    segment: &Segment,
    payload: &P,
    tally: &mut Tally,
) {
    if entry.state != SEEN && wants(segment, payload) {
        entry.state = SEEN;
        tally.add(Metric::Handshakes);
    }
}
