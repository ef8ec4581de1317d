//! The compiled tables and the model agree, on policies whose rules overlap in
//! every way.

use firewall_common::abi::tables::{Cell, Setting};
use firewall_common::service::ServiceIndex;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::*;
use crate::compile::resolve;
use crate::ir::{Count, TcpFlags};
use crate::model;

/// Networks that nest, touch, and reach the ends of both families.
const NETWORKS: [&str; 28] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.0/25",
    "10.1.2.64/26",
    "10.1.2.77/32",
    "10.1.2.78/32",
    "10.1.255.255/32",
    "10.2.0.0/15",
    "192.0.2.0/24",
    "192.0.2.5/32",
    "198.51.100.16/28",
    "255.255.255.255/32",
    "::/0",
    "::/128",
    "2001::/16",
    "2001:db8::/32",
    "2001:db8:0:1::/64",
    "2001:db8:0:1::5/128",
    "2001:db8:0:1:ffff::/80",
    "2001:db8:1::/47",
    "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe/127",
    "fe80::/10",
    "ff02::1/128",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
];

/// Ends of service ranges.
const SERVICES: [(u32, u32); 14] = [
    (22, 22),
    (80, 80),
    (443, 443),
    (1, 1023),
    (0, 65_535),
    (65_535, 65_536),
    (ServiceIndex::UDP + 53, ServiceIndex::UDP + 53),
    (ServiceIndex::UDP, ServiceIndex::ICMP - 1),
    (ServiceIndex::ICMP + 8, ServiceIndex::ICMP + 8),
    (ServiceIndex::ICMPV6 + 128, ServiceIndex::ICMPV6 + 129),
    (ServiceIndex::OTHER + 6, ServiceIndex::OTHER + 6),
    (ServiceIndex::OTHER + 132, ServiceIndex::OTHER + 132),
    (ServiceIndex::OTHER + 47, ServiceIndex::END - 1),
    (ServiceIndex::SCTP + 9, ServiceIndex::SCTP + 10),
];

fn addresses() -> impl Strategy<Value = AddrSet> {
    let union = |names: Vec<&str>| {
        names.into_iter().map(network).fold(AddrSet::empty(), |all, one| all.union(&one))
    };
    let some = subsequence(NETWORKS.to_vec(), 1..4).prop_map(union);
    let except = subsequence(NETWORKS.to_vec(), 0..3).prop_map(union);
    prop_oneof![
        2 => Just(AddrSet::any()),
        1 => except.clone().prop_map(|except| AddrSet::any().subtract(&except)),
        6 => (some, except).prop_map(|(some, except)| some.subtract(&except)),
    ]
}

fn services() -> impl Strategy<Value = ServiceSet> {
    let some = subsequence(SERVICES.to_vec(), 1..4).prop_map(ServiceSet::from_ranges);
    prop_oneof![1 => Just(ServiceSet::full()), 4 => some]
}

/// Half of what a rule admits, counted one way, and the rest another.
fn counts(services: ServiceSet) -> impl Strategy<Value = (ServiceSet, Vec<(ServiceSet, Count)>)> {
    let kinds = select(vec![Count::Http1, Count::Tls, Count::Mysql, Count::Dns]);
    let part = subsequence(SERVICES.to_vec(), 1..3).prop_map(ServiceSet::from_ranges);
    (part, kinds, 0..4_u8).prop_map(move |(part, kind, how)| {
        let part = services.intersect(&part);
        let counts = match how {
            0 if !part.is_empty() => {
                vec![(part.clone(), kind), (services.subtract(&part), Count::Dns)]
            }
            1 if !part.is_empty() => vec![(part, kind)],
            _ => Vec::new(),
        };
        (services.clone(), counts)
    })
}

prop_compose! {
    /// The rarely asked conditions; mostly none.
    fn context()(
        interfaces in prop_oneof![6 => Just(vec![]), 1 => Just(vec!["eth*"]), 1 => Just(vec!["eth1", "wg?"])],
        vlans in prop_oneof![6 => Just(vec![]), 1 => Just(vec![5]), 1 => Just(vec![5, 4095])],
        flags in prop_oneof![6 => Just(None), 1 => Just(Some((2, 2))), 1 => Just(Some((18, 16)))],
    ) -> (Vec<String>, Vec<u16>, Option<TcpFlags>) {
        let flags = flags.map(|(mask, value)| TcpFlags { mask, value });
        (interfaces.into_iter().map(str::to_owned).collect(), vlans, flags)
    }
}

