//! The table one rule at a time, against a model, and under several threads.

extern crate std;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::vec::Vec;

use super::*;
use crate::abi::flow::Class;
use crate::flow::{ICMP_IDLE, STREAM_IDLE};
use crate::service::proto;

/// A table of which every word may change at any time.
#[derive(Clone)]
pub(crate) struct Memory {
    mask: u32,
    words: Arc<Vec<AtomicU64>>,
}

impl Memory {
    pub(crate) fn new(places: u32) -> Self {
        let words = places * (1 + ENTRY_WORDS);
        Self { mask: places - 1, words: Arc::new((0..words).map(|_| AtomicU64::new(0)).collect()) }
    }

    fn at(&self, index: usize) -> &AtomicU64 {
        self.words.get(index).unwrap()
    }
}

impl Slots for Memory {
    type Bucket = u32;
    type Entry = usize;

    fn mask(&self) -> u32 {
        self.mask
    }

    fn seed(&self) -> u32 {
        0x5eed
    }

    fn bucket(&self, first: u32) -> u32 {
        first
    }

    fn word(&self, first: u32, way: u32) -> u64 {
        self.at((first + way) as usize).load(Ordering::Relaxed)
    }

    fn swap(&mut self, place: u32, old: u64, new: u64) -> bool {
        let word = self.at(place as usize);
        word.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn entry(&self, place: u32) -> usize {
        (self.mask + 1 + place * ENTRY_WORDS) as usize
    }

    fn read(&self, entry: usize, index: usize) -> u64 {
        self.at(entry + index).load(Ordering::Relaxed)
    }

    fn write(&mut self, entry: usize, index: usize, value: u64) {
        self.at(entry + index).store(value, Ordering::Relaxed);
    }
}

const HZ: u32 = 250;

/// So many seconds after an hour of uptime.
fn at(seconds: u32) -> Clock {
    let clock = Clock { now: 0, hz: HZ, tcp: 3600, udp: 30 };
    Clock { now: clock.ticks(u64::from(3600 + seconds)), ..clock }
}

fn key_of(protocol: u8, number: u32) -> FlowKey {
    FlowKey {
        local: [0xc000_020a << 32, 0],
        remote: [u64::from(number.wrapping_mul(0x9e37_79b1)) << 32, 0],
        local_port: u16::try_from(1024 + number % 60_000).unwrap(),
        remote_port: 443,
        protocol,
        family: 4,
        reserved: 0,
    }
}

fn key(number: u32) -> FlowKey {
    key_of(proto::TCP, number)
}

/// [`super::see`] of a key.
fn see(memory: &mut Memory, key: &FlowKey, direction: Option<Direction>, clock: &Clock) -> Seen {
    super::see(memory, key.words(), Part::of(direction), clock)
}

/// [`super::hash`] of a key.
fn hash(memory: &Memory, key: &FlowKey) -> u64 {
    super::hash(memory.seed(), key.words())
}

fn opened(memory: &mut Memory, key: &FlowKey, clock: &Clock) -> bool {
    open(memory, None, key, 7, clock) == Opened::Yes
}

fn sees(memory: &mut Memory, key: &FlowKey, direction: Direction, clock: &Clock) -> bool {
    see(memory, key, Some(direction), clock) != Seen::No
}

#[test]
fn a_flow_is_found_by_its_whole_key_and_by_nothing_else() {
    let memory = &mut Memory::new(1024);
    let clock = at(0);
    let known = FlowKey { family: 6, local: [1, 2], remote: [3, 4], ..key(5) };
    assert!(opened(memory, &known, &clock));
    assert!(sees(memory, &known, Direction::Ingress, &clock));
    for other in [
        FlowKey { local: [1, 3], ..known },
        FlowKey { local: [2, 2], ..known },
        FlowKey { remote: [3, 5], ..known },
        FlowKey { remote: [4, 4], ..known },
        FlowKey { local_port: 1, ..known },
        FlowKey { remote_port: 1, ..known },
        FlowKey { protocol: proto::UDP, ..known },
        FlowKey { family: 4, ..known },
    ] {
        assert!(!sees(memory, &other, Direction::Ingress, &clock), "{other:?}");
    }
}

#[test]
fn a_flow_in_use_never_falls_idle() {
    for (hz, idle) in [100, 250, 300, 1000].into_iter().flat_map(|hz| [(hz, 1), (hz, 2)]) {
        let memory = &mut Memory::new(1024);
        let mut clock = Clock { now: 1 << 20, hz, tcp: idle, udp: idle };
        let flows = [proto::TCP, proto::UDP].map(|protocol| key_of(protocol, 5));
        for flow in &flows {
            assert!(opened(memory, flow, &clock));
        }
        // A packet in each tick, then one in two.
        for tick in 0..200 {
            clock.now += 1 + tick / 100;
            for flow in &flows {
                assert!(sees(memory, flow, Direction::Egress, &clock), "{hz} Hz, {idle} s");
            }
        }
    }
}

#[test]
fn words_give_back_what_they_were_made_of() {
    let word = Word::new(u64::MAX, State::Live, Class::Icmp as u64, Flow::SEEDED, 0x1ff, 1 << 33);
    assert_eq!((word.state(), word.class(), word.flags()), (State::Live, Class::Icmp as u64, 2));
    assert_eq!((word.version(), word.seen()), (0xff, 1 << 33));
    assert!(word.may_hold(u64::MAX) && !word.may_hold(u64::MAX >> 1));
    let seen = word.seen_at(5, Flow::REPLIED);
    assert_eq!((seen.seen(), seen.flags(), seen.version()), (5, 3, 0xff));
    let key = FlowKey { local: [1, 2], remote: [3, 4], ..key(9) };
    assert_eq!(FlowKey::of_words(key.words()), key);
}

#[test]
fn each_kind_of_flow_ends_when_it_was_silent_for_its_time() {
    for (protocol, answered, limit) in [
        (proto::TCP, false, 3600),
        (proto::UDP, false, 30),
        (proto::UDP, true, STREAM_IDLE),
        (proto::ICMP, false, ICMP_IDLE),
        (47, false, STREAM_IDLE),
    ] {
        let memory = &mut Memory::new(1024);
        let key = key_of(protocol, 1);
        assert!(opened(memory, &key, &at(0)));
        let direction = if answered { Direction::Ingress } else { Direction::Egress };
        assert!(sees(memory, &key, direction, &at(0)));
        assert_eq!(see(memory, &key, None, &at(limit)), Seen::Yes, "{protocol}");
        assert_eq!(see(memory, &key, None, &at(limit + 1)), Seen::No, "{protocol}");
        assert!(flow_at(memory, 0, &at(limit + 1)).is_none());
    }
}

#[test]
fn a_packet_is_noted_once_a_second_and_an_answer_once() {
    let memory = &mut Memory::new(1024);
    assert!(opened(memory, &key(1), &at(0)));
    let mut see = |direction, seconds| see(memory, &key(1), Some(direction), &at(seconds));
    assert_eq!(see(Direction::Egress, 0), Seen::Yes);
    assert_eq!(see(Direction::Ingress, 0), Seen::Noted);
    assert_eq!(see(Direction::Ingress, 1), Seen::Yes);
    assert_eq!(see(Direction::Egress, 2), Seen::Noted);
    assert_eq!(see(Direction::Egress, 2), Seen::Yes);
}

#[test]
fn an_ended_flow_that_begins_anew_takes_its_old_place() {
    let memory = &mut Memory::new(1024);
    let ours = key_of(proto::UDP, 0);
    let hash = hash(memory, &ours);
    let places: Vec<u32> = (0..16)
        .map(|order| in_order(hash as u32 & 0x3f8, (hash >> 22) as u32 & 0x3f8, order))
        .map(|(start, way)| start | way)
        .collect();
    for &place in &places {
        // Everything before the place is taken when the flow begins, and free later.
        let memory = &mut Memory::new(1024);
        for &taken in places.iter().take_while(|taken| **taken != place) {
            let word = Word::new(!hash, State::Live, Class::Udp as u64, 0, 0, at(0).now);
            assert!(memory.swap(taken, 0, word.0));
        }
        assert!(opened(memory, &ours, &at(0)));
        assert_ne!(word_at(memory, place).0, 0);
        assert!(opened(memory, &ours, &at(100)));
        assert_eq!(see(memory, &ours, Some(Direction::Ingress), &at(100)), Seen::Noted);
        assert_eq!(flow_at(memory, place, &at(100)).unwrap().0, ours);
    }
}

/// Opens flows until `refused` of them have found no place; returns those that have.
fn fill(memory: &mut Memory, refused: u32, clock: &Clock) -> Vec<FlowKey> {
    let (mut found, mut left) = (Vec::new(), refused);
    for key in (0..).map(key) {
        if opened(memory, &key, clock) {
            found.push(key);
        } else if left == 1 {
            break;
        } else {
            left -= 1;
        }
    }
    found
}

#[test]
fn a_full_table_refuses_what_is_new_and_keeps_the_rest() {
    let memory = &mut Memory::new(1024);
    let known = fill(memory, 5000, &at(0));
    assert_eq!(known.len(), 1024, "every place is in use by then");
    assert!(known.iter().all(|key| sees(memory, key, Direction::Egress, &at(0))));
}

#[test]
fn a_table_is_well_filled_before_it_refuses() {
    let memory = &mut Memory::new(1 << 16);
    let wanted = (1 << 16) * 8 / 10;
    let found = (0..wanted).filter(|number| opened(memory, &key(*number), &at(0))).count();
    assert!(found as u32 > wanted - wanted / 200, "{found} of {wanted}");
}

#[test]
fn what_was_silent_gives_way_unanswered_flows_first() {
    let memory = &mut Memory::new(1024);
    let known = fill(memory, 5000, &at(0));
    let (answered, unanswered) = known.split_at(512);
    for key in answered {
        assert!(sees(memory, key, Direction::Ingress, &at(0)));
    }
    let new = |number| key_of(proto::UDP, number);
    assert!(!opened(memory, &new(0), &at(YIELD_UNANSWERED - 1)), "too soon");
    // A scan by this host, for as long as an answered flow is safe.
    for number in 0..20_000 {
        opened(memory, &new(number), &at(YIELD_UNANSWERED + 1 + number / 1000));
    }
    let lost = |keys: &[FlowKey], memory: &mut Memory, seconds| {
        keys.iter().filter(|key| see(memory, key, None, &at(seconds)) == Seen::No).count()
    };
    assert_eq!(lost(answered, memory, 31), 0);
    assert_eq!(lost(unanswered, memory, 31), 512);
    // Later they do.
    for number in 20_000..40_000 {
        opened(memory, &new(number), &at(YIELD_ANSWERED + 2));
    }
    assert!(lost(answered, memory, YIELD_ANSWERED + 2) > 0);
}

#[test]
fn the_flow_that_was_silent_longest_gives_way() {
    let memory = &mut Memory::new(1024);
    let known = fill(memory, 5000, &at(0));
    for (seconds, key) in known.iter().enumerate().skip(1) {
        let seconds = u32::try_from(seconds).unwrap() % 3 + 2;
        sees(memory, key, Direction::Egress, &at(seconds));
    }
    let first = known.first().unwrap();
    // Whoever shares a bucket with the one that was not seen again.
    for number in 0..5000 {
        opened(memory, &key_of(proto::UDP, number), &at(YIELD_UNANSWERED + 2));
        if see(memory, first, None, &at(YIELD_UNANSWERED + 2)) == Seen::No {
            let left = known.iter().filter(|key| see(memory, key, None, &at(13)) != Seen::No);
            // The others are 8 to 10 seconds old.
            assert_eq!(left.count(), known.len() - 1);
            return;
        }
    }
    panic!("it has kept its place");
}

#[test]
fn a_claim_that_nobody_completes_ends() {
    let memory = &mut Memory::new(1024);
    fill(memory, 5000, &at(0));
    let hash = hash(memory, &key(0));
    for place in 0..1024 {
        let old = word_at(memory, place);
        let claimed = Word::new(hash, State::Claimed, Class::Tcp as u64, 0, 0, at(0).now);
        assert!(memory.swap(place, old.0, claimed.0));
    }
    assert!(!sees(memory, &key(0), Direction::Ingress, &at(0)));
    assert!(!opened(memory, &key(0), &at(STALE_CLAIM)));
    assert!(opened(memory, &key(0), &at(STALE_CLAIM + 1)));
    assert!(sees(memory, &key(0), Direction::Ingress, &at(STALE_CLAIM + 1)));
}

#[test]
fn one_cpu_opens_no_more_than_its_share_of_a_second() {
    let memory = &mut Memory::new(1 << 14);
    let (mut rate, mut number, share) = (0, 0, per_second(memory.mask()));
    let mut burst = |memory: &mut Memory, seconds| {
        (0..2 * share)
            .filter(|_| {
                number += 1;
                open(memory, Some(&mut rate), &key(number), 0, &at(seconds)) == Opened::Yes
            })
            .count()
    };
    assert_eq!(burst(memory, 0), 2048);
    assert_eq!(burst(memory, 0), 0);
    assert!((1800..=2048).contains(&burst(memory, 1)));
}

#[test]
fn a_forgotten_flow_is_gone() {
    let memory = &mut Memory::new(1024);
    assert!(opened(memory, &key(1), &at(0)));
    assert!(opened(memory, &key(2), &at(0)));
    forget(memory, &key(1));
    assert!(!sees(memory, &key(1), Direction::Ingress, &at(0)));
    assert!(sees(memory, &key(2), Direction::Ingress, &at(0)));
}

#[test]
fn it_says_what_a_map_of_the_same_flows_says() {
    let memory = &mut Memory::new(4096);
    let mut model: HashMap<u32, (u64, bool)> = HashMap::new();
    let mut state = 1_u64;
    let mut clock = Clock { tcp: 20, ..at(0) };
    for _ in 0..200_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (state >> 40) as u32 % 900;
        let protocol = if number.is_multiple_of(3) { proto::TCP } else { proto::UDP };
        let (key, ingress) = (key_of(protocol, number), state >> 33 & 1 == 0);
        let limit = |replied| match (protocol, replied) {
            (proto::TCP, _) => 20,
            (_, false) => 30,
            (_, true) => STREAM_IDLE,
        };
        clock.now += state >> 60;
        let known = model.get(&number).copied();
        let alive = known.is_some_and(|(seen, replied)| {
            clock.since(seen) <= clock.ticks(u64::from(limit(replied)))
        });
        let direction = if ingress { Direction::Ingress } else { Direction::Egress };
        assert_eq!(sees(memory, &key, direction, &clock), alive);
        match known {
            Some((seen, replied)) if alive => {
                let noted = (ingress && !replied) || clock.since(seen) > clock.ticks(1);
                let seen = if noted { clock.now } else { seen };
                model.insert(number, (seen, replied || ingress));
            }
            _ if !ingress => {
                assert!(opened(memory, &key, &clock));
                model.insert(number, (clock.now, false));
            }
            _ => {}
        }
    }
}

