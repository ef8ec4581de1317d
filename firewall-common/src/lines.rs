//! The first rule that holds, where pairs of classes are too many for a row each: the
//! form of cells for policies whose rules name both ends by many networks, as a router's do.
//!
//! Ten thousand such rules divide pairs of addresses into millions of kinds. Here nothing is
//! kept for a pair. Rules are *lines*, numbered in order of rank; one whose cells differ by
//! service is several. What a packet asks for is the lowest line that holds for it, and lines
//! are divided by their ends:
//!
//! | ends | found by |
//! | --- | --- |
//! | both wide | a row for each pair of *wide classes*: addresses that no wide network tells apart |
//! | one wide | a row for each class of the other end and wide class of that one |
//! | both narrow | a table of pairs of *pair classes* that have a row, or bit vectors |
//!
//! A network is wide if it holds many of all classes. There are few of those, and so few
//! wide classes, while most rules of firewalls name one end only. A [`Row`] has a line for each
//! service class. What is known of a class is an [`End`]: a packet reads two of them, and
//! four rows.
//!
//! Pair classes are what only networks of lines with two narrow ends tell apart. Few pairs of
//! them have a line, but where networks lie in each other at both ends: then each class of
//! addresses, each side and each service class has a *vector* instead, a bit for each such
//! line. A line holds if three vectors have its bit. A *record* for each class says in which
//! words of its vector there is anything, a bit for a word: three records that have nothing in
//! common spare a look at 1,024 lines. Which lines share a word is the compiler's choice:
//! those that the same addresses meet.
//!
//! Baboescu and Varghese, "Scalable Packet Classification", SIGCOMM 2001, where all lines
//! have bits, in order of rank.

#![expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]

use crate::abi::tables::{Cell, Record, Setting};
use crate::policy::{Tables, pair_slot};
use crate::verdict::Direction;

/// What a lookup needs to know of a chain.
struct Chain {
    first: Setting,
    summaries: Setting,
    cells: Setting,
    sides: Setting,
    columns: Setting,
    rows: Setting,
    pair_mask: Setting,
}

impl Chain {
    const INGRESS: Self = Self {
        first: Setting::LinesIngress,
        summaries: Setting::SummariesIngress,
        cells: Setting::CellsIngress,
        sides: Setting::LocalClassesIngress,
        columns: Setting::ServiceClassesIngress,
        rows: Setting::RowsIngress,
        pair_mask: Setting::PairMaskIngress,
    };
    const EGRESS: Self = Self {
        first: Setting::LinesEgress,
        summaries: Setting::SummariesEgress,
        cells: Setting::CellsEgress,
        sides: Setting::LocalClassesEgress,
        columns: Setting::ServiceClassesEgress,
        rows: Setting::RowsEgress,
        pair_mask: Setting::PairMaskEgress,
    };
}

/// The classes of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Classes {
    /// Of the remote address.
    pub address: u32,
    /// Side, see [`policy`](crate::policy).
    pub side: u32,
    /// Column of the service.
    pub column: u32,
}

/// The parts of a chain's tables, by their first words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// An [`End`] for each class of addresses, then for each side.
    pub ends: u32,
    /// For each pair of wide classes, remote times [`End::WIDE_MAX`] plus local, and column:
    /// the line.
    pub wide: u32,
    /// For each word of a vector, the line of each of its bits, then [`Bits::NONE`]'s.
    pub bits: u32,
    /// Slots of two words, the number of a pair plus 1 (0 = none) and its [`Row`], found by
    /// [`slot_of`]; or records of classes of addresses, of sides and of columns, and vectors.
    pub pairs: u32,
}

impl Parts {
    /// Of tables from word `first` on, with so many classes of addresses, sides and columns,
    /// and so many words of bits in a record.
    #[inline(always)]
    #[must_use]
    pub const fn new(first: u32, [addresses, sides, columns]: [u32; 3], summaries: u32) -> Self {
        let ends = addresses.wrapping_add(sides).wrapping_mul(End::WORDS);
        let wide = first.wrapping_add(ends);
        let pairs = End::WIDE_MAX * End::WIDE_MAX;
        let bits = wide.wrapping_add(columns.wrapping_mul(pairs));
        let words = (summaries << 5).wrapping_add(1).wrapping_mul(Bits::PER_WORD);
        // Records begin at a cache line.
        let pairs = bits.wrapping_add(words).wrapping_add(15) & !15;
        Self { ends: first, wide, bits, pairs }
    }
}

