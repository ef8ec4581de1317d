//! From an admitted packet to the counters of its rule.

use super::table::{self, Asked};
use super::{Entry, Kind, Metric, Need, Payload, Segment, Tally};
use super::{datagram, need, next_unit, step};
use crate::abi::tables::Setting;
use crate::flow;
use crate::frame::{Frame, Header as _};
use crate::packet::{Fragment, Packet, tcp};
use crate::pipeline::World;
use crate::question::Answers;
use crate::service::proto;
use crate::verdict::Direction;

/// Counts what an admitted packet asks of the service that its rule names.
///
/// A flow gets an entry only here, with its first payload that matters, and only
/// if the kernel has a connection for the tuple, or makes one of this segment
/// because it brings back a SYN cookie. Without one the payload is suspect: it was
/// forged, or came with a SYN, whose data a server without TCP Fast Open throws
/// away and gets again. So it is without an entry, should there be none to be had.
///
/// `tally` is scratch memory.
#[inline(always)]
pub fn count<W: World, F: Frame>(
    world: &mut W,
    frame: &F,
    packet: &Packet,
    answers: Answers,
    direction: Direction,
    tally: &mut Tally,
) {
    let Some(kind) = Kind::from_number(answers.cell.count()) else { return };
    // A later fragment has no transport header.
    if matches!(packet.fragment, Fragment::Later) {
        return;
    }
    let payload = Body { frame, packet };
    *tally = Tally::EMPTY;
    match packet.protocol {
        proto::TCP => stream(world, kind, packet, &payload, direction, tally),
        proto::UDP => datagram(kind, packet.payload_len, &payload, tally),
        _ => return,
    }
    tally.for_each(|metric, added| world.count_request(answers.request_slot, metric, added));
}

/// One segment, with the entry of its flow.
#[inline(always)]
fn stream<W: World, P: Payload>(
    world: &mut W,
    kind: Kind,
    packet: &Packet,
    payload: &P,
    direction: Direction,
    tally: &mut Tally,
) {
    let segment = segment(packet);
    let need = need(kind, &segment, payload);
    if need == Need::Nothing {
        return;
    }
    // The server is the destination, on either hook.
    let asked = Asked::of(world, &flow::key(packet, Direction::Ingress));
    if segment.syn
        && let Some(entry) = table::find(world, asked)
    {
        *entry = Entry::EMPTY;
    }
    if need == Need::Clear {
        return;
    }
    let enabled = world.setting(Setting::Features);
    let entry = match table::find(world, asked) {
        Some(entry) if entry.is_of(kind) => entry,
        _ => {
            let entry = if world.has_connection(&flow::key(packet, direction), packet) {
                table::open(world, asked, Entry::new(kind))
            } else {
                None
            };
            let Some(entry) = entry else {
                tally.add(Metric::Suspects);
                return;
            };
            entry
        }
    };
    step(enabled, kind, entry, &segment, payload, tally);
}

/// The next unit of a packet's payload, see [`next_unit`].
#[inline(always)]
pub fn next_unit_of<F: Frame>(
    frame: &F,
    kind: Kind,
    entry: &mut Entry,
    packet: &Packet,
    tally: &mut Tally,
) -> bool {
    next_unit(kind, entry, &segment(packet), &Body { frame, packet }, tally)
}

/// A packet as request counting sees it.
#[inline(always)]
const fn segment(packet: &Packet) -> Segment {
    Segment {
        seq: packet.seq,
        ack: packet.ack,
        syn: packet.tcp_flags & tcp::SYN != 0,
        payload_len: packet.payload_len,
    }
}

/// The payload of a packet in its frame.
struct Body<'frame, F> {
    frame: &'frame F,
    packet: &'frame Packet,
}

impl<F: Frame> Payload for Body<'_, F> {
    #[inline(always)]
    fn word(&self, offset: u32) -> Option<u64> {
        let bytes = self.frame.load(self.packet.payload_offset.wrapping_add(offset) as usize)?;
        Some(u64::from_le_bytes(bytes))
    }

    #[inline(always)]
    fn next_unit(&self, kind: Kind, entry: &mut Entry, _: &Segment, tally: &mut Tally) -> bool {
        self.frame.next_unit(kind, entry, self.packet, tally)
    }

    #[inline(always)]
    fn first_word(&self, offset: u32) -> Option<u64> {
        match self.frame.header::<8>(self.packet.payload_offset.wrapping_add(offset) as usize) {
            Some(header) => Some(header.u64::<0>().swap_bytes()),
            None => self.word(offset),
        }
    }
}
