//! Where rules meet: exact algebra on what two rules match.
//!
//! A rule matches a box: remote addresses × local addresses × services, narrowed
//! by interface, VLAN and TCP flags. Everything said here about two rules is
//! true of every packet; what is not certain is not said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ir::Rule;
use crate::set::{AddrSet, ServiceSet};

/// Boxes a region may fall into before it is given up.
const MAX_BOXES: usize = 256;

/// Whether every packet that `inner` matches is matched by `outer`.
pub(crate) fn covers(outer: &Rule, inner: &Rule) -> bool {
    inner.remote.is_subset(&outer.remote)
        && inner.local.is_subset(&outer.local)
        && inner.services.is_subset(&outer.services)
        && asks_no_more(outer, inner)
}

/// Whether interface, VLAN and flags of `outer` admit all that those of `inner`
/// admit.
fn asks_no_more(outer: &Rule, inner: &Rule) -> bool {
    asks_no_more_of(&outer.interfaces, &inner.interfaces)
        && asks_no_more_of(&outer.vlans, &inner.vlans)
        && match (outer.tcp_flags, inner.tcp_flags) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => {
                outer.mask & !inner.mask == 0 && outer.mask & (outer.value ^ inner.value) == 0
            }
        }
}

/// An empty list asks nothing.
fn asks_no_more_of<T: PartialEq>(outer: &[T], inner: &[T]) -> bool {
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(|one| outer.contains(one)))
}

/// What both rules match, if some packet can be matched by both.
pub(crate) fn overlap(a: &Rule, b: &Rule) -> Option<(AddrSet, ServiceSet)> {
    if a.services.is_disjoint(&b.services) || a.remote.is_disjoint(&b.remote) {
        return None;
    }
    let (remote, local) = (a.remote.intersect(&b.remote), a.local.intersect(&b.local));
    let services = a.services.intersect(&b.services);
    let meet = has_family(&remote, &local)
        && may_share(&a.vlans, &b.vlans)
        && (has_pattern(a) || has_pattern(b) || may_share(&a.interfaces, &b.interfaces))
        && match (a.tcp_flags, b.tcp_flags) {
            (Some(one), Some(other)) => one.mask & other.mask & (one.value ^ other.value) == 0,
            _ => true,
        };
    meet.then_some((remote, services))
}

fn may_share<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.is_empty() || b.is_empty() || a.iter().any(|one| b.contains(one))
}

/// Two patterns may meet in a name that nobody has thought of.
fn has_pattern(rule: &Rule) -> bool {
    rule.interfaces.iter().any(|name| name.contains(['*', '?']))
}

/// Whether one family has addresses at both ends.
pub(crate) fn has_family(remote: &AddrSet, local: &AddrSet) -> bool {
    let both = |a: bool, b: bool| !a && !b;
    both(remote.v4.is_empty(), local.v4.is_empty())
        || both(remote.v6.is_empty(), local.v6.is_empty())
}

/// A packet, as far as addresses and service go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) remote: IpAddr,
    pub(crate) local: IpAddr,
    pub(crate) service: u32,
}

impl Packet {
    /// One that a rule matches, if any.
    pub(crate) fn of(rule: &Rule) -> Option<Self> {
        let Rule { remote, local, .. } = rule;
        let v4 = (remote.v4.ranges().first(), local.v4.ranges().first());
        let (remote, local) = if let (Some((remote, _)), Some((local, _))) = v4 {
            (Ipv4Addr::from(*remote).into(), Ipv4Addr::from(*local).into())
        } else {
            let (remote, local) = (remote.v6.ranges().first()?.0, local.v6.ranges().first()?.0);
            (Ipv6Addr::from(remote).into(), Ipv6Addr::from(local).into())
        };
        Some(Self { remote, local, service: rule.services.ranges().first()?.0 })
    }

    /// Whether its addresses and service are among those of a rule.
    pub(crate) fn is_held_by(&self, rule: &Rule) -> bool {
        rule.services.contains(self.service)
            && rule.local.contains(self.local)
            && rule.remote.contains(self.remote)
    }
}

#[derive(Clone)]
struct Box3 {
    remote: AddrSet,
    local: AddrSet,
    services: ServiceSet,
}

/// The part of a rule that others have not taken yet.
pub(crate) struct Region<'a> {
    rule: &'a Rule,
    boxes: Vec<Box3>,
    given_up: bool,
}

impl<'a> Region<'a> {
    /// All that a rule matches.
    pub(crate) fn new(rule: &'a Rule) -> Self {
        let (remote, local) = (rule.remote.clone(), rule.local.clone());
        let all = Box3 { remote, local, services: rule.services.clone() };
        Self { rule, boxes: vec![all], given_up: false }
    }

    /// Takes away what `other` matches; whether that was anything.
    pub(crate) fn subtract(&mut self, other: &Rule) -> bool {
        if self.given_up || !asks_no_more(other, self.rule) {
            return false;
        }
        let mut rest = Vec::with_capacity(self.boxes.len());
        let mut taken = false;
        for Box3 { remote, local, services } in self.boxes.drain(..) {
            let inside = (
                remote.intersect(&other.remote),
                local.intersect(&other.local),
                services.intersect(&other.services),
            );
            if inside.0.is_empty() || inside.1.is_empty() || inside.2.is_empty() {
                rest.push(Box3 { remote, local, services });
                continue;
            }
            taken = true;
            rest.push(Box3 {
                remote: remote.subtract(&other.remote),
                local: local.clone(),
                services: services.clone(),
            });
            rest.push(Box3 {
                remote: inside.0.clone(),
                local: local.subtract(&other.local),
                services: services.clone(),
            });
            rest.push(Box3 {
                remote: inside.0,
                local: inside.1,
                services: services.subtract(&other.services),
            });
        }
        rest.retain(|one| has_family(&one.remote, &one.local) && !one.services.is_empty());
        self.given_up = rest.len() > MAX_BOXES;
        self.boxes = rest;
        taken
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        !self.given_up && self.boxes.is_empty()
    }
}