/// The cell of the lowest line that holds for all three classes; the default's if none does.
#[inline(always)]
pub fn cell<T: Tables + ?Sized>(tables: &T, direction: Direction, classes: Classes) -> Cell {
    let chain = match direction {
        Direction::Ingress => Chain::INGRESS,
        Direction::Egress => Chain::EGRESS,
    };
    let (first, summaries) = (tables.setting(chain.first), tables.setting(chain.summaries));
    let counts = [Setting::AddressClasses, chain.sides, chain.columns];
    let [addresses, sides, columns] = counts.map(|setting| tables.setting(setting));
    let parts = Parts::new(first, [addresses, sides, columns], summaries);
    let ends = Ends::of(&parts, addresses, classes);
    let rows = Rows { first: tables.setting(chain.rows), columns, column: classes.column };
    let narrow = if summaries == 0 {
        of_pair(tables, &parts, ends, (rows, tables.setting(chain.pair_mask)))
    } else {
        let column = addresses.wrapping_add(sides).wrapping_add(classes.column);
        let records = [classes.address, addresses.wrapping_add(classes.side), column];
        match of_vectors(tables, &parts, summaries, records) {
            Some(line) => line,
            None => return Cell(Cell::NO_SLOT | Cell::BROKEN),
        }
    };
    let lowest = lower(of_wide(tables, &parts, ends, rows), narrow);
    Cell(tables.word(tables.setting(chain.cells).wrapping_add(lowest)))
}

/// Where the rows are, and which of their words is asked for.
#[derive(Clone, Copy, Debug)]
struct Rows {
    first: u32,
    columns: u32,
    column: u32,
}

impl Rows {
    /// The line of the row for which the word at `place` stands; a number behind all lines if
    /// it has none.
    #[inline(always)]
    fn line<T: Tables + ?Sized>(self, tables: &T, place: u32) -> u32 {
        let word = tables.word(place);
        let row = (word >> Row::LINE_BITS).wrapping_mul(self.columns).wrapping_add(self.column);
        let distance = tables.word(self.first.wrapping_add(row));
        (word & Row::LINE).wrapping_add(distance)
    }
}

/// First words of the ends of a packet.
#[derive(Clone, Copy, Debug)]
struct Ends {
    remote: u32,
    local: u32,
}

impl Ends {
    #[inline(always)]
    const fn of(parts: &Parts, addresses: u32, classes: Classes) -> Self {
        let side = addresses.wrapping_add(classes.side);
        Self {
            remote: parts.ends.wrapping_add(classes.address.wrapping_mul(End::WORDS)),
            local: parts.ends.wrapping_add(side.wrapping_mul(End::WORDS)),
        }
    }

    /// The same word of both.
    #[inline(always)]
    fn words<T: Tables + ?Sized>(self, tables: &T, offset: u32) -> [u32; 2] {
        [self.remote, self.local].map(|end| tables.word(end.wrapping_add(offset)))
    }
}

/// The lowest line that has a wide end.
#[inline(always)]
fn of_wide<T: Tables + ?Sized>(tables: &T, parts: &Parts, ends: Ends, rows: Rows) -> u32 {
    let [remote, local] = ends.words(tables, End::WIDE);
    let both = remote.wrapping_mul(End::WIDE_MAX).wrapping_add(local).wrapping_mul(rows.columns);
    let both = tables.word(parts.wide.wrapping_add(both).wrapping_add(rows.column));
    let [remote_line, local_line] = [(ends.remote, local), (ends.local, remote)]
        .map(|(end, wide)| rows.line(tables, end.wrapping_add(End::ROWS).wrapping_add(wide)));
    lower(both, lower(remote_line, local_line))
}

/// The lowest line that has two narrow ends, by the row of their pair, if it has any.
#[inline(always)]
fn of_pair<T: Tables + ?Sized>(
    tables: &T,
    parts: &Parts,
    ends: Ends,
    (rows, mask): (Rows, u32),
) -> u32 {
    let [remote, local] = ends.words(tables, End::PAIR);
    let pair = remote.wrapping_add(local);
    let mut slot = slot_of(tables.setting(Setting::Seed), pair);
    // A bound that the compiler does not know is a loop that it does not unroll.
    for _ in 0..tables.setting(Setting::Probes) {
        let place = parts.pairs.wrapping_add((slot & mask) << 1);
        let found = tables.word(place);
        if found == pair.wrapping_add(1) {
            return rows.line(tables, place.wrapping_add(1));
        }
        if found == 0 {
            break;
        }
        slot = slot.wrapping_add(1);
    }
    Row::NONE
}

/// The slot, before masking, at which the search for a pair starts.
#[inline(always)]
#[must_use]
pub const fn slot_of(seed: u32, pair: u32) -> u32 {
    // Pairs are neighbours, and must not be with any seed.
    pair_slot(seed ^ 0x9e37_79b1, pair)
}

