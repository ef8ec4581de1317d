//! Instructions: tail calls with constant indexes, helpers that no program may call,
//! and what is cold, which lies behind.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result, ensure};
use firewall_userspace::kernel::object;

use crate::elf::{Elf, Symbol};

/// One instruction of RFC 9669; the second half of a wide one is an `op` of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    op: u8,
    to: u8,
    from: u8,
    jump: i16,
    number: i32,
}

/// `r1 = number`, in 64 and in 32 bits.
const MOVE: [u8; 2] = [0xb7, 0xb4];
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
const JUMP: u8 = 0x05;
const JUMP_LONG: u8 = 0x06;
const WIDE: u8 = 0x18;

impl Instruction {
    /// The instructions of a function.
    fn all(elf: &Elf<'_>, function: &Symbol<'_>) -> Result<Vec<Self>> {
        let section = elf.sections.get(function.section).context("a function in no section")?;
        let code = section.data.get(function.start..function.start + function.size);
        let code = code.context("a function past its section")?;
        Ok(code.chunks_exact(8).map(Self::decode).collect())
    }

    fn decode(bytes: &[u8]) -> Self {
        let word = bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
        let [op, registers, low, high, a, b, c, d] = word.to_le_bytes();
        Self {
            op,
            to: registers & 15,
            from: registers >> 4,
            jump: i16::from_le_bytes([low, high]),
            number: i32::from_le_bytes([a, b, c, d]),
        }
    }

    /// The helper it calls.
    fn helper(self) -> Option<i32> {
        (self.op == CALL && self.from == 0).then_some(self.number)
    }

    /// How far it may jump, from the instruction behind it.
    fn target(self) -> Option<i32> {
        let jumps = matches!(self.op & 7, 5 | 6) && !matches!(self.op, CALL | EXIT);
        jumps.then(|| if self.op == JUMP_LONG { self.number } else { self.jump.into() })
    }

    /// Whether it changes a register.
    fn writes(self, register: u8) -> bool {
        match self.op & 7 {
            // Loads and arithmetic.
            0 | 1 | 4 | 7 => self.to == register,
            // Calls leave nothing behind in r0 to r5.
            5 => self.op == CALL && register <= 5,
            _ => false,
        }
    }
}

/// Places to which something jumps.
fn targets(code: &[Instruction]) -> BTreeSet<usize> {
    let target = |(place, instruction): (usize, &Instruction)| {
        let place = i64::try_from(place).ok()?;
        usize::try_from(place + 1 + i64::from(instruction.target()?)).ok()
    };
    code.iter().enumerate().filter_map(target).collect()
}

/// The constant that a register holds before an instruction, if on every way to it
/// the same `register = constant` was the last word.
fn constant(code: &[Instruction], place: usize, register: u8) -> Option<i32> {
    let targets = targets(code);
    for earlier in (0..place).rev() {
        // Who jumps here comes with another number, maybe.
        if targets.contains(&(earlier + 1)) {
            return None;
        }
        let instruction = code[earlier];
        if matches!(instruction.op, EXIT | JUMP | JUMP_LONG) {
            return None;
        }
        if instruction.writes(register) {
            return MOVE.contains(&instruction.op).then_some(instruction.number);
        }
    }
    None
}

fn functions<'a>(elf: &Elf<'a>) -> Result<HashMap<&'a str, Symbol<'a>>> {
    let functions = elf.symbols()?.into_iter().filter(|symbol| symbol.is_function);
    Ok(functions.map(|symbol| (symbol.name, symbol)).collect())
}

/// `bpf_tail_call` of `enum bpf_func_id`.
const TAIL_CALL: i32 = 12;

