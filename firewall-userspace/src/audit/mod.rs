//! `firewall audit`: weaknesses that can be seen from this host.
//!
//! Nothing is asked of anybody: what is judged are the rules in force and what
//! they have counted, the sockets of this host, and the flows it has opened. A
//! finding names the rule, port or peer as the user wrote it, and the figures
//! that it rests on.

mod duties;
mod exposure;
mod monitoring;
mod plaintext;
mod ports;
#[cfg(test)]
mod tests;
mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use firewall_common::service::proto;
use serde::Serialize;

use crate::host::containers::Containers;
use crate::host::sockets::{Connection, Sockets};
use crate::report::snapshot::{Level, List, Rule, Snapshot, Way};
pub(crate) use text::text;

/// What is judged.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Rules, counters and interfaces.
    pub snapshot: Snapshot,
    /// Sockets of this host.
    pub sockets: Sockets,
    /// The other ends of flows that this host has opened lately, by the egress
    /// rule that let it; without root none.
    pub flows: BTreeMap<String, BTreeSet<IpAddr>>,
    /// What containers have of this host.
    pub containers: Containers,
    /// First port that the kernel gives to sockets that ask for any.
    pub ephemeral: u16,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Stable: the same weakness has the same id in every release.
    pub id: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What it is, in a sentence.
    pub message: String,
    /// The rule it is about.
    pub rule: Option<String>,
    /// Where that is written.
    pub place: Option<String>,
    /// Ports it is about: `80/tcp`.
    pub ports: Vec<String>,
    /// The process that has the socket: `nginx[812]`.
    pub process: Option<String>,
    /// The other ends on these ports, as far as they are known.
    pub peers: Vec<IpAddr>,
    /// Figures that it rests on.
    pub evidence: Vec<Figure>,
    /// What to do.
    pub help: String,
}

/// A figure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Figure {
    /// How many.
    pub value: u64,
    /// Of what, in the plural: `HTTP requests`.
    pub unit: &'static str,
    /// What of them: `in clear`.
    pub what: &'static str,
}

/// Everything that is found, what matters most first.
pub(crate) fn findings(seen: &Seen) -> Vec<Finding> {
    let mut found = exposure::findings(seen);
    found.extend(plaintext::findings(seen));
    found.extend(duties::findings(seen));
    found.extend(monitoring::findings(seen));
    found.extend(ports::findings(seen));
    found.sort_by_key(|one| std::cmp::Reverse(one.level));
    found
}

impl Finding {
    fn new(id: &'static str, level: Level, message: impl Into<String>) -> Self {
        Self {
            id,
            level,
            message: message.into(),
            rule: None,
            place: None,
            ports: Vec::new(),
            process: None,
            peers: Vec::new(),
            evidence: Vec::new(),
            help: String::new(),
        }
    }

    fn rule(mut self, rule: &Rule) -> Self {
        self.rule = Some(rule.name.clone());
        self.place = Some(rule.place.clone());
        self
    }

    fn ports(mut self, ports: impl IntoIterator<Item = impl ToString>) -> Self {
        self.ports = ports.into_iter().map(|one| one.to_string()).collect();
        self
    }

    fn process(mut self, process: Option<&String>) -> Self {
        self.process = process.cloned();
        self
    }

    fn peers(mut self, peers: impl IntoIterator<Item = IpAddr>) -> Self {
        self.peers = peers.into_iter().collect();
        self
    }

    fn figure(mut self, value: u64, unit: &'static str, what: &'static str) -> Self {
        self.evidence.push(Figure { value, unit, what });
        self
    }

    /// As [`Self::figure`], where nothing is nothing to tell.
    fn figure_if_any(self, value: u64, unit: &'static str, what: &'static str) -> Self {
        if value == 0 { self } else { self.figure(value, unit, what) }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }
}

impl Seen {
    /// Rules that let somebody in.
    fn admitting(&self) -> impl Iterator<Item = &Rule> {
        self.rules(Way::Ingress)
    }

    /// Rules of one direction that let packets pass.
    fn rules(&self, way: Way) -> impl Iterator<Item = &Rule> {
        let wanted = move |rule: &&Rule| rule.direction == way && rule.list != List::Deny;
        self.snapshot.rules.iter().filter(wanted)
    }

    /// The other ends on a rule's ports: of the flows that it let this host open,
    /// or of connections that are open now.
    fn peers(&self, rule: &Rule) -> BTreeSet<IpAddr> {
        if let Some(peers) = self.flows.get(&rule.name).filter(|_| rule.direction == Way::Egress) {
            return peers.clone();
        }
        let is_of_rule = |one: &&Connection| {
            let (local, remote) = (one.local.port(), one.remote.port());
            let came_in = self.sockets.waits(proto::TCP, local).is_some();
            match rule.direction {
                Way::Ingress => came_in && is_port_of(rule, proto::TCP, local),
                Way::Egress => !came_in && is_port_of(rule, proto::TCP, remote),
            }
        };
        let connections = self.sockets.connections.iter().filter(is_of_rule);
        connections.map(|one| one.remote.ip()).collect()
    }
}

/// Whether a rule is about a port.
fn is_port_of(rule: &Rule, protocol: u8, port: u16) -> bool {
    rule.ports.iter().any(|ports| ports.contains(protocol, port))
}
