//! What programs on this host live by, and a policy would drop: VRRP, DHCP.

use std::net::IpAddr;

use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::Loaded;
use firewall_policy::codes::Code;
use firewall_policy::diagnostic::Diagnostic;
use firewall_policy::ir::{Action, Chain, Direction, Rule};
use firewall_policy::set::AddrSet;

use crate::host::sockets;
use crate::host::vrrp::{self, Speaker};

/// Ports on which DHCP clients wait, and the name of the protocol.
const DHCP: [(u16, &str); 2] = [(68, "DHCP"), (546, "DHCPv6")];

/// What is judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Who speaks VRRP.
    pub vrrp: Vec<Speaker>,
    /// Who waits for leases: port, and process.
    pub dhcp: Vec<(u16, String)>,
    /// This host's addresses.
    pub own: Vec<IpAddr>,
}

impl Seen {
    /// Of this host as it is now. Where DHCP is admitted to all it does not matter who
    /// waits for it.
    pub(super) fn of_this_host(loaded: &Loaded, own: &[IpAddr]) -> Self {
        let dhcp = if admits_dhcp(loaded) {
            Vec::new()
        } else {
            let waiting = sockets::waits_for_udp(&DHCP.map(|(port, _)| port));
            let named = |process: Option<String>| process.unwrap_or_else(|| "a program".to_owned());
            waiting.into_iter().map(|(port, process)| (port, named(process))).collect()
        };
        Self { vrrp: vrrp::speakers(), dhcp, own: own.to_vec() }
    }
}

fn admits_dhcp(loaded: &Loaded) -> bool {
    let baseline = &loaded.policy.baseline;
    baseline.host && baseline.dhcp
}

/// What would be cut.
pub(super) fn findings(loaded: &Loaded, seen: &Seen) -> Vec<Diagnostic> {
    let ways = [Direction::Ingress, Direction::Egress];
    let vrrp = ways.into_iter().filter_map(|way| {
        seen.vrrp.iter().find_map(|speaker| silenced(loaded, speaker, &seen.own, way))
    });
    let dhcp = seen.dhcp.iter().find_map(|(port, process)| no_lease(loaded, *port, process));
    vrrp.chain(dhcp).collect()
}

/// VRRP that would not be heard, or not leave.
fn silenced(
    loaded: &Loaded,
    speaker: &Speaker,
    own: &[IpAddr],
    direction: Direction,
) -> Option<Diagnostic> {
    let chain = loaded.policy.chain(direction);
    let service = ServiceIndex::of(vrrp::PROTOCOL, 0);
    let is_in = direction == Direction::Ingress;
    let local = Some(speaker.group).filter(|_| speaker.is_multicast && is_in);
    let peers = match speaker.group {
        _ if speaker.is_multicast && !is_in => AddrSet::network(speaker.group, 128),
        IpAddr::V4(_) => AddrSet { v6: AddrSet::empty().v6, ..AddrSet::any() },
        // On IPv6 the peers speak from the link.
        IpAddr::V6(_) if speaker.is_multicast => AddrSet::network(LINK_LOCAL, 10),
        IpAddr::V6(_) => AddrSet { v4: AddrSet::empty().v4, ..AddrSet::any() },
    };
    let own = own.iter().map(|address| AddrSet::network(*address, 128));
    let peers = own.fold(peers, |peers, one| peers.subtract(&one));
    let asked = Asked { chain, service, local, peers: &peers };
    let process = speaker.process.as_deref().unwrap_or("a program");
    let group = speaker.group;
    let to = if speaker.is_multicast { format!(" to {group}") } else { String::new() };
    let (way, end) = if is_in { ("ingress", "from") } else { ("egress", "to") };
    let effect = "two hosts would hold the shared address at once";
    asked.refusal(
        Code::SilencesVrrp,
        (
            &format!("denies VRRP{to}, which {process} speaks on this host"),
            &format!("no {way} rule admits VRRP{to}, which {process} speaks on this host"),
        ),
        effect,
        &match (is_in, speaker.is_multicast) {
            (true, true) => {
                let from = if group.is_ipv4() { "PEERS" } else { "\"fe80::/10\"" };
                format!("{{ name: vrrp, from: [{from}], to: [\"{group}\"], service: vrrp }}   with vrrp: {{ ip-proto: 112 }}")
            }
            (false, true) => {
                format!("{{ name: vrrp-out, to: [\"{group}\"], service: vrrp }}   with vrrp: {{ ip-proto: 112 }}")
            }
            (_, false) => {
                format!("{{ name: vrrp, {end}: [PEERS], service: vrrp }}   with vrrp: {{ ip-proto: 112 }}")
            }
        },
    )
}

