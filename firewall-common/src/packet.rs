//! What the parser makes of a frame: plain values in host order.

use core::net::IpAddr;

use crate::service::{ServiceIndex, proto};

/// IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// An address of either family: 128 bits, left-aligned, host order, so that
/// prefixes, tries and keys need no second form. IPv4 fills the upper 32 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address {
    /// Upper half.
    pub hi: u64,
    /// Lower half.
    pub lo: u64,
}

impl Address {
    /// All bits zero: `0.0.0.0` and `::`.
    pub const UNSPECIFIED: Self = Self { hi: 0, lo: 0 };

    /// An address, and its family.
    #[must_use]
    pub fn of(address: IpAddr) -> (Self, Family) {
        match address {
            IpAddr::V4(address) => (Self::from_v4(address.into()), Family::V4),
            IpAddr::V6(address) => (Self::from_v6(address.into()), Family::V6),
        }
    }

    /// From an IPv4 address in host order.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4(address: u32) -> Self {
        Self { hi: (address as u64) << 32, lo: 0 }
    }

    /// From an IPv6 address in host order.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    pub const fn from_v6(address: u128) -> Self {
        Self { hi: (address >> 64) as u64, lo: address as u64 }
    }

    /// The IPv4 address, host order; meaningless for IPv6.
    #[inline(always)]
    #[must_use]
    pub const fn v4(self) -> u32 {
        (self.hi >> 32) as u32
    }

    /// The IPv6 address, host order.
    #[must_use]
    pub const fn v6(self) -> u128 {
        (self.hi as u128) << 64 | self.lo as u128
    }

    /// The byte at `depth` (0 = most significant); depths past 15 wrap.
    #[inline(always)]
    #[must_use]
    pub const fn byte(self, depth: u32) -> u32 {
        let half = if depth & 8 == 0 { self.hi } else { self.lo };
        byte_of(half, depth)
    }

    /// The first `length` bits, the rest zero.
    #[inline(always)]
    #[must_use]
    pub const fn masked(self, length: u32) -> Self {
        Self { hi: self.hi & mask(length), lo: self.lo & mask(length.saturating_sub(64)) }
    }

    /// Whether the first `length` (at most 64) bits equal those of `hi`.
    #[inline(always)]
    #[must_use]
    pub const fn starts_with(self, hi: u64, length: u32) -> bool {
        (self.hi ^ hi) & mask(length) == 0
    }
}

/// The byte of eight at `depth` (0 = most significant); depths past 7 wrap.
#[inline(always)]
#[must_use]
pub const fn byte_of(bytes: u64, depth: u32) -> u32 {
    (bytes >> ((!depth & 7) << 3) & 0xff) as u32
}

/// The `length` upper bits of 64 set.
#[inline(always)]
const fn mask(length: u32) -> u64 {
    if length == 0 {
        0
    } else if length >= 64 {
        u64::MAX
    } else {
        u64::MAX << ((64 - length) & 63)
    }
}

/// TCP flags byte, RFC 9293 section 3.1.
pub mod tcp {
    /// No more data.
    pub const FIN: u8 = 0x01;
    /// Synchronise.
    pub const SYN: u8 = 0x02;
    /// Reset.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
}

/// Where a packet stands in a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    /// Whole, or an IPv6 atomic fragment.
    Whole = 0,
    /// Offset 0, more to come: has the transport header.
    First = 1,
    /// Any other: has none.
    Later = 2,
}

/// A parsed IP packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// TCP sequence number.
    pub seq: u32,
    /// TCP acknowledgement number.
    pub ack: u32,
    /// Identification of the fragmented datagram.
    pub fragment_id: u32,
    /// Offset of the payload behind the transport header, from the frame's start.
    pub payload_offset: u32,
    /// Payload bytes by the IP header's length, never the frame's.
    pub payload_len: u32,
    /// Bytes of the frame by the IP header: link header and IP total length.
    pub length: u32,
    /// Source port; the identifier of an ICMP echo.
    pub source_port: u16,
    /// Destination port; the type of ICMP.
    pub destination_port: u16,
    /// Offset of the transport header.
    pub transport_offset: u16,
    /// 802.1Q id of the outer tag, or [`crate::policy::Context::UNTAGGED`].
    pub vlan: u16,
    /// EtherType of the network layer.
    pub ethertype: u16,
    /// IP version.
    pub family: Family,
    /// Transport protocol, behind any extension headers.
    pub protocol: u8,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Fragmentation.
    pub fragment: Fragment,
}

impl Packet {
    /// A packet not yet parsed.
    pub const EMPTY: Self = Self {
        source: Address::UNSPECIFIED,
        destination: Address::UNSPECIFIED,
        seq: 0,
        ack: 0,
        fragment_id: 0,
        payload_offset: 0,
        payload_len: 0,
        length: 0,
        source_port: 0,
        destination_port: 0,
        transport_offset: 0,
        vlan: 0,
        ethertype: 0,
        family: Family::V4,
        protocol: 0,
        tcp_flags: 0,
        icmp_code: 0,
        hop_limit: 0,
        fragment: Fragment::Whole,
    };

    /// What the packet asks for: its protocol and destination port or type. A
    /// later fragment has no port, and ICMP of the other IP version no type: they
    /// ask for their protocol only.
    #[inline(always)]
    #[must_use]
    pub const fn service(&self) -> ServiceIndex {
        let foreign_icmp = matches!(self.protocol, proto::ICMP | proto::ICMPV6) && !self.is_icmp();
        if matches!(self.fragment, Fragment::Later) || foreign_icmp {
            ServiceIndex(ServiceIndex::OTHER + self.protocol as u32)
        } else {
            ServiceIndex::of(self.protocol, self.destination_port)
        }
    }

    /// Whether this is ICMP of the packet's family.
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        match self.family {
            Family::V4 => self.protocol == proto::ICMP,
            Family::V6 => self.protocol == proto::ICMPV6,
        }
    }

    /// Whether this is an ICMP error, which speaks of another packet (RFC 792,
    /// RFC 4443).
    #[inline(always)]
    #[must_use]
    pub const fn is_icmp_error(&self) -> bool {
        self.is_icmp()
            && matches!(
                (self.family, self.destination_port),
                (Family::V4, 3 | 11 | 12) | (Family::V6, 1..=4)
            )
    }

    /// Whether this opens a TCP connection: SYN without ACK.
    #[inline(always)]
    #[must_use]
    pub const fn opens_tcp(&self) -> bool {
        self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }
}

/// What a frame is, once parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IP: the packet is filled in.
    Ip,
    /// Anything else, by the packet's EtherType (802.3 frames by their length,
    /// below 1536).
    Other,
}
