//! Packets made to ask a question: for `firewall test` and `firewall explain`.

pub(crate) mod engine;
mod frame;
pub(crate) mod interface;
mod model;
pub(crate) mod pcap;
pub(crate) mod session;

use std::net::{IpAddr, SocketAddr};

use firewall_common::flow::{ECHO_REPLY_V4, ECHO_REPLY_V6, ECHO_V4, ECHO_V6};
use firewall_policy::icmp;
use firewall_policy::ir::{self, Direction, Test};

/// One packet, by what the policy can ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    /// Direction.
    pub direction: Direction,
    /// Source.
    pub from: IpAddr,
    /// Destination.
    pub to: IpAddr,
    /// Protocol and ports.
    pub transport: ir::Probe,
    /// A packet of a running connection, not an opening one.
    pub established: bool,
    /// 802.1Q tag.
    pub vlan: Option<u16>,
    /// A later fragment: no transport header.
    pub fragment: bool,
}

impl From<&Test> for Probe {
    fn from(test: &Test) -> Self {
        Self {
            direction: test.direction,
            from: test.from,
            to: test.to,
            transport: test.probe,
            established: test.established,
            vlan: test.vlan,
            fragment: test.fragment,
        }
    }
}

impl Probe {
    /// The packet with which this host would have opened the connection that
    /// this one is part of; `None` if this one opens.
    ///
    /// Whether it passes is the policy's business: a running connection is no
    /// free pass.
    pub(crate) fn opening(&self) -> Option<Self> {
        if !self.established {
            return None;
        }
        let (from, to) = match self.direction {
            Direction::Egress => (self.from, self.to),
            Direction::Ingress => (self.to, self.from),
        };
        let reverse = self.direction == Direction::Ingress;
        let transport = match self.transport {
            ir::Probe::Tcp(source, destination) if reverse => ir::Probe::Tcp(destination, source),
            ir::Probe::Udp(source, destination) if reverse => ir::Probe::Udp(destination, source),
            ir::Probe::Icmp(kind) if u16::from(kind) == ECHO_REPLY_V4 => {
                ir::Probe::Icmp(byte(ECHO_V4))
            }
            ir::Probe::Icmpv6(kind) if u16::from(kind) == ECHO_REPLY_V6 => {
                ir::Probe::Icmpv6(byte(ECHO_V6))
            }
            other => other,
        };
        let direction = Direction::Egress;
        Some(Self { direction, from, to, transport, established: false, fragment: false, ..*self })
    }

    /// The packet as a frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        frame::build(self)
    }

    /// `out 10.0.2.11:50000 → 10.0.4.10:3306 tcp`, for people.
    pub(crate) fn words(&self) -> String {
        let way = crate::report::snapshot::Way::from(self.direction).short();
        let Self { from, to, .. } = *self;
        let mut words = match self.transport {
            _ if self.fragment => format!("{from} → {to} {}, a later fragment", self.protocol()),
            ir::Probe::Tcp(source, destination) | ir::Probe::Udp(source, destination) => {
                let (from, to) = (SocketAddr::new(from, source), SocketAddr::new(to, destination));
                format!("{from} → {to} {}", self.protocol())
            }
            _ => format!("{from} → {to} {}", self.protocol()),
        };
        if self.established {
            words.push_str(", established");
        }
        if let Some(vlan) = self.vlan {
            words = format!("{words}, vlan {vlan}");
        }
        format!("{way} {words}")
    }

    fn protocol(&self) -> String {
        let named = |word: &str, is_v6, kind| match icmp::type_name(is_v6, kind) {
            Some(name) => format!("{word} {name}"),
            None => format!("{word} type {kind}"),
        };
        match self.transport {
            ir::Probe::Tcp(..) => "tcp".to_owned(),
            ir::Probe::Udp(..) => "udp".to_owned(),
            ir::Probe::Icmp(kind) => named("icmp", false, kind),
            ir::Probe::Icmpv6(kind) => named("icmpv6", true, kind),
            ir::Probe::Proto(number) => format!("ip-proto {number}"),
        }
    }
}

fn byte(kind: u16) -> u8 {
    kind.to_be_bytes()[1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_belongs_to_what_this_host_opened() {
        let reply = Probe {
            direction: Direction::Ingress,
            from: "10.0.3.12".parse().unwrap(),
            to: "10.0.2.11".parse().unwrap(),
            transport: ir::Probe::Tcp(8080, 50_000),
            established: true,
            vlan: None,
            fragment: false,
        };
        let opening = reply.opening().unwrap();
        assert_eq!(opening.words(), "out 10.0.2.11:50000 → 10.0.3.12:8080 tcp");
        assert_eq!(opening.opening(), None);
        let answer = Probe { direction: Direction::Egress, ..reply };
        assert_eq!(answer.opening().unwrap().transport, ir::Probe::Tcp(8080, 50_000));
        let echo = Probe { transport: ir::Probe::Icmp(0), ..reply };
        assert_eq!(echo.opening().unwrap().transport, ir::Probe::Icmp(8));
    }
}
