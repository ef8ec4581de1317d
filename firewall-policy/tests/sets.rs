//! Sets of ranges obey the laws of sets, at the edges of the number range too.

use std::collections::BTreeSet;

use firewall_policy::set::{AddrSet, RangeSet};
use proptest::prelude::*;

/// Small numbers and the last ones before the end, so that ranges touch.
fn value() -> impl Strategy<Value = u32> {
    prop_oneof![0..24_u32, (u32::MAX - 8)..=u32::MAX]
}

fn universe() -> impl Iterator<Item = u32> {
    (0..32).chain((u32::MAX - 16)..=u32::MAX)
}

fn set() -> impl Strategy<Value = RangeSet<u32>> {
    prop::collection::vec((value(), value()), 0..6).prop_map(RangeSet::from_ranges)
}

fn members(set: &RangeSet<u32>) -> BTreeSet<u32> {
    universe().filter(|&value| set.contains(value)).collect()
}

/// Sorted, disjoint, not even adjacent: one set has one form.
fn is_canonical(set: &RangeSet<u32>) -> bool {
    let ordered = set.ranges().iter().all(|(first, last)| first <= last);
    let apart = |pair: &[(u32, u32)]| pair[0].1 < u32::MAX && pair[0].1 + 1 < pair[1].0;
    ordered && set.ranges().windows(2).all(apart)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operations_are_those_of_sets(a in set(), b in set()) {
        let (x, y) = (members(&a), members(&b));
        prop_assert_eq!(members(&a.union(&b)), &x | &y);
        prop_assert_eq!(members(&a.intersect(&b)), &x & &y);
        prop_assert_eq!(members(&a.subtract(&b)), &x - &y);
        prop_assert_eq!(a.is_subset(&b), a.subtract(&b).is_empty());
        prop_assert_eq!(a.is_disjoint(&b), a.intersect(&b).is_empty());
        for result in [a.union(&b), a.intersect(&b), a.subtract(&b), a.complement()] {
            prop_assert!(is_canonical(&result), "{:?}", result);
        }
    }

    #[test]
    fn laws_hold(a in set(), b in set(), c in set()) {
        prop_assert_eq!(&a.complement().complement(), &a);
        prop_assert_eq!(a.union(&b).complement(), a.complement().intersect(&b.complement()));
        prop_assert_eq!(a.intersect(&b.union(&c)), a.intersect(&b).union(&a.intersect(&c)));
        prop_assert_eq!(&a.subtract(&b).union(&a.intersect(&b)), &a);
        prop_assert!(a.union(&a.complement()).is_full());
        prop_assert!(a.intersect(&a.complement()).is_empty());
    }

    #[test]
    fn the_union_of_many_is_the_union_of_each(sets in prop::collection::vec(set(), 0..5)) {
        let sets: Vec<AddrSet> =
            sets.into_iter().map(|v4| AddrSet { v4, v6: RangeSet::empty() }).collect();
        let one_by_one = sets.iter().fold(AddrSet::empty(), |all, one| all.union(one));
        prop_assert_eq!(AddrSet::union_all(&sets), one_by_one);
    }
}
