//! Which registers are live behind each instruction, and so which instructions somebody needs.

use anyhow::Result;
use aya_obj::generated::bpf_insn;

use super::code::{self, Instruction, Kind, REGISTER};

/// Registers, a bit each.
type Registers = u16;

/// Whether each instruction that is reached does anything that is needed: what only fills a
/// register that nobody reads before it is filled anew does not.
///
/// # Errors
///
/// If a jump leaves the code.
pub(super) fn needed(code: &[Instruction], reached: &[bool]) -> Result<Vec<bool>> {
    // The registers that are read from each instruction on before they are written.
    let mut read = vec![0; code.len()];
    let mut needed = vec![false; code.len()];
    let mut changed = true;
    while changed {
        changed = false;
        for place in (0..code.len()).rev().filter(|place| reached[*place]) {
            let of = code[place].of;
            let mut behind = 0;
            for next in code::after(place, code)? {
                behind |= read.get(next).copied().unwrap_or_default();
            }
            let (reads, writes) = registers(of);
            needed[place] = !code::does_nothing(of) && (!only_fills(of) || behind & writes != 0);
            let before = if needed[place] { behind & !writes | reads } else { behind };
            changed |= before != read[place];
            read[place] = before;
        }
    }
    Ok(needed)
}

/// Whether an instruction does nothing but fill its register.
fn only_fills(of: bpf_insn) -> bool {
    matches!(code::kind(of), Kind::Alu { .. } | Kind::Wide | Kind::Load)
}

/// The registers that an instruction may read, and those that it surely writes.
fn registers(of: bpf_insn) -> (Registers, Registers) {
    let (to, from) = (1 << of.dst_reg(), 1 << of.src_reg());
    let operand = if of.code & REGISTER == 0 { 0 } else { from };
    match code::kind(of) {
        Kind::Alu { .. } if of.code & 0xf0 == 0xb0 => (operand, to),
        Kind::Alu { .. } => (to | operand, to),
        Kind::If { .. } => (to | operand, 0),
        Kind::Wide => (0, to),
        Kind::Load => (from, to),
        // An atomic one may compare with r0.
        Kind::Store => (to | from | 1, 0),
        Kind::Call => (arguments(of), ARGUMENTS | 1),
        Kind::Exit => (1, 0),
        Kind::Goto(_) => (0, 0),
        Kind::Other => (Registers::MAX, 0),
    }
}

/// What a function may be given.
const ARGUMENTS: Registers = 0b11_1110;

/// The arguments of a helper: of those that are called often, as many as it has. A function of ours
/// has to be given all, whether it reads them or not: the verifier holds calls against its type.
fn arguments(of: bpf_insn) -> Registers {
    let arguments = match of.imm {
        _ if of.src_reg() != 0 => 5,
        BPF_FUNC_TAIL_CALL => 3,
        BPF_FUNC_GET_SMP_PROCESSOR_ID | BPF_FUNC_JIFFIES64 => 0,
        _ => 5,
    };
    ARGUMENTS & ((1 << (arguments + 1)) - 1)
}

// <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>
const BPF_FUNC_GET_SMP_PROCESSOR_ID: i32 = 8;
const BPF_FUNC_TAIL_CALL: i32 = 12;
const BPF_FUNC_JIFFIES64: i32 = 118;
