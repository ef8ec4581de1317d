//! Framing by sequence number, for streams of units that say how long they are.
//!
//! The entry remembers at which sequence number the next unit begins, so bodies
//! are never looked at, retransmissions lie behind that number, and a merged
//! segment is walked unit by unit. Three things keep it right:
//!
//! - **A hole is waited for.** TCP sends again what was lost, so a segment beyond
//!   `next` is passed over until the missing one comes.
//! - **Turns end the waiting.** Who asks and waits for the answer cannot have
//!   heard more while the question is incomplete. If a segment beyond a hole
//!   carries another ACK number than the first one that came early, the hole was
//!   filled out of our sight: a gap, and framing begins anew.
//! - **A wrong place shows.** A new segment that lies wholly inside a unit, is
//!   itself exactly one unit, and carries another ACK number than the unit's
//!   header, proves that the unit was never one.
//!
//! As long as a flow has neither gap nor resync, its counts are exact from the
//! first segment seen: one that is no beginning is a resync. What passes early and
//! itself holds headers is not read again: pipelining and reordering together cost
//! counts, and show as a gap with the next turn, if there is one.

use super::metric::{Metric, Tally};
use super::segment::{Head, Payload, Segment, WINDOW};
use super::{Entry, Kind, proxy};

/// Units that are read of one segment: a bound for the verifier. At the bound
/// framing is given up, which counts as a resync.
pub(super) const UNITS: u32 = 64;

/// What framing asks of a protocol.
pub(super) trait Framed {
    /// Reads the header of the unit at the head of the stream.
    fn unit(entry: &mut Entry, head: Head, tally: &mut Tally) -> Unit;

    /// Whether the first payload of a flow can be the start of the stream.
    fn opens(head: Head, payload_len: u32) -> bool;

    /// Whether a segment that may begin anywhere begins with a unit. Unless it is
    /// known to be the client's `turn`, only what is exactly one unit will do.
    fn begins(head: Head, payload_len: u32, turn: bool) -> bool;
}

/// What a header says.
pub(super) enum Unit {
    /// The unit has so many bytes, header and all; more than any [`Unit::Short`]
    /// head of it had.
    Length(u32),
    /// The header is longer than the head, which has less than eight bytes.
    Short,
    /// Nothing behind it can be read, ever.
    Opaque,
}

/// [`Entry::sync`]: nothing has been seen yet. Zero, as in a new entry.
const START: u8 = 0;
/// [`Entry::sync`]: framing has begun, and its first unit is being read.
pub(super) const OPENING: u8 = 1;
/// [`Entry::sync`]: `next` is where a unit begins, or goes on if bytes are held.
const SYNCED: u8 = 2;
/// [`Entry::sync`]: no idea where a unit begins.
const LOST: u8 = 3;
/// [`Entry::sync`]: not for us to read, until the flow ends.
const OPAQUE: u8 = 4;

/// Judges one segment with payload.
#[inline(always)]
pub(super) fn step<F: Framed, P: Payload>(
    kind: Kind,
    entry: &mut Entry,
    segment: &Segment,
    payload: &P,
    tally: &mut Tally,
) {
    let lost = match entry.sync {
        OPENING | SYNCED => match place(entry, segment) {
            Place::Here => None,
            Place::Early => return,
            Place::Passed { odd } => {
                if !(odd && begins::<F, P>(segment, payload, false)) {
                    return;
                }
                Some(Metric::Resyncs)
            }
            Place::Answered => Some(Metric::Gaps),
            Place::Elsewhere => {
                tally.add(Metric::Resyncs);
                *entry = Entry { kind: entry.kind, ..Entry::EMPTY };
                None
            }
        },
        START | LOST => None,
        _ => return,
    };
    if let Some(metric) = lost {
        tally.add(metric);
        lose(entry);
    }
    let mut next = segment.start();
    let found = match entry.sync {
        OPENING | SYNCED => true,
        START => match opening::<F, P>(segment, payload) {
            Some(offset) => {
                next = next.wrapping_add(offset);
                true
            }
            None => false,
        },
        _ => begins::<F, P>(segment, payload, entry.ack != segment.ack),
    };
    if !found {
        // Whatever was on its way is lost; of a place that is lost it is known.
        if entry.sync == START {
            tally.add(Metric::Resyncs);
        }
        lose(entry);
        entry.ack = segment.ack;
        return;
    }
    if matches!(entry.sync, START | LOST) {
        entry.sync = OPENING;
        entry.next = next;
        entry.high = segment.start();
    }
    if entry.next.wrapping_sub(segment.start()) >= segment.payload_len {
        // A PROXY header by itself.
        entry.ack = segment.ack;
        reach(entry, segment);
        return;
    }
    walk(kind, entry, segment, payload, tally);
}

