//! What a policy says of a packet, worked out the slow and obvious way: rule by
//! rule, condition by condition.
//!
//! Explanations come from here, and the tests hold the compiler against it. It
//! must not share code with the compiler beyond the policy itself.

use std::net::IpAddr;

use firewall_common::service::ServiceIndex;

use crate::compile::List;
use crate::ir::{Action, Chain, Direction, Policy, Rule};
use crate::set::{AddrSet, Point, RangeSet};

/// What a policy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// Which chain.
    pub direction: Direction,
    /// The other end.
    pub remote: IpAddr,
    /// This host's end, of the same family.
    pub local: IpAddr,
    /// Protocol and service port or type.
    pub service: ServiceIndex,
    /// How the packet came or goes.
    pub context: Context<'a>,
}

/// The rarely asked part of a query.
#[derive(Clone, Copy, Debug)]
pub enum Context<'a> {
    /// This packet.
    Packet {
        /// Name of the interface.
        interface: &'a str,
        /// 802.1Q tag.
        vlan: Option<u16>,
        /// TCP flags; 0 for other protocols.
        tcp_flags: u8,
    },
    /// Any packet of the tuple: what a reply is looked up by.
    Reply {
        /// Names of the interfaces on which it may have come.
        interfaces: &'a [&'a str],
    },
}

/// What decided, and what was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The list of the rule that decided and its place there; `None` for the
    /// default.
    pub rule: Option<(List, usize)>,
    /// What is done.
    pub action: Action,
}

/// The verdict of a policy.
///
/// For a reply it is that of a packet which would be admitted, if there is one.
#[must_use]
pub fn evaluate(policy: &Policy, query: &Query<'_>) -> Verdict {
    let chain = policy.chain(query.direction);
    match query.context {
        Context::Packet { .. } => first_match(chain, query),
        Context::Reply { interfaces } => {
            let mut verdict = first_match(chain, query);
            for context in contexts(chain, interfaces) {
                verdict = first_match(chain, &Query { context, ..*query });
                if verdict.action == Action::Allow {
                    break;
                }
            }
            verdict
        }
    }
}

fn first_match(chain: &Chain, query: &Query<'_>) -> Verdict {
    for list in [List::Failsafe, List::Deny, List::Allow] {
        for (place, rule) in rules(chain, list).iter().enumerate() {
            if misses(rule, query).next().is_none() {
                return Verdict { rule: Some((list, place)), action: list.action() };
            }
        }
    }
    Verdict { rule: None, action: chain.default }
}

/// The rules of a list, in order.
#[must_use]
pub fn rules(chain: &Chain, list: List) -> &[Box<Rule>] {
    match list {
        List::Failsafe => &chain.failsafe,
        List::Deny => &chain.deny,
        List::Allow => &chain.allow,
    }
}

/// Every context that the rules of a chain could tell from others.
fn contexts<'a>(chain: &Chain, interfaces: &'a [&'a str]) -> Vec<Context<'a>> {
    let mut vlans = vec![None];
    vlans.extend(chain.rules().flat_map(|rule| &rule.vlans).copied().map(Some));
    vlans.extend((0..4096).find(|vlan| !vlans.contains(&Some(*vlan))).map(Some));
    let flags =
        if chain.rules().any(|rule| rule.tcp_flags.is_some()) { 0..=u8::MAX } else { 0..=0 };
    let interfaces = if interfaces.is_empty() { &[""] } else { interfaces };
    let mut contexts = Vec::new();
    for interface in interfaces {
        for &vlan in &vlans {
            let of = |tcp_flags| Context::Packet { interface, vlan, tcp_flags };
            contexts.extend(flags.clone().map(of));
        }
    }
    contexts
}

/// A condition of a rule that a packet does not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Protocol and port.
    Service,
    /// The other end.
    Remote,
    /// This host's end.
    Local,
    /// The interface.
    Interface,
    /// The VLAN tag.
    Vlan,
    /// TCP flags.
    TcpFlags,
}

/// The conditions of a rule that a packet does not meet; none if it matches.
pub fn misses<'a>(rule: &'a Rule, query: &Query<'a>) -> impl Iterator<Item = Condition> + 'a {
    let (interface, vlan, flags) = match query.context {
        Context::Packet { interface, vlan, tcp_flags } => {
            let (globs, vlans) = (&rule.interfaces, &rule.vlans);
            (
                globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, interface)),
                vlans.is_empty() || vlan.is_some_and(|vlan| vlans.contains(&vlan)),
                rule.tcp_flags.is_none_or(|asked| tcp_flags & asked.mask == asked.value),
            )
        }
        Context::Reply { .. } => (true, true, true),
    };
    let met = [
        (Condition::Service, rule.services.contains(query.service.0)),
        (Condition::Remote, rule.remote.contains(query.remote)),
        (Condition::Local, rule.local.contains(query.local)),
        (Condition::Interface, interface),
        (Condition::Vlan, vlan),
        (Condition::TcpFlags, flags),
    ];
    met.into_iter().filter(|(_, met)| !met).map(|(condition, _)| condition)
}

/// `*` is any run of characters, `?` any one.
fn glob_matches(glob: &str, name: &str) -> bool {
    let Some(first) = glob.chars().next() else { return name.is_empty() };
    let rest = &glob[first.len_utf8()..];
    let mut behind = name.chars();
    match first {
        '*' => {
            glob_matches(rest, name)
                || behind.next().is_some() && glob_matches(glob, behind.as_str())
        }
        '?' => behind.next().is_some() && glob_matches(rest, behind.as_str()),
        _ => behind.next() == Some(first) && glob_matches(rest, behind.as_str()),
    }
}

