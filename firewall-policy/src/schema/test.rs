//! `tests:`: what the owner of a role says about it.

use std::net::IpAddr;

use super::keys;
use super::reader::{Fields, Reader};
use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::features::Feature;
use crate::ir::{self, Action, Direction, Probe};
use crate::read::{Node, Value};
use crate::source::{Span, Spanned};
use crate::value::{Fault, address, icmp, ip_proto, port};

/// A test as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    pub(crate) name: Spanned<String>,
    pub(crate) direction: Direction,
    pub(crate) packet: Packet,
    /// `None` where the verdict is one that cannot be enforced yet.
    pub(crate) expect: Option<Spanned<Action>>,
    pub(crate) by: Option<Spanned<String>>,
    pub(crate) span: Span,
}

impl Test {
    /// The test as the policy has it; `None` if it expects what cannot be
    /// enforced yet.
    pub(crate) fn resolved(&self, role: &str, by: Option<String>) -> Option<ir::Test> {
        let expect = self.expect.as_ref()?;
        Some(ir::Test {
            name: self.name.value.clone(),
            role: role.to_owned(),
            direction: self.direction,
            from: self.packet.from,
            to: self.packet.to,
            probe: self.packet.probe,
            established: self.packet.established,
            vlan: self.packet.vlan,
            fragment: self.packet.fragment,
            expect: expect.value,
            by,
            span: self.span.clone(),
            expect_span: expect.span.clone(),
            by_span: self.by.as_ref().map(|by| by.span.clone()),
        })
    }
}

/// The packet of a test.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) probe: Probe,
    pub(crate) established: bool,
    pub(crate) vlan: Option<u16>,
    pub(crate) fragment: bool,
}

/// Source port where a test names only the destination's: the first of the
/// ephemeral range of RFC 6335.
const EPHEMERAL: u16 = 49_152;

const PROTOCOLS: [&str; 5] = ["tcp", "udp", "icmp", "icmpv6", "ip-proto"];

#[derive(Clone, Copy)]
enum Expect {
    Verdict(Action),
    Limit,
    Audit,
}

const EXPECT: [(&str, Expect); 4] = [
    ("allow", Expect::Verdict(Action::Allow)),
    ("drop", Expect::Verdict(Action::Drop)),
    ("limit", Expect::Limit),
    ("audit", Expect::Audit),
];