/// Where a segment lies, seen from the byte that framing needs next.
enum Place {
    /// It has that byte.
    Here,
    /// It is behind a hole.
    Early,
    /// It lies before that byte: sent again, or inside a unit. `odd` if it is new
    /// and the server has spoken since the unit began.
    Passed { odd: bool },
    /// It is behind a hole, and the server has spoken since the hole was seen.
    Answered,
    /// It is further off than any window: another connection on the same ports.
    Elsewhere,
}

/// Finds the place, and keeps `high` and the ACK number of an early segment.
#[inline(always)]
fn place(entry: &mut Entry, segment: &Segment) -> Place {
    let start = segment.start();
    let distance = start.wrapping_sub(entry.next).cast_signed();
    if distance.unsigned_abs() > WINDOW {
        return Place::Elsewhere;
    }
    let spoken = segment.ack != entry.ack;
    let new = !is_ahead(entry.high, start);
    if distance > 0 {
        if !is_ahead(entry.high, entry.next) {
            entry.ack = segment.ack;
        } else if spoken {
            return Place::Answered;
        }
        reach(entry, segment);
        Place::Early
    } else if distance.unsigned_abs() >= segment.payload_len {
        reach(entry, segment);
        Place::Passed { odd: new && spoken }
    } else {
        Place::Here
    }
}

/// Walks the units from `next` on, as far as the segment goes.
///
/// All that one unit leaves to the next is in the entry, and the kernel reads each
/// unit out of line: the verifier checks one, not every sum of lengths.
#[inline(always)]
fn walk<P: Payload>(
    kind: Kind,
    entry: &mut Entry,
    segment: &Segment,
    payload: &P,
    tally: &mut Tally,
) {
    entry.ack = segment.ack;
    reach(entry, segment);
    for _ in 0..UNITS {
        if !payload.next_unit(kind, entry, segment, tally) {
            return;
        }
    }
    give_up(entry, tally);
}

/// Reads one unit; true if there is another in the segment.
#[inline(always)]
pub(super) fn next_unit<F: Framed, P: Payload>(
    entry: &mut Entry,
    segment: &Segment,
    payload: &P,
    tally: &mut Tally,
) -> bool {
    let offset = entry.next.wrapping_sub(segment.start());
    let Some(more) = Head::read(payload, offset, segment.payload_len) else {
        give_up(entry, tally);
        return false;
    };
    let kept = Head { bytes: entry.held, len: u32::from(entry.held_len & 7) };
    let head = kept.then(more);
    match F::unit(entry, head, tally) {
        Unit::Length(length) => {
            entry.next = entry.next.wrapping_sub(kept.len).wrapping_add(length);
            entry.held = 0;
            entry.held_len = 0;
            entry.sync = SYNCED;
            entry.next.wrapping_sub(segment.start()) < segment.payload_len
        }
        Unit::Short => {
            entry.held = head.bytes;
            entry.held_len = (head.len & 7) as u8;
            entry.next = segment.end();
            false
        }
        Unit::Opaque => {
            entry.sync = OPAQUE;
            false
        }
    }
}

/// Bytes that cannot be read, or more units than the bound.
#[inline(always)]
const fn give_up(entry: &mut Entry, tally: &mut Tally) {
    tally.add(Metric::Resyncs);
    lose(entry);
}

/// Where in the first payload of a flow its stream begins: a PROXY header may stand
/// in front.
#[inline(always)]
fn opening<F: Framed, P: Payload>(segment: &Segment, payload: &P) -> Option<u32> {
    let head = Head::read(payload, 0, segment.payload_len)?;
    if F::opens(head, segment.payload_len) {
        Some(0)
    } else {
        proxy::length(head, segment, payload)
    }
}

#[inline(always)]
fn begins<F: Framed, P: Payload>(segment: &Segment, payload: &P, turn: bool) -> bool {
    Head::read(payload, 0, segment.payload_len)
        .is_some_and(|head| F::begins(head, segment.payload_len, turn))
}

/// Framing has no place any more.
#[inline(always)]
const fn lose(entry: &mut Entry) {
    entry.sync = LOST;
    entry.held = 0;
    entry.held_len = 0;
    entry.state = 0;
}

/// Notes how far the stream has come by.
#[inline(always)]
const fn reach(entry: &mut Entry, segment: &Segment) {
    if is_ahead(segment.end(), entry.high) {
        entry.high = segment.end();
    }
}

/// Whether sequence number `a` is behind `b` in the stream, that is, later.
#[inline(always)]
const fn is_ahead(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}