/// Why a packet got its verdict, for people.
#[derive(Clone, Debug)]
pub struct Explanation<'a> {
    /// The verdict.
    pub verdict: Verdict,
    /// What each list says, in the order in which lists win.
    pub stages: Vec<Stage<'a>>,
    /// The rule that came nearest to the other verdict: the one to look at, if
    /// this one was not wanted.
    pub nearest: Option<Near<'a>>,
}

/// What one list of a chain says of a packet.
#[derive(Clone, Debug)]
pub struct Stage<'a> {
    /// The list.
    pub list: List,
    /// The first of its rules that matches, with its place: it decides, if no
    /// list before has one.
    pub matched: Option<(usize, &'a Rule)>,
    /// Rules that miss by one condition only, nearest first; at most
    /// [`NEAR_MAX`].
    pub near: Vec<Near<'a>>,
}

/// A rule that does not match.
#[derive(Clone, Debug)]
pub struct Near<'a> {
    /// Its list.
    pub list: List,
    /// Its place in the list.
    pub place: usize,
    /// The rule.
    pub rule: &'a Rule,
    /// What it asks for in vain.
    pub misses: Vec<Condition>,
}

/// Rules named as near, per list.
pub const NEAR_MAX: usize = 5;

/// Explains the verdict of a policy on one packet. (For a reply: of a packet of
/// its tuple, with interface, VLAN and flags not asked.)
#[must_use]
pub fn explain<'a>(policy: &'a Policy, query: &Query<'_>) -> Explanation<'a> {
    let chain = policy.chain(query.direction);
    let verdict = evaluate(policy, query);
    let mut others = Vec::new();
    let stages = [List::Failsafe, List::Deny, List::Allow].map(|list| {
        let mut matched = None;
        let mut near = Vec::new();
        for (place, rule) in rules(chain, list).iter().map(|rule| &**rule).enumerate() {
            let misses: Vec<_> = misses(rule, query).collect();
            if misses.is_empty() {
                matched = matched.or(Some((place, rule)));
            } else {
                near.push(Near { list, place, rule, misses });
            }
        }
        near.sort_by_cached_key(|near| distance(near, query));
        if list.action() != verdict.action {
            others.extend(near.first().cloned());
        }
        near.retain(|near| near.misses.len() == 1);
        near.truncate(NEAR_MAX);
        Stage { list, matched, near }
    });
    let nearest = others.into_iter().min_by_key(|near| distance(near, query));
    Explanation { verdict, stages: stages.into(), nearest }
}

/// How far a rule is from matching: conditions missed, then whether it is for
/// another service or end, then how far the end is, then its place.
fn distance(near: &Near<'_>, query: &Query<'_>) -> (usize, bool, bool, u128, usize) {
    let misses = |condition| near.misses.contains(&condition);
    let gap = gap(&near.rule.remote, query.remote);
    let other_service = misses(Condition::Service);
    (near.misses.len(), other_service, misses(Condition::Local), gap, near.place)
}

/// Addresses between an address and the nearest of a set; 0 inside.
fn gap(set: &AddrSet, address: IpAddr) -> u128 {
    let nearest = nearest(set, address);
    match (nearest, address) {
        (Some((IpAddr::V4(first), IpAddr::V4(last))), IpAddr::V4(address)) => {
            between(u32::from(first).into(), u32::from(last).into(), u32::from(address).into())
        }
        (Some((IpAddr::V6(first), IpAddr::V6(last))), IpAddr::V6(address)) => {
            between(first.into(), last.into(), address.into())
        }
        _ => u128::MAX,
    }
}

fn between(first: u128, last: u128, address: u128) -> u128 {
    first.saturating_sub(address).max(address.saturating_sub(last))
}

/// The range of a set that is nearest to an address of the same family, to show
/// what the address is outside of.
#[must_use]
pub fn nearest(set: &AddrSet, address: IpAddr) -> Option<(IpAddr, IpAddr)> {
    match address {
        IpAddr::V4(address) => {
            let (first, last) = nearest_range(&set.v4, address.into(), u128::from)?;
            Some((IpAddr::V4(first.into()), IpAddr::V4(last.into())))
        }
        IpAddr::V6(address) => {
            let (first, last) = nearest_range(&set.v6, address.into(), u128::from)?;
            Some((IpAddr::V6(first.into()), IpAddr::V6(last.into())))
        }
    }
}

fn nearest_range<T: Point>(
    set: &RangeSet<T>,
    point: T,
    wide: impl Fn(T) -> u128,
) -> Option<(T, T)> {
    let ranges = set.ranges();
    let after = ranges.partition_point(|&(first, _)| first <= point);
    let distance = |&(first, last): &(T, T)| between(wide(first), wide(last), wide(point));
    let neighbours = ranges[..after].last().into_iter().chain(ranges.get(after));
    neighbours.copied().min_by_key(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, name) in [("eth0", "eth0"), ("eth*", "eth"), ("*", "x"), ("e?h*1", "eth0.11")] {
            assert!(glob_matches(glob, name), "{glob} should match {name}");
        }
        for (glob, name) in [("eth0", "eth01"), ("eth?", "eth"), ("e*1", "eth10"), ("", "x")] {
            assert!(!glob_matches(glob, name), "{glob} should not match {name}");
        }
    }
}
