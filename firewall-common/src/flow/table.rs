//! The table of flows: where a flow is kept, how it is found, and what gives way.
//!
//! Places come in buckets of eight, whose words are one cache line. A key has two
//! buckets. It is looked for by its tag in the words of both, and only where the tag is
//! right in an entry: a packet of no flow touches no entry, a packet of one flow touches
//! one. The first bucket is filled to three quarters before the second is used, so that
//! most flows are found in the first.
//!
//! # Without a lock
//!
//! Who wants a place swaps its word for a *claimed* one, with the next version; writes
//! the entry; and swaps the word for a live one. The entry ends in a *seal*, the key's
//! whole hash and the version, which readers compare with those of their packet and of
//! the word they found. So a reader may see any mix of an old and a new entry, in any
//! order: for it to hold, its key and its seal must be the packet's, and the seal of
//! another key, or of an older flow of the place, is another one. A claim that nobody
//! completes, because a process was killed, is free again after [`STALE_CLAIM`].
//!
//! Two CPUs that open one flow at the same moment may give it two places: one of them
//! ends idle.

#![expect(clippy::cast_possible_truncation, reason = "what is cut off is masked anyway")]

use crate::abi::flow::{Class, ENTRY_WORDS, Flow, FlowKey, OPENED, RULE, SEAL, State, Word};
use crate::flow::{Clock, ICMP_IDLE, STREAM_IDLE, TICK_SHIFT, class};
use crate::guard;
use crate::verdict::Direction;

/// Places of a bucket.
pub const WAYS: u32 = 8;

/// Places of the first bucket that are taken before any of the second.
const EARLY: u32 = 6;

/// How long a flow must have been silent before a new one takes its place, in a table
/// that is full there, seconds: one that nobody has answered.
pub const YIELD_UNANSWERED: u32 = 10;
/// The same for one that has been answered.
pub const YIELD_ANSWERED: u32 = 60;

/// Age of a claim that is no longer waited for, seconds.
pub const STALE_CLAIM: u32 = 5;

/// Times that a place is looked for, while others take it first.
const ATTEMPTS: u32 = 2;

/// The memory of a table: words, and entries of [`ENTRY_WORDS`].
///
/// The kernel implements it over a map, user space over a mapping of it, and the host
/// over a vector.
pub trait Slots {
    /// The eight words of a bucket.
    type Bucket: Copy;
    /// An entry.
    type Entry: Copy;

    /// Places, less one: a power of two less one.
    fn mask(&self) -> u32;
    /// Seed of the hash: it lives as long as the table.
    fn seed(&self) -> u32;
    /// The bucket that begins at a place.
    fn bucket(&self, first: u32) -> Self::Bucket;
    /// A word of a bucket.
    fn word(&self, bucket: Self::Bucket, way: u32) -> u64;
    /// Puts `new` in the place of `old`; false if something else stands there by now.
    fn swap(&mut self, place: u32, old: u64, new: u64) -> bool;
    /// The entry of a place.
    fn entry(&self, place: u32) -> Self::Entry;
    /// A word of an entry.
    fn read(&self, entry: Self::Entry, index: usize) -> u64;
    /// Writes a word of an entry.
    fn write(&mut self, entry: Self::Entry, index: usize, value: u64);
    /// The key itself: in the kernel by a way that the compiler does not follow, or it
    /// would keep the whole key on a stack that is small.
    #[inline(always)]
    fn anew<'k>(&self, key: &'k FlowKey) -> &'k FlowKey {
        key
    }
    /// The number itself: in the kernel by a way that neither the compiler nor the verifier
    /// follows.
    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        number
    }
}

/// Hash of a key's words. The remote end may be chosen by others, but not the seed, and what they
/// choose comes behind it, word by word: no two words can be made to cancel each other. The local
/// end is ours.
#[inline(always)]
#[must_use]
pub const fn hash(seed: u32, key: [u64; 5]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let [local_hi, local_lo, remote_hi, remote_lo, rest] = key;
    let local = local_hi ^ local_lo.rotate_left(32) ^ rest;
    let hash = (local ^ (seed as u64).wrapping_mul(ODD)).wrapping_mul(ODD);
    let hash = (hash ^ hash >> 32 ^ remote_hi).wrapping_mul(ODD);
    let hash = (hash ^ hash >> 29 ^ remote_lo).wrapping_mul(ODD);
    hash ^ hash >> 32
}