/// Two flows, and a third that is the local end of one and the remote end of the other,
/// all of one bucket and one tag, so that only entries tell them apart.
fn lookalikes(memory: &Memory) -> (FlowKey, FlowKey, FlowKey) {
    let key = |number: u64| FlowKey { local: [1, number], remote: [2, number], ..key(0) };
    let hash = |key: &FlowKey| hash(memory, key);
    let bucket = |hash: u64| hash & u64::from(memory.mask() & !(WAYS - 1));
    let wanted = bucket(hash(&key(1)));
    let mut found: Vec<FlowKey> = Vec::new();
    for key in (1..).map(key).filter(|key| bucket(hash(key)) == wanted) {
        for &other in &found {
            for (one, other) in [(key, other), (other, key)] {
                let mixed = FlowKey { remote: other.remote, ..one };
                let mix = hash(&mixed);
                if bucket(mix) == wanted && mix >> 48 == hash(&one) >> 48 {
                    return (one, other, mixed);
                }
            }
        }
        found.push(key);
    }
    unreachable!()
}

/// Every mix of the entries of two flows, with the word of either.
#[test]
fn no_half_written_entry_admits_a_third_flow() {
    let memory = &mut Memory::new(1024);
    let (one, other, mixed) = lookalikes(memory);
    let place = (0..1024).find(|place| {
        assert!(opened(memory, &one, &at(0)));
        let found = flow_at(memory, *place, &at(0)).is_some();
        forget(memory, &one);
        found
    });
    let place = place.unwrap();
    let mut kept = [one, other].map(|key| {
        assert!(opened(memory, &key, &at(0)));
        let entry = memory.entry(place);
        let words: Vec<u64> = (0..8).map(|index| memory.read(entry, index)).collect();
        let word = word_at(memory, place);
        forget(memory, &key);
        (word, words)
    });
    kept.sort_by_key(|(word, _)| word.version());
    let [(old, before), (new, after)] = kept;
    assert_ne!(old, new);
    for subset in 0..256_u32 {
        let entry = memory.entry(place);
        for index in 0..8 {
            let from = if subset >> index & 1 == 0 { &before } else { &after };
            memory.write(entry, index, *from.get(index).unwrap());
        }
        for word in [old, new] {
            assert!(memory.swap(place, word_at(memory, place).0, word.0));
            assert_eq!(see(memory, &mixed, None, &at(0)), Seen::No, "{subset:08b}");
        }
    }
}

