//! The first rule that holds, by bit vectors: the form of cells for policies whose
//! rules name both ends by many networks, as a router's do.
//!
//! Ten thousand such rules divide pairs of addresses into millions of kinds, each with
//! a row of its own. Here nothing is kept for a pair. Each class of addresses, each
//! side and each service class has a *vector*, a bit for each *line*: a rule, or a part
//! of one whose cells differ by service. A line decides if three vectors have its bit and
//! no line of a better rank has three.
//!
//! A *record* for each class says in which words of its vector there is anything, a bit
//! for a word: three records that have nothing in common spare a look at 1,024 lines.
//! Which lines share a word is the compiler's choice: those that the same addresses meet.
//! Only within a word are they in order of rank.
//!
//! Baboescu and Varghese, "Scalable Packet Classification", SIGCOMM 2001, where all lines
//! are in order of rank.

#![expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]

use crate::abi::tables::{Cell, Record, Setting};
use crate::policy::Tables;
use crate::verdict::Direction;

/// What a lookup needs to know of a chain.
struct Chain {
    records: Setting,
    summaries: Setting,
    cells: Setting,
    sides: Setting,
}

impl Chain {
    const INGRESS: Self = Self {
        records: Setting::VectorsIngress,
        summaries: Setting::SummariesIngress,
        cells: Setting::CellsIngress,
        sides: Setting::LocalClassesIngress,
    };
    const EGRESS: Self = Self {
        records: Setting::VectorsEgress,
        summaries: Setting::SummariesEgress,
        cells: Setting::CellsEgress,
        sides: Setting::LocalClassesEgress,
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

/// The cell of the line of best rank that holds for all three classes; the default's if
/// none does.
#[inline(always)]
pub fn cell<T: Tables + ?Sized>(tables: &T, direction: Direction, classes: Classes) -> Cell {
    let chain = match direction {
        Direction::Ingress => Chain::INGRESS,
        Direction::Egress => Chain::EGRESS,
    };
    let (first, summaries) = (tables.setting(chain.records), tables.setting(chain.summaries));
    let words = Record::words(summaries);
    let side = tables.setting(Setting::AddressClasses).wrapping_add(classes.side);
    let column = tables.setting(Setting::AddressClasses);
    let column = column.wrapping_add(tables.setting(chain.sides)).wrapping_add(classes.column);
    let records = [classes.address, side, column]
        .map(|number| first.wrapping_add(number.wrapping_mul(words)));
    let vectors = records.map(|record| first.wrapping_add(tables.word(record)));
    // Once here, so that no look at one of their words can be outside.
    if !are_inside(tables, records, words) || !are_inside(tables, vectors, summaries << 5) {
        return Cell(Cell::NO_SLOT | Cell::BROKEN);
    }
    let line = |number: u32| {
        let place = tables.setting(chain.cells).wrapping_add(number.wrapping_mul(Line::WORDS));
        i64::from(tables.word(place)) << 32 | i64::from(tables.word(place.wrapping_add(1)))
    };
    let mut best = line(Line::NONE);
    for summary in 0..summaries {
        let mut left = common(tables, records, Record::SUMMARY.wrapping_add(summary));
        // A bound that the compiler does not know is a loop that it does not unroll.
        for _ in 0..tables.setting(Setting::WordBits) {
            if left == 0 {
                break;
            }
            let word = (summary << 5).wrapping_add(lowest(left));
            let lines = common(tables, vectors, word);
            // No branch on what was read, nor on ranks: each would wait for memory, and the
            // verifier would follow all that comes after it once more.
            let found = line(word.wrapping_mul(Line::PER_WORD).wrapping_add(lowest(lines)));
            let ahead = found.wrapping_sub(best);
            best = best.wrapping_add(ahead & ahead >> 63);
            left &= left.wrapping_sub(1);
        }
    }
    Cell(best.cast_unsigned() as u32)
}

/// What stands for a bit of a vector: the rank of a line, lower wins, and its cell.
///
/// For each word of a vector there is one more, which stands for no bit at all: the
/// default's, of rank [`Line::LAST`].
pub struct Line;

impl Line {
    /// Words of a line.
    pub const WORDS: u32 = 2;
    /// Lines for a word of bits.
    pub const PER_WORD: u32 = u32::BITS + 1;
    /// The line that stands for no bit of the first word.
    pub const NONE: u32 = u32::BITS;
    /// The rank behind all others.
    pub const LAST: u32 = i32::MAX as u32;
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
const fn lowest(word: u32) -> u32 {
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
    fn the_lowest_bit_is_found() {
        assert_eq!(lowest(0), 32);
        for bit in 0..32 {
            for above in [0, 1, 0x5eed, u32::MAX] {
                assert_eq!(lowest((above << 1 | 1) << bit), bit);
            }
        }
    }
}
