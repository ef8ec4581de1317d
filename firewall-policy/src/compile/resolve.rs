//! A policy with a number in place of every distinct set and condition.

use firewall_common::service::ServiceIndex;

use super::generation::List;
use super::interner::Interner;
use crate::ir::{Chain, Count, Direction, Policy, Rule, TcpFlags};
use crate::set::{AddrSet, ServiceSet};

/// A rule's place in the order of precedence of its chain; lower wins.
pub(super) type Rank = u32;

/// A rule as the tables see it. Sets and conditions are numbers; `None` asks for
/// nothing.
#[derive(Debug)]
pub(super) struct Ranked<'a> {
    pub(super) rule: &'a Rule,
    pub(super) list: List,
    pub(super) remote: Option<u32>,
    pub(super) local: Option<u32>,
    pub(super) services: Option<u32>,
    pub(super) interfaces: Option<u32>,
    pub(super) vlans: Option<u32>,
    pub(super) flags: Option<u32>,
    pub(super) counts: Vec<(u32, Count)>,
}

impl Ranked<'_> {
    /// Whether interface, VLAN or flags are asked.
    pub(super) fn asks_context(&self) -> bool {
        self.interfaces.is_some() || self.vlans.is_some() || self.flags.is_some()
    }
}

/// The rules of one chain by rank: failsafe, deny, allow.
#[derive(Debug)]
pub(super) struct Ranks<'a> {
    pub(super) direction: Direction,
    pub(super) chain: &'a Chain,
    pub(super) rules: Vec<Ranked<'a>>,
    pub(super) services: Interner<'a, ServiceSet>,
}

/// Everything that rules of a policy ask for, once.
#[derive(Debug)]
pub(super) struct Resolved<'a> {
    pub(super) addresses: Interner<'a, AddrSet>,
    pub(super) conditions: Conditions<'a>,
    pub(super) chains: [Ranks<'a>; 2],
}

/// The rarely asked conditions of both chains.
#[derive(Debug, Default)]
pub(super) struct Conditions<'a> {
    pub(super) interfaces: Interner<'a, [String]>,
    pub(super) vlans: Interner<'a, [u16]>,
    pub(super) flags: Interner<'a, TcpFlags>,
}

impl<'a> Resolved<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        let rules = |chain: &Chain| chain.failsafe.len() + chain.deny.len() + chain.allow.len();
        let room = rules(&policy.ingress) + rules(&policy.egress);
        let mut addresses = Interner::with_capacity(room);
        let mut conditions = Conditions::default();
        let chains = [Direction::Ingress, Direction::Egress].map(|direction| {
            let chain = policy.chain(direction);
            let mut services = Interner::with_capacity(rules(chain));
            let lists = [
                (List::Failsafe, &chain.failsafe),
                (List::Deny, &chain.deny),
                (List::Allow, &chain.allow),
            ];
            let rules = lists
                .into_iter()
                .flat_map(|(list, rules)| rules.iter().map(move |rule| (list, rule)));
            let ranked = |(list, rule): (List, &'a Rule)| Ranked {
                rule,
                list,
                remote: end(&mut addresses, &rule.remote),
                local: end(&mut addresses, &rule.local),
                services: (!is_everything(&rule.services)).then(|| services.number(&rule.services)),
                interfaces: asked(&mut conditions.interfaces, &rule.interfaces),
                vlans: asked(&mut conditions.vlans, &rule.vlans),
                flags: rule.tcp_flags.as_ref().map(|flags| conditions.flags.number(flags)),
                counts: rule.counts.iter().map(|(set, how)| (services.number(set), *how)).collect(),
            };
            let rules = rules.map(ranked).collect();
            Ranks { direction, chain, rules, services }
        });
        Self { addresses, conditions, chains }
    }
}

fn end<'a>(addresses: &mut Interner<'a, AddrSet>, set: &'a AddrSet) -> Option<u32> {
    (!set.is_any()).then(|| addresses.number(set))
}

fn asked<'a, T>(conditions: &mut Interner<'a, [T]>, list: &'a [T]) -> Option<u32>
where
    T: std::hash::Hash + Eq,
{
    (!list.is_empty()).then(|| conditions.number(list))
}

/// Whether a set holds the whole service space.
fn is_everything(services: &ServiceSet) -> bool {
    matches!(services.ranges(), [(0, last)] if *last >= ServiceIndex::END - 1)
}
