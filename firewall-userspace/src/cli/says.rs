//! What the stages of a walk say, and a frame in a few words.

use std::net::{IpAddr, SocketAddr};

use firewall_common::packet::{Address, Family, Network, Packet};
use firewall_common::parse;
use firewall_common::policy::Context;
use firewall_common::service::proto;
use firewall_common::verdict::Reason;
use firewall_policy::icmp;
use firewall_policy::ir::{self, Action, Direction, Rule};
use firewall_policy::model::{Condition, Near, Stage};

use super::sets;
use crate::probe::Probe;
use crate::probe::engine::Outcome;

/// What the stage of known flows said.
pub(super) fn established(probe: &Probe, outcome: &Outcome) -> &'static str {
    let tcp = matches!(probe.transport, ir::Probe::Tcp(..));
    match (outcome.reason, probe.direction) {
        (Reason::Established, Direction::Ingress) => "a reply to a flow that this host may open",
        (Reason::Established, Direction::Egress) => "a reply to what the ingress policy admits",
        (Reason::TcpNoFlow, _) => {
            "the policy would let this host open such a flow, but none is known"
        }
        (Reason::Opening, _) => "no flow",
        _ if tcp && !probe.established => "no flow; not a reply (a SYN never is)",
        _ if outcome.action == Action::Allow => "not asked: nothing would drop the packet",
        (_, Direction::Ingress) if !probe.established => "no flow",
        (_, Direction::Ingress) => "no flow: the policy does not let this host open it",
        (_, Direction::Egress) => "no flow; the ingress policy does not admit what it would answer",
    }
}

/// What a list says: the rule that matches, else those that come near.
pub(super) fn says(
    stage: Option<&Stage<'_>>,
    nearest: Option<&Near<'_>>,
    rules: &[Box<Rule>],
    probe: &Probe,
    dropped: bool,
) -> Vec<String> {
    let Some(Stage { list, matched, near }) = stage else { return Vec::new() };
    if let Some((_, rule)) = matched {
        return vec![format!("{}: matches ({})", rule.name, rule.span.place())];
    }
    let mut lines: Vec<String> = Vec::new();
    let is_nearest = |one: &Near<'_>| {
        nearest.is_some_and(|nearest| nearest.list == one.list && nearest.place == one.place)
    };
    let far = nearest.filter(|one| dropped && one.list == *list && !near.iter().any(is_nearest));
    for one in far.into_iter().chain(near) {
        let missing: Vec<String> =
            one.misses.iter().map(|miss| miss_text(one.rule, *miss, probe)).collect();
        // Nobody asks how to forbid what has passed.
        let mark = if dropped && is_nearest(one) { "         ← nearest" } else { "" };
        lines.push(format!("{}: {}{mark}", one.rule.name, missing.join(", and ")));
    }
    let told = |name: &str| lines.iter().any(|line| line.split(':').next() == Some(name));
    let others: Vec<String> =
        rules.iter().map(|rule| rule.name.clone()).filter(|name| !told(name)).collect();
    match (lines.is_empty(), others.is_empty()) {
        (true, _) => lines.push("no match".to_owned()),
        (false, true) => {}
        (false, false) => lines.push(format!("{}: no match", sets::shortened(&others))),
    }
    lines
}

/// Why a condition of a rule is not met.
fn miss_text(rule: &Rule, miss: Condition, probe: &Probe) -> String {
    let (remote_word, remote, local_word, local) = match probe.direction {
        Direction::Ingress => ("from", probe.from, "to", probe.to),
        Direction::Egress => ("to", probe.to, "from", probe.from),
    };
    match miss {
        Condition::Service => {
            let spelled = sets::shortened(&sets::services(&rule.services));
            let what = match probe.transport {
                _ if probe.fragment => "a later fragment, which has no ports,".to_owned(),
                ir::Probe::Tcp(_, port) => format!("port {port}"),
                ir::Probe::Udp(_, port) => format!("port {port}/udp"),
                ir::Probe::Icmp(number) => icmp_type(false, number),
                ir::Probe::Icmpv6(number) => icmp_type(true, number),
                ir::Probe::Proto(number) => format!("protocol {number}"),
            };
            format!("{what} is not {} ({spelled})", rule.service_text)
        }
        Condition::Remote => format!("{remote_word} {remote} is not in {}", rule.remote_text),
        Condition::Local => {
            let spelled = sets::shortened(&sets::addresses(&rule.local));
            format!("{local_word} {local} is not in {spelled}")
        }
        Condition::Interface => format!("only on {}", rule.interfaces.join(", ")),
        Condition::Vlan => {
            let vlans: Vec<String> = rule.vlans.iter().map(u16::to_string).collect();
            format!("only in vlan {}", vlans.join(", "))
        }
        Condition::TcpFlags => "other TCP flags".to_owned(),
    }
}

/// A type of ICMP by name, or by number where it has none.
fn icmp_type(is_v6: bool, number: u8) -> String {
    icmp::type_name(is_v6, number).map_or_else(|| format!("type {number}"), str::to_owned)
}

/// What the sender of a dropped packet notices.
pub(super) fn effect(probe: &Probe, action: Action) -> Option<&'static str> {
    if action == Action::Allow {
        return None;
    }
    Some(match (probe.direction, probe.transport) {
        (Direction::Egress, ir::Probe::Tcp(..)) if probe.established => {
            "The application sees: the connection hangs."
        }
        (Direction::Egress, ir::Probe::Tcp(..)) => {
            "The application sees: connect hangs, then times out."
        }
        (Direction::Egress, ir::Probe::Udp(..)) => {
            "The application sees: send \"succeeds\", and nobody answers."
        }
        (Direction::Ingress, ir::Probe::Tcp(..)) => {
            "The other end sees: no answer, then a time-out."
        }
        _ => "The sender sees: no answer.",
    })
}

/// A frame in a few words.
pub(super) fn described(frame: &[u8]) -> String {
    let mut packet = Packet::EMPTY;
    let parsed = parse::parse(&frame, Context::UNTAGGED, &mut packet);
    match parsed {
        Err(_) => format!("{} bytes that are no packet", frame.len()),
        Ok(Network::Other) => format!("ethertype {:#06x}", packet.ethertype),
        Ok(Network::Ip) => {
            let address = |address: Address| match packet.family {
                Family::V4 => IpAddr::V4(address.v4().into()),
                Family::V6 => IpAddr::V6(address.v6().into()),
            };
            let (from, to) = (address(packet.source), address(packet.destination));
            let kind = |is_v6| match u8::try_from(packet.destination_port) {
                Ok(number) => icmp_type(is_v6, number),
                Err(_) => format!("type {}", packet.destination_port),
            };
            match packet.protocol {
                proto::TCP | proto::UDP => {
                    let word = if packet.protocol == proto::TCP { "tcp" } else { "udp" };
                    let from = SocketAddr::new(from, packet.source_port);
                    let to = SocketAddr::new(to, packet.destination_port);
                    format!("{from} → {to} {word}")
                }
                proto::ICMP => format!("{from} → {to} icmp {}", kind(false)),
                proto::ICMPV6 => format!("{from} → {to} icmpv6 {}", kind(true)),
                other => format!("{from} → {to} proto {other}"),
            }
        }
    }
}
