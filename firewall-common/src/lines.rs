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
//! | both narrow | the [`Slots`] of pairs of *pair classes* that have a row, or bit vectors |
//!
//! A network is wide if it holds many of all classes. There are few of those, and so few
//! wide classes, while most rules of firewalls name one end only. A [`Row`] has a line for each
//! service class. What is known of a class is an [`End`]: a packet reads two of them, and
//! four rows at most.
//!
//! Pair classes are what only networks of lines with two narrow ends tell apart. Few pairs of
//! them have a line, but where networks lie in each other at both ends: then there are
//! [`vectors`] of such lines instead.

#![expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]

pub mod vectors;

use crate::abi::tables::{Cell, Setting};
use crate::policy::{MISSING, Tables, pair_slot};
use crate::verdict::Direction;

/// What a lookup needs to know of a chain.
struct Chain {
    ends: Setting,
    wide: Setting,
    narrow: Setting,
    rows: Setting,
    cells: Setting,
    shape: Setting,
    pair_mask: Setting,
    summaries: Setting,
    sides: Setting,
    columns: Setting,
}

impl Chain {
    const INGRESS: Self = Self {
        ends: Setting::LinesIngress,
        wide: Setting::CombinedIngress,
        narrow: Setting::ColumnsIngress,
        rows: Setting::RowsIngress,
        cells: Setting::CellsIngress,
        shape: Setting::ShapeIngress,
        pair_mask: Setting::PairMaskIngress,
        summaries: Setting::SummariesIngress,
        sides: Setting::LocalClassesIngress,
        columns: Setting::ServiceClassesIngress,
    };
    const EGRESS: Self = Self {
        ends: Setting::LinesEgress,
        wide: Setting::CombinedEgress,
        narrow: Setting::ColumnsEgress,
        rows: Setting::RowsEgress,
        cells: Setting::CellsEgress,
        shape: Setting::ShapeEgress,
        pair_mask: Setting::PairMaskEgress,
        summaries: Setting::SummariesEgress,
        sides: Setting::LocalClassesEgress,
        columns: Setting::ServiceClassesEgress,
    };

    #[inline(always)]
    const fn of(direction: Direction) -> &'static Self {
        match direction {
            Direction::Ingress => &Self::INGRESS,
            Direction::Egress => &Self::EGRESS,
        }
    }
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

/// What the lines of a chain are like: words of an end (bits 0-7), which kinds of lines there
/// are (bits 8-11), and the number of a line behind all others, the default's (bits 12-31).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape(pub u32);

impl Shape {
    /// Some lines have two wide ends.
    pub const BOTH_WIDE: u32 = 1 << 8;
    /// Some have a wide local end only.
    pub const LOCAL_WIDE: u32 = 1 << 9;
    /// Some have a wide remote end only.
    pub const REMOTE_WIDE: u32 = 1 << 10;
    const ANY_WIDE: u32 = Self::BOTH_WIDE | Self::LOCAL_WIDE | Self::REMOTE_WIDE;
    /// Some have two narrow ends, and a row for each pair.
    pub const PAIRS: u32 = 1 << 11;
    const LAST_SHIFT: u32 = 12;

    /// With some of these bits, so many wide classes at either end, and this last line.
    #[must_use]
    pub const fn new(kinds: u32, wide: u32, last: u32) -> Self {
        let words = if kinds & Self::ANY_WIDE == 0 {
            End::PAIR + 1
        } else {
            (End::ROWS + wide).next_power_of_two()
        };
        Self(words | kinds | last << Self::LAST_SHIFT)
    }

    /// Whether there are such lines.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, kinds: u32) -> bool {
        self.0 & kinds != 0
    }

    /// Words of an end.
    #[inline(always)]
    #[must_use]
    pub const fn end_words(self) -> u32 {
        self.0 & 0xff
    }

    /// Rows in an end.
    #[inline(always)]
    #[must_use]
    pub const fn rows(self) -> u32 {
        self.end_words().saturating_sub(End::ROWS)
    }

    #[inline(always)]
    const fn last(self) -> u32 {
        self.0 >> Self::LAST_SHIFT
    }
}

