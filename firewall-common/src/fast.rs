//! The common case: whole TCP segments and UDP datagrams right behind an Ethernet
//! and an IP header without options, which rules, or the reversed look-up, decide.
//!
//! Nothing is decided here that [`pipeline`](crate::pipeline) would decide
//! otherwise: whatever needs more than the policy is left to it, as [`Rest`], before
//! anything was counted; all but requests, which are counted behind all else. What this
//! saves is the scratch packet, the loops over tags and extension headers, and code that
//! the processor would have to jump around. A test holds one against the other.

mod anew;
mod common;

use crate::abi::flow::FlowKey;
use crate::abi::tables::{Cell, Setting, features};
use crate::ban;
use crate::cold::cold;
use crate::flow::{TICK_SHIFT, UDP_PORTS};
use crate::frame::{Frame, Header as _};
use crate::packet::tcp;
use crate::passes::Moment;
use crate::pipeline::{Arrival, World, admitted_by, wire_bytes};
use crate::policy::{self, Tables, Tuple};
use crate::request;
use crate::service::{PortPlace, proto};
use crate::verdict::{Decision, Direction, Reason, Verdict};
pub use anew::{describe, drop_banned, source};
use common::{Common, V4, V6, rarely, service};

/// What is left to do with a frame.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    /// All: it is for the whole pipeline.
    Any,
    /// As above, unless its source is banned, as it seems: [`drop_banned`] knows.
    Suspect,
    /// It passes, and is counted, but for what it may ask of the service that this rule
    /// names: [`request::count()`], of what [`describe`] says of it.
    Requests(Decision),
}

/// Judges and counts a frame if it is a common one: the verdict, which its end knows without
/// asking the decision for it.
///
/// # Errors
/// What is left to do, if it is none, or may be a request.
#[inline(always)]
pub fn process<W: World + Tables, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
) -> Result<(Verdict, Decision), Rest> {
    let Some(header) = frame.header::<{ V4::<()>::BYTES }>(0) else { return rest() };
    // One comparison for what follows and how it begins.
    if header.u32::<12>() & V4::<()>::BEGINS_MASK == V4::<()>::BEGINS {
        account(world, frame, &V4(header), arrival)
    } else if header.again().u32::<12>() & V6::<()>::BEGINS_MASK == V6::<()>::BEGINS {
        cold();
        let Some(header) = frame.header::<{ V6::<()>::BYTES }>(0) else { return rest() };
        account(world, frame, &V6(header), arrival)
    } else {
        rest()
    }
}

/// The frame is for the whole pipeline.
#[inline(always)]
fn rest<T>() -> Result<T, Rest> {
    cold();
    Err(Rest::Any)
}

/// Decides on a packet, and counts it, if it is a common one.
#[inline(always)]
fn account<W: World + Tables, F: Frame, P: Common>(
    world: &mut W,
    frame: &F,
    packet: &P,
    arrival: &Arrival,
) -> Result<(Verdict, Decision), Rest> {
    if arrival.direction == Direction::Egress
        && let Some(decision) = passed_lately(world, packet, arrival)?
    {
        return Ok((Verdict::Pass, counted(world, packet, arrival, decision)));
    }
    match packet.sound_port(arrival.length) {
        Some(port) => decide(world, frame, packet, arrival, port),
        None => rest(),
    }
}

/// The decision on a packet of ours when one of the same flow was let out a moment ago.
#[inline(always)]
fn passed_lately<W: World, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
) -> Result<Option<Decision>, Rest> {
    let (key, moment) = (packet.key(), moment(world));
    let hash = key.hash();
    let Some(pass) = world.pass(hash) else { return rest() };
    let decision = pass.of(&key, hash, moment);
    Ok(decision.filter(|_| packet.is_sound_answer(arrival.length)))
}

