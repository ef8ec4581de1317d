//! The common case: whole TCP segments and UDP datagrams right behind an Ethernet
//! and an IP header without options, which rules, or the reversed look-up, decide.
//!
//! Nothing is decided here that [`pipeline`](crate::pipeline) would decide
//! otherwise: whatever needs more than the policy is left to it, by `None`, before
//! anything was counted. What this saves is the scratch packet, the loops over tags
//! and extension headers, and code that the processor would have to jump around.
//! A test holds one against the other.

use crate::abi::tables::{Cell, Setting};
use crate::frame::{Frame, Header as _};
use crate::packet::{Address, Family, tcp};
use crate::parse::{ethertype, possible_flags};
use crate::pipeline::{Arrival, World, port_may_have_flow};
use crate::policy::{self, Tables, Tuple};
use crate::service::{ServiceIndex, proto};
use crate::verdict::{Decision, Direction, Reason, Verdict};

/// Judges and counts a frame if it is a common one.
#[inline(always)]
pub fn process<W: World + Tables, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
) -> Option<Decision> {
    match family(frame)? {
        Family::V4 => process_v4(world, frame, arrival),
        Family::V6 => process_v6(world, frame, arrival),
    }
}

/// What stands behind the Ethernet header of a frame that may be a common one.
#[inline(always)]
pub fn family<F: Frame>(frame: &F) -> Option<Family> {
    match frame.header::<{ NETWORK + 20 + 20 }>(0)?.u16::<12>() {
        ethertype::IPV4 => Some(Family::V4),
        ethertype::IPV6 => Some(Family::V6),
        _ => None,
    }
}

/// The IPv4 half of [`process`].
#[inline(always)]
pub fn process_v4<W: World + Tables, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
) -> Option<Decision> {
    account(world, &read_v4(frame, arrival.length)?, arrival)
}

/// The IPv6 half, which the kernel calls out of line.
#[inline(always)]
pub fn process_v6<W: World + Tables, F: Frame>(
    world: &mut W,
    frame: &F,
    arrival: &Arrival,
) -> Option<Decision> {
    account(world, &read_v6(frame, arrival.length)?, arrival)
}

/// Decides on a packet, and counts it.
#[inline(always)]
fn account<W: World + Tables>(
    world: &mut W,
    packet: &Common,
    arrival: &Arrival,
) -> Option<Decision> {
    // Rules that ask for interface, VLAN or flags are rare, and a lot of code.
    if world.setting(Setting::ReplyContext) != 0 {
        return None;
    }
    let decision = decide(world, packet, arrival.direction)?;
    if matches!(decision.reason.verdict(), Verdict::Drop)
        && !decision.cell.has(Cell::QUIET)
        && !world.keeps_back(packet.source, &decision)
    {
        return None;
    }
    let packets = u64::from(arrival.segments);
    // Each segment of a super-packet had the headers that it shows once.
    let bytes = u64::from(arrival.length) + (packets - 1) * u64::from(packet.headers);
    world.count(&decision, packets, bytes);
    Some(decision)
}

/// What the policy asks of a common packet.
struct Common {
    source: Address,
    destination: Address,
    family: Family,
    protocol: u8,
    source_port: u16,
    destination_port: u16,
    /// TCP flags; 0 for UDP.
    tcp_flags: u8,
    /// Bytes from the frame's start to the payload.
    headers: u32,
    /// Bytes from the frame's start to the end of the packet.
    end: u32,
}