/// The cell of the lowest line that holds for all three classes; the default's if none does.
#[inline(always)]
pub fn cell<T: Tables + ?Sized>(tables: &T, direction: Direction, classes: Classes) -> Cell {
    let Some(line) = lowest(tables, direction, classes) else {
        return Cell(Cell::NO_SLOT | Cell::BROKEN);
    };
    Cell(tables.word(tables.setting(Chain::of(direction).cells).wrapping_add(line)))
}

/// The lowest line that holds, the last if none does; `None` if the tables contradict
/// themselves.
#[inline(always)]
fn lowest<T: Tables + ?Sized>(tables: &T, direction: Direction, classes: Classes) -> Option<u32> {
    let chain = Chain::of(direction);
    let shape = Shape(tables.setting(chain.shape));
    let side = tables.setting(Setting::AddressClasses).wrapping_add(classes.side);
    let remote = Found::read(tables, (chain, shape), classes.address)?;
    let local = Found::read(tables, (chain, shape), side)?;
    let columns = tables.setting(chain.columns);
    let rows = Rows { first: tables.setting(chain.rows), columns, column: classes.column };
    let mut lowest = shape.last();
    if tables.setting(chain.summaries) != 0 {
        lowest = tables.line_of_vectors(direction, classes);
        if lowest == vectors::BROKEN {
            return None;
        }
    } else if shape.has(Shape::PAIRS) {
        let first = tables.setting(chain.narrow);
        let slots = Slots { first, mask: tables.setting(chain.pair_mask) };
        let row = slots.row(tables, remote.pair.wrapping_add(local.pair))?;
        lowest = lower(tables, lowest, rows.line(tables, row));
    }
    if shape.has(Shape::BOTH_WIDE) {
        let pair = remote.wide.wrapping_mul(shape.rows()).wrapping_add(local.wide);
        let place = pair.wrapping_mul(columns).wrapping_add(classes.column);
        let line = tables.word(tables.setting(chain.wide).wrapping_add(place));
        lowest = lower(tables, lowest, line);
    }
    if shape.has(Shape::LOCAL_WIDE) {
        lowest = lower(tables, lowest, rows.line(tables, remote.row(tables, local)));
    }
    if shape.has(Shape::REMOTE_WIDE) {
        lowest = lower(tables, lowest, rows.line(tables, local.row(tables, remote)));
    }
    Some(lowest)
}

/// An [`End`] of a packet.
#[derive(Clone, Copy, Debug)]
struct Found {
    first: u32,
    pair: u32,
    wide: u32,
}

impl Found {
    #[inline(always)]
    fn read<T: Tables + ?Sized>(
        tables: &T,
        (chain, shape): (&Chain, Shape),
        number: u32,
    ) -> Option<Self> {
        const { assert!(End::PAIR == 0 && End::WIDE == 1) };
        let first = tables.setting(chain.ends).wrapping_add(number.wrapping_mul(shape.end_words()));
        Some(if shape.has(Shape::ANY_WIDE) {
            let [pair, wide] = tables.words(first)?;
            Self { first, pair, wide }
        } else {
            Self { first, pair: tables.word(first), wide: 0 }
        })
    }

    /// What stands for the row that it has with the other end.
    #[inline(always)]
    fn row<T: Tables + ?Sized>(self, tables: &T, other: Self) -> u32 {
        tables.word(self.first.wrapping_add(End::ROWS).wrapping_add(other.wide))
    }
}

/// Where the rows are, and which of their words is asked for.
#[derive(Clone, Copy, Debug)]
struct Rows {
    first: u32,
    columns: u32,
    column: u32,
}

impl Rows {
    /// The line of the row for which a word stands; a number behind all lines if it has none.
    #[inline(always)]
    fn line<T: Tables + ?Sized>(self, tables: &T, word: u32) -> u32 {
        let row = (word >> Row::LINE_BITS).wrapping_mul(self.columns).wrapping_add(self.column);
        let distance = tables.word(self.first.wrapping_add(row));
        (word & Row::LINE).wrapping_add(distance)
    }
}

/// The lower of two lines. No branch on what was read: it would wait for memory, and the
/// verifier would follow all that comes after it once more.
#[inline(always)]
fn lower<T: Tables + ?Sized>(tables: &T, a: u32, b: u32) -> u32 {
    let ahead = u64::from(b).wrapping_sub(u64::from(a));
    u64::from(a).wrapping_add(ahead & tables.unseen(sign(ahead))) as u32
}

