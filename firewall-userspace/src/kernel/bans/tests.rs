//! A batch against bans that are added one by one.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::os::fd::{FromRawFd as _, OwnedFd};

use firewall_common::abi::ban::{Ban, BanKey, SLOTS, TableWord};
use proptest::prelude::*;

use super::batch::{Batch, Others, PARTS};
use super::table::{Table, entries};

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// A table in memory that no kernel knows as a map.
fn table(buckets: u32) -> Table {
    // SAFETY: the name is a string; what comes back is checked.
    let fd = unsafe { libc::memfd_create(c"bans".as_ptr(), libc::MFD_CLOEXEC) };
    assert!(fd >= 0);
    // SAFETY: nobody else has it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let length = entries(buckets) as usize * 128;
    file.set_len(length as u64).unwrap();
    let fd = OwnedFd::from(file);
    Table::map(fd, TableWord::new(0, buckets)).unwrap()
}

fn ban(number: u64) -> Ban {
    let mut reason = [0; 40];
    reason[32..].copy_from_slice(&number.to_ne_bytes());
    Ban { until_ns: number << 28, since_ns: number, hits: 0, reason }
}

/// Few enough that some are there twice, of both families and several lengths.
fn any_key() -> impl Strategy<Value = BanKey> {
    (0..900_u64, prop_oneof![Just((32, 4)), Just((24, 4)), Just((128, 6)), Just((64, 6))])
        .prop_map(|(number, (length, family))| BanKey { hi: number << 40, lo: 0, length, family })
}

/// What a table has, and that it is where it is looked for.
fn content(table: &Table) -> HashMap<BanKey, Ban> {
    let writer = table.writer(SEED);
    let all: Vec<_> = writer.entries().collect();
    assert_eq!(all.len(), table.count() as usize);
    for entry in &all {
        assert_eq!(writer.find(&entry.key), Some(entry.place));
    }
    let found: HashMap<_, _> = all.iter().map(|entry| (entry.key, table.ban(entry))).collect();
    assert_eq!(all.len(), found.len());
    found
}

fn shares(count: usize) -> Vec<Range<usize>> {
    (0..count).map(|share| share * PARTS / count..(share + 1) * PARTS / count).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was there, in a table of whatever size and with lifted bans in it; however many
    /// fill the new one, and however little room it has. What has ended is not kept.
    #[test]
    fn a_batch_is_as_good_as_one_by_one(
        old in prop::collection::vec((any_key(), 0..5_u64, 0..3_u64), 0..600),
        lifted in prop::collection::vec(any_key(), 0..50),
        keys in prop::collection::vec(any_key(), 0..900),
        (former, fresh) in (300..500_u32, 150..2_000_u32),
        threads in 1..9_usize,
    ) {
        let [former, fresh, single] = [former, fresh, fresh.max(600)].map(table);
        for (key, number, hits) in &old {
            prop_assert!(former.insert(key, &ban(*number), SEED));
            let mut writer = former.writer(SEED);
            let place = writer.find(key).unwrap();
            writer.set_hits(place, *hits);
        }
        for key in &lifted {
            let mut writer = former.writer(SEED);
            if let Some(place) = writer.find(key) {
                writer.remove(place);
                former.set_count(former.count() - 1);
            }
        }
        let before = content(&former);
        let new_ban = Ban { since_ns: 2 << 28, ..ban(9) };
        let held: HashMap<_, _> =
            before.iter().filter(|(_, ban)| ban.until_ns > new_ban.since_ns).collect();
        for (key, ban) in &held {
            prop_assert!(single.insert(key, ban, SEED));
            let mut writer = single.writer(SEED);
            let place = writer.find(key).unwrap();
            writer.set_hits(place, ban.hits);
        }
        for key in &keys {
            prop_assert!(single.insert(key, &new_ban, SEED));
        }
        let batch = Batch::new(&keys, &new_ban, SEED, Others::Stay);
        let new: HashSet<_> = keys.iter().filter(|key| !held.contains_key(key)).collect();
        prop_assert_eq!(batch.new_in(&former), new.len());
        prop_assert_eq!(batch.held_by(&former), held.len());
        let fits = batch.fill_by(&fresh, &former, shares(threads));
        if let Some(found_new) = fits {
            prop_assert_eq!(found_new, new.len());
            prop_assert_eq!(content(&fresh), content(&single));
        } else {
            let places = fresh.word.buckets() * SLOTS;
            prop_assert!((held.len() + new.len()) * 2 > places as usize);
        }
        prop_assert_eq!(&content(&former), &before);

        // And where it takes the place of all: no others, and the hits of those that stay.
        let batch = Batch::new(&keys, &new_ban, SEED, Others::Lifted);
        let fresh = table(2_000);
        prop_assert_eq!(batch.fill_by(&fresh, &former, shares(threads)), Some(new.len()));
        let hits = |key| held.get(&key).map_or(0, |ban| ban.hits);
        let wanted: HashMap<_, _> =
            keys.iter().map(|key| (*key, Ban { hits: hits(*key), ..new_ban })).collect();
        let found = content(&fresh);
        prop_assert_eq!(batch.different(), wanted.len());
        prop_assert_eq!(found.len(), wanted.len());
        for (key, ban) in &found {
            prop_assert_eq!((ban.hits, ban.reason), (wanted[key].hits, wanted[key].reason));
        }
    }
}

#[test]
fn many_are_shared_among_cpus_and_all_are_there() {
    let keys: Vec<_> = (0..100_000_u64)
        .map(|number| BanKey { hi: number << 32, lo: 0, length: 32, family: 4 })
        .collect();
    let [former, fresh] = [table(900), table(40_000)];
    for key in &keys[..2_000] {
        assert!(former.insert(key, &ban(1), SEED));
    }
    let batch = Batch::new(&keys[1_000..], &ban(2), SEED, Others::Stay);
    assert_eq!(batch.new_in(&former), 98_000);
    assert_eq!(batch.fill(&fresh, &former), Some(98_000));
    let found = content(&fresh);
    assert_eq!(found.len(), keys.len());
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(found[key], ban(if number < 1_000 { 1 } else { 2 }));
    }
}

#[test]
fn a_batch_that_does_not_fit_says_so() {
    let keys: Vec<_> = (0..5_000_u64)
        .map(|number| BanKey { hi: number << 32, lo: 0, length: 32, family: 4 })
        .collect();
    let batch = Batch::new(&keys, &ban(2), SEED, Others::Stay);
    for threads in [1, 2, 8] {
        assert_eq!(batch.fill_by(&table(1_200), &table(900), shares(threads)), None);
    }
}
