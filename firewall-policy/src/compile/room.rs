//! Room to change in: numbers that stay while a policy grows or shrinks by a little.
//!
//! A generation's programs have the places of its tables and the numbers of its classes
//! in their instructions. Where those stay, the programs of an earlier generation serve
//! the next one, and only tables are written. So sections have room at their ends, and
//! classes are rounded up: nothing is of the spare ones. Where the programs of the slot that
//! it goes to were told a number that is enough and little too much, it is that number.

use firewall_common::abi::tables::Setting;

/// What the programs of a generation are told, by [`Setting`].
pub type Settings = [u32; Setting::COUNT];

/// Settings that say where a section begins; the first begins at 0. The last says where all end.
const BEGINNINGS: [Setting; 26] = [
    Setting::RootV6,
    Setting::Blocks,
    Setting::Compares,
    Setting::ServicesIngress,
    Setting::ServicesEgress,
    Setting::Bitmap,
    Setting::Filter,
    Setting::HostsV4,
    Setting::HostsV6,
    Setting::CellsIngress,
    Setting::CellsEgress,
    Setting::RowsIngress,
    Setting::RowsEgress,
    Setting::ColumnsIngress,
    Setting::ColumnsEgress,
    Setting::CombinedIngress,
    Setting::CombinedEgress,
    Setting::LinesIngress,
    Setting::LinesEgress,
    Setting::LocalIngress,
    Setting::LocalEgress,
    Setting::Ifaces,
    Setting::Vlans,
    Setting::Flags,
    Setting::RequestSlots,
    Setting::TableWords,
];

/// What room there is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room<'t> {
    told: Option<&'t Settings>,
}

impl<'t> Room<'t> {
    /// For a slot whose programs were told this, if it has any.
    pub(super) const fn of(told: Option<&'t Settings>) -> Self {
        Self { told }
    }

    /// Words of the section that begins there, with room for more.
    pub(super) fn section(self, beginning: Setting, words: usize) -> usize {
        kept(
            self.length(beginning),
            words,
            |words| stepped(words, LEAST),
            |chosen| (chosen / 8).max(self.spare()),
        )
    }

    /// The same for a section that may be empty without another form of tables: then it keeps
    /// what it had.
    pub(super) fn perhaps_empty(self, beginning: Setting, words: usize) -> usize {
        if words != 0 {
            return self.section(beginning, words);
        }
        self.length(beginning).filter(|&before| before <= self.spare()).unwrap_or_default()
    }

    /// Words that may be spare whatever is needed.
    fn spare(self) -> usize {
        (2 * LEAST).max(self.before(Setting::TableWords).unwrap_or_default() / 64)
    }

    /// A number of classes, with room for a few more.
    pub(super) fn classes(self, setting: Setting, count: usize) -> usize {
        kept(self.before(setting), count, |count| stepped(count, FEW), few)
    }

    /// The same for those that make the length of a row of cells. Rows whose distance is a
    /// multiple of many cache lines would displace each other in the cache, where one column
    /// of all of them is asked for. Where nothing has a column, there are no cells.
    pub(super) fn columns(self, setting: Setting, count: usize) -> usize {
        let columns = |count| match stepped(count, FEW) {
            columns if columns.is_multiple_of(LINE << 4) => columns + LINE,
            columns => columns,
        };
        kept(self.before(setting), count, columns, few)
    }

    /// The same for those of which each has cells, or ends, of its own: a few have no room.
    pub(super) fn sides(self, setting: Setting, count: usize) -> usize {
        kept(self.before(setting), count, |count| stepped(count, 1), |chosen| chosen / 4)
    }

    /// A bound of steps, in so large ones.
    pub(super) fn steps(self, setting: Setting, steps: u32, step: u32) -> u32 {
        let bound = steps.next_multiple_of(step);
        let before = self.told.map_or(0, |told| told[setting as usize]);
        if (bound..=bound + 2 * step).contains(&before) { before } else { bound }
    }

