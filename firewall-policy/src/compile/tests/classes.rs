//! Points fall into one class if no set tells them apart.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::compile::classes::{Run, Sweep, class_of};
use crate::compile::hosts::Apart;
use crate::set::RangeSet;

/// Points of a small world at both ends of the large one.
fn point(place: u32) -> u32 {
    if place < 30 { place } else { u32::MAX - (59 - place) }
}

/// Sets of few and of many ranges, of which most are lone points.
fn sets() -> impl Strategy<Value = Vec<RangeSet<u32>>> {
    let range =
        (0_u32..60, prop_oneof![4 => Just(0_u32), 1 => 0..9_u32]).prop_map(|(first, length)| {
            let last = (first + length).min(if first < 30 { 29 } else { 59 });
            (point(first), point(last))
        });
    vec(vec(range, 0..20).prop_map(RangeSet::from_ranges), 0..14)
}

fn divided(sets: &[RangeSet<u32>]) -> (Vec<Run<u32>>, Sweep) {
    let (mut sweep, mut runs) = (Sweep::new(sets.len(), 7), Vec::new());
    let numbered = (0..).zip(sets).map(|(number, set)| (number, set.ranges()));
    sweep.divide(numbered, |run| runs.push(run)).unwrap();
    (runs, sweep)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_class_is_what_holds_its_points(sets in sets()) {
        let (runs, sweep) = divided(&sets);
        let members = sweep.into_members();
        prop_assert_eq!(runs[0].first, 0);
        for two in runs.windows(2) {
            prop_assert!(two[0].first < two[1].first && two[0].class != two[1].class);
        }
        for point in (0..60).map(point).chain([30, u32::MAX / 2]) {
            let held = (0..).zip(&sets).filter(|(_, set)| set.contains(point));
            let held: Vec<u32> = held.map(|(number, _)| number).collect();
            prop_assert_eq!(members.of(class_of(&runs, point)), held);
        }
    }

    #[test]
    fn lone_addresses_keep_their_class(sets in sets(), least in 0_usize..20) {
        let (runs, _) = divided(&sets);
        let mut apart = Apart::new();
        for run in &runs {
            apart.push(*run);
        }
        let (left, lone) = apart.finish(least);
        prop_assert!(lone.is_empty() || lone.len() >= least);
        if lone.is_empty() {
            prop_assert_eq!(&left, &runs);
        }
        prop_assert!(left.is_sorted_by(|a, b| a.first < b.first && a.class != b.class));
        for point in (0..60).map(point) {
            let found = lone.iter().find(|(address, _)| *address == point);
            let class = found.map_or_else(|| class_of(&left, point), |(_, class)| *class);
            prop_assert_eq!(class, class_of(&runs, point));
        }
    }
}
