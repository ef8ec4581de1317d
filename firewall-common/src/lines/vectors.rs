//! Bit vectors of lines with two narrow ends, where those have too many pairs.
//!
//! Each class of addresses, each side and each service class has a *vector*, a bit for each
//! such line. A line holds if three vectors have its bit. A *record* for each class says in which
//! words of its vector there is anything, a bit for a word: three records that have nothing in
//! common spare a look at 1,024 lines. Which lines share a word is the compiler's choice:
//! those that the same addresses meet.
//!
//! Baboescu and Varghese, "Scalable Packet Classification", SIGCOMM 2001, where all lines
//! have bits, in order of rank.

use super::{Chain, Classes, lower};
use crate::abi::tables::{Record, Setting};
use crate::policy::Tables;
use crate::verdict::Direction;

/// In place of a line: tables contradict themselves.
pub const BROKEN: u32 = u32::MAX;

/// The lowest line that has two narrow ends, the last of all if none does, or [`BROKEN`].
#[inline(always)]
pub fn line<T: Tables + ?Sized>(tables: &T, direction: Direction, classes: Classes) -> u32 {
    let chain = Chain::of(direction);
    let addresses = tables.setting(Setting::AddressClasses);
    let column = addresses.wrapping_add(tables.setting(chain.sides)).wrapping_add(classes.column);
    let records = [classes.address, addresses.wrapping_add(classes.side), column];
    let (first, summaries) = (tables.setting(chain.narrow), tables.setting(chain.summaries));
    of_vectors(tables, (first, summaries), records).unwrap_or(BROKEN)
}

/// The lowest line of what the vectors of three records have in common; `None` if the tables
/// contradict themselves.
#[inline(always)]
fn of_vectors<T: Tables + ?Sized>(
    tables: &T,
    (first, summaries): (u32, u32),
    records: [u32; 3],
) -> Option<u32> {
    let words = Record::words(summaries);
    let behind_bits = first.wrapping_add(Bits::words(summaries));
    let records = records.map(|number| behind_bits.wrapping_add(number.wrapping_mul(words)));
    let vectors = records.map(|record| first.wrapping_add(tables.word(record)));
    // Once here, so that no look at one of their words can be outside.
    if !are_inside(tables, records, words) || !are_inside(tables, vectors, summaries << 5) {
        return None;
    }
    let line = |number: u32| tables.word(first.wrapping_add(number));
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
                tables,
                best,
                line(word.wrapping_mul(Bits::PER_WORD).wrapping_add(lowest_bit(lines))),
            );
            left &= left.wrapping_sub(1);
        }
    }
    Some(best)
}

/// The lines of a vector's bits.
///
/// For each word of a vector there is one more, which stands for no bit at all: the default,
/// the line behind all others. Behind them are the records and vectors, all of which is the
/// narrow part of a chain's tables, if that has no pairs.
pub struct Bits;

impl Bits {
    /// Lines for a word of bits.
    pub const PER_WORD: u32 = u32::BITS + 1;
    /// The line that stands for no bit of the first word.
    pub const NONE: u32 = u32::BITS;

    /// Words of all bits, of records with so many words of bits: whole cache lines, so that
    /// records begin at one.
    #[inline(always)]
    #[must_use]
    pub const fn words(summaries: u32) -> u32 {
        let words = (summaries << 5).wrapping_mul(Self::PER_WORD);
        words.wrapping_add(15) & !15
    }
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
    fn the_lowest_bit_is_found() {
        assert_eq!(lowest_bit(0), 32);
        for bit in 0..32 {
            for above in [0, 1, 0x5eed, u32::MAX] {
                assert_eq!(lowest_bit((above << 1 | 1) << bit), bit);
            }
        }
    }
}