    /// Words of the section that began there.
    fn length(self, beginning: Setting) -> Option<usize> {
        let told = self.told?;
        let first = told[beginning as usize];
        let behind = BEGINNINGS.map(|other| told[other as usize]);
        let end = behind.into_iter().filter(|&other| other > first).min()?;
        (first != 0).then_some((end - first) as usize)
    }

    fn before(self, setting: Setting) -> Option<usize> {
        self.told.map(|told| told[setting as usize] as usize)
    }
}

/// Words that there is room for at least.
const LEAST: usize = 1 << 10;

/// Words of a cache line.
const LINE: usize = 16;

/// Classes that there is room for at least.
const FEW: usize = 8;

/// Classes that may be spare.
fn few(chosen: usize) -> usize {
    (chosen / 8).max(2 * FEW)
}

/// What there was, if that is enough and what would be chosen now is not much less. What was
/// outgrown by a little will be again: then there is some more.
fn kept(
    before: Option<usize>,
    needed: usize,
    choose: impl Fn(usize) -> usize,
    spare: impl Fn(usize) -> usize,
) -> usize {
    if needed == 0 {
        return 0;
    }
    let chosen = choose(needed);
    match before {
        Some(before) if before >= needed => {
            if before <= chosen + spare(chosen) {
                before
            } else {
                chosen
            }
        }
        Some(before) if needed - before <= before / 4 => choose(needed + needed / 16),
        _ => chosen,
    }
}

/// Lines, with room for a few more.
pub(super) const fn lines(count: usize) -> usize {
    stepped(count, FEW)
}

/// Words of bits for so many lines.
pub(super) const fn bits(count: usize) -> usize {
    stepped(count, LEAST)
}

/// A number in steps of a sixteenth of the next power of two, or of `least`: an eighth more
/// at most, above eight steps. Nothing stays nothing.
const fn stepped(number: usize, least: usize) -> usize {
    let step = number.next_power_of_two() / 16;
    if number == 0 { 0 } else { number.next_multiple_of(if step < least { least } else { step }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: Room<'_> = Room::of(None);
    const CLASSES: Setting = Setting::AddressClasses;

    #[test]
    fn a_few_more_change_nothing() {
        let classes = |count| FRESH.classes(CLASSES, count);
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
        let columns = |count| FRESH.columns(Setting::ServiceClassesIngress, count);
        assert_eq!(columns(0), 0);
        for count in 1..10_000 {
            assert_ne!(columns(count) % 256, 0, "{count}");
        }
    }

    #[test]
    fn what_there_was_is_kept_if_it_is_enough_and_little_too_much() {
        let mut told = [0; Setting::COUNT];
        for (setting, value) in [
            (CLASSES, 1_152),
            (Setting::Blocks, 65_536),
            (Setting::ServicesIngress, 65_536 + 9_216),
            (Setting::TableWords, 100_000),
            (Setting::StepsV6, 8),
        ] {
            told[setting as usize] = value;
        }
        let room = Room::of(Some(&told));
        let classes = [1_153, 1_152, 1_025, 1_000, 900].map(|count| room.classes(CLASSES, count));
        assert_eq!(classes, [1_280, 1_152, 1_152, 1_152, 960]);
        let blocks = |words| room.section(Setting::Blocks, words);
        assert_eq!([0, 5_000, 8_000, 9_216, 9_217].map(blocks), [0, 5_120, 9_216, 9_216, 10_240]);
        assert_eq!(room.section(Setting::Compares, 5_000), 5_120, "there was none");
        assert_eq!(room.perhaps_empty(Setting::Compares, 0), 0);
        assert_eq!(room.perhaps_empty(Setting::Blocks, 0), 0, "too much for nothing");
        assert_eq!([1, 7, 9].map(|steps| room.steps(Setting::StepsV6, steps, 4)), [8, 8, 12]);
        assert_eq!(room.sides(Setting::LocalClassesIngress, 1), 1);
    }
}
