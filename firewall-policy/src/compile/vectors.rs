//! Cells in the form of bit vectors, see [`firewall_common::vectors`].
//!
//! It grows with classes times rules, whatever rules have in common: the last resort,
//! where pairs of classes are too many. Rules that ask for interface, VLAN or flags make
//! sides for replies, which no single line decides, so a policy with such has no vectors.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use firewall_common::abi::tables::Record;
use firewall_common::vectors;

use super::interner::Fold;
use super::judge::Judge;
use super::lists::{Lists, word};
use super::room;

/// Bits of a word.
const BITS: usize = u32::BITS as usize;
const SUMMARY: usize = Record::SUMMARY as usize;

/// Words of bits in a record, at most: 24,576 lines. The verifier walks some 10,000
/// instructions for each of either chain, half of what it may with both so large.
const SUMMARIES_MAX: u32 = 24;

/// Records with their vectors, and the cells of lines.
#[derive(Debug)]
pub(super) struct Vectors {
    /// Records, then vectors.
    pub(super) words: Vec<u32>,
    /// Words of bits in a record.
    pub(super) summaries: u32,
    /// What stands for each bit.
    pub(super) cells: Vec<u32>,
}

impl Vectors {
    /// Bytes that vectors take at most; `None` if none can say what the rules say, or the
    /// kernel would not follow a search through them.
    pub(super) fn bytes(judge: &Judge<'_>) -> Option<u64> {
        let size = Size::of(judge, lines_max(judge));
        let is_local_only = judge.sides.count() == judge.sides.locals();
        (is_local_only && size.summaries <= SUMMARIES_MAX).then(|| size.bytes())
    }

    /// Works out the vectors.
    pub(super) fn new(judge: &Judge<'_>) -> Self {
        let lines = Lines::new(judge);
        let mut table = Table::new(Size::of(judge, lines.lines.len()));
        lines.fill(judge, &mut table);
        let cells = lines.words(judge, table.size);
        Self { words: table.words, summaries: table.size.summaries, cells }
    }
}

/// How large the table is.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Classes of addresses, sides and columns.
    records: usize,
    /// Words of bits in a record.
    summaries: u32,
}

impl Size {
    fn of(judge: &Judge<'_>, lines: usize) -> Self {
        let records = judge.address_classes() + judge.sides.count() + judge.columns();
        Self { records, summaries: word(room::section(lines).div_ceil(BITS * BITS)) }
    }

    /// Words of a record.
    fn record(self) -> usize {
        Record::words(self.summaries) as usize
    }

    /// Words of a vector: as many as a record can tell of.
    fn vector(self) -> usize {
        self.summaries as usize * BITS
    }

    fn bytes(self) -> u64 {
        4 * self.records as u64 * (self.record() + self.vector()) as u64
    }
}

/// Lines at most: one of each rule, and one for each kind in which a rule counts.
fn lines_max(judge: &Judge<'_>) -> usize {
    (0..word(judge.rules())).map(|rank| 1 + judge.counts(rank)).sum()
}

/// A rule, or the part of one that has this cell.
struct Line {
    rank: u32,
    cell: u32,
    /// Its columns; `None` for all.
    columns: Option<Vec<u32>>,
}

/// The lines of a rule: one, unless it counts requests of some services only.
fn lines_of(judge: &Judge<'_>, rank: u32) -> Vec<Line> {
    let columns = judge.columns_of(rank);
    if judge.counts(rank) == 0 {
        let (cell, columns) = (judge.plain_cell(rank), columns.map(<[u32]>::to_vec));
        return vec![Line { rank, cell, columns }];
    }
    let every: Vec<u32> = (0..word(judge.columns())).collect();
    let mut lines: Vec<Line> = Vec::new();
    for &column in columns.unwrap_or(&every) {
        let cell = judge.cell(rank, column);
        match lines.iter_mut().find(|line| line.cell == cell) {
            Some(line) => line.columns.get_or_insert_default().push(column),
            None => lines.push(Line { rank, cell, columns: Some(vec![column]) }),
        }
    }
    lines
}

/// All lines, by bit.
struct Lines {
    lines: Vec<Line>,
    /// Bits of each rule's lines.
    of_rule: Lists,
}

impl Lines {
    fn new(judge: &Judge<'_>) -> Self {
        let (places, ranks) = (Places::new(judge), 0..word(judge.rules()));
        let mut lines: Vec<Line> = ranks.flat_map(|rank| lines_of(judge, rank)).collect();
        lines.sort_by_cached_key(|line| places.of(judge, line.rank));
        for word in lines.chunks_mut(BITS) {
            word.sort_by_key(|line| line.rank);
        }
        let bits = (0..).zip(&lines).map(|(bit, line)| (line.rank, bit));
        Self { of_rule: Lists::from_pairs(judge.rules(), bits), lines }
    }

    /// What stands for each bit, and for as many more as the verifier takes to be possible.
    fn words(&self, judge: &Judge<'_>, size: Size) -> Vec<u32> {
        let default = [vectors::Line::LAST, judge.plain_cell(word(judge.rules()))];
        let per_word = vectors::Line::PER_WORD as usize;
        let mut lines = vec![default; (size.vector() + 1) * per_word];
        for (to, from) in lines.chunks_mut(per_word).zip(self.lines.chunks(BITS)) {
            for (to, line) in to.iter_mut().zip(from) {
                *to = [line.rank, line.cell];
            }
        }
        lines.into_iter().flatten().collect()
    }

