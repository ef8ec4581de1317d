//! Rules of five fields, their packets, and what they mean.

use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::ir::Rule as Written;
use firewall_policy::set::ServiceSet;

use crate::bench::synthetic;
use crate::bench::traffic::{Random, is_usable};
use crate::packet::{Frame, Icmp, Ipv4, Tcp, Udp, flags};

/// Address and length; bits behind the length are zero.
pub(super) type Prefix = (u32, u32);

/// A rule of five fields, less the source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) source: Prefix,
    pub(super) destination: Prefix,
    /// An IP protocol, or any.
    pub(super) protocol: Option<u8>,
    /// First and last destination port; [`ALL_PORTS`] where the protocol has none.
    pub(super) ports: (u16, u16),
    pub(super) deny: bool,
}

/// Every port.
pub(super) const ALL_PORTS: (u16, u16) = (0, u16::MAX);

/// The network that an address is in.
pub(super) fn mask((address, length): Prefix) -> Prefix {
    (address & !host_bits(length), length)
}

fn host_bits(length: u32) -> u32 {
    u32::MAX.checked_shr(length).unwrap_or(0)
}

fn contains((network, length): Prefix, address: u32) -> bool {
    mask((address, length)).0 == network
}

/// Whether packets of a protocol have ports.
pub(super) fn has_ports(protocol: u8) -> bool {
    matches!(protocol, proto::TCP | proto::UDP | proto::SCTP)
}

impl Rule {
    pub(super) fn matches(&self, header: &Header) -> bool {
        contains(self.source, header.source)
            && contains(self.destination, header.destination)
            && self.protocol.is_none_or(|protocol| protocol == header.protocol)
            && (self.ports.0..=self.ports.1).contains(&header.port)
    }

    /// This rule, but that it allows if it is about many pairs of addresses: one such that
    /// denies would leave the others nothing.
    pub(super) fn careful(self) -> Self {
        Self { deny: self.deny && self.source.1 + self.destination.1 >= 32, ..self }
    }

    /// As the compiler takes it, like `template` in all else.
    pub(super) fn written(&self, number: usize, template: &Written) -> Written {
        let range =
            |(first, length): Prefix| synthetic::v4(vec![(first, first | host_bits(length))]);
        Written {
            name: format!("r{number}"),
            remote: range(self.source),
            local: range(self.destination),
            services: self.services(),
            ..template.clone()
        }
    }

    fn services(&self) -> ServiceSet {
        let (first, last) = (u32::from(self.ports.0), u32::from(self.ports.1));
        let from = |base: u32| ServiceSet::range(base + first, base + last);
        match self.protocol {
            None => ServiceSet::full(),
            Some(proto::TCP) => from(0),
            Some(proto::UDP) => from(ServiceIndex::UDP),
            Some(proto::SCTP) => from(ServiceIndex::SCTP),
            Some(proto::ICMP) => ServiceSet::range(ServiceIndex::ICMP, ServiceIndex::ICMP + 0xff),
            // ICMPv6 too: over IPv4 it has no types (`Packet::service`).
            Some(other) => {
                let index = ServiceIndex::OTHER + u32::from(other);
                ServiceSet::range(index, index)
            }
        }
    }

    /// A packet of this rule that is judged by rules; `None` if there is next to none: those
    /// between equal or unusable addresses, and to port zero, are broken.
    pub(super) fn header(&self, random: &mut Random) -> Option<Header> {
        let draws = (0..DRAWS).map(|_| self.draw(random));
        draws.flatten().find(Header::is_sane)
    }

    fn draw(&self, random: &mut Random) -> Option<Header> {
        let inside = |(network, length): Prefix, random: &mut Random| {
            network | random.next() & host_bits(length)
        };
        let (first, last) = (self.ports.0.max(1), self.ports.1);
        let width = u32::from(last.checked_sub(first)?) + 1;
        Some(Header {
            source: inside(self.source, random),
            destination: inside(self.destination, random),
            protocol: self.protocol.unwrap_or(if random.below(2) == 0 {
                proto::TCP
            } else {
                proto::UDP
            }),
            port: random.port(first, width),
        })
    }
}

/// Packets of a rule that are drawn until one is sane.
const DRAWS: u32 = 64;

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) protocol: u8,
    pub(super) port: u16,
}

impl Header {
    /// Whether it comes to be judged by rules.
    pub(super) fn is_sane(&self) -> bool {
        is_usable(self.source) && is_usable(self.destination) && self.source != self.destination
    }

