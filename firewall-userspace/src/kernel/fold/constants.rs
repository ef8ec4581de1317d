//! Constant propagation: what registers hold, where that is the same however one comes there.

use anyhow::Result;
use aya_obj::generated::bpf_insn;

use super::code::{self, Instruction, Kind, REGISTER, REGISTERS, WIDE};

/// The number in each register before an instruction, if it is known.
pub(super) type Registers = [Option<u64>; REGISTERS];

/// What is known before each instruction; `None` where nobody comes.
///
/// # Errors
///
/// If a jump leaves the code.
pub(super) fn known(code: &[Instruction]) -> Result<Vec<Option<Registers>>> {
    let mut known = vec![None; code.len()];
    let mut open = Vec::new();
    meet(&mut known, 0, Registers::default(), &mut open);
    while let Some(place) = open.pop() {
        let Some(before) = known[place] else { continue };
        if let Some(callee) = code::callee(place, code)? {
            meet(&mut known, callee, Registers::default(), &mut open);
        }
        let of = code[place].of;
        match (code::kind(of), decided(of, &before)) {
            (Kind::If { .. }, Some(false)) => {
                meet(&mut known, code::next(place, code), before, &mut open);
            }
            (Kind::If { .. }, Some(true)) => {
                meet(&mut known, code::target(place, of.off.into(), code)?, before, &mut open);
            }
            _ => {
                let behind = behind(&code[place], before);
                for next in code::after(place, code)? {
                    meet(&mut known, next, behind, &mut open);
                }
            }
        }
    }
    Ok(known)
}

/// One more way leads to an instruction: what differs from the others is not known there.
fn meet(known: &mut [Option<Registers>], at: usize, registers: Registers, open: &mut Vec<usize>) {
    let before = known[at];
    let both = before.map_or(registers, |before| {
        std::array::from_fn(|number| before[number].filter(|_| before[number] == registers[number]))
    });
    if before != Some(both) {
        known[at] = Some(both);
        open.push(at);
    }
}

/// The registers behind an instruction.
fn behind(&Instruction { of, high, .. }: &Instruction, before: Registers) -> Registers {
    let mut behind = before;
    let to = usize::from(of.dst_reg());
    match code::kind(of) {
        Kind::Alu { wide } => behind[to] = result(of, wide, &before),
        Kind::Wide => {
            let number = (of.src_reg() == 0).then(|| {
                let [low, high] = [of.imm, high].map(|half| u64::from(half.cast_unsigned()));
                high << 32 | low
            });
            behind[to] = number;
        }
        Kind::Load => behind[to] = None,
        Kind::Call => behind[..6].fill(None),
        // What an atomic one stores may be exchanged.
        Kind::Store if of.code & 0xe0 == 0xc0 => {
            behind[0] = None;
            behind[usize::from(of.src_reg())] = None;
        }
        Kind::Store | Kind::If { .. } | Kind::Goto(_) | Kind::Exit => {}
        Kind::Other => behind = Registers::default(),
    }
    behind
}

/// The second operand.
fn operand(of: bpf_insn, before: &Registers) -> Option<u64> {
    if of.code & REGISTER == 0 {
        Some(i64::from(of.imm).cast_unsigned())
    } else {
        before[usize::from(of.src_reg())]
    }
}

/// What arithmetic leaves in its register, if that is known.
fn result(of: bpf_insn, wide: bool, before: &Registers) -> Option<u64> {
    // With an offset it is another operation.
    if of.off != 0 {
        return None;
    }
    let operand = operand(of, before)?;
    if of.code & 0xf0 == MOVE {
        return Some(if wide { operand } else { operand & LOW });
    }
    let number = before[usize::from(of.dst_reg())]?;
    if wide {
        compute(of.code, number, operand, 64)
    } else {
        compute(of.code, number & LOW, operand & LOW, 32).map(|result| result & LOW)
    }
}

/// The bits of half a register.
const LOW: u64 = u32::MAX as u64;

/// The lower half of a register.
#[expect(clippy::cast_possible_truncation, reason = "half of it")]
const fn low(number: u64) -> i32 {
    (number as u32).cast_signed()
}

