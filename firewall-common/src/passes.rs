//! A cache of verdicts: packets that this CPU let out a moment ago. The next packet of the same flow
//! needs neither policy nor table of flows, only the one cache line that says so.
//!
//! It is asked at egress only, where this host chooses what it is filled with, and holds nothing that
//! the whole way would not find again: a pass is good for one tick of [`Clock`](crate::flow::Clock),
//! within which no flow falls idle, and for one control word, which each swap makes another.

#![expect(clippy::cast_possible_truncation, reason = "a cell has 32 bits")]

use crate::abi::tables::Cell;

/// Places of a CPU: a power of two, 16 KiB.
pub const PLACES: u32 = 256;

/// The place of a hash in a CPU's row.
#[inline(always)]
#[must_use]
pub const fn place(hash: u64) -> usize {
    (hash >> (64 - PLACES.ilog2())) as usize
}

/// A packet that passed; one cache line.
///
/// A writer that is overtaken by another on its CPU, as `PREEMPT_RT` allows, can leave a mix of two
/// keys. It is nobody's: the seal is of one of them.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    ends: [u64; 4],
    rest: u64,
    /// The key's hash and the control word.
    seal: u64,
    tick: u64,
    cell: u64,
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
    /// Both ports and the protocol, which differs by family; never 0.
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

impl Pass {
    /// What the policy said of the packet that was noted here, if it was one of this flow and is good
    /// still; `hash` is the key's.
    #[inline(always)]
    #[must_use]
    pub fn of<E: IntoIterator<Item = u64> + Copy>(
        &self,
        key: &Key<E>,
        hash: u64,
        moment: Moment,
    ) -> Option<Cell> {
        let same = self.rest == key.rest
            && self.seal == hash ^ moment.word
            && self.tick == moment.tick
            && self.ends.into_iter().zip(key.ends).all(|(one, other)| one == other);
        same.then_some(Cell(self.cell as u32))
    }

    /// Notes a packet that passed, in place of another.
    #[inline(always)]
    pub fn note<E: IntoIterator<Item = u64> + Copy>(
        &mut self,
        key: &Key<E>,
        hash: u64,
        moment: Moment,
        cell: Cell,
    ) {
        for (place, word) in self.ends.iter_mut().zip(key.ends) {
            *place = word;
        }
        self.rest = key.rest;
        self.seal = hash ^ moment.word;
        self.tick = moment.tick;
        self.cell = cell.0.into();
    }
}
