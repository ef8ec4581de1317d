//! Cells in two stages: remote and local class to a *combined* class, that and the
//! service class to a cell.
//!
//! Rules that name many addresses of this host give every one of them a row for each
//! remote class, most of which are alike: few rules hold at both ends. Rows are worked
//! out once for each set of rules that holds (and each base below it), and kept once
//! however often they come out the same.
//!
//! A set of rules is known by the exclusive or of a random number of 128 bits for each.
//! Two sets with the same number would be taken for one; of a billion sets, that
//! happens once in 10^20 policies.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher as _};

use super::cells::{base_cells, write_row};
use super::classes::{AsIs, random};
use super::interner::Fold;
use super::judge::{Judge, Row};
use super::lists::word;

/// Both stages.
#[derive(Debug)]
pub(super) struct Combined {
    /// Combined class, by local and remote class.
    pub(super) classes: Vec<u32>,
    /// A cell for each combined and service class.
    pub(super) cells: Vec<u32>,
}

impl Combined {
    /// Works out both stages; `None` if they take too much, or if rules ask for
    /// anything but local addresses, which makes sides of another kind.
    pub(super) fn new(judge: &Judge<'_>, seed: u32, bytes_max: u64) -> Option<Self> {
        let (rows, columns) = (judge.rows() as u64, judge.columns());
        let is_local_only = judge.sides.count() == judge.sides.locals();
        if !is_local_only || judge.sides.locals() < 2 || columns == 0 || rows * 4 > bytes_max {
            return None;
        }
        let mut stage = Stage::new(judge, seed);
        let mut classes = vec![0; judge.rows()];
        let mut held = Vec::new();
        for class in 0..word(judge.address_classes()) {
            stage.sets_of(class, &mut held);
            for (side, &set) in held.iter().enumerate() {
                let place = side * judge.address_classes() + class as usize;
                classes[place] = stage.combined(side, class, set);
            }
            if (rows + stage.cells.len() as u64) * 4 > bytes_max {
                return None;
            }
        }
        Some(Self { classes, cells: stage.cells })
    }
}

type Known = HashMap<u128, u32, BuildHasherDefault<AsIs>>;

/// What has been worked out so far.
struct Stage<'j, 'a> {
    judge: &'j Judge<'a>,
    /// By rule.
    numbers: Vec<u128>,
    /// By side: the number of its base.
    bases: Vec<u128>,
    /// Cells of the bases, by side.
    base_cells: Vec<Vec<u32>>,
    scratch: super::judge::Scratch,
    row: Row,
    /// Combined class by set of rules and base.
    by_rules: Known,
    /// The same by content.
    by_cells: Known,
    cells: Vec<u32>,
    next: Vec<u32>,
}

impl<'j, 'a> Stage<'j, 'a> {
    fn new(judge: &'j Judge<'a>, seed: u32) -> Self {
        let mut state = u64::from(seed) ^ 0x5eed;
        let numbers =
            (0..judge.rules()).map(|_| wide(random(&mut state), random(&mut state))).collect();
        let base_cells: Vec<Vec<u32>> =
            (0..judge.sides.count()).map(|side| base_cells(judge, side).collect()).collect();
        // Bases are told apart by rank: rows are laid over them by rank.
        let mut known = HashMap::new();
        let bases = (0..judge.sides.count()).map(|side| {
            let fresh = wide(random(&mut state), random(&mut state));
            *known.entry(judge.base_by_class(side)).or_insert(fresh)
        });
        Self {
            numbers,
            bases: bases.collect(),
            base_cells,
            scratch: judge.scratch(),
            row: Row::default(),
            by_rules: HashMap::default(),
            by_cells: HashMap::default(),
            cells: Vec::new(),
            next: Vec::new(),
            judge,
        }
    }

    /// For each side, the rules that hold for a remote class there.
    fn sets_of(&self, class: u32, held: &mut Vec<u128>) {
        held.clone_from(&self.bases);
        let mut everywhere = 0;
        for rank in self.judge.naming(class) {
            let number = self.numbers[rank as usize];
            match self.judge.locals_of(rank) {
                None => everywhere ^= number,
                Some(locals) => {
                    for &local in locals {
                        held[local as usize] ^= number;
                    }
                }
            }
        }
        for set in held {
            *set ^= everywhere;
        }
    }

    /// The combined class of a remote class on a side, where these rules hold.
    fn combined(&mut self, side: usize, class: u32, set: u128) -> u32 {
        if let Some(&known) = self.by_rules.get(&set) {
            return known;
        }
        self.judge.row(side, class, &mut self.scratch, &mut self.row);
        self.next.clone_from(&self.base_cells[side]);
        write_row(self.judge, side, &self.row, &mut self.next);
        let combined = self.number();
        self.by_rules.insert(set, combined);
        combined
    }

    /// The number of a row of cells.
    fn number(&mut self) -> u32 {
        let columns = self.next.len();
        let mut hash = Fold::default();
        for pair in self.next.chunks(2) {
            hash.write_u64(pair.iter().fold(0, |both, &cell| both << 32 | u64::from(cell)));
        }
        let mut hash = u128::from(hash.finish());
        while let Some(&known) = self.by_cells.get(&hash) {
            if self.cells[known as usize * columns..][..columns] == self.next {
                return known;
            }
            hash += 1;
        }
        let number = word(self.cells.len() / columns);
        self.cells.extend_from_slice(&self.next);
        self.by_cells.insert(hash, number);
        number
    }
}

const fn wide(upper: u64, lower: u64) -> u128 {
    (upper as u128) << 64 | lower as u128
}