/// First places of a hash's two buckets.
#[inline(always)]
fn buckets<S: Slots>(slots: &S, hash: u64) -> [u32; 2] {
    let mask = slots.mask() & !(WAYS - 1);
    let first = hash as u32 & mask;
    let second = (hash >> 22) as u32 & mask;
    [first, second ^ WAYS & mask & if_zero(slots, u64::from(first ^ second)) as u32]
}

/// What ends an entry.
#[inline(always)]
const fn seal(hash: u64, word: Word) -> u64 {
    hash ^ word.version()
}

/// What tells the entry of a place from that of the key, as the word has it; 0 if nothing
/// does.
#[inline(always)]
fn difference<S: Slots>(slots: &S, place: u32, key: [u64; 5], hash: u64, word: Word) -> u64 {
    let entry = slots.entry(place);
    let mut difference = slots.read(entry, SEAL) ^ seal(hash, word);
    for (index, part) in key.into_iter().enumerate() {
        difference |= slots.read(entry, index) ^ part;
    }
    difference
}

/// All ones if a number below 2^63 is zero, else none: a choice without a branch. A branch
/// would make the verifier check what follows once for each way through it.
#[inline(always)]
fn if_zero<S: Slots>(slots: &S, number: u64) -> u64 {
    if_less(slots, number, 1)
}

/// The same if one number is less than another.
#[inline(always)]
fn if_less<S: Slots>(slots: &S, number: u64, than: u64) -> u64 {
    slots.opaque((number.wrapping_sub(than).cast_signed() >> 63).cast_unsigned())
}

/// A constant if `all` is all ones, 0 if it is none. By a product: of `constant & all` the
/// verifier follows both outcomes.
#[inline(always)]
fn chosen(constant: u32, all: u64) -> u64 {
    all.wrapping_mul(u64::from(constant).wrapping_neg())
}

/// Ticks since a flow was seen; none if the clocks of two CPUs disagree.
#[inline(always)]
fn silence<S: Slots>(slots: &S, word: Word, clock: &Clock) -> u64 {
    let (now, seen) = (clock.now, word.seen());
    now.wrapping_sub(seen) & !if_less(slots, now, seen)
}

/// Ticks for which a flow may be silent.
#[inline(always)]
fn limit<S: Slots>(slots: &S, word: Word, clock: &Clock) -> u64 {
    let class = word.class();
    let is = |other: Class| class ^ other as u64;
    let tcp = if_zero(slots, is(Class::Tcp));
    let udp = if_zero(slots, is(Class::Udp) | u64::from(word.flags() & Flow::REPLIED));
    let icmp = if_zero(slots, is(Class::Icmp));
    let seconds = u64::from(clock.tcp) & tcp
        | u64::from(clock.udp) & udp
        | chosen(ICMP_IDLE, icmp)
        | chosen(STREAM_IDLE, !(tcp | udp | icmp));
    clock.ticks(seconds)
}

/// All ones if a flow is still in force, else none.
#[inline(always)]
fn if_alive<S: Slots>(slots: &S, word: Word, clock: &Clock) -> u64 {
    !if_less(slots, limit(slots, word, clock), silence(slots, word, clock))
}

/// Whether a place holds a flow that is in force.
pub fn is_live<S: Slots>(slots: &S, word: Word, clock: &Clock) -> bool {
    word.state() == State::Live && if_alive(slots, word, clock) != 0
}

/// What the table says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Seen {
    /// No flow in force.
    No = 0,
    /// A flow in force.
    Yes = 1,
    /// A flow in force, whose word has noted the packet: so should its port's.
    Noted = 2,
}

/// What a packet is to the flow that it is looked up for: a number, and not one of three
/// names, so that neither compiler nor verifier part the ways before its time.
#[derive(Clone, Copy, Debug)]
pub struct Part(u64);

impl Part {
    /// It only speaks of the flow, and is not noted.
    const NONE: u64 = 2;

    /// A packet of the flow itself, or, if `None`, one that speaks of it.
    #[inline(always)]
    #[must_use]
    pub const fn of(direction: Option<Direction>) -> Self {
        Self(match direction {
            Some(direction) => direction as u64,
            None => Self::NONE,
        })
    }

    /// Two bits.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The part that has this number.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number & 3)
    }
}