#[test]
fn each_tail_call_has_a_constant_index_of_its_own() -> Result<()> {
    let elf = Elf::read(object::bytes())?;
    let functions = functions(&elf)?;
    let slots = [Some(0), Some(1)];
    let (read, requests) = ([Some(0)], [Some(3)]);
    // What a root calls, and the stages.
    let judge = [Some(0), Some(0), Some(1), Some(3)];
    let judge_ingress = [Some(0), Some(0), Some(1), Some(2), Some(3)];
    let calls = object::ROOTS.map(|root| (root, &slots[..])).into_iter().chain([
        // A judge does what a root does, or hands on to the first stage, that to either
        // slot, which hands on to the last.
        ("judge_xdp", &judge_ingress[..]),
        ("judge_ingress", &judge_ingress[..]),
        ("judge_egress", &judge[..]),
        ("suspect_xdp", &read[..]),
        ("suspect_tc", &read[..]),
        ("read_xdp", &slots[..]),
        ("read_tc", &slots[..]),
        ("answer_xdp", &slots[1..]),
        ("answer_tc", &slots[1..]),
        ("conclude_xdp", &requests[..]),
        ("conclude_tc", &requests[..]),
        ("requests_xdp", &[]),
        ("requests_tc", &[]),
    ]);
    for (name, wanted) in calls {
        let function = functions.get(name).with_context(|| format!("no function {name}"))?;
        let code = Instruction::all(&elf, function)?;
        let calls = (0..code.len()).filter(|place| code[*place].helper() == Some(TAIL_CALL));
        // The index is the third argument.
        let indexes: Vec<_> = calls.map(|place| constant(&code, place, 3)).collect();
        let mut sorted = indexes.clone();
        sorted.sort_unstable();
        ensure!(sorted == wanted, "{name} makes tail calls to {indexes:?}");
    }
    Ok(())
}

/// Helpers that are too slow, or do too much, for every packet.
const BANNED: [(i32, &str); 7] = [
    (5, "bpf_ktime_get_ns: reads the clock's hardware; the coarse one is a load"),
    (6, "bpf_trace_printk: for debugging"),
    (7, "bpf_get_prandom_u32"),
    (25, "bpf_perf_event_output: events go to the ring buffer"),
    (125, "bpf_ktime_get_boot_ns: as the first"),
    (130, "bpf_ringbuf_output: copies; records are reserved"),
    (177, "bpf_trace_vprintk: for debugging"),
];

#[test]
fn no_judge_calls_a_helper_that_is_banned_on_the_hot_path() -> Result<()> {
    let elf = Elf::read(object::bytes())?;
    let functions = functions(&elf)?;
    let judges = object::JUDGES.into_iter();
    let mut open: Vec<Symbol<'_>> = judges
        .map(|name| functions.get(name).copied().with_context(|| format!("no function {name}")))
        .collect::<Result<_>>()?;
    let mut seen = BTreeSet::new();
    let mut helpers = 0;
    while let Some(function) = open.pop() {
        if !seen.insert(function.name) {
            continue;
        }
        for instruction in Instruction::all(&elf, &function)? {
            let Some(helper) = instruction.helper() else { continue };
            helpers += 1;
            let banned = BANNED.iter().find(|(number, _)| *number == helper);
            ensure!(
                banned.is_none(),
                "{} calls {}",
                function.name,
                banned.map_or("", |banned| banned.1)
            );
        }
        open.extend(called(&elf, &function, &functions)?);
    }
    // Without the functions behind them, the judges would be half of it.
    ensure!(seen.len() > object::JUDGES.len() && helpers > 10, "{seen:?}, {helpers} calls");
    Ok(())
}

/// What judges call for some policies, and where another generation is in force. Anything else was
/// written inline, and the compiler has not taken it so: a call takes as long as thirty
/// instructions, where returns are made safe.
const OUT_OF_LINE: [&str; 4] = ["line_of_vectors", "slot_in_force", "unjudged_xdp", "unjudged_tc"];

