//! Flows this host opened: keys, idle times, and what counts as a reply.

use core::time::Duration;

use crate::abi::flow::{Class, Flow, FlowKey, Word};
use crate::abi::tables::Setting;
use crate::packet::{Packet, tcp};
use crate::parse::Embedded;
use crate::policy::Settings;
use crate::service::proto;
use crate::verdict::Direction;
use table::{Part, Seen, Slots};

pub mod table;

/// Idle time of a UDP flow that has been answered, and of any other protocol
/// but TCP, seconds; `nf_conntrack_udp_timeout_stream` is 120 s, RFC 4787 asks for
/// 120 s at least.
pub const STREAM_IDLE: u32 = 180;

/// Idle time of an ICMP echo, seconds; `nf_conntrack_icmp_timeout`.
pub const ICMP_IDLE: u32 = 30;

/// The time of flows, in ticks of 32 jiffies: a third of a second at most. Jiffies are a
/// load for a program, where clocks in nanoseconds are a call.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Now, ticks.
    pub now: u64,
    /// Jiffies in a second.
    pub hz: u32,
    /// Idle time of TCP, seconds.
    pub tcp: u32,
    /// Idle time of UDP before the first answer, seconds.
    pub udp: u32,
}

/// Jiffies in a tick, as a power of two.
pub const TICK_SHIFT: u32 = 5;

impl Clock {
    /// The clock of a generation.
    #[inline(always)]
    #[must_use]
    pub fn new<S: Settings>(settings: &S, jiffies: u64) -> Self {
        Self {
            now: jiffies >> TICK_SHIFT,
            hz: settings.setting(Setting::Hz),
            tcp: settings.setting(Setting::TcpIdleSeconds),
            udp: settings.setting(Setting::UdpIdleSeconds),
        }
    }

    /// So many seconds, in ticks.
    #[inline(always)]
    #[must_use]
    pub const fn ticks(&self, seconds: u64) -> u64 {
        (seconds * self.hz as u64) >> TICK_SHIFT
    }

    /// The tick so long ago.
    #[must_use]
    pub const fn before(&self, silent: Duration) -> u64 {
        let millis = silent.as_secs() * 1000 + silent.subsec_millis() as u64;
        self.now.saturating_sub((millis * self.hz as u64 / 1000) >> TICK_SHIFT)
    }

    /// How long ago a tick was.
    #[must_use]
    pub const fn silence(&self, then: u64) -> Duration {
        match ((self.since(then) * 1000) << TICK_SHIFT).checked_div(self.hz as u64) {
            Some(millis) => Duration::from_millis(millis),
            None => Duration::ZERO,
        }
    }

    /// Ticks since then; none if the clocks of two CPUs disagree.
    #[inline(always)]
    #[must_use]
    pub const fn since(&self, then: u64) -> u64 {
        self.now.saturating_sub(then)
    }

    /// Ticks for which nothing is noted of a busy flow: a second, less where one falls idle
    /// after that.
    #[inline(always)]
    #[must_use]
    pub const fn unnoted(&self) -> u64 {
        if self.tcp > 1 && self.udp > 1 { self.ticks(1) } else { self.ticks(1) / 4 }
    }

    /// The word of a flow after a packet of it; the same if there is nothing to note.
    #[inline(always)]
    #[must_use]
    pub const fn touched(&self, word: Word, answers: bool) -> Word {
        if answers && !word.replied() {
            word.seen_at(self.now, Flow::REPLIED)
        } else if self.since(word.seen()) > self.unnoted() {
            word.seen_at(self.now, 0)
        } else {
            word
        }
    }

    /// A word of `FLOW_PORTS` for a flow that is seen now; never 0.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "130 years of uptime fit")]
    pub const fn stamp(&self) -> u32 {
        (self.now >> STAMP_SHIFT) as u32 + 1
    }

    /// Whether a flow of a port that was last seen at `stamp` can still be in force. A
    /// step of stamps is a second at least.
    #[inline(always)]
    #[must_use]
    pub const fn may_be_alive(&self, stamp: u32, protocol: u8) -> bool {
        let limit = match protocol {
            proto::TCP => self.tcp,
            _ if self.udp > STREAM_IDLE => self.udp,
            _ => STREAM_IDLE,
        };
        stamp != 0 && self.stamp().saturating_sub(stamp) <= limit + 1
    }
}

/// Ticks in a step of the stamps of ports, as a power of two: a second at HZ=1000, ten
/// at HZ=100.
const STAMP_SHIFT: u32 = 10 - TICK_SHIFT;

/// The stamp of a flow that user space has written: the table is asked, until a packet
/// of the flow leaves another one.
pub const STAMP_UNKNOWN: u32 = u32::MAX;

/// Looks a packet's flow up, and notes the packet. `key` is a [`FlowKey`]'s words, `stamp`
/// its port's word of `FLOW_PORTS`, which then is to be noted too.
#[inline(always)]
pub fn see<S: Slots>(slots: &mut S, stamp: u32, key: [u64; 5], part: Part, clock: &Clock) -> Seen {
    let [_, _, _, _, rest] = key;
    let [_, _, _, _, protocol, ..] = rest.to_le_bytes();
    if clock.may_be_alive(stamp, protocol) { table::see(slots, key, part, clock) } else { Seen::No }
}

/// Where UDP begins in `FLOW_PORTS`.
pub const UDP_PORTS: u32 = 1 << 16;

/// Index into `FLOW_PORTS`; `None` for protocols without ports, and for SCTP, whose
/// flows are looked up always.
#[inline(always)]
#[must_use]
pub const fn port_index(protocol: u8, local_port: u16) -> Option<u32> {
    match protocol {
        proto::TCP => Some(local_port as u32),
        proto::UDP => Some(UDP_PORTS | local_port as u32),
        _ => None,
    }
}

/// What the idle time of a protocol's flows depends on.
#[inline(always)]
#[must_use]
pub const fn class(protocol: u8) -> Class {
    match protocol {
        proto::TCP => Class::Tcp,
        proto::UDP => Class::Udp,
        proto::ICMP | proto::ICMPV6 => Class::Icmp,
        _ => Class::Other,
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

/// Whether a packet that this host sends can open a flow: of ICMP an echo request alone.
/// No other message has an answer that a flow admits, and what answers one from outside must
/// write no entry.
#[inline(always)]
#[must_use]
pub const fn could_open(packet: &Packet) -> bool {
    match packet.protocol {
        proto::ICMP => packet.destination_port == ECHO_V4,
        proto::ICMPV6 => packet.destination_port == ECHO_V6,
        _ => true,
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