/// Notes a packet of a live flow.
#[inline(always)]
fn note<S: Slots>(slots: &mut S, place: u32, word: Word, part: Part, clock: &Clock) -> Seen {
    if part.0 == Part::NONE {
        return Seen::Yes;
    }
    let answers = part.0 == Direction::Ingress as u64;
    let touched = clock.touched(word, answers);
    if touched == word {
        return Seen::Yes;
    }
    // If another packet of the flow was quicker, there is nothing left to note.
    slots.swap(place, word.0, touched.0);
    Seen::Noted
}

/// Looks a packet's flow up, and notes the packet. `key` is a [`FlowKey`]'s words.
#[inline(always)]
pub fn see<S: Slots>(slots: &mut S, key: [u64; 5], part: Part, clock: &Clock) -> Seen {
    let part = Part(slots.opaque(part.0));
    let hash = hash(slots.seed(), key);
    let [first, second] = buckets(slots, hash);
    let mut found = find(slots, first, (key, hash), part, clock);
    if matches!(found, Found::No) {
        found = find(slots, second, (key, hash), part, clock);
    }
    match found {
        Found::At(place, word) => note(slots, place, word, part, clock),
        Found::Busy => Seen::Yes,
        Found::No => Seen::No,
    }
}

/// What a bucket says of a flow.
#[derive(Clone, Copy)]
enum Found {
    /// It is not there.
    No,
    /// It is in force, and was noted a moment ago.
    Busy,
    /// It is in force: its place, and the word of it.
    At(u32, Word),
}

/// Candidates of a bucket that are looked at. That two tags of eight mislead, and the third
/// would not, happens to one flow in a hundred million.
const CANDIDATES: u32 = 2;

/// Looks for a flow in one bucket. Most packets are of a busy flow, for which neither its
/// limit nor another word needs working out.
#[inline(always)]
fn find<S: Slots>(
    slots: &S,
    start: u32,
    (key, hash): ([u64; 5], u64),
    part: Part,
    clock: &Clock,
) -> Found {
    let mut ways = candidates(slots, start, hash);
    for _ in 0..CANDIDATES {
        if ways == 0 {
            break;
        }
        let way = first_way(ways);
        // The word is read once more: it may be another one by now.
        let (place, word) = (start | way, Word(slots.word(slots.bucket(start), way)));
        let misled = word.differs(hash) | difference(slots, place, key, hash, word);
        if misled | if_notable(slots, word, part, clock) == 0 {
            return Found::Busy;
        }
        if misled | !if_alive(slots, word, clock) == 0 {
            return Found::At(place, word);
        }
        ways &= ways.wrapping_sub(1);
    }
    Found::No
}

/// None if a live flow was [noted](Clock::unnoted) a moment ago, and there is nothing to note of
/// this packet; else some ones. No flow may be silent for less.
#[inline(always)]
fn if_notable<S: Slots>(slots: &S, word: Word, part: Part, clock: &Clock) -> u64 {
    let old = if_less(slots, clock.unnoted(), clock.now.wrapping_sub(word.seen()));
    let answers = if_zero(slots, part.0 ^ Direction::Ingress as u64);
    old | answers & u64::from(!word.flags() & Flow::REPLIED)
}

/// The ways of a bucket whose tags are the hash's: a bit for each, see [`first_way`]. One less
/// than no difference is all ones, and less than any other it has none so far up: each way adds its
/// bit by itself, and none waits for another.
#[inline(always)]
fn candidates<S: Slots>(slots: &S, start: u32, hash: u64) -> u64 {
    let bucket = slots.bucket(start);
    let mut ways = 0;
    for (way, bit) in (0..).zip(WAY_BITS) {
        let differs = Word(slots.word(bucket, way)).differs(hash);
        ways |= differs.wrapping_sub(1) & 1 << bit;
    }
    ways
}

/// Bits of the ways: above those in which words differ, and in such an order that a product has
/// the way.
const WAY_BITS: [u32; WAYS as usize] = [20, 21, 22, 24, 27, 23, 26, 25];

/// The way of the lowest bit of a set: shifting this number by 0 to 7 brings each of
/// the numbers below eight before its fifth bit (a de Bruijn sequence). BPF does not count zeros.
#[inline(always)]
const fn first_way(ways: u64) -> u32 {
    const SEQUENCE: u64 = 0b1_0111;
    let lowest = ways & ways.wrapping_neg();
    (lowest.wrapping_mul(SEQUENCE) >> 25) as u32 & (WAYS - 1)
}