#[test]
fn judges_call_only_what_is_out_of_line() -> Result<()> {
    let elf = Elf::read(object::bytes())?;
    let functions = functions(&elf)?;
    for judge in object::JUDGES {
        let function = functions.get(judge).with_context(|| format!("no function {judge}"))?;
        let called = called(&elf, function, &functions)?;
        let called: BTreeSet<&str> = called.iter().map(|function| function.name).collect();
        ensure!(called.is_subset(&BTreeSet::from(OUT_OF_LINE)), "{judge} calls {called:?}");
    }
    Ok(())
}

/// A jump to the next instruction, the mark of `firewall_common::cold`.
const MARK: Instruction = Instruction { op: JUMP, to: 0, from: 0, jump: 0, number: 0 };

#[test]
fn a_packet_that_is_decided_at_once_jumps_over_nothing_that_is_cold() -> Result<()> {
    let elf = Elf::read(object::bytes())?;
    let functions = functions(&elf)?;
    for judge in object::JUDGES {
        let function = functions.get(judge).with_context(|| format!("no function {judge}"))?;
        let code = Instruction::all(&elf, function)?;
        let mark = code.iter().position(|instruction| *instruction == MARK);
        let exit = code.iter().position(|instruction| instruction.op == EXIT);
        let (mark, exit) = mark.zip(exit).context("no mark, or no end")?;
        ensure!(exit < mark, "{judge} has what is marked as cold in slot {mark}, an end in {exit}");
        let marks = code.iter().filter(|instruction| **instruction == MARK).count();
        ensure!(marks > 10, "of the marks of {judge}, {marks} are left");
    }
    Ok(())
}

/// The functions that one calls, by its relocations.
fn called<'a>(
    elf: &Elf<'a>,
    function: &Symbol<'a>,
    functions: &HashMap<&'a str, Symbol<'a>>,
) -> Result<Vec<Symbol<'a>>> {
    let code = Instruction::all(elf, function)?;
    let inside = function.start..function.start + function.size;
    let mut called = Vec::new();
    for relocation in elf.relocations()? {
        if relocation.section != function.section || !inside.contains(&relocation.offset) {
            continue;
        }
        let instruction = code[(relocation.offset - function.start) / 8];
        if instruction.op != CALL {
            continue;
        }
        let symbol = relocation.symbol;
        if symbol.is_function {
            called.push(symbol);
            continue;
        }
        // A function of the same object without a name of its own: its place is the
        // section's, and the instruction's number of instructions, less one.
        let place = i64::from(instruction.number) + 1;
        let place = usize::try_from(place * 8)? + symbol.start;
        let found = functions.values().find(|f| f.section == symbol.section && f.start == place);
        called.push(*found.context("a call to no function")?);
    }
    Ok(called)
}

#[test]
fn a_constant_is_told_from_a_choice() {
    let set = |to, number| Instruction { op: 0xb7, to, from: 0, jump: 0, number };
    let call = Instruction { op: CALL, to: 0, from: 0, jump: 0, number: TAIL_CALL };
    let skip = |jump| Instruction { op: 0x15, to: 1, from: 0, jump, number: 0 };
    let copy = Instruction { op: 0xbf, to: 3, from: 7, jump: 0, number: 0 };
    let wide = [
        Instruction { op: WIDE, to: 2, from: 1, jump: 0, number: 0 },
        Instruction { op: 0, to: 0, from: 0, jump: 0, number: 0 },
    ];
    assert_eq!(constant(&[set(3, 1), call], 1, 3), Some(1));
    assert_eq!(constant(&[set(3, 1), set(1, 9), wide[0], wide[1], call], 4, 3), Some(1));
    // LLVM's merger: one call, the index chosen before it.
    assert_eq!(constant(&[set(3, 0), skip(1), set(3, 1), call], 3, 3), None);
    assert_eq!(constant(&[copy, call], 1, 3), None);
    assert_eq!(constant(&[call, call], 1, 3), None);
    assert_eq!(constant(&[call], 0, 3), None);
}
