//! Flows this host opened: keys, idle times, and what counts as a reply.

use crate::abi::flow::{Flow, FlowKey};
use crate::packet::{Packet, tcp};
use crate::parse::Embedded;
use crate::service::proto;
use crate::time::Nanos;
use crate::verdict::Direction;

/// Resolution of [`Flow::seen_ns`]: a busy flow writes its entry once a second.
pub const REFRESH: Nanos = Nanos::from_secs(1);

/// Idle time of a UDP flow that has been answered, and of any other protocol
/// but TCP; `nf_conntrack_udp_timeout_stream` is 120 s, RFC 4787 asks for 120 s
/// at least.
pub const STREAM_IDLE: Nanos = Nanos::from_secs(180);

/// Idle time of an ICMP echo; `nf_conntrack_icmp_timeout`.
pub const ICMP_IDLE: Nanos = Nanos::from_secs(30);

/// Idle times that the policy chooses.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// TCP.
    pub tcp: Nanos,
    /// UDP before the first answer.
    pub udp: Nanos,
}

/// A word of `FLOW_PORTS` for a flow that is seen now; never 0.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "130 years of uptime fit")]
pub const fn stamp(ticks: u64) -> u32 {
    ticks as u32 + 1
}

/// The stamp of a flow that user space has written, which does not know ticks: the
/// table is asked, until a packet of the flow leaves another one.
pub const STAMP_UNKNOWN: u32 = u32::MAX;

/// Index into `FLOW_PORTS`; `None` for protocols without ports, and for SCTP, whose
/// flows are looked up always.
#[inline(always)]
#[must_use]
pub const fn port_index(protocol: u8, local_port: u16) -> Option<u32> {
    match protocol {
        proto::TCP => Some(local_port as u32),
        proto::UDP => Some(1 << 16 | local_port as u32),
        _ => None,
    }
}

/// Whether a flow of a port that was last seen at `stamp` can still be in force. A
/// tick is a second at least.
#[inline(always)]
#[must_use]
pub const fn may_be_alive(stamp: u32, protocol: u8, ticks: u64, idle: Idle) -> bool {
    let limit = match protocol {
        proto::TCP => idle.tcp,
        _ if idle.udp.0 > STREAM_IDLE.0 => idle.udp,
        _ => STREAM_IDLE,
    };
    stamp != 0 && self::stamp(ticks).saturating_sub(stamp) as u64 <= limit.as_secs() + 1
}

/// Whether a flow is still in force.
#[inline(always)]
#[must_use]
pub fn alive(flow: &Flow, protocol: u8, now: Nanos, idle: Idle) -> bool {
    let limit = match protocol {
        proto::TCP => idle.tcp,
        proto::ICMP | proto::ICMPV6 => ICMP_IDLE,
        proto::UDP if flow.flags & Flow::REPLIED == 0 => idle.udp,
        _ => STREAM_IDLE,
    };
    now.since(Nanos(flow.seen_ns)) <= limit
}

/// Notes a packet of the flow.
#[inline(always)]
pub fn touch(flow: &mut Flow, direction: Direction, now: Nanos) {
    if now.since(Nanos(flow.seen_ns)) > REFRESH {
        flow.seen_ns = now.0;
    }
    if matches!(direction, Direction::Ingress) && flow.flags & Flow::REPLIED == 0 {
        flow.flags |= Flow::REPLIED;
        flow.seen_ns = now.0;
    }
}

/// The flow that a packet would belong to.
#[inline(always)]
#[must_use]
pub const fn key(packet: &Packet, direction: Direction) -> FlowKey {
    let (local, remote) = match direction {
        Direction::Ingress => (packet.destination, packet.source),
        Direction::Egress => (packet.source, packet.destination),
    };
    let (local_port, remote_port) = match (packet.protocol, direction) {
        // Echo request and reply carry one identifier for both ends.
        (proto::ICMP | proto::ICMPV6, _) => (packet.source_port, 0),
        (proto::TCP | proto::UDP | proto::SCTP, Direction::Ingress) => {
            (packet.destination_port, packet.source_port)
        }
        (proto::TCP | proto::UDP | proto::SCTP, Direction::Egress) => {
            (packet.source_port, packet.destination_port)
        }
        _ => (0, 0),
    };
    FlowKey {
        local: [local.hi, local.lo],
        remote: [remote.hi, remote.lo],
        local_port,
        remote_port,
        protocol: packet.protocol,
        family: packet.family as u8,
        reserved: 0,
    }
}

/// The flow that the packet inside an ICMP error belonged to: on ingress we sent
/// it, on egress the other end did.
#[inline(always)]
#[must_use]
pub const fn embedded_key(inner: &Embedded, family: u8, direction: Direction) -> FlowKey {
    let (local, remote, local_port, remote_port) = match direction {
        Direction::Ingress => {
            (inner.source, inner.destination, inner.source_port, inner.destination_port)
        }
        Direction::Egress => {
            (inner.destination, inner.source, inner.destination_port, inner.source_port)
        }
    };
    let echo = matches!(inner.protocol, proto::ICMP | proto::ICMPV6);
    FlowKey {
        local: [local.hi, local.lo],
        remote: [remote.hi, remote.lo],
        local_port: if echo { inner.source_port } else { local_port },
        remote_port: if echo { 0 } else { remote_port },
        protocol: inner.protocol,
        family,
        reserved: 0,
    }
}

/// Whether a packet can belong to a flow that this host opened: a bare SYN
/// never does, nor does an ICMP message other than an echo reply.
#[inline(always)]
#[must_use]
pub const fn could_be_reply(packet: &Packet) -> bool {
    match packet.protocol {
        proto::TCP => !packet.opens_tcp(),
        proto::ICMP => packet.destination_port == ECHO_REPLY_V4,
        proto::ICMPV6 => packet.destination_port == ECHO_REPLY_V6,
        _ => true,
    }
}

/// Whether a packet can answer an inbound one: a TCP answer carries ACK, or is the
/// reset of a segment that did, which carries none (RFC 9293 section 3.10.7.1).
#[inline(always)]
#[must_use]
pub const fn could_answer(packet: &Packet) -> bool {
    match packet.protocol {
        proto::TCP => packet.tcp_flags & (tcp::ACK | tcp::RST) != 0,
        _ => could_be_reply(packet),
    }
}

/// ICMP echo, RFC 792.
pub const ECHO_V4: u16 = 8;
/// ICMP echo reply.
pub const ECHO_REPLY_V4: u16 = 0;
/// ICMPv6 echo, RFC 4443.
pub const ECHO_V6: u16 = 128;
/// ICMPv6 echo reply.
pub const ECHO_REPLY_V6: u16 = 129;