const LINK_LOCAL: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0));

/// A host that has its address by DHCP, and would not hear of it any more.
fn no_lease(loaded: &Loaded, port: u16, process: &str) -> Option<Diagnostic> {
    if admits_dhcp(loaded) {
        return None;
    }
    let service = ServiceIndex::of(proto::UDP, port);
    let everybody = AddrSet::any();
    let asked = Asked { chain: &loaded.policy.ingress, service, local: None, peers: &everybody };
    let name = DHCP.iter().find(|(other, _)| *other == port).map_or("DHCP", |(_, name)| name);
    asked.refusal(
        Code::CutsDhcp,
        (
            &format!("denies {name}, for which {process} waits on port {port}"),
            &format!("{name} is off, and {process} waits for leases on port {port}"),
        ),
        "the address is lost at renewal",
        "baseline: { dhcp: on }",
    )
}

/// What a chain is asked: does it admit a service from any of these peers?
struct Asked<'a> {
    chain: &'a Chain,
    service: ServiceIndex,
    /// This host's end, if it is known.
    local: Option<IpAddr>,
    peers: &'a AddrSet,
}

impl Asked<'_> {
    /// The finding if nobody is admitted, unless a deny says why. `messages` are what
    /// a rule does, and what is so without one.
    fn refusal(
        &self,
        code: Code,
        (denies, lacks): (&str, &str),
        effect: &str,
        rule: &str,
    ) -> Option<Diagnostic> {
        let refused = self.admitted().subtract(&self.denied()).is_empty();
        if !refused || self.named().any(|rule| rule.reason.is_some()) {
            return None;
        }
        if !self.admitted().is_empty()
            && let Some(rule) = self.denies().find(|rule| self.concerns(rule))
        {
            let message = format!("rule `{}` {denies}", rule.name);
            return Some(
                Diagnostic::new(code, message)
                    .at(&rule.span, effect)
                    .help("write why, if this is meant: reason: ..."),
            );
        }
        let span = &self.chain.default_span;
        let finding = Diagnostic::new(code, lacks).help(rule);
        Some(if span.start == span.end {
            finding.note("what no rule admits is dropped by default").note(effect)
        } else {
            finding.at(span, effect)
        })
    }

    /// Peers that failsafe rules admit, which nothing denies, are counted as admitted.
    fn admitted(&self) -> AddrSet {
        let rules = self.chain.failsafe.iter().chain(&self.chain.allow);
        let allowed: Vec<AddrSet> =
            rules.filter(|rule| self.concerns(rule)).map(|rule| rule.remote.clone()).collect();
        let allowed = AddrSet::union_all(&allowed);
        match self.chain.default {
            Action::Allow => self.peers.clone(),
            Action::Drop => allowed.intersect(self.peers),
        }
    }

    /// Peers that rules deny whatever else a packet is.
    fn denied(&self) -> AddrSet {
        let is_plain = |rule: &&Rule| {
            rule.interfaces.is_empty() && rule.vlans.is_empty() && rule.tcp_flags.is_none()
        };
        let rules = self.denies().filter(|rule| self.concerns(rule)).filter(is_plain);
        let denied: Vec<AddrSet> = rules.map(|rule| rule.remote.clone()).collect();
        let failsafe = self.chain.failsafe.iter().filter(|rule| self.concerns(rule));
        failsafe.fold(AddrSet::union_all(&denied), |denied, rule| denied.subtract(&rule.remote))
    }

    /// Denies that name the service.
    fn named(&self) -> impl Iterator<Item = &Rule> {
        let is_named = |rule: &&Rule| self.concerns(rule) && !rule.services.is_full();
        self.denies().filter(is_named)
    }

    fn denies(&self) -> impl Iterator<Item = &Rule> {
        self.chain.deny.iter().map(|rule| &**rule)
    }

    fn concerns(&self, rule: &Rule) -> bool {
        rule.services.contains(self.service.0)
            && self.local.is_none_or(|local| rule.local.contains(local))
            && !rule.remote.intersect(self.peers).is_empty()
    }
}