/// Notes that a packet of ours was let out.
#[inline(always)]
fn note_pass<W: World, P: Common>(world: &mut W, packet: &P, decision: &Decision) {
    let (key, moment) = (packet.key(), moment(world));
    let hash = key.hash();
    if let Some(pass) = world.pass(hash) {
        pass.note(&key, hash, moment, decision);
    }
}

/// Now, and what is in force.
#[inline(always)]
fn moment<W: World>(world: &W) -> Moment {
    Moment { word: world.control_word(), tick: world.jiffies() >> TICK_SHIFT }
}

/// Counts a packet that is decided. Each end of the way does so by itself: what it knows of the
/// decision need not be kept, nor asked again.
#[inline(always)]
fn counted<W: World, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
    decision: Decision,
) -> Decision {
    let (segments, bytes) = (world.segments(arrival), u64::from(arrival.length));
    let (packets, bytes) = if segments > 1 {
        cold();
        let packets = u64::from(segments);
        (packets, wire_bytes(bytes, packets, packet.again().headers().into()))
    } else {
        (1, bytes)
    };
    world.count(&decision, packets, bytes);
    decision
}

/// Decides on a sound packet, if the policy is enough for it.
#[inline(always)]
fn decide<W: World + Tables, F: Frame, P: Common>(
    world: &mut W,
    frame: &F,
    packet: &P,
    arrival: &Arrival,
    port: PortPlace,
) -> Result<(Verdict, Decision), Rest> {
    let direction = arrival.direction;
    let cell = match policy::on_port(world, direction, port) {
        Ok(cell) => cell,
        Err(_) if asks_context(world) => return rest(),
        Err(class) => policy::behind_port(world, &asked(&packet.again(), direction), class),
    };
    let packet = &packet.again();
    match direction {
        Direction::Ingress => ingress(world, frame, packet, arrival, cell),
        Direction::Egress => egress(world, frame, packet, arrival, cell),
    }
}

/// Lets a packet pass that a rule admits, which may count what is asked of its service.
#[inline(always)]
fn passed<W: World, F: Frame, P: Common>(
    world: &mut W,
    frame: &F,
    packet: &P,
    arrival: &Arrival,
    decision: Decision,
) -> Result<(Verdict, Decision), Rest> {
    let decision = counted(world, packet, arrival, decision);
    let counts = world.setting(Setting::Features) & features::REQUESTS != 0;
    if counts && decision.cell.has(Cell::COUNT) && may_ask(frame, &packet.again(), decision.cell) {
        return Err(Rest::Requests(decision));
    }
    Ok((Verdict::Pass, decision))
}

/// Whether counting of requests may do anything with a packet: a look at its first bytes, with
/// which the pieces of a body are done.
#[inline(always)]
fn may_ask<F: Frame, P: Common>(frame: &F, packet: &P, cell: Cell) -> bool {
    cold();
    let (headers, end) = (packet.headers(), packet.end());
    if packet.tcp_flags() & tcp::SYN != 0 {
        return true;
    }
    if end <= headers {
        return false;
    }
    match frame.again().header::<8>(headers as usize) {
        Some(first) if headers + 8 <= end => {
            request::may_begin(cell.count(), first.u64::<0>().swap_bytes())
        }
        _ => true,
    }
}

/// Whether rules ask for interface, VLAN or flags: they are rare, and a lot of code.
#[inline(always)]
fn asks_context<W: World>(world: &W) -> bool {
    world.setting(Setting::ReplyContext) != 0
}