/// Threads open and forget two flows that take turns in one place. Whatever others read
/// of it half-written, no flow is seen that nobody opens.
#[test]
fn no_mix_of_two_flows_is_ever_seen() {
    let memory = Memory::new(1024);
    let (one, other, mixed) = lookalikes(&memory);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for keys in [[one, other], [other, one]] {
            let (mut memory, stop) = (memory.clone(), &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for key in keys {
                        opened(&mut memory, &key, &at(0));
                        forget(&mut memory, &key);
                    }
                }
            });
        }
        let (mut memory, mut hits) = (memory.clone(), 0_u32);
        let wrong = (0..300_000).find_map(|_| {
            hits += u32::from(see(&mut memory, &one, None, &at(0)) == Seen::Yes);
            let seen = see(&mut memory, &mixed, None, &at(0));
            (seen != Seen::No).then_some(seen)
        });
        stop.store(true, Ordering::Relaxed);
        assert_eq!(wrong, None);
        assert!(hits > 0, "nothing was ever there");
    });
}

#[test]
fn every_way_of_a_set_is_found_once() {
    for set in 0..1_u32 << WAYS {
        let bits = WAY_BITS.into_iter().enumerate().filter(|(way, _)| set >> way & 1 != 0);
        let mut ways: u64 = bits.map(|(_, bit)| 1 << bit).sum();
        let mut found = 0;
        while ways != 0 {
            let way = 1 << first_way(ways);
            assert_eq!(found & way, 0, "{set:#b}");
            found |= way;
            ways &= ways - 1;
        }
        assert_eq!(found, set);
    }
}

