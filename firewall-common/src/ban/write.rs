//! The one writer of a table of bans.

use super::{behind, first_bucket, hash, is_ban, tag};
use crate::abi::ban::{BanKey, EMPTY, LIFTED, PROBES, SLOTS, TableWord};

/// Words of a place: head, address, hits.
const WIDTH: usize = 4;

/// The words of a table, each read and written in one go.
pub trait Memory {
    /// A word.
    fn load(&self, word: usize) -> u64;
    /// Writes a word; nobody sees it before those written earlier.
    fn store(&mut self, word: usize, value: u64);
}

impl<M: Memory> Memory for &mut M {
    fn load(&self, word: usize) -> u64 {
        (**self).load(word)
    }

    fn store(&mut self, word: usize, value: u64) {
        (**self).store(word, value);
    }
}

/// A table, to be changed.
#[derive(Debug)]
pub struct Writer<M> {
    /// Its words, bucket by bucket.
    pub memory: M,
    /// Its size.
    pub table: TableWord,
    /// What it is hashed by.
    pub seed: u64,
}

/// A ban in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub place: u32,
    /// Of whom.
    pub key: BanKey,
    /// Its end, in the table's units.
    pub until: u32,
    /// Packets dropped.
    pub hits: u64,
}

/// Where a ban stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// There it was not before.
    New(u32),
    /// There it was already, and is as it was.
    Known(u32),
}

impl Placed {
    /// The place.
    #[must_use]
    pub const fn place(self) -> u32 {
        match self {
            Self::New(place) | Self::Known(place) => place,
        }
    }
}

/// Why a ban was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// There is no room where it would be looked for.
    NoRoom,
    /// It would have to be looked for in the bucket that was named as the end.
    Beyond,
}

/// No bucket: a search may go on behind any.
pub const NO_END: u32 = u32::MAX;

const fn head(key: &BanKey, hash: u64, until: u32) -> u64 {
    (tag(hash, key) as u64) << 32 | until as u64
}

impl<M: Memory> Writer<M> {
    /// Where a ban stands, ended or not.
    #[must_use]
    pub fn find(&self, key: &BanKey) -> Option<u32> {
        self.search(key, hash(self.seed, key), NO_END).ok()
    }

    /// Adds a ban, or renews it; its place, and whether it is new. `None` if there is
    /// no room where it would be looked for.
    pub fn insert(&mut self, key: &BanKey, until: u32) -> Option<(u32, bool)> {
        let hash = hash(self.seed, key);
        let placed = self.place(key, hash, until, NO_END).ok()?;
        if let Placed::Known(place) = placed {
            self.memory.store(place as usize * WIDTH, head(key, hash, until));
            return Some((place, false));
        }
        Some((placed.place(), true))
    }

    /// Adds a ban of a key of that hash, unless there is one, in the buckets before `end`:
    /// several writers may fill a table that nobody else knows yet, each its own range of
    /// buckets.
    ///
    /// # Errors
    /// If it does not fit there; then nothing is written.
    pub fn place(
        &mut self,
        key: &BanKey,
        hash: u64,
        until: u32,
        end: u32,
    ) -> Result<Placed, Unplaced> {
        match self.search(key, hash, end) {
            Ok(place) => Ok(Placed::Known(place)),
            Err(free) => {
                let place = free?;
                let first = place as usize * WIDTH;
                self.memory.store(first + 1, key.hi);
                self.memory.store(first + 2, key.lo);
                self.memory.store(first + 3, 0);
                self.memory.store(first, head(key, hash, until));
                Ok(Placed::New(place))
            }
        }
    }

    /// Lifts the ban at a place.
    pub fn remove(&mut self, place: u32) {
        let bucket = place / SLOTS * SLOTS;
        // Who looks past this bucket now would do so without an empty place in it.
        let is_last =
            (bucket..bucket + SLOTS).any(|slot| self.memory.load(slot as usize * WIDTH) == EMPTY);
        self.memory.store(place as usize * WIDTH, if is_last { EMPTY } else { LIFTED });
    }

    /// Every ban, ended or not.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.entries_from(0, self.table.buckets())
    }

    /// Every ban in so many buckets from one on; behind the last is the first.
    pub fn entries_from(&self, bucket: u32, count: u32) -> impl Iterator<Item = Entry> + '_ {
        let buckets = self.table.buckets();
        let all = (0..count).map(move |number| (bucket + number) % buckets);
        all.flat_map(|bucket| bucket * SLOTS..(bucket + 1) * SLOTS)
            .filter_map(|place| self.entry(place))
    }

    /// The ban at a place.
    #[must_use]
    pub fn entry(&self, place: u32) -> Option<Entry> {
        let first = place as usize * WIDTH;
        let head = self.memory.load(first);
        if !is_ban(head) {
            return None;
        }
        let tag = (head >> 32) as u32;
        let key = BanKey {
            hi: self.memory.load(first + 1),
            lo: self.memory.load(first + 2),
            length: tag & 0xff,
            family: 4 | tag >> 7 & 2,
        };
        // Who reads while another writes may see the head of one with the rest of another.
        let is_whole = self::tag(hash(self.seed, &key), &key) == tag;
        let hits = self.memory.load(first + 3);
        is_whole.then_some(Entry { place, key, until: head as u32, hits })
    }

    /// Sets the hits of a ban that comes from another table.
    pub fn set_hits(&mut self, place: u32, hits: u64) {
        self.memory.store(place as usize * WIDTH + 3, hits);
    }

    /// The place of a key, or else the first where it could stand, if there is any; looks
    /// at no bucket from `end` on.
    fn search(&self, key: &BanKey, hash: u64, end: u32) -> Result<u32, Result<u32, Unplaced>> {
        let tag = tag(hash, key);
        let mut bucket = first_bucket(hash, self.table);
        let mut free = Err(Unplaced::NoRoom);
        for _ in 0..PROBES {
            if bucket == end {
                return Err(Err(Unplaced::Beyond));
            }
            let mut is_last = false;
            for place in bucket * SLOTS..(bucket + 1) * SLOTS {
                let first = place as usize * WIDTH;
                let head = self.memory.load(first);
                let is_it = (head >> 32) as u32 == tag
                    && self.memory.load(first + 1) == key.hi
                    && self.memory.load(first + 2) == key.lo;
                if is_it {
                    return Ok(place);
                }
                if !is_ban(head) {
                    free = free.or(Ok(place));
                }
                is_last |= head == EMPTY;
            }
            if is_last {
                break;
            }
            bucket = behind(bucket, self.table);
        }
        Err(free)
    }
}