/// All bits of a number below 0, none of another.
#[inline(always)]
const fn sign(number: u64) -> u64 {
    (number.cast_signed() >> 63).cast_unsigned()
}

/// What is known of a class of addresses or a side: an end of a packet.
///
/// Words: what it adds to the number of a pair; then, where lines have wide ends, the wide
/// class that it is of, and the [`Row`] for each wide class of the other end. There are as many
/// words for all ends of a chain, a power of two, so that none straddles two cache lines.
pub struct End;

impl End {
    /// Offset of its part of a pair's number.
    pub const PAIR: u32 = 0;
    /// Offset of the wide class.
    pub const WIDE: u32 = 1;
    /// Offset of the first row.
    pub const ROWS: u32 = 2;
    /// Wide classes of either end, at most: an end is a cache line then.
    pub const WIDE_MAX: u32 = 16 - Self::ROWS;
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
    /// Rows at most: no word is that of a place past the end of the tables.
    pub const COUNT_MAX: u32 = MISSING >> Self::LINE_BITS;
    /// The distance where there is no line: behind all lines, from any.
    pub const NONE: u32 = 1 << Self::LINE_BITS;

    /// What stands for a row.
    #[must_use]
    pub const fn word(number: u32, lowest: u32) -> u32 {
        number << Self::LINE_BITS | lowest & Self::LINE
    }
}

/// The slots of pairs that have a row: the narrow part of a chain's tables.
///
/// Words: a *salt* for every eight slots; then two for each slot, the number of a pair plus 1
/// (0 = none) and what stands for its row. A pair's hash says which salt is its, and with
/// that salt which slot: the compiler has found salts by which no pairs meet, so there is
/// nothing to search.
///
/// Belazzougui, Botelho and Dietzfelbinger, "Hash, Displace, and Compress", ESA 2009.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Number of the first word.
    pub first: u32,
    /// Number of the last slot: their count is a power of two.
    pub mask: u32,
}

impl Slots {
    /// Slots at least, so that they begin at a cache line.
    pub const COUNT_MIN: u32 = 16 * Self::SHARE;

    /// Slots for each salt.
    const SHARE: u32 = 8;

    /// Words of slots up to the last.
    #[must_use]
    pub const fn words(mask: u32) -> u32 {
        (mask + 1) / Self::SHARE + ((mask + 1) << 1)
    }

    /// What stands for the row of a pair; `None` if tables contradict themselves.
    #[inline(always)]
    fn row<T: Tables + ?Sized>(self, tables: &T, pair: u32) -> Option<u32> {
        let salt = tables.word(self.salt(pair));
        let [found, row] = tables.words(self.slot(salt, pair))?;
        // No branch: half of all packets would take it.
        let differs = u64::from(found ^ pair.wrapping_add(1));
        Some(row & tables.unseen(sign(differs.wrapping_sub(1))) as u32)
    }

    /// The place of a pair's salt.
    #[inline(always)]
    #[must_use]
    pub const fn salt(self, pair: u32) -> u32 {
        let salts = self.mask / Self::SHARE;
        self.first.wrapping_add(Self::hash(0, pair) & salts)
    }

    /// The place of a pair's slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, salt: u32, pair: u32) -> u32 {
        let slots = self.first.wrapping_add(self.mask.wrapping_add(1) / Self::SHARE);
        slots.wrapping_add((Self::hash(salt, pair) & self.mask) << 1)
    }

    #[inline(always)]
    const fn hash(salt: u32, pair: u32) -> u32 {
        // Pairs are neighbours, and must not be with any salt.
        pair_slot(salt << 1 ^ 0x9e37_79b1, pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Settings;

    /// Tables in which there is nothing.
    struct Empty;

    impl Settings for Empty {
        fn setting(&self, _: Setting) -> u32 {
            0
        }
    }

    impl Tables for Empty {
        fn word(&self, _: u32) -> u32 {
            MISSING
        }
    }

    #[test]
    fn the_lower_line_is_found() {
        for (a, b) in [(0, 0), (1, 2), (7, 0), (u32::MAX, 3), (0, u32::MAX)] {
            assert_eq!((lower(&Empty, a, b), lower(&Empty, b, a)), (a.min(b), a.min(b)));
        }
    }
}
