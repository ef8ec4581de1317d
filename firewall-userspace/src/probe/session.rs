//! What a policy says of a remote session to this host.

use std::net::IpAddr;

use firewall_common::service::{ServiceIndex, proto};
use firewall_policy::compile::List;
use firewall_policy::ir::{Action, Direction, Policy};
use firewall_policy::model::{self, Context, Query, Verdict};

use crate::host::interfaces;
use crate::host::session::Session;
use crate::report::snapshot::Way;

/// What happens to the next packet of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Whether it passes.
    pub allowed: bool,
    /// Rule or default that decides.
    pub by: String,
    /// Where that is written.
    pub place: String,
    /// For one that is dropped: what comes nearest to admitting it.
    pub nearest: Option<String>,
}

/// Asks the policy. Inbound connections keep no state, so every packet of the
/// session is judged like its first.
pub(crate) fn reach(policy: &Policy, session: &Session) -> Reach {
    let names: Vec<String> = interfaces::all().into_iter().map(|one| one.name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let query = Query {
        direction: Direction::Ingress,
        remote: session.peer.ip(),
        local: session.local.ip(),
        service: ServiceIndex::of(proto::TCP, session.local.port()),
        context: Context::Reply { interfaces: &names },
    };
    let Verdict { rule, action } = model::evaluate(policy, &query);
    let allowed = action == Action::Allow;
    let chain = &policy.ingress;
    let rule = rule.and_then(|(list, place)| model::rules(chain, list).get(place));
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
    let (first, last) = model::nearest(&rule.remote, peer)?;
    Some(format!(
        "{} allows {} ({}); {peer} is outside",
        rule.name,
        span(first, last),
        rule.span.place()
    ))
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

    const ROLE: &str = "\
version: 1
role: web
default: { ingress: drop, egress: allow }
groups: { admins: [198.51.100.0/28] }
services: { ssh: { tcp: 22 } }
ingress:
  allow:
    - { name: admin-ssh, from: admins, service: ssh }
";

    fn ask(peer: &str) -> Reach {
        let files = MemoryFiles::new().with("rules/web.yaml", ROLE);
        let subject = Subject::File("rules/web.yaml".into());
        let loaded = firewall_policy::load(&files, &subject, &Options::default());
        let session =
            Session { peer: peer.parse().unwrap(), local: "10.0.2.11:22".parse().unwrap() };
        reach(&loaded.unwrap_or_else(|report| panic!("{report}")).policy, &session)
    }

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
        let inside = ask("198.51.100.5:51544");
        assert_eq!((inside.allowed, inside.by.as_str()), (true, "admin-ssh"));
        assert_eq!(inside.place, "rules/web.yaml:8");
        let outside = ask("198.51.100.200:51544");
        assert_eq!((outside.allowed, outside.by.as_str()), (false, "default-in"));
        assert_eq!(
            outside.nearest.unwrap(),
            "admin-ssh allows 198.51.100.0/28 (rules/web.yaml:8); 198.51.100.200 is outside"
        );
    }
}
