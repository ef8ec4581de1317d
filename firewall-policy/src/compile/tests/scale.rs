//! Ten thousand rules.

use std::time::Instant;

use firewall_common::abi::tables::{Cell, Setting};
use firewall_common::service::ServiceIndex;

use super::limits::scattered;
use super::*;
use crate::set::RangeSet;

fn asked(generation: &Generation, remote: u32, service: u32) -> Cell {
    let query = Query {
        direction: Direction::Ingress,
        remote: IpAddr::V4(remote.into()),
        local: address("192.0.2.1"),
        service: ServiceIndex(service),
        context: Context::Packet { interface: "eth0", vlan: None, tcp_flags: 0 },
    };
    ask(generation, &query)
}

#[test]
fn ten_thousand_rules_in_sparse_form() {
    let policy = scattered(10_000);
    let generation = compiled(&policy);
    assert_ne!(generation.settings[Setting::RowsIngress as usize], 0);
    assert!(generation.memory.table_bytes() < 4 << 20, "{:?}", generation.memory);
    let asked = |remote, service| asked(&generation, remote, service);
    for (slot, rule) in (0..).zip(&policy.ingress.allow) {
        let (first, last) = rule.remote.v4.ranges()[0];
        let (service, _) = rule.services.ranges()[0];
        assert_eq!(asked(first, service), Cell(slot | Cell::ALLOW));
        assert_eq!(asked(last, service), Cell(slot | Cell::ALLOW));
        let default = Cell(Cell::NO_SLOT | Cell::DEFAULT);
        assert_eq!(asked(first, (service + 1) % 10_000), default);
        assert_eq!(asked(first.wrapping_sub(1), service), default);
    }
}

#[test]
fn a_crowded_row_loses_no_pair() {
    // Networks of 1 to thousands of rules each, of every third port.
    let mut policy = scattered(10_000);
    let sizes = [1, 2, 7, 8, 9, 100, 1000, 3000, 5873];
    let networks: Vec<AddrSet> =
        policy.ingress.allow.iter().take(sizes.len()).map(|rule| rule.remote.clone()).collect();
    let owners: Vec<&AddrSet> =
        networks.iter().zip(sizes).flat_map(|(network, size)| vec![network; size]).collect();
    let mut state = 1_u32;
    for rule in &mut policy.ingress.allow {
        // Scattered, as neighbouring columns never collide.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        rule.remote = owners[(state % 10_000) as usize].clone();
        let (first, _) = rule.services.ranges()[0];
        rule.services = ServiceSet::range(3 * first, 3 * first);
    }
    let environment = Environment { budget: SHARED, ..environment() };
    for seed in [0, 1, 0x5eed, u32::MAX] {
        let environment = Environment { seed, ..environment.clone() };
        let generation = compile(&policy, &environment, &mut SlotTable::default()).unwrap();
        for (slot, rule) in (0..).zip(&policy.ingress.allow) {
            let (remote, service) = (rule.remote.v4.ranges()[0].0, rule.services.ranges()[0].0);
            assert_eq!(asked(&generation, remote, service), Cell(slot | Cell::ALLOW));
            let other = asked(&generation, remote, service + 1);
            assert_eq!(other, Cell(Cell::NO_SLOT | Cell::DEFAULT));
        }
    }
}

#[test]
fn rules_that_no_form_is_made_for_are_compiled_or_refused_soon() {
    // Own networks at both ends, of sizes up to a spread; own ports, or ranges that overlap.
    let rules = |count: u32, spread: u32, (ports, width): (u32, u32)| -> Vec<Rule> {
        let network = |base: u32, number: u32| {
            let first = base | number.wrapping_mul(0x9e37_79b1) >> 8;
            let v4 = RangeSet::range(first, first | (number % spread) << 4);
            AddrSet { v4, v6: RangeSet::empty() }
        };
        let rule = |number: u32| Rule {
            remote: network(10 << 24, number),
            local: network(20 << 24, number.wrapping_mul(7)),
            services: ServiceSet::range(number % ports, number % ports + width),
            ..rule(&format!("r{number}"))
        };
        (0..count).map(rule).collect()
    };
    let is_made = |rules: Vec<Rule>| {
        let policy = policy_of(chain(vec![], vec![], rules), chain(vec![], vec![], vec![]));
        let (start, mut slots) = (Instant::now(), SlotTable::default());
        let made = compile(&policy, &environment(), &mut slots).is_ok();
        let took = start.elapsed();
        assert!(took.as_secs() < 60, "{} rules: {took:?}", policy.ingress.allow.len());
        made
    };
    assert!(!is_made(rules(60_000, 1, (40_000, 20_000))));
    assert!(!is_made(rules(20_000, 4_000, (20_000, 20_000))));
    assert!(is_made(rules(3_000, 40_000, (1, 20_000))));
    assert!(is_made(rules(10_000, 1, (10_000, 0))));
}
