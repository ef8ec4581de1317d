//! Programs that stay, since what they were told suffices for another policy.

use std::net::{Ipv4Addr, Ipv6Addr};

use firewall_common::abi::tables::Setting;

use super::*;

/// Numbers that nobody has chosen.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        u32::try_from((self.0 >> 33) % u64::from(bound)).unwrap()
    }
}

/// Networks of many lengths, of both families, to a port each; some from within a few networks
/// of this host.
fn policy(random: &mut Random, rules: u32) -> Policy {
    let rule = |number| {
        let (length, port) = (8 + random.below(25), 1000 + random.below(200));
        let remote = if number % 5 == 0 {
            let address = (0x2001_0db8_u128 << 96) | u128::from(random.below(u32::MAX)) << 64;
            AddrSet::network(Ipv6Addr::from(address).into(), 32 + u8::try_from(length).unwrap())
        } else {
            let address = Ipv4Addr::from(random.below(u32::MAX));
            AddrSet::network(address.into(), u8::try_from(length).unwrap())
        };
        let local = match random.below(16) {
            network @ 0..4 => network_of(network),
            _ => AddrSet::any(),
        };
        let services = ServiceSet::range(port, port);
        Rule { remote, local, services, ..super::rule(&format!("r{number}")) }
    };
    let rules: Vec<Rule> = (0..rules).map(rule).collect();
    policy_of(chain(vec![], vec![], rules.clone()), chain(vec![], vec![], rules))
}

fn network_of(number: u32) -> AddrSet {
    network(&format!("192.0.{number}.0/24"))
}

/// How many of so many policies, each behind the one before, need other programs than the
/// second did.
fn reloads(policies: impl Iterator<Item = Policy>) -> usize {
    let mut environment = environment();
    let mut count = 0;
    for policy in policies {
        let settings = compile(&policy, &environment, &mut SlotTable::default()).unwrap().settings;
        // How many counters there are depends on the maps.
        let same = |told: Settings| {
            (0..).zip(told.iter().zip(&settings)).all(|(setting, (before, now))| {
                before == now || setting == Setting::RuleSlots as usize
            })
        };
        count += usize::from(environment.told.is_some_and(|told| !same(told)));
        environment.told = Some(settings);
    }
    count
}

#[test]
fn policies_of_one_kind_soon_have_the_same_programs() {
    for rules in [50, 300, 1_000] {
        let mut random = Random(7);
        let count = reloads((0..20).map(|_| policy(&mut random, rules)));
        assert!(count <= 3, "{rules} rules: {count} of 19 were loaded anew");
    }
}

#[test]
fn what_was_large_does_not_stay_so() {
    let mut random = Random(7);
    let small = policy(&mut random, 50);
    let told = Some(compiled(&policy(&mut random, 2_000)).settings);
    let behind = Environment { told, ..environment() };
    let behind = compile(&small, &behind, &mut SlotTable::default()).unwrap();
    let (fresh, behind) = (compiled(&small).words.len(), behind.words.len());
    assert!(behind < fresh + fresh / 4, "{behind} words instead of {fresh}");
}
