//! Rows of lines: for each column the lowest line that some end, or pair of ends, has there.
//!
//! Most have one line, and many lines are for the same services: rows are kept as distances
//! from their lowest line, which makes one of them.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use firewall_common::lines::Row;

use super::interner::Fold;
use super::lines::Lines;
use super::lists::word;

type Known = HashMap<Box<[u32]>, u32, BuildHasherDefault<Fold>>;

/// Rows that differ. The first has no line.
#[derive(Debug)]
pub(super) struct Rows {
    /// Distances by column, a row behind the other.
    pub(super) words: Vec<u32>,
    columns: usize,
    /// The number of each row, by its distances.
    known: Known,
    /// What stands for a row with these lines.
    of_lines: Known,
    /// Words that they may take.
    words_max: usize,
    /// Steps taken to work them out.
    steps: usize,
    /// Whether there was one for which there is no room.
    are_too_many: bool,
}

/// Steps at most.
const STEPS_MAX: usize = 1 << 26;

impl Rows {
    /// With so many columns; they may take so many words.
    pub(super) fn new(columns: usize, words_max: usize) -> Self {
        let words = vec![Row::NONE; columns];
        let known = [(words.clone().into(), 0)].into_iter().collect();
        let (of_lines, are_too_many) = (Known::default(), columns > words_max);
        Self { words, columns, known, of_lines, words_max, steps: 0, are_too_many }
    }

    /// The word that stands for the row with these lines, ascending: see [`Row`]. Of no use if
    /// there are [too many](Self::are_too_many) then.
    pub(super) fn word(&mut self, of: &[u32], lines: &Lines<'_>) -> u32 {
        let Some(&lowest) = of.first() else { return 0 };
        if let Some(&word) = self.of_lines.get(of) {
            return word;
        }
        let columns = |line: &u32| lines.all[*line as usize].columns.as_ref();
        let steps = of.iter().map(|line| columns(line).map_or(self.columns, |of| of.len()));
        self.steps += self.columns + steps.sum::<usize>();
        self.are_too_many |= self.steps > STEPS_MAX
            || self.known.len() >= Row::COUNT_MAX as usize
            || self.words.len() + self.columns > self.words_max;
        if self.are_too_many {
            return 0;
        }
        let mut row = vec![Row::NONE; self.columns];
        fill(&mut row, of.iter().copied(), lines);
        let distances = row.iter_mut().filter(|line| **line != Row::NONE);
        distances.for_each(|line| *line -= lowest);
        let next = word(self.known.len());
        let number = *self.known.entry(row.into()).or_insert_with_key(|row| {
            self.words.extend_from_slice(row);
            next
        });
        let word = Row::word(number, lowest);
        self.of_lines.insert(of.into(), word);
        word
    }

    /// Whether there would be more than may be, or than can be worked out.
    pub(super) fn are_too_many(&self) -> bool {
        self.are_too_many
    }
}

/// Puts lines into a row, each where no lower one is.
pub(super) fn fill(row: &mut [u32], of: impl Iterator<Item = u32>, lines: &Lines<'_>) {
    for number in of {
        match &lines.all[number as usize].columns {
            None => row.iter_mut().for_each(|place| *place = number.min(*place)),
            Some(columns) => {
                for &column in &**columns {
                    let place = &mut row[column as usize];
                    *place = number.min(*place);
                }
            }
        }
    }
}