    pub(super) fn frame(&self) -> Vec<u8> {
        /// Asks for the time: none of the types that hosts must have.
        const TIMESTAMP_REQUEST: u8 = 13;
        let ip = Ipv4::between(self.source.into(), self.destination.into());
        let frame = Frame::ethernet();
        let frame = match self.protocol {
            proto::TCP => {
                frame.ipv4(ip).tcp(Tcp { flags: flags::SYN, ..Tcp::between(40_000, self.port) })
            }
            proto::UDP => frame.ipv4(ip).udp(Udp::between(40_000, self.port)),
            proto::ICMP => frame.ipv4(ip).icmp(Icmp::new(TIMESTAMP_REQUEST, 0)),
            proto::SCTP => {
                // Ports (RFC 9260, section 3.1); tag, checksum and chunks are nobody's here.
                let mut header = [0; 20];
                header[0..2].copy_from_slice(&40_000_u16.to_be_bytes());
                header[2..4].copy_from_slice(&self.port.to_be_bytes());
                frame.ipv4(Ipv4 { protocol: Some(proto::SCTP), ..ip }).payload(header)
            }
            other => frame.ipv4(Ipv4 { protocol: Some(other), ..ip }).payload([0; 20]),
        };
        frame.padded()
    }
}

/// What the language says of a header: the first deny that matches, else the first
/// allow, else the default.
pub(super) fn model(rules: &[Rule], header: &Header) -> (bool, Option<usize>) {
    let first = |deny| rules.iter().position(|rule| rule.deny == deny && rule.matches(header));
    match (first(true), first(false)) {
        (Some(rule), _) => (false, Some(rule)),
        (None, Some(rule)) => (true, Some(rule)),
        (None, None) => (false, None),
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::packet::{Network, Packet};
    use firewall_common::parse::parse;
    use firewall_common::policy::Context;

    use super::*;

    fn rule(protocol: Option<u8>, ports: (u16, u16)) -> Rule {
        Rule { source: (0, 0), destination: (0, 0), protocol, ports, deny: false }
    }

    /// What the product reads out of a frame is what the rule is compiled for.
    #[test]
    fn a_packet_asks_for_what_its_rule_says() {
        const GRE: u8 = 47;
        let mut random = Random::new(5);
        for protocol in
            [proto::TCP, proto::UDP, proto::SCTP, proto::ICMP, proto::ICMPV6, proto::IGMP, GRE]
        {
            let ports = if has_ports(protocol) { (700, 900) } else { ALL_PORTS };
            let rule = rule(Some(protocol), ports);
            for _ in 0..100 {
                let header = rule.header(&mut random).unwrap();
                assert!(rule.matches(&header), "{header:?}");
                let mut packet = Packet::EMPTY;
                let frame = header.frame();
                let network = parse(&frame.as_slice(), Context::UNTAGGED, &mut packet);
                assert_eq!(network, Ok(Network::Ip), "{header:?}");
                let ServiceIndex(asked) = packet.service();
                assert!(rule.services().contains(asked), "{header:?} asks for {asked}");
            }
        }
    }

    #[test]
    fn packets_that_are_broken_are_not_drawn() {
        let mut random = Random::new(8);
        let network = (0xc000_0200, 31);
        let near = Rule { source: network, destination: network, ..rule(None, ALL_PORTS) };
        for _ in 0..1_000 {
            let header = near.header(&mut random).unwrap();
            assert!(header.source != header.destination && near.matches(&header), "{header:?}");
        }
        let host = (0xc000_0201, 32);
        let none = [
            Rule { source: host, destination: host, ..near },
            Rule { source: (0x7f00_0000, 8), ..near },
            Rule { source: (0xe000_0000, 4), ..near },
            Rule { source: (0, 8), ..near },
            Rule { protocol: Some(proto::TCP), ports: (0, 0), ..near },
        ];
        for rule in none {
            assert!(rule.header(&mut random).is_none(), "{rule:?}");
        }
    }

    #[test]
    fn deny_beats_allow_wherever_it_stands() {
        let any = (0, 0);
        let rule = |deny| Rule {
            source: any,
            destination: any,
            protocol: Some(proto::TCP),
            ports: (80, 80),
            deny,
        };
        let header = Header { source: 1, destination: 2, protocol: proto::TCP, port: 80 };
        assert_eq!(model(&[rule(false), rule(true)], &header), (false, Some(1)));
        assert_eq!(model(&[rule(false), rule(false)], &header), (true, Some(0)));
        assert_eq!(model(&[rule(true)], &Header { port: 81, ..header }), (false, None));
    }
}
