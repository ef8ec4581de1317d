//! HTTP/1.x in clear: the turn rule.
//!
//! A request is counted when a method stands at the start of a segment, the
//! segment is new, and the client's ACK number has moved since the last counted
//! request: it has heard something back, so it is its turn again. A body made to
//! look like requests carries the ACK number of its own head, and is suspect.
//!
//! Not counted: pipelined requests behind the first of a segment, a request
//! behind an empty line, methods that are not listed here. Counted although it
//! is none: text that begins with a method, sent after the server has spoken
//! early (100, 401, 413) or by a client that speaks WebSocket without masking.

use super::Entry;
use super::metric::{Metric, Tally};
use super::segment::{Head, Payload, Segment, WINDOW};

/// [`Entry::state`]: a request has been counted, `next` and `ack` hold.
const SEEN: u8 = 1;

/// Bytes of a method that are looked at.
const TOKEN: u32 = 4;

/// Where they stand in a head.
const TOKEN_MASK: u64 = 0xffff_ffff;

/// Methods, cut after four bytes: RFC 9110 section 9.3 and RFC 5789, then
/// those of RFC 4918, 3253 and 5323, `QUERY` and `PURGE`.
pub(super) const TOKENS: [&[u8; 4]; 20] = [
    b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PROP",
    b"MKCO", b"COPY", b"MOVE", b"LOCK", b"UNLO", b"REPO", b"SEAR", b"MERG", b"QUER", b"PURG",
];

/// What stands at the start of a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Neither of the following.
    Other,
    /// A segment shorter than a token, of which every byte agrees with one.
    Piece,
    /// A method.
    Token,
}

/// Whether the segment can change or add anything.
#[inline(always)]
pub(super) fn wants<P: Payload>(segment: &Segment, payload: &P) -> bool {
    start(segment, payload) != Start::Other
}

/// Judges one segment with payload.
#[inline(always)]
pub(super) fn step<P: Payload>(
    entry: &mut Entry,
    segment: &Segment,
    payload: &P,
    tally: &mut Tally,
) {
    let start = start(segment, payload);
    if start == Start::Other {
        return;
    }
    if entry.state != SEEN || (is_new(entry, segment) && is_turn(entry, segment)) {
        entry.state = SEEN;
        entry.next = segment.end();
        entry.ack = segment.ack;
        tally.add(Metric::Requests);
    } else if start == Start::Token {
        tally.add(Metric::Suspects);
    }
}

/// Not sent before: at or behind `next`, or so far before it that no window
/// reaches there, which is `next` overtaken by a body of up to 3 GiB.
#[inline(always)]
const fn is_new(entry: &Entry, segment: &Segment) -> bool {
    let behind = entry.next.wrapping_sub(segment.start());
    behind == 0 || behind > WINDOW
}

/// The server has spoken since the last counted request.
///
/// *Differs*, not *greater*: a client's ACK number never goes back, so in a new
/// segment the two are the same, and a response of 2 to 4 GiB is no exception.
#[inline(always)]
const fn is_turn(entry: &Entry, segment: &Segment) -> bool {
    entry.ack != segment.ack
}

/// Looks at the first four bytes, or at all of fewer.
#[inline(always)]
fn start<P: Payload>(segment: &Segment, payload: &P) -> Start {
    if segment.payload_len == 0 {
        return Start::Other;
    }
    let Some(head) = Head::first(payload, segment.payload_len) else { return Start::Other };
    let whole = head.len >= TOKEN;
    if !TOKENS.iter().any(|token| head.agrees(u32::from_le_bytes(**token).into(), TOKEN_MASK)) {
        Start::Other
    } else if whole {
        Start::Token
    } else {
        Start::Piece
    }
}
