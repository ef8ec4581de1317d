//! Which packets are common ones, and their fields where they lie in the frame.

use core::hint::cold_path;

use crate::frame::Header;
use crate::packet::{Address, Family, Fragment, Packet, tcp};
use crate::parse::{ethertype, possible_flags};
use crate::passes::Key;
use crate::service::{PortPlace, ServiceIndex, proto};

/// A packet that may be a common one: its fields, read where they are needed.
///
/// Registers are few in BPF, and what lies in the frame costs a load: to keep it
/// elsewhere would cost a store besides. [`again`](Self::again) forgets what was
/// read, where many branches meet that need other fields.
pub(super) trait Common: Sized {
    const FAMILY: Family;
    /// Where the transport header starts.
    const TRANSPORT: u32;
    /// Both addresses.
    type Ends: IntoIterator<Item = u64> + Copy;

    fn again(&self) -> Self;
    /// The flow: fields as they lie there, so that none need be turned around.
    fn key(&self) -> Key<Self::Ends>;
    fn source(&self) -> Address;
    fn destination(&self) -> Address;
    fn protocol(&self) -> u8;
    /// Bytes from the frame's start to the end of the packet.
    fn end(&self) -> u32;
    fn source_port(&self) -> u16;
    fn destination_port(&self) -> u16;
    fn udp_length(&self) -> u16;
    fn seq(&self) -> u32;
    fn ack(&self) -> u32;
    fn tcp_offset(&self) -> u8;
    fn tcp_flags_byte(&self) -> u8;
    /// Whether it is of a protocol, and no fragment.
    fn is_whole(&self, protocol: u8) -> bool;
    /// Whether source and destination are unicast, not of this host alone, and two.
    fn has_common_addresses(&self) -> bool;

    /// The port that the packet asks for, if a frame of `length` bytes is what it says, and says
    /// nothing unusual.
    #[inline(always)]
    fn sound_port(&self, length: u32) -> Option<PortPlace> {
        let end = self.end();
        if !self.has_common_addresses() || rarely(end > length) {
            return None;
        }
        let (source_port, destination_port) = (self.source_port(), self.destination_port());
        if rarely(source_port == 0) || rarely(destination_port == 0) {
            return None;
        }
        let port = |protocol| PortPlace::of(service(protocol, destination_port));
        if self.is_whole(proto::TCP) {
            self.is_sound_tcp(end).then(|| port(proto::TCP))
        } else if self.is_whole(proto::UDP) {
            let sound = self.is_sound_udp(end) && !rarely(is_dhcp(source_port, destination_port));
            sound.then(|| port(proto::UDP))
        } else {
            None
        }
    }

    /// Whether it is sound, and could answer, where one of the same [`key`](Self::key) was sound.
    #[inline(always)]
    fn is_sound_answer(&self, length: u32) -> bool {
        let end = self.end();
        let sound = if self.protocol() == proto::TCP {
            self.is_sound_tcp(end) && !rarely(!self.could_answer_tcp())
        } else {
            self.is_sound_udp(end)
        };
        sound && !rarely(end > length)
    }

    /// Whether offset, flags and options of TCP are possible in a packet that ends there.
    #[inline(always)]
    fn is_sound_tcp(&self, end: u32) -> bool {
        let offset = u32::from(self.tcp_offset());
        // Both sides four times as long as they are, for the offset counts words of four bytes in
        // the upper half of its byte. Bits below it, which are reserved, make it look longer: such
        // a segment takes the whole walk.
        !rarely(offset < 5 << 4)
            && !rarely(!possible_flags(self.tcp_flags_byte()))
            && !rarely((Self::TRANSPORT - 1) * 4 + offset >= end * 4)
    }

    /// Whether the length of UDP is.
    #[inline(always)]
    fn is_sound_udp(&self, end: u32) -> bool {
        let datagram = u32::from(self.udp_length());
        !rarely(datagram < 8) && !rarely(Self::TRANSPORT + datagram > end)
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
        self.protocol() == proto::UDP || self.could_answer_tcp()
    }