/// What became of a new flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Opened {
    /// It has an entry.
    Yes = 0,
    /// Its places are taken.
    Full = 1,
    /// This CPU has opened too many of late.
    TooMany = 2,
}

/// Flows that one CPU may open in a second, and at once after it: an eighth of the table.
#[inline(always)]
#[must_use]
pub const fn per_second(mask: u32) -> u32 {
    (mask >> 3) + 1
}

/// Writes a flow that the table does not have, as this host opens it; `rate` is this
/// CPU's token bucket.
#[inline(always)]
pub fn open<S: Slots>(
    slots: &mut S,
    rate: Option<&mut u64>,
    key: &FlowKey,
    slot: u32,
    clock: &Clock,
) -> Opened {
    if let Some(rate) = rate {
        let jiffies = clock.now << TICK_SHIFT;
        let (left, taken) = guard::take(*rate, jiffies, clock.hz, per_second(slots.mask()));
        *rate = left;
        if !taken {
            return Opened::TooMany;
        }
    }
    let flow = Flow { seen: clock.now, opened: clock.now, slot, flags: 0 };
    if insert(slots, key, &flow, clock) { Opened::Yes } else { Opened::Full }
}

/// Writes a flow that the table does not have; false if there is no place for it.
#[inline(always)]
pub fn insert<S: Slots>(slots: &mut S, key: &FlowKey, flow: &Flow, clock: &Clock) -> bool {
    let hash = hash(slots.seed(), key.words());
    let class = slots.opaque(class(key.protocol) as u64);
    for _ in 0..ATTEMPTS {
        let Some((place, old)) = place(slots, hash, clock) else { return false };
        let word = |state, seen| Word::new(hash, state, class, flow.flags, old.version() + 1, seen);
        let claimed = word(State::Claimed, clock.now);
        if slots.swap(place, old.0, claimed.0) {
            write(slots, place, key, seal(hash, claimed), flow);
            return slots.swap(place, claimed.0, word(State::Live, flow.seen).0);
        }
    }
    false
}

/// Frees the places of a flow.
pub fn forget<S: Slots>(slots: &mut S, key: &FlowKey) {
    let hash = hash(slots.seed(), key.words());
    for start in buckets(slots, hash) {
        for way in 0..WAYS {
            let word = Word(slots.word(slots.bucket(start), way));
            if word.may_hold(hash) && difference(slots, start | way, key.words(), hash, word) == 0 {
                slots.swap(start | way, word.0, word.with(State::Free).0);
            }
        }
    }
}

/// Writes the entry of a claimed place.
#[inline(always)]
fn write<S: Slots>(slots: &mut S, place: u32, key: &FlowKey, seal: u64, flow: &Flow) {
    let entry = slots.entry(place);
    let [local_hi, local_lo, remote_hi, remote_lo, rest] = slots.anew(key).words();
    slots.write(entry, 0, local_hi);
    slots.write(entry, 1, local_lo);
    slots.write(entry, 2, remote_hi);
    slots.write(entry, 3, remote_lo);
    slots.write(entry, 4, rest);
    slots.write(entry, OPENED, flow.opened);
    slots.write(entry, RULE, flow.slot.into());
    slots.write(entry, SEAL, seal);
}

/// The place that a new flow takes: a free one, else that of the flow which can be
/// missed most, if it has been silent for long enough.
#[inline(always)]
fn place<S: Slots>(slots: &S, hash: u64, clock: &Clock) -> Option<(u32, Word)> {
    let [first, second] = buckets(slots, hash);
    let (mut least, mut best, mut found) = (YOUNG, 0, 0);
    for order in 0..2 * WAYS {
        let (start, way) = in_order(first, second, order);
        let word = Word(slots.word(slots.bucket(start), way));
        let worth = worth(slots, word, hash, clock);
        let less = if_less(slots, worth, least);
        least ^= (least ^ worth) & less;
        best ^= (best ^ u64::from(start | way)) & less;
        found ^= (found ^ word.0) & less;
    }
    if least == YOUNG { None } else { Some((best as u32, Word(found))) }
}

