//! The common case: whole TCP segments and UDP datagrams right behind an Ethernet
//! and an IP header without options, which rules, or the reversed look-up, decide.
//!
//! Nothing is decided here that [`pipeline`](crate::pipeline) would decide
//! otherwise: whatever needs more than the policy is left to it, as [`Rest`], before
//! anything was counted. What this saves is the scratch packet, the loops over tags
//! and extension headers, and code that the processor would have to jump around.
//! A test holds one against the other.

use core::hint::cold_path;

use crate::abi::flow::FlowKey;
use crate::abi::tables::{Cell, Setting};
use crate::ban;
use crate::flow::UDP_PORTS;
use crate::frame::{Frame, Header};
use crate::packet::{Address, Family, tcp};
use crate::parse::{ethertype, possible_flags};
use crate::pipeline::{Arrival, World};
use crate::policy::{self, Tables, Tuple};
use crate::service::{ServiceIndex, proto};
use crate::verdict::{Decision, Direction, Reason, Verdict};

/// Why a frame is not judged here.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    /// It is for the whole pipeline.
    Any,
    /// As above, unless its source is banned, as it seems: [`drop_banned`] knows.
    Suspect,
}

/// Judges and counts a frame if it is a common one: the verdict, which its end knows without
/// asking the decision for it.
///
/// # Errors
/// Who is to judge it, if it is none.
#[inline(always)]
pub fn process<W: World + Tables, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
) -> Result<(Verdict, Decision), Rest> {
    let Some(header) = frame.header::<{ V4::<()>::BYTES }>(0) else { return rest() };
    // One comparison for what follows and how it begins.
    if header.u32::<12>() & V4::<()>::BEGINS_MASK == V4::<()>::BEGINS {
        account(world, &V4(header), arrival)
    } else if header.again().u32::<12>() & V6::<()>::BEGINS_MASK == V6::<()>::BEGINS {
        let Some(header) = frame.header::<{ V6::<()>::BYTES }>(0) else { return rest() };
        account(world, &V6(header), arrival)
    } else {
        rest()
    }
}

/// The frame is for the whole pipeline: a rare one, to the compiler.
#[inline(always)]
fn rest<T>() -> Result<T, Rest> {
    cold_path();
    Err(Rest::Any)
}

/// The source of a common packet, read anew: few are suspects.
#[inline(always)]
pub fn source<F: Frame>(frame: &F) -> Option<(Address, Family)> {
    let header = frame.header::<{ V4::<()>::BYTES }>(0)?;
    if header.u16::<12>() == ethertype::IPV4 {
        return Some((V4(header).source(), Family::V4));
    }
    Some((V6(frame.header::<{ V6::<()>::BYTES }>(0)?).source(), Family::V6))
}

/// Drops and counts a common packet if its source is banned.
#[inline(always)]
pub fn drop_banned<W: World>(
    world: &mut W,
    (source, family): (Address, Family),
    arrival: &Arrival,
) -> Option<Decision> {
    let place = world.bans(source, family);
    let decision = Decision { reason: Reason::Banned, cell: Cell(Cell::NO_SLOT), new_flow: false };
    // What a super-packet stands for is in its headers.
    if place == ban::NOWHERE
        || world.segments(arrival) != 1
        || !world.keeps_back(&decision, || source)
    {
        return None;
    }
    world.count(&decision, 1, arrival.length.into());
    world.ban_hit(place);
    Some(decision)
}

/// Decides on a packet, and counts it, if it is a common one.
#[inline(always)]
fn account<W: World + Tables, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
) -> Result<(Verdict, Decision), Rest> {
    // Rules that ask for interface, VLAN or flags are rare, and a lot of code.
    if world.setting(Setting::ReplyContext) != 0 {
        return rest();
    }
    match packet.sound_service(arrival.length) {
        Some(service) => decide(world, packet, arrival, service),
        None => rest(),
    }
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
    let packets = u64::from(world.segments(arrival));
    let mut bytes = u64::from(arrival.length);
    if packets != 1 {
        // Each segment of a super-packet had the headers that it shows once.
        bytes += (packets - 1) * u64::from(packet.again().headers());
    }
    world.count(&decision, packets, bytes);
    decision
}

