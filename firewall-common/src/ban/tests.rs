//! The table against a map, and the writer against readers that run.

extern crate std;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::vec::Vec;

use super::write::{Memory, Writer};
use super::*;

const SEED: u64 = 0x0123_4567_89ab_cdef;

/// Words that several threads share.
struct Shared(Vec<AtomicU64>);

impl Shared {
    fn new(buckets: u32) -> Self {
        Self((0..(buckets * SLOTS * 4) as usize).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Memory for &Shared {
    fn load(&self, word: usize) -> u64 {
        self.0.get(word).unwrap().load(Ordering::Relaxed)
    }

    fn store(&mut self, word: usize, value: u64) {
        self.0.get(word).unwrap().store(value, Ordering::Release);
    }
}

/// One who reads as the datapath does, a bucket at a time.
struct Reader<'m> {
    memory: &'m Shared,
    table: TableWord,
    bucket: Bucket,
    now: Nanos,
}

impl Bans for Reader<'_> {
    fn now(&self) -> Nanos {
        self.now
    }

    fn ban_lengths(&self) -> [u64; 3] {
        [1 << 32 | 1 << 24, 1, 1]
    }

    fn ban_table(&self) -> TableWord {
        self.table
    }

    fn ban_seed(&self) -> u64 {
        SEED
    }

    fn ban_filter(&self, _: FilterPart, _: u32) -> u64 {
        u64::MAX
    }

    fn ban_bucket(&mut self, _: TableWord, number: u32) -> Option<&mut Bucket> {
        let first = (number * SLOTS * 4) as usize;
        for (slot, start) in self.bucket.slots.iter_mut().zip((first..).step_by(4)) {
            // Not in the order of the writer, nor in its opposite.
            slot.lo = (&self.memory).load(start + 2);
            slot.head = (&self.memory).load(start);
            slot.hi = (&self.memory).load(start + 1);
        }
        Some(&mut self.bucket)
    }
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

fn v4(address: u32) -> BanKey {
    BanKey { hi: u64::from(address) << 32, lo: 0, length: 32, family: 4 }
}

fn reader(memory: &Shared, buckets: u32) -> Reader<'_> {
    let table = TableWord::new(0, buckets);
    Reader { memory, table, bucket: Bucket::default(), now: Nanos(0) }
}

#[test]
fn a_table_holds_what_a_map_would() {
    let memory = Shared::new(300);
    let mut state = 1;
    let mut known: HashMap<BanKey, u32> = HashMap::new();
    let table = TableWord::new(0, 300);
    let mut writer = Writer { memory: &memory, table, seed: SEED };
    for step in 0..60_000_u32 {
        let number = random(&mut state);
        // Prefixes of one address are other keys, and so is the other family.
        let length = *[32, 31, 24, 8].get((number >> 20 & 3) as usize).unwrap();
        let network = Address { hi: (number % 300) << 32, lo: 0 }.masked(length);
        let family = if number >> 40 & 1 == 0 { 4 } else { 6 };
        let key = BanKey { hi: network.hi, lo: network.lo, length, family };
        if number >> 30 & 3 != 0 && known.len() < 800 {
            let until = step + 1;
            let (place, is_new) = writer.insert(&key, until).unwrap();
            assert_eq!(is_new, known.insert(key, until).is_none());
            let entry = writer.entry(place).unwrap();
            assert_eq!((entry.key, entry.until), (key, until));
        } else {
            let place = writer.find(&key);
            assert_eq!(place.is_some(), known.remove(&key).is_some(), "{key:?}");
            if let Some(place) = place {
                writer.remove(place);
            }
        }
    }
    assert!(known.len() > 100);
    let all: HashMap<BanKey, u32> =
        writer.entries().map(|entry| (entry.key, entry.until)).collect();
    assert_eq!(all, known);
    let mut reader = reader(&memory, 300);
    for (key, until) in &known {
        let (source, family) = (Address { hi: key.hi, lo: key.lo }, key.family);
        let family = if family == 4 { Family::V4 } else { Family::V6 };
        reader.now = Nanos((u64::from(*until) << UNIT_SHIFT) - 1);
        assert_ne!(place(&mut reader, source, family, key.length), NOWHERE);
        reader.now = Nanos(u64::from(*until) << UNIT_SHIFT);
        assert_eq!(place(&mut reader, source, family, key.length), NOWHERE);
    }
}

#[test]
fn a_full_table_says_so_and_keeps_what_it_has() {
    let memory = Shared::new(PROBES);
    let table = TableWord::new(0, PROBES);
    let mut writer = Writer { memory: &memory, table, seed: SEED };
    let room = PROBES * SLOTS;
    for address in 1..=room {
        assert!(writer.insert(&v4(address), 9).is_some());
    }
    assert_eq!(writer.insert(&v4(room + 1), 9), None);
    assert!(!writer.insert(&v4(room), 10).unwrap().1);
    assert!((1..=room).all(|address| writer.find(&v4(address)).is_some()));
    // A lifted ban makes room, and hides none behind it.
    let place = writer.find(&v4(1)).unwrap();
    writer.remove(place);
    assert!((2..=room).all(|address| writer.find(&v4(address)).is_some()));
    assert_eq!(writer.insert(&v4(room + 1), 9), Some((place, true)));
}

/// Bans come and go in few places while they are asked for: those that stay are always
/// found, and who was never banned never is, though its key is made of halves of keys
/// that were.
#[test]
fn readers_find_what_stays_and_nothing_that_never_was() {
    const BUCKETS: u32 = 16;
    let memory = Shared::new(BUCKETS);
    let done = AtomicBool::new(false);
    let v6 = |hi: u64, lo: u64| BanKey { hi, lo, length: 128, family: 6 };
    let table = TableWord::new(0, BUCKETS);
    let mut writer = Writer { memory: &memory, table, seed: SEED };
    let stays: Vec<BanKey> = (1..=16).map(|n| v6(0x2001 << 48 | n, n)).collect();
    for key in &stays {
        writer.insert(key, u32::MAX).unwrap();
    }
    let asks = |stays: &[BanKey]| {
        let mut reader = reader(&memory, BUCKETS);
        let mut asked = 0_u64;
        let mut state = 7;
        while !done.load(Ordering::Relaxed) {
            for key in stays {
                let source = Address { hi: key.hi, lo: key.lo };
                assert_ne!(find(&mut reader, source, Family::V6), NOWHERE);
            }
            let number = random(&mut state);
            let (hi, lo) = (number % 24, number >> 32 & 15);
            let source = Address { hi: 0x2002 << 48 | hi, lo: 100 + lo };
            if hi != lo {
                assert_eq!(find(&mut reader, source, Family::V6), NOWHERE, "{source:?}");
            }
            asked += 1;
        }
        asked
    };
    thread::scope(|scope| {
        let readers = [(); 2].map(|()| scope.spawn(|| asks(&stays)));
        let mut state = 3;
        for _ in 0..300_000 {
            let number = random(&mut state);
            let key = v6((0x2002 << 48) | (number % 24), 100 + number % 24);
            match writer.find(&key) {
                Some(place) => writer.remove(place),
                None => {
                    writer.insert(&key, u32::MAX).unwrap();
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() > 100);
        }
    });
}

fn at(part: FilterPart, word: u32) -> usize {
    (part as u32 * FILTER_WORDS + word) as usize
}

/// What the datapath is told of bans, and no table.
struct Told {
    filter: Vec<u64>,
    lengths: [u64; 3],
}

impl Told {
    fn of(keys: impl Iterator<Item = BanKey>) -> Self {
        let mut told = Self { filter: std::vec![0; 3 * FILTER_WORDS as usize], lengths: [0; 3] };
        for key in keys {
            for (part, word, bits) in marks(SEED, hash(SEED, &key), &key) {
                *told.filter.get_mut(at(part, word)).unwrap() |= bits;
            }
            let (word, bit) = length_bit(&key);
            *told.lengths.get_mut(word).unwrap() |= 1 << bit;
        }
        told
    }
}

impl Bans for Told {
    fn now(&self) -> Nanos {
        Nanos(0)
    }

    fn ban_lengths(&self) -> [u64; 3] {
        self.lengths
    }

    fn ban_table(&self) -> TableWord {
        TableWord::new(0, 0)
    }

    fn ban_seed(&self) -> u64 {
        SEED
    }

    fn ban_filter(&self, part: FilterPart, word: u32) -> u64 {
        *self.filter.get(at(part, word)).unwrap()
    }

    fn ban_bucket(&mut self, _: TableWord, _: u32) -> Option<&mut Bucket> {
        None
    }
}

/// A network of that length that holds an address of random bits.
fn network(family: Family, length: u32, state: &mut u64) -> BanKey {
    let (hi, lo) = (random(state), random(state));
    let whole = match family {
        Family::V4 => Address { hi: hi & !0 << 32, lo: 0 },
        Family::V6 => Address { hi, lo },
    };
    let Address { hi, lo } = whole.masked(length);
    BanKey { hi, lo, length, family: family as u32 }
}

/// Whichever lengths are mixed, who is banned is asked for.
#[test]
fn the_filter_misses_nobody() {
    let mut state = 9;
    for _ in 0..400 {
        let count = 1 + random(&mut state) % 6;
        for (family, least, most) in [(Family::V4, 0, 32), (Family::V6, 1, 128)] {
            let keys: Vec<BanKey> = (0..count)
                .map(|_| {
                    let length = least + random(&mut state) as u32 % (most + 1 - least);
                    network(family, length, &mut state)
                })
                .collect();
            let told = Told::of(keys.iter().copied());
            for key in &keys {
                let inside = network(family, most, &mut state);
                let host = Address { hi: inside.hi, lo: inside.lo };
                let net = host.masked(key.length);
                let source =
                    Address { hi: key.hi | host.hi ^ net.hi, lo: key.lo | host.lo ^ net.lo };
                assert_eq!(source.masked(key.length), Address { hi: key.hi, lo: key.lo });
                assert!(may_be_banned(&told, source, family), "{key:?} of {keys:?}");
            }
        }
    }
}

/// A million bans in one half of the addresses; sources in the other.
#[test]
fn the_filter_is_seldom_wrong() {
    let mixes: [(Family, &[u32], u32); 5] = [
        (Family::V4, &[32], 3_000),
        (Family::V4, &[24, 28, 32], 3_000),
        (Family::V4, &[20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32], 1_000),
        (Family::V6, &[64, 128], 6_000),
        (Family::V6, &[32, 36, 40, 44, 48, 56, 64, 128], 16_000),
    ];
    for (family, lengths, most) in mixes {
        let mut state = 5;
        let bans = (0..1_000_000_u32).zip(lengths.iter().cycle()).map(|(_, &length)| {
            let key = network(family, length, &mut state);
            BanKey { hi: key.hi | 1 << 63, ..key }
        });
        let told = Told::of(bans);
        let whole = if family == Family::V4 { 32 } else { 128 };
        let wrong = (0..100_000).filter(|_| {
            let BanKey { hi, lo, .. } = network(family, whole, &mut state);
            may_be_banned(&told, Address { hi: hi & !(1 << 63), lo }, family)
        });
        let wrong = wrong.count();
        assert!(wrong < most as usize, "{wrong} of 100,000 by {lengths:?}");
    }
}

#[test]
fn ends_are_rounded_up_and_never_means_never() {
    assert_eq!(units(1), 1);
    assert_eq!(units(1 << UNIT_SHIFT), 1);
    assert_eq!(units((1 << UNIT_SHIFT) + 1), 2);
    assert_eq!(units(u64::MAX), u32::MAX);
}
