//! Counters keep their slots.

use super::*;
use crate::ir::Count;

fn named(names: &[&str]) -> Policy {
    let allow = names.iter().map(|name| rule(name)).collect();
    policy_of(chain(vec![], vec![], allow), chain(vec![], vec![], vec![]))
}

fn slots_of(policy: &Policy, table: &mut SlotTable) -> Vec<(String, u32, bool)> {
    let generation = compile(policy, &environment(), table).unwrap();
    let info = |rule: super::super::RuleInfo| (rule.full_name(), rule.slot, rule.new);
    generation.rules.into_iter().map(info).collect()
}

#[test]
fn names_keep_slots_across_generations() {
    let mut table = SlotTable::default();
    let first = slots_of(&named(&["a", "b", "c"]), &mut table);
    assert_eq!(first[2], ("test/c".into(), 2, true));
    let second = slots_of(&named(&["c", "d"]), &mut table);
    assert_eq!(second, [("test/c".into(), 2, false), ("test/d".into(), 3, true)]);
    let third = slots_of(&named(&["d", "b"]), &mut table);
    assert_eq!(third, [("test/d".into(), 3, false), ("test/b".into(), 1, false)]);
    assert_eq!(table.rules(), 4);
}

#[test]
fn the_same_name_in_the_other_direction_is_another_rule() {
    let mut policy = named(&["a"]);
    policy.egress.allow = policy.ingress.allow.clone();
    let slots = slots_of(&policy, &mut SlotTable::default());
    assert_eq!(slots, [("test/a".into(), 0, true), ("test/a".into(), 1, true)]);
}

#[test]
fn removed_names_give_up_their_slots_when_they_run_out() {
    let mut table = SlotTable::default();
    let names: Vec<String> = (0..256).map(|n| format!("old-{n}")).collect();
    slots_of(&named(&names.iter().map(String::as_str).collect::<Vec<_>>()), &mut table);
    let mut slots = |names: &[&str]| {
        let slots = slots_of(&named(names), &mut table);
        let plain = |(name, slot, new): (String, u32, bool)| (name.replace("test/", ""), slot, new);
        (slots.into_iter().map(plain).collect::<Vec<_>>(), table.rules())
    };
    let is = |name: &str, slot, new| (name.to_owned(), slot, new);
    // The old ones may still count, or count again.
    let wanted = vec![is("old-7", 7, false), is("new", 256, true)];
    assert_eq!(slots(&["old-7", "new"]), (wanted, 257));
    let wanted = vec![is("old-7", 7, false), is("newer", 0, true), is("newest", 1, true)];
    assert_eq!(slots(&["old-7", "newer", "newest"]), (wanted, 257));
}

#[test]
fn a_refused_policy_takes_no_slots() {
    let mut table = SlotTable::default();
    slots_of(&named(&["a"]), &mut table);
    let before = table.clone();
    let policy = Policy { memory_max: Some(1), ..named(&["b"]) };
    compile(&policy, &environment(), &mut table).unwrap_err();
    assert_eq!(table, before);
}

#[test]
fn the_table_survives_serialisation() {
    let mut table = SlotTable::default();
    slots_of(&named(&["a", "b"]), &mut table);
    let json = serde_json::to_string(&table).unwrap();
    assert_eq!(
        json,
        r#"{"rules":["ingress test/a","ingress test/b"],"requests":[],"idle":[[],[]]}"#
    );
    assert_eq!(serde_json::from_str::<SlotTable>(&json).unwrap(), table);
}

#[test]
fn counting_rules_have_request_slots() {
    use firewall_common::abi::tables::Setting;
    let mut policy = named(&["a", "b"]);
    let web = ServiceSet::range(80, 80);
    *policy.ingress.allow[1] =
        Rule { services: web.clone(), counts: vec![(web, Count::Http1)], ..rule("b") };
    let mut table = SlotTable::default();
    let generation = compile(&policy, &environment(), &mut table).unwrap();
    let requests: Vec<_> = generation.rules.iter().map(|rule| rule.request_slot).collect();
    assert_eq!(requests, [None, Some(0)]);
    let first = generation.settings[Setting::RequestSlots as usize] as usize;
    assert_eq!(generation.words[first..first + 2], [u32::MAX, 0]);
    let json = serde_json::to_value(&generation.rules[1]).unwrap();
    assert_eq!(json["counts"], serde_json::json!(["http1"]));
    assert_eq!(json["direction"], "ingress");
    assert_eq!(json["place"], "rules/test.yaml:2");
    let back: super::super::RuleInfo = serde_json::from_value(json).unwrap();
    assert_eq!(back, generation.rules[1]);
}

#[test]
fn the_hash_is_of_the_meaning() {
    let hash = |policy: &Policy| compiled(policy).hash;
    let policy = named(&["a", "b"]);
    let same = Policy { tests: Vec::new(), ..policy.clone() };
    assert_eq!(hash(&policy), hash(&same));
    let mut told = policy.clone();
    told.ingress.allow[0].reason = Some("because".into());
    assert_eq!(hash(&policy), hash(&told));
    let mut others =
        vec![named(&["a"]), named(&["b", "a"]), policy.clone(), policy.clone(), policy.clone()];
    others[2].ingress.allow[1].vlans = vec![5];
    others[3].ingress.allow[1].remote = network("10.0.0.0/8");
    others[4].egress.default = Action::Allow;
    for other in &others {
        assert_ne!(hash(&policy), hash(other));
    }
    assert_eq!(compiled(&policy).short_hash().len(), 7);
}

proptest::proptest! {
    #[test]
    fn a_rule_keeps_its_slot_whatever_comes_and_goes(
        generations in proptest::collection::vec(proptest::collection::vec(0_u32..40, 0..12), 1..6),
    ) {
        let mut table = SlotTable::default();
        let mut before: std::collections::HashMap<String, u32> = <_>::default();
        for names in generations {
            let names: Vec<String> = names.iter().map(|name| format!("r{name}")).collect();
            let policy = named(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let slots = slots_of(&policy, &mut table);
            for (place, (name, slot, is_new)) in slots.iter().enumerate() {
                let same = slots.iter().filter(|(other, ..)| other == name);
                proptest::prop_assert!(same.clone().all(|(_, other, _)| other == slot));
                let others = slots.iter().filter(|(other, ..)| other != name);
                proptest::prop_assert!(others.clone().all(|(_, other, _)| other != slot));
                // Nothing runs out here: who was there before counts on.
                proptest::prop_assert_eq!(before.get(name), Some(slot).filter(|_| !is_new));
                proptest::prop_assert_eq!(&slots[place].0, &format!("test/{}", names[place]));
            }
            before.extend(slots.into_iter().map(|(name, slot, _)| (name, slot)));
        }
    }
}
