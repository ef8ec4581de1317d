//! The cells of a chain: a word for each pair of classes, the sparse form, two stages, or
//! lines.

use firewall_common::abi::tables::{Column, Row as RowWords};
use firewall_common::policy::pair_slot;

use super::by_line::ByLine;
use super::combined::Combined;
use super::judge::{Judge, NOBODY, Row, Scratch};
use super::lists::word;

/// Words of a pair in the sparse form.
const PAIR: usize = 2;
const ROW: usize = RowWords::WORDS as usize;
/// Words of a row before its own pairs.
const INLINE: usize = RowWords::INLINE as usize;
const COLUMN: usize = Column::WORDS as usize;

/// Pairs beyond which the sparse form is not even tried. Of pairs that only one
/// rule names, the largest table holds a quarter of that.
const PAIRS_MAX: u64 = 1 << 30;

/// The form that the cells of a chain take.
#[derive(Debug)]
pub(super) enum Form {
    /// Rows times columns.
    Dense,
    /// Only what some rule names by both ends.
    Sparse(Sparse),
    /// Remote and local class first, then services.
    Combined(Combined),
    /// The lowest rule that holds.
    Lines(ByLine),
}

impl Form {
    /// The tables of lines, if they are that.
    pub(super) fn of_lines(&self) -> Option<&ByLine> {
        match self {
            Self::Lines(form) => Some(form),
            _ => None,
        }
    }
}

/// Cells in sparse form, see [`RowWords`].
#[derive(Debug)]
pub(super) struct Sparse {
    pub(super) rows: Vec<u32>,
    pub(super) columns: Vec<u32>,
    pub(super) pairs: Vec<u32>,
}

/// Bytes that cells need, by form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) dense_bytes: u64,
    /// Rows and columns of the sparse form, without pairs.
    pub(super) sparse_bytes_min: u64,
}

impl Need {
    pub(super) fn of(judge: &Judge<'_>) -> Self {
        let (rows, columns) = (judge.rows() as u64, judge.columns() as u64);
        let records = rows * ROW as u64 + columns * judge.sides.count() as u64 * COLUMN as u64;
        Self { dense_bytes: rows * columns * 4, sparse_bytes_min: records * 4 }
    }
}

/// Calls `write` with each row, by side and address class.
fn each_row(judge: &Judge<'_>, mut write: impl FnMut(usize, &Row)) {
    let (mut scratch, mut row): (Scratch, Row) = (judge.scratch(), Row::default());
    for side in 0..judge.sides.count() {
        for class in 0..word(judge.address_classes()) {
            judge.row(side, class, &mut scratch, &mut row);
            write(side, &row);
        }
    }
}

/// Writes dense cells: the base of the side, then what the row has of its own.
pub(super) fn fill_dense(judge: &Judge<'_>, cells: &mut [u32]) {
    let columns = word(judge.columns());
    if columns == 0 {
        return;
    }
    let bases: Vec<Vec<u32>> =
        (0..judge.sides.count()).map(|side| base_cells(judge, side).collect()).collect();
    let mut rows = cells.chunks_exact_mut(columns as usize);
    each_row(judge, |side, row| {
        let Some(cells) = rows.next() else { return };
        cells.copy_from_slice(&bases[side]);
        write_row(judge, side, row, cells);
    });
}

/// The cells of a side for addresses that nobody names.
pub(super) fn base_cells<'j>(judge: &'j Judge<'_>, side: usize) -> impl Iterator<Item = u32> + 'j {
    (0..word(judge.columns())).map(move |column| judge.cell(judge.base(side, column), column))
}

/// Overwrites a copy of the base with what a row has of its own.
pub(super) fn write_row(judge: &Judge<'_>, side: usize, row: &Row, cells: &mut [u32]) {
    if row.rank != NOBODY {
        for (column, cell) in (0..).zip(&mut *cells) {
            if row.rank < judge.base(side, column) {
                *cell = judge.cell(row.rank, column);
            }
        }
    }
    for &(column, rank) in &row.pairs {
        cells[column as usize] = judge.cell(rank, column);
    }
}