impl Common {
    /// Whether this opens a TCP connection: SYN without ACK.
    #[inline(always)]
    const fn opens_tcp(&self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// Whether it can answer an inbound packet; see
    /// [`could_answer`](crate::flow::could_answer).
    #[inline(always)]
    const fn could_answer(&self) -> bool {
        self.protocol == proto::UDP || self.tcp_flags & (tcp::ACK | tcp::RST) != 0
    }

    /// Whether it is more than a bare acknowledgement to who counts requests.
    #[inline(always)]
    const fn says_something(&self) -> bool {
        self.headers < self.end || self.tcp_flags & tcp::SYN != 0
    }
}

/// Where the network header starts.
const NETWORK: usize = 14;

/// Reads a frame of `length` bytes; `None` if it is not a common one, or not sound.
#[inline(always)]
fn read_v4<F: Frame>(frame: &F, length: u32) -> Option<Common> {
    let header = frame.header::<20>(NETWORK)?;
    let (source, destination) = (header.u32::<12>(), header.u32::<16>());
    // Four times five bytes of header, and no fragment of anything.
    if header.u8::<0>() != 0x45
        || header.u16::<6>() & !DONT_FRAGMENT != 0
        || source == destination
        || !is_common(source)
        || !is_common(destination)
    {
        return None;
    }
    let ends = (Address::from_v4(source), Address::from_v4(destination));
    let end = u32::from(header.u16::<2>()) + 14;
    transport(frame, Family::V4, ends, header.u8::<9>(), end, length)
}

/// The same of IPv6 without extension headers.
#[inline(always)]
fn read_v6<F: Frame>(frame: &F, length: u32) -> Option<Common> {
    let header = frame.header::<60>(NETWORK)?;
    let source = Address { hi: header.u64::<8>(), lo: header.u64::<16>() };
    let destination = Address { hi: header.u64::<24>(), lo: header.u64::<32>() };
    if header.u8::<0>() >> 4 != 6
        || source == destination
        || !is_common_v6(source)
        || !is_common_v6(destination)
    {
        return None;
    }
    let end = u32::from(header.u16::<4>()) + 54;
    transport(frame, Family::V6, (source, destination), header.u8::<6>(), end, length)
}

/// IPv4 flags, RFC 791.
const DONT_FRAGMENT: u16 = 0x4000;

/// Unicast, and neither 0/8 nor 127/8.
#[inline(always)]
const fn is_common(address: u32) -> bool {
    let first = address >> 24;
    first.wrapping_sub(1) < 0xdf && first != 127
}

/// Neither multicast nor of `::/64`.
#[inline(always)]
const fn is_common_v6(address: Address) -> bool {
    address.hi != 0 && address.hi >> 56 != 0xff
}

/// Reads the transport header of a packet that ends at `end`.
#[inline(always)]
fn transport<F: Frame>(
    frame: &F,
    family: Family,
    (source, destination): (Address, Address),
    protocol: u8,
    end: u32,
    length: u32,
) -> Option<Common> {
    let (start, before): (usize, u32) = match family {
        Family::V4 => (NETWORK + 20, 34),
        Family::V6 => (NETWORK + 40, 54),
    };
    let header = frame.header::<20>(start)?;
    let (source_port, destination_port) = (header.u16::<0>(), header.u16::<2>());
    let (header_len, tcp_flags) = match protocol {
        proto::TCP => {
            let flags = header.u8::<13>();
            let header_len = u32::from(header.u8::<12>() >> 4) << 2;
            if header_len < 20 || !possible_flags(flags) {
                return None;
            }
            (header_len, flags)
        }
        proto::UDP => {
            let datagram = u32::from(header.u16::<4>());
            if datagram < 8 || before + datagram > end || is_dhcp(source_port, destination_port) {
                return None;
            }
            (8, 0)
        }
        _ => return None,
    };
    let headers = before + header_len;
    if headers > end || end > length || source_port == 0 || destination_port == 0 {
        return None;
    }
    Some(Common {
        source,
        destination,
        family,
        protocol,
        source_port,
        destination_port,
        tcp_flags,
        headers,
        end,
    })
}

/// What the baseline may admit.
#[inline(always)]
const fn is_dhcp(source_port: u16, destination_port: u16) -> bool {
    matches!((source_port, destination_port), (67, 68) | (68, 67) | (546, 547) | (547, 546))
}

/// Decides on a packet, if the policy is enough for it.
#[inline(always)]
fn decide<W: World + Tables>(
    world: &mut W,
    packet: &Common,
    direction: Direction,
) -> Option<Decision> {
    let cell = policy::decide_on_port(world, &asked(packet, direction));
    // What passes with an event, or is counted by more than its headers.
    if cell.has(Cell::BROKEN | Cell::SAMPLE | Cell::COUNT)
        && (cell.has(Cell::BROKEN | Cell::SAMPLE) || packet.says_something())
    {
        return None;
    }
    match direction {
        Direction::Ingress => ingress(world, packet, cell),
        Direction::Egress => egress(world, packet, cell),
    }
}

#[inline(always)]
fn ingress<W: World + Tables>(world: &mut W, packet: &Common, cell: Cell) -> Option<Decision> {
    let new_flow = packet.opens_tcp();
    if !cell.has(Cell::FAILSAFE) && world.bans(packet.source, packet.family) {
        return None;
    }
    if let Some(reason) = admitted_by(cell) {
        return Some(Decision { reason, cell, new_flow });
    }
    // Anything but a bare SYN may belong to a flow that this host opened, or, if it
    // is TCP, to one that is forgotten.
    if !new_flow
        && (port_may_have_flow(world, packet.protocol, packet.destination_port)
            || (packet.protocol == proto::TCP && world.admits(&opened(packet))))
    {
        return None;
    }
    let reason = if cell.has(Cell::DEFAULT) { Reason::DefaultDrop } else { Reason::Deny };
    Some(Decision { reason, cell, new_flow: false })
}

/// Answers of this host to what its ingress policy admits. What it opens itself
/// needs the table of flows.
#[inline(always)]
fn egress<W: World + Tables>(world: &mut W, packet: &Common, cell: Cell) -> Option<Decision> {
    if packet.opens_tcp() || !packet.could_answer() {
        return None;
    }
    let inbound = policy::decide_on_port(world, &answered(packet));
    if !inbound.has(Cell::ALLOW) || inbound.has(Cell::BROKEN) {
        return None;
    }
    Some(match admitted_by(cell) {
        Some(reason) => Decision { reason, cell, new_flow: false },
        None => {
            Decision { reason: Reason::Established, cell: Cell(Cell::NO_SLOT), new_flow: false }
        }
    })
}

/// The reason for which a cell lets a packet pass, if it does.
#[inline(always)]
const fn admitted_by(cell: Cell) -> Option<Reason> {
    if !cell.has(Cell::ALLOW) {
        None
    } else if cell.has(Cell::FAILSAFE) {
        Some(Reason::Failsafe)
    } else if cell.has(Cell::DEFAULT) {
        Some(Reason::DefaultAllow)
    } else {
        Some(Reason::Rule)
    }
}

/// What the policy is asked of a packet.
#[inline(always)]
const fn asked(packet: &Common, direction: Direction) -> Tuple {
    let (remote, local) = match direction {
        Direction::Ingress => (packet.source, packet.destination),
        Direction::Egress => (packet.destination, packet.source),
    };
    Tuple {
        direction,
        remote,
        local,
        family: packet.family,
        service: service(packet.protocol, packet.destination_port),
    }
}

/// The inbound packet that a packet of ours would answer.
#[inline(always)]
const fn answered(packet: &Common) -> Tuple {
    Tuple {
        direction: Direction::Ingress,
        remote: packet.destination,
        local: packet.source,
        family: packet.family,
        service: service(packet.protocol, packet.source_port),
    }
}

/// The packet of ours that an inbound packet would answer.
#[inline(always)]
const fn opened(packet: &Common) -> Tuple {
    Tuple {
        direction: Direction::Egress,
        remote: packet.source,
        local: packet.destination,
        family: packet.family,
        service: service(packet.protocol, packet.source_port),
    }
}

#[inline(always)]
const fn service(protocol: u8, port: u16) -> ServiceIndex {
    ServiceIndex(if protocol == proto::TCP { port as u32 } else { ServiceIndex::UDP + port as u32 })
}
