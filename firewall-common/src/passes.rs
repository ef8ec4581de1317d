//! A cache of verdicts: packets that this CPU let out a moment ago. The next packet of the same flow
//! needs neither policy nor table of flows, only the one cache line that says so.
//!
//! It is asked at egress only, where this host chooses what it is filled with, and holds nothing that
//! the whole way would not find again: a pass is good for one tick of [`Clock`](crate::flow::Clock),
//! within which no flow falls idle, and for one control word, which each swap makes another.

#![expect(clippy::cast_possible_truncation, reason = "a cell has 32 bits")]

use crate::abi::tables::Cell;
use crate::verdict::{Decision, Reason};

/// Places of a CPU, 64 bytes each.
pub const PLACES: u32 = 256;
const _: () = assert!(PLACES.is_power_of_two());

/// The place of a hash in a CPU's row.
#[inline(always)]
#[must_use]
pub const fn place(hash: u64) -> usize {
    (hash >> (64 - PLACES.ilog2())) as usize
}

/// A packet that passed; one cache line. No part of the ABI: it is written and read by the programs of
/// one slot alone.
///
/// Who writes or reads one may be overtaken on his CPU by another, as `PREEMPT_RT` allows. A mix of two
/// is nobody's: the seal is of one of them.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    ends: [u64; 4],
    rest: u64,
    /// Of the key's hash, the control word and the decision. A place that nobody has written fits
    /// nothing: no control word is 0.
    seal: u64,
    tick: u64,
    decision: u64,
}
const _: () = assert!(size_of::<Pass>() == 64);

/// When a pass is good.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The control word, [`Control::word`](crate::abi::control::Control::word).
    pub word: u64,
    /// Ticks of the clock of flows.
    pub tick: u64,
}

/// A flow, as a frame has it: neither order of bytes nor direction matter here.
#[derive(Clone, Copy, Debug)]
pub struct Key<E> {
    /// Both addresses: one word for IPv4, four for IPv6.
    pub ends: E,
    /// Both ports and the protocol, and which family.
    pub rest: u64,
}

impl<E: IntoIterator<Item = u64> + Copy> Key<E> {
    /// Names its [`place`]. Keys that others make meet there cost what they did without.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self) -> u64 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        self.ends.into_iter().fold(self.rest, |hash, word| (hash ^ word).wrapping_mul(ODD))
    }
}

/// A decision to let a packet of a flow, or an answer, out, as a word: its cell, and behind that how
/// far its reason is from the first of the four that there are for it.
#[inline(always)]
const fn packed(decision: &Decision) -> u64 {
    decision.cell.0 as u64 | (decision.reason as u64 - Reason::Rule as u64) << 32
}

/// What was [`packed`]. As the reasons are numbered, the compiler makes an addition of it.
#[inline(always)]
const fn unpacked(word: u64) -> Decision {
    let reason = match word >> 32 & 3 {
        0 => Reason::Rule,
        1 => Reason::Failsafe,
        2 => Reason::Established,
        _ => Reason::DefaultAllow,
    };
    Decision { reason, cell: Cell(word as u32), new_flow: false }
}

impl Pass {
    /// The decision on the packet that was noted here, if it was one of this flow and is good still;
    /// `hash` is the key's.
    #[inline(always)]
    #[must_use]
    pub fn of<E: IntoIterator<Item = u64> + Copy>(
        &self,
        key: &Key<E>,
        hash: u64,
        moment: Moment,
    ) -> Option<Decision> {
        let same = self.rest == key.rest
            && self.seal == hash ^ moment.word ^ self.decision
            && self.tick == moment.tick
            && self.ends.into_iter().zip(key.ends).all(|(one, other)| one == other);
        same.then(|| unpacked(self.decision))
    }

    /// Notes a packet that passed, in place of another.
    #[inline(always)]
    pub fn note<E: IntoIterator<Item = u64> + Copy>(
        &mut self,
        key: &Key<E>,
        hash: u64,
        moment: Moment,
        decision: &Decision,
    ) {
        for (place, word) in self.ends.iter_mut().zip(key.ends) {
            *place = word;
        }
        self.rest = key.rest;
        self.decision = packed(decision);
        self.seal = hash ^ moment.word ^ self.decision;
        self.tick = moment.tick;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Moment = Moment { word: 1 << 32 | 1 << 8 | 1, tick: 7 };
    const V4: Key<[u64; 1]> = Key { ends: [1], rest: 6 << 32 | 0x50 };
    const V6: Key<[u64; 4]> = Key { ends: [1, 2, 3, 4], rest: 1 << 40 | 6 << 32 | 0x50 };

    fn of<E: IntoIterator<Item = u64> + Copy>(pass: &Pass, key: &Key<E>) -> Option<u32> {
        pass.of(key, key.hash(), MOMENT).map(|decision| decision.cell.0)
    }

    fn by(cell: u32) -> Decision {
        Decision { reason: Reason::Rule, cell: Cell(cell), new_flow: false }
    }

    #[test]
    fn a_pass_is_of_one_flow_at_one_moment() {
        let mut pass = Pass::default();
        assert_eq!((of(&pass, &V4), of(&pass, &V6)), (None, None), "nobody's");
        pass.note(&V6, V6.hash(), MOMENT, &by(5));
        assert_eq!((of(&pass, &V4), of(&pass, &V6)), (None, Some(5)));
        pass.note(&V4, V4.hash(), MOMENT, &by(9));
        assert_eq!((of(&pass, &V4), of(&pass, &V6)), (Some(9), None));
        for other in [Key { rest: V4.rest ^ 1, ..V4 }, Key { ends: [3], ..V4 }] {
            assert_eq!(of(&pass, &other), None, "{other:?}");
        }
        for other in
            [Moment { tick: 8, ..MOMENT }, Moment { word: MOMENT.word ^ 1 << 32, ..MOMENT }]
        {
            assert!(pass.of(&V4, V4.hash(), other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn a_mix_of_two_is_nobodys() {
        let (mut one, mut other) = (Pass::default(), Pass::default());
        one.note(&V4, V4.hash(), MOMENT, &by(9));
        let key = Key { ends: [8], rest: V4.rest ^ 7 };
        other.note(&key, key.hash(), MOMENT, &by(5));
        assert_eq!(of(&Pass { decision: other.decision, ..one }, &V4), None);
        let mix = Pass { rest: other.rest, ..one };
        assert_eq!(of(&mix, &Key { rest: key.rest, ..V4 }), None);
    }

    #[test]
    fn a_decision_is_what_was_noted() {
        for reason in [Reason::Rule, Reason::Failsafe, Reason::Established, Reason::DefaultAllow] {
            let decision = Decision { reason, ..by(Cell::NO_SLOT) };
            assert_eq!(unpacked(packed(&decision)), decision);
        }
    }
}
