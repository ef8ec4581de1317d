//! What a policy says of a remote session to this host.

use std::net::IpAddr;

use firewall_common::packet::tcp;
use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::compile::List;
use firewall_policy::ir::{Action, Direction, IngressHook, Policy};
use firewall_policy::model::{self, Condition, Context, Query};

use crate::host::arrival::{self, Arrival, Tag};
use crate::host::session::Session;
use crate::report::snapshot::Way;

/// What happens to the next packet of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Whether it passes, by whichever way it may come.
    pub allowed: bool,
    /// Rule or default that decides.
    pub by: String,
    /// Where that is written.
    pub place: String,
    /// For one that is dropped: what comes nearest to admitting it.
    pub nearest: Option<String>,
}

/// Flags of the packets of a session that runs: with data, and without.
const FLAGS: [u8; 2] = [tcp::ACK, tcp::ACK | tcp::PSH];

/// Asks the policy. Inbound connections keep no state, so every packet of the
/// session is judged by itself. `None` if no packet is judged where it comes in.
pub(crate) fn reach(policy: &Policy, session: &Session) -> Option<Reach> {
    let on = &policy.interfaces;
    let strips = on.ingress_hook != IngressHook::Tc;
    let ways = arrival::from(session.peer.ip(), &on.matches, &on.ignore, strips);
    by_ways(policy, session, &ways)
}

/// Whether the next packet passes, by what, and where that is written. Without a policy
/// nothing of it is known; where nothing is judged it passes.
pub(crate) fn told(
    policy: Option<&Policy>,
    session: &Session,
) -> (Option<bool>, Option<String>, Option<String>) {
    match policy.map(|policy| reach(policy, session)) {
        None => (None, None, None),
        Some(None) => (Some(true), None, None),
        Some(Some(reach)) => (Some(reach.allowed), Some(reach.by), Some(reach.place)),
    }
}

/// The next packet passes if it does so by every way that it may come: of those
/// that drop it the first is told, else the first of all.
fn by_ways(policy: &Policy, session: &Session, ways: &[Arrival]) -> Option<Reach> {
    let mut first = None;
    for Arrival { interface, tag } in ways {
        for vlan in tags(policy, *tag) {
            for tcp_flags in FLAGS {
                let reach = by(policy, session, Context::Packet { interface, vlan, tcp_flags });
                if !reach.allowed {
                    return Some(reach);
                }
                first = first.or(Some(reach));
            }
        }
    }
    first
}

/// The tags that a packet may have, as far as the policy tells them apart.
fn tags(policy: &Policy, tag: Tag) -> Vec<Option<u16>> {
    match tag {
        Tag::None => vec![None],
        Tag::Is(vlan) => vec![Some(vlan)],
        Tag::Unknown => {
            let named: Vec<u16> =
                policy.ingress.rules().flat_map(|rule| &rule.vlans).copied().collect();
            let other = (1..4095).find(|vlan| !named.contains(vlan));
            let all = named.iter().copied().chain(other).map(Some);
            std::iter::once(None).chain(all).collect()
        }
    }
}

fn by(policy: &Policy, session: &Session, context: Context<'_>) -> Reach {
    let query = Query {
        direction: Direction::Ingress,
        remote: session.peer.ip(),
        local: session.local.ip(),
        service: ServiceIndex::of(proto::TCP, session.local.port()),
        context,
    };
    let verdict = model::evaluate(policy, &query);
    let allowed = verdict.action == Action::Allow;
    let chain = &policy.ingress;
    let rule = verdict.rule.and_then(|(list, place)| model::rules(chain, list).get(place));
    let (by, place) = match rule {
        Some(rule) => (rule.name.clone(), rule.span.place()),
        None => (Way::Ingress.default_name().to_owned(), chain.default_span.place()),
    };
    let nearest = (!allowed).then(|| nearest(policy, &query)).flatten();
    Reach { allowed, by, place, nearest }
}

/// The allow rule that comes nearest, and what it is that the session misses.
fn nearest(policy: &Policy, query: &Query<'_>) -> Option<String> {
    let near = model::explain(policy, query).nearest?;
    if near.list == List::Deny {
        return None;
    }
    let (rule, peer) = (near.rule, query.remote);
    let (name, place) = (&rule.name, rule.span.place());
    let Context::Packet { interface, vlan, .. } = query.context else { return None };
    Some(match near.misses.first()? {
        Condition::Service | Condition::Local => return None,
        Condition::Remote => {
            let (first, last) = model::nearest(&rule.remote, peer)?;
            format!("{name} allows {} ({place}); {peer} is outside", span(first, last))
        }
        Condition::Interface => {
            let asked = rule.interfaces.join(", ");
            format!("{name} asks for iface {asked} ({place}); the session comes by {interface}")
        }
        Condition::Vlan => {
            let asked: Vec<String> = rule.vlans.iter().map(u16::to_string).collect();
            let has = vlan.map_or("no tag".to_owned(), |vlan| format!("vlan {vlan}"));
            format!("{name} asks for vlan {} ({place}); the session has {has}", asked.join(", "))
        }
        Condition::TcpFlags => {
            format!("{name} asks for other TCP flags ({place}) than a session has that runs")
        }
    })
}