/// Arithmetic that settings are used in.
fn compute(code: u8, number: u64, operand: u64, bits: u64) -> Option<u64> {
    let shift = u32::try_from(operand & (bits - 1)).ok()?;
    Some(match code & 0xf0 {
        0x00 => number.wrapping_add(operand),
        0x10 => number.wrapping_sub(operand),
        0x20 => number.wrapping_mul(operand),
        0x40 => number | operand,
        0x50 => number & operand,
        0x60 => number << shift,
        0x70 => number >> shift,
        0xa0 => number ^ operand,
        _ => return None,
    })
}

/// Whether a conditional jump is taken, if that is known.
fn decided(of: bpf_insn, before: &Registers) -> Option<bool> {
    let Kind::If { wide } = code::kind(of) else { return None };
    let (one, other) = (before[usize::from(of.dst_reg())]?, operand(of, before)?);
    let (one, other) = if wide { (one, other) } else { (one & LOW, other & LOW) };
    let signed = |number: u64| {
        if wide { number.cast_signed() } else { low(number).into() }
    };
    Some(match of.code & 0xf0 {
        0x10 => one == other,
        0x20 => one > other,
        0x30 => one >= other,
        0x40 => one & other != 0,
        0x50 => one != other,
        0x60 => signed(one) > signed(other),
        0x70 => signed(one) >= signed(other),
        0xa0 => one < other,
        0xb0 => one <= other,
        0xc0 => signed(one) < signed(other),
        0xd0 => signed(one) <= signed(other),
        _ => return None,
    })
}

/// Puts what is known where it is used.
pub(super) fn write(code: &mut [Instruction], known: &[Option<Registers>]) {
    for (instruction, before) in code.iter_mut().zip(known) {
        let (of, Some(before)) = (&mut instruction.of, before) else { continue };
        match (code::kind(*of), decided(*of, before)) {
            (Kind::If { .. }, Some(true)) => *of = bpf_insn { off: of.off, ..code::nothing() },
            (Kind::If { .. }, Some(false)) => *of = code::nothing(),
            (Kind::If { wide }, None) => with_number(of, wide, before),
            (Kind::Alu { wide }, _) => match result(*of, wide, before) {
                Some(number) => is(instruction, number),
                None => with_number(of, wide, before),
            },
            _ => {}
        }
    }
}

/// Makes an instruction leave a number in its register.
fn is(instruction: &mut Instruction, number: u64) {
    let of = &mut instruction.of;
    of.set_src_reg(0);
    (of.imm, instruction.high) = (low(number), low(number >> 32));
    of.code = if i64::from(of.imm).cast_unsigned() == number {
        MOVE | LONG
    } else if instruction.high == 0 {
        MOVE | SHORT
    } else {
        WIDE
    };
}

/// Arithmetic on 32 bits, which makes the others 0, and on 64.
const SHORT: u8 = 4;
const LONG: u8 = 7;
const MOVE: u8 = 0xb0;
const AND: u8 = 0x50;

/// The same with a number in place of the second register, if it is known and there is room for it;
/// or without the first, if that has no part in it.
fn with_number(of: &mut bpf_insn, wide: bool, before: &Registers) {
    let (is_if, operation) = (matches!(code::kind(*of), Kind::If { .. }), of.code & 0xf0);
    if of.code & REGISTER == 0 || !is_if && of.off != 0 {
        return;
    }
    let mask = if wide { u64::MAX } else { LOW };
    let nothing = before[usize::from(of.dst_reg())].is_some_and(|number| number & mask == 0);
    let Some(number) = before[usize::from(of.src_reg())].map(|number| number & mask) else {
        // Addition, `or` and `xor`.
        if !is_if && nothing && matches!(operation, 0x00 | 0x40 | 0xa0) {
            of.code = MOVE | of.code & 0x0f;
        }
        return;
    };
    let is_possible = is_if
        || match operation {
            // Its bit says something else; divisions by nothing are for registers alone.
            0x80 | 0xd0 | 0x30 | 0x90 => false,
            // As are shifts by too much.
            0x60 | 0x70 | 0xc0 => number < if wide { 64 } else { 32 },
            _ => true,
        };
    let low = low(number);
    let fits = !wide || i64::from(low).cast_unsigned() == number;
    let is_short = !is_if && operation == AND && number <= LOW;
    if !is_possible || !fits && !is_short {
        return;
    }
    of.code &= !REGISTER;
    if !fits {
        of.code = AND | SHORT;
    }
    of.imm = low;
    of.set_src_reg(0);
}
