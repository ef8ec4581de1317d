//! Lines: the rules of a chain, or the parts of them that have one cell each.

use std::borrow::Cow;

use super::judge::Judge;
use super::lists::{Lists, word};
use super::room;

/// A rule, or the part of one that has this cell.
#[derive(Debug)]
pub(super) struct Line<'j> {
    pub(super) rank: u32,
    pub(super) cell: u32,
    /// Its columns; `None` for all.
    pub(super) columns: Option<Cow<'j, [u32]>>,
}

/// All lines of a chain, in order of rank.
#[derive(Debug)]
pub(super) struct Lines<'j> {
    pub(super) all: Vec<Line<'j>>,
    /// Lines of each rule.
    of_rule: Lists,
    /// For each set, the classes of addresses that it holds.
    remotes: Lists,
}

impl<'j> Lines<'j> {
    /// `None` if there would be more than `most`, or as many steps to take as `steps_max`.
    pub(super) fn new(judge: &'j Judge<'_>, most: usize, steps_max: usize) -> Option<Self> {
        let ranks = || 0..word(judge.rules());
        let count: usize = ranks().map(|rank| 1 + judge.counts(rank)).sum();
        let counting = ranks().filter(|&rank| judge.counts(rank) != 0);
        let of_rule = |rank| judge.columns_of(rank).map_or(judge.columns(), <[u32]>::len);
        if count > most || counting.map(of_rule).sum::<usize>() > steps_max {
            return None;
        }
        let lines: Vec<Line<'_>> = ranks().flat_map(|rank| lines_of(judge, rank)).collect();
        let numbers = (0..).zip(&lines).map(|(number, line)| (line.rank, number));
        let of_rule = Lists::from_pairs(judge.rules(), numbers);
        Some(Self { of_rule, remotes: judge.classes_of_sets(), all: lines })
    }

    /// A line behind all others: the default.
    pub(super) fn last(&self) -> u32 {
        word(room::lines(self.all.len()))
    }

    /// The lines of a rule, ascending.
    pub(super) fn of_rule(&self, rank: u32) -> &[u32] {
        self.of_rule.of(rank)
    }

    /// The classes of addresses that a set holds.
    pub(super) fn remotes(&self, set: u32) -> &[u32] {
        self.remotes.of(set)
    }

    /// For each class of addresses, the rules that name it as remote end, of some rules.
    pub(super) fn ranks_of_remotes(&self, judge: &Judge<'_>, of: &[bool]) -> Lists {
        ranks_of(judge.address_classes(), of, |rank| {
            judge.ends_of(rank).0.map_or(&[], |set| self.remotes(set))
        })
    }

    /// The same for each local class.
    pub(super) fn ranks_of_locals(judge: &Judge<'_>, of: &[bool]) -> Lists {
        ranks_of(judge.sides.locals(), of, |rank| judge.locals_of(rank).unwrap_or_default())
    }

    /// The cell of each line, and the default's.
    pub(super) fn cells(&self, judge: &Judge<'_>) -> Vec<u32> {
        let default = judge.plain_cell(word(judge.rules()));
        let mut cells: Vec<u32> = self.all.iter().map(|line| line.cell).collect();
        cells.resize(self.last() as usize + 1, default);
        cells
    }
}

/// For each of so many classes, the rules that hold it, of some rules.
fn ranks_of<'h>(classes: usize, of: &[bool], held: impl Fn(u32) -> &'h [u32] + Copy) -> Lists {
    let ranks = (0..).zip(of).filter(|(_, is_one)| **is_one).map(|(rank, _)| rank);
    let held = ranks.flat_map(|rank| held(rank).iter().map(move |&class| (class, rank)));
    Lists::from_pairs(classes, held)
}

/// The lines of a rule: one, unless it counts requests of some services only.
fn lines_of<'j>(judge: &'j Judge<'_>, rank: u32) -> Vec<Line<'j>> {
    let columns = judge.columns_of(rank);
    if judge.counts(rank) == 0 {
        let (cell, columns) = (judge.plain_cell(rank), columns.map(Cow::Borrowed));
        return vec![Line { rank, cell, columns }];
    }
    let every: Vec<u32> = (0..word(judge.columns())).collect();
    let mut lines: Vec<Line<'_>> = Vec::new();
    for &column in columns.unwrap_or(&every) {
        let cell = judge.cell(rank, column);
        match lines.iter_mut().find(|line| line.cell == cell) {
            Some(line) => line.columns.get_or_insert_default().to_mut().push(column),
            None => lines.push(Line { rank, cell, columns: Some(vec![column].into()) }),
        }
    }
    lines
}