#[test]
fn no_bit_of_a_way_is_one_in_which_words_differ() {
    let most = Word(u64::MAX).differs(0) | Word(0).differs(u64::MAX);
    assert!(WAY_BITS.iter().all(|&bit| most < 1 << bit));
}

/// Where two words of an address could be made to cancel each other, without the seed, anybody
/// with a network of his own could be taken for another.
#[test]
fn words_that_others_choose_do_not_cancel() {
    let key = |hi, lo| [1, 2, hi, lo, 3];
    for seed in [1, 0x1234_5678, u32::MAX] {
        for other in 2..1_000 {
            let mixed = |lo: u64| (lo ^ lo >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let one = 0x2001_0db8_u64 << 32;
            let hi = one ^ mixed(1) ^ mixed(other);
            assert_ne!(super::hash(seed, key(one, 1)), super::hash(seed, key(hi, other)));
        }
    }
}

/// Whichever bits addresses differ in, their flows differ in those that say where.
#[test]
fn neighbours_and_strangers_spread_over_the_buckets() {
    for shift in [32, 40, 46, 48, 52, 56] {
        let place = |number: u64| super::hash(7, [1 << 40, 0, number << shift, 0, 80]) & 0x3fff;
        let places: std::collections::BTreeSet<u64> = (0..256).map(place).collect();
        assert!(places.len() > 240, "{} places of 256, by {shift}", places.len());
    }
}