/// A packet that may be a common one: its fields, read where they are needed.
///
/// Registers are few in BPF, and what lies in the frame costs a load: to keep it
/// elsewhere would cost a store besides. [`again`](Self::again) forgets what was
/// read, where many branches meet that need other fields.
trait Common: Sized {
    const FAMILY: Family;
    /// Where the transport header starts.
    const TRANSPORT: u32;

    fn again(&self) -> Self;
    fn source(&self) -> Address;
    fn destination(&self) -> Address;
    fn protocol(&self) -> u8;
    /// Bytes from the frame's start to the end of the packet.
    fn end(&self) -> u32;
    fn source_port(&self) -> u16;
    fn destination_port(&self) -> u16;
    fn udp_length(&self) -> u16;
    fn tcp_offset(&self) -> u8;
    fn tcp_flags_byte(&self) -> u8;
    /// Whether it is of a protocol, and no fragment.
    fn is_whole(&self, protocol: u8) -> bool;
    /// Whether source and destination are unicast, not of this host alone, and two.
    fn has_common_addresses(&self) -> bool;

    /// What the packet asks for, if a frame of `length` bytes is what it says, and says nothing
    /// unusual.
    #[inline(always)]
    fn sound_service(&self, length: u32) -> Option<ServiceIndex> {
        let end = self.end();
        if !self.has_common_addresses() || rarely(end > length) {
            return None;
        }
        let (source_port, destination_port) = (self.source_port(), self.destination_port());
        if rarely(source_port == 0) || rarely(destination_port == 0) {
            return None;
        }
        if self.is_whole(proto::TCP) {
            let sound = !rarely(self.tcp_offset() < 5 << 4)
                && !rarely(!possible_flags(self.tcp_flags_byte()))
                && !rarely(self.tcp_headers() > end);
            sound.then_some(service(proto::TCP, destination_port))
        } else if self.is_whole(proto::UDP) {
            let datagram = u32::from(self.udp_length());
            let sound = !rarely(datagram < 8)
                && !rarely(Self::TRANSPORT + datagram > end)
                && !rarely(is_dhcp(source_port, destination_port));
            sound.then_some(service(proto::UDP, destination_port))
        } else {
            None
        }
    }

    /// [`headers`](Self::headers) of TCP.
    #[inline(always)]
    fn tcp_headers(&self) -> u32 {
        Self::TRANSPORT + (u32::from(self.tcp_offset() >> 4) << 2)
    }

    /// Bytes from the frame's start to the payload.
    #[inline(always)]
    fn headers(&self) -> u32 {
        if self.protocol() == proto::TCP { self.tcp_headers() } else { Self::TRANSPORT + 8 }
    }

    /// TCP flags; 0 for UDP.
    #[inline(always)]
    fn tcp_flags(&self) -> u8 {
        if self.protocol() == proto::TCP { self.tcp_flags_byte() } else { 0 }
    }

    /// Whether this opens a TCP connection: SYN without ACK.
    #[inline(always)]
    fn opens_tcp(&self) -> bool {
        self.tcp_flags() & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether it can answer an inbound packet; see
    /// [`could_answer`](crate::flow::could_answer).
    #[inline(always)]
    fn could_answer(&self) -> bool {
        self.protocol() == proto::UDP || self.tcp_flags_byte() & (tcp::ACK | tcp::RST) != 0
    }

    /// Whether it is more than a bare acknowledgement to who counts requests.
    #[inline(always)]
    fn says_something(&self) -> bool {
        self.headers() < self.end() || self.tcp_flags() & tcp::SYN != 0
    }
}

/// An IPv4 packet without options.
struct V4<H>(H);

/// An IPv6 packet without extension headers.
struct V6<H>(H);

impl<H> V4<H> {
    /// Bytes that are read: Ethernet, IPv4, TCP.
    const BYTES: usize = 14 + 20 + 20;
    /// `EtherType`, version, and four times five bytes of header.
    const BEGINS: u32 = (ethertype::IPV4 as u32) << 16 | 0x45 << 8;
    const BEGINS_MASK: u32 = 0xffff_ff00;
    /// Of fragment field, time to live and protocol: all that a fragment differs by, and the
    /// protocol. "Don't fragment" says nothing (RFC 791).
    const FRAGMENT_AND_PROTOCOL: u32 = 0xbfff_00ff;
}

impl<H> V6<H> {
    /// Bytes that are read: Ethernet, IPv6, TCP.
    const BYTES: usize = 14 + 40 + 20;
    /// `EtherType` and version.
    const BEGINS: u32 = (ethertype::IPV6 as u32) << 16 | 6 << 12;
    const BEGINS_MASK: u32 = 0xffff_f000;
}

/// Fields that differ by nothing but where the network header ends.
macro_rules! fields {
    ($transport:literal) => {
        #[inline(always)]
        fn again(&self) -> Self {
            Self(self.0.again())
        }

        #[inline(always)]
        fn source_port(&self) -> u16 {
            self.0.u16::<$transport>()
        }

        #[inline(always)]
        fn destination_port(&self) -> u16 {
            self.0.u16::<{ $transport + 2 }>()
        }

        #[inline(always)]
        fn udp_length(&self) -> u16 {
            self.0.u16::<{ $transport + 4 }>()
        }

        #[inline(always)]
        fn tcp_offset(&self) -> u8 {
            self.0.u8::<{ $transport + 12 }>()
        }

        #[inline(always)]
        fn tcp_flags_byte(&self) -> u8 {
            self.0.u8::<{ $transport + 13 }>()
        }
    };
}

impl<H: Header> Common for V4<H> {
    const FAMILY: Family = Family::V4;
    const TRANSPORT: u32 = 34;

