//! Enough of an assembler for the instruments: straight code with one way out.

use std::os::fd::{AsRawFd as _, BorrowedFd};

/// A register, 0 to 10.
type Register = u8;

/// Bytes of a load or store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    One = 0x10,
    Two = 0x08,
    Four = 0x00,
    Eight = 0x18,
}

/// A program in the making. What bails goes on behind the last instruction.
#[derive(Debug, Default)]
pub(super) struct Code {
    words: Vec<u64>,
    bails: Vec<usize>,
}

/// Helpers by number.
const MAP_LOOKUP: i32 = 1;
const TAIL_CALL: i32 = 12;
const REDIRECT: i32 = 23;

impl Code {
    fn add(mut self, op: u8, to: Register, from: Register, jump: i16, number: i32) -> Self {
        let [low, high] = jump.to_le_bytes();
        let [a, b, c, d] = number.to_le_bytes();
        self.words.push(u64::from_le_bytes([op, to | from << 4, low, high, a, b, c, d]));
        self
    }

    /// `to = number`
    pub(super) fn set(self, to: Register, number: i32) -> Self {
        self.add(0xb7, to, 0, 0, number)
    }

    /// `to = from`
    pub(super) fn copy(self, to: Register, from: Register) -> Self {
        self.add(0xbf, to, from, 0, 0)
    }

    /// `to += number`
    pub(super) fn add_number(self, to: Register, number: i32) -> Self {
        self.add(0x07, to, 0, 0, number)
    }

    /// `to += from`
    pub(super) fn add_register(self, to: Register, from: Register) -> Self {
        self.add(0x0f, to, from, 0, 0)
    }

    /// `to &= number`
    pub(super) fn and(self, to: Register, number: i32) -> Self {
        self.add(0x57, to, 0, 0, number)
    }

    /// `to <<= number`
    pub(super) fn shift(self, to: Register, number: i32) -> Self {
        self.add(0x67, to, 0, 0, number)
    }

    /// `to = *(from + offset)`
    pub(super) fn load(self, size: Size, to: Register, from: Register, offset: i16) -> Self {
        self.add(0x61 | size as u8, to, from, offset, 0)
    }

    /// `*(to + offset) = from`
    pub(super) fn store(self, size: Size, to: Register, offset: i16, from: Register) -> Self {
        self.add(0x63 | size as u8, to, from, offset, 0)
    }

    /// `to = map`
    pub(super) fn map(self, to: Register, map: BorrowedFd<'_>) -> Self {
        self.add(0x18, to, 1, 0, map.as_raw_fd()).add(0, 0, 0, 0, 0)
    }

    /// `to = &value of the map's only entry`
    pub(super) fn value(self, to: Register, map: BorrowedFd<'_>) -> Self {
        self.add(0x18, to, 2, 0, map.as_raw_fd()).add(0, 0, 0, 0, 0)
    }

    /// Bails if `left > right`.
    pub(super) fn bail_if_above(mut self, left: Register, right: Register) -> Self {
        self.bails.push(self.words.len());
        self.add(0x2d, left, right, 0, 0)
    }

    /// Bails if `left != number`.
    pub(super) fn bail_unless(mut self, left: Register, number: i32) -> Self {
        self.bails.push(self.words.len());
        self.add(0x55, left, 0, 0, number)
    }

    /// Bails if `left == number`.
    pub(super) fn bail_if(mut self, left: Register, number: i32) -> Self {
        self.bails.push(self.words.len());
        self.add(0x15, left, 0, 0, number)
    }

    /// `r0 = &value of key *r2 in map r1`
    pub(super) fn look_up(self) -> Self {
        self.add(0x85, 0, 0, 0, MAP_LOOKUP)
    }

    /// Goes on in the program at the constant index 0 of `programs`; `r1` is the
    /// context.
    pub(super) fn tail_call(self, programs: BorrowedFd<'_>) -> Self {
        self.map(2, programs).set(3, 0).add(0x85, 0, 0, 0, TAIL_CALL)
    }

    /// `r0 = where bpf_redirect(ifindex) sends the frame`
    pub(super) fn redirect(self, ifindex: i32) -> Self {
        self.set(1, ifindex).set(2, 0).add(0x85, 0, 0, 0, REDIRECT)
    }

    /// Returns `r0`.
    pub(super) fn exit(self) -> Self {
        self.add(0x95, 0, 0, 0, 0)
    }

    /// The instructions; what bails returns `result`.
    pub(super) fn finish(mut self, result: i32) -> Vec<u64> {
        if self.bails.is_empty() {
            // The verifier refuses what nothing reaches.
            return self.words;
        }
        let end = self.words.len();
        for place in std::mem::take(&mut self.bails) {
            if let Some(word) = self.words.get_mut(place) {
                let distance = (end - place - 1) as u64;
                *word |= (distance & 0x7fff) << 16;
            }
        }
        self.set(0, result).exit().words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bail_jumps_behind_the_last_instruction() {
        let code = Code::default().set(0, 1).bail_unless(0, 1).exit().finish(7);
        // r0 = 1; if r0 != 1 goto +1; exit; r0 = 7; exit
        let expected =
            [0x0000_0001_0000_00b7, 0x0000_0001_0001_0055, 0x95, 0x0000_0007_0000_00b7, 0x95];
        assert_eq!(code, expected);
    }
}