/// A range as one network where it is one.
fn span(first: IpAddr, last: IpAddr) -> String {
    let (low, high, width) = match (first, last) {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            (u128::from(u32::from(low)), u128::from(u32::from(high)), 32)
        }
        (IpAddr::V6(low), IpAddr::V6(high)) => (low.into(), high.into(), 128),
        _ => return format!("{first}-{last}"),
    };
    let bits = (low ^ high).count_ones();
    let is_network = (low ^ high).trailing_ones() == bits && (low & high) == low;
    match u8::try_from(bits) {
        Ok(bits) if is_network => crate::banning::written(first, width - bits),
        _ => format!("{first}-{last}"),
    }
}

#[cfg(test)]
mod tests {
    use firewall_policy::source::MemoryFiles;
    use firewall_policy::{Options, Subject};

    use super::*;

    /// A role that admits ssh by one rule.
    fn role(rule: &str) -> String {
        format!(
            "\
version: 1
role: web
default: {{ ingress: drop, egress: allow }}
groups: {{ admins: [198.51.100.0/28] }}
services: {{ ssh: {{ tcp: 22 }} }}
ingress:
  allow:
    - {{ name: admin-ssh, from: admins, service: ssh{rule} }}
"
        )
    }

    fn ask(rule: &str, peer: &str, ways: &[(&str, Tag)]) -> Reach {
        let files = MemoryFiles::new().with("rules/web.yaml", role(rule));
        let subject = Subject::File("rules/web.yaml".into());
        let loaded = firewall_policy::load(&files, &subject, &Options::default());
        let session =
            Session { peer: peer.parse().unwrap(), local: "10.0.2.11:22".parse().unwrap() };
        let way = |(name, tag): &(&str, Tag)| Arrival { interface: (*name).into(), tag: *tag };
        let ways: Vec<Arrival> = ways.iter().map(way).collect();
        let policy = loaded.unwrap_or_else(|report| panic!("{report}")).policy;
        by_ways(&policy, &session, &ways).unwrap()
    }

    const PEER: &str = "198.51.100.5:51544";
    const UNTAGGED: (&str, Tag) = ("eth0", Tag::None);

    #[test]
    fn ranges_are_networks_where_they_can_be() {
        let span = |first: &str, last: &str| span(first.parse().unwrap(), last.parse().unwrap());
        assert_eq!(span("10.0.0.0", "10.0.0.15"), "10.0.0.0/28");
        assert_eq!(span("10.0.0.1", "10.0.0.1"), "10.0.0.1");
        assert_eq!(span("10.0.0.1", "10.0.0.15"), "10.0.0.1-10.0.0.15");
        assert_eq!(span("0.0.0.0", "255.255.255.255"), "0.0.0.0/0");
        assert_eq!(span("2001:db8::", "2001:db8::ffff"), "2001:db8::/112");
    }

    #[test]
    fn a_session_is_judged_like_a_new_connection() {
        let inside = ask("", PEER, &[UNTAGGED]);
        assert_eq!((inside.allowed, inside.by.as_str()), (true, "admin-ssh"));
        assert_eq!(inside.place, "rules/web.yaml:8");
        let outside = ask("", "198.51.100.200:51544", &[UNTAGGED]);
        assert_eq!((outside.allowed, outside.by.as_str()), (false, "default-in"));
        assert_eq!(
            outside.nearest.unwrap(),
            "admin-ssh allows 198.51.100.0/28 (rules/web.yaml:8); 198.51.100.200 is outside"
        );
    }

    #[test]
    fn what_another_interface_tag_or_the_first_packet_is_allowed_is_no_way_in() {
        for (rule, nearest) in [
            (
                ", iface: eth1",
                "admin-ssh asks for iface eth1 (rules/web.yaml:8); the session comes by eth0",
            ),
            (", vlan: 5", "admin-ssh asks for vlan 5 (rules/web.yaml:8); the session has no tag"),
            (
                ", tcp-flags: [syn, \"!ack\"]",
                "admin-ssh asks for other TCP flags (rules/web.yaml:8) than a session has that runs",
            ),
        ] {
            let reach = ask(rule, PEER, &[UNTAGGED]);
            assert_eq!((reach.allowed, reach.by.as_str()), (false, "default-in"), "{rule}");
            assert_eq!(reach.nearest.as_deref(), Some(nearest));
        }
        assert!(!ask(", tcp-flags: [psh]", PEER, &[UNTAGGED]).allowed);
        assert!(ask(", tcp-flags: [ack]", PEER, &[UNTAGGED]).allowed);
        assert!(ask(", iface: \"eth*\"", PEER, &[UNTAGGED]).allowed);
        assert!(ask(", vlan: 5", PEER, &[("eth0", Tag::Is(5))]).allowed);
    }

    #[test]
    fn every_way_that_a_session_may_come_has_to_be_open() {
        let both = [("eth1", Tag::None), UNTAGGED];
        assert!(ask("", PEER, &both).allowed);
        assert!(!ask(", iface: eth1", PEER, &both).allowed);
        assert!(ask("", PEER, &[("eth0", Tag::Unknown)]).allowed);
        assert!(!ask(", vlan: 5", PEER, &[("eth0", Tag::Unknown)]).allowed);
    }
}
