//! Cells in the form of lines, see [`firewall_common::lines`]: what serves where pairs of
//! classes are too many for a row each.
//!
//! Rules that ask for interface, VLAN or flags make sides for replies, which no single line
//! decides, so a policy with such has no lines.

use firewall_common::lines::{Row, Shape};

use super::ends::Ends;
use super::judge::Judge;
use super::lines::Lines;
use super::pairs::Pairs;
use super::rows::Rows;
use super::vectors::Vectors;

/// Lines at most: a row has so many bits for the number of one.
const LINES_MAX: usize = Row::LINE as usize;

/// The tables of lines, and their cells.
#[derive(Debug)]
pub(super) struct ByLine {
    /// What they are like.
    pub(super) shape: Shape,
    /// An [`End`](firewall_common::lines::End) for each class of addresses, then for each side.
    pub(super) ends: Vec<u32>,
    /// Lines of pairs of wide classes.
    pub(super) wide: Vec<u32>,
    /// [`Slots`](firewall_common::lines::Slots), or
    /// [bits, records and vectors](firewall_common::lines::vectors).
    pub(super) narrow: Vec<u32>,
    /// Number of the last slot of pairs.
    pub(super) pair_mask: u32,
    /// Words of bits in a record.
    pub(super) summaries: u32,
    /// Rows, by number.
    pub(super) rows: Vec<u32>,
    /// The cell of each line.
    pub(super) cells: Vec<u32>,
}

/// Steps that may be taken to work them out, at most.
const STEPS_MAX: usize = 1 << 26;

/// The tables before they are written.
#[derive(Debug)]
pub(super) struct Plan<'j> {
    lines: Lines<'j>,
    rows: Rows,
    ends: Ends,
    narrow: Narrow,
}

/// How lines with two narrow ends are found.
#[derive(Debug)]
enum Narrow {
    Pairs(Pairs),
    Vectors(Vectors),
}

impl<'j> Plan<'j> {
    /// With so many bytes for the rows of wide ends, and as many with those of pairs. `None` if
    /// no lines can say what the rules say, it would take much time, or the kernel would not
    /// follow a search for them.
    pub(super) fn new(judge: &'j Judge<'_>, row_bytes: u64) -> Option<Self> {
        let words_max = usize::try_from(row_bytes / 4).unwrap_or(usize::MAX);
        if judge.sides.count() != judge.sides.locals() {
            return None;
        }
        let lines = Lines::new(judge, LINES_MAX, STEPS_MAX)?;
        let is_quick = |ends: Ends| (ends.steps(judge, &lines) <= STEPS_MAX).then_some(ends);
        let with_rows = || {
            let mut ends = is_quick(Ends::new(judge, &lines))?;
            let mut rows = Rows::new(judge.columns(), words_max);
            ends.find_rows(judge, &lines, &mut rows);
            (!rows.are_too_many()).then_some((ends, rows))
        };
        let mut pairs = None;
        let (ends, rows) = match with_rows() {
            Some((ends, mut rows)) => {
                pairs = Pairs::new(judge, &lines, &ends, &mut rows, words_max);
                // Without those that were added for pairs.
                if pairs.is_some() { (ends, rows) } else { with_rows()? }
            }
            None => (is_quick(Ends::narrow(judge))?, Rows::new(judge.columns(), words_max)),
        };
        let narrow = match pairs {
            Some(pairs) => Narrow::Pairs(pairs),
            None => Narrow::Vectors(vectors(judge, &lines, &ends)?),
        };
        Some(Self { lines, rows, ends, narrow })
    }

    /// Whether every line has a row.
    pub(super) fn is_of_rows(&self) -> bool {
        matches!(self.narrow, Narrow::Pairs(_))
    }

    /// Bytes that the tables take, at most.
    pub(super) fn bytes(&self, judge: &Judge<'_>) -> u64 {
        let narrow = match &self.narrow {
            Narrow::Pairs(pairs) => pairs.words.len(),
            Narrow::Vectors(vectors) => vectors.words(),
        };
        let ends = self.ends.words(self.shape(judge), judge.columns());
        4 * (ends + narrow + self.rows.words.len()) as u64
    }

    fn shape(&self, judge: &Judge<'_>) -> Shape {
        let pairs = if self.is_of_rows() { Shape::PAIRS } else { 0 };
        Shape::new(self.ends.kinds(judge) | pairs, self.ends.rows(), self.lines.last())
    }

    /// Writes the tables.
    pub(super) fn write(self, judge: &Judge<'_>) -> ByLine {
        let shape = self.shape(judge);
        let Self { lines, rows, ends, narrow } = self;
        let pairs = match &narrow {
            Narrow::Pairs(pairs) => Some(pairs),
            Narrow::Vectors(_) => None,
        };
        let (ends, wide) = (ends.ends(judge, pairs, shape), ends.wide((judge, &lines), shape));
        let (narrow, pair_mask, summaries) = match narrow {
            Narrow::Pairs(pairs) => (pairs.words, pairs.mask, 0),
            Narrow::Vectors(vectors) => (vectors.write(judge, &lines), 0, vectors.summaries),
        };
        let cells = lines.cells(judge);
        ByLine { shape, ends, wide, narrow, pair_mask, summaries, rows: rows.words, cells }
    }
}

/// Vectors of all lines with two narrow ends.
fn vectors(judge: &Judge<'_>, lines: &Lines<'_>, ends: &Ends) -> Option<Vectors> {
    let narrow = ends.with(judge, [false, false]);
    let numbered = (0..).zip(&lines.all);
    let narrow = numbered.filter(|(_, line)| narrow[line.rank as usize]);
    Vectors::new(judge, lines, narrow.map(|(number, _)| number).collect(), STEPS_MAX)
}
