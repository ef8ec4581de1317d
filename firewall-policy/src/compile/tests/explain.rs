//! Explanations name the rule to look at.

use firewall_common::service::ServiceIndex;

use super::*;
use crate::model::{Condition, explain, nearest};

fn site() -> Policy {
    let ssh = |name, remote| Rule { remote, services: ServiceSet::range(22, 22), ..rule(name) };
    let admins = ssh("admin-ssh", network("198.51.100.0/28"));
    let others = ssh("office-ssh", network("192.0.2.0/24"));
    let web = Rule { services: ServiceSet::range(80, 80), ..rule("http") };
    let abuse = Rule { remote: network("203.0.113.0/24"), ..rule("abuse") };
    policy_of(
        chain(
            vec![ssh("failsafe", network("10.0.9.22/32"))],
            vec![abuse],
            vec![web, others, admins],
        ),
        chain(vec![], vec![], vec![]),
    )
}

fn query(remote: &str, port: u32) -> Query<'static> {
    Query {
        direction: Direction::Ingress,
        remote: address(remote),
        local: address("192.0.2.1"),
        service: ServiceIndex(port),
        context: Context::Packet { interface: "eth0", vlan: None, tcp_flags: 2 },
    }
}

#[test]
fn a_drop_names_the_allow_that_almost_matched() {
    let policy = site();
    let explained = explain(&policy, &query("198.51.100.200", 22));
    assert_eq!(explained.verdict.rule, None);
    let near = explained.nearest.unwrap();
    assert_eq!(
        (near.rule.name.as_str(), near.misses.as_slice()),
        ("admin-ssh", &[Condition::Remote][..])
    );
    let outside = nearest(&near.rule.remote, address("198.51.100.200"));
    assert_eq!(outside, Some((address("198.51.100.0"), address("198.51.100.15"))));
    let allow = &explained.stages[2];
    let names: Vec<&str> = allow.near.iter().map(|near| near.rule.name.as_str()).collect();
    assert_eq!((allow.matched.is_none(), names), (true, vec!["admin-ssh", "office-ssh", "http"]));
}

#[test]
fn an_allow_names_the_deny_that_almost_matched() {
    let policy = site();
    let explained = explain(&policy, &query("203.0.114.1", 80));
    assert_eq!(explained.verdict.rule, Some((List::Allow, 0)));
    assert_eq!(explained.nearest.unwrap().rule.name, "abuse");
}

#[test]
fn a_deny_that_matches_shows_the_allow_behind_it() {
    let policy = site();
    let explained = explain(&policy, &query("203.0.113.7", 80));
    assert_eq!(explained.verdict.rule, Some((List::Deny, 0)));
    let (place, allow) = explained.stages[2].matched.unwrap();
    assert_eq!((place, allow.name.as_str()), (0, "http"));
}