    /// Writes the records of every class, in their order.
    fn fill(&self, judge: &Judge<'_>, table: &mut Table) {
        let bits = |rank: u32| self.of_rule.of(rank).iter().copied();
        let ranks = || 0..word(judge.rules());
        let everywhere = ranks().filter(|&rank| judge.ends_of(rank).0.is_none());
        let everywhere = table.vector(everywhere.flat_map(bits));
        for class in 0..word(judge.address_classes()) {
            table.push(&everywhere, judge.naming(class).flat_map(bits));
        }
        let everywhere = ranks().filter(|&rank| judge.locals_of(rank).is_none());
        let everywhere = table.vector(everywhere.flat_map(bits));
        let held = ranks().flat_map(|rank| {
            let locals = judge.locals_of(rank).unwrap_or_default();
            locals.iter().map(move |&local| (local, rank))
        });
        let held = Lists::from_pairs(judge.sides.locals(), held);
        for local in 0..word(judge.sides.locals()) {
            table.push(&everywhere, held.of(local).iter().copied().flat_map(bits));
        }
        let lines = || (0..).zip(&self.lines);
        let everywhere = lines().filter(|(_, line)| line.columns.is_none());
        let everywhere = table.vector(everywhere.map(|(bit, _)| bit));
        let held = lines().flat_map(|(bit, line)| {
            let columns = line.columns.as_deref().unwrap_or_default();
            columns.iter().map(move |&column| (column, bit))
        });
        let held = Lists::from_pairs(judge.columns(), held);
        for column in 0..word(judge.columns()) {
            table.push(&everywhere, held.of(column).iter().copied());
        }
    }
}

/// Where rules lie. Those that lie together share a word, so that a packet meets few.
struct Places {
    /// First class and number of classes of each set, as remote end.
    remote: Vec<(u32, usize)>,
}

impl Places {
    fn new(judge: &Judge<'_>) -> Self {
        let mut remote = Vec::new();
        for (class, set) in judge.sets_of_classes() {
            let set = set as usize;
            remote.resize(remote.len().max(set + 1), (class, 0));
            let (first, count) = &mut remote[set];
            *first = if *count == 0 { class } else { class.min(*first) };
            *count += 1;
        }
        Self { remote }
    }

    /// A key that sorts rules by place: by their narrow ends first, and by service if
    /// neither is. A rule for nearly any address stands apart from those for few, as it
    /// would take part in every look at them.
    fn of(&self, judge: &Judge<'_>, rank: u32) -> [u32; 3] {
        let (remote, local) = judge.ends_of(rank);
        let remote = remote.and_then(|set| self.remote.get(set as usize).copied());
        let remote = remote.filter(|&(_, count)| is_narrow(count, judge.address_classes()));
        let remote = remote.map(|(first, _)| first);
        let local = local.map(|set| judge.sides.held_by(set));
        let local = local.filter(|held| is_narrow(held.len(), judge.sides.locals()));
        let local = local.and_then(|held| held.first().copied());
        let column = judge.columns_of(rank).and_then(|columns| columns.first().copied());
        match (local, remote) {
            (Some(local), Some(remote)) => [0, local, remote],
            (Some(local), None) => [1, local, 0],
            (None, Some(remote)) => [2, remote, 0],
            (None, None) => [3, column.unwrap_or_default(), 0],
        }
    }
}

/// Whether an end holds few of all classes.
fn is_narrow(held: usize, all: usize) -> bool {
    held == 1 || held * 16 < all
}

/// Records and vectors while they are written.
struct Table {
    words: Vec<u32>,
    size: Size,
    /// Records written.
    count: usize,
    /// Place of each vector: many classes have the same.
    known: HashMap<Box<[u32]>, u32, BuildHasherDefault<Fold>>,
}

impl Table {
    fn new(size: Size) -> Self {
        let words = vec![0; size.records * size.record()];
        Self { words, size, count: 0, known: HashMap::default() }
    }

    /// A vector of these bits.
    fn vector(&self, bits: impl Iterator<Item = u32>) -> Box<[u32]> {
        let mut vector = vec![0; self.size.vector()].into_boxed_slice();
        set(&mut vector, bits);
        vector
    }

    /// Adds the record of a class that has these bits, and those that every class has.
    fn push(&mut self, everywhere: &[u32], bits: impl Iterator<Item = u32>) {
        let mut vector: Box<[u32]> = everywhere.into();
        set(&mut vector, bits);
        let size = self.size.record();
        let record = self.count * size;
        for (number, _) in vector.iter().enumerate().filter(|(_, word)| **word != 0) {
            self.words[record + SUMMARY + number / BITS] |= 1 << (number % BITS);
        }
        let next = word(self.words.len());
        let place = *self.known.entry(vector).or_insert_with_key(|vector| {
            self.words.extend_from_slice(vector);
            next
        });
        self.words[record] = place;
        self.count += 1;
    }
}

/// Sets these bits of a vector.
fn set(vector: &mut [u32], bits: impl Iterator<Item = u32>) {
    for bit in bits {
        vector[bit as usize / BITS] |= 1 << (bit as usize % BITS);
    }
}