/// The same by what the vectors of three records have in common; `None` if the tables
/// contradict themselves.
#[inline(always)]
fn of_vectors<T: Tables + ?Sized>(
    tables: &T,
    parts: &Parts,
    summaries: u32,
    records: [u32; 3],
) -> Option<u32> {
    let words = Record::words(summaries);
    let records = records.map(|number| parts.pairs.wrapping_add(number.wrapping_mul(words)));
    let vectors = records.map(|record| parts.ends.wrapping_add(tables.word(record)));
    // Once here, so that no look at one of their words can be outside.
    if !are_inside(tables, records, words) || !are_inside(tables, vectors, summaries << 5) {
        return None;
    }
    let line = |number: u32| tables.word(parts.bits.wrapping_add(number));
    let mut best = line(Bits::NONE);
    for summary in 0..summaries {
        let mut left = common(tables, records, Record::SUMMARY.wrapping_add(summary));
        // A bound that the compiler does not know is a loop that it does not unroll.
        for _ in 0..tables.setting(Setting::WordBits) {
            if left == 0 {
                break;
            }
            let word = (summary << 5).wrapping_add(lowest_bit(left));
            let lines = common(tables, vectors, word);
            best = lower(
                best,
                line(word.wrapping_mul(Bits::PER_WORD).wrapping_add(lowest_bit(lines))),
            );
            left &= left.wrapping_sub(1);
        }
    }
    Some(best)
}

/// The lower of two lines. No branch on what was read: it would wait for memory, and the
/// verifier would follow all that comes after it once more.
#[inline(always)]
const fn lower(a: u32, b: u32) -> u32 {
    let ahead = b as i64 - a as i64;
    (a as i64 + (ahead & ahead >> 63)).cast_unsigned() as u32
}

/// What is known of a class of addresses or a side: an end of a packet.
///
/// Words: the wide class that it is of; what it adds to the number of a pair; then the
/// [`Row`] for each wide class of the other end.
pub struct End;

impl End {
    /// Words of an end: a cache line.
    pub const WORDS: u32 = 16;
    /// Offset of the wide class.
    pub const WIDE: u32 = 0;
    /// Offset of its part of a pair's number.
    pub const PAIR: u32 = 1;
    /// Offset of the first row.
    pub const ROWS: u32 = 2;
    /// Wide classes of either end, at most.
    pub const WIDE_MAX: u32 = Self::WORDS - Self::ROWS;
}

/// The lines that an end or a pair of ends has, by column.
///
/// A row is the distance of each of them from the lowest. So rows of one line are the same
/// where their services are, whichever line it is; the word that stands for one has the number
/// of the row and, in the lower bits, its lowest line. Row 0 has none.
pub struct Row;

impl Row {
    /// Bits of the lowest line.
    pub const LINE_BITS: u32 = 17;
    /// The lowest line.
    pub const LINE: u32 = (1 << Self::LINE_BITS) - 1;
    /// Rows at most.
    pub const COUNT_MAX: u32 = 1 << (u32::BITS - Self::LINE_BITS);
    /// The distance where there is no line: behind all lines, from any.
    pub const NONE: u32 = 1 << Self::LINE_BITS;

    /// What stands for a row.
    #[must_use]
    pub const fn word(number: u32, lowest: u32) -> u32 {
        number << Self::LINE_BITS | lowest & Self::LINE
    }
}

/// The lines of a vector's bits.
///
/// For each word of a vector there is one more, which stands for no bit at all: the default,
/// the line behind all others.
pub struct Bits;

impl Bits {
    /// Lines for a word of bits.
    pub const PER_WORD: u32 = u32::BITS + 1;
    /// The line that stands for no bit of the first word.
    pub const NONE: u32 = u32::BITS;
}

/// Whether so many words from each of these are in the tables.
#[inline(always)]
fn are_inside<T: Tables + ?Sized>(tables: &T, firsts: [u32; 3], words: u32) -> bool {
    let last = tables.setting(Setting::TableWords).saturating_sub(words);
    firsts.into_iter().all(|first| first <= last)
}

/// The bits that three words have in common, so many words from each of these.
#[inline(always)]
fn common<T: Tables + ?Sized>(tables: &T, [a, b, c]: [u32; 3], offset: u32) -> u32 {
    tables.word(a.wrapping_add(offset))
        & tables.word(b.wrapping_add(offset))
        & tables.word(c.wrapping_add(offset))
}

/// The number of the lowest bit that is set, 32 if none is: how many there are up to it, less
/// one. BPF has no such instruction, and what the compiler has for it is a table in memory.
#[inline(always)]
const fn lowest_bit(word: u32) -> u32 {
    let word = word as u64 | 1 << u32::BITS;
    let pairs = word ^ (word - 1);
    let pairs = pairs - (pairs >> 1 & 0x5555_5555_5555_5555);
    let fours = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
    let bytes = (fours + (fours >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    // Six bits, as the verifier is to know.
    ((bytes.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u32).wrapping_sub(1) & 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_line_is_found() {
        for (a, b) in [(0, 0), (1, 2), (7, 0), (u32::MAX, 3), (0, u32::MAX)] {
            assert_eq!((lower(a, b), lower(b, a)), (a.min(b), a.min(b)));
        }
    }

    #[test]
    fn the_lowest_bit_is_found() {
        assert_eq!(lowest_bit(0), 32);
        for bit in 0..32 {
            for above in [0, 1, 0x5eed, u32::MAX] {
                assert_eq!(lowest_bit((above << 1 | 1) << bit), bit);
            }
        }
    }
}
