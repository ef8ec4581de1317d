//! The two ends of a packet, in both families: a case is written once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_common::abi::flow::FlowKey;
use firewall_common::packet::Address;
use firewall_tests::packet::{
    CLIENT_MAC, CLIENT4, CLIENT6, Ethernet, Fragment, Frame, Icmp, Ipv4, Ipv6, SERVER_MAC, SERVER4,
    SERVER6,
};

use crate::ledger::Case;

/// A client, and the server that the firewall protects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) client: IpAddr,
    pub(crate) server: IpAddr,
}

/// IPv4.
pub(crate) const V4: Ends = Ends { client: IpAddr::V4(CLIENT4), server: IpAddr::V4(SERVER4) };
/// IPv6.
pub(crate) const V6: Ends = Ends { client: IpAddr::V6(CLIENT6), server: IpAddr::V6(SERVER6) };

/// The cases of both families.
pub(crate) fn twins<T: IntoIterator<Item = Case>>(cases: impl Fn(Ends) -> T) -> Vec<Case> {
    let family = |ends: Ends, name: &str| {
        let named = |mut case: Case| {
            case.what = format!("{} ({name})", case.what);
            case
        };
        cases(ends).into_iter().map(named).collect::<Vec<_>>()
    };
    [family(V4, "IPv4"), family(V6, "IPv6")].concat()
}

impl Ends {
    /// Ends with another client: its IPv4 and its IPv6 address.
    pub(crate) fn from(self, v4: [u8; 4], v6: &str) -> Self {
        Self { client: self.pick(v4, v6), ..self }
    }

    /// Ends with another address of the server.
    pub(crate) fn to(self, v4: [u8; 4], v6: &str) -> Self {
        Self { server: self.pick(v4, v6), ..self }
    }

    fn pick(self, v4: [u8; 4], v6: &str) -> IpAddr {
        match self.client {
            IpAddr::V4(_) => Ipv4Addr::from(v4).into(),
            IpAddr::V6(_) => v6.parse().unwrap_or(Ipv6Addr::UNSPECIFIED).into(),
        }
    }

    /// A packet from the client.
    pub(crate) fn arrives(self) -> Frame {
        Frame::ethernet().ip(self.client, self.server)
    }

    /// A packet of the server.
    pub(crate) fn leaves(self) -> Frame {
        let header = Ethernet { source: SERVER_MAC, destination: CLIENT_MAC, ethertype: None };
        Frame::ethernet_with(header).ip(self.server, self.client)
    }

    /// A packet from the client that says it holds this protocol.
    pub(crate) fn arrives_as(self, protocol: u8) -> Frame {
        carrying(self.client, self.server, protocol)
    }

    /// A packet of the server that says it holds this protocol.
    pub(crate) fn leaves_as(self, protocol: u8) -> Frame {
        carrying(self.server, self.client, protocol)
    }

    /// A fragment from the client, of a datagram of this protocol and identification.
    pub(crate) fn piece(self, protocol: u8, id: u16, offset: u16, more: bool) -> Frame {
        match (self.client, self.server) {
            (IpAddr::V4(client), IpAddr::V4(server)) => Frame::ethernet().ipv4(Ipv4 {
                id,
                fragment_offset: offset,
                more_fragments: more,
                protocol: Some(protocol),
                ..Ipv4::between(client, server)
            }),
            (client, server) => Frame::ethernet().ip(client, server).fragment(Fragment {
                offset,
                more,
                id: id.into(),
                next_header: Some(protocol),
            }),
        }
    }

    /// The flow that the server opens to the client, by protocol and ports.
    pub(crate) fn flow(self, protocol: u8, local_port: u16, remote_port: u16) -> FlowKey {
        let aligned = |address| match address {
            IpAddr::V4(address) => Address::from_v4(address.into()),
            IpAddr::V6(address) => Address::from_v6(address.into()),
        };
        let (local, remote) = (aligned(self.server), aligned(self.client));
        FlowKey {
            local: [local.hi, local.lo],
            remote: [remote.hi, remote.lo],
            local_port,
            remote_port,
            protocol,
            family: if self.client.is_ipv4() { 4 } else { 6 },
            reserved: 0,
        }
    }

    /// ICMP's protocol number.
    pub(crate) fn icmp(self) -> u8 {
        if self.client.is_ipv4() { 1 } else { 58 }
    }

    /// Adds an echo request to a packet.
    pub(crate) fn echo(self, packet: Frame, id: u16) -> Frame {
        self.message(packet, (8, 128), id)
    }

    /// Adds an echo reply to a packet.
    pub(crate) fn reply(self, packet: Frame, id: u16) -> Frame {
        self.message(packet, (0, 129), id)
    }

    /// Adds an ICMP message of the family's own type.
    pub(crate) fn message(self, packet: Frame, (v4, v6): (u8, u8), id: u16) -> Frame {
        let [high, low] = id.to_be_bytes();
        let rest = [high, low, 0, 1];
        match self.client {
            IpAddr::V4(_) => packet.icmp(Icmp { rest, ..Icmp::new(v4, 0) }),
            IpAddr::V6(_) => packet.icmpv6(Icmp { rest, ..Icmp::new(v6, 0) }),
        }
    }
}

fn carrying(source: IpAddr, destination: IpAddr, protocol: u8) -> Frame {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Frame::ethernet()
            .ipv4(Ipv4 { protocol: Some(protocol), ..Ipv4::between(source, destination) }),
        (IpAddr::V6(source), IpAddr::V6(destination)) => Frame::ethernet()
            .ipv6(Ipv6 { next_header: Some(protocol), ..Ipv6::between(source, destination) }),
        (source, destination) => Frame::ethernet().ip(source, destination),
    }
}
