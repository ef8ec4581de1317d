//! A policy with a number in place of every distinct set and condition.

use firewall_common::service::ServiceIndex;

use super::generation::List;
use super::interner::Interner;
use super::parallel;
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
        let count: usize =
            DIRECTIONS.map(|direction| rules(policy.chain(direction)).count()).iter().sum();
        let (remotes_and_locals, services) = parallel::both(
            count > LARGE,
            || Ends::new(policy, count),
            || DIRECTIONS.map(|direction| Services::new(policy.chain(direction))),
        );
        let Ends { addresses, of_rules } = remotes_and_locals;
        let mut ends = of_rules.into_iter();
        let mut conditions = Conditions::default();
        let [ingress, egress] = services;
        let chains = [(Direction::Ingress, ingress), (Direction::Egress, egress)];
        let chains = chains.map(|(direction, Services { services, of_rules })| {
            let chain = policy.chain(direction);
            let parts = of_rules.into_iter().zip(&mut ends);
            let ranked = |((list, rule), (of_rule, [remote, local])): Parts<'a>| {
                let (services, counts) = of_rule;
                Ranked {
                    rule,
                    list,
                    remote,
                    local,
                    services,
                    interfaces: asked(&mut conditions.interfaces, &rule.interfaces),
                    vlans: asked(&mut conditions.vlans, &rule.vlans),
                    flags: rule.tcp_flags.as_ref().map(|flags| conditions.flags.number(flags)),
                    counts,
                }
            };
            let rules = rules(chain).zip(parts).map(ranked).collect();
            Ranks { direction, chain, rules, services }
        });
        Self { addresses, conditions, chains }
    }
}

/// A rule, the numbers of its services and of its ends.
type Parts<'a> = ((List, &'a Rule), (OfServices, [Option<u32>; 2]));
/// Number of a rule's services, and of those that it counts.
type OfServices = (Option<u32>, Vec<(u32, Count)>);

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// Rules whose services are worth a thread.
const LARGE: usize = 10_000;

/// The rules of a chain by rank.
fn rules(chain: &Chain) -> impl Iterator<Item = (List, &Rule)> {
    let lists =
        [(List::Failsafe, &chain.failsafe), (List::Deny, &chain.deny), (List::Allow, &chain.allow)];
    lists.into_iter().flat_map(|(list, rules)| rules.iter().map(move |rule| (list, &**rule)))
}

/// Numbers of the address sets of both chains: of each rule's remote and local end.
struct Ends<'a> {
    addresses: Interner<'a, AddrSet>,
    of_rules: Vec<[Option<u32>; 2]>,
}

impl<'a> Ends<'a> {
    fn new(policy: &'a Policy, count: usize) -> Self {
        let mut addresses = Interner::with_capacity(count);
        let all = DIRECTIONS.into_iter().flat_map(|direction| rules(policy.chain(direction)));
        let of_rule = |(_, rule): (List, &'a Rule)| {
            [&rule.remote, &rule.local].map(|set| end(&mut addresses, set))
        };
        let of_rules = all.map(of_rule).collect();
        Self { addresses, of_rules }
    }
}

/// Numbers of the service sets of a chain: of each rule, and of what it counts.
struct Services<'a> {
    services: Interner<'a, ServiceSet>,
    of_rules: Vec<OfServices>,
}

impl<'a> Services<'a> {
    fn new(chain: &'a Chain) -> Self {
        let mut services = Interner::with_capacity(rules(chain).count());
        let of_rule = |(_, rule): (List, &'a Rule)| {
            let number = (!is_everything(&rule.services)).then(|| services.number(&rule.services));
            let counts = rule.counts.iter().map(|(set, how)| (services.number(set), *how));
            (number, counts.collect())
        };
        let of_rules = rules(chain).map(of_rule).collect();
        Self { services, of_rules }
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
