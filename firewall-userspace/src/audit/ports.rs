//! Ports that are listened on, beside ports that rules admit.

use firewall_common::service::proto;
use firewall_policy::compile::Ports;

use super::{Finding, Seen};
use crate::forwarded::Forwarded;
use crate::host::sockets::Waiting;
use crate::report::snapshot::{Action, Level, List, Rule};

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
    let shuts = |policy: &crate::report::snapshot::Policy| policy.default_in == Action::Drop;
    if !seen.snapshot.policy.as_ref().is_some_and(shuts) {
        return Vec::new();
    }
    let mut found: Vec<Finding> = Vec::new();
    for one in &seen.sockets.waiting {
        let (port, ports) = (one.at.port(), written(one));
        let is_client =
            one.protocol == proto::UDP && (port >= seen.ephemeral || DHCP.contains(&port));
        let admitted =
            || seen.admitting().any(|rule| rule.ports.iter().any(|range| range.covers(ports)));
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
    let published =
        |port: Ports| seen.containers.published.iter().any(|one| one.ports.covers(port));
    let missing: Vec<Ports> = rule
        .ports
        .iter()
        .filter(few)
        .filter(|one| {
            !(one.first..=one.last).any(|port| {
                seen.sockets.waits(one.protocol, port).is_some()
                    || published(Ports::one(one.protocol, port))
            })
        })
        .copied()
        .collect();
    // A service of several protocols is served if one of them is.
    let same = |one: &Ports| {
        rule.ports.iter().any(|other| other.first == one.first && !missing.contains(other))
    };
    let missing: Vec<Ports> = missing.iter().filter(|one| !same(one)).copied().collect();
    if missing.is_empty() || rule.list == List::Failsafe {
        return None;
    }
    let written: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let message =
        format!("rule {} admits {}, and nobody listens there", rule.name, written.join(", "));
    Some(
        Finding::new("admitted-but-unused", Level::Note, message)
            .rule(rule)
            .ports(missing)
            .figure(rule.new_flows, "connection", "asked for by this rule")
            .help("start what should listen, or take the port out of the rule"),
    )
}
