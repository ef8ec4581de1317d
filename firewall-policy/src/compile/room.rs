//! Room to change in: numbers that stay while a policy grows by a little.
//!
//! A generation's programs have the places of its tables and the numbers of its classes
//! in their instructions. Where those stay, the programs of an earlier generation serve
//! the next one, and only tables are written. So sections have room at their ends, and
//! classes are rounded up: nothing is of the spare ones.

/// Words of a section, with room for more.
pub(super) const fn section(words: usize) -> usize {
    stepped(words, 1 << 10)
}

/// A number of classes, with room for a few more.
pub(super) const fn classes(count: usize) -> usize {
    stepped(count, 8)
}

/// The same for those that make the length of a row of cells. Rows whose distance is a
/// multiple of many cache lines would displace each other in the cache, where one column
/// of all of them is asked for. Where nothing has a column, there are no cells.
pub(super) const fn columns(count: usize) -> usize {
    let count = classes(count);
    if count != 0 && count.is_multiple_of(LINE << 4) { count + LINE } else { count }
}

/// Words of a cache line.
const LINE: usize = 16;

/// A number in steps of a sixteenth of the next power of two, or of `least`: an eighth more
/// at most, above eight steps. Nothing stays nothing.
const fn stepped(number: usize, least: usize) -> usize {
    let step = number.next_power_of_two() / 16;
    if number == 0 { 0 } else { number.next_multiple_of(if step < least { least } else { step }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_more_change_nothing() {
        assert_eq!([0, 1, 8, 9].map(classes), [0, 8, 8, 16]);
        assert_eq!([1_000, 1_001, 1_024, 1_025].map(classes), [1_024, 1_024, 1_024, 1_152]);
        for count in 1..10_000 {
            let room = classes(count);
            assert!(room >= count && room < count + (count / 8).max(8), "{count}: {room}");
            assert_eq!(classes(room), room, "of {count}");
        }
    }

    #[test]
    fn rows_do_not_displace_each_other() {
        assert_eq!(columns(0), 0);
        for count in 1..10_000 {
            assert_ne!(columns(count) % 256, 0, "{count}");
        }
    }
}
