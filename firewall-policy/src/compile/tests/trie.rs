//! The trie gives every address the class of its run, in few words and steps.

use firewall_common::abi::tables::{MAX_STEPS, Setting};
use firewall_common::packet::{self, Family};
use firewall_common::policy::{MISSING, Settings, Tables, address_class};
use proptest::prelude::*;

use crate::compile::classes::{Run, class_of};
use crate::compile::trie::{self, Address, BLOCK, ROOT, Tally};

/// A trie of one family, with nothing else in the tables.
struct Trie {
    words: Vec<u32>,
    family: Family,
    blocks: usize,
    compares: usize,
    steps: u32,
}

impl Trie {
    fn new<T: Address>(runs: &[Run<T>], family: Family) -> (Self, Tally) {
        let plan = trie::Plan::new(runs);
        let tally = plan.tally();
        // The root does not stand first: 0 would say that there is none.
        let blocks = 1 + ROOT;
        let compares = blocks + tally.blocks as usize * BLOCK;
        let mut words = vec![MISSING; compares + tally.compare_words::<T>()];
        let (_, rest) = words.split_at_mut(1);
        let (root, rest) = rest.split_at_mut(ROOT);
        let (block_words, compare_words) = rest.split_at_mut(compares - blocks);
        plan.write(runs, root, block_words, compare_words, Tally::default());
        (Self { words, family, blocks, compares, steps: tally.steps }, tally)
    }

    fn class(&self, address: u128) -> u32 {
        let address = packet::Address::from_v6(address);
        address_class(self, self.family, address)
    }
}

impl Settings for Trie {
    fn setting(&self, setting: Setting) -> u32 {
        let value = match setting {
            Setting::RootV4 | Setting::RootV6 => 1,
            Setting::Blocks => self.blocks,
            Setting::Compares => self.compares,
            Setting::StepsV4 | Setting::StepsV6 => self.steps as usize,
            _ => 0,
        };
        u32::try_from(value).unwrap()
    }
}

impl Tables for Trie {
    fn word(&self, index: u32) -> u32 {
        self.words.get(index as usize).copied().unwrap_or(MISSING)
    }
}

/// Runs that begin at some points; neighbours differ.
fn runs<T: Address>(mut starts: Vec<(T, u32)>) -> Vec<Run<T>> {
    starts.push((T::MIN, 0));
    starts.sort_unstable();
    starts.dedup_by_key(|(first, _)| *first);
    let mut runs: Vec<Run<T>> = Vec::new();
    for (first, class) in starts {
        if runs.last().is_none_or(|run| run.class != class) {
            runs.push(Run { first, class });
        }
    }
    runs
}

fn check<T: Address>(runs: &[Run<T>], family: Family) -> Result<(), TestCaseError> {
    let (trie, _) = Trie::new(runs, family);
    let most = if family == Family::V4 { 4 } else { MAX_STEPS };
    prop_assert!(trie.steps as usize <= most, "{} steps", trie.steps);
    for run in runs {
        for point in [Some(run.first), run.first.next(), run.first.prev()].into_iter().flatten() {
            prop_assert_eq!(trie.class(point.aligned()), class_of(runs, point), "{:?}", point);
        }
    }
    Ok(())
}

/// Points that share prefixes of every length: each is an earlier one with one
/// bit turned over, or the address behind a prefix.
fn points(bits: u32) -> impl Strategy<Value = Vec<(u128, u32)>> {
    let point = (any::<prop::sample::Index>(), 0..bits, any::<bool>(), 0..4_u32);
    proptest::collection::vec(point, 0..40).prop_map(move |picks| {
        let mut points = vec![(0x0a01_0203_u128 << 96 | 0x77, 1)];
        for (from, bit, is_end, class) in picks {
            let (from, _) = *from.get(&points);
            let bit = 127 - bit;
            let turned = from ^ 1 << bit;
            points.push((if is_end { turned >> bit << bit } else { turned }, class));
        }
        points
    })
}

proptest! {
    #[test]
    fn every_v4_address_has_its_class(points in points(32)) {
        let starts = points.into_iter().map(|(point, class)| {
            (u32::try_from(point >> 96).unwrap(), class)
        });
        check(&runs(starts.collect()), Family::V4)?;
    }

    #[test]
    fn every_v6_address_has_its_class(points in points(128)) {
        check(&runs(points), Family::V6)?;
    }
}

/// Blocks and records of a trie in which some prefixes stand out.
fn cost(prefixes: &[(u32, u32, u32)]) -> (u32, u32) {
    let starts = prefixes.iter().flat_map(|&(first, last, class)| [(first, class), (last + 1, 0)]);
    let (_, tally) = Trie::new(&runs(starts.collect()), Family::V4);
    (tally.blocks, tally.compares)
}

#[test]
fn odd_prefixes_cost_a_record_each() {
    assert_eq!(cost(&[]), (0, 0));
    assert_eq!(cost(&[(0x0a01_0203, 0x0a01_0203, 1)]), (0, 1));
    // Two in one /16.
    assert_eq!(cost(&[(0x0a01_0200, 0x0a01_02ff, 1), (0x0a01_0500, 0x0a01_0500, 2)]), (0, 2));
    // A host within a network within the background.
    let nested = [(0x0a01_0000_u32, 1), (0x0a01_0203, 2), (0x0a01_0204, 1), (0x0a01_0800, 0)];
    let (_, tally) = Trie::new(&runs(nested.to_vec()), Family::V4);
    assert_eq!((tally.blocks, tally.compares), (0, 2));
    let at_its_start = [(0x0a01_0000_u32, 2), (0x0a01_0001, 1), (0x0a01_0800, 0)];
    let (_, tally) = Trie::new(&runs(at_its_start.to_vec()), Family::V4);
    assert_eq!((tally.blocks, tally.compares), (0, 2));
    // Many hosts of one /24: one record to get there, one block.
    let hosts: Vec<_> = (0..20).map(|host| 0x0a01_0200 + 3 * host).map(|a| (a, a, 1)).collect();
    assert_eq!(cost(&hosts), (1, 1));
}

#[test]
fn a_lone_v6_host_costs_one_step() {
    let host = 0x2001_0db8 << 96 | 5;
    let (trie, tally) = Trie::new(&runs(vec![(host, 1), (host + 1, 0)]), Family::V6);
    assert_eq!((tally.blocks, tally.compares, trie.steps), (0, 1, 1));
    assert_eq!((trie.class(host), trie.class(host + 1), trie.class(host - 1)), (1, 0, 0));
}

#[test]
fn stretches_of_the_root_meet() {
    // Enough for threads, and a network across every cut that they make.
    let hosts = (0..70_000_u32).map(|n| n.wrapping_mul(0x9e37_79b1) & !1);
    let starts = hosts.flat_map(|host| [(host, 1 + host % 7), (host + 1, 0)]);
    let runs = runs(starts.collect());
    let (trie, _) = Trie::new(&runs, Family::V4);
    for run in &runs {
        assert_eq!(trie.class(run.first.aligned()), run.class);
    }
    let wide = [0_u32, 1 << 30, 1 << 31, 3 << 30].map(|first| (first + (1 << 29), first >> 30));
    let runs =
        self::runs(wide.into_iter().chain((0..99_999).map(|n| (n << 8, 4 + n % 3))).collect());
    let (trie, _) = Trie::new(&runs, Family::V4);
    for run in &runs {
        assert_eq!(trie.class(run.first.aligned()), run.class);
    }
    assert_eq!(trie.class(u32::MAX.aligned()), class_of(&runs, u32::MAX));
}