    fields!(34);

    #[inline(always)]
    fn source(&self) -> Address {
        Address::from_v4(self.0.u32::<26>())
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        Address::from_v4(self.0.u32::<30>())
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.0.u8::<23>()
    }

    #[inline(always)]
    fn end(&self) -> u32 {
        u32::from(self.0.u16::<16>()) + 14
    }

    #[inline(always)]
    fn is_whole(&self, protocol: u8) -> bool {
        self.0.u32::<20>() & Self::FRAGMENT_AND_PROTOCOL == protocol.into()
    }

    #[inline(always)]
    fn has_common_addresses(&self) -> bool {
        !rarely(self.0.u32::<26>() == self.0.u32::<30>())
            && is_common(self.0.wide::<26>())
            && is_common(self.0.wide::<30>())
    }
}

impl<H: Header> Common for V6<H> {
    const FAMILY: Family = Family::V6;
    const TRANSPORT: u32 = 54;

    fields!(54);

    #[inline(always)]
    fn source(&self) -> Address {
        Address { hi: self.0.u64::<22>(), lo: self.0.u64::<30>() }
    }

    #[inline(always)]
    fn destination(&self) -> Address {
        Address { hi: self.0.u64::<38>(), lo: self.0.u64::<46>() }
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.0.u8::<20>()
    }

    #[inline(always)]
    fn end(&self) -> u32 {
        u32::from(self.0.u16::<18>()) + 54
    }

    #[inline(always)]
    fn is_whole(&self, protocol: u8) -> bool {
        self.protocol() == protocol
    }

    #[inline(always)]
    fn has_common_addresses(&self) -> bool {
        (self.0.u64::<22>() != self.0.u64::<38>() || self.0.u64::<30>() != self.0.u64::<46>())
            && is_common_v6(self.0.u64::<22>())
            && is_common_v6(self.0.u64::<38>())
    }
}

/// A condition that hardly any packet meets: the compiler moves what follows out of the way.
#[inline(always)]
const fn rarely(condition: bool) -> bool {
    if condition {
        cold_path();
    }
    condition
}

/// First byte of an address that is unicast, and neither of 0/8 nor of 127/8.
#[inline(always)]
fn is_common(first: u32) -> bool {
    !rarely(first == 127) && !rarely(first.wrapping_sub(1) >= 0xdf)
}

/// Upper half of an address that is neither multicast nor of `::/64`.
#[inline(always)]
const fn is_common_v6(hi: u64) -> bool {
    hi != 0 && hi >> 56 != 0xff
}

/// What the baseline may admit.
#[inline(always)]
const fn is_dhcp(source_port: u16, destination_port: u16) -> bool {
    matches!((source_port, destination_port), (67, 68) | (68, 67) | (546, 547) | (547, 546))
}

/// Decides on a sound packet, if the policy is enough for it.
#[inline(always)]
fn decide<W: World + Tables, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
    service: ServiceIndex,
) -> Result<(Verdict, Decision), Rest> {
    let direction = arrival.direction;
    let cell = match policy::on_port(world, direction, service) {
        Ok(cell) => cell,
        Err(class) => policy::behind_port(world, &asked(&packet.again(), direction), class),
    };
    let packet = &packet.again();
    // What passes with an event, or is counted by more than its headers.
    if rarely(cell.has(Cell::BROKEN | Cell::SAMPLE | Cell::COUNT))
        && (cell.has(Cell::BROKEN | Cell::SAMPLE) || packet.again().says_something())
    {
        return rest();
    }
    match direction {
        Direction::Ingress => ingress(world, packet, arrival, cell),
        Direction::Egress => egress(world, packet, arrival, cell),
    }
}

