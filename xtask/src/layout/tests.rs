//! What a function does is the same in another order of its blocks.

use super::blocks::{Slot, arrange};

const EXIT: Slot = [0x95, 0, 0, 0, 0, 0, 0, 0];
const MARK: Slot = [0x05, 0, 0, 0, 0, 0, 0, 0];

/// `r0 = number`.
fn note(number: u8) -> Slot {
    [0xb7, 0, 0, 0, number, 0, 0, 0]
}

/// `goto offset`, or a conditional jump.
fn jump(code: u8, offset: i16) -> Slot {
    let [low, high] = offset.to_le_bytes();
    [code, 0, low, high, 0, 0, 0, 0]
}

const ALWAYS: u8 = 0x05;
/// `if r0 == 0`, `if r0 != 0`, and one that cannot be turned around, `if r0 & 0`.
const EQUAL: u8 = 0x15;
const UNEQUAL: u8 = 0x55;
const ANY_BIT: u8 = 0x45;

#[test]
fn what_is_cold_lies_behind_and_nobody_jumps_over_it() {
    let function = [
        jump(EQUAL, 3), // to the middle, as most do
        MARK,
        note(1),
        jump(ALWAYS, 2), // to the end
        note(2),
        jump(ANY_BIT, 1), // to the exit, from either
        note(3),
        EXIT,
    ];
    let new = arrange(&function).unwrap();
    let expected = [
        jump(UNEQUAL, 4),
        note(2),
        jump(ANY_BIT, 1),
        note(3),
        EXIT,
        MARK,
        note(1),
        jump(ALWAYS, -5),
    ];
    assert_eq!(new.slots, expected);
    assert_eq!(new.origins, [0, 4, 5, 6, 7, 1, 2, 3]);
}

#[test]
fn code_that_is_no_function_is_refused() {
    assert!(arrange(&[note(1)]).is_err(), "it does not end");
    assert!(arrange(&[jump(EQUAL, 5), EXIT]).is_err(), "a jump out of it");
    assert!(arrange(&[jump(EQUAL, -3), EXIT]).is_err(), "and out before it");
}

/// Pseudo-random numbers, the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// A function of notes, marks and jumps to and fro.
fn random(numbers: &mut Numbers) -> Vec<Slot> {
    let length = 2 + numbers.below(40);
    let mut function: Vec<Slot> = (0..length)
        .map(|place| {
            let to = i16::try_from(numbers.below(length + 1)).unwrap();
            let offset = to - i16::try_from(place).unwrap() - 1;
            match numbers.below(8) {
                0 => MARK,
                1 => EXIT,
                2 => jump(ALWAYS, offset),
                3 => jump(EQUAL, offset),
                4 => jump(UNEQUAL, offset),
                5 => jump(ANY_BIT, offset),
                _ => note(u8::try_from(place).unwrap()),
            }
        })
        .collect();
    function.push(EXIT);
    function
}

/// What a function notes until it ends, which it may not do after so many steps. Each question
/// takes the next bit of `answers`.
fn run(function: &[Slot], mut answers: u64, steps: usize) -> (Vec<u8>, bool) {
    let mut notes = Vec::new();
    let mut place = 0;
    for _ in 0..steps {
        let [code, _, low, high, value, ..] = function[place];
        let offset = isize::from(i16::from_le_bytes([low, high]));
        let jumps = match code {
            0x95 => return (notes, true),
            0xb7 => {
                notes.push(value);
                false
            }
            ALWAYS => true,
            // Whoever turns a question around turns the answer around.
            _ => {
                let zero = answers & 1 == 1;
                answers = answers.rotate_right(1);
                zero == (code != UNEQUAL)
            }
        };
        place = (place + 1).checked_add_signed(if jumps { offset } else { 0 }).unwrap();
    }
    (notes, false)
}

#[test]
fn functions_do_what_they_did() {
    let mut numbers = Numbers(7);
    let (mut moved, mut noted) = (0, 0);
    for _ in 0..20_000 {
        let function = random(&mut numbers);
        let new = arrange(&function).unwrap();
        moved += usize::from(new.origins.windows(2).any(|pair| pair[1] < pair[0]));
        for _ in 0..8 {
            let answers = (numbers.below(1 << 31) as u64) << 31 | numbers.below(1 << 31) as u64;
            let (old, ended) = run(&function, answers, 300);
            // There may be a jump more behind each step.
            let (new, ends) = run(&new.slots, answers, 600);
            let both = old.len().min(new.len());
            assert_eq!(old[..both], new[..both], "{function:x?}");
            assert!(!ended || ends && old.len() == new.len(), "{function:x?}");
            noted += both;
        }
    }
    assert!(moved > 5_000 && noted > 200_000, "{moved} moved, {noted} noted");
}