    /// The same of a TCP segment.
    #[inline(always)]
    fn could_answer_tcp(&self) -> bool {
        self.tcp_flags_byte() & (tcp::ACK | tcp::RST) != 0
    }

    /// Writes down what counting of requests asks of a packet.
    #[inline(always)]
    fn describe(&self, packet: &mut Packet) {
        packet.source = self.source();
        packet.destination = self.destination();
        packet.family = Self::FAMILY;
        packet.source_port = self.source_port();
        packet.destination_port = self.destination_port();
        packet.protocol = self.protocol();
        packet.fragment = Fragment::Whole;
        packet.tcp_flags = self.tcp_flags();
        packet.payload_offset = self.headers();
        packet.payload_len = if self.protocol() == proto::TCP {
            packet.seq = self.seq();
            packet.ack = self.ack();
            self.end() - self.headers()
        } else {
            u32::from(self.udp_length()) - 8
        };
    }
}

/// An IPv4 packet without options.
pub(super) struct V4<H>(pub(super) H);

/// An IPv6 packet without extension headers.
pub(super) struct V6<H>(pub(super) H);

impl<H> V4<H> {
    /// Bytes that are read: Ethernet, IPv4, TCP.
    pub(super) const BYTES: usize = 14 + 20 + 20;
    /// `EtherType`, version, and four times five bytes of header.
    pub(super) const BEGINS: u32 = (ethertype::IPV4 as u32) << 16 | 0x45 << 8;
    pub(super) const BEGINS_MASK: u32 = 0xffff_ff00;
    /// Of fragment field, time to live and protocol: all that a fragment differs by, and the
    /// protocol. "Don't fragment" says nothing (RFC 791).
    const FRAGMENT_AND_PROTOCOL: u32 = 0xbfff_00ff;
}

impl<H> V6<H> {
    /// Bytes that are read: Ethernet, IPv6, TCP.
    pub(super) const BYTES: usize = 14 + 40 + 20;
    /// `EtherType` and version.
    pub(super) const BEGINS: u32 = (ethertype::IPV6 as u32) << 16 | 6 << 12;
    pub(super) const BEGINS_MASK: u32 = 0xffff_f000;
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
        fn seq(&self) -> u32 {
            self.0.u32::<{ $transport + 4 }>()
        }

        #[inline(always)]
        fn ack(&self) -> u32 {
            self.0.u32::<{ $transport + 8 }>()
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
    type Ends = [u64; 1];

    fields!(34);

    #[inline(always)]
    fn key(&self) -> Key<[u64; 1]> {
        let kind = self.0.u32::<20>().to_be() & Self::FRAGMENT_AND_PROTOCOL.to_be();
        let ports = self.0.u32::<34>().to_be();
        Key { ends: [self.0.u64::<26>().to_be()], rest: u64::from(kind) << 32 | u64::from(ports) }
    }

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
    type Ends = [u64; 4];

    fields!(54);

    #[inline(always)]
    fn key(&self) -> Key<[u64; 4]> {
        let ends = [self.0.u64::<22>(), self.0.u64::<30>(), self.0.u64::<38>(), self.0.u64::<46>()];
        // A bit where version 4 has the time to live, which is in no key.
        let kind = (u32::from(self.protocol()) | 1 << 8).to_be();
        let ports = self.0.u32::<54>().to_be();
        Key { ends: ends.map(u64::to_be), rest: u64::from(kind) << 32 | u64::from(ports) }
    }

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

/// A condition that hardly any packet meets: a weight for the compiler. Where code lies,
/// [`cold`](crate::cold::cold) says.
#[inline(always)]
pub(super) const fn rarely(condition: bool) -> bool {
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

/// Where the service table has a port of TCP or UDP.
#[inline(always)]
pub(super) const fn service(protocol: u8, port: u16) -> ServiceIndex {
    ServiceIndex(if protocol == proto::TCP { port as u32 } else { ServiceIndex::UDP + port as u32 })
}