impl Sparse {
    /// Works out the sparse form. Past `bytes_max` pairs are only measured, so
    /// that a refusal names the figure without having taken the memory.
    pub(super) fn new(judge: &Judge<'_>, seed: u32, bytes_max: u64) -> Result<Self, u64> {
        let mut bytes = Need::of(judge).sparse_bytes_min;
        let pairs_max = judge.pairs_max();
        if bytes > bytes_max || pairs_max > PAIRS_MAX {
            return Err(pairs_max.saturating_mul(4 * PAIR as u64).saturating_add(bytes));
        }
        let mut sparse = Self {
            rows: Vec::with_capacity(judge.rows() * ROW),
            columns: columns(judge),
            pairs: Vec::new(),
        };
        let mut slots = Vec::new();
        each_row(judge, |side, row| {
            let mask = place(judge, row, seed, &mut slots).unwrap_or_else(|| {
                slots.clear();
                slots.extend(base_cells(judge, side));
                write_row(judge, side, row, &mut slots);
                RowWords::DIRECT
            });
            let first = if slots.is_empty() { 0 } else { word(sparse.pairs.len()) };
            bytes += 4 * slots.len() as u64;
            if bytes <= bytes_max {
                let mut words = [0; ROW];
                words[..INLINE].copy_from_slice(&[
                    judge.plain_cell(row.rank),
                    row.rank,
                    mask,
                    first,
                ]);
                // Of a row with a cell for each column none is asked for.
                let inline = row.pairs.iter().filter(|_| mask != RowWords::DIRECT);
                for (pair, &(column, rank)) in words[INLINE..].chunks_mut(PAIR).zip(inline) {
                    pair.copy_from_slice(&[column + 1, judge.cell(rank, column)]);
                }
                sparse.rows.extend(words);
                sparse.pairs.append(&mut slots);
            }
            slots.clear();
        });
        if bytes <= bytes_max { Ok(sparse) } else { Err(bytes) }
    }
}

/// Cell and rank for any address, by side and column.
fn columns(judge: &Judge<'_>) -> Vec<u32> {
    let columns = word(judge.columns());
    let record = |side, column| {
        let rank = judge.base(side, column);
        [judge.cell(rank, column), rank]
    };
    (0..judge.sides.count())
        .flat_map(|side| (0..columns).flat_map(move |column| record(side, column)))
        .collect()
}

/// Puts the pairs that the row itself has no room for into the smallest table of slots
/// that finds each in [`RowWords::PROBES`] probes; the mask. `None` if a cell for each
/// column takes no more room.
fn place(judge: &Judge<'_>, row: &Row, seed: u32, slots: &mut Vec<u32>) -> Option<u32> {
    let pairs = row.pairs.get((ROW - INLINE) / PAIR..).unwrap_or_default();
    if pairs.is_empty() {
        return Some(RowWords::WHOLE);
    }
    let probes = RowWords::PROBES as usize;
    let mut size = pairs.len().next_power_of_two();
    if size > probes {
        size = (2 * pairs.len()).next_power_of_two();
    }
    // A single pair in a single slot is always tried.
    while size * PAIR < judge.columns().max(PAIR + 1) {
        slots.clear();
        slots.resize(size * PAIR, 0);
        let mask = size - 1;
        let placed = pairs.iter().all(|&(column, rank)| {
            let first = pair_slot(seed, column) as usize;
            let mut tried = (first..first + probes).map(|slot| (slot & mask) * PAIR);
            tried.find(|&slot| slots[slot] == 0).is_some_and(|slot| {
                slots[slot] = column + 1;
                slots[slot + 1] = judge.cell(rank, column);
                true
            })
        });
        if placed {
            return Some(word(mask));
        }
        size *= 2;
    }
    None
}
