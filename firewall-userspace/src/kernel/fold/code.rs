//! Instructions, as far as it matters what they do (RFC 9669).

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_insn;

/// `goto`.
pub(super) const GOTO: u8 = 0x05;
/// `goto` with 32 bits of offset, in the place of the number.
const GOTO_FAR: u8 = 0x06;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// `r = number ll`: the only instruction of two halves.
pub(in super::super) const WIDE: u8 = 0x18;
/// In the operation: the operand is a register, not a number.
pub(super) const REGISTER: u8 = 0x08;

/// Registers.
pub(super) const REGISTERS: usize = 11;

/// An instruction, and where it is followed by the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    /// Its first half, or all of it.
    pub(super) of: bpf_insn,
    /// The upper half of its number, if it is [`WIDE`].
    pub(super) high: i32,
    /// How many places it has taken in the code that it comes from.
    places: usize,
}

/// The instruction that begins at each place. What begins at the second half of another one
/// has no meaning, and nobody comes there.
pub(super) fn read(code: &[bpf_insn]) -> Vec<Instruction> {
    let high = code.iter().skip(1).map(|of| of.imm).chain([0]);
    let read = |(of, high): (&bpf_insn, i32)| Instruction {
        of: *of,
        high,
        places: if of.code == WIDE { 2 } else { 1 },
    };
    code.iter().zip(high).map(read).collect()
}

impl Instruction {
    /// As it is written.
    pub(super) fn write(&self) -> impl Iterator<Item = bpf_insn> + use<> {
        let second = bpf_insn { code: 0, imm: self.high, ..nothing() };
        std::iter::once(self.of).chain((self.of.code == WIDE).then_some(second))
    }

    /// How many places it takes.
    pub(super) fn size(&self) -> usize {
        if self.of.code == WIDE { 2 } else { 1 }
    }
}

/// What an instruction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Arithmetic, on 64 bits or on 32.
    Alu {
        wide: bool,
    },
    /// A conditional jump that compares 64 bits, or 32.
    If {
        wide: bool,
    },
    /// A jump, so far from the next instruction.
    Goto(i32),
    /// A number of 64 bits, or an address.
    Wide,
    /// Loads from memory.
    Load,
    /// Stores there.
    Store,
    Call,
    Exit,
    /// Of no use here: nothing is known of it.
    Other,
}

pub(super) fn kind(of: bpf_insn) -> Kind {
    match (of.code, of.code & 7) {
        (EXIT, _) => Kind::Exit,
        (CALL, _) => Kind::Call,
        (GOTO, _) => Kind::Goto(of.off.into()),
        (GOTO_FAR, _) => Kind::Goto(of.imm),
        (WIDE, _) => Kind::Wide,
        (0xe5, _) => Kind::Other,
        (_, 1) => Kind::Load,
        (_, 2 | 3) => Kind::Store,
        (_, 4) => Kind::Alu { wide: false },
        (_, 7) => Kind::Alu { wide: true },
        (_, 5) => Kind::If { wide: true },
        (_, 6) => Kind::If { wide: false },
        _ => Kind::Other,
    }
}

/// Where an offset leads from an instruction.
pub(super) fn target(place: usize, offset: i32, code: &[Instruction]) -> Result<usize> {
    i64::try_from(place)
        .ok()
        .and_then(|place| usize::try_from(place + 1 + i64::from(offset)).ok())
        .filter(|target| *target < code.len())
        .with_context(|| format!("instruction {place} leads out of the code"))
}

/// The function that an instruction names, if it calls one, or takes its address.
pub(super) fn callee(place: usize, code: &[Instruction]) -> Result<Option<usize>> {
    let of = code[place].of;
    // BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC.
    let names = matches!((of.code, of.src_reg()), (CALL, 1) | (WIDE, 4));
    names.then(|| target(place, of.imm, code)).transpose()
}

/// The instruction behind another one.
pub(super) fn next(place: usize, code: &[Instruction]) -> usize {
    place + code[place].places
}

/// What comes after an instruction: the next one, and where it jumps.
pub(super) fn after(
    place: usize,
    code: &[Instruction],
) -> Result<impl Iterator<Item = usize> + use<>> {
    let of = code[place].of;
    let next = next(place, code);
    let (next, jump) = match kind(of) {
        Kind::Exit => (None, None),
        Kind::Goto(offset) => (None, Some(target(place, offset, code)?)),
        Kind::If { .. } => (Some(next), Some(target(place, of.off.into(), code)?)),
        _ => (Some(next), None),
    };
    Ok(next.into_iter().chain(jump))
}

/// Does nothing.
pub(super) fn nothing() -> bpf_insn {
    bpf_insn {
        code: GOTO,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(0, 0),
        off: 0,
        imm: 0,
    }
}

pub(super) fn does_nothing(of: bpf_insn) -> bool {
    kind(of) == Kind::Goto(0)
}
