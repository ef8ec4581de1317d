//! A great many bans at once.
//!
//! They are sorted by hash, and so by bucket: a new table is then written from its start
//! to its end, which memory is far better at than at a place at random for each ban. The
//! range of hashes is cut into parts that fit a second-level cache, and those are shared
//! among the CPUs: each fills buckets that are its own.

use std::ops::Range;

use firewall_common::abi::ban::{Ban, BanKey, PROBES, UNIT_SHIFT};
use firewall_common::ban::write::{Entry, NO_END, Placed, Unplaced};
use firewall_common::ban::{self, first_bucket};
use firewall_policy::compile::parallel;

use super::announced::Announced;
use super::table::{Note, Table, note};

/// Parts of the range of hashes: of a million bans, one has some 500 KB of a table.
pub(super) const PARTS: usize = 256;

/// Bans for which a thread is worth it.
pub(super) const WORTH_A_THREAD: usize = 1 << 14;

/// A key behind its hash: the address, then length and family. Plain words, because
/// memory for those comes zeroed, and is not written twice.
type Record = [u64; 4];

/// What becomes of bans that a batch does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    /// They stay.
    Stay,
    /// They are lifted.
    Lifted,
}

/// Networks to be banned alike.
#[derive(Debug)]
pub(super) struct Batch {
    records: Vec<Record>,
    seed: u64,
    /// What becomes of the bans of others.
    pub(super) others: Others,
    /// When they begin, in the table's units: what ended before is not kept.
    now: u32,
    until: u32,
    note: Note,
}

impl Batch {
    /// Sorts keys.
    pub(super) fn new(keys: &[BanKey], ban: &Ban, seed: u64, others: Others) -> Self {
        let mut next = [0; PARTS];
        for key in keys {
            next[part_of(ban::hash(seed, key))] += 1;
        }
        let mut sum = 0;
        for next in &mut next {
            sum += std::mem::replace(next, sum);
        }
        let mut records = vec![[0; 4]; keys.len()];
        for key in keys {
            let hash = ban::hash(seed, key);
            let next = &mut next[part_of(hash)];
            records[*next] = record(hash, key);
            *next += 1;
        }
        let now = u32::try_from(ban.since_ns >> UNIT_SHIFT).unwrap_or(u32::MAX);
        let until = ban::units(ban.until_ns);
        let mut batch = Self { records, seed, others, now, until, note: note(ban) };
        batch.sort_parts();
        batch
    }

    fn sort_parts(&mut self) {
        let mut rest = self.records.as_mut_slice();
        let mut shares = Vec::new();
        for parts in shares_of(rest.len()) {
            let end = rest.partition_point(|record| part_of(record[0]) < parts.end);
            let (share, others) = rest.split_at_mut(end);
            shares.push(share);
            rest = others;
        }
        parallel::all(shares, |share: &mut [Record]| {
            for part in share.chunk_by_mut(|one, other| part_of(one[0]) == part_of(other[0])) {
                part.sort_unstable();
            }
        });
    }

    /// What the datapath is to be told of them.
    pub(super) fn announced(&self) -> Announced {
        let share = |parts| {
            let mut announced = Announced::nothing();
            for record in self.of(parts) {
                announced.add(self.seed, record[0], &key_of(record));
            }
            announced
        };
        let shares = parallel::all(shares_of(self.records.len()), share);
        shares.into_iter().reduce(Announced::and).unwrap_or_else(Announced::nothing)
    }

    /// How many of them there are, if none is counted twice.
    pub(super) fn different(&self) -> usize {
        self.records.chunk_by(|one, other| one == other).count()
    }

    /// Whether a ban of a table has a place in the next one.
    fn takes(&self, hash: u64, entry: &Entry) -> bool {
        let is_named = || {
            let part = part_of(hash);
            self.of(part..part + 1).binary_search(&record(hash, &entry.key)).is_ok()
        };
        self.keeps(entry) && (self.others == Others::Stay || is_named())
    }

