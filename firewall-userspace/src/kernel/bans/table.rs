//! One table of bans, as a map: its layout, and what is written to a place of it.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_map_type;
use firewall_common::abi::ban::{Ban, BanKey, Bucket, CAPACITY, SLOTS, TableWord, UNIT_SHIFT};
use firewall_common::ban;
use firewall_common::ban::write::{Entry, Memory, Writer};

use super::TABLE;
use crate::kernel::maps::MMAPABLE;
use crate::kernel::sys::{self, Mapping, Shape};

/// Names of the pins of both tables.
pub(super) const TABLES: [&str; 2] = ["BAN_TABLE_0", "BAN_TABLE_1"];

/// Bans that a new table has room for at least.
pub(super) const ROOM_MIN: usize = 2400;

/// One table, mapped.
#[derive(Debug)]
pub(super) struct Table {
    pub fd: OwnedFd,
    pub word: TableWord,
    pub mapping: Mapping,
}

/// Words of a bucket.
const BUCKET: u32 = 16;
const _: () = assert!(size_of::<Bucket>() == 8 * BUCKET as usize);
/// Words of a note.
const NOTE: u32 = 6;

/// Since when a ban holds, and its reason.
pub(super) type Note = [u64; NOTE as usize];

/// The note of a ban.
pub(super) fn note(ban: &Ban) -> Note {
    let mut note = [ban.since_ns; NOTE as usize];
    for (word, bytes) in note.iter_mut().skip(1).zip(ban.reason.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    note
}

impl Table {
    pub(super) fn create(word: TableWord) -> Result<Self> {
        let shape = shape(entries(word.buckets()));
        let fd = sys::create_map("ban_table", &shape).with_context(|| {
            let mebibytes = (u64::from(shape.entries) * u64::from(shape.value)) >> 20;
            format!("the kernel refuses a table of bans of {mebibytes} MiB")
        })?;
        Self::map(fd, word)
    }

    pub(super) fn map(fd: OwnedFd, word: TableWord) -> Result<Self> {
        let length = entries(word.buckets()) as usize * size_of::<Bucket>();
        let mapping =
            Mapping::at_best(fd.as_fd(), length).context("could not map the table of bans")?;
        Ok(Self { fd, word, mapping })
    }

    /// Pins the table and makes it the one in force.
    pub(super) fn publish(
        &self,
        maps: BorrowedFd<'_>,
        directory: &Path,
        control: &Mapping,
    ) -> Result<()> {
        let path = directory.join(name(self.word));
        let _left_by_a_killed_one = fs::remove_file(&path);
        sys::pin(self.fd.as_fd(), &path)?;
        sys::set_element(maps, self.word.which(), &self.fd.as_raw_fd().to_ne_bytes())
            .context("could not place the table of bans")?;
        control.set_word(TABLE, self.word.0);
        Ok(())
    }

    pub(super) fn writer(&self, seed: u64) -> Writer<&Mapping> {
        Writer { memory: &self.mapping, table: self.word, seed }
    }

    /// Adds or renews a ban; false if there is no room for it.
    pub(super) fn insert(&self, key: &BanKey, ban: &Ban, seed: u64) -> bool {
        let Some((place, is_new)) = self.writer(seed).insert(key, ban::units(ban.until_ns)) else {
            return false;
        };
        self.set_note(place, &note(ban));
        self.set_count(self.count() + u32::from(is_new));
        true
    }

    /// What is known of an entry.
    pub(super) fn ban(&self, entry: &Entry) -> Ban {
        let [since_ns, words @ ..] = self.note(entry.place);
        let mut reason = [0; 40];
        for (bytes, word) in reason.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = word.to_ne_bytes();
        }
        let until_ns = match entry.until {
            u32::MAX => u64::MAX,
            until => u64::from(until) << UNIT_SHIFT,
        };
        Ban { until_ns, since_ns, hits: entry.hits, reason }
    }

    /// What is noted of a place: since when, and why.
    pub(super) fn note(&self, place: u32) -> Note {
        let first = self.first_of_note(place);
        std::array::from_fn(|word| self.mapping.word(first + word))
    }

    pub(super) fn set_note(&self, place: u32, note: &Note) {
        for (word, value) in (self.first_of_note(place)..).zip(note) {
            self.mapping.set_word(word, *value);
        }
    }

    fn first_of_note(&self, place: u32) -> usize {
        (self.word.buckets() * BUCKET + place * NOTE) as usize
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.mapping.word(self.last())).unwrap_or(u32::MAX)
    }

    pub(super) fn set_count(&self, count: u32) {
        self.mapping.set_word(self.last(), count.into());
    }

    /// The word that says how many bans there are.
    fn last(&self) -> usize {
        self.mapping.length() / 8 - 1
    }
}

impl Memory for &Mapping {
    fn load(&self, word: usize) -> u64 {
        self.word(word)
    }

    fn store(&mut self, word: usize, value: u64) {
        self.publish_word(word, value);
    }
}

pub(super) fn name(word: TableWord) -> &'static str {
    TABLES[word.which() as usize]
}

pub(super) fn shape(entries: u32) -> Shape {
    Shape {
        kind: bpf_map_type::BPF_MAP_TYPE_ARRAY,
        key: 4,
        value: 8 * BUCKET,
        entries,
        // Each table may have a size of its own.
        flags: MMAPABLE | BPF_F_INNER_MAP,
    }
}

const BPF_F_INNER_MAP: u32 = 1 << 12;

/// Entries of a table with so many buckets: these, their notes, and one for the count.
pub(super) fn entries(buckets: u32) -> u32 {
    buckets + (buckets * SLOTS * NOTE).div_ceil(BUCKET) + 1
}

/// Buckets for so many bans: three places for two.
pub(super) fn buckets(bans: usize) -> u32 {
    u32::try_from(bans.max(ROOM_MIN) * 3 / 2 / SLOTS as usize + 1).unwrap_or(u32::MAX)
}

/// Bans that a table takes before it is replaced: three of four places, and never more than there
/// can be.
pub(super) fn room(word: TableWord) -> u32 {
    (word.buckets() * SLOTS / 4 * 3).min(CAPACITY)
}
