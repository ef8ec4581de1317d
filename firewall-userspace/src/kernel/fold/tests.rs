//! What a program does is the same, however much of it is left.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the arithmetic of registers"
)]

use aya_obj::generated::bpf_insn;

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
    assert!(folded(&[of(0x05, 0, 0, 5, 0), of(EXIT, 0, 0, 0, 0)]).is_err());
}

/// Pseudo-random numbers, the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const OPERATIONS: [u8; 9] = [0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0];
const CONDITIONS: [u8; 11] = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0];
const INTERESTING: [i32; 8] = [0, 1, 2, 7, -1, i32::MAX, i32::MIN, 0x1234_5678];

/// A program over five registers, of arithmetic, loads and jumps to and fro.
fn random(numbers: &mut Numbers) -> Vec<bpf_insn> {
    let length = 3 + numbers.below(30);
    let mut code = Vec::new();
    for place in 0..length {
        let (to, from) = (numbers.below(5) as u8, numbers.below(5) as u8);
        let off = numbers.below(length + 1) as i16 - place as i16 - 1;
        let imm = numbers.one_of(&INTERESTING);
        let operand = numbers.one_of(&[0, 0, REGISTER]);
        code.push(match numbers.below(8) {
            0 => of(0x05, 0, 0, off, 0),
            1 => of(
                numbers.one_of(&CONDITIONS) | operand | numbers.one_of(&[5, 6]),
                to,
                from,
                off,
                imm,
            ),
            2 => of(LOAD, to, 6, 0, 0),
            3 if numbers.below(3) == 0 => of(EXIT, 0, 0, 0, 0),
            3 | 4 => of(MOVE, to, 0, 0, imm),
            _ => {
                let operation = numbers.one_of(&OPERATIONS);
                let shift = matches!(operation, 0x60 | 0x70) && operand == 0;
                let imm = if shift { imm & 31 } else { imm };
                of(operation | operand | numbers.one_of(&[4, 7]), to, from, 0, imm)
            }
        });
    }
    code.push(of(EXIT, 0, 0, 0, 0));
    code
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
            0x05 => jumps = true,
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
    let mut numbers = Numbers(11);
    let (mut ended, mut shorter) = (0, 0);
    for _ in 0..20_000 {
        let code = random(&mut numbers);
        // What a program finds in its registers is not known to it.
        let loads = (0..5).map(|to| of(LOAD, to, 6, 0, 0));
        let code: Vec<bpf_insn> = loads.chain(code).collect();
        let (new, origins) = folded(&code).unwrap();
        assert!(new.len() == origins.len() && origins.is_sorted());
        shorter += usize::from(new.len() + 5 < code.len());
        for _ in 0..4 {
            let given = i64::from(numbers.one_of(&INTERESTING)) as u64 & 0xf_ffff_ffff;
            let Some(result) = run(&code, given, 400) else { continue };
            assert_eq!(run(&new, given, 400), Some(result), "{code:?}");
            ended += 1;
        }
    }
    assert!(ended > 20_000 && shorter > 2_000, "{ended} ended, {shorter} shorter");
}