    /// Whether a ban holds still when they begin.
    const fn keeps(&self, entry: &Entry) -> bool {
        entry.until > self.now
    }

    /// How many bans of a table hold still.
    pub(super) fn held_by(&self, table: &Table) -> usize {
        table.writer(self.seed).entries().filter(|entry| self.keeps(entry)).count()
    }

    /// How many of them a table does not have.
    pub(super) fn new_in(&self, table: &Table) -> usize {
        let count = |parts: Range<usize>| {
            let writer = table.writer(self.seed);
            let held = |record| writer.find(&key_of(record)).and_then(|place| writer.entry(place));
            let different = self.of(parts).chunk_by(|one, other| one == other);
            let is_new = |record| held(record).is_none_or(|entry| !self.keeps(&entry));
            different.filter(|same| is_new(&same[0])).count()
        };
        parallel::all(shares_of(self.records.len()), count).into_iter().sum()
    }

    /// Fills a new table with the bans of another that hold still and stay, and these: how many of
    /// them that one did not have. `None` if there is no room for one.
    pub(super) fn fill(&self, table: &Table, former: &Table) -> Option<usize> {
        self.fill_by(table, former, shares_of(former.count() as usize + self.records.len()))
    }

    /// The same, by one thread for each share of the parts.
    pub(super) fn fill_by(
        &self,
        table: &Table,
        former: &Table,
        shares: Vec<Range<usize>>,
    ) -> Option<usize> {
        let count = shares.len();
        let filled = parallel::all(shares, |mut parts: Range<usize>| {
            let own = if count == 1 { ALL } else { table.own(&parts) };
            let mut fill = Fill::new(self, table, former, own);
            parts.all(|part| fill.part(part)).then_some(fill)
        });
        let mut rest = Fill::new(self, table, former, ALL);
        for share in filled {
            let share = share?;
            rest.placed += share.placed;
            rest.kept += share.kept;
            if !share.beyond.into_iter().all(|one| rest.write(one)) {
                return None;
            }
        }
        table.set_count(rest.placed);
        Some((rest.placed - rest.kept) as usize)
    }

    /// The records of some parts.
    fn of(&self, parts: Range<usize>) -> &[Record] {
        let [start, end] = [parts.start, parts.end]
            .map(|part| self.records.partition_point(|record| part_of(record[0]) < part));
        &self.records[start..end]
    }
}

/// What is to be written to a table.
#[derive(Clone, Copy, Debug)]
enum One<'b> {
    /// A network of the batch.
    Wanted(&'b Record),
    /// A ban of the former table, and its hash.
    Former(u64, Entry),
}

/// One who fills a range of buckets.
struct Fill<'b> {
    batch: &'b Batch,
    table: &'b Table,
    former: &'b Table,
    /// The buckets that are one's own.
    own: Range<u32>,
    /// Networks that have a place.
    placed: u32,
    /// Those among them that the former table had.
    kept: u32,
    /// What does not belong there; in the order in which it came.
    beyond: Vec<One<'b>>,
}

impl<'b> Fill<'b> {
    fn new(batch: &'b Batch, table: &'b Table, former: &'b Table, own: Range<u32>) -> Self {
        Self { batch, table, former, own, placed: 0, kept: 0, beyond: Vec::new() }
    }

    /// Writes the bans of a part in the order of their hashes: then none stands far behind
    /// the bucket where it is looked for first, and more of them find room. One of the
    /// former table that is renewed comes behind what renews it, and has only its hits left.
    fn part(&mut self, part: usize) -> bool {
        let writer = self.former.writer(self.batch.seed);
        let mut wanted = self.batch.of(part..part + 1).iter().peekable();
        for (hash, place) in self.former_of(part) {
            while let Some(record) = wanted.next_if(|record| record[0] <= hash) {
                if !self.write(One::Wanted(record)) {
                    return false;
                }
            }
            let entry = writer.entry(place).filter(|entry| self.batch.takes(hash, entry));
            if !entry.is_none_or(|entry| self.write(One::Former(hash, entry))) {
                return false;
            }
        }
        wanted.all(|record| self.write(One::Wanted(record)))
    }

