//! What is asked of few common packets: they are read anew for it, where to keep what was
//! read would take registers from all.

use super::common::{Common as _, V4, V6};
use crate::abi::tables::Cell;
use crate::ban;
use crate::frame::{Frame, Header as _};
use crate::packet::{Address, Family, Packet};
use crate::parse::ethertype;
use crate::pipeline::{Arrival, World};
use crate::verdict::{Decision, Reason};

/// The source of a common packet, for those that are suspect.
#[inline(always)]
pub fn source<F: Frame>(frame: &F) -> Option<(Address, Family)> {
    let header = frame.header::<{ V4::<()>::BYTES }>(0)?;
    if header.u16::<12>() == ethertype::IPV4 {
        return Some((V4(header).source(), Family::V4));
    }
    Some((V6(frame.header::<{ V6::<()>::BYTES }>(0)?).source(), Family::V6))
}

/// Writes down what counting of requests asks of a common packet.
#[inline(always)]
pub fn describe<F: Frame>(frame: &F, packet: &mut Packet) {
    let Some(header) = frame.header::<{ V4::<()>::BYTES }>(0) else { return };
    if header.u16::<12>() == ethertype::IPV4 {
        V4(header).describe(packet);
    } else if let Some(header) = frame.header::<{ V6::<()>::BYTES }>(0) {
        V6(header).describe(packet);
    }
}

/// Drops and counts a common packet if its source is banned.
#[inline(always)]
pub fn drop_banned<W: World>(
    world: &mut W,
    (source, family): (Address, Family),
    arrival: &Arrival,
) -> Option<Decision> {
    let place = world.ban_of(source, family);
    let decision = Decision { reason: Reason::Banned, cell: Cell(Cell::NO_SLOT), new_flow: false };
    // What a super-packet stands for is in its headers.
    if place == ban::NOWHERE
        || world.segments(arrival) != 1
        || !world.keeps_back(&decision, || source)
    {
        return None;
    }
    world.count(&decision, 1, arrival.length.into());
    ban::hit(world, place);
    Some(decision)
}
