//! The layers, as plain values. `None` means "what is right here".

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{CLIENT_MAC, CLIENT4, CLIENT6, SERVER_MAC, SERVER4, SERVER6};

/// TCP flags.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets a connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// One layer of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet II.
    Ethernet(Ethernet),
    /// A VLAN tag.
    Vlan(Vlan),
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// IPv4.
    Ipv4(Ipv4),
    /// IPv6.
    Ipv6(Ipv6),
    /// An IPv6 extension header other than the fragment header.
    Extension(Extension),
    /// The IPv6 fragment header.
    Fragment(Fragment),
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP for IPv4.
    Icmp(Icmp),
    /// ICMP for IPv6.
    Icmpv6(Icmp),
    /// Bytes as they are.
    Raw(Vec<u8>),
}

/// Ethernet II header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// Destination.
    pub destination: [u8; 6],
    /// Source.
    pub source: [u8; 6],
    /// `EtherType`.
    pub ethertype: Option<u16>,
}

impl Default for Ethernet {
    fn default() -> Self {
        Self { destination: SERVER_MAC, source: CLIENT_MAC, ethertype: None }
    }
}

/// VLAN tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Tag protocol: 0x8100, or 0x88a8 for a service tag.
    pub protocol: u16,
    /// VLAN number, 12 bits.
    pub id: u16,
    /// Priority, 3 bits.
    pub priority: u8,
    /// `EtherType` of what follows.
    pub ethertype: Option<u16>,
}

impl Default for Vlan {
    fn default() -> Self {
        Self { protocol: 0x8100, id: 0, priority: 0, ethertype: None }
    }
}

/// ARP message for IPv4 over Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Sender's hardware address.
    pub sender_mac: [u8; 6],
    /// Sender's address.
    pub sender: Ipv4Addr,
    /// Target's hardware address, zero when asking.
    pub target_mac: [u8; 6],
    /// Target's address.
    pub target: Ipv4Addr,
}

impl Default for Arp {
    /// The client asks for the server.
    fn default() -> Self {
        Self {
            operation: 1,
            sender_mac: CLIENT_MAC,
            sender: CLIENT4,
            target_mac: [0; 6],
            target: SERVER4,
        }
    }
}

/// IPv4 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source.
    pub source: Ipv4Addr,
    /// Destination.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// "More fragments".
    pub more_fragments: bool,
    /// Where this fragment's payload belongs, in bytes, a multiple of 8.
    pub fragment_offset: u16,
    /// Options, padded with zeros to a multiple of 4; at most 40 bytes count.
    pub options: Vec<u8>,
    /// Version, in place of 4.
    pub version: u8,
    /// Header length in words of 4 bytes.
    pub header_words: Option<u8>,
    /// Total length.
    pub total_length: Option<u16>,
    /// Protocol.
    pub protocol: Option<u8>,
    /// Header checksum.
    pub checksum: Option<u16>,
}

impl Default for Ipv4 {
    fn default() -> Self {
        Self {
            source: CLIENT4,
            destination: SERVER4,
            ttl: 64,
            tos: 0,
            id: 1,
            dont_fragment: false,
            more_fragments: false,
            fragment_offset: 0,
            options: Vec::new(),
            version: 4,
            header_words: None,
            total_length: None,
            protocol: None,
            checksum: None,
        }
    }
}

impl Ipv4 {
    /// A header with these addresses.
    #[must_use]
    pub fn between(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self { source, destination, ..Self::default() }
    }
}

/// IPv6 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source.
    pub source: Ipv6Addr,
    /// Destination.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
    /// Version, in place of 6.
    pub version: u8,
    /// Payload length.
    pub payload_length: Option<u16>,
    /// Next header.
    pub next_header: Option<u8>,
}

impl Default for Ipv6 {
    fn default() -> Self {
        Self {
            source: CLIENT6,
            destination: SERVER6,
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            version: 6,
            payload_length: None,
            next_header: None,
        }
    }
}

impl Ipv6 {
    /// A header with these addresses.
    #[must_use]
    pub fn between(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { source, destination, ..Self::default() }
    }
}

/// IPv6 extension header: next header, length, body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// Its own number: 0 hop-by-hop, 43 routing, 51 authentication, 60
    /// destination options, 135 mobility, 139 HIP, 140 shim6.
    pub header: u8,
    /// What follows the length byte, padded with zeros to a multiple of 8 with the
    /// two bytes before it (of 4 for 51).
    pub body: Vec<u8>,
    /// The length byte.
    pub length: Option<u8>,
    /// Next header.
    pub next_header: Option<u8>,
}

impl Extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing.
    pub const ROUTING: u8 = 43;
    /// Authentication header: its length counts words of 4 bytes, less 2.
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION: u8 = 60;

    /// The smallest header of this number: 8 bytes, padding options inside (12
    /// for authentication).
    #[must_use]
    pub fn new(header: u8) -> Self {
        let body =
            if header == Self::AUTHENTICATION { vec![0; 10] } else { vec![1, 4, 0, 0, 0, 0] };
        Self { header, body, length: None, next_header: None }
    }
}

/// IPv6 fragment header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// Where this fragment's payload belongs, in bytes, a multiple of 8.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// Identification.
    pub id: u32,
    /// Next header.
    pub next_header: Option<u8>,
}

/// TCP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Flags, of [`flags`].
    pub flags: u8,
    /// Window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options, padded with zeros to a multiple of 4; at most 40 bytes count.
    pub options: Vec<u8>,
    /// Header length in words of 4 bytes.
    pub header_words: Option<u8>,
    /// Checksum.
    pub checksum: Option<u16>,
}

impl Default for Tcp {
    /// A SYN to port 80.
    fn default() -> Self {
        Self {
            source: 40_000,
            destination: 80,
            sequence: 1,
            acknowledgment: 0,
            flags: flags::SYN,
            window: 64_240,
            urgent: 0,
            options: Vec::new(),
            header_words: None,
            checksum: None,
        }
    }
}

impl Tcp {
    /// A SYN between these ports.
    #[must_use]
    pub fn between(source: u16, destination: u16) -> Self {
        Self { source, destination, ..Self::default() }
    }
}

/// UDP header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Length.
    pub length: Option<u16>,
    /// Checksum.
    pub checksum: Option<u16>,
}

impl Default for Udp {
    /// To port 53.
    fn default() -> Self {
        Self { source: 40_000, destination: 53, length: None, checksum: None }
    }
}

impl Udp {
    /// A datagram between these ports.
    #[must_use]
    pub fn between(source: u16, destination: u16) -> Self {
        Self { source, destination, ..Self::default() }
    }
}

/// ICMP or ICMPv6 message; what follows its first 8 bytes is the next layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Bytes 4 to 7: identifier and sequence of an echo, MTU of "too big".
    pub rest: [u8; 4],
    /// Checksum.
    pub checksum: Option<u16>,
}

impl Icmp {
    /// A message of this type and code.
    #[must_use]
    pub fn new(kind: u8, code: u8) -> Self {
        Self { kind, code, ..Self::default() }
    }
}
