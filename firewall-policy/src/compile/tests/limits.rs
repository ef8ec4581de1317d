//! What does not fit is refused with a figure; what is small stays small.

use super::*;
use crate::compile::CompileError;

/// As many rules as asked, each of a network and a port of its own.
pub(super) fn scattered(rules: u32) -> Policy {
    let own = |number: u32| {
        let first = number.wrapping_mul(40_503) << 8;
        Rule {
            remote: AddrSet {
                v4: crate::set::RangeSet::range(first, first | 0xff),
                v6: crate::set::RangeSet::empty(),
            },
            services: ServiceSet::range(number % 131_072, number % 131_072),
            ..rule(&format!("own-{number}"))
        }
    };
    policy_of(chain(vec![], vec![], (0..rules).map(own).collect()), chain(vec![], vec![], vec![]))
}

#[test]
fn a_role_takes_little() {
    let generation = compiled(&scattered(100));
    assert!(generation.memory.table_bytes() < 2 << 20, "{:?}", generation.memory);
    assert_eq!(generation.memory.table_bytes(), 4 * generation.words.len() as u64);
}

#[test]
fn a_rule_more_leaves_every_number_in_place_most_often() {
    use firewall_common::abi::tables::Setting;
    let settings = |rules| {
        let mut settings = compiled(&scattered(rules)).settings;
        // Counters have room of their own.
        settings[Setting::RuleSlots as usize] = 0;
        settings
    };
    for rules in [10, 1_000, 10_000] {
        let (few, more) = (settings(rules), settings(rules + 1));
        assert_eq!(few, more, "{rules} rules");
    }
    let steps = (20..80).filter(|rules| settings(*rules) != settings(rules + 1)).count();
    assert!((1..=60 / 4).contains(&steps), "{steps} of 60 rules have moved something");
}

#[test]
fn memory_max_is_kept() {
    let policy = Policy { memory_max: Some(2 << 20), ..scattered(10) };
    let error = compile(&policy, &environment(), &mut SlotTable::default()).unwrap_err();
    let CompileError::Memory { memory, is_setting, .. } = &error else { panic!("{error}") };
    assert!(*is_setting && memory.total_bytes() > 2 << 20);
    let text = error.to_string();
    assert!(text.contains("`memory-max` allows 2.0 MiB"), "{text}");
    assert!(text.contains("service tables"), "{text}");
}

#[test]
fn too_many_pairs_are_refused_before_they_are_made() {
    // Every rule's network meets every port: a million pairs, and no room.
    let mut policy = scattered(1000);
    let networks = policy.ingress.allow.iter().map(|rule| rule.remote.clone());
    let all = networks.fold(AddrSet::empty(), |all, one| all.union(&one));
    for rule in &mut policy.ingress.allow {
        rule.remote = all.clone();
    }
    policy.ingress.deny = scattered(1000).ingress.allow;
    policy.memory_max = Some(1 << 20);
    let environment =
        Environment { budget: Budget { dense_bytes: 1 << 20, ..Budget::USUAL }, ..environment() };
    let error = compile(&policy, &environment, &mut SlotTable::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("ingress cells (1001 address classes by 1000 service classes)"),
        "{text}"
    );
}

#[test]
fn more_interfaces_than_the_list_holds() {
    let eth = Rule { interfaces: vec!["eth*".into()], ..rule("eth") };
    let policy = policy_of(chain(vec![], vec![], vec![eth]), chain(vec![], vec![], vec![]));
    let interfaces = |count| (1..=count).map(|n| (format!("eth{n}"), n)).collect();
    let of = |count| {
        let environment = Environment { interfaces: interfaces(count), ..environment() };
        compile(&policy, &environment, &mut SlotTable::default())
    };
    assert!(of(16).is_ok());
    let error = of(17).unwrap_err();
    assert_eq!(error, CompileError::Interfaces { listed: 17 });
    assert!(error.to_string().starts_with("rules tell 17 interfaces"));
}