impl Reader<'_> {
    /// `tests:`, a list.
    pub(crate) fn tests(&mut self, node: &Node<'_>) -> Vec<Test> {
        let items = self.list(node, "a list of tests, each beginning with `- { name:`");
        items.iter().filter_map(|item| self.test(item)).collect()
    }

    fn test(&mut self, node: &Node<'_>) -> Option<Test> {
        let fields = self.fields(node, &keys::TEST)?;
        let name = self.required(&fields, "name").and_then(|node| self.text(node));
        let (direction, packet) = match (fields.get("in"), fields.get("out")) {
            (Some(node), None) => (Direction::Ingress, self.packet(node)),
            (None, Some(node)) => (Direction::Egress, self.packet(node)),
            (written, _) => {
                let message = match written {
                    Some(_) => "a test has one packet: `in:` or `out:`",
                    None => "a test needs `in:` or `out:`",
                };
                self.sink.push(
                    Diagnostic::new(Code::MissingKey, message)
                        .at(&node.span, "one packet, which arrives or is sent"),
                );
                (Direction::Ingress, None)
            }
        };
        let expect = self.required(&fields, "expect").and_then(|node| self.expect(node));
        let by = fields.get("by").and_then(|node| self.rule_name(node));
        let (name, packet, expect) = (name?, packet?, expect?);
        Some(Test { name, direction, packet, expect: expect.value, by, span: node.span.clone() })
    }

    fn expect(&mut self, node: &Node<'_>) -> Option<Spanned<Option<Spanned<Action>>>> {
        let Spanned { value, span } = self.choice(node, &EXPECT)?;
        let value = match value {
            Expect::Verdict(value) => Some(Spanned { value, span: span.clone() }),
            Expect::Limit => {
                self.feature(Feature::Limit, &span);
                None
            }
            Expect::Audit => {
                self.feature(Feature::Audit, &span);
                None
            }
        };
        Some(Spanned { value, span })
    }

    fn packet(&mut self, node: &Node<'_>) -> Option<Packet> {
        let fields = self.fields(node, &keys::PACKET)?;
        let from = self.required(&fields, "from").and_then(|node| self.host(node));
        let to = self.required(&fields, "to").and_then(|node| self.host(node));
        let probe = self.probe(&fields);
        let states = [("new", false), ("established", true)];
        let state = fields.get("state").and_then(|node| self.choice(node, &states));
        let fragment = fields.get("fragment").and_then(|node| self.flag(node)).unwrap_or(false);
        let vlan = fields.get("vlan").and_then(|node| self.vlan(node));
        let (from, to, probe) = (from?, to?, probe?);
        self.one_family(&fields, &from, &to, probe)?;
        Some(Packet {
            from: from.value,
            to: to.value,
            probe,
            established: state.is_some_and(|state| state.value),
            vlan,
            fragment,
        })
    }

    fn host(&mut self, node: &Node<'_>) -> Option<Spanned<IpAddr>> {
        let parse = |text: &str| {
            if address::is_meant(text) && !address::is_host_name(text) && !text.contains('/') {
                return address::one(text);
            }
            Err(Fault::new(Code::Address, text, format!("`{text}` is not an address"))
                .label("the packet of a test has one address, not a group or a network"))
        };
        self.value(node, "an address", parse)
    }

    fn probe(&mut self, fields: &Fields<'_>) -> Option<Probe> {
        let written: Vec<&str> =
            PROTOCOLS.into_iter().filter(|key| fields.get(key).is_some()).collect();
        let [key] = written[..] else {
            let message = format!("a packet has one of {}", PROTOCOLS.join(", "));
            let label = match written.len() {
                0 => "the protocol is missing",
                _ => "several are written",
            };
            self.sink.push(
                Diagnostic::new(Code::MissingKey, message).at(fields.span, label).help("tcp: 443"),
            );
            return None;
        };
        let node = fields.get(key)?;
        match key {
            "tcp" => self.ports(node).map(|(sport, dport)| Probe::Tcp(sport, dport)),
            "udp" => self.ports(node).map(|(sport, dport)| Probe::Udp(sport, dport)),
            "ip-proto" => {
                Some(Probe::Proto(self.value(node, "a protocol number", ip_proto::parse)?.value))
            }
            "icmp" => {
                let parse = |text: &str| icmp::parse(text, icmp::V4, icmp::V6);
                Some(Probe::Icmp(self.value(node, "a type", parse)?.value))
            }
            _ => {
                let parse = |text: &str| icmp::parse(text, icmp::V6, icmp::V4);
                Some(Probe::Icmpv6(self.value(node, "a type", parse)?.value))
            }
        }
    }

    /// Source and destination port.
    fn ports(&mut self, node: &Node<'_>) -> Option<(u16, u16)> {
        if let Value::Map(_) = node.value {
            let fields = self.fields(node, &keys::PORTS)?;
            let mut one = |key| {
                let node = self.required(&fields, key)?;
                self.value(node, "a port", port::one)
            };
            let (sport, dport) = (one("sport"), one("dport"));
            return Some((sport?.value, dport?.value));
        }
        Some((EPHEMERAL, self.value(node, "a port", port::one)?.value))
    }

    /// No packet has addresses of both families.
    fn one_family(
        &mut self,
        fields: &Fields<'_>,
        from: &Spanned<IpAddr>,
        to: &Spanned<IpAddr>,
        probe: Probe,
    ) -> Option<()> {
        let family = |address: IpAddr| if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let impossible = |message: &str| Diagnostic::new(Code::ImpossibleTest, message);
        if from.value.is_ipv4() != to.value.is_ipv4() {
            self.sink.push(
                impossible("no packet has addresses of both families")
                    .at(&to.span, family(to.value))
                    .at(&from.span, family(from.value)),
            );
            return None;
        }
        let (key, wanted) = match probe {
            Probe::Icmp(_) => ("icmp", "IPv4"),
            Probe::Icmpv6(_) => ("icmpv6", "IPv6"),
            _ => return Some(()),
        };
        if family(to.value) == wanted {
            return Some(());
        }
        self.sink.push(
            impossible(&format!("no {} packet carries {key}", family(to.value)))
                .at(fields.key_span(key)?, format!("the ICMP of {wanted}"))
                .at(&to.span, family(to.value)),
        );
        None
    }
}