/// The places of two buckets in the order in which they are taken.
#[inline(always)]
const fn in_order(first: u32, second: u32, order: u32) -> (u32, u32) {
    const LATE: u32 = WAYS - EARLY;
    match order {
        _ if order < EARLY => (first, order),
        _ if order < 2 * EARLY => (second, order - EARLY),
        _ if order < 2 * EARLY + LATE => (first, order - EARLY),
        _ => (second, order - WAYS),
    }
}

/// The worth of a flow that keeps its place.
const YOUNG: u64 = 1 << 40;

/// What would be lost with a word's place: nothing, 1; else more the later it was seen,
/// where an answer counts for a while. The flow's own old place comes before all others,
/// so that no second entry of it is found first.
#[inline(always)]
fn worth<S: Slots>(slots: &S, word: Word, hash: u64, clock: &Clock) -> u64 {
    const MORE: u64 = (YIELD_ANSWERED - YIELD_UNANSWERED) as u64;
    let since = silence(slots, word, clock);
    let is = |state: State| if_zero(slots, word.state_bits() ^ state as u64);
    let fresh = !if_less(slots, clock.ticks(STALE_CLAIM.into()), since);
    let kept = is(State::Claimed) & fresh;
    let alive = is(State::Live) & if_alive(slots, word, clock);
    let answered = slots.opaque(u64::from(word.flags() & Flow::REPLIED));
    let least = clock.ticks(u64::from(YIELD_UNANSWERED) + MORE * answered);
    let over = since.wrapping_sub(least) & if_less(slots, least, since);
    let own = if_zero(slots, word.differs(hash));
    YOUNG & kept | (YOUNG - over) & alive | 1 & !own & !(kept | alive)
}

/// The word of a place.
pub fn word_at<S: Slots>(slots: &S, place: u32) -> Word {
    Word(slots.word(slots.bucket(place & !(WAYS - 1)), place & (WAYS - 1)))
}

/// The flow of a place, for who walks the whole table. `None` if there is none, it has
/// ended, or it changes right now.
pub fn flow_at<S: Slots>(slots: &S, place: u32, clock: &Clock) -> Option<(FlowKey, Flow)> {
    let word = word_at(slots, place);
    if !is_live(slots, word, clock) {
        return None;
    }
    let entry = slots.entry(place);
    let mut words = [0; ENTRY_WORDS as usize];
    for (index, to) in words.iter_mut().enumerate() {
        *to = slots.read(entry, index);
    }
    let [local_hi, local_lo, remote_hi, remote_lo, rest, found, opened, slot] = words;
    let key = FlowKey::of_words([local_hi, local_lo, remote_hi, remote_lo, rest]);
    let slot = u32::try_from(slot).unwrap_or(u32::MAX);
    let flow = Flow { seen: word.seen(), opened, slot, flags: word.flags() };
    (found == seal(hash(slots.seed(), key.words()), word)).then_some((key, flow))
}

impl<S: Slots> Slots for &mut S {
    type Bucket = S::Bucket;
    type Entry = S::Entry;

    #[inline(always)]
    fn mask(&self) -> u32 {
        (**self).mask()
    }

    #[inline(always)]
    fn seed(&self) -> u32 {
        (**self).seed()
    }

    #[inline(always)]
    fn bucket(&self, first: u32) -> S::Bucket {
        (**self).bucket(first)
    }

    #[inline(always)]
    fn word(&self, bucket: S::Bucket, way: u32) -> u64 {
        (**self).word(bucket, way)
    }

    #[inline(always)]
    fn swap(&mut self, place: u32, old: u64, new: u64) -> bool {
        (**self).swap(place, old, new)
    }

    #[inline(always)]
    fn entry(&self, place: u32) -> S::Entry {
        (**self).entry(place)
    }

    #[inline(always)]
    fn read(&self, entry: S::Entry, index: usize) -> u64 {
        (**self).read(entry, index)
    }

    #[inline(always)]
    fn write(&mut self, entry: S::Entry, index: usize, value: u64) {
        (**self).write(entry, index, value);
    }

    #[inline(always)]
    fn anew<'k>(&self, key: &'k FlowKey) -> &'k FlowKey {
        (**self).anew(key)
    }

    #[inline(always)]
    fn opaque(&self, number: u64) -> u64 {
        (**self).opaque(number)
    }
}

#[cfg(test)]
pub(crate) mod tests;