#[inline(always)]
fn ingress<W: World + Tables, F: Frame, P: Common>(
    world: &mut W,
    frame: &F,
    packet: &P,
    arrival: &Arrival,
    cell: Cell,
) -> Result<(Verdict, Decision), Rest> {
    // One look for what most drops are not.
    if cell.has(Cell::BROKEN | Cell::SAMPLE | Cell::COUNT | Cell::ALLOW) {
        cold();
        if cell.has(Cell::BROKEN | Cell::SAMPLE) {
            return rest();
        }
        if let Some(reason) = admitted_by(cell) {
            if !cell.has(Cell::FAILSAFE) {
                unsuspected(world, packet)?;
            }
            let decision = Decision { reason, cell: cell.plain(), new_flow: packet.opens_tcp() };
            return passed(world, frame, packet, arrival, decision);
        }
    }
    unsuspected(world, packet)?;
    // Anything but a bare SYN may belong to a flow that this host opened, or, if it
    // is TCP, to one that is forgotten.
    if !packet.opens_tcp() {
        if is_known(world, packet, Direction::Ingress) {
            return Ok((Verdict::Pass, counted(world, packet, arrival, ESTABLISHED)));
        }
        let packet = packet.again();
        if packet.protocol() == proto::TCP
            && (asks_context(world) || world.admits(&opened(&packet)))
        {
            return rest();
        }
    }
    dropped(world, packet, arrival, cell)
}

/// Hands a packet on whose source may be banned.
#[inline(always)]
fn unsuspected<W: World, P: Common>(world: &mut W, packet: &P) -> Result<(), Rest> {
    if rarely(world.any_bans(P::FAMILY)) {
        cold();
        let source = packet.again().source();
        if ban::may_be_banned(world, source, P::FAMILY) {
            return Err(Rest::Suspect);
        }
    }
    Ok(())
}

/// Packets of flows that this host has opened, its answers to what its ingress policy admits,
/// and what neither a rule nor one of these lets out. What opens a flow takes the whole walk.
#[inline(always)]
fn egress<W: World + Tables, F: Frame, P: Common>(
    world: &mut W,
    frame: &F,
    packet: &P,
    arrival: &Arrival,
    cell: Cell,
) -> Result<(Verdict, Decision), Rest> {
    if cell.has(Cell::BROKEN | Cell::SAMPLE) {
        return rest();
    }
    if !packet.opens_tcp() && goes_on(world, packet)? {
        let decision = passes(cell);
        // Requests of the next one may be counted.
        if !rarely(cell.has(Cell::COUNT)) {
            note_pass(world, &packet.again(), &decision);
        }
        return passed(world, frame, packet, arrival, decision);
    }
    if cell.has(Cell::ALLOW) { Err(Rest::Any) } else { dropped(world, packet, arrival, cell) }
}

/// Whether a packet of ours is of a flow that is known, or answers what ingress admits.
#[inline(always)]
fn goes_on<W: World + Tables, P: Common>(world: &mut W, packet: &P) -> Result<bool, Rest> {
    if is_known(world, packet, Direction::Egress) {
        return Ok(true);
    }
    let packet = &packet.again();
    if !packet.could_answer() {
        return Ok(false);
    }
    if asks_context(world) {
        return rest();
    }
    let inbound = policy::decide_on_port(world, &answered(packet));
    // An opening may admit what it answers.
    if inbound.drops_by_default() && rarely(world.openings().is_some()) {
        return rest();
    }
    Ok(inbound.admits())
}

/// Drops what a rule denies, or none admits, and nothing else lets pass.
#[inline(always)]
fn dropped<W: World, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
    cell: Cell,
) -> Result<(Verdict, Decision), Rest> {
    // One look for what most denials are not. Each end knows why it drops.
    if !cell.has(Cell::DEFAULT | Cell::QUIET) {
        return drop_aloud(world, packet, arrival, (Reason::Deny, cell));
    }
    cold();
    if !cell.has(Cell::DEFAULT) {
        return Ok((Verdict::Drop, counted(world, packet, arrival, drop_for(Reason::Deny, cell))));
    }
    // An opening may admit what no rule names.
    if arrival.direction == Direction::Ingress && rarely(world.openings().is_some()) {
        return rest();
    }
    if cell.has(Cell::QUIET) {
        let decision = drop_for(Reason::DefaultDrop, cell);
        return Ok((Verdict::Drop, counted(world, packet, arrival, decision)));
    }
    drop_aloud(world, packet, arrival, (Reason::DefaultDrop, cell))
}

