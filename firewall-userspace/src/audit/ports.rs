//! Ports that are listened on, beside ports that rules admit.

use firewall_common::service::proto;
use firewall_policy::compile::Ports;

use super::{Finding, Seen, is_port_of};
use crate::forwarded::Forwarded;
use crate::host::sockets::Waiting;
use crate::report::snapshot::{Action, Level, List, Policy, Rule};

/// DHCP clients: the baseline lets them in, no rule does.
const DHCP: [u16; 2] = [68, 546];
/// Ranges up to this size are looked through port by port.
const FEW: u16 = 64;

pub(super) fn findings(seen: &Seen) -> Vec<Finding> {
    let shut = shut(seen);
    let unadmitted = unadmitted(seen);
    shut.chain(unadmitted).chain(seen.admitting().filter_map(|rule| unused(seen, rule))).collect()
}

/// `80/tcp`.
pub(super) fn written(waiting: &Waiting) -> Ports {
    Ports::one(waiting.protocol, waiting.at.port())
}

/// Published ports of containers that no rule admits.
fn shut(seen: &Seen) -> impl Iterator<Item = Finding> {
    let forwarded = Forwarded::now(&seen.containers, &seen.snapshot);
    forwarded.shut.into_iter().map(|one| {
        let message = format!("published port {one} is shut: no rule admits it");
        Finding::new("published-but-shut", Level::Warn, message)
            .ports([one.ports])
            .help("an ingress rule with the port of the host, or publish it no more")
    })
}

/// Sockets that others could reach, if a rule let them.
fn unadmitted(seen: &Seen) -> Vec<Finding> {
    let shuts = |policy: &Policy| policy.default_in == Action::Drop;
    if !seen.snapshot.policy.as_ref().is_some_and(shuts) {
        return Vec::new();
    }
    let mut found: Vec<Finding> = Vec::new();
    for one in &seen.sockets.waiting {
        let (port, ports) = (one.at.port(), written(one));
        let is_client =
            one.protocol == proto::UDP && (port >= seen.ephemeral || DHCP.contains(&port));
        let admitted = || seen.admitting().any(|rule| is_port_of(rule, one.protocol, port));
        let told = |found: &[Finding]| found.iter().any(|one| one.ports == [ports.to_string()]);
        if one.at.ip().is_loopback() || is_client || admitted() || told(&found) {
            continue;
        }
        let message = format!("{ports} is listened on ({}) and no rule admits it", one.at.ip());
        found.push(
            Finding::new("listens-but-shut", Level::Note, message)
                .ports([ports])
                .process(one.process.as_ref())
                .help("a rule if others need it; else let it listen on the loopback, or stop it"),
        );
    }
    found
}

/// Ports of a rule on which nobody listens.
fn unused(seen: &Seen, rule: &Rule) -> Option<Finding> {
    let few = |one: &&Ports| one.protocol != proto::SCTP && one.last - one.first < FEW;
    let is_used = |protocol: u8, port: u16| {
        let mut published = seen.containers.published.iter();
        seen.sockets.waits(protocol, port).is_some()
            || published.any(|one| one.ports.contains(protocol, port))
    };
    let used = |one: &Ports| (one.first..=one.last).any(|port| is_used(one.protocol, port));
    // A service of several protocols, such as DNS, is there if one of them is.
    let is_there = |one: &Ports| {
        let mut alike = rule.ports.iter().filter(|other| other.first == one.first);
        alike.any(used)
    };
    let ports: Vec<&Ports> = rule.ports.iter().filter(few).filter(|one| !is_there(one)).collect();
    // The way in of last resort may wait for its day.
    if ports.is_empty() || rule.list == List::Failsafe {
        return None;
    }
    let written: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let message =
        format!("rule {} admits {}, and nobody listens there", rule.name, written.join(", "));
    let finding = Finding::new("admitted-but-unused", Level::Note, message)
        .rule(rule)
        .ports(ports)
        .figure(rule.new_flows, "connections", "asked for by this rule")
        .help("start what should listen, or take the port out of the rule");
    Some(finding)
}