#[inline(always)]
fn ingress<W: World + Tables, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
    cell: Cell,
) -> Result<(Verdict, Decision), Rest> {
    if rarely(world.any_bans(P::FAMILY)) && !cell.has(Cell::FAILSAFE) {
        let source = packet.again().source();
        if ban::may_be_banned(world, source, P::FAMILY) {
            return Err(Rest::Suspect);
        }
    }
    if let Some(reason) = admitted_by(cell) {
        let decision = Decision { reason, cell, new_flow: packet.opens_tcp() };
        return Ok((Verdict::Pass, counted(world, packet, arrival, decision)));
    }
    // Anything but a bare SYN may belong to a flow that this host opened, or, if it
    // is TCP, to one that is forgotten.
    if !packet.opens_tcp() {
        if is_known(world, packet, Direction::Ingress) {
            return Ok((Verdict::Pass, counted(world, packet, arrival, ESTABLISHED)));
        }
        let packet = packet.again();
        if packet.protocol() == proto::TCP && world.admits(&opened(&packet)) {
            return rest();
        }
    }
    // An opening may admit what no rule names.
    if cell.has(Cell::DEFAULT) && rarely(world.openings().is_some()) {
        return rest();
    }
    dropped(world, packet, arrival, cell)
}

/// Packets of flows that this host has opened, its answers to what its ingress policy admits,
/// and what neither a rule nor one of these lets out. What opens a flow takes the whole walk.
#[inline(always)]
fn egress<W: World + Tables, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
    cell: Cell,
) -> Result<(Verdict, Decision), Rest> {
    if !packet.opens_tcp() && goes_on(world, packet)? {
        return Ok((Verdict::Pass, counted(world, packet, arrival, passes(cell))));
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
    let inbound = policy::decide_on_port(world, &answered(packet));
    // An opening may admit what it answers.
    if inbound.drops_by_default() && rarely(world.openings().is_some()) {
        return rest();
    }
    Ok(inbound.admits())
}

/// Drops what no rule admits, or one denies, and nothing else lets pass, unless an event is to
/// tell of it.
#[inline(always)]
fn dropped<W: World, P: Common>(
    world: &mut W,
    packet: &P,
    arrival: &Arrival,
    cell: Cell,
) -> Result<(Verdict, Decision), Rest> {
    let reason = if cell.has(Cell::DEFAULT) { Reason::DefaultDrop } else { Reason::Deny };
    let decision = Decision { reason, cell, new_flow: false };
    if cell.has(Cell::QUIET) || world.keeps_back(&decision, || packet.again().source()) {
        Ok((Verdict::Drop, counted(world, packet, arrival, decision)))
    } else {
        rest()
    }
}

/// What becomes of a packet of a flow, or of an answer: a rule admits it, or nobody asked one.
#[inline(always)]
fn passes(cell: Cell) -> Decision {
    match admitted_by(cell) {
        Some(reason) => Decision { reason, cell, new_flow: false },
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

/// The reason for which a cell lets a packet pass, if it does.
#[inline(always)]
const fn admitted_by(cell: Cell) -> Option<Reason> {
    if !cell.has(Cell::ALLOW) {
        None
    } else if !cell.has(Cell::FAILSAFE | Cell::DEFAULT) {
        Some(Reason::Rule)
    } else if cell.has(Cell::FAILSAFE) {
        Some(Reason::Failsafe)
    } else {
        Some(Reason::DefaultAllow)
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

#[inline(always)]
const fn service(protocol: u8, port: u16) -> ServiceIndex {
    ServiceIndex(if protocol == proto::TCP { port as u32 } else { ServiceIndex::UDP + port as u32 })
}
