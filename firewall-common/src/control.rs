//! Which generation judges the next packet.

use crate::abi::control::{Control, Word};

/// Slot of the generation in force, or [`Word::PASS_ALL`].
///
/// An unconfirmed generation past its deadline gives way to the previous one,
/// whether or not anybody in user space is alive. The clock is asked only while
/// something is unconfirmed.
#[inline(always)]
pub fn in_force(control: &Control, now_ns: impl FnOnce() -> u64) -> u8 {
    let word = Word(control.word);
    if word.confirmed() || now_ns() < control.deadline_ns { word.active() } else { word.previous() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(confirmed: bool) -> Control {
        Control {
            word: Word::new(1, 0, confirmed, [true, true]).0,
            deadline_ns: 100,
            ban_v4_lengths: 0,
            ban_v6_lengths: [0; 2],
            ban_table: 0,
            ban_seed: 0,
            openings: 0,
        }
    }

    #[test]
    fn an_unconfirmed_generation_gives_way_at_its_deadline() {
        assert_eq!(in_force(&control(false), || 99), 1);
        assert_eq!(in_force(&control(false), || 100), 0);
    }

    #[test]
    fn a_confirmed_generation_never_asks_the_clock() {
        assert_eq!(in_force(&control(true), || unreachable!()), 1);
    }
}
