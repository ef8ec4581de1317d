//! The baseline: built-in rules that keep a host alive under default deny.
//!
//! Netfilter never sees ARP, sees raw-socket DHCP not at all, and reassembles
//! fragments first; XDP and TC do none of that, so what other firewalls get for
//! free stands here, on both hooks, each part with a guard and a counter of its
//! own. RFC 4890 section 4.4 is the list for ICMPv6.

use crate::abi::tables::{Cell, Setting, features};
use crate::flow::{ECHO_REPLY_V4, ECHO_REPLY_V6, ECHO_V4, ECHO_V6};
use crate::guard::{self, Guard};
use crate::packet::{Address, Family, Packet};
use crate::parse::ethertype;
use crate::pipeline::{World, known, open};
use crate::question::{Answers, Questions};
use crate::service::proto;
use crate::verdict::{Direction, Reason};

/// What a packet other than TCP is to the baseline; `None` leaves it to bans and
/// rules.
#[inline(always)]
pub(crate) fn admit<W: World>(
    world: &mut W,
    packet: &Packet,
    questions: &Questions,
    answers: Answers,
    direction: Direction,
) -> Option<Reason> {
    match packet.protocol {
        proto::UDP => dhcp(world, packet, direction),
        proto::ICMP | proto::ICMPV6 if packet.is_icmp() => {
            icmp(world, packet, questions, answers, direction)
        }
        proto::IGMP if is_igmp(packet) => Some(Reason::Igmp),
        _ => None,
    }
}

/// EtherTypes that keep links, bonds and clocks up.
#[inline(always)]
pub(crate) fn non_ip<W: World>(world: &W, ethertype: u16) -> Reason {
    let features = world.setting(Setting::Features);
    if features & features::BASELINE == 0 {
        return Reason::NonIpDrop;
    }
    match ethertype {
        ethertype::ARP => Reason::Arp,
        // 802.3 with LLC (STP, IS-IS), PPPoE, EAPOL, LACP, MACsec, LLDP, PTP.
        0..ethertype::FIRST | 0x8863 | 0x8864 | 0x888e | 0x8809 | 0x88e5 | 0x88cc | 0x88f7 => {
            Reason::NonIp
        }
        _ if features & features::NON_IP_ALL != 0 => Reason::NonIp,
        _ => Reason::NonIpDrop,
    }
}

/// DHCP as a client: RFC 2131 section 4.1, RFC 8415 section 7.2. DHCPv6 servers
/// answer from link-local addresses.
#[inline(always)]
fn dhcp<W: World>(world: &W, packet: &Packet, direction: Direction) -> Option<Reason> {
    let (client, server) = match packet.family {
        Family::V4 => (68, 67),
        Family::V6 => (546, 547),
    };
    let wanted = match direction {
        Direction::Ingress => (server, client),
        Direction::Egress => (client, server),
    };
    if (packet.source_port, packet.destination_port) != wanted
        || world.setting(Setting::Features) & features::DHCP == 0
    {
        return None;
    }
    let foreign = matches!((packet.family, direction), (Family::V6, Direction::Ingress))
        && !is_link_local(packet.source);
    if foreign { None } else { Some(Reason::Dhcp) }
}

#[inline(always)]
fn icmp<W: World>(
    world: &mut W,
    packet: &Packet,
    questions: &Questions,
    answers: Answers,
    direction: Direction,
) -> Option<Reason> {
    match (packet.family, packet.destination_port) {
        _ if packet.is_icmp_error() => {
            Some(icmp_error(world, packet, questions, answers, direction))
        }
        (Family::V4, ECHO_V4) | (Family::V6, ECHO_V6) => echo(world, packet, direction),
        (Family::V4, ECHO_REPLY_V4) | (Family::V6, ECHO_REPLY_V6) => {
            let answers = matches!(direction, Direction::Egress);
            // Where a rule says who may ping, it says who is answered.
            let pings = world.setting(Setting::PingPerSecond) != 0;
            (answers && pings).then_some(Reason::Ping)
        }
        (Family::V6, kind) => neighbors(packet, kind, direction),
        _ => None,
    }
}

