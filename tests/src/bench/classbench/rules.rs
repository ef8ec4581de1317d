//! Rules of five fields, their packets, and what they mean.

use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::ir::Rule as Written;
use firewall_policy::set::ServiceSet;

use crate::bench::synthetic;
use crate::bench::traffic::{Random, usable};
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
        self.is_between(header)
            && self.protocol.is_none_or(|protocol| protocol == header.protocol)
            && (self.ports.0..=self.ports.1).contains(&header.port)
    }

    /// Whether the addresses of a header are in this rule.
    pub(super) fn is_between(&self, header: &Header) -> bool {
        contains(self.source, header.source) && contains(self.destination, header.destination)
    }

    /// The same, but that it allows if it is about many pairs of addresses: one such that
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
            Some(other) => {
                let ServiceIndex(index) = ServiceIndex::of(other, 0);
                ServiceSet::range(index, index)
            }
        }
    }

    /// A packet of this rule, whose addresses a packet may have.
    pub(super) fn header(&self, random: &mut Random) -> Header {
        let inside = |(network, length): Prefix, random: &mut Random| {
            usable(network | random.next() & host_bits(length))
        };
        let width = u32::from(self.ports.1 - self.ports.0) + 1;
        Header {
            source: inside(self.source, random),
            destination: inside(self.destination, random),
            protocol: self.protocol.unwrap_or(if random.below(2) == 0 {
                proto::TCP
            } else {
                proto::UDP
            }),
            // No service has port zero, and a packet to it is broken.
            port: random.port(self.ports.0, width).max(1),
        }
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) protocol: u8,
    pub(super) port: u16,
}

impl Header {
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
    use super::*;

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
