//! The control word: which generation judges the next packet.
//!
//! Map `CONTROL`: array of one [`Control`]. Written by user space; read on every packet by
//! root programs and judges.

use super::assert_layout;

/// The one shared record that every packet reads; one cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// A [`Word`], stored in one go: the swap of a generation on all hooks and CPUs.
    pub word: u64,
    /// When an unconfirmed generation is no longer chosen, nanoseconds of
    /// `CLOCK_MONOTONIC`. Written before the word that makes it matter.
    pub deadline_ns: u64,
    /// Bit `n`: some IPv4 ban has prefix length `n` (0-32).
    pub ban_v4_lengths: u64,
    /// Bit `n` of word `n / 64`: some IPv6 ban has prefix length `n` (0-127).
    /// A /128 is bit 0: a ban of `::/0` is never accepted.
    pub ban_v6_lengths: [u64; 2],
    /// The table of bans in force, a [`TableWord`](super::ban::TableWord).
    pub ban_table: u64,
    /// What the table of bans is hashed by; drawn when its map is made.
    pub ban_seed: u64,
    /// Places of `OPENINGS` in use; 0 = none is asked.
    pub openings: u64,
}
assert_layout!(Control, 64, 64);

/// What the control word says, as one `u64`.
///
/// | bits | meaning |
/// | --- | --- |
/// | 0-7 | the active slot if it is confirmed, else [`Word::PASS_ALL`]: all that most packets ask |
/// | 8-15 | slot of the active generation, or [`Word::PASS_ALL`] |
/// | 16-23 | slot of the previous one, or [`Word::PASS_ALL`] |
/// | 24 | drop on ingress where the chosen slot holds no program |
/// | 25 | drop on egress where the chosen slot holds no program |
/// | 32-63 | number of the word: what was kept under one is nobody's under the next |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word(pub u64);

impl Word {
    /// Generations that can be loaded at once; slots of each program array.
    pub const SLOTS: u32 = 2;
    /// In place of a slot: every packet passes.
    pub const PASS_ALL: u8 = 0xff;
    const CLOSED_INGRESS: u64 = 1 << 24;
    const CLOSED_EGRESS: u64 = 1 << 25;
    const NUMBER_SHIFT: u32 = 32;

    /// Composes a word.
    #[must_use]
    pub const fn new(active: u8, previous: u8, confirmed: bool, closed: [bool; 2]) -> Self {
        let settled = if confirmed { active } else { Self::PASS_ALL };
        let mut word = settled as u64 | (active as u64) << 8 | (previous as u64) << 16;
        if closed[0] {
            word |= Self::CLOSED_INGRESS;
        }
        if closed[1] {
            word |= Self::CLOSED_EGRESS;
        }
        Self(word)
    }

    /// The same, as it follows another one: with the next number.
    #[must_use]
    pub const fn after(self, before: Self) -> Self {
        let said = self.0 & ((1 << Self::NUMBER_SHIFT) - 1);
        let number = (before.0 >> Self::NUMBER_SHIFT).wrapping_add(1);
        Self(said | number << Self::NUMBER_SHIFT)
    }

    /// Slot of the generation that judges whatever the clock says; [`Word::PASS_ALL`] if every
    /// packet passes, and while one is on trial.
    #[inline(always)]
    #[must_use]
    pub const fn settled(self) -> u8 {
        (self.0 & 0xff) as u8
    }

    /// Slot of the active generation.
    #[inline(always)]
    #[must_use]
    pub const fn active(self) -> u8 {
        ((self.0 >> 8) & 0xff) as u8
    }

    /// Slot of the generation before it.
    #[inline(always)]
    #[must_use]
    pub const fn previous(self) -> u8 {
        ((self.0 >> 16) & 0xff) as u8
    }

    /// Whether the active generation stays whatever the clock says.
    #[inline(always)]
    #[must_use]
    pub const fn confirmed(self) -> bool {
        self.settled() == self.active()
    }

    /// Whether ingress is dropped where a program is missing.
    #[inline(always)]
    #[must_use]
    pub const fn closed_ingress(self) -> bool {
        self.0 & Self::CLOSED_INGRESS != 0
    }

    /// Whether egress is dropped where a program is missing.
    #[inline(always)]
    #[must_use]
    pub const fn closed_egress(self) -> bool {
        self.0 & Self::CLOSED_EGRESS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_another_number_and_says_the_same() {
        let word = Word::new(1, 0, true, [true, false]);
        let mut before = Word(0);
        for _ in 0..3 {
            let next = word.after(before);
            assert_ne!(next, before);
            assert_eq!(next.0 & 0xffff_ffff, word.0);
            before = next;
        }
        assert_eq!(word.after(Word(u64::MAX)), word, "numbers begin again");
    }
}
