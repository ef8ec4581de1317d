//! Bit vectors of lines with two narrow ends, see [`firewall_common::lines::vectors`].
//!
//! They grow with classes times lines, whatever lines have in common: the last resort, where
//! pairs of classes are too many.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use firewall_common::abi::tables::Record;
use firewall_common::lines::vectors::Bits;

use super::interner::Fold;
use super::judge::Judge;
use super::lines::Lines;
use super::lists::{Lists, word};
use super::room;
use super::wide::is_wide;

/// Bits of a word.
const BITS: usize = u32::BITS as usize;
const SUMMARY: usize = Record::SUMMARY as usize;

/// Words of bits in a record, at most: 24,576 lines. The verifier walks some 10,000
/// instructions for each of either chain, half of what it may with both so large.
const SUMMARIES_MAX: u32 = 24;

/// The lines that have bits, and the size of what is written of them.
#[derive(Debug)]
pub(super) struct Vectors {
    /// Lines by bit.
    lines: Vec<u32>,
    /// Classes of addresses, sides and columns.
    records: usize,
    /// Words of bits in a record.
    pub(super) summaries: u32,
}

impl Vectors {
    /// Of these lines; `None` if the kernel would not follow a search through them, or if there
    /// are as many steps to take as `steps_max`.
    pub(super) fn new(
        judge: &Judge<'_>,
        lines: &Lines<'_>,
        mut of: Vec<u32>,
        steps_max: usize,
    ) -> Option<Self> {
        let columns = |line: &u32| lines.all[*line as usize].columns.as_ref();
        let steps = of.iter().map(|line| columns(line).map_or(0, |of| of.len()));
        if of.len() > SUMMARIES_MAX as usize * BITS * BITS || steps.sum::<usize>() > steps_max {
            return None;
        }
        Places { judge, lines }.sort(&mut of);
        let records = judge.address_classes() + judge.sides.count() + judge.columns();
        // At least one, by which the kernel's side knows that there are vectors.
        let summaries = word(room::bits(of.len()).div_ceil(BITS * BITS)).max(1);
        (summaries <= SUMMARIES_MAX).then_some(Self { lines: of, records, summaries })
    }

    /// Words of bits, records and vectors, at most.
    pub(super) fn words(&self) -> usize {
        Bits::words(self.summaries) as usize + self.records * (self.record() + self.vector())
    }

    /// Words of a record.
    fn record(&self) -> usize {
        Record::words(self.summaries) as usize
    }

    /// Words of a vector: as many as a record can tell of.
    fn vector(&self) -> usize {
        self.summaries as usize * BITS
    }

    /// The line of each bit, then records and vectors.
    pub(super) fn write(&self, judge: &Judge<'_>, lines: &Lines<'_>) -> Vec<u32> {
        let mut words = vec![lines.last(); Bits::words(self.summaries) as usize];
        let of_bits = words.chunks_mut(Bits::PER_WORD as usize);
        for (to, from) in of_bits.zip(self.lines.chunks(BITS)) {
            to[..from.len()].copy_from_slice(from);
        }
        let mut table = Table::new(&mut words, self);
        self.fill(judge, lines, &mut table);
        words
    }

