//! Frames, layer by layer.
//!
//! A frame is a list of layers from the outside in. Lengths, checksums and
//! "next protocol" fields are filled in when the bytes are made, from what
//! follows; each can be set by hand instead, to lie. Addresses are those set
//! aside for documentation.
//!
//! ```
//! use firewall_tests::packet::{Frame, Ipv4, Tcp, flags};
//!
//! let request = Frame::ethernet()
//!     .vlan(10)
//!     .ipv4(Ipv4::default())
//!     .tcp(Tcp { flags: flags::PSH | flags::ACK, ..Tcp::between(40_000, 80) })
//!     .payload(b"GET / HTTP/1.1\r\n\r\n");
//! assert_eq!(request.bytes().len(), 14 + 4 + 20 + 20 + 18);
//! ```

mod build;
mod layers;

pub use layers::{
    Arp, Ethernet, Extension, Fragment, Icmp, Ipv4, Ipv6, Layer, Tcp, Udp, Vlan, flags,
};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A client, TEST-NET-2.
pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
/// A server, TEST-NET-1.
pub const SERVER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// A client.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x20);
/// A server.
pub const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);
/// The client's hardware address.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 0x20];
/// The server's hardware address.
pub const SERVER_MAC: [u8; 6] = [0x02, 0, 0x5e, 0x10, 0, 0x10];

/// A frame, or a bare IP packet, under construction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    layers: Vec<Layer>,
}

impl Frame {
    /// An Ethernet frame from the client to the server.
    #[must_use]
    pub fn ethernet() -> Self {
        Self::ethernet_with(Ethernet::default())
    }

    /// An Ethernet frame with this header.
    #[must_use]
    pub fn ethernet_with(header: Ethernet) -> Self {
        Self::default().with(Layer::Ethernet(header))
    }

    /// A packet without a link layer: what an ICMP error quotes.
    #[must_use]
    pub fn bare() -> Self {
        Self::default()
    }

    /// Adds any layer.
    #[must_use]
    pub fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds an 802.1Q tag. Of two, the first is the outer one.
    #[must_use]
    pub fn vlan(self, id: u16) -> Self {
        self.with(Layer::Vlan(Vlan { id, ..Vlan::default() }))
    }

    /// Adds an ARP message.
    #[must_use]
    pub fn arp(self, message: Arp) -> Self {
        self.with(Layer::Arp(message))
    }

    /// Adds an IPv4 header.
    #[must_use]
    pub fn ipv4(self, header: Ipv4) -> Self {
        self.with(Layer::Ipv4(header))
    }

    /// Adds an IPv6 header.
    #[must_use]
    pub fn ipv6(self, header: Ipv6) -> Self {
        self.with(Layer::Ipv6(header))
    }

    /// Adds an IP header of the addresses' family; if they differ, IPv6 with the
    /// IPv4 one mapped.
    #[must_use]
    pub fn ip(self, source: IpAddr, destination: IpAddr) -> Self {
        if let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) {
            return self.ipv4(Ipv4::between(source, destination));
        }
        let wide = |address| match address {
            IpAddr::V4(address) => Ipv4Addr::to_ipv6_mapped(&address),
            IpAddr::V6(address) => address,
        };
        self.ipv6(Ipv6::between(wide(source), wide(destination)))
    }

    /// Adds an IPv6 extension header.
    #[must_use]
    pub fn extension(self, header: Extension) -> Self {
        self.with(Layer::Extension(header))
    }

    /// Adds an IPv6 fragment header.
    #[must_use]
    pub fn fragment(self, header: Fragment) -> Self {
        self.with(Layer::Fragment(header))
    }

    /// Adds a TCP header.
    #[must_use]
    pub fn tcp(self, header: Tcp) -> Self {
        self.with(Layer::Tcp(header))
    }

    /// Adds a UDP header.
    #[must_use]
    pub fn udp(self, header: Udp) -> Self {
        self.with(Layer::Udp(header))
    }

    /// Adds an ICMP message.
    #[must_use]
    pub fn icmp(self, message: Icmp) -> Self {
        self.with(Layer::Icmp(message))
    }

    /// Adds an ICMPv6 message.
    #[must_use]
    pub fn icmpv6(self, message: Icmp) -> Self {
        self.with(Layer::Icmpv6(message))
    }

    /// Adds bytes as they are.
    #[must_use]
    pub fn payload(self, bytes: impl AsRef<[u8]>) -> Self {
        self.with(Layer::Raw(bytes.as_ref().to_vec()))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        build::bytes(&self.layers)
    }

    /// The first `length` bytes.
    #[must_use]
    pub fn truncated(&self, length: usize) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.truncate(length);
        bytes
    }

    /// The frame padded with zeros to Ethernet's smallest size, 60 bytes.
    #[must_use]
    pub fn padded(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        bytes.resize(bytes.len().max(60), 0);
        bytes
    }

    /// The packet in IP fragments of at most `size` bytes of payload each, a
    /// multiple of 8, as a router or a sender would cut it. An IPv6 packet is cut
    /// after its last extension header. Without an IP header there is one piece.
    #[must_use]
    pub fn fragments(&self, size: usize) -> Vec<Frame> {
        build::fragments(&self.layers, size).into_iter().map(|layers| Frame { layers }).collect()
    }
}