prop_compose! {
    fn any_rule(rare: bool)(
        remote in addresses(),
        local in prop_oneof![3 => Just(AddrSet::any()), 1 => addresses()],
        (services, counts) in services().prop_flat_map(counts),
        (interfaces, vlans, tcp_flags) in context(),
        log in select(vec![Log::Default, Log::Off, Log::Sampled]),
    ) -> Rule {
        let plain = Rule { remote, services, counts, log, ..rule("") };
        if rare { Rule { local, interfaces, vlans, tcp_flags, ..plain } } else { plain }
    }
}

fn any_chain(rare: bool) -> impl Strategy<Value = Chain> {
    let rules = |most| proptest::collection::vec(any_rule(rare), 0..most);
    let default = select(vec![Action::Drop, Action::Drop, Action::Allow]);
    (rules(3), rules(4), rules(8), default).prop_map(|(failsafe, deny, allow, default)| {
        let mut chain = Chain { default, ..chain(failsafe, deny, allow) };
        let lists = [&mut chain.failsafe, &mut chain.deny, &mut chain.allow];
        for (number, rule) in lists.into_iter().flatten().enumerate() {
            rule.name = format!("rule-{number}");
        }
        chain
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    any::<bool>().prop_flat_map(|rare| {
        (any_chain(rare), any_chain(rare)).prop_map(|(ingress, egress)| policy_of(ingress, egress))
    })
}

/// Picks of a query, by index into whatever the policy makes worth asking.
type Picks = (bool, Index, Index, Index, (Index, Index, u8, bool));

fn picks() -> impl Strategy<Value = Vec<Picks>> {
    proptest::collection::vec(any::<Picks>(), 300)
}

/// First and last addresses of every set, and their neighbours, by family.
fn places(policy: &Policy) -> [Vec<IpAddr>; 2] {
    let mut v4: Vec<u32> = vec![0, u32::MAX, 0x0a01_0203];
    let mut v6: Vec<u128> = vec![0, u128::MAX, 0x2001_0db8 << 96 | 7];
    for chain in [&policy.ingress, &policy.egress] {
        for rule in chain.rules() {
            for set in [&rule.remote, &rule.local] {
                for &(a, b) in set.v4.ranges() {
                    v4.extend([a, b, a.saturating_sub(1), b.saturating_add(1), a ^ 0x100]);
                }
                for &(a, b) in set.v6.ranges() {
                    v6.extend([a, b, a.saturating_sub(1), b.saturating_add(1), a ^ 1 << 64]);
                }
            }
        }
    }
    let v4 = v4.into_iter().map(|address| IpAddr::V4(address.into())).collect();
    [v4, v6.into_iter().map(|address| IpAddr::V6(address.into())).collect()]
}

fn queries(policy: &Policy, picks: &[Picks]) -> Vec<Query<'static>> {
    let places = places(policy);
    let ends = SERVICES.iter().flat_map(|&(a, b)| [a.saturating_sub(1), a, b, b + 1]);
    let services: Vec<u32> = ends.filter(|&index| index < ServiceIndex::END).collect();
    let vlans = [None, Some(0), Some(5), Some(6), Some(4095)];
    let interfaces: [&str; 4] = ["eth0", "eth1", "wg0", "ppp9"];
    let query =
        |&(ingress, remote, local, service, (interface, vlan, tcp_flags, reply)): &Picks| {
            let places = &places[usize::from(tcp_flags & 0x40 != 0)];
            Query {
                direction: if ingress { Direction::Ingress } else { Direction::Egress },
                remote: *remote.get(places),
                local: *local.get(places),
                service: ServiceIndex(*service.get(&services)),
                context: if reply && tcp_flags & 0xa0 == 0xa0 {
                    Context::Reply { interfaces: &["eth0", "eth1", "wg0"] }
                } else {
                    Context::Packet {
                        interface: interface.get::<&str>(&interfaces),
                        vlan: *vlan.get(&vlans),
                        tcp_flags,
                    }
                },
            }
        };
    picks.iter().map(query).collect()
}

/// The cell that the model's verdict asks for.
pub(super) fn wanted(policy: &Policy, generation: &Generation, query: &Query<'_>) -> Cell {
    let verdict = model::evaluate(policy, query);
    let allow = if verdict.action == Action::Allow { Cell::ALLOW } else { 0 };
    let Some((list, place)) = verdict.rule else {
        return Cell(Cell::NO_SLOT | Cell::DEFAULT | allow);
    };
    let rule = &model::rules(policy.chain(query.direction), list)[place];
    let counted = rule.counts.iter().find(|(part, _)| part.contains(query.service.0));
    let kind = match counted.map(|&(_, kind)| kind) {
        None => 0,
        Some(Count::Http1) => 1,
        Some(Count::Tls) => 2,
        Some(Count::Mysql) => 3,
        Some(Count::Dns) => 4,
    };
    let failsafe = if list == List::Failsafe { Cell::FAILSAFE } else { 0 };
    let log = match rule.log {
        Log::Default => 0,
        Log::Off => Cell::QUIET,
        Log::Sampled => Cell::SAMPLE,
    };
    let slot = info(generation, query.direction, list, place).slot;
    Cell(slot | allow | failsafe | log | kind << Cell::COUNT_SHIFT)
}

/// Compiles a policy, its rules without interfaces, VLANs and flags, and holds it against the
/// model.
fn agrees_within(budget: Budget, policy: Policy, picks: &[Picks]) -> Generation {
    let policy = in_every_context(policy);
    let environment = Environment { budget, ..environment() };
    let generation = compile(&policy, &environment, &mut SlotTable::default()).unwrap();
    for query in queries(&policy, picks) {
        check(wanted(&policy, &generation, &query), ask(&generation, &query), &query);
    }
    generation
}

/// The policy, its rules without interfaces, VLANs and flags.
fn in_every_context(mut policy: Policy) -> Policy {
    for chain in [&mut policy.ingress, &mut policy.egress] {
        for rule in chain.failsafe.iter_mut().chain(&mut chain.deny).chain(&mut chain.allow) {
            rule.interfaces.clear();
            rule.vlans.clear();
            rule.tcp_flags = None;
        }
    }
    policy
}

pub(super) fn check(wanted: Cell, found: Cell, query: &Query<'_>) {
    if matches!(query.context, Context::Reply { .. }) {
        let admitted = |cell: Cell| cell.has(Cell::ALLOW);
        assert_eq!(admitted(wanted), admitted(found), "{query:?}: {wanted:x?}, {found:x?}");
    } else {
        assert_eq!(wanted, found, "{query:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn both_forms(policy in any_policy(), picks in picks()) {
        let dense = compiled(&policy);
        let no_budget = Environment { budget: SHARED, ..environment() };
        let sparse = compile(&policy, &no_budget, &mut SlotTable::default()).unwrap();
        for query in queries(&policy, &picks) {
            let wanted = wanted(&policy, &dense, &query);
            check(wanted, ask(&dense, &query), &query);
            check(wanted, ask(&sparse, &query), &query);
        }
    }

    #[test]
    fn two_stages(policy in any_policy(), picks in picks()) {
        let generation = agrees_within(SHARED, policy, &picks);
        let of = |setting: Setting| generation.settings[setting as usize];
        let asks = of(Setting::LocalClassesIngress) > 1 && of(Setting::ServiceClassesIngress) > 0;
        prop_assert_eq!(of(Setting::CombinedIngress) != 0, asks);
    }

    #[test]
    fn lines(policy in any_policy(), picks in picks()) {
        let generation = agrees_within(LINES, policy, &picks);
        let of = |setting: Setting| generation.settings[setting as usize];
        prop_assert_eq!(of(Setting::LinesIngress) != 0, of(Setting::ServiceClassesIngress) > 0);
        prop_assert_eq!(of(Setting::LinesEgress) != 0, of(Setting::ServiceClassesEgress) > 0);
        prop_assert_eq!(of(Setting::SummariesIngress), 0, "rows for all");
    }

    #[test]
    fn vectors(policy in any_policy(), picks in picks()) {
        let generation = agrees_within(VECTORS, policy, &picks);
        let of = |setting: Setting| generation.settings[setting as usize];
        prop_assert_eq!(of(Setting::LinesIngress) != 0, of(Setting::ServiceClassesIngress) > 0);
        prop_assert_eq!(of(Setting::LinesEgress) != 0, of(Setting::ServiceClassesEgress) > 0);
    }

    /// Room that another policy had, in whatever form, changes no verdict.
    #[test]
    fn in_the_room_of_another(
        before in any_policy(),
        policy in any_policy(),
        budget in prop_oneof![Just(Budget::USUAL), Just(SHARED), Just(LINES), Just(VECTORS)],
        picks in picks(),
    ) {
        let environment = Environment { budget, ..environment() };
        let before = compile(&before, &environment, &mut SlotTable::default()).unwrap();
        let environment = Environment { told: Some(before.settings), ..environment };
        let generation = compile(&policy, &environment, &mut SlotTable::default()).unwrap();
        for query in queries(&policy, &picks) {
            check(wanted(&policy, &generation, &query), ask(&generation, &query), &query);
        }
    }

    /// Of many local ends, some are spare.
    #[test]
    fn many_local_ends(
        rules in proptest::collection::vec((0..60_u8, 0..60_u8, 0..SERVICES.len()), 40..80),
        budget in prop_oneof![Just(Budget::USUAL), Just(SHARED), Just(LINES), Just(VECTORS)],
        picks in picks(),
    ) {
        let rule = |(remote, local, service): (u8, u8, usize)| Rule {
            remote: network(&format!("10.{remote}.0.0/16")),
            local: network(&format!("192.0.{local}.0/24")),
            services: ServiceSet::range(SERVICES[service].0, SERVICES[service].1),
            ..rule(&format!("{remote}-{local}-{service}"))
        };
        let rules: Vec<Rule> = rules.into_iter().map(rule).collect();
        let policy = policy_of(chain(vec![], vec![], rules.clone()), chain(vec![], vec![], rules));
        let generation = agrees_within(budget, policy.clone(), &picks);
        let environment = Environment { told: Some(generation.settings), budget, ..environment() };
        let mut fewer = policy;
        fewer.ingress.allow.truncate(36);
        let generation = compile(&fewer, &environment, &mut SlotTable::default()).unwrap();
        for query in queries(&fewer, &picks) {
            check(wanted(&fewer, &generation, &query), ask(&generation, &query), &query);
        }
    }

    #[test]
    fn order_does_not_matter(
        policy in any_policy(),
        picks in picks(),
        shuffle in any::<u64>(),
    ) {
        let mut shuffled = policy.clone();
        for chain in [&mut shuffled.ingress, &mut shuffled.egress] {
            for list in [&mut chain.failsafe, &mut chain.deny, &mut chain.allow] {
                let middle = list.len().min(usize::try_from(shuffle % 8).unwrap());
                list.rotate_left(middle);
                if shuffle & 8 != 0 {
                    list.reverse();
                }
            }
        }
        let (before, after) = (compiled(&policy), compiled(&shuffled));
        for query in queries(&policy, &picks) {
            let (a, b) = (ask(&before, &query), ask(&after, &query));
            for bit in [Cell::ALLOW, Cell::FAILSAFE, Cell::DEFAULT] {
                let reply = matches!(query.context, Context::Reply { .. });
                prop_assert!(reply && bit != Cell::ALLOW || a.has(bit) == b.has(bit), "{:?}", query);
            }
        }
    }

    #[test]
    fn same_input_same_words(policy in any_policy()) {
        let (a, b) = (compiled(&policy), compiled(&policy));
        prop_assert_eq!(&a.words, &b.words);
        prop_assert_eq!((a.settings, &a.hash), (b.settings, &b.hash));
        // Where nothing has changed, all stays as it was told.
        let told = Environment { told: Some(a.settings), ..environment() };
        let again = compile(&policy, &told, &mut SlotTable::default()).unwrap();
        prop_assert_eq!((&a.words, a.settings), (&again.words, again.settings));
        // Another seed moves pairs about, and changes no verdict: see above.
        let environment = Environment { seed: 1, ..environment() };
        let other = compile(&policy, &environment, &mut SlotTable::default()).unwrap();
        prop_assert_eq!(&a.words, &other.words);
    }
}

#[test]
fn later_fragments_need_a_rule_for_every_service() {
    let tcp = Rule { services: ServiceSet::range(0, 65_535), ..rule("tcp") };
    let all = Rule { remote: network("10.0.0.0/8"), ..rule("all") };
    let policy = policy_of(chain(vec![], vec![], vec![tcp, all]), chain(vec![], vec![], vec![]));
    let generation = compiled(&policy);
    let of = |remote: &str| {
        let query = Query {
            direction: Direction::Ingress,
            remote: address(remote),
            local: address("192.0.2.1"),
            service: ServiceIndex(ServiceIndex::OTHER + 6),
            context: Context::Packet { interface: "eth0", vlan: None, tcp_flags: 0 },
        };
        check(wanted(&policy, &generation, &query), ask(&generation, &query), &query);
        ask(&generation, &query).has(Cell::ALLOW)
    };
    assert_eq!((of("10.1.1.1"), of("192.0.2.9")), (true, false));
}

#[test]
fn a_service_that_needs_no_address_is_final() {
    use firewall_common::abi::tables::ServiceWord;
    let ssh =
        Rule { services: ServiceSet::range(22, 22), remote: network("10.0.0.0/8"), ..rule("ssh") };
    let web = Rule { services: ServiceSet::range(80, 80), ..rule("web") };
    let generation =
        compiled(&policy_of(chain(vec![], vec![], vec![ssh, web]), chain(vec![], vec![], vec![])));
    let first = generation.settings[Setting::ServicesIngress as usize];
    let word = |port: u32| {
        let place = first + ServiceIndex(port).place();
        ServiceWord(generation.words[place as usize]).decided()
    };
    assert_eq!(word(22), None);
    assert_eq!(word(80), Some(Cell(1 | Cell::ALLOW)));
    assert_eq!(word(81), Some(Cell(Cell::NO_SLOT | Cell::DEFAULT)));
    // One, and room.
    assert_eq!(generation.settings[Setting::ServiceClassesIngress as usize], 8);
    assert_eq!(generation.settings[Setting::RootV6 as usize], 0);
}

#[test]
fn ranks_are_failsafe_deny_allow() {
    let mut policy = policy_of(
        chain(vec![rule("f")], vec![rule("d")], vec![rule("a")]),
        chain(vec![], vec![], vec![]),
    );
    policy.egress.allow.push(rule("e").into());
    let resolved = resolve::Resolved::new(&policy);
    let lists: Vec<List> = resolved.chains[0].rules.iter().map(|rule| rule.list).collect();
    assert_eq!(lists, [List::Failsafe, List::Deny, List::Allow]);
}

#[test]
fn replies_need_an_interface_that_exists() {
    let ask_reply = |interfaces: &[&str]| {
        let deny = Rule { interfaces: vec!["eth*".into(), "wg*".into()], ..rule("deny") };
        let chain = chain(vec![], vec![deny], vec![rule("allow")]);
        let policy = policy_of(chain, super::chain(vec![], vec![], vec![]));
        let known = INTERFACES.into_iter().chain([("ppp0", 9)]);
        let environment = Environment {
            interfaces: known
                .filter(|(name, _)| interfaces.contains(name))
                .map(|(name, index)| (name.to_owned(), index))
                .collect(),
            ..environment()
        };
        let generation = compile(&policy, &environment, &mut SlotTable::default()).unwrap();
        let query = Query {
            direction: Direction::Ingress,
            remote: address("192.0.2.9"),
            local: address("192.0.2.1"),
            service: ServiceIndex(80),
            context: Context::Reply { interfaces },
        };
        check(wanted(&policy, &generation, &query), ask(&generation, &query), &query);
        ask(&generation, &query).has(Cell::ALLOW)
    };
    assert!(!ask_reply(&["eth0", "wg0"]));
    assert!(ask_reply(&["eth0", "ppp0"]));
    assert!(ask_reply(&[]));
}
