//! What a program does is the same, however much of it is left.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the arithmetic of registers"
)]

use std::cell::Cell;

use aya_obj::generated::bpf_insn;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use super::folded;

/// An instruction: its code, its registers, its offset, its number.
fn of(code: u8, to: u8, from: u8, off: i16, imm: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(to, from),
        off,
        imm,
    }
}

const GOTO: u8 = 0x05;
const EXIT: u8 = 0x95;
const MOVE: u8 = 0xb7;
const ADD: u8 = 0x07;
/// With a register in place of the number.
const REGISTER: u8 = 8;
/// `r = *(u64 *)(r + off)`: here the number that a program is given, which nobody knows before.
const LOAD: u8 = 0x79;

#[test]
fn what_is_known_takes_no_instruction() {
    let code = [
        of(MOVE, 1, 0, 0, 6),           // r1 = 6
        of(0x15, 1, 0, 1, 6),           // if r1 == 6, over the next
        of(MOVE, 1, 0, 0, 7),           // r1 = 7
        of(LOAD, 0, 6, 0, 0),           // r0 = what it is given
        of(ADD | REGISTER, 0, 1, 0, 0), // r0 += r1
        of(EXIT, 0, 0, 0, 0),
    ];
    let (code, origins) = folded(&code).unwrap();
    assert_eq!(origins, [3, 4, 5]);
    assert_eq!((code[1].code, code[1].imm), (ADD, 6));
}

#[test]
fn a_number_too_long_for_arithmetic_is_loaded_at_once() {
    let code = [
        of(MOVE, 0, 0, 0, 3),  // r0 = 3
        of(0x67, 0, 0, 0, 40), // r0 <<= 40
        of(0x15, 0, 0, 1, 3),  // if r0 == 3, to the end
        of(ADD, 0, 0, 0, 1),   // r0 += 1
        of(EXIT, 0, 0, 0, 0),
    ];
    let (code, origins) = folded(&code).unwrap();
    assert_eq!(origins, [3, 3, 4]);
    assert_eq!((code[0].imm, code[1].imm), (1, 3 << 8));
}

#[test]
fn a_jump_out_of_the_code_is_refused() {
    assert!(folded(&[of(GOTO, 0, 0, 5, 0), of(EXIT, 0, 0, 0, 0)]).is_err());
}

const OPERATIONS: [u8; 9] = [0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0];
const CONDITIONS: [u8; 11] = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0];
const INTERESTING: [i32; 8] = [0, 1, 2, 7, -1, i32::MAX, i32::MIN, 0x1234_5678];

/// An instruction over five registers: arithmetic, a load, or a jump that leads nowhere yet.
fn instruction() -> impl Strategy<Value = bpf_insn> {
    let operand = select(vec![0, 0, REGISTER]);
    (0..16_u8, (0..5_u8, 0..5_u8), select(&INTERESTING), operand, any::<Index>(), any::<bool>())
        .prop_map(|(kind, (to, from), imm, operand, which, wide)| match kind {
            0 | 1 => of(GOTO, 0, 0, 0, 0),
            2 | 3 => {
                let class = if wide { 5 } else { 6 };
                of(which.get(&CONDITIONS) | operand | class, to, from, 0, imm)
            }
            4 | 5 => of(LOAD, to, 6, 0, 0),
            6 => of(EXIT, 0, 0, 0, 0),
            7..=9 => of(MOVE, to, 0, 0, imm),
            _ => {
                let (operation, class) = (*which.get(&OPERATIONS), if wide { 7 } else { 4 });
                let shift = matches!(operation, 0x60 | 0x70) && operand == 0;
                let imm = if shift { imm & 31 } else { imm };
                of(operation | operand | class, to, from, 0, imm)
            }
        })
}

/// A program with jumps to and fro. What it finds in its registers is not known to it.
fn program() -> impl Strategy<Value = Vec<bpf_insn>> {
    prop::collection::vec((instruction(), any::<Index>()), 3..33).prop_map(|drawn| {
        let length = drawn.len();
        let lead = |(place, (this, end)): (usize, (bpf_insn, Index))| {
            let jumps = this.code != EXIT && matches!(this.code & 7, 5 | 6);
            let off = end.index(length + 1) as i16 - place as i16 - 1;
            if jumps { bpf_insn { off, ..this } } else { this }
        };
        let loads = (0..5).map(|to| of(LOAD, to, 6, 0, 0));
        let code = loads.chain(drawn.into_iter().enumerate().map(lead));
        code.chain([of(EXIT, 0, 0, 0, 0)]).collect()
    })
}

/// What a program returns that is given a number; none if it goes on for too long. It says by itself
/// what each instruction does, so that it can tell when folding has it wrong.
fn run(code: &[bpf_insn], given: u64, steps: usize) -> Option<u64> {
    let (mut registers, mut place) = ([5_u64, 0, u64::MAX, 1 << 33, 9], 0_usize);
    for _ in 0..steps {
        let this = &code[place];
        let (to, from) = (usize::from(this.dst_reg()), usize::from(this.src_reg()));
        let operand = || {
            if this.code & REGISTER == 0 { i64::from(this.imm) as u64 } else { registers[from] }
        };
        let wide = matches!(this.code & 7, 5 | 7);
        let cut = |number: u64| if wide { number } else { number & 0xffff_ffff };
        let mut jumps = false;
        match this.code {
            EXIT => return Some(registers[0]),
            LOAD => registers[to] = given,
            0x18 => {
                let high = code[place + 1].imm as u32;
                registers[to] = u64::from(high) << 32 | u64::from(this.imm as u32);
                place += 1;
            }
            GOTO => jumps = true,
            code if matches!(code & 7, 4 | 7) => {
                let (one, other) = (cut(registers[to]), cut(operand()));
                let shift = other & if wide { 63 } else { 31 };
                registers[to] = cut(match code & 0xf0 {
                    0x00 => one.wrapping_add(other),
                    0x10 => one.wrapping_sub(other),
                    0x20 => one.wrapping_mul(other),
                    0x40 => one | other,
                    0x50 => one & other,
                    0x60 => one << shift,
                    0x70 => one >> shift,
                    0xa0 => one ^ other,
                    _ => other,
                });
            }
            code => {
                let (one, other) = (cut(registers[to]), cut(operand()));
                let signed =
                    |number: u64| if wide { number as i64 } else { (number as i32).into() };
                jumps = match code & 0xf0 {
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
                    _ => signed(one) <= signed(other),
                };
            }
        }
        place = (place + 1).checked_add_signed(if jumps { this.off.into() } else { 0 }).unwrap();
    }
    None
}

#[test]
fn programs_return_what_they_did() {
    let (ended, shorter) = (Cell::new(0), Cell::new(0));
    let given = prop::array::uniform4(select(&INTERESTING));
    let config =
        ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&(program(), given), |(code, given)| {
            let (new, origins) = folded(&code).unwrap();
            prop_assert!(new.len() == origins.len() && origins.is_sorted());
            shorter.set(shorter.get() + usize::from(new.len() + 5 < code.len()));
            for given in given {
                let given = i64::from(given) as u64 & 0xf_ffff_ffff;
                let Some(result) = run(&code, given, 400) else { continue };
                prop_assert_eq!(run(&new, given, 400), Some(result));
                ended.set(ended.get() + 1);
            }
            Ok(())
        })
        .unwrap();
    let (ended, shorter) = (ended.get(), shorter.get());
    assert!(ended > 20_000 && shorter > 2_000, "{ended} ended, {shorter} shorter");
}
