//! Lone addresses of huge sets: exact at each of them, and beside them.

use firewall_common::abi::tables::Setting;
use firewall_common::service::ServiceIndex;

use super::*;
use crate::model;
use crate::set::RangeSet;

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Addresses of both families, all over.
fn crowd(state: &mut u64, count: usize) -> AddrSet {
    let v4 = (0..count).map(|_| (random(state) >> 32) as u32).map(|host| (host, host));
    let v4 = v4.chain([(0, 0), (u32::MAX, u32::MAX), (0x0a01_0203, 0x0a01_0203)]).collect();
    let v6 = (0..count).map(|_| {
        let upper =
            [0x2001_0db8_0000_0000, 0xfe80_0000_0000_0000][usize::from(random(state) & 1 != 0)];
        u128::from(upper | random(state) & 0xff) << 64 | u128::from(random(state))
    });
    let v6 = v6.map(|host| (host, host)).collect();
    AddrSet { v4: RangeSet::from_ranges(v4), v6: RangeSet::from_ranges(v6) }
}

/// Two crowds that overlap, and networks around some of them.
fn policy_of_crowds(count: usize, wide: &str) -> Policy {
    let mut state = 0x5eed;
    let [first, second, both] = [(); 3].map(|()| crowd(&mut state, count));
    let named = |name: &str, remote: AddrSet| Rule { remote, ..rule(name) };
    let deny = vec![
        named("first", first.union(&both)),
        named("a-hole", network("10.0.0.0/8").subtract(&network("10.1.2.3/32"))),
    ];
    let port = ServiceSet::range(80, 80);
    let allow = vec![
        Rule { services: port, ..named("second", second.union(&both)) },
        named("networks", network(wide).union(&network("2001:db8::/56"))),
        named("lan", network("192.0.2.0/24")),
    ];
    policy_of(chain(vec![], deny, allow), chain(vec![], vec![], vec![]))
}

#[test]
fn lone_addresses_and_their_neighbours_have_their_own_class() {
    // Few enough networks for the filter, and too many.
    let policies = [("64.0.0.0/12", 1), ("64.0.0.0/3", 0)]
        .map(|(wide, filtered)| (policy_of_crowds(6_000, wide), filtered));
    let budgets = [Budget::USUAL, SHARED];
    for ((policy, filtered), budget) in policies.iter().zip(budgets) {
        let environment = Environment { budget, ..environment() };
        let generation = compile(policy, &environment, &mut SlotTable::default()).unwrap();
        for setting in [Setting::HostsV4, Setting::HostsV6] {
            assert_ne!(generation.settings[setting as usize], 0, "{setting:?}");
        }
        assert_eq!(generation.settings[Setting::FilterNetworks as usize], *filtered);
        assert!(generation.memory.hosts > 0 && generation.memory.filter > 0);
        let mut state = 1;
        let sets = policy.ingress.deny.iter().chain(&policy.ingress.allow).map(|rule| &rule.remote);
        let mut remotes: Vec<IpAddr> = Vec::new();
        for set in sets {
            for &(first, last) in set.v4.ranges().iter().step_by(3) {
                let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                remotes.extend(near.map(|address| IpAddr::V4(address.into())));
            }
            for &(first, last) in set.v6.ranges().iter().step_by(3) {
                let near = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
                remotes.extend(near.map(|address| IpAddr::V6(address.into())));
            }
        }
        remotes.extend((0..10_000).map(|_| IpAddr::V4(((random(&mut state) >> 32) as u32).into())));
        for remote in remotes {
            let local = if remote.is_ipv4() { "192.0.2.1" } else { "2001:db8::1" };
            for service in [80, 81] {
                let query = Query {
                    direction: Direction::Ingress,
                    remote,
                    local: address(local),
                    service: ServiceIndex(service),
                    context: Context::Packet { interface: "eth0", vlan: None, tcp_flags: 0 },
                };
                let (found, wanted) = (ask(&generation, &query), model::evaluate(policy, &query));
                let slot = wanted
                    .rule
                    .map_or(firewall_common::abi::tables::Cell::NO_SLOT, |(list, place)| {
                        info(&generation, Direction::Ingress, list, place).slot
                    });
                assert_eq!(found.slot(), slot, "{remote} {service}");
            }
        }
    }
}

#[test]
fn a_few_lone_addresses_stay_in_the_trie() {
    let generation = compiled(&policy_of_crowds(100, "64.0.0.0/3"));
    assert_eq!(generation.settings[Setting::HostsV4 as usize], 0);
    assert_eq!(generation.settings[Setting::HostsV6 as usize], 0);
    assert_eq!(generation.memory.hosts, 0);
}

#[test]
fn a_million_addresses_take_what_they_may() {
    let mut policy = super::limits::scattered(100_000);
    let mut state = 9;
    let hosts = (0..1_000_000).map(|_| (random(&mut state) >> 32) as u32);
    let hosts = RangeSet::from_ranges(hosts.map(|host| (host, host)).collect());
    let crowd = Rule { remote: AddrSet { v4: hosts, v6: RangeSet::empty() }, ..rule("crowd") };
    policy.ingress.deny.push(crowd.into());
    let generation = compiled(&policy);
    assert!(generation.memory.table_bytes() < 110 << 20, "{:?}", generation.memory);
    assert!(generation.settings[Setting::HostProbes as usize] <= 96);
}
