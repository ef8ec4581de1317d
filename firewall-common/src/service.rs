//! The service space: one number for every (protocol, port or type) pair.
//!
//! A policy and a packet speak of the same thing when they name the same
//! [`ServiceIndex`], so services are sets of plain integers: the compiler works
//! on ranges of them, and the datapath indexes one table with them.

/// Protocol numbers of the IANA registry that the datapath treats by name.
pub mod proto {
    /// ICMP for IPv4, RFC 792.
    pub const ICMP: u8 = 1;
    /// IGMP, RFC 3376.
    pub const IGMP: u8 = 2;
    /// TCP, RFC 9293.
    pub const TCP: u8 = 6;
    /// UDP, RFC 768.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6, RFC 4443.
    pub const ICMPV6: u8 = 58;
    /// SCTP, RFC 9260.
    pub const SCTP: u8 = 132;
}

/// A place in the service space.
///
/// | range | stands for |
/// | --- | --- |
/// | `0..65_536` | TCP destination port |
/// | `65_536..131_072` | UDP destination port |
/// | `131_072..131_328` | ICMP type |
/// | `131_328..131_584` | ICMPv6 type |
/// | `131_584..131_840` | any other IP protocol, by number |
/// | `131_840..197_376` | SCTP destination port |
///
/// SCTP comes last because few policies name it: the datapath's table is cut
/// off before it unless one does.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceIndex(pub u32);

impl ServiceIndex {
    /// First UDP port.
    pub const UDP: u32 = 0x1_0000;
    /// First ICMP type.
    pub const ICMP: u32 = 0x2_0000;
    /// First ICMPv6 type.
    pub const ICMPV6: u32 = 0x2_0100;
    /// First protocol number.
    pub const OTHER: u32 = 0x2_0200;
    /// First SCTP port.
    pub const SCTP: u32 = 0x2_0300;
    /// One past the last index of a policy that names no SCTP port.
    pub const END_WITHOUT_SCTP: u32 = Self::SCTP;
    /// One past the last index.
    pub const END: u32 = 0x3_0300;

    /// The index of a packet's protocol and its destination port or ICMP type.
    ///
    /// `value` is the port, the type, or ignored for a protocol without either.
    #[inline(always)]
    #[must_use]
    pub const fn of(protocol: u8, value: u16) -> Self {
        Self(match protocol {
            proto::TCP => value as u32,
            proto::UDP => Self::UDP + value as u32,
            proto::ICMP => Self::ICMP + (value & 0xff) as u32,
            proto::ICMPV6 => Self::ICMPV6 + (value & 0xff) as u32,
            proto::SCTP => Self::SCTP + value as u32,
            other => Self::OTHER + other as u32,
        })
    }

    /// Where its word is in a service table.
    #[inline(always)]
    #[must_use]
    pub const fn place(self) -> u32 {
        if self.0 < Self::ICMP { PortPlace::of(self).0 } else { self.0 }
    }
}

/// Where the word of a TCP or UDP port is in a service table: the port is the number that its
/// bytes are where they lie in a packet, so that the datapath need not turn them around.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortPlace(pub u32);

impl PortPlace {
    /// The place of a service that is a TCP or UDP port.
    #[expect(clippy::cast_possible_truncation, reason = "a port has 16 bits")]
    #[inline(always)]
    #[must_use]
    pub const fn of(port: ServiceIndex) -> Self {
        Self(port.0 & ServiceIndex::UDP | (port.0 as u16).to_be() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stands_where_its_bytes_say() {
        let place = ServiceIndex::of(proto::UDP, 0x0102).place();
        assert_eq!(place, ServiceIndex::UDP + u32::from(u16::from_ne_bytes([1, 2])));
        let sctp = ServiceIndex::of(proto::SCTP, 0x0102);
        assert_eq!(sctp.place(), sctp.0);
    }
}
