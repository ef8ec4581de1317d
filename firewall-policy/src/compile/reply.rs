//! The sides of replies.
//!
//! A reply is looked up by addresses, protocol and ports; interface, VLAN and
//! flags of the packet it answers are not known. It is admitted if it would be in
//! some context in which that packet can have come.
//!
//! In each context, a pair that no rule names by both ends is decided by the
//! better of the row's rule and the base's. Taking the most *welcome* of all
//! contexts for the row, and likewise for the base (failsafe before allow, before
//! nothing, before deny), admits exactly what some context admits as long as one
//! of the two is of the same kind in all contexts. Where both differ, the answer
//! is worked out and kept as a pair.

use super::judge::{Judge, NOBODY, Row, Scratch};
use super::resolve::Rank;

/// Adds the sides of replies to a chain, if it has any.
pub(super) fn add(judge: &mut Judge<'_>) {
    if judge.sides.count() == judge.sides.asked() {
        return;
    }
    for local in 0..judge.sides.locals() {
        let sides: Vec<usize> = judge.sides.possible(local).collect();
        let in_all = |class: usize| sides.iter().map(move |&side| (side, class));
        let of =
            |judge: &Judge<'_>, (side, class): (usize, usize)| judge.base_by_class(side)[class];
        let classes = judge.base_by_class(0).len();
        let base = (0..classes)
            .map(|class| most_welcome(judge, in_all(class).map(|place| of(judge, place))))
            .collect();
        let columns = (0..).zip(judge.classes_of_columns());
        let uneven = columns
            .filter(|&(_, &class)| {
                differ(judge, in_all(class as usize).map(|place| of(judge, place)))
            })
            .map(|(column, _)| column)
            .collect();
        judge.add_reply_side(base, uneven);
    }
}

/// Works out the row of an address class for replies to a local class.
pub(super) fn row(
    judge: &Judge<'_>,
    local: usize,
    class: u32,
    scratch: &mut Scratch,
    row: &mut Row,
) {
    let sides: Vec<usize> = judge.sides.possible(local).collect();
    let mut rows = std::mem::take(&mut scratch.rows);
    rows.resize_with(sides.len(), Row::default);
    for (&side, row) in sides.iter().zip(&mut rows) {
        judge.asked_row(side, class, scratch, row);
        row.pairs.sort_unstable();
    }
    row.rank = most_welcome(judge, rows.iter().map(|row| row.rank));
    let mut columns: Vec<u32> = rows.iter().flat_map(|row| &row.pairs).map(|pair| pair.0).collect();
    if differ(judge, rows.iter().map(|row| row.rank)) {
        columns.extend(judge.uneven(local));
    }
    columns.sort_unstable();
    columns.dedup();
    row.pairs.clear();
    for column in columns {
        let decided = sides.iter().zip(&rows).map(|(&side, row)| {
            match row.pairs.binary_search_by_key(&column, |pair| pair.0) {
                Ok(place) => row.pairs[place].1,
                Err(_) => row.rank.min(judge.base(side, column)),
            }
        });
        row.pairs.push((column, most_welcome(judge, decided)));
    }
    scratch.rows = rows;
}

/// The rank that admits if any does.
fn most_welcome(judge: &Judge<'_>, ranks: impl Iterator<Item = Rank>) -> Rank {
    ranks.min_by_key(|&rank| (judge.welcome(rank), rank)).unwrap_or(NOBODY)
}

/// Whether ranks are of different kinds.
fn differ(judge: &Judge<'_>, ranks: impl Iterator<Item = Rank>) -> bool {
    let mut kinds = ranks.map(|rank| judge.welcome(rank));
    let first = kinds.next();
    kinds.any(|kind| Some(kind) != first)
}
