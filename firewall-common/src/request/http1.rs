//! HTTP/1.x in clear: the turn rule.
//!
//! A request is counted when a method stands at the start of a segment, the
//! segment is new, and the client's ACK number has moved since the last counted
//! request: it has heard something back, so it is its turn again. A body made to
//! look like requests carries the ACK number of its own head, and is suspect.
//!
//! A head is counted at its beginning, whether or not the rest of it comes. What
//! it opens is not known: in clear, requests inside a CONNECT tunnel count, too.
//!
//! Not counted: pipelined requests behind the first of a turn, a request
//! behind an empty line, methods that are not listed here. Counted although it
//! is none: text that begins with a method, sent after the server has spoken
//! early (100, 401, 413) or by a client that speaks WebSocket without masking.
//!
//! A connection that begins in another way, with TLS, HTTP/2 or a method that is
//! not listed, is one that cannot be read: a resync says so, once. Only what
//! such a beginning looks like is looked up, and not each piece of a body. A PROXY
//! header by itself is passed over: the request comes behind it.

use super::metric::{Metric, Tally};
use super::segment::{Head, Payload, Segment, WINDOW};
use super::{Entry, proxy};

/// [`Entry::state`]: a request has been counted, `next` and `ack` hold.
const SEEN: u8 = 1;
/// [`Entry::state`]: the connection began in another way, and that was counted.
const STRANGE: u8 = 2;

/// Bytes of the longest segment, merged ones included.
const LONGEST: u32 = 1 << 16;

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
    /// What a connection begins with that is not for us to read.
    Strange,
}

/// Whether the segment can change or add anything.
#[inline(always)]
pub(super) fn wants<P: Payload>(segment: &Segment, payload: &P) -> bool {
    start(segment, payload) != Start::Other
}

/// Whether the first eight bytes may be of a segment that [`wants`] an entry: methods begin
/// with three capital letters, too.
#[inline(always)]
pub(super) const fn may_begin(bytes: u64) -> bool {
    is_strange(bytes)
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
    if start == Start::Strange {
        if entry.state == 0 {
            entry.state = STRANGE;
            tally.add(Metric::Resyncs);
        }
        return;
    }
    if entry.state != SEEN || (is_new(entry, segment) && is_turn(entry, segment)) {
        entry.state = SEEN;
        entry.next = segment.end();
        entry.ack = segment.ack;
        tally.add(Metric::Requests);
    } else if start == Start::Token && !is_copy(entry, segment) {
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

/// The segment in which the last counted request began, sent again, or what came
/// before it: no segment is longer.
#[inline(always)]
const fn is_copy(entry: &Entry, segment: &Segment) -> bool {
    let behind = entry.next.wrapping_sub(segment.start());
    behind != 0 && behind <= LONGEST
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
        let strange = whole
            && is_strange(head.bytes)
            && proxy::length(head, segment, payload) != Some(segment.payload_len);
        if strange { Start::Strange } else { Start::Other }
    } else if whole {
        Start::Token
    } else {
        Start::Piece
    }
}

/// Whether these bytes are what TLS, HTTP/2 (`PRI`), a PROXY header, an empty line
/// or a method that is not listed begins with.
#[inline(always)]
const fn is_strange(bytes: u64) -> bool {
    /// Where two bytes stand.
    const PAIR: u64 = 0xffff;
    /// A TLS record of the handshake, lowest byte first.
    const RECORD: u64 = 0x0316;
    /// An empty line. Version 2 of the PROXY header begins with two.
    const LINE: u64 = 0x0a0d;
    /// The bits that three capital letters, and few others, have in common.
    const LETTERS: u64 = 0x0040_4040;
    const LETTERS_MASK: u64 = 0x00e0_e0e0;
    bytes & PAIR == RECORD || bytes & PAIR == LINE || bytes & LETTERS_MASK == LETTERS
}