    /// Writes the records of every class, in their order.
    fn fill(&self, judge: &Judge<'_>, lines: &Lines<'_>, table: &mut Table<'_>) {
        let bits = &self.lines;
        let line = |&line: &u32| &lines.all[line as usize];
        let of_rule = (0..).zip(bits).map(|(bit, number)| (line(number).rank, bit));
        let of_rule = Lists::from_pairs(judge.rules(), of_rule);
        let bits_of = |rank: u32| of_rule.of(rank).iter().copied();
        let ranks = || 0..word(judge.rules());
        let everywhere = ranks().filter(|&rank| judge.ends_of(rank).0.is_none());
        let everywhere = table.vector(everywhere.flat_map(bits_of));
        let all = vec![true; judge.rules()];
        let held = lines.ranks_of_remotes(judge, &all);
        for class in 0..word(held.len()) {
            table.push(&everywhere, held.of(class).iter().copied().flat_map(bits_of));
        }
        let everywhere = ranks().filter(|&rank| judge.locals_of(rank).is_none());
        let everywhere = table.vector(everywhere.flat_map(bits_of));
        let held = Lines::ranks_of_locals(judge, &all);
        for local in 0..word(held.len()) {
            table.push(&everywhere, held.of(local).iter().copied().flat_map(bits_of));
        }
        let numbered = || (0..).zip(bits.iter().map(line));
        let everywhere = numbered().filter(|(_, line)| line.columns.is_none());
        let everywhere = table.vector(everywhere.map(|(bit, _)| bit));
        let held = numbered().flat_map(|(bit, line)| {
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
struct Places<'p, 'a> {
    judge: &'p Judge<'a>,
    lines: &'p Lines<'a>,
}

impl Places<'_, '_> {
    /// Lines by place, and ascending within a word.
    fn sort(&self, bits: &mut [u32]) {
        let rank = |number: u32| self.lines.all[number as usize].rank;
        bits.sort_by_cached_key(|&number| self.of(rank(number)));
        bits.chunks_mut(BITS).for_each(<[u32]>::sort_unstable);
    }

    /// A key that sorts rules by place: by their narrow ends first, and by service if
    /// neither is. A rule for nearly any address stands apart from those for few, as it
    /// would take part in every look at them.
    fn of(&self, rank: u32) -> [u32; 3] {
        let judge = self.judge;
        let (remote, local) = judge.ends_of(rank);
        let first_of_few =
            |held: &[u32], all: usize| held.first().copied().filter(|_| !is_wide(held.len(), all));
        let remote = remote.map(|set| self.lines.remotes(set));
        let remote = remote.and_then(|held| first_of_few(held, judge.address_classes()));
        let local = local.map(|set| judge.sides.held_by(set));
        let local = local.and_then(|held| first_of_few(held, judge.sides.locals()));
        let column = judge.columns_of(rank).and_then(|columns| columns.first().copied());
        match (local, remote) {
            (Some(local), Some(remote)) => [0, local, remote],
            (Some(local), None) => [1, local, 0],
            (None, Some(remote)) => [2, remote, 0],
            (None, None) => [3, column.unwrap_or_default(), 0],
        }
    }
}

/// Records and vectors while they are written.
struct Table<'t> {
    words: &'t mut Vec<u32>,
    /// Words of a record, of a vector.
    sizes: [usize; 2],
    /// Where the next record stands.
    record: usize,
    /// Place of each vector: many classes have the same.
    known: HashMap<Box<[u32]>, u32, BuildHasherDefault<Fold>>,
}

impl<'t> Table<'t> {
    /// Behind what there is already.
    fn new(words: &'t mut Vec<u32>, of: &Vectors) -> Self {
        let record = words.len();
        words.resize(record + of.records * of.record(), 0);
        Self { words, sizes: [of.record(), of.vector()], record, known: HashMap::default() }
    }

    /// A vector of these bits.
    fn vector(&self, bits: impl Iterator<Item = u32>) -> Box<[u32]> {
        let mut vector = vec![0; self.sizes[1]].into_boxed_slice();
        set(&mut vector, bits);
        vector
    }

    /// Adds the record of a class that has these bits, and those that every class has.
    fn push(&mut self, everywhere: &[u32], bits: impl Iterator<Item = u32>) {
        let mut vector: Box<[u32]> = everywhere.into();
        set(&mut vector, bits);
        for (number, _) in vector.iter().enumerate().filter(|(_, word)| **word != 0) {
            self.words[self.record + SUMMARY + number / BITS] |= 1 << (number % BITS);
        }
        let next = word(self.words.len());
        let place = *self.known.entry(vector).or_insert_with_key(|vector| {
            self.words.extend_from_slice(vector);
            next
        });
        self.words[self.record] = place;
        self.record += self.sizes[0];
    }
}

/// Sets these bits of a vector.
fn set(vector: &mut [u32], bits: impl Iterator<Item = u32>) {
    for bit in bits {
        vector[bit as usize / BITS] |= 1 << (bit as usize % BITS);
    }
}