/// Drops a packet, unless an event is to tell of it.
#[inline(always)]
fn drop_aloud<W: World, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
    (reason, cell): (Reason, Cell),
) -> Result<(Verdict, Decision), Rest> {
    let decision = drop_for(reason, cell);
    if world.keeps_back(&decision, || packet.again().source()) {
        Ok((Verdict::Drop, counted(world, packet, arrival, decision)))
    } else {
        rest()
    }
}

/// The decision of a drop.
#[inline(always)]
const fn drop_for(reason: Reason, cell: Cell) -> Decision {
    Decision { reason, cell: cell.plain(), new_flow: false }
}

/// What becomes of a packet of a flow, or of an answer: a rule admits it, or nobody asked one.
#[inline(always)]
fn passes(cell: Cell) -> Decision {
    match admitted_by(cell) {
        Some(reason) => Decision { reason, cell: cell.plain(), new_flow: false },
        None => ESTABLISHED,
    }
}

/// Part of a flow, or an answer: no rule decided.
const ESTABLISHED: Decision =
    Decision { reason: Reason::Established, cell: Cell(Cell::NO_SLOT), new_flow: false };

/// Whether a packet belongs to a flow that this host has opened; notes it there.
#[inline(always)]
fn is_known<W: World, P: Common>(world: &mut W, packet: &P, direction: Direction) -> bool {
    let packet = packet.again();
    let port = match direction {
        Direction::Ingress => packet.destination_port(),
        Direction::Egress => packet.source_port(),
    };
    // It is TCP or UDP.
    let index = if packet.protocol() == proto::TCP { 0 } else { UDP_PORTS } | u32::from(port);
    has_had_flows(world, index)
        && world.sees_flow(&flow_key(&packet.again(), direction), Some(direction))
}

/// Whether a local port has ever had a flow: a word says so, where the table would take a
/// call.
#[inline(always)]
fn has_had_flows<W: World>(world: &mut W, index: u32) -> bool {
    world.flow_port(index).is_none_or(|stamp| *stamp != 0)
}

/// The flow that a packet would belong to.
#[inline(always)]
fn flow_key<P: Common>(packet: &P, direction: Direction) -> FlowKey {
    let to = (packet.destination(), packet.destination_port());
    let from = (packet.source(), packet.source_port());
    let ((local, local_port), (remote, remote_port)) = match direction {
        Direction::Ingress => (to, from),
        Direction::Egress => (from, to),
    };
    FlowKey {
        local: [local.hi, local.lo],
        remote: [remote.hi, remote.lo],
        local_port,
        remote_port,
        protocol: packet.protocol(),
        family: P::FAMILY as u8,
        reserved: 0,
    }
}

/// What the policy is asked of a packet.
#[inline(always)]
fn asked<P: Common>(packet: &P, direction: Direction) -> Tuple {
    let (remote, local) = match direction {
        Direction::Ingress => (packet.source(), packet.destination()),
        Direction::Egress => (packet.destination(), packet.source()),
    };
    let service = service(packet.protocol(), packet.destination_port());
    Tuple { direction, remote, local, family: P::FAMILY, service }
}

/// The inbound packet that a packet of ours would answer.
#[inline(always)]
fn answered<P: Common>(packet: &P) -> Tuple {
    Tuple {
        direction: Direction::Ingress,
        remote: packet.destination(),
        local: packet.source(),
        family: P::FAMILY,
        service: service(packet.protocol(), packet.source_port()),
    }
}

/// The packet of ours that an inbound packet would answer.
#[inline(always)]
fn opened<P: Common>(packet: &P) -> Tuple {
    Tuple {
        direction: Direction::Egress,
        remote: packet.source(),
        local: packet.destination(),
        family: P::FAMILY,
        service: service(packet.protocol(), packet.source_port()),
    }
}