    /// Hashes and places of the former table's bans of a part.
    fn former_of(&self, part: usize) -> Vec<(u64, u32)> {
        let (former, seed) = (self.former, self.batch.seed);
        let first = former.first_bucket(part);
        // A ban stands in the bucket that its hash names, or behind.
        let count = former.last_bucket(part) - first + PROBES;
        let writer = former.writer(seed);
        let entries = writer.entries_from(first, count.min(former.word.buckets()));
        let mut found: Vec<(u64, u32)> = entries
            .map(|entry| (ban::hash(seed, &entry.key), entry.place))
            .filter(|(hash, _)| part_of(*hash) == part)
            .collect();
        found.sort_unstable();
        found
    }

    fn write(&mut self, one: One<'b>) -> bool {
        let (hash, key, until) = match one {
            One::Wanted(record) => (record[0], key_of(record), self.batch.until),
            One::Former(hash, entry) => (hash, entry.key, entry.until),
        };
        if first_bucket(hash, self.table.word) < self.own.start {
            self.beyond.push(one);
            return true;
        }
        let mut writer = self.table.writer(self.batch.seed);
        let placed = match writer.place(&key, hash, until, self.own.end) {
            Ok(placed) => placed,
            Err(Unplaced::Beyond) => {
                self.beyond.push(one);
                return true;
            }
            Err(Unplaced::NoRoom) => return false,
        };
        if let One::Former(_, entry) = one {
            self.kept += 1;
            if entry.hits != 0 {
                writer.set_hits(placed.place(), entry.hits);
            }
        }
        if let Placed::New(place) = placed {
            self.placed += 1;
            self.table.set_note(
                place,
                &match one {
                    One::Wanted(_) => self.batch.note,
                    One::Former(_, entry) => self.former.note(entry.place),
                },
            );
        }
        true
    }
}

/// Every bucket.
const ALL: Range<u32> = 0..NO_END;

impl Table {
    /// The buckets that one fills alone who has these parts. The first of them are left
    /// for what goes beyond those before, which is placed when all are done.
    fn own(&self, parts: &Range<usize>) -> Range<u32> {
        let start = if parts.start == 0 { 0 } else { self.first_bucket(parts.start) + 2 * PROBES };
        start..self.first_bucket(parts.end)
    }

    /// The first bucket for hashes of a part.
    fn first_bucket(&self, part: usize) -> u32 {
        first_bucket(first_hash(part), self.word)
    }

    fn last_bucket(&self, part: usize) -> u32 {
        first_bucket(first_hash(part + 1).wrapping_sub(1), self.word)
    }
}

/// The part of a hash: ascending with the bucket that it names.
#[expect(clippy::cast_possible_truncation, reason = "as many bits as parts need")]
fn part_of(hash: u64) -> usize {
    (hash >> (u64::BITS - PARTS.ilog2())) as usize
}

/// The least hash of a part; 0 for one past the last, where tables begin again.
fn first_hash(part: usize) -> u64 {
    (part as u64) << (u64::BITS - PARTS.ilog2())
}

const fn record(hash: u64, key: &BanKey) -> Record {
    [hash, key.hi, key.lo, (key.length as u64) << 32 | key.family as u64]
}

#[expect(clippy::cast_possible_truncation, reason = "halves of a word")]
fn key_of(&[_, hi, lo, rest]: &Record) -> BanKey {
    BanKey { hi, lo, length: (rest >> 32) as u32, family: rest as u32 }
}

/// The parts, shared among as many threads as so many bans are worth.
fn shares_of(count: usize) -> Vec<Range<usize>> {
    let shares = parallel::threads(count, WORTH_A_THREAD);
    (0..shares).map(|share| share * PARTS / shares..(share + 1) * PARTS / shares).collect()
}
