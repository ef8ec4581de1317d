//! Packets made to ask a question: for `firewall test` and `firewall explain`.

pub(crate) mod engine;
mod frame;
mod model;
pub(crate) mod pcap;
pub(crate) mod session;

use std::net::IpAddr;

use firewall_common::flow::{ECHO_REPLY_V4, ECHO_REPLY_V6, ECHO_V4, ECHO_V6};
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

    /// `out 10.0.2.11 → 10.0.4.10 tcp 3306`, for people.
    pub(crate) fn words(&self) -> String {
        let way = crate::report::snapshot::Way::from(self.direction).short();
        let transport = match self.transport {
            ir::Probe::Tcp(_, port) => format!("tcp {port}"),
            ir::Probe::Udp(_, port) => format!("udp {port}"),
            ir::Probe::Icmp(kind) => format!("icmp {kind}"),
            ir::Probe::Icmpv6(kind) => format!("icmpv6 {kind}"),
            ir::Probe::Proto(number) => format!("ip-proto {number}"),
        };
        format!("{way} {} → {} {transport}", self.from, self.to)
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
        assert_eq!(opening.words(), "out 10.0.2.11 → 10.0.3.12 tcp 8080");
        assert_eq!(opening.opening(), None);
        let answer = Probe { direction: Direction::Egress, ..reply };
        assert_eq!(answer.opening().unwrap().transport, ir::Probe::Tcp(8080, 50_000));
        let echo = Probe { transport: ir::Probe::Icmp(0), ..reply };
        assert_eq!(echo.opening().unwrap().transport, ir::Probe::Icmp(8));
    }
}