/// Path MTU discovery and its kin: about a packet of a known flow, or of one
/// that the ingress policy admits, always; else within a rate.
#[inline(always)]
fn icmp_error<W: World>(
    world: &mut W,
    packet: &Packet,
    questions: &Questions,
    answers: Answers,
    direction: Direction,
) -> Reason {
    if let Some(inner) = questions.inner()
        && known(world, inner, answers)
    {
        return Reason::IcmpRelated;
    }
    let bucket = Address { hi: direction as u64, lo: 0 };
    if within(world, Guard::IcmpError, packet.family, bucket, guard::ICMP_ERRORS_PER_SECOND) {
        Reason::IcmpError
    } else {
        Reason::IcmpErrorRate
    }
}

/// Echo requests: ours open a flow for the reply, others' are rated per source.
#[inline(always)]
fn echo<W: World>(world: &mut W, packet: &Packet, direction: Direction) -> Option<Reason> {
    let per_second = world.setting(Setting::PingPerSecond);
    if per_second == 0 {
        return None;
    }
    match direction {
        Direction::Egress => {
            let no_rule = Answers::of_cell(Cell(Cell::NO_SLOT), Answers::NO_REQUESTS);
            match open(world, packet, no_rule) {
                Ok(_) => Some(Reason::Ping),
                Err(refused) => Some(refused),
            }
        }
        Direction::Ingress => {
            if within(world, Guard::Ping, packet.family, packet.source, per_second) {
                Some(Reason::Ping)
            } else {
                Some(Reason::PingRate)
            }
        }
    }
}

/// Neighbour, router and multicast listener discovery. Hop limit 255 proves that
/// no router has forwarded the packet (RFC 4861 section 3.1).
#[inline(never)]
fn neighbors(packet: &Packet, kind: u16, direction: Direction) -> Option<Reason> {
    let near = packet.hop_limit == 255;
    let unspecified = packet.source == Address::UNSPECIFIED;
    let local = is_link_local(packet.source);
    match kind {
        133 if near && matches!(direction, Direction::Egress) => Some(Reason::NeighborDiscovery),
        134 if near && local && matches!(direction, Direction::Ingress) => {
            Some(Reason::NeighborDiscovery)
        }
        135 | 136 | 141 | 142 | 148 | 149 if near => Some(Reason::NeighborDiscovery),
        130..=132 | 143 | 151..=153 if local || unspecified => Some(Reason::Mld),
        _ => None,
    }
}

/// Takes a token of a guard's bucket.
#[inline(always)]
pub(crate) fn within<W: World>(
    world: &mut W,
    guard: Guard,
    family: Family,
    source: Address,
    per_second: u32,
) -> bool {
    let slot = guard::slot(world.setting(Setting::Seed), guard, family, source);
    take(world, slot, per_second)
}

#[inline(always)]
fn take<W: World>(world: &mut W, slot: u32, per_second: u32) -> bool {
    let (jiffies, hz) = (world.jiffies(), world.setting(Setting::Hz));
    let Some(bucket) = world.guard(slot) else { return false };
    let (next, taken) = guard::take(*bucket, jiffies, hz, per_second);
    *bucket = next;
    taken
}

/// `fe80::/10`.
#[inline(always)]
const fn is_link_local(address: Address) -> bool {
    address.starts_with(0xfe80 << 48, 10)
}

/// To 224.0.0.0/24, which no router forwards, or to the group itself with a TTL
/// that none does: reports and queries of version 2 (RFC 2236 section 9).
#[inline(always)]
fn is_igmp(packet: &Packet) -> bool {
    let destination = packet.destination.v4();
    matches!(packet.family, Family::V4)
        && (destination >> 8 == 0x00e0_0000 || (destination >> 28 == 0xe && packet.hop_limit == 1))
}
